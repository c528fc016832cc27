import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation import linear as linear_module
from foveal.evaluation.run import evaluate
from foveal.evaluation.side_by_side import conditions
from foveal.metrics.robustness import mean_corruption_error


@pytest.fixture(autouse=True)
def _every_fourth_l2(monkeypatch):
    monkeypatch.setattr(linear_module, "_COARSE_FROM", 0)


def _encoder():
    torch.manual_seed(0)
    return Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16, fraction=1.0)


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Eight things of two colours each, seen with noise; distractors of one colour."""
    root = tmp_path_factory.mktemp("things")
    draw = np.random.default_rng(0)
    for t in range(8):
        halves = draw.uniform(40, 220, (2, 3)).repeat(8, 0)[:, None].repeat(16, 1)
        for i in range(4):
            part = "query" if i == 0 else "gallery"
            _save(root / part / f"thing {t}" / f"{i}.png", halves + draw.normal(0, 25, (16, 16, 3)))
    for i in range(12):
        plain = draw.uniform(40, 220, 3) + draw.normal(0, 25, (16, 16, 3))
        _save(root / "gallery" / "_distractor" / f"{i}.png", plain)
    return root


def test_instances(things):
    encoder = _encoder()
    before = {name: v.clone() for name, v in encoder.state_dict().items()}
    found = evaluate(encoder, things, protocols=["instances"])
    assert [r.metric for r in found] == [
        f"map_trapezoid {name}" for name in ("pooled", "rmac", "rmac_whitened")
    ]
    for r in found:
        assert r.n == 8 and set(r.baselines) == {"random_init", "pixels"}
        assert 0.2 < r.value <= 1 and r.interval[0] <= r.value <= r.interval[1]
        assert r.configuration["whitened_on"] == "the distractors"
        json.dumps(r.to_json(), allow_nan=False)
    assert len({r.baselines["pixels"]["value"] for r in found}) == 1
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_instances_in_another_layout_or_with_another_map(things, tmp_path):
    with pytest.raises(FovealError, match="no map 'stage9'"):
        evaluate(_encoder(), things, protocols=["instances"], changes={"end": "stage9"})
    copy = shutil.copytree(things, tmp_path / "copy")
    (copy / "query" / "thing 9").mkdir()
    with pytest.raises(FovealError, match=r"thing 9 asks .* does not hold"):
        evaluate(_encoder(), copy, protocols=["instances"])
    shutil.rmtree(copy / "gallery")
    with pytest.raises(FovealError, match="has no gallery/") as error:
        evaluate(_encoder(), copy, protocols=["instances"])
    assert "query/THING" in error.value.hint


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Three classes by hue, and the test pictures under noise and darkness of three severities."""
    root = tmp_path_factory.mktemp("noisy")
    draw = np.random.default_rng(0)
    for part, n in (("train", 75), ("val", 30)):
        for i in range(n):
            x = 60 + 70 * np.eye(3)[i % 3] + draw.normal(0, 30, (16, 16, 3))
            name = f"class {i % 3}/{i:02d}.png"
            _save(root / part / name, x)
            for level in (1, 2, 3) if part == "val" else ():
                far = x + draw.normal(0, 60 * level, x.shape)
                _save(root / "corrupted" / "noise" / str(level) / name, far)
                _save(root / "corrupted" / "dark" / str(level) / name, x / (1 + level))
    return root


def test_corruptions(noisy, tmp_path):
    found = {r.metric: r for r in evaluate(_encoder(), noisy, protocols=["corruptions"])}
    assert list(found) == [
        "mce", "error clean", "error corrupted", "error dark", "error noise", "ece clean",
        "ece corrupted",
    ]  # fmt: skip
    assert found["mce"].baselines["random_init"]["value"] == 1  # itself
    both = (found["error dark"].value + found["error noise"].value) / 2
    assert found["error corrupted"].value == pytest.approx(both)
    assert found["error clean"].value < found["error corrupted"].value
    for r in found.values():
        assert not r.higher_is_better and r.n == 30
        assert r.interval[0] <= r.value <= r.interval[1]
        json.dumps(r.to_json(), allow_nan=False)
        assert conditions(r)["ece_bins"] == 15

    file = tmp_path / "alexnet.json"
    file.write_text(json.dumps({"clean": 0.3, "noise": [0.5, 0.7, 0.9], "dark": [0.4, 0.6, 0.8]}))
    changes = {"reference": str(file)}
    again = {
        r.metric: r for r in evaluate(_encoder(), noisy, protocols=["corruptions"], changes=changes)
    }
    assert "relative_mce" in again
    # One corruption's errors are the mean over severities: with that the mCE can be checked.
    dark, noise = (3 * again[f"error {name}"].value for name in ("dark", "noise"))
    expected = mean_corruption_error([[dark, 0, 0], [noise, 0, 0]], [[1.8, 0, 0], [2.1, 0, 0]])
    assert again["mce"].value == pytest.approx(expected)


def test_corrupted_copies_in_another_layout(noisy, tmp_path):
    def refused(change, match, **changes):
        copy = shutil.copytree(noisy, tmp_path / str(len(list(tmp_path.iterdir()))))
        change(copy)
        with pytest.raises(FovealError, match=match):
            evaluate(_encoder(), copy, protocols=["corruptions"], changes=changes)

    refused(lambda d: shutil.rmtree(d / "corrupted"), "has no corrupted/")
    refused(lambda d: (d / "corrupted/noise/3/class 0/00.png").unlink(), r"noise/3 has no .*00.png")
    refused(lambda d: shutil.rmtree(d / "corrupted/noise/3"), "noise has 2 severities and dark 3")
    refused(lambda d: (d / "corrupted/dark/1").rename(d / "corrupted/dark/low"), "no severity")
    refused(lambda d: None, "there is no", reference="nowhere.json")
