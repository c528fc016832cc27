"""Few labels in a run: what is hidden is never seen, and the folder keeps what was chosen."""

import numpy as np
import pytest
import torch

import foveal
from foveal.engine.runfolder import RunFolder
from foveal.errors import FovealError
from foveal.recipe import Evaluation, Labels, Machine, Network, Recipe

N = 40


def _write(path, labels):
    images = np.random.default_rng(0).integers(0, 256, (N, 16, 16, 3), np.uint8)
    np.savez(path, images=images, labels=np.asarray(labels))
    return path


def _run(data, out, labels, **changes):
    recipe = Recipe(
        method="supervised",
        options={"view": {"size": 16}},
        network=Network(name="small", width=0.125),
        batch=4,
        labels=labels,
        evaluation=Evaluation(size=16, fraction=1.0),
        machine=Machine(cores=1, monitor_every=1.0, log_every=1),
        **{"epochs": 3, **changes},
    )
    return foveal.pretrain(data, out, recipe=recipe, quiet=True)


def _state(out):
    return torch.load(RunFolder(out).last, weights_only=True)


def test_hidden_labels_change_nothing(tmp_path):
    """Neither the weights nor what is logged: the online probe sees no more than training."""
    true = np.arange(N) % 2
    a = _run(_write(tmp_path / "a.npz", true), tmp_path / "a", Labels(per_class=6, seed=3))
    names = a.folder.labels_file.read_text().split()
    rows = [int(n.partition("[")[2].rstrip("]")) for n in names]
    assert np.bincount(true[rows]).tolist() == [6, 6]
    other = 1 - true
    other[rows] = true[rows]
    assert (other != true).sum() == N - 12
    (tmp_path / "few.txt").write_text(a.folder.labels_file.read_text().replace("a.npz", "b.npz"))
    given = Labels(file=str(tmp_path / "few.txt"))
    b = _run(_write(tmp_path / "b.npz", other), tmp_path / "b", given)
    first, second = _state(tmp_path / "a"), _state(tmp_path / "b")
    assert all(torch.equal(v, second["method"][k]) for k, v in first["method"].items())
    assert first["best"] == second["best"]
    # Three passes over 12 pictures in batches of 4: epochs count what is drawn.
    assert first["step"] == 9 and set(b.table.label.tolist()) == {-1, 0, 1}


def test_a_run_continues_with_the_labels_it_began_with(tmp_path):
    data, few = _write(tmp_path / "a.npz", np.arange(N) % 2), tmp_path / "few.txt"
    few.write_text("a.npz[0]\na.npz[1]\na.npz[2]\na.npz[3]\n")
    predicted = tmp_path / "predicted.csv"
    rows = ("name,label,probability", "a.npz[0],1,0.9", "a.npz[9],0,0.5", "a.npz[10],0,0.4")
    predicted.write_text("\n".join(rows))
    choice = Labels(file=str(few), predicted=str(predicted), confidence=0.5)
    done = _run(data, tmp_path / "run", choice)
    # Picture 0 is a 0, whatever is predicted; 9 is what is predicted; of 10 nobody is sure.
    assert done.table.label[[0, 1, 2, 3, 9]].tolist() == [0, 1, 0, 1, 0]
    assert (done.table.label >= 0).sum() == 5
    folder = RunFolder(tmp_path / "run")
    folder.finished_file.unlink()
    few.unlink()
    predicted.write_text("name,label\na.npz[9],1\n")
    again = _run(data, tmp_path / "run", choice)
    assert np.array_equal(again.table.label, done.table.label)


def test_the_planner_counts_labelled_pictures(tmp_path):
    data = _write(tmp_path / "a.npz", np.arange(N) % 2)
    changes = ["labels.per_class=8", "epochs=1", "network.width=0.125", "machine.cores=1"]
    run = foveal.pretrain(data, tmp_path / "r", method="supervised", changes=changes, quiet=True)
    assert run.recipe.batch == 4 and run.outcome.seen == 16


def test_confidence_is_of_predictions():
    with pytest.raises(ValueError, match="predicted=FILE goes with it"):
        Labels(per_class=2, confidence=0.5)


def test_two_ways_to_choose_are_refused(tmp_path):
    with pytest.raises(FovealError, match="per_class and file choose labels in different ways"):
        foveal.pretrain(
            _write(tmp_path / "a.npz", np.arange(N) % 2),
            tmp_path / "r",
            method="supervised",
            changes=["labels.per_class=8", "labels.file=x.txt"],
        )
