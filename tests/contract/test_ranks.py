"""The rank law: what N ranks compute equals what one process computes on the whole batch."""

import math
import os
import socket

import pytest
import torch
import torch.multiprocessing as processes
from cases import NAMES, kind_of_data, tiny_recipe

WORLDS = (4, 2, 1)
RECIPES = {name: {} for name in NAMES} | {
    "simclr-gradcache": {
        "accumulate": 2, "gradcache": True,
        "network": {"norm": "group"}, "options": {"head_norm": "layer"},
    }
}  # fmt: skip
TOLERANCE = 1e-5


def _free_ports(n):
    holders = [socket.socket() for _ in range(n)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def _work(rank, ports, piles, out):
    """One of four processes: it takes part in a world of four, of two and of one in turn."""
    torch.set_num_threads(1)
    import foveal

    for world, port in zip(WORLDS, ports, strict=True):
        if rank >= world:
            continue
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0",
            "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
        }  # fmt: skip
        for name, changes in RECIPES.items():
            run = f"{out}/{world}/{name.replace(':', '-')}"
            # Two steps: the second sees what after_step made of the first.
            method = name.removesuffix("-gradcache")
            recipe = tiny_recipe(method, epochs=2 / 3, **changes)
            foveal.pretrain(piles[kind_of_data(method)], run, recipe=recipe, quiet=True)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, piles):
    out = tmp_path_factory.mktemp("ranks")
    arguments = (_free_ports(len(WORLDS)), piles, str(out))
    processes.spawn(_work, arguments, nprocs=max(WORLDS), join=True)
    return out


@pytest.mark.parametrize("world", [w for w in WORLDS if w > 1])
@pytest.mark.parametrize("name", RECIPES)
def test_loss_weights_and_state_do_not_depend_on_ranks(runs, name, world):
    from foveal.engine.runfolder import RunFolder

    folder = name.replace(":", "-")
    one, many = RunFolder(runs / "1" / folder), RunFolder(runs / str(world) / folder)
    losses = [[r["loss"] for r in f.metrics() if r["kind"] == "train"] for f in (one, many)]
    assert len(losses[0]) == len(losses[1]) >= 1
    assert all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for a, b in zip(*losses, strict=True)
    )
    a, b = (torch.load(f.last, weights_only=True)["method"] for f in (one, many))
    assert a.keys() == b.keys()
    for key in a:
        if a[key].is_floating_point():
            assert torch.allclose(a[key], b[key], rtol=TOLERANCE, atol=TOLERANCE), key
        else:
            assert torch.equal(a[key], b[key]), key
