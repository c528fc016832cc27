"""Classes by a run's classifier, and the table of them that another run learns from."""

import numpy as np
import pytest
import torch

import foveal
from foveal.core.batch import as_images
from foveal.errors import FovealError
from foveal.evaluation.predict import five_crops
from foveal.exporting.weights import load_classifier
from foveal.recipe import Evaluation, Machine, Network, Recipe

N, SIDE = 24, 20


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright tops are one class, bright bottoms the other: turns change the class."""
    path = tmp_path_factory.mktemp("data") / "a.npz"
    images = np.random.default_rng(0).integers(0, 40, (N, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(N) % 2
    for image, c in zip(images, labels, strict=True):
        image[:10] += np.uint8(150 * (1 - c))
        image[10:] += np.uint8(150 * c)
    np.savez(path, images=images, labels=labels)
    return path


def _recipe(**changes):
    return Recipe(
        **{
            "method": "supervised",
            "options": {"view": {"size": 16}},
            "network": Network(name="small", width=0.125, extra={"pool": "avg"}),
            "batch": 8,
            "epochs": 30,
            "evaluation": Evaluation(size=16, fraction=0.8),
            "machine": Machine(cores=1, monitor_every=100.0),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    foveal.pretrain(data, out, recipe=_recipe(), quiet=True)
    return out


def test_five_crops_are_the_centre_and_the_corners():
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert [c[0, 0, 0, 0].item() for c in five_crops(x, 3)] == [6, 0, 2, 10, 12]
    assert {tuple(c.shape) for c in five_crops(x, 3)} == {(1, 1, 3, 3)}


def test_predictions_are_the_classifiers(run, data, tmp_path):
    found = foveal.predict(run, data, out=tmp_path / "p.csv")
    loaded = np.load(data)
    assert found.classes == ["0", "1"] and len(found.names) == N
    assert (found.labels == loaded["labels"]).mean() > 0.9
    # The centre 16 of 20 pixels are what the view of 16 px and a fraction of 0.8 is.
    images = torch.from_numpy(loaded["images"][:, 2:18, 2:18])
    with torch.no_grad():
        logits = load_classifier(run)(as_images(images)).numpy()
    assert np.allclose(found.logits, logits, atol=0.02)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "name,label,probability" and len(lines) == N + 1
    name, label, probability = lines[1].split(",")
    assert name == found.names[0] and label == found.classes[found.labels[0]]
    assert float(probability) == pytest.approx(found.probabilities[0], abs=1e-6)


def test_logits_are_averaged_over_crops_and_turns(run, data):
    once = foveal.predict(run, data).logits
    turned = np.load(data)["images"]
    parts = [foveal.predict(run, np.rot90(turned, k, (1, 2)).copy()).logits for k in range(4)]
    four = foveal.predict(run, data, turns=4).logits
    assert np.allclose(four, np.mean(parts, axis=0), atol=1e-4)
    assert not np.allclose(four, once, atol=1e-2)
    five = foveal.predict(run, data, crops=5).logits
    assert five.shape == once.shape and not np.allclose(five, once, atol=1e-3)
    with pytest.raises(FovealError, match="3 crops in 1 turns"):
        foveal.predict(run, data, crops=3)


def test_a_run_without_classes_predicts_none(run, data, tmp_path):
    recipe = _recipe(method="rotation", epochs=1)
    foveal.pretrain(data, tmp_path / "r", recipe=recipe, quiet=True)
    with pytest.raises(FovealError, match="it learned no classes"):
        foveal.predict(tmp_path / "r", data)


def test_a_second_stage_begins_with_the_classifier_of_the_first(run, data, tmp_path):
    """Predictions fill in what few labels leave; the head is taken over with the trunk."""
    table = tmp_path / "p.csv"
    foveal.predict(run, data, out=table)
    changes = ["labels.per_class=2", f"labels.predicted={table}", "optimiser.lr=1e-9", "epochs=1"]
    second = foveal.pretrain(
        data, tmp_path / "second", recipe=_recipe(), init=str(run), changes=changes, quiet=True
    )
    assert (second.table.label >= 0).all()
    assert torch.allclose(second.classifier.weight, load_classifier(run).head.weight, atol=1e-6)
    assert np.allclose(second.classifier.bias.detach(), load_classifier(run).head.bias.detach())
