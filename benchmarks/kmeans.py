"""k-means against faiss: seconds of an iteration, and memory where the rows lie on disk.

    python benchmarks/kmeans.py [--rows 1000000] [--dim 128] [--clusters 1000] [--rounds 5]

Needs faiss-cpu, which foveal itself does not. The comparison takes ``--compare`` of the rows, ten
iterations from the same centroids, one thread, in turn. Then the whole in a process of its own,
from a file, ``--iterations`` of them; with a tenth of the rows too, to show what grows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from _ab import in_turn, machine
from foveal.clustering.kmeans import Clusters, kmeans
from foveal.core.rows import Rows, disk_array

ITERATIONS = 10


def features(rows: int, dim: int) -> np.ndarray:
    """As many blobs as a thousand, unit length: what clustering sees of a trained network."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(1000, dim)).astype(np.float32)
    x = centres[generator.integers(0, 1000, rows)]
    x += generator.normal(size=x.shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_faiss(x: np.ndarray, start: np.ndarray) -> float:
    import faiss

    faiss.omp_set_num_threads(1)
    found = faiss.Kmeans(
        x.shape[1], len(start), niter=ITERATIONS, min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )  # fmt: skip
    found.train(x, init_centroids=start)
    return float(found.obj[-1])


def whole(file: Path, clusters: int, iterations: int) -> None:
    """Clusters the rows of a file, and tells time and memory."""
    x = np.load(file, mmap_mode="r")
    began = time.process_time()
    found = kmeans(Rows(x, np.arange(len(x)), len(x)), clusters, iterations=iterations)
    seconds = (time.process_time() - began) / (found.iterations + 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sizes = np.bincount(found.assignments, minlength=clusters)
    print(
        f"{len(x):,} x {x.shape[1]} into {clusters:,}: {seconds:.2f} s of processor an iteration, "
        f"peak memory {peak:,.0f} MB of which the file {x.nbytes / 2**20:,.0f}; objective "
        f"{found.objective:.1f}, smallest cluster {sizes.min()}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--compare", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.file:
        whole(a.file, a.clusters, a.iterations)
        return
    print(machine())
    x = features(a.compare, a.dim)
    start = x[: a.clusters].copy()
    ours: list[Clusters] = []
    theirs: list[float] = []
    times = in_turn(
        lambda: ours.append(kmeans(x, a.clusters, iterations=ITERATIONS, start=start)),
        lambda: theirs.append(by_faiss(x, start)),
        a.rounds,
        time.process_time,
    )
    # Ours also assigns once more at the end, and looks once for the largest number.
    print(f"{ITERATIONS} iterations on {a.compare:,} rows, processor time: {times}")
    print(f"objective: {ours[0].objective:.1f}, faiss {theirs[0]:.1f} before its last update")
    with tempfile.TemporaryDirectory() as folder:
        for n in (a.rows // 10, a.rows):
            out = disk_array(Path(folder), n, a.dim)
            for first in range(0, n, a.compare):
                part = out[first : first + a.compare]
                part[:] = x[: len(part)] + np.float32(1e-3 * first / n)
            out.flush()
            file = str(out.filename)
            del out, part
            again = [sys.executable, __file__, "--file", file, "--clusters", str(a.clusters)]
            again += ["--iterations", str(a.iterations)]
            subprocess.run(again, check=True, env=os.environ)
            Path(file).unlink()


if __name__ == "__main__":
    main()
