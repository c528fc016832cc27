"""Videos: any frame, exactly, whatever the container; what is damaged is named."""

import subprocess
import sys
import tracemalloc

import av
import films
import numpy as np
import pytest
import torch
from films import drawn, number_of, write_film

from foveal.data import videos
from foveal.data.blocks import Blocks, blocks_of
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.scan import scan
from foveal.data.sources import Subset, open_source
from foveal.data.splits import load_splits
from foveal.data.video import index_video, read_frames
from foveal.errors import BadImage, FovealError
from foveal.motion.clips import find_clips
from foveal.views.spec import View

COUNT = 60
# Containers and codes as people have them; B-frames are shown in another order than stored.
FILMS = {
    "a.mp4": {"codec": "libx264", "between": 2},
    "a.mkv": {"codec": "libx264", "between": 2},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.avi": {"codec": "mpeg4", "between": 2},
    "m.avi": {"codec": "mjpeg"},
    "a.ts": {"codec": "mpeg2video", "between": 2},
    "a.mpg": {"codec": "mpeg2video", "between": 2},
    "counted.avi": {"codec": "libx264", "between": 2},  # its packets do not tell their times
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "foveal" / "videos"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("films")
    for name, how in FILMS.items():
        write_film(path / name, [drawn(i) for i in range(COUNT)], **how)
    return path


def in_order(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", FILMS)
def test_any_frame_is_the_one_that_reading_in_order_gives(folder, name):
    index = index_video(folder / name)
    expected = in_order(folder / name)
    assert len(index) == len(expected) == COUNT and index.trouble == ""
    assert index.counted == (name == "counted.avi")
    assert (index.height, index.width) == films.SIZE
    np.testing.assert_allclose(index.seconds, np.arange(COUNT) / 25, atol=1e-3)
    for i in (0, 1, 11, 12, 13, 35, 36, 58, 59):
        ((number, frame),) = read_frames(folder / name, index, [i])
        assert number == i == number_of(frame)
        assert np.array_equal(frame, expected[i])
    some = dict(read_frames(folder / name, index, [5, 20, 21, 50]))
    assert list(some) == [5, 20, 21, 50]
    assert all(np.array_equal(frame, expected[i]) for i, frame in some.items())


def test_a_rate_takes_the_first_frame_at_each_time(folder):
    index = index_video(folder / "a.mp4")
    assert index.at_rate(1).tolist() == [0, 25, 50]
    assert index.at_rate(2).tolist() == [0, 13, 25, 38, 50]
    assert index.at_rate(1000).tolist() == list(range(COUNT))
    source = open_source(f"{folder}/#fps=2")
    assert len(source) == 5 * len(FILMS) and source.rate == 2
    assert [source.name(i) for i in range(5)] == [f"a.avi@{t:.3f}s" for t in (0, 0.52, 1, 1.52, 2)]
    assert [number_of(source.read(i)) for i in range(5)] == [0, 13, 25, 38, 50]
    assert open_source(folder).fingerprint() != source.fingerprint()
    assert open_source(folder / "a.mkv").name(1) == "a.mkv@1.000s"
    report = scan(source)
    assert len(report.good) == len(source) and report.formats["MP4"] == 5
    with pytest.raises(FovealError, match="no option speed") as caught:
        open_source(f"{folder}/#speed=2")
    assert "fps" in caught.value.hint
    for wrong in ("0", "-1", "many", "nan"):
        with pytest.raises(FovealError, match="no positive number"):
            open_source(f"{folder}/#fps={wrong}")


def test_the_index_is_made_once(folder, home, monkeypatch):
    first = open_source(folder)
    assert len(list(home.glob("*.npz"))) == len(FILMS)
    monkeypatch.setattr(videos, "index_video", None)
    again = open_source(folder)
    assert again.fingerprint() == first.fingerprint()
    assert np.array_equal(again.read(3), first.read(3))


def test_streams_do_not_know_threads_and_decode_each_block_once_a_pass(folder, monkeypatch):
    source = open_source(f"{folder}/#fps=12")
    decoded = []
    whole = videos.read_frames

    def noted(path, index, wanted):
        decoded.append((path, *wanted))
        return whole(path, index, wanted)

    monkeypatch.setattr(videos, "read_frames", noted)
    table = Table(source, np.arange(len(source)), np.full(len(source), -1, np.int64))
    plan = StreamPlan("main", {"a": View(size=16)}, 24)
    runs = []
    for threads in (1, 3):
        with Loader(table, [plan], seed=0, threads=threads) as loader:
            runs.append([loader.get(s)["main"].views["a"].clone() for s in range(6)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    first = list(decoded)
    # Continued at any step, and on two ranks, it is the same stream.
    again = open_source(f"{folder}/#fps=12")
    table = Table(again, np.arange(len(again)), np.full(len(again), -1, np.int64))
    for rank in (0, 1):
        with Loader(table, [plan], seed=0, threads=2, rank=rank, world=2) as loader:
            half = loader.get(4)["main"].views["a"]
        assert torch.equal(half, runs[0][4][12 * rank : 12 * rank + 12])
    # The cache keeps them from one loader to the next.
    assert len(first) == len(set(first)) <= blocks_of(source).of.max() + 1


def test_memory_stays_that_of_the_cache(tmp_path, monkeypatch):
    """Ten times as many frames as fit: what is kept does not grow."""
    size = films.SIZE[0] * films.SIZE[1] * 3
    monkeypatch.setattr(videos, "_BLOCK_BYTES", 2 * size)
    path = write_film(tmp_path / "long.mp4", [drawn(i % 256) for i in range(96)], gop=4)
    source = open_source(f"{path}#fps=25")
    source._cache.limit = 8 * size
    order = np.random.default_rng(0).permutation(len(source))
    source.read(0)
    tracemalloc.start()
    for i in order.tolist():
        assert number_of(source.read(i)) == i % 256
        assert source._cache.bytes <= 8 * size
    assert tracemalloc.get_traced_memory()[1] < 24 * size
    tracemalloc.stop()


def test_blocks_are_keyframe_intervals_cut_by_memory(folder, monkeypatch):
    source = open_source(f"{folder}/a.mp4#fps=25")
    starts = index_video(folder / "a.mp4").start()
    assert np.array_equal(np.diff(source.blocks.of) > 0, np.diff(starts) > 0)
    monkeypatch.setattr(videos, "_BLOCK_BYTES", 5 * films.SIZE[0] * films.SIZE[1] * 3)
    cut = open_source(f"{folder}/a.mp4#fps=25").blocks.of
    assert np.bincount(cut).max() == 5 and (starts[np.flatnonzero(np.diff(cut))] >= 0).all()
    part = Subset(source, np.array([0, 30, 59]))
    assert isinstance(blocks_of(part), Blocks) and len(part.blocks.of) == 3


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.ts", "a.mp4"])
def test_a_film_that_was_cut_off_gives_what_it_holds(folder, tmp_path, name):
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 6 // 10])
    write_film(tmp_path / "whole.mp4", [drawn(i) for i in range(30)])
    source = open_source(f"{tmp_path}/#fps=25")
    expected = in_order(folder / name)
    seen = 0
    for i in np.flatnonzero(source.video == 0).tolist():
        try:
            frame = source.read(i)
        except BadImage as error:
            assert error.kind in ("truncated", "damaged")
            continue
        seen += 1
        assert np.array_equal(frame, expected[source.frame[i]])
    bad = {b.name: b.kind for b in scan(source).bad}
    if name == "a.mp4":  # its index lies at the end and is gone
        assert seen == 0 and bad["a.mp4"] == "damaged"
    else:
        assert seen > 5
        assert bad or name == "a.ts"  # a stream says nowhere how long it is
    if name == "a.avi":
        assert bad["a.avi (all that follows)"] == "truncated"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "m.avi", "a.ts"])
def test_zeros_in_the_middle_are_no_picture(folder, tmp_path, name):
    """A part that was never written: frames that hang on it are bad, all others unchanged."""
    content = bytearray((folder / name).read_bytes())
    at = len(content) // 3
    content[at : at + 1500] = bytes(1500)
    (tmp_path / name).write_bytes(content)
    expected = in_order(folder / name)
    source = open_source(f"{tmp_path}/{name}#fps=25")
    bad = 0
    for i in range(len(source)):
        try:
            frame = source.read(i)
        except BadImage:
            bad += 1
            continue
        assert np.array_equal(frame, expected[number_of(frame)])
    lost = COUNT - len(source)  # the container passes over them
    assert 0 < bad + lost < COUNT


def test_what_is_no_film_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mkv").write_bytes(b"<!DOCTYPE html><html></html>")
    # FFmpeg would open the list and follow it.
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")
    with pytest.raises(FovealError, match="3 video files and none can be read"):
        open_source(tmp_path)
    write_film(tmp_path / "z.mp4", [drawn(i) for i in range(5)])
    source = open_source(tmp_path)
    kinds = {b.name: b.kind for b in scan(source).bad}
    assert kinds == {"empty.mp4": "empty", "page.mkv": "damaged", "list.mp4": "damaged"}
    # A file that changes or goes later is caught when it is read.
    table = Table(source, np.array([3]), np.array([-1]), stats=scan(source).stats)
    table.read(0)
    with (tmp_path / "z.mp4").open("ab") as f:
        f.write(b"x")
    with pytest.raises(BadImage, match="changed after the scan"):
        table.read(0)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FovealError, match="PyAV") as caught:
        open_source(tmp_path)
    assert "foveal[video]" in caught.value.hint


def test_a_telephone_held_upright(folder, tmp_path):
    content = bytearray((folder / "a.mp4").read_bytes())
    # The matrix of the track header: a quarter turn.
    at = content.index(b"tkhd") + 4 + 40
    one = (65536).to_bytes(4, "big")
    minus = (-65536).to_bytes(4, "big", signed=True)
    none = bytes(4)
    content[at : at + 24] = none + one + none + minus + none + none
    (tmp_path / "turned.mp4").write_bytes(content)
    source = open_source(tmp_path / "turned.mp4")
    frame = source.read(1)
    assert frame.shape[:2] == films.SIZE[::-1]
    assert number_of(np.ascontiguousarray(np.rot90(frame))) == 25


def class_films(folder, videos=3, frames=30):
    colours = {"red": (200, 40, 40), "green": (40, 200, 40)}
    for name, colour in colours.items():
        for v in range(videos):
            write_film(folder / name / f"{v}.mp4", [drawn(i + v, colour) for i in range(frames)])
    return folder


def test_folders_are_classes_and_no_video_is_trained_and_tested_on(tmp_path):
    source = open_source(f"{class_films(tmp_path / 'films')}#fps=5")
    assert source.classes == ["green", "red"] and source.labels.tolist() == [0] * 18 + [1] * 18
    train, test = load_splits(f"{tmp_path / 'films'}#fps=5")
    assert len(train) == 24 and len(test) == 12

    def films_of(part):
        return {part.name(i).partition("@")[0] for i in range(len(part))}

    assert len(films_of(test)) == 2 and not films_of(train) & films_of(test)
    (tmp_path / "films" / "red" / "0.mp4").unlink()
    (tmp_path / "films" / "red" / "1.mp4").unlink()
    with pytest.raises(FovealError, match="class red come from one video"):
        load_splits(tmp_path / "films")


def test_clips_do_not_cross_a_cut(tmp_path):
    day = [drawn(i, (220, 200, 90)) for i in range(14)]
    night = [drawn(100 + i, (20, 20, 90)) for i in range(11)]
    write_film(tmp_path / "two.mp4", day + night)
    source = open_source(f"{tmp_path / 'two.mp4'}#fps=25")
    clips = find_clips(source, 4)
    assert clips.rows[:, 0].tolist() == [0, 4, 8, 14, 18]
    for c in range(len(clips)):
        numbers = [number_of(frame) for frame in clips.read(c)]
        assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert len(find_clips(source, 4, step=1)) == 11 + 8
    with pytest.raises(FovealError, match="no shot of 15 frames at 25 a second"):
        find_clips(source, 15)


def test_reading_says_nothing_on_the_terminal(folder, tmp_path):
    """FFmpeg's own complaints would drown the progress line."""
    content = bytearray((folder / "a.mp4").read_bytes())
    content[2000:2600] = bytes(600)
    (tmp_path / "a.mp4").write_bytes(content)
    code = (
        "import pathlib, sys; from foveal.data.video import index_video, read_frames;"
        "path = pathlib.Path(sys.argv[1]); index = index_video(path);"
        "print(sum(isinstance(f, Exception) for _, f in read_frames(path, index, range(60))))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.mp4")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and int(done.stdout) > 0
