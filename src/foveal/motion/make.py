"""A folder of videos to a folder of frames with motion masks; killed at any moment, it goes on.

What is written is said in ``foveal.data.masked``; beside it, ``shots/<video>/plan.json`` holds the
cuts of a video, and ``shots/<video>/<shot>.json`` appears when all files of a shot are there.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from foveal.core.files import atomic_path, read_json, write_json, write_text
from foveal.data.masked import ABOUT, COLUMNS, FRAMES, MASKS, TABLE
from foveal.errors import FovealError
from foveal.motion.packages import opencv, slic
from foveal.motion.segment import NoMotion, segment
from foveal.motion.settings import Settings
from foveal.motion.shots import shots_of, step_of
from foveal.motion.video import BadVideo, Video, find_videos
from foveal.motion.voting import blobs_of

FORMAT = 1
_QUIET = 10.0  # seconds between lines of progress within a shot
_JPEG_QUALITY = 92


@dataclass
class Made:
    """What there is in the end.

    Attributes:
        path: The folder.
        frames: Frames with a mask.
        shots: Shots with masks.
        videos: Per video: frames, shots, what was left out and why.
        bad: Videos that gave nothing, with the reason.
    """

    path: Path
    frames: int = 0
    shots: int = 0
    videos: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.frames:,} frames with masks, from {self.shots:,} shots of "
            f"{len(self.videos) - len(self.bad):,} videos"
        ]
        lines += [f"without masks: {name}: {why}" for name, why in list(self.bad.items())[:20]]
        if len(self.bad) > 20:
            lines.append(f"and {len(self.bad) - 20} more: {self.path / ABOUT}")
        return "\n".join(lines)


def make_motion(
    video: str | Path,
    out: str | Path,
    *,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
    threads: int | None = None,
) -> Made:
    """Segments what moves in videos, by uNLC.

    The masks are a function of the videos and the settings. The memory needed is that of one shot
    of 110 frames, however long the videos are.

    Args:
        video: A video file, a folder of video files, or one or more folders of frames.
        out: The folder to write. Run again with the same arguments it goes on where it was; other
            videos can be added.
        settings: The numbers of the method.
        progress: Called with a line of text now and then.
        threads: Frames worked on at the same time; None: one per core.

    Raises:
        FovealError: The extra is missing, nothing to read, ``out`` made with other settings or
            from other videos of the same names, or no video gave a mask.
    """
    opencv(), slic()  # a missing package shows before anything is written
    settings = settings or Settings()
    out, say = Path(out), progress or (lambda text: None)
    videos = find_videos(Path(video).expanduser())
    parameters = {"format": FORMAT, "settings": settings.to_json()}
    _claim(out, parameters)
    made = Made(out)
    for number, each in enumerate(videos):
        label = f"[{number + 1}/{len(videos)}] {each.name}"
        try:
            made.videos[each.name] = _one(each, out, settings, label, say, threads)
        except BadVideo as error:
            made.videos[each.name] = {"frames": 0, "left out": error.message}
            say(f"{label}: {error.message}")
        if not made.videos[each.name]["frames"]:
            made.bad[each.name] = made.videos[each.name]["left out"]
    _write_table(out, made)
    write_json(out / ABOUT, {**parameters, "frames": made.frames, "shots": made.shots,
                             "videos": made.videos})  # fmt: skip
    if not made.frames:
        raise FovealError(
            "no video gave a mask: " + "; ".join(f"{n}: {why}" for n, why in made.bad.items()),
            hint="videos in which something moves before a camera that stands, pans or travels",
        )
    return made


def _claim(out: Path, parameters: dict[str, Any]) -> None:
    """Marks a folder as ours, or checks that it is, made with the same settings."""
    about = out / ABOUT
    if about.is_file():
        found = read_json(about)
        before, now = (
            {"format": p.get("format"), **p.get("settings", {})} for p in (found, parameters)
        )
        other = [f"{k} {before.get(k)!r}, not {v!r}" for k, v in now.items() if before.get(k) != v]
        if other:
            raise FovealError(
                f"{out} was made with other settings: {'; '.join(other)}",
                hint=f"another folder, or remove {out} to make it anew",
            )
        (out / TABLE).unlink(missing_ok=True)  # until this run is through
        return
    if out.exists() and any(out.iterdir()):
        raise FovealError(f"{out} exists and holds other things", hint="name a new folder")
    write_json(about, parameters)


def _one(
    video: Video,
    out: Path,
    settings: Settings,
    label: str,
    say: Callable[[str], None],
    threads: int | None,
) -> dict[str, Any]:
    """All shots of one video; what was made and what was left out."""
    notes = out / "shots" / video.name
    plan = _plan(video, notes, settings, label, say)
    todo = [s for s in range(len(plan["shots"])) if not (notes / f"{s:04d}.json").is_file()]
    for folder in (out / FRAMES / video.name, out / MASKS / video.name):
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(".*"):  # of a run that was killed
            torn.unlink()
    for s, numbers, frames in _shots(video, plan["shots"], todo, settings):
        began = time.monotonic()
        tick = _Tick(f"{label}: shot {s + 1} of {len(plan['shots'])}", len(frames), say)
        rows: list[dict[str, Any]] = []
        note: dict[str, Any] = {}
        try:
            masks = segment(frames, settings, threads=threads, tick=tick)
        except NoMotion as error:
            note["left out"] = error.message
        else:
            rows = [
                _write_frame(out, f"{video.name}/{i:06d}", f"{video.name}/{s:04d}", frame, mask,
                             settings)
                for i, frame, mask in zip(numbers, frames, masks, strict=True)
            ]  # fmt: skip
        write_json(notes / f"{s:04d}.json", {**note, "frames": rows})
        what = note.get("left out") or f"{len(rows)} frames, {time.monotonic() - began:.0f} s"
        say(f"{label}: shot {s + 1} of {len(plan['shots'])}: {what}")
    found = [_note(notes / f"{s:04d}.json") for s in range(len(plan["shots"]))]
    reasons = [f"shot {s}: {n['left out']}" for s, n in enumerate(found) if "left out" in n]
    if plan["short"]:
        reasons.append(f"{plan['short']} shots under {settings.shortest} frames")
    return {
        "frames": sum(len(n["frames"]) for n in found),
        "shots": sum(bool(n["frames"]) for n in found),
        "left out": "; ".join(reasons),
        "unreadable": plan["unreadable"],
    }


def _note(file: Path) -> dict[str, Any]:
    if file.is_file():
        found: dict[str, Any] = read_json(file)
        return found
    return {"frames": [], "left out": "could not be read a second time"}


def _plan(
    video: Video, notes: Path, settings: Settings, label: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """The shots of a video: read once through, cut window by window."""
    file = notes / "plan.json"
    if file.is_file():
        plan: dict[str, Any] = read_json(file)
        if plan["bytes"] != video.bytes():
            raise FovealError(
                f"{notes} was made from another video than {video.path} is now",
                hint="another folder, or remove this one's shots, frames and masks",
            )
        return plan
    say(f"{label}: looking for shots")
    # Numbers of the frames that can be read: what cannot be is passed over in the second reading.
    shots: list[dict[str, int]] = []
    short = 0
    frames = video.read(settings.side)
    for shot in shots_of(frames, settings.window, settings.most_cuts, settings.cut_penalty):
        if len(shot) < settings.shortest:
            short += 1
            continue
        step = step_of(len(shot), settings.longest)
        shots.append({"first": shot[0], "last": shot[-1], "step": step})
    if not shots:
        raise BadVideo(
            f"no shot of {settings.shortest} frames or more"
            if short
            else "; ".join(video.troubles.values()) or "no frame can be read"
        )
    plan = {
        "bytes": video.bytes(),
        "shots": shots,
        "short": short,
        "unreadable": {str(i): why for i, why in video.troubles.items()},
    }
    write_json(file, plan)
    return plan


def _shots(
    video: Video, shots: list[dict[str, int]], todo: list[int], settings: Settings
) -> Iterator[tuple[int, list[int], list[NDArray[np.uint8]]]]:
    """Number, frame numbers and frames of the shots still to be done, in one reading."""
    if not todo:
        return
    of = {}
    for s in todo:
        first, last, step = (shots[s][k] for k in ("first", "last", "step"))
        of.update({i: s for i in range(first, last + 1, step)})
    numbers: list[int] = []
    frames: list[NDArray[np.uint8]] = []
    final = max(of)
    now = None
    for i, frame in video.read(settings.side, of.__contains__):
        if now is not None and of[i] != now:
            yield now, numbers, frames
            numbers, frames = [], []
        now = of[i]
        numbers.append(i)
        frames.append(frame)
        if i >= final:
            break
    if now is not None:
        yield now, numbers, frames


def _write_frame(
    out: Path,
    name: str,
    shot: str,
    frame: NDArray[np.uint8],
    soft: NDArray[np.float32],
    settings: Settings,
) -> dict[str, Any]:
    """Writes a frame and its mask; returns its line of the table."""
    with atomic_path(out / FRAMES / f"{name}.jpg") as path:
        path.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=_JPEG_QUALITY))
    with atomic_path(out / MASKS / f"{name}.png") as path:
        Image.fromarray(np.rint(soft * 255).astype(np.uint8)).save(path)
    return {"name": name, "shot": shot, **measure(soft, settings.foreground)}


def measure(soft: NDArray[np.float32], foreground: float) -> dict[str, Any]:
    """What ``frames.csv`` says of a soft mask, [H, W] in [0, 1]."""
    mask = soft > foreground
    height, width = mask.shape
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    top = left = rows = columns = 0
    count, blobs = blobs_of(mask)
    if count:
        largest = 1 + int(np.argmax(np.bincount(blobs.reshape(-1))[1:]))
        y, x = np.nonzero(blobs == largest)
        top, left = int(y.min()), int(x.min())
        rows, columns = int(y.max()) + 1 - top, int(x.max()) + 1 - left
    return {
        "foreground": round(float(mask.mean()), 5),
        "border": round(float(edge.mean()), 5),
        "top": top, "left": left, "height": rows, "width": columns,
        "frame_height": height, "frame_width": width,
    }  # fmt: skip


def _write_table(out: Path, made: Made) -> None:
    """``frames.csv`` from the notes of all shots there are, of earlier runs too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for path in sorted((out / "shots").rglob("[0-9]*.json")):
        rows = read_json(path)["frames"]
        writer.writerows(rows)
        made.frames += len(rows)
        made.shots += bool(rows)
    write_text(out / TABLE, text.getvalue())


class _Tick:
    """Counts frames of a shot, and says so now and then."""

    def __init__(self, label: str, total: int, say: Callable[[str], None]) -> None:
        self.label, self.total, self.say = label, total, say
        self.done, self.last = 0, time.monotonic()

    def __call__(self) -> None:
        self.done += 1
        if time.monotonic() - self.last > _QUIET:
            self.last = time.monotonic()
            self.say(f"{self.label}: frame {self.done} of {self.total}")
