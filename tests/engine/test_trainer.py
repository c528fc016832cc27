"""What the loop keeps and when it stops, on a method small enough to be told apart from it."""

import json

import pytest
import torch
from cases import tiny_recipe, write_pictures
from torch import nn

import foveal
from foveal.errors import FovealError
from foveal.methods.base import Losses, Method, Stream
from foveal.views.spec import View


class Breaks(Method):
    """Its loss becomes infinite at the fifth step."""

    def __init__(self, make, data, options):
        super().__init__(make, data, options)
        self.trunk, self.normalise = make(), data.normalise()
        self.head = nn.Linear(self.trunk.dim, 1)

    def streams(self):
        return {"main": Stream({"v": View(size=16)})}

    def forward(self, batch, progress):
        return {"y": self.head(self.trunk(self.normalise(batch["main"].images("v")))["pooled"])}

    def loss(self, out, batch, progress):
        loss = out["y"].square().mean()
        return Losses(loss / (0.0 if progress.step == 4 else 1.0))

    def encoder(self):
        return self.data.encoder(self.trunk, self.normalise)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), n=96)


def recipe(name="rotation", **changes):
    machine = {"cores": 1, "log_every": 1, **changes.pop("machine", {})}
    return tiny_recipe(name, machine=machine, **changes)


def test_a_loss_that_is_no_number_stops_with_the_last_good_state(pictures, tmp_path):
    tiny = recipe(f"{__name__}:Breaks", machine={"checkpoint_every": 1e-6})
    with pytest.raises(FovealError, match=r"became (inf|nan) at step 4; the last good"):
        foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert saved["step"] == 4
    assert all(torch.isfinite(v).all() for v in saved["method"].values())


def test_numbers_read_a_step_later_are_the_same_numbers(pictures, tmp_path, monkeypatch):
    """As on an accelerator: nothing waits for a step's numbers, and none is lost or misplaced."""
    from functools import partial

    from foveal.engine import trainer

    def lines(out):
        foveal.pretrain(pictures, out, recipe=recipe("simclr", epochs=0.5), quiet=True)
        found = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
        clock = ("images_per_s", "data_wait", "time", "seconds")
        return [{k: v for k, v in r.items() if k not in clock} for r in found]

    at_once = lines(tmp_path / "once")
    monkeypatch.setattr(trainer, "Readback", partial(trainer.Readback, lag=1))
    assert lines(tmp_path / "later") == at_once
    assert [r["step"] for r in at_once if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    breaks = recipe(f"{__name__}:Breaks", machine={"checkpoint_every": 1e-6})
    with pytest.raises(FovealError, match=r"became (inf|nan) at step 4; the last good"):
        foveal.pretrain(pictures, tmp_path / "run", recipe=breaks, quiet=True)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert saved["step"] == 4


def test_checkpoints_kept(pictures, tmp_path):
    """Every second epoch's, the last, and the best by the probe on held-out training pictures."""
    tiny = recipe(epochs=4, machine={"keep_every": 2, "monitor_every": 1})
    foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
    kept = {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {"last.pt", "best.pt", "step-24.pt", "step-48.pt"}
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    online = [r for r in lines if r["kind"] == "online"]
    assert [r["step"] for r in online] == [0, 12, 24, 36, 48]
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.pt", weights_only=True)
    first_best = max(online[1:], key=lambda r: r["knn"])
    assert best["step"] == first_best["step"]


def test_clipping_bounds_the_step(pictures, tmp_path):
    """Plain SGD moves the weights by at most lr x clip a step."""
    from foveal.engine.build import build_method
    from foveal.methods.base import DataInfo

    sgd = {"name": "sgd", "lr": 1.0, "scaling": "none", "momentum": 0.0, "weight_decay": 0.0}
    tiny = recipe(
        epochs=8 / 96, clip=1e-3, optimiser=sgd, schedule={"name": "constant", "warmup": 0}
    )
    trained = foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
    assert trained.outcome.steps == 1
    data = json.loads((tmp_path / "run" / "data.json").read_text())["scan"]
    info = DataInfo(samples=96, mean=tuple(data["mean"]), std=tuple(data["std"]), size=16)
    start = build_method(tiny, info)
    end = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["method"]
    moved = sum(
        float((p.detach() - end[n]).double().square().sum()) for n, p in start.named_parameters()
    )
    assert 0.9e-3 < moved**0.5 < 1.001e-3


def test_two_processes_cannot_train_in_one_folder(pictures, tmp_path):
    from foveal.engine.runfolder import RunFolder

    tiny = recipe(epochs=0.2)
    foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
    (tmp_path / "run" / "finished.json").unlink()
    with RunFolder(tmp_path / "run").lock(), pytest.raises(FovealError, match="another process"):
        foveal.pretrain(pictures, tmp_path / "run", recipe=tiny, quiet=True)
