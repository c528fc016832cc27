"""Jobs of the Doom world, one per map, in processes of their own.

Plain processes over pipes instead of ``multiprocessing``: a caller needs no ``__main__`` guard, and
each worker stands in a folder of its own, since ViZDoom leaves files where it stands.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal.errors import FovealError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One call of ``foveal.benchmarks.doom.<module>.render_map`` in a worker.

    Attributes:
        module: The set's module.
        folder: Where it writes.
        arguments: Keyword arguments, JSON values; ``map_name`` is among them.
    """

    module: str
    folder: str
    arguments: dict[str, Any]


def run_jobs(jobs: Sequence[Job], processes: int, progress: Progress) -> list[dict[str, Any]]:
    """Results in the order of the jobs; which worker made which does not matter.

    Raises:
        FovealError: The first error of a job; the other workers are ended.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in range(len(jobs)):
        todo.put(i)
    results: dict[int, dict[str, Any]] = {}
    workers: list[subprocess.Popen[str]] = []
    lock = threading.Lock()
    stop = threading.Event()

    def drive() -> None:
        with tempfile.TemporaryDirectory(prefix="foveal-doom-") as stand:
            worker = _start(stand)
            with lock:
                workers.append(worker)
            try:
                while not stop.is_set():
                    try:
                        i = todo.get_nowait()
                    except queue.Empty:
                        break
                    answer = _ask(worker, jobs[i], stand)
                    with lock:
                        results[i] = answer
                        map_name = jobs[i].arguments["map_name"]
                        progress(f"{jobs[i].module}: {map_name} ({len(results)}/{len(jobs)} maps)")
            finally:
                _end(worker)

    count = max(1, min(processes, len(jobs)))
    with ThreadPoolExecutor(count) as pool:
        drives = [pool.submit(drive) for _ in range(count)]
        try:
            for each in as_completed(drives):
                each.result()
        except BaseException:
            stop.set()
            with lock:
                for worker in workers:
                    worker.terminate()
            raise
    return [results[i] for i in range(len(jobs))]


def _start(stand: str) -> subprocess.Popen[str]:
    # One thread each: the workers already fill the cores.
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    package = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with (Path(stand) / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "foveal.benchmarks.doom.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=stand,
            env={**os.environ, **limits, "PYTHONPATH": path},
            text=True,
            encoding="utf-8",
        )


def _ask(worker: subprocess.Popen[str], job: Job, stand: str) -> dict[str, Any]:
    assert worker.stdin is not None and worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(asdict(job)) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        code = worker.wait()
        last = (Path(stand) / "stderr").read_text(errors="replace").strip().splitlines()[-5:]
        raise FovealError(
            f"the process rendering {job.arguments['map_name']} ended with code {code}: "
            + ("\n".join(last) or "it said nothing"),
            hint="run the command again; with less memory in use if it was killed",
        )
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise FovealError(answer["error"], hint=answer["hint"])
    return answer


def _end(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None and worker.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()
    worker.wait()
    worker.stdout.close()
