"""TensorBoard's events hold the numbers of metrics.jsonl, after an interruption too."""

import os
import signal
import sys

import pytest
from cases import tiny_recipe, write_pictures

import foveal
from foveal.engine.runfolder import RunFolder
from foveal.engine.screen import ProgressScreen
from foveal.engine.tensorboard import TensorBoard
from foveal.errors import FovealError

PLACE = {"kind", "step", "epoch", "position"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), n=96)


def recipe(**machine):
    machine = {"cores": 1, "log_every": 1, "monitor_every": 0.25, "log": ["tensorboard"], **machine}
    return tiny_recipe("rotation", epochs=0.5, machine=machine)


def events(folder):
    """(tag, step) -> value, of all event files as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    read = EventAccumulator(str(folder.tensorboard), size_guidance={"tensors": 0})
    read.Reload()
    found = {}
    for tag in read.Tags()["tensors"]:
        for event in read.Tensors(tag):
            assert (tag, event.step) not in found, "written twice"
            found[tag, event.step] = make_ndarray(event.tensor_proto).item()
    return found


def expected(folder):
    found = {}
    for record in folder.metrics():
        for name, value in record.items():
            if name not in PLACE:
                text = isinstance(value, str)
                tag = f"{record['kind']}/{name}" + ("/text_summary" if text else "")
                found[tag, record["step"]] = value.encode() if text else value
    return found


def test_the_same_numbers_also_after_an_interruption(pictures, tmp_path, monkeypatch):
    show = ProgressScreen.step

    def stop_after_three(screen, step, *rest):
        show(screen, step, *rest)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ProgressScreen, "step", stop_after_three)
        first = foveal.pretrain(pictures, out, recipe=recipe(), quiet=True)
    assert not first.outcome.finished
    # Lines of a step that the next session does again.
    RunFolder(out).log({"kind": "train", "step": 4, "loss": 99.0})
    assert foveal.pretrain(pictures, out, recipe=recipe(), quiet=True).outcome.finished
    found = events(RunFolder(out))
    assert found == expected(RunFolder(out)) and len(found) > 30
    assert found["train/loss", 4] != 99.0 and ("monitor/effective_rank", 0) in found


def test_words_are_written_too(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log({"kind": "warning", "step": 5, "text": "the network is collapsing"})
    board = TensorBoard(folder)
    board.write({"kind": "train", "step": 7, "loss": 0.1, "lr": 1})
    board.close()
    assert events(folder) == {
        ("warning/text/text_summary", 5): b"the network is collapsing",
        ("train/loss", 7): 0.1, ("train/lr", 7): 1.0,
    }  # fmt: skip


def test_without_the_extra_one_line_names_it_and_nothing_is_left(pictures, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(FovealError, match="not installed") as caught:
        foveal.pretrain(pictures, tmp_path / "run", recipe=recipe(), quiet=True)
    assert caught.value.hint == "pip install 'foveal[tensorboard]'"
    assert not (tmp_path / "run").exists()


def test_an_unknown_place_is_refused(pictures, tmp_path):
    with pytest.raises(FovealError, match="tensorboard"):
        foveal.pretrain(pictures, tmp_path / "run", recipe=recipe(), log="wandb", quiet=True)
