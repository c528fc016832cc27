"""Frozen, new and read layers; VOC's classes; RotNet's few labels; transfer layer by layer."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_finetune import _encoder, _pictures, _train

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise, Sobel
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation.run import evaluate
from foveal.evaluation.tuned import settle, tuned_copy
from foveal.evaluation.tuning import TUNINGS, Tuning, get_tuning
from foveal.recipe import Optimiser

SHORT = {"epochs": 1, "batch": 16}


@pytest.fixture
def voc(tmp_path):
    """Twenty pictures in VOC's layout: red ones, bright ones, both, and difficult ones."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    draw = np.random.default_rng(0)
    names = [f"p{i:02d}" for i in range(24)]
    for i, name in enumerate(names):
        held = [["red"], ["green"], ["red", "green"]][i % 3]
        picture = draw.normal(60, 20, (20, 24, 3))
        picture[..., 0] += 120 * ("red" in held)
        picture[..., 1] += 120 * ("green" in held)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(
            tmp_path / "JPEGImages" / f"{name}.png"
        )
        objects = "".join(
            f"<object><name>{c}</name><difficult>{int(i == 2)}</difficult><bndbox><xmin>1</xmin>"
            "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            for c in held
        )
        (tmp_path / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "trainval.txt").write_text("\n".join(names[:15]))
    (lists / "test.txt").write_text("\n".join(names[15:]))
    return tmp_path


@pytest.fixture
def data(tmp_path):
    images, labels = _pictures(60)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    return tmp_path / "data.npz"


def _state(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def test_new_layers_take_drawn_weights_and_old_ones_stay():
    encoder, drawn = _encoder(0), _encoder(1)
    net, _ = tuned_copy(encoder, 3, Tuning(fresh="stage1"), drawn=drawn, seed=0)
    for name, value in net.encoder.state_dict().items():
        early = ".stem." in name or ".stage1." in name
        assert torch.equal(value, (encoder if early else drawn).state_dict()[name]), name


def test_new_linear_layers_start_small_with_a_bias_where_asked():
    torch.manual_seed(0)
    trunk = build_backbone("caffenet", width=0.125)
    encoder = Encoder([trunk], [[Normalise([0.5] * 3, [0.25] * 3)]], channels=3, size=224)
    tuning = get_tuning("krahenbuhl_fc68")
    before = torch.get_rng_state()
    net, groups = tuned_copy(encoder, 20, tuning, drawn=encoder, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        assert abs(float(layer.weight.detach().std()) - 0.01) < 5e-4
        assert torch.equal(layer.bias, torch.full_like(layer.bias, 0.1))
    trained = {id(p) for g in groups for p in g.parameters}
    assert trained == {id(p) for layer in layers for p in layer.parameters()}
    _, groups = tuned_copy(encoder, 20, get_tuning("krahenbuhl_fc8"), drawn=encoder, seed=0)
    assert [len(g.parameters) for g in groups] == [2]
    _, groups = tuned_copy(encoder, 20, get_tuning("krahenbuhl_all"), drawn=encoder, seed=0)
    assert sum(len(g.parameters) for g in groups) == len(list(encoder.parameters())) + 2


def test_kept_batch_norms_keep_their_statistics_and_new_ones_make_their_own():
    tuning = get_tuning("small", {**SHORT, "fresh": "stage1", "batchnorm": "frozen"})
    encoder, drawn = _encoder(0), _encoder(1)
    net, _ = _train(tuning, encoder=encoder, drawn=drawn)
    for name, value in net.encoder.named_buffers():
        if "running" not in name:
            continue
        early = ".stem." in name or ".stage1." in name
        old = dict((encoder if early else drawn).named_buffers())[name]
        assert torch.equal(value, old) == early, name


def test_a_block_of_nin_reads_a_map_and_nothing_else_is_trained():
    tuning = get_tuning("rotnet", {"steps": 4, "batch": 16, "freeze": "stage2", "reads": "stage2"})
    encoder = _encoder()
    net, about = _train(tuning, encoder=encoder)
    assert about["steps"] == 4
    assert [m.kernel_size[0] for m in net.head if isinstance(m, torch.nn.Conv2d)] == [3, 1, 1]
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, net.encoder.state_dict()[name]), name
    settle(net, tuning)
    norms = [m for m in net.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(m.training for m in norms) and net.head.training
    with pytest.raises(FovealError, match="reads a map") as error:
        tuned_copy(encoder, 3, Tuning(on_top="nin"), drawn=None, seed=0)
    assert "reads=stem" in error.value.hint or "reads=stage1" in error.value.hint
    with pytest.raises(FovealError, match="no end point 'block2'"):
        tuned_copy(encoder, 3, get_tuning("rotnet"), drawn=None, seed=0)


def test_pictures_of_several_classes(voc):
    tuning = get_tuning("small", {"epochs": 12, "batch": 8, "crops": 2, "batchnorm": "frozen"})
    found = evaluate(_encoder(), voc, protocols=["finetune"], tuning=tuning)
    assert [r.metric for r in found] == ["map_raw", "map_eleven_point"]
    for r in found:
        assert r.n == 9 and set(r.baselines) == {"random_init", "pixels"}
        low, high = r.interval
        assert low <= r.value <= high
    assert found[0].value > 0.9
    about = found[0].configuration
    assert about["ap"].startswith("raw") and about["test_views"].startswith("2 training views")
    assert about["view"]["crop"] == "whole"
    with pytest.raises(FovealError, match="fewlabels needs one class a picture"):
        evaluate(_encoder(), voc, protocols=["fewlabels"])


def test_transfer_layer_by_layer(data):
    tuning = get_tuning("small", {**SHORT, "after": ["stage1", "stage2"]})
    found = evaluate(_encoder(), data, protocols=["retrain_after", "finetune_after"], tuning=tuning)
    assert [r.protocol for r in found] == [
        "retrain-after-stage1", "retrain-after-stage2", "finetune-after-stage1",
        "finetune-after-stage2",
    ]  # fmt: skip
    chosen = [r.configuration["chosen"]["trained"] for r in found]
    assert [c["fresh"] for c in chosen] == ["stage1", "stage2", None, None]
    assert [c["freeze"] for c in chosen] == ["stage1", "stage2"] * 2
    with pytest.raises(FovealError, match="no end point 'stage7'"):
        evaluate(_encoder(), data, protocols=["retrain_after"], tuning=Tuning(after=("stage7",)))


def test_the_rival_of_few_labels_trains_all_it_has(data):
    tuning = get_tuning("rotnet", {"steps": 3, "batch": 16, "freeze": "stage2", "reads": "stage2"})
    found = evaluate(_encoder(), data, protocols=["fewlabels"], tuning=tuning, labels=[4])
    trained, rival = (found[1].configuration["chosen"][k] for k in ("trained", "random_init"))
    assert (trained["freeze"], trained["reads"], trained["on_top"]) == ("stage2", "stage2", "nin")
    assert (rival["freeze"], rival["reads"], rival["on_top"]) == (None, None, "linear")
    assert trained["steps"] == rival["steps"] == 3


def test_sobel_filters_become_part_of_the_first_layer(data):
    torch.manual_seed(0)
    trunk = build_backbone("small", in_chans=2, width=0.25, stem="small")
    layers = [Normalise([0.5] * 3, [0.25] * 3), Sobel()]
    encoder = Encoder([trunk], [layers], channels=3, size=16, fraction=1.0).eval()
    tuning = get_tuning("deepercluster", {"epochs": 1, "batch": 16, "optimiser": {"lr": 0.01}})
    (top1,) = evaluate(encoder, data, protocols=["finetune"], tuning=tuning)
    assert top1.configuration["chosen"]["trained"]["folded"] is True
    (plain,) = evaluate(_encoder(), data, protocols=["finetune"], tuning=tuning)
    assert plain.configuration["chosen"]["trained"]["folded"] is False


@pytest.mark.parametrize("name", TUNINGS)
def test_recipes_are_whole(name):
    tuning = get_tuning(name)
    assert isinstance(tuning.optimiser, Optimiser)
    steps, unit = tuning.length(5011)
    assert steps > 0 and unit > 0
    assert all(m * unit < steps for m in tuning.schedule.milestones)


def test_recipes_of_voc():
    krahenbuhl = get_tuning("krahenbuhl_all")
    assert (krahenbuhl.steps, krahenbuhl.batch, krahenbuhl.crops) == (80_000, 16, 10)
    assert krahenbuhl.schedule.milestones == tuple(range(10_000, 80_000, 10_000))
    assert (krahenbuhl.freeze, krahenbuhl.fresh, krahenbuhl.clip) == (None, None, 10.0)
    fc68, whole = get_tuning("deepcluster_fc68"), get_tuning("deepcluster_all")
    assert (fc68.optimiser.lr, fc68.schedule.milestones[0], fc68.freeze) == (0.003, 5000, "last")
    assert (whole.optimiser.lr, whole.schedule.milestones[0]) == (0.001, 20_000)
    assert (whole.fresh, whole.batchnorm, whole.steps) == ("last", "frozen", 150_000)
    rotnet = get_tuning("rotnet")
    assert rotnet.steps == 39_062 and rotnet.epochs_of(200) == pytest.approx(25_000, rel=1e-4)
    deeper = get_tuning("deepercluster_all")
    assert (deeper.optimiser.lr, deeper.optimiser.weight_decay) == (0.003, 1e-4)
