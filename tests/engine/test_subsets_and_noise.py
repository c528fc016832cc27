"""Nested subsets of pictures, and label noise made on purpose."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import foveal
from foveal.backbones.registry import build_backbone
from foveal.data.labels import noisy
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.build import subset
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.methods.base import DataInfo
from foveal.methods.supervised import Supervised, SupervisedOptions
from foveal.recipe import Evaluation, Labels, Machine, Network, Recipe

N = 40


def _write(path):
    images = np.random.default_rng(0).integers(0, 256, (N, 16, 16, 3), np.uint8)
    np.savez(path, images=images, labels=np.arange(N) % 4)
    return path


def _run(data, out, **changes):
    recipe = Recipe(
        method="supervised",
        network=Network(name="small", width=0.125),
        batch=4,
        evaluation=Evaluation(size=16, fraction=1.0),
        machine=Machine(cores=1, log_every=1),
        **{"options": {"view": {"size": 16}}, "epochs": 1, **changes},
    )
    return foveal.pretrain(data, out, recipe=recipe, quiet=True)


def test_small_subsets_are_part_of_large_ones(tmp_path):
    report = scan(open_source(_write(tmp_path / "a.npz")))
    report = replace(report, good=np.delete(report.good, 7))
    before = set()
    for count in (1, 5, 12, 39):
        rows = subset(report, count, 3).good.tolist()
        assert len(set(rows)) == count and rows == sorted(rows) and 7 not in rows
        assert before <= set(rows)
        before = set(rows)
    assert subset(report, None, 3) is report
    assert subset(report, 12, 3).good.tolist() != subset(report, 12, 4).good.tolist()
    with pytest.raises(FovealError, match="pictures=40"):
        subset(report, 40, 3)


def test_a_run_sees_its_subset_and_nothing_else(tmp_path):
    data = _write(tmp_path / "a.npz")
    run = _run(data, tmp_path / "run", pictures=12, epochs=2)
    assert len(run.table) == 12 and run.outcome.seen == 24
    report = scan(open_source(data))
    assert run.table.image.tolist() == subset(report, 12, 0).good.tolist()


@settings(deadline=None, max_examples=20)
@given(classes=st.integers(2, 9), seed=st.integers(0, 99))
def test_noise(classes, seed):
    true = np.arange(4000) % classes
    true[::10] = -1
    known = true >= 0
    few, many = (noisy(true, classes, flip=q, drop=0.1, seed=seed) for q in (0.2, 0.4))
    assert (few[~known] == -1).all() and few.max() == classes - 1
    assert abs((few[known] < 0).mean() - 0.1) < 0.03
    wrong = [known & (f >= 0) & (f != true) for f in (few, many)]
    kept = known & (few >= 0)
    assert abs(wrong[0][kept].mean() - 0.2) < 0.04 and abs(wrong[1][kept].mean() - 0.4) < 0.04
    assert (few[wrong[0]] == many[wrong[0]]).all()
    # Every other class is as likely.
    share = np.bincount((few - true)[wrong[0]] % classes, minlength=classes) / wrong[0].sum()
    assert share[0] == 0 and abs(share[1:] - 1 / (classes - 1)).max() < 0.12
    # A row's noise is its own: others may come or go.
    assert (noisy(true[:100], classes, flip=0.2, drop=0.1, seed=seed) == few[:100]).all()


def test_a_run_with_noise_continues_with_the_same(tmp_path):
    data, tree = _write(tmp_path / "a.npz"), tmp_path / "tree.csv"
    tree.write_text("0,even\n2,even\n1,odd\n3,odd\n")
    labels = Labels(flip=0.3, drop=0.2, hierarchy=str(tree))
    options = {"view": {"size": 16}, "loss": "sigmoid", "unlabelled": "negative"}
    done = _run(data, tmp_path / "run", labels=labels, options=options)
    true = np.arange(N) % 4
    expected = noisy(true, 4, flip=0.3, drop=0.2, seed=0)
    assert done.table.label.tolist() == expected.tolist()
    assert (expected == -1).sum() > 2 and ((expected >= 0) & (expected != true)).sum() > 4
    # Pictures without label are drawn too.
    assert done.outcome.seen == N
    weights = torch.load(RunFolder(tmp_path / "run").last, weights_only=True)["method"]
    assert weights["head.weight"].shape[0] == 4 and weights["above.weight"].shape[0] == 2
    RunFolder(tmp_path / "run").finished_file.unlink()
    tree.unlink()
    again = _run(data, tmp_path / "run", labels=labels, options=options)
    assert again.table.label.tolist() == expected.tolist()


def _method(positives=None, **options):
    return Supervised(
        lambda in_chans=None, **changes: build_backbone("small", width=0.125),
        DataInfo(samples=10, classes=3, positives=positives),
        SupervisedOptions(view={"size": 16}, **options),
    )


def test_heads():
    positives = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]], dtype=torch.bool)
    method = _method(positives, loss="sigmoid")
    assert method.above.out_features == 1 and method.classifiers() == [method.head]
    assert torch.sigmoid(method.head.bias[0]).item() == pytest.approx(1 / 4)
    assert method.streams()["main"].labelled
    assert not _method(loss="sigmoid", unlabelled="negative").streams()["main"].labelled
    assert _method(loss="sigmoid").above is None
    with pytest.raises(FovealError, match=r"options\.loss=sigmoid|several classes true"):
        _method(positives)
    with pytest.raises(ValueError, match="needs loss=sigmoid"):
        _method(unlabelled="negative")
