"""Clusters of rows that are cut between four processes and never joined."""

import multiprocessing
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes

from foveal.clustering.hierarchical import two_levels
from foveal.clustering.kmeans import kmeans
from foveal.clustering.whiten import pca_whiten
from foveal.core.rows import Rows, whole

WORLD = 4
N, D, K = 3000, 12, 40


def _features():
    """Blobs far from the origin, some rows many times: near ties, empty clusters, offsets."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(N, D)) + 3 * generator.integers(0, 3, (N, 1)) + 20
    x[generator.permutation(N)[:500]] = x[0]
    return x.astype(np.float32)


def _cluster(rows):
    plain = kmeans(rows, K, iterations=8, seed=3)
    warm = kmeans(rows, K, iterations=2, seed=3, start=plain.centroids)
    copies = np.repeat(plain.centroids[:1], K, 0)
    split = kmeans(rows, K, iterations=6, seed=4, start=copies)
    sphere = kmeans(rows, K, iterations=5, seed=5, spherical=True)
    white = kmeans(pca_whiten(rows, 6), K, iterations=5, seed=6)
    levels = two_levels(rows, 3, 7, iterations=5, seed=7)
    found = {"levels": levels}
    for name, c in {
        "plain": plain, "warm": warm, "split": split, "sphere": sphere, "white": white
    }.items():  # fmt: skip
        found |= {f"{name}_labels": c.assignments, f"{name}_centroids": c.centroids}
        found[f"{name}_objective"] = np.array(c.objective)
    return found


def _work(rank, port, out):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD
    )
    # Pieces in turn, as batches are cut, and the last rank holds twice as much as the others.
    at = np.flatnonzero(np.minimum(np.arange(N) // 64 % (WORLD + 1), WORLD - 1) == rank)
    rows = Rows(_features()[at], at, N, shared=True, folder=out)
    np.savez(out / f"{rank}.npz", **_cluster(rows))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    # torch is imported once, and four processes come of it.
    multiprocessing.set_forkserver_preload(["pytest", "foveal.clustering.hierarchical"])
    processes.start_processes(_work, (port, out), WORLD, start_method="forkserver")
    return [dict(np.load(out / f"{rank}.npz")) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def alone():
    return _cluster(whole(_features()))


def test_four_ranks_find_what_one_process_finds(found, alone):
    for ours in found:
        assert ours.keys() == alone.keys()
        for name, value in alone.items():
            if name.endswith("labels") or name == "levels":
                assert np.array_equal(ours[name], value), name
            elif name.endswith("objective"):
                assert ours[name] == pytest.approx(float(value), rel=1e-9)
            else:
                assert np.abs(ours[name] - value).max() <= 1e-6, name


def test_sums_are_exact_so_that_centroids_agree_in_every_bit(found, alone):
    for name in ("plain", "warm", "split"):
        assert np.array_equal(found[0][f"{name}_centroids"], alone[f"{name}_centroids"])
    assert len(np.unique(alone["split_labels"])) > K // 2  # from one, by splitting
