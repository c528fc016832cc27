import numpy as np
import pytest
import torch
from torch import nn

from foveal.backbones.embedding import at_layer, save_embedding
from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.core.files import read_json
from foveal.errors import FovealError
from foveal.evaluation.features import weights_digest
from foveal.evaluation.run import evaluate
from foveal.exporting.weights import load_encoder, save_encoder
from foveal.verbs import embed, pretrain


def _encoder():
    torch.manual_seed(0)
    trunk = build_backbone("small", width=0.25)
    return Encoder([trunk], [[]], channels=3, size=16, fraction=1.0).eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pictures.npz"
    draw, labels = np.random.default_rng(0), np.arange(60) % 3
    tones = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
    x = tones[labels][:, None, None] + draw.normal(0, 30, (60, 20, 20, 3))
    np.savez(path, images=x.clip(0, 255).astype(np.uint8), labels=labels)
    return path


@pytest.mark.parametrize("bias", [True, False])
def test_the_embedding_is_the_linear_layer_behind_pooled(tmp_path, bias):
    encoder, layer = _encoder(), nn.Linear(64, 5, bias=bias)
    save_embedding(layer, tmp_path)
    seen = at_layer(encoder, tmp_path, "embedding")
    images = torch.rand(2, 3, 16, 16)
    found = seen(images, ["stage2"])
    assert torch.equal(found["pooled"], layer(encoder(images)["pooled"]))
    assert seen.dim == 5 and found["stage2"].shape[1] == encoder.ends[2].channels
    # The random start beside it has such a layer too, and a file holds it.
    assert Encoder.from_description(seen.describe()).dim == 5
    save_encoder(seen, tmp_path / "whole.safetensors", {})
    again = load_encoder(tmp_path / "whole.safetensors")
    assert torch.equal(again(images)["pooled"], found["pooled"])
    assert weights_digest(seen, without="projection.") == weights_digest(encoder)
    assert "projection" not in encoder.describe()


def test_a_run_is_measured_by_its_embedding_too(pictures, tmp_path):
    run = tmp_path / "run"
    changes = {"network": {"width": 0.25}, "options": {"view": {"size": 16}, "outputs": 7},
               "evaluation": {"size": 16}}  # fmt: skip
    pretrain(pictures, run, recipe="npid/small", epochs=1, changes=changes, quiet=True)
    evaluate(run, pictures, protocols=["retrieval", "knn"])
    (pooled,) = {r["configuration"]["weights"] for r in read_json(run / "results/retrieval.json")}
    results = evaluate(run, pictures, protocols=["retrieval", "knn"], layer="embedding")
    assert {r.configuration["layer"] for r in results} == {"embedding"}
    assert {r.configuration["dim"] for r in results} == {7}
    # Beside those of the pooled features, which are of the same run.
    kept = read_json(run / "results/retrieval.json")
    assert [r["configuration"]["layer"] for r in kept] == ["pooled"] * 3 + ["embedding"] * 3
    assert {r["configuration"]["weights"] for r in kept} == {pooled}
    assert np.load(embed(run, pictures, tmp_path / "e.npz", layer="embedding"))["features"].shape \
        == (60, 7)  # fmt: skip


def test_what_has_no_embedding_says_so(pictures, tmp_path):
    save_encoder(_encoder(), tmp_path / "backbone.safetensors", {})
    with pytest.raises(FovealError, match=r"holds no embedding.safetensors") as error:
        evaluate(tmp_path, pictures, layer="embedding")
    assert "npid" in str(error.value.hint)
    with pytest.raises(FovealError, match="there is no layer 'conv'"):
        evaluate(tmp_path, pictures, layer="conv")
    save_embedding(nn.Linear(64, 5), tmp_path)
    with pytest.raises(FovealError, match="endpoints does not read the vector"):
        evaluate(tmp_path, pictures, layer="embedding", protocols=["knn", "endpoints"])
    with pytest.raises(FovealError, match="an Encoder has no layer"):
        evaluate(_encoder(), pictures, layer="embedding")
