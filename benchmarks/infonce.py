"""InfoNCE in tiles against the dense computation: time, memory, and that they agree.

    python benchmarks/infonce.py [--pictures 8192] [--dim 128] [--rounds 5] [--threads 1]

Forward and backward of NT-Xent over two views of every picture. Memory is what the process needed
at its highest beyond what it held before, each in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from _ab import in_turn, machine
from foveal.losses.infonce import nt_xent

T = 0.1


def dense(a: Tensor, b: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """The usual form: all similarities, itself out, cross-entropy with the partner's number."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    own = torch.arange(len(z))
    logits = (z @ z.T / temperature).scatter(1, own[:, None], float("-inf"))
    partner = own.roll(len(a))
    correct = (logits.detach().argmax(1) == partner).float().mean()
    return F.cross_entropy(logits, partner), correct


FORMS = {"tiled": nt_xent, "dense": dense}


def both_views(pictures: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(pictures, dim, generator=generator) for _ in range(2))
    return a.requires_grad_(), b.requires_grad_()


def once(form: str, a: Tensor, b: Tensor) -> Tensor:
    a.grad = b.grad = None
    loss, _ = FORMS[form](a, b, temperature=T)
    loss.backward()
    return loss.detach()


def high_water(mark: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(mark)) * 1024


def extra_bytes(form: str, pictures: int, dim: int) -> int:
    """Of this process; the kernels and gradients are there before it counts."""
    once(form, *both_views(64, dim))
    a, b = both_views(pictures, dim)
    a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
    before = high_water("VmRSS")
    once(form, a, b)
    return high_water("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=8192)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=FORMS, help=argparse.SUPPRESS)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    if o.memory_of:
        print(extra_bytes(o.memory_of, o.pictures, o.dim))
        return
    print(machine())
    size = ["--pictures", o.pictures, "--dim", o.dim, "--threads", o.threads]
    used = {}
    for form in FORMS:
        command = [sys.executable, __file__, "--memory-of", form, *map(str, size)]
        used[form] = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    a, b = both_views(o.pictures, o.dim)
    times = in_turn(lambda: once("tiled", a, b), lambda: once("dense", a, b), o.rounds)
    losses = {form: float(once(form, a, b)) for form in FORMS}
    gradients = {}
    for form in FORMS:
        once(form, a, b)
        gradients[form] = a.grad
    difference = (gradients["tiled"] - gradients["dense"]).abs().max()
    print(f"{2 * o.pictures} views, d={o.dim}, forward and backward")
    print(f"time, tiled against dense: {times}")
    print(
        f"extra memory: {used['tiled'] / 2**20:.0f} MB against {used['dense'] / 2**20:.0f} MB, "
        f"1/{used['dense'] / used['tiled']:.0f}"
    )
    print(
        f"loss {losses['tiled']:.6f} and {losses['dense']:.6f}; largest difference of a gradient "
        f"{difference:.1e}, largest gradient {gradients['dense'].abs().max():.1e}"
    )


if __name__ == "__main__":
    main()
