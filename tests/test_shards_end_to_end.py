"""Every kind of input goes all the way: scan, pretrain, evaluate, embed."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

import foveal

CLASSES = 3


def drawn(i):
    """Stripes whose direction is the class."""
    draw = np.random.default_rng(i)
    y, x = np.mgrid[:36, :40]
    wave = np.sin((x, y, x + y)[i % CLASSES] * draw.uniform(0.4, 0.7) + draw.uniform(0, 6))
    colour = draw.uniform(60, 120, 3)
    return Image.fromarray((128 + wave[..., None] * colour).clip(0, 255).astype(np.uint8))


def tar_shards(folder):
    """Two shards with classes, and one that was cut off while it was copied."""
    for s in range(3):
        with tarfile.open(folder / f"part-{s}.tar", "w") as tar:
            for i in range(s * 30, s * 30 + 30):
                file = io.BytesIO()
                drawn(i).save(file, "PNG")
                members = (("png", file.getvalue()), ("cls", str(i % CLASSES).encode()))
                for suffix, content in members:
                    info = tarfile.TarInfo(f"{i:04d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    path = folder / "part-2.tar"
    path.write_bytes(path.read_bytes()[:-12_000])
    return folder


@pytest.mark.parametrize("make", [tar_shards])
def test_an_input_goes_all_the_way(tmp_path, monkeypatch, make):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data")
    report = foveal.scan(data)
    assert 75 <= len(report.good) < 90 and report.classes == ["0", "1", "2"]
    # A copy of it is one input more: the run that reads it is no other.
    changes = ["network.width=0.25", "batch=16", "machine.cores=1", "max_bad=0.1"]
    runs = {}
    for tier in ("none", "raw"):
        run = tmp_path / tier
        foveal.pretrain(
            data,
            run,
            method="rotation",
            epochs=1,
            changes=[*changes, f"cache.tier={tier}"],
            quiet=True,
        )
        runs[tier] = (run / "backbone.safetensors").read_bytes()[-4096:]
        assert "(all that follows)" in (run / "bad_files.csv").read_text()
    assert runs["none"] == runs["raw"]
    results = foveal.evaluate(tmp_path / "raw", data, protocols=["knn"], k=3)
    assert 0 <= results[0].value <= 1
    found = np.load(foveal.embed(tmp_path / "raw", data, tmp_path / "found.npz"))
    assert len(found["features"]) == len(report.good)
