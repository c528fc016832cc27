"""What RevNet-50's reversible backward saves: activations kept, peak memory and time.

    python benchmarks/reversible.py [--batch B] [--size PIXELS] [--width W]

Each network runs in a process of its own, forward and backward, on the CPU. "Kept" is what autograd
holds between forward and backward, parameters apart; "peak" is what the process grew by.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

import torch

from foveal.backbones.registry import build_backbone
from foveal.engine.runfolder import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    arguments = parser.parse_args()
    about = environment()
    print(f"{about['processor']}, {about['cores']} cores, torch {about['versions']['torch']}")
    print(f"batch {arguments.batch}, {arguments.size} px, width {arguments.width}, float32")
    context = multiprocessing.get_context("spawn")
    for name, network in {
        "revnet50": {"name": "revnet50"},
        "revnet50, stored": {"name": "revnet50", "stored": True},
        "resnetv2_50": {"name": "resnetv2_50"},
    }.items():
        with context.Pool(1) as pool:
            kept, peak, seconds = pool.apply(
                measure, (network, arguments.batch, arguments.size, arguments.width)
            )
        print(f"{name:18s} kept {kept / 2**20:7.0f} MiB   peak {peak:7.0f} MiB   {seconds:5.1f} s")


def measure(
    network: dict[str, Any], batch: int, size: int, width: float
) -> tuple[int, float, float]:
    """Bytes kept, MiB the process grew by, seconds of forward and backward (the second of two)."""
    torch.manual_seed(0)
    backbone = build_backbone(width=width, **network).to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    own = {p.data_ptr() for p in backbone.parameters()}
    kept: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.data_ptr() not in own:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    backbone(x[:1])["pooled"].sum().backward()
    before = _peak()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = backbone(x)["pooled"].square().mean()
    loss.backward()
    peak = _peak() - before
    began = time.perf_counter()
    backbone(x)["pooled"].square().mean().backward()
    return sum(kept.values()), peak, time.perf_counter() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
