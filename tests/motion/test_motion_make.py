"""From videos to masks on disk: what moves is found, nothing is lost, and killing does no harm."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from clips import moving_square, write_frames, write_video

import foveal
from foveal.data.sources import open_source
from foveal.errors import FovealError
from foveal.motion import make
from foveal.motion.segment import NoMotion, segment
from foveal.motion.settings import Settings
from foveal.motion.video import find_videos

QUICK = Settings(segments=60, smoothing=2, radius=4, rounds=1)
SMALL = {"height": 72, "width": 96, "side": 24, "speed": (0.5, 2.0)}


def iou(found, exact):
    return np.mean([(f & e).sum() / (f | e).sum() for f, e in zip(found, exact, strict=True)])


@pytest.mark.parametrize("pan", [0.0, 0.8])
def test_a_moving_square_is_found_under_a_moving_camera(pan):
    clip, exact = moving_square(pan=pan)
    soft = segment(clip, threads=1)
    assert soft.shape == exact.shape and soft.min() >= 0 and soft.max() <= 1
    assert iou(soft > 0.7, exact) > 0.5
    assert np.array_equal(soft, segment(clip, threads=2))


def test_shots_without_usable_motion_say_why():
    still = [moving_square(frames=1)[0][0]] * 12
    with pytest.raises(NoMotion, match="nothing moves"):
        segment(still, QUICK)
    spinning, _ = moving_square(frames=12, pan=0, turn=12)
    with pytest.raises(NoMotion, match="neither stands nor translates"):
        segment(spinning, QUICK)
    with pytest.raises(NoMotion, match="too small"):
        segment([f[:12] for f in still], QUICK)


def folder_of_videos(root):
    """Two shots in a video, a folder of frames, and three files that are no use."""
    one, _ = moving_square(frames=12, **SMALL)
    other, _ = moving_square(frames=11, seed=5, **SMALL)
    write_video(root / "two.avi", one + [f // 3 for f in other])
    write_frames(root / "walks" / "a", one)
    write_video(root / "short.avi", one[:4])
    (root / "torn.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 500)
    (root / "empty.mp4").write_bytes(b"")
    (root / "notes.txt").write_text("no video")
    return root


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = folder_of_videos(tmp_path_factory.mktemp("videos"))
    out = tmp_path_factory.mktemp("made") / "out"
    lines = []
    report = foveal.make_motion(root, out, settings=QUICK, progress=lines.append)
    return root, out, report, lines


def test_what_is_made_and_what_is_not(made):
    _, out, report, lines = made
    assert (report.frames, report.shots) == (35, 3)
    assert set(report.bad) == {"short.avi", "torn.mp4", "empty.mp4"}
    assert "10 frames" in report.bad["short.avi"]
    assert "torn.mp4" in str(report) and any("shot 2 of 2" in line for line in lines)
    source = open_source(out)
    assert len(source) == 35 and len(set(source.shot)) == 3
    for i in range(0, 35, 7):
        assert source.read_mask(i).shape == (*source.read(i).shape[:2], 1)
        mask = source.read_mask(i)[..., 0] > 0.7 * 255
        assert mask.mean() == pytest.approx(source.foreground[i], abs=1e-4)
        top, left, height, width = source.box[i].astype(int)
        assert mask[top : top + height, left : left + width].any()
        assert tuple(source.size[i]) == mask.shape


def test_running_it_again_does_nothing_anew(made, monkeypatch):
    root, out, _, _ = made
    before = contents(out)
    monkeypatch.setattr(make, "segment", None)
    assert foveal.make_motion(root, out, settings=QUICK).frames == 35
    assert contents(out) == before


def test_other_settings_and_other_videos_are_refused(made, tmp_path):
    root, out, _, _ = made
    with pytest.raises(FovealError, match="other settings: segments 60, not 50"):
        foveal.make_motion(root, out, settings=QUICK.model_copy(update={"segments": 50}))
    write_video(tmp_path / "two.avi", moving_square(frames=20, **SMALL)[0])
    with pytest.raises(FovealError, match="another video"):
        foveal.make_motion(tmp_path, out, settings=QUICK)
    with pytest.raises(FovealError, match="other things"):
        foveal.make_motion(root, root, settings=QUICK)
    foveal.make_motion(root, out, settings=QUICK)


def test_nothing_to_read(tmp_path):
    with pytest.raises(FovealError, match="does not exist"):
        foveal.make_motion(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(FovealError, match="no videos"):
        foveal.make_motion(tmp_path, tmp_path / "out")
    write_frames(tmp_path / "still", [moving_square(frames=1, **SMALL)[0][0]] * 12)
    with pytest.raises(FovealError, match="no video gave a mask: still: shot 0: nothing moves"):
        foveal.make_motion(tmp_path / "still", tmp_path / "out", settings=QUICK)


@pytest.mark.parametrize("after", [1, 9, 30])
def test_interrupted_between_files_it_ends_the_same(made, after, tmp_path, monkeypatch):
    root, whole, _, _ = made
    write, count = make.atomic_path, 0

    def stops(path):
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return write(path)

    with monkeypatch.context() as patch:
        patch.setattr(make, "atomic_path", stops)
        with pytest.raises(KeyboardInterrupt):
            foveal.make_motion(root, tmp_path / "out", settings=QUICK)
    with pytest.raises(FovealError, match="not finished"):
        open_source(tmp_path / "out")
    foveal.make_motion(root, tmp_path / "out", settings=QUICK)
    assert contents(tmp_path / "out") == contents(whole)


def test_killed_it_goes_on_and_leaves_nothing_torn(made, tmp_path):
    root, whole, _, _ = made
    out = tmp_path / "out"
    code = (
        "import sys; from foveal.motion.make import make_motion; "
        "from foveal.motion.settings import Settings; make_motion(sys.argv[1], sys.argv[2], "
        f"settings=Settings(**{QUICK.model_dump()!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(root), str(out)])
    began = time.monotonic()
    while len(list(out.rglob("*.png"))) < 15 and time.monotonic() - began < 60:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    (out / "frames" / "two.avi" / ".000000.torn.jpg").write_bytes(b"half")
    assert subprocess.run([sys.executable, "-c", code, str(root), str(out)]).returncode == 0
    assert contents(out) == contents(whole)


def test_unreadable_frames_are_named_and_passed_over(tmp_path):
    folder = write_frames(tmp_path / "walk", moving_square(frames=14, **SMALL)[0])
    (folder / "0003.png").write_bytes(b"no picture")
    write_frames(tmp_path / "odd", [np.zeros((40, 40, 3), np.uint8)])
    (tmp_path / "odd" / "0000.png").rename(folder / "0005.png")
    report = foveal.make_motion(folder, tmp_path / "out", settings=QUICK)
    assert report.frames == 12
    assert set(report.videos["walk"]["unreadable"]) == {"3", "5"}
    assert "40x40" in report.videos["walk"]["unreadable"]["5"]


def test_memory_does_not_grow_with_the_video(tmp_path):
    """Cuts and kept frames: what lives at the same time is a window and a shot."""
    few = Settings(segments=40, radius=2, rounds=1, longest=10, window=80)
    peaks = []
    for n in (80, 240):
        clip, _ = moving_square(frames=40, pan=0, **{**SMALL, "speed": (0, 0.8)})
        video = write_video(tmp_path / f"{n}.avi", (clip + clip[::-1]) * (n // 80))
        tracemalloc.start()
        foveal.make_motion(video, tmp_path / f"out{n}", settings=few, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_names_tell_videos_apart(tmp_path):
    clip = moving_square(frames=2)[0]
    write_video(tmp_path / "a.avi", clip)
    write_frames(tmp_path / "a", clip)
    write_frames(tmp_path / "b" / "a", clip)
    assert {v.name for v in find_videos(tmp_path)} == {"a.avi", "a", "b/a"}


def test_a_missing_package_is_named_in_one_line(tmp_path, monkeypatch):
    write_frames(tmp_path / "walk", moving_square(frames=2)[0])
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(FovealError, match="scikit-image, which is not installed") as error:
        foveal.make_motion(tmp_path / "walk", tmp_path / "out")
    assert error.value.hint == "pip install 'foveal[motion]'"
    assert not (tmp_path / "out").exists()
