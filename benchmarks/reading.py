"""How many pictures a CPU should read at once through a frozen encoder.

    python benchmarks/reading.py [--rounds N]

The small network of random weights on one thread, 64 pictures of 96 px, in one piece each and as
7 x 7 overlapping tiles of 24 px (what jigsaw and CPC hand over). Seconds of processor time, median
of rounds; all ways take turns in each round.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import piece_of
from foveal.backbones.registry import build_backbone

PICTURES, SIDE = 64, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    pictures = torch.rand(PICTURES, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    print("| read as | pictures at once | s | times as fast as all at once |\n|---|---:|---:|---:|")
    for name, grid, overlap in (("one piece", 1, 0.0), ("7 x 7 tiles", 7, 0.5)):
        trunk = build_backbone("small")
        encoder = Encoder([trunk], [[]], channels=3, size=SIDE, grid=grid, overlap=overlap).eval()
        chosen = piece_of(encoder, SIDE)
        ways = sorted({PICTURES, 16, chosen, 4, 1}, reverse=True)
        found: dict[int, list[float]] = {n: [] for n in ways}
        for _ in range(rounds):
            for n in ways:
                found[n].append(seconds(encoder, pictures, n))
        medians = {n: statistics.median(times) for n, times in found.items()}
        for n, value in medians.items():
            mark = " (chosen)" if n == chosen else ""
            print(f"| {name} | {n}{mark} | {value:.2f} | {medians[PICTURES] / value:.2f} |")


@torch.inference_mode()
def seconds(encoder: Encoder, pictures: torch.Tensor, at_once: int) -> float:
    """Processor time of all pictures."""
    began = time.process_time()
    for some in torch.split(pictures, at_once):
        encoder(some)
    return time.process_time() - began


if __name__ == "__main__":
    main()
