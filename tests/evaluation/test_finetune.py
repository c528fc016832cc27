import io
import json
import sys

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import BatchNorm2d

from foveal import cli
from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise
from foveal.backbones.registry import build_backbone
from foveal.data.loader import Table
from foveal.data.sources import ArraySource
from foveal.engine.optim import build_optimiser
from foveal.engine.runfolder import RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation import arms as module
from foveal.evaluation.features import weights_digest
from foveal.evaluation.finetune import labels_name, parse_labels
from foveal.evaluation.ranked import ranks_of
from foveal.evaluation.run import evaluate
from foveal.evaluation.training import scores_of, train
from foveal.evaluation.tuned import tuned_copy
from foveal.evaluation.tuning import TUNINGS, Tuning, get_tuning
from foveal.exporting.weights import save_encoder
from foveal.recipe import Labels, Recipe
from foveal.views.presets import center_view

SHORT = get_tuning("small", {"epochs": 2, "batch": 16})
QUIET = ProgressScreen(quiet=True)


def _encoder(seed=0, channels=3):
    torch.manual_seed(seed)
    trunk = build_backbone("small", in_chans=channels, width=0.25, stem="small")
    layers = [Normalise([0.5] * channels, [0.25] * channels)]
    return Encoder([trunk], [layers], channels=channels, size=16, fraction=1.0).eval()


def _pictures(n=90, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = draw.normal(110, 30, (n, 20, 20, 3)) + 60 * np.eye(3)[labels][:, None, None]
    return x.clip(0, 255).astype(np.uint8), labels


def _table(n=90, seed=0):
    source = ArraySource("pictures", *_pictures(n, seed))
    return Table(source, np.arange(n), source.labels)


@pytest.fixture
def data(tmp_path):
    images, labels = _pictures(120)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    return tmp_path / "data.npz"


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    recipe = Recipe(epochs=1, seed=3)
    folder.create(recipe, {"data": "pile", "fingerprint": "", "scan": {}})
    save_encoder(_encoder(), folder.backbone_file, {"recipe": recipe.to_json()})
    return folder.path


def _train(tuning, seed=0, encoder=None, n=90, drawn=None):
    net, groups = tuned_copy(encoder or _encoder(), 3, tuning, drawn=drawn, seed=seed)
    about = train(net, groups, _table(n), tuning, seed=seed, screen=QUIET)
    return net, about


def test_training_learns_and_touches_only_the_copy():
    encoder = _encoder()
    before, state = weights_digest(encoder), torch.get_rng_state()
    net, about = _train(get_tuning("small", {"epochs": 12, "batch": 16}), encoder=encoder)
    assert weights_digest(encoder) == before and not encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert about["steps"] == round(12 * 90 / 16) and about["last_loss"] < 0.6
    scores = scores_of(net, _table(60, seed=1), Tuning(), center_view(16), seed=0)
    ranks = ranks_of(scores, _pictures(60, seed=1)[1])
    assert ranks.shape == (60,) and (ranks == 0).mean() > 0.9
    for (name, a), (_, b) in zip(
        encoder.named_parameters(), net.encoder.named_parameters(), strict=True
    ):
        assert not torch.equal(a, b), name


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    digests = [weights_digest(_train(SHORT, seed)[0]) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_layers_further_from_the_head_learn_more_slowly():
    tuning = get_tuning("small", {"layer_decay": 0.5, "head": 3.0})
    net, groups = tuned_copy(_encoder(), 3, tuning, drawn=None, seed=0)
    assert [g.lr for g in groups] == [0.5**4, 0.5**3, 0.5**2, 0.5, 3.0]
    factors = {g["factor"] for g in build_optimiser(groups, tuning.optimiser).param_groups}
    assert factors == {0.5**4, 0.5**3, 0.5**2, 0.5, 3.0}
    everything = {id(p) for p in net.parameters()}
    assert {id(p) for g in groups for p in g.parameters} == everything


def test_frozen_layers_stay_to_the_last_bit_statistics_included():
    encoder = _encoder()
    net, _ = _train(
        get_tuning("small", {"epochs": 1, "batch": 16, "freeze": "stage1"}), encoder=encoder
    )
    for (name, a), (_, b) in zip(
        encoder.state_dict().items(), net.encoder.state_dict().items(), strict=True
    ):
        early = ".stem." in name or ".stage1." in name
        assert torch.equal(a, b) == early, name
    with pytest.raises(FovealError, match="no end point 'stage9'"):
        _train(get_tuning("small", {"freeze": "stage9"}))


def test_a_batch_norm_without_parameters_freezes_with_the_layer_before_it():
    encoder = _encoder()
    name, norm = next((n, m) for n, m in encoder.named_modules() if isinstance(m, BatchNorm2d))
    norm.weight = norm.bias = None
    before = norm.running_mean.clone()
    net, _ = _train(
        get_tuning("small", {"epochs": 1, "batch": 16, "freeze": "stage1"}), encoder=encoder
    )
    assert torch.equal(net.encoder.get_submodule(name).running_mean, before)


def test_batch_norms_keep_their_statistics_where_asked():
    encoder = _encoder()
    net, _ = _train(
        get_tuning("small", {"epochs": 1, "batch": 16, "batchnorm": "frozen"}), encoder=encoder
    )
    buffers = zip(encoder.named_buffers(), net.encoder.named_buffers(), strict=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in buffers)
    assert weights_digest(net.encoder) != weights_digest(encoder)


def test_a_loss_that_explodes_is_an_error_with_a_remedy():
    with pytest.raises(FovealError, match="the loss of fine-tuning became"):
        _train(get_tuning("small", {"optimiser": {"name": "sgd", "lr": 1e20}, "epochs": 20}))


def test_results_of_fine_tuning(data, run):
    found = evaluate(run, data, protocols=["finetune"], tuning=SHORT)
    (top1,) = found
    assert (top1.protocol, top1.metric, top1.n) == ("finetune", "top1", 24)
    assert set(top1.baselines) == {"random_init", "pixels"}
    chosen = top1.configuration["chosen"]
    for which in ("trained", "random_init"):
        assert chosen[which]["epochs"] == 2 and chosen[which]["steps"] == 12
    assert "raw pixels" in chosen["pixels"]["probe"]
    assert json.loads((run / "results" / "finetune.json").read_text()) == [top1.to_json()]


def test_values_reach_the_recipe_by_name_and_only_where_something_trains(data):
    found = evaluate(
        _encoder(), data, protocols=["finetune"], tuning="vissl", changes={"epochs": 1, "batch": 32}
    )
    trained = found[0].configuration["chosen"]["trained"]
    assert (trained["steps"], trained["optimiser"]["name"], trained["batch"]) == (3, "sgd", 32)
    with pytest.raises(FovealError, match="knn has no setting 'epochs'") as error:
        evaluate(_encoder(), data, protocols=["knn"], changes={"epochs": 1})
    assert "finetune" in error.value.hint


def test_a_random_start_has_no_layers_to_spare(data, run):
    tuning = get_tuning("small", {"epochs": 1, "layer_decay": 0.5})
    chosen = evaluate(run, data, protocols=["finetune"], tuning=tuning)[0].configuration["chosen"]
    assert chosen["trained"]["layer_decay"] == 0.5
    assert chosen["random_init"]["layer_decay"] == 1.0


def test_few_labels_draw_save_and_repeat(data, run):
    found = evaluate(run, data, protocols=["fewlabels"], tuning=SHORT, labels=[0.25, 3])
    names = ["fewlabels-25%-linear", "fewlabels-25%-finetune", "fewlabels-3-a-class-linear",
             "fewlabels-3-a-class-finetune"]  # fmt: skip
    assert [r.protocol for r in found] == names
    subsets = [r.configuration["subset"] for r in found]
    assert [s["n"] for s in subsets] == [24, 24, 9, 9]
    assert subsets[2]["per_class"] == [3, 3]
    lists = [(run / "results" / s["file"]).read_text().splitlines() for s in subsets]
    assert [len(names) for names in lists] == [24, 24, 9, 9]
    assert set(lists[2]) < set(lists[0])  # fewer are part of more
    # The list that was saved gives the same subset and the same numbers.
    file = run / "results" / subsets[2]["file"]
    again = evaluate(run, data, protocols=["fewlabels"], tuning=SHORT, labels=[str(file)])
    assert [r.value for r in again] == [r.value for r in found[2:]]
    assert again[0].configuration["subset"]["digest"] == subsets[2]["digest"]
    other = evaluate(run, data, protocols=["fewlabels"], tuning=SHORT, labels=[3], seed=1)
    assert other[0].configuration["subset"]["digest"] != subsets[2]["digest"]


def test_an_interrupted_evaluation_trains_no_arm_twice(data, run, monkeypatch):
    trained, real = [], module.train

    def one(net, groups, table, tuning, **more):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(len(table))
        return real(net, groups, table, tuning, **more)

    monkeypatch.setattr(module, "train", one)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, data, protocols=["finetune"], tuning=SHORT)
    monkeypatch.setattr(module, "train", real)
    calls = []
    monkeypatch.setattr(module, "train", lambda *a, **k: calls.append(1) or real(*a, **k))
    first = evaluate(run, data, protocols=["finetune"], tuning=SHORT)
    assert calls == [1]  # the arm of the random start
    assert evaluate(run, data, protocols=["finetune"], tuning=SHORT) == first and calls == [1]
    evaluate(run, data, protocols=["finetune"], tuning=get_tuning("small", {"epochs": 1}))
    assert calls == [1] * 3


def test_one_label_a_class_leaves_nothing_to_choose_by(data):
    first, _ = evaluate(_encoder(), data, protocols=["fewlabels"], tuning=SHORT, labels=[1])
    assert first.configuration["subset"]["n"] == 3
    chosen = first.configuration["chosen"]["trained"]
    assert chosen["l2"] == 1 and "one label a class" in chosen["chosen_on"]


def test_labels_are_shares_numbers_or_files(tmp_path):
    file = tmp_path / "1percent.txt"
    file.write_text("a\n")
    found = parse_labels(["0.01", "13", str(file), "1.0"], seed=4)
    assert found == (
        Labels(share=0.01, seed=4), Labels(per_class=13, seed=4), Labels(file=str(file)),
        Labels(share=1.0, seed=4),
    )  # fmt: skip
    assert [labels_name(v) for v in found] == ["1%", "13-a-class", "1percent.txt", "100%"]
    for wrong in ("1.5", "0", "-3", "0.0", "no such file"):
        with pytest.raises(FovealError):
            parse_labels([wrong], seed=0)


def test_recipes_of_the_papers():
    assert set(TUNINGS) >= {"small", "vissl", "simclr", "deepercluster", "rotnet"}
    vissl = get_tuning("vissl")
    assert (vissl.epochs, vissl.schedule.milestones, vissl.optimiser.nesterov) == (70, (30,), True)
    assert get_tuning("simclr").optimiser.scaling == "sqrt"
    assert get_tuning("deepercluster").optimiser.lr == 0.1
    with pytest.raises(FovealError, match="no recipe") as error:
        get_tuning("visl")
    assert "vissl" in error.value.hint
    with pytest.raises(FovealError, match="no 'epoch'") as error:
        get_tuning("small", {"epoch": 3})
    assert "epochs" in error.value.hint
    assert [Tuning().epochs_of(n) for n in (100, 1000, 40_000)] == [100, 40, 5]


def test_the_command_shows_progress_and_takes_values(capsys, monkeypatch, data, run):
    words = ["evaluate", run, "--data", data, "--protocol", "fewlabels", "--labels", "0.2",
             "epochs=1", "optimiser.lr=0.01"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["foveal", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr()
    assert stop.value.code == 0
    assert "fewlabels-20%-finetune top-1" in shown.out
    assert "from a random start, 18 pictures" in shown.err and "step" in shown.err
    report = (run / "report.html").read_text()
    assert "fewlabels-20%-linear" in report


def test_grey_pictures_and_a_console(tmp_path, data):
    console = Console(file=io.StringIO(), width=100)
    found = evaluate(
        _encoder(channels=1), data, protocols=["finetune"], tuning=SHORT, console=console,
        quiet=False,
    )  # fmt: skip
    assert found[0].n == 24
    assert "finetune: from the trained weights, 96 pictures" in console.file.getvalue()
