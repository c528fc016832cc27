"""How well uNLC finds what moves: mean IoU on videos with exact masks, beside two baselines.

    python benchmarks/motion.py FOLDER --split val [--clips N] [--json FILE]

FOLDER is in DAVIS's layout: ``JPEGImages/<clip>/*.jpg``, ``Annotations/<clip>/*.png`` (0 is
background) and ``ImageSets/<split>.txt`` (or ``ImageSets/480p/<split>.txt``). Every frame counts,
with everything that is annotated as one foreground; what is not annotated (an object that lies
still) is background, and finding it costs. A shot without usable motion has empty masks.

The baselines are given what uNLC is not: their best setting on these very clips. The centred
ellipse has the best of several sizes; the flow baseline thresholds the length of the mean flow to
the frames next to it (the same flow at the same resolution), divided by its largest in the clip,
at the best of many thresholds. Where ``Layers/<clip>/*.png`` names all objects, those from 201 on
lie still, and the share of their pixels that is taken for moving is printed too. Intervals are by
bootstrap over clips.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from foveal.metrics.bootstrap import difference_interval, interval
from foveal.motion.flow import Flow, pyramid
from foveal.motion.segment import NoMotion, segment
from foveal.motion.settings import Settings

SIZES = np.arange(0.2, 1.01, 0.1)
THRESHOLDS = np.arange(0.05, 1.0, 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--clips", type=int, help="only the first so many")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    arguments = parser.parse_args()
    settings = Settings()
    rows = []
    for name in clips_of(arguments.folder, arguments.split)[: arguments.clips]:
        rows.append(measure(arguments.folder, name, settings))
        shown = {k: round(float(np.max(rows[-1][k])), 3) for k in ("unlc", "ellipse", "flow")}
        print(f"{name}: {shown}, {rows[-1]['seconds']:.1f} s {rows[-1]['note']}", flush=True)
    result = summary(rows)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps({**result, "clips": rows}, default=list) + "\n")


def clips_of(folder: Path, split: str) -> list[str]:
    for place in ("", "480p", "2017", "2016"):
        listed = folder / "ImageSets" / place / f"{split}.txt"
        if listed.is_file():
            return listed.read_text().split()
    raise SystemExit(f"{folder} has no ImageSets/{split}.txt")


def measure(folder: Path, name: str, settings: Settings) -> dict:
    """Mean IoU over the frames of one clip: of uNLC, and of each setting of the baselines."""
    paths = sorted((folder / "JPEGImages" / name).glob("*.jpg"))
    frames = [_shrunk(np.asarray(Image.open(p).convert("RGB")), settings.side) for p in paths]
    exact = _masks(folder / "Annotations" / name, paths, frames) > 0
    began, note = time.perf_counter(), ""
    try:
        found = segment(frames, settings) > settings.foreground
    except NoMotion as error:
        found, note = np.zeros_like(exact), f"({error.message})"
    seconds = time.perf_counter() - began
    speed = flow_lengths(frames, settings)
    row = {
        "clip": name,
        "frames": len(frames),
        "seconds": seconds,
        "note": note,
        "unlc": iou(found, exact),
        "ellipse": [iou(ellipse(exact.shape, size), exact) for size in SIZES],
        "flow": [iou(speed > threshold, exact) for threshold in THRESHOLDS],
        "still": None,
    }
    layers = folder / "Layers" / name
    if layers.is_dir() and (still := _masks(layers, paths, frames) > 200).any():
        row["still"] = float((found & still).sum() / still.sum())
    return row


def iou(found: np.ndarray, exact: np.ndarray) -> float:
    """Mean over frames; a frame with neither is right."""
    inside = (found & exact).sum((1, 2))
    union = (found | exact).sum((1, 2))
    return float(np.where(union > 0, inside / np.maximum(union, 1), 1.0).mean())


def ellipse(shape: tuple[int, ...], size: float) -> np.ndarray:
    """[1, H, W]: an ellipse in the middle whose axes are this share of the sides."""
    y = (np.arange(shape[1]) + 0.5) / shape[1] * 2 - 1
    x = (np.arange(shape[2]) + 0.5) / shape[2] * 2 - 1
    return (y[:, None] ** 2 + x[None, :] ** 2 < size**2)[None]


def flow_lengths(frames: list[np.ndarray], settings: Settings) -> np.ndarray:
    """[L, H, W]: length of the mean motion per frame, divided by its largest in the clip."""
    grey = [pyramid(f, settings.flow_side) for f in frames]
    flow = Flow()
    height, width = frames[0].shape[:2]
    out = []
    for t in range(len(grey)):
        flows = []
        if t + 1 < len(grey):
            flows.append(flow(grey[t], grey[t + 1]))
        if t > 0:
            flows.append(-flow(grey[t], grey[t - 1]))
        length = np.linalg.norm(np.mean(flows, axis=0), axis=2)
        out.append(cv2.resize(length, (width, height)))
    return np.stack(out) / max(np.max(out), 1e-6)


def summary(rows: list[dict]) -> dict:
    """Means over clips; the baselines at the setting that is best for them."""
    unlc = np.array([r["unlc"] for r in rows])
    result = {
        "clips": len(rows),
        "frames": sum(r["frames"] for r in rows),
        "seconds_per_frame": sum(r["seconds"] for r in rows) / sum(r["frames"] for r in rows),
        "unlc": float(unlc.mean()),
        "unlc_interval": interval(unlc, seed=0),
    }
    for name, settings in (("ellipse", SIZES), ("flow", THRESHOLDS)):
        table = np.array([r[name] for r in rows])
        best = int(table.mean(0).argmax())
        result[name] = float(table[:, best].mean())
        result[f"{name}_setting"] = float(settings[best])
        result[f"over_{name}"] = float((unlc - table[:, best]).mean())
        result[f"over_{name}_interval"] = difference_interval(unlc, table[:, best], seed=0)
    still = [r["still"] for r in rows if r["still"] is not None]
    result["still_objects_found"] = float(np.mean(still)) if still else None
    return result


def _masks(folder: Path, paths: list[Path], frames: list[np.ndarray]) -> np.ndarray:
    height, width = frames[0].shape[:2]
    masks = [np.asarray(Image.open(folder / f"{p.stem}.png")) for p in paths]
    return np.stack([cv2.resize(m, (width, height), interpolation=0) for m in masks])


def _shrunk(frame: np.ndarray, side: int) -> np.ndarray:
    scale = min(1.0, side / max(frame.shape[:2]))
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    return frame if scale == 1 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
