"""The command as a user types it, on a pile of every kind of picture and of damage."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from zoo import make_zoo

import foveal
from foveal import cli
from foveal.errors import FovealError

TINY = ["network.width=0.25", "batch=64", "machine.cores=1"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pile") / "Bilder aus dem Urlaub - ü"
    good, bad = make_zoo(folder)
    return folder, good, bad


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Class folders: dark discs, bright squares."""
    from PIL import Image, ImageDraw

    folder = tmp_path_factory.mktemp("labelled")
    generator = np.random.default_rng(0)
    for i in range(120):
        kind = ("disc", "square", "bar")[i % 3]
        picture = Image.fromarray(generator.integers(60, 130, (36, 36, 3), dtype=np.uint8))
        x, y = generator.integers(2, 16, 2).tolist()
        draw = ImageDraw.Draw(picture)
        colour = tuple(generator.integers(0, 256, 3).tolist())
        if kind == "disc":
            draw.ellipse((x, y, x + 16, y + 16), fill=colour)
        elif kind == "square":
            draw.rectangle((x, y, x + 15, y + 15), fill=colour)
        else:
            draw.rectangle((x, y, x + 18, y + 4), fill=colour)
        (folder / kind).mkdir(exist_ok=True)
        picture.save(folder / kind / f"{i}.png")
    return folder


def typed(capsys, *words):
    """Runs ``foveal`` in this process; returns (status, standard output, standard error)."""
    before = sys.argv
    sys.argv = ["foveal", *map(str, words)]
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def run(zoo, tmp_path_factory):
    """A short run on the pile, by the command in a process of its own."""
    folder, _, _ = zoo
    out = tmp_path_factory.mktemp("runs") / "first run"
    command = [sys.executable, "-m", "foveal", "pretrain", folder, "--out", out, "--epochs", "1"]
    words = [str(w) for w in [*command, *TINY, "max_bad=0.1"]]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return out, found


def test_scan_names_every_broken_file(capsys, zoo):
    folder, good, bad = zoo
    status, out, _ = typed(capsys, "scan", folder, "--json")
    report = json.loads(out)
    assert status == 0 and report["readable"] == len(good) == 500
    named = {b["name"]: b for b in report["bad"]}
    assert sorted(named) == sorted(n for names in bad.values() for n in names)
    assert len(named) == 30 and all(len(b["reason"]) > 10 for b in named.values())
    assert len({b["kind"] for b in named.values()}) >= 8
    status, out, _ = typed(capsys, "scan", folder)
    assert status == 0 and "500" in out and "30" in out


def test_too_many_broken_files_stop_the_start_and_leave_nothing(capsys, zoo, tmp_path):
    folder, _, _ = zoo
    status, _, err = typed(capsys, "pretrain", folder, "--out", tmp_path / "run", *TINY)
    assert status == 2 and "30 of 530" in err and "max_bad" in err
    assert not (tmp_path / "run").exists()


def test_a_run_says_what_it_chose_and_leaves_what_it_promises(run, zoo):
    out, found = run
    said = found.stderr
    for word in ("method", "backbone", "views of", "batch", "30 unreadable"):
        assert word in said, said
    for name in ("recipe.json", "environment.json", "data.json", "metrics.jsonl", "bad_files.csv",
                 "checkpoints/last.pt", "backbone.safetensors", "report.html"):  # fmt: skip
        assert (out / name).is_file(), name
    with (out / "bad_files.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 30
    assert {r["name"] for r in rows} == {n for names in zoo[2].values() for n in names}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "data:image/jpeg" in page and "http" not in page.split("<body")[-1]


def test_the_same_command_again_says_that_it_is_finished(capsys, run, zoo):
    out, _ = run
    status, _, err = typed(
        capsys, "pretrain", zoo[0], "--out", out, "--epochs", "1", *TINY, "max_bad=0.1"
    )
    assert status == 0 and "finished" in err


def test_another_configuration_is_refused_with_the_differing_keys(capsys, run, zoo):
    out, _ = run
    status, _, err = typed(
        capsys, "pretrain", zoo[0], "--out", out, "--epochs", "2", "optimiser.lr=0.5", *TINY,
        "max_bad=0.1",
    )  # fmt: skip
    assert status == 2
    assert "epochs: 1.0 -> 2.0" in err and "optimiser.lr" in err and "seed" not in err


def test_embed_export_and_load(capsys, run, zoo, tmp_path):
    out, _ = run
    folder, good, _ = zoo
    status, said, err = typed(capsys, "embed", out, "--data", folder, "--out", tmp_path / "e.npz")
    assert status == 0, err
    with np.load(tmp_path / "e.npz") as saved:
        assert saved["features"].shape[0] == len(good) == len(set(saved["names"].tolist()))
        assert set(saved["names"].tolist()) == set(good)
        assert np.isfinite(saved["features"]).all() and saved["features"].std(0).max() > 0
    status, said, err = typed(
        capsys, "export", out, "--format", "torch", "--out", tmp_path / "exported"
    )
    assert status == 0, err
    assert "torch" in said and (tmp_path / "exported").is_dir()
    encoder = foveal.load(out)
    again = foveal.load(tmp_path / "exported")
    import torch

    x = torch.rand(2, encoder.channels, encoder.size, encoder.size)
    with torch.no_grad():
        assert torch.equal(encoder(x)["pooled"], again(x)["pooled"])


def test_evaluate_prints_json_with_documented_keys(capsys, run, labelled):
    out, _ = run
    status, text, err = typed(
        capsys, "evaluate", out, "--data", labelled, "--protocol", "knn,linear,health", "--json"
    )
    assert status == 0, err
    results = json.loads(text)
    keys = {"protocol", "metric", "value", "interval", "n", "baselines", "configuration"}
    assert all(keys <= set(r) for r in results)
    assert {"knn", "linear", "health"} <= {r["protocol"] for r in results}
    knn = next(r for r in results if r["protocol"] == "knn")
    assert {"random_init", "pixels"} <= set(knn["baselines"])
    low, high = knn["interval"]
    assert 0 <= low <= knn["value"] <= high <= 1
    status, text, _ = typed(capsys, "evaluate", out, "--data", labelled, "--protocol", "knn")
    assert status == 0 and "random init" in text and "raw pixels" in text
    assert "random init" in (out / "report.html").read_text(encoding="utf-8")


def test_recipes(capsys):
    status, out, _ = typed(capsys, "recipes")
    assert status == 0
    for name in ("rotation/doom", "simclr/imagenet", "byol/imagenet", "deepcluster/doom"):
        assert name in out
    status, out, _ = typed(capsys, "recipes", "byol/imagenet", "--json")
    assert json.loads(out)["optimiser"]["name"] == "lars"
    status, _, err = typed(capsys, "recipes", "boyl/imagenet")
    assert status == 2 and "byol/imagenet" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "simclrr"], "simclr"),
        (["--backbone", "resnet_18"], "resnet18"),
        (["optimiser.learning_rate=1"], "optimiser.lr"),
        (["optimizer.lr=1"], "optimiser"),
        (["options.temprature=1"], "temperature"),
        (["batch"], "key=value"),
        (["--epochs", "1", "--minutes", "1"], "one of them"),
        (["--init", "nowhere.pt"], "nowhere.pt"),
        (["epochs=-1"], "epochs"),
    ],
)
def test_wrong_options_name_the_right_ones(capsys, labelled, tmp_path, words, says):
    status, _, err = typed(capsys, "pretrain", labelled, "--out", tmp_path / "run", *words)
    assert status == 2 and says in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["scan", "pretrain"])
def test_nothing_to_learn_from(capsys, tmp_path, verb):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(tmp_path / "one" / "a.png")
    more = [] if verb == "scan" else ["--out", tmp_path / "run"]
    for data, says in (("empty", "no pictures"), ("gone", "does not exist")):
        status, _, err = typed(capsys, verb, tmp_path / data, *more)
        assert status == 2 and says in err
    status, _, err = typed(capsys, verb, tmp_path / "one", *more)
    assert (status == 0) if verb == "scan" else (status == 2 and "nothing to compare" in err)
    assert not (tmp_path / "run").exists()


def test_measuring_needs_a_run_and_labels(capsys, run, tmp_path, labelled):
    out, _ = run
    status, _, err = typed(capsys, "evaluate", tmp_path / "no-run", "--data", labelled)
    assert status == 2 and "no-run" in err
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted(Path(labelled).rglob("*.png"))[:10]):
        shutil.copy(path, flat / f"{i}.png")
    status, _, err = typed(capsys, "evaluate", out, "--data", flat)
    assert status == 2 and "class" in err
    status, _, err = typed(capsys, "evaluate", out, "--data", labelled, "--protocol", "kn")
    assert status == 2 and "knn" in err
    status, _, err = typed(capsys, "export", out, "--format", "tim", "--out", tmp_path / "x")
    assert status == 2 and "timm" in err


def test_a_time_budget_is_kept(labelled, tmp_path):
    before = time.monotonic()
    trained = foveal.pretrain(
        labelled, tmp_path / "run", minutes=0.15, quiet=True,
        changes={"network": {"width": 0.25}, "batch": 16, "machine": {"cores": 1}},
    )  # fmt: skip
    seconds = time.monotonic() - before
    assert trained.outcome.finished and trained.outcome.steps > 10
    # The budget holds for training; the rest is the scan, the report and this machine's mood.
    assert trained.outcome.seconds < 0.15 * 60 * 1.5 and seconds < 60
    log = trained.folder.metrics()
    assert [r for r in log if r["kind"] == "plan"]
    rates = [r["lr"] for r in log if r["kind"] == "train"]
    assert rates[-1] < 0.2 * max(rates)


def test_weights_to_start_from(capsys, labelled, run, tmp_path):
    out, _ = run
    words = ["pretrain", labelled, "--epochs", "0.2", "--init", out, *TINY, "batch=16"]
    status, _, err = typed(capsys, *words, "--out", tmp_path / "more")
    assert status == 0 and "matched" in err
    assert "Map of the features" in (tmp_path / "more" / "report.html").read_text(encoding="utf-8")
    status, _, err = typed(capsys, *words, "--out", tmp_path / "wide", "network.width=0.5")
    assert status == 2 and "--backbone" in err and "init_min_share" in err


def test_a_changed_file_is_caught(labelled, tmp_path):
    data = shutil.copytree(labelled, tmp_path / "data")
    recipe = foveal.Recipe(
        method="rotation", epochs=1, batch=16, max_bad=0.05,
        network={"name": "small", "width": 0.25}, evaluation={"size": 32},
        options={"view": {"size": 32}}, machine={"cores": 1, "log_every": 1},
    )  # fmt: skip
    foveal.pretrain(data, tmp_path / "before", recipe=recipe, quiet=True)
    victim = data / "disc" / "0.png"
    os.utime(victim, ns=(1, 1))
    with pytest.raises(FovealError, match="the data changed"):
        foveal.pretrain(data, tmp_path / "before", recipe=recipe, quiet=True)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_stop_signal_ends_cleanly_and_the_same_command_continues(labelled, tmp_path, name):
    command = [
        sys.executable, "-m", "foveal", "pretrain", str(labelled), "--out", str(tmp_path / "run"),
        "--method", "rotation", "--epochs", "40", *TINY, "batch=16",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        log = tmp_path / "run" / "metrics.jsonl"
        while process.poll() is None and (not log.is_file() or '"train"' not in log.read_text()):
            time.sleep(0.05)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert name in out.decode() and (tmp_path / "run" / "checkpoints" / "last.pt").is_file()
    if name == "SIGTERM":
        again = foveal.pretrain(
            labelled, tmp_path / "run", method="rotation", epochs=40.0,
            changes=[*TINY, "batch=16"], quiet=True,
        )  # fmt: skip
        assert again.outcome.finished
