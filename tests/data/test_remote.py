"""Shards behind an address: bounded on disk, patient with the network, the same pictures."""

import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest
import torch
import zoo

from foveal.data import remote, shards
from foveal.data.blocks import blocks_of
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.remote import Pieces, RemoteFile
from foveal.data.scan import scan
from foveal.data.shards import open_remote_shards
from foveal.data.sources import open_source
from foveal.errors import BadImage, FovealError
from foveal.views.spec import View

PIECE = 20_000
PICTURES = 20  # in a shard


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    fsspec.filesystem("memory").store.clear()
    return tmp_path / "home" / "foveal"


def picture(i):
    return zoo.encoded(zoo.drawn(np.random.default_rng(i), (30, 24)), "BMP")


def tar_of(numbers):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for i in numbers:
            for name, content in ((f"{i:04d}.bmp", picture(i)), (f"{i:04d}.cls", b"%d" % (i % 3))):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def put(shards=4):
    system = fsspec.filesystem("memory")
    for s in range(shards):
        system.pipe(f"/bucket/train-{s:03d}.tar", tar_of(range(PICTURES * s, PICTURES * (s + 1))))
    return system


@pytest.fixture
def fetched(monkeypatch):
    """Every piece that comes over the network."""
    seen = []
    fetch = RemoteFile.fetch

    def noted(self, number):
        seen.append((self.name, number))
        return fetch(self, number)

    monkeypatch.setattr(RemoteFile, "fetch", noted)
    return seen


@pytest.mark.parametrize("way", ["/", "/*.tar", "/train-{000..003}.tar", "/train-00[0-3].tar"])
def test_a_shard_far_away_holds_what_was_put_there(way, home):
    put()
    source = open_source(f"memory://bucket{way}")
    assert len(source) == 80 and source.classes == ["0", "1", "2"]
    for i in (0, 19, 20, 79):
        assert source.content(i) == picture(i)
    assert source.name(25) == "train-001.tar/0025.bmp"
    assert len(scan(source).good) == 80
    again = open_source(f"memory://bucket{way}")
    assert again.fingerprint() == source.fingerprint()


def test_the_disk_stays_flat_on_ten_times_the_cache(tmp_path, monkeypatch, fetched):
    """A pass fetches each piece about once; what is kept never exceeds the limit."""
    put(shards=10)
    total = sum(f["size"] for f in fsspec.filesystem("memory").ls("/bucket", detail=True))
    # Two windows of four pieces.
    monkeypatch.setattr(shards, "_WINDOW", 4)
    pieces = Pieces(tmp_path / "pieces", limit=total // 10, size=total // 80)
    source = open_remote_shards("memory://bucket", {}, pieces=pieces)
    most = 0

    def on_disk():
        with pieces._alone():  # between two pieces: the next batches are being fetched
            return sum(p.stat().st_size for p in pieces.folder.rglob("*") if p.is_file())

    table = Table(source, np.arange(200), source.labels, stats=scan(source).stats)
    runs = []
    for threads in (1, 3):
        fetched.clear()
        plan = StreamPlan("main", {"a": View(size=16)}, 10)
        with Loader(table, [plan], seed=0, threads=threads) as loader:
            run = []
            for step in range(20):
                run.append(loader.get(step)["main"].views["a"].clone())
                most = max(most, on_disk())
            runs.append(run)
        # Batches in the making lie further apart than this small cache reaches, so that which
        # thread waits when decides what several of them fetch again; one thread goes in order.
        if threads == 1:
            assert len(fetched) <= 1.15 * len(set(fetched))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert total // 20 < most <= pieces.limit
    blocks = blocks_of(source)
    assert blocks.window == 4 and len(np.unique(blocks.of)) == 70


def test_what_is_kept_is_used_again_and_the_oldest_goes_first(tmp_path, fetched):
    system = put(shards=1)
    pieces = Pieces(tmp_path / "pieces", limit=2 * PIECE, size=PIECE)
    file = RemoteFile(system, "/bucket/train-000.tar", pieces)
    whole = system.cat_file("/bucket/train-000.tar")
    assert (
        file.read(0, 10) == whole[:10] and file.read(PIECE - 5, 10) == whole[PIECE - 5 : PIECE + 5]
    )
    # The piece, and by itself what lies beyond it.
    assert fetched == [("train-000.tar", 0)]
    assert file.read(PIECE, 10) == whole[PIECE : PIECE + 10] and len(fetched) == 2
    file.read(0, 10)
    (tmp_path / "pieces" / file.key / ".1.killed").write_bytes(b"half written")
    file.read(2 * PIECE, 10)
    assert sorted(p.name for p in (tmp_path / "pieces" / file.key).iterdir()) == ["0", "2"]
    # Another process finds them.
    other = RemoteFile(
        system, "/bucket/train-000.tar", Pieces(tmp_path / "pieces", 2 * PIECE, PIECE)
    )
    other.read(0, 10)
    assert len(fetched) == 3
    assert file.read(len(whole) - 10, 100) == whole[-10:]


def test_a_file_that_changes_where_it_lies_is_caught(tmp_path):
    system = put(shards=2)
    pieces = Pieces(tmp_path / "pieces", limit=2 * PIECE, size=PIECE)
    source = open_remote_shards("memory://bucket", {}, pieces=pieces)
    system.pipe("/bucket/train-000.tar", tar_of(range(50, 70)))
    with pytest.raises(BadImage, match="changed where it lies"):
        source.read(0)
    system.rm("/bucket/train-001.tar")
    with pytest.raises(BadImage) as caught:
        source.read(PICTURES)
    assert caught.value.kind == "missing"
    with pytest.raises(FovealError, match="no such file"):
        open_source("memory://bucket/train-001.tar")


def test_a_network_that_fails_now_and_then(tmp_path, monkeypatch):
    system = put(shards=1)
    source = open_remote_shards(
        "memory://bucket", {}, pieces=Pieces(tmp_path / "pieces", PIECE, PIECE)
    )
    give, calls = type(system).cat_file, []

    def sometimes(self, *arguments, **options):
        calls.append(1)
        if len(calls) % 3:
            raise ConnectionError("the line is cut")
        return give(self, *arguments, **options)

    monkeypatch.setattr(type(system), "cat_file", sometimes)
    assert source.content(0) == picture(0) and len(calls) == 3
    monkeypatch.setattr(type(system), "cat_file", lambda *a, **o: b"too short")
    with pytest.raises(BadImage, match="9 bytes came instead of"):
        source.content(PICTURES - 1)

    def never(*arguments, **options):
        raise ConnectionError("the line is cut")

    monkeypatch.setattr(type(system), "cat_file", never)
    with pytest.raises(BadImage, match="cannot be fetched: the line is cut") as caught:
        source.content(PICTURES - 1)
    assert caught.value.kind == "network"


def test_what_is_said_of_addresses_that_do_not_work():
    put(shards=1)
    for text, says in (
        ("memory://nowhere/", "no file is at"),
        ("memory://bucket/a.tar.gz", "is compressed"),
        ("nosuch://bucket/a.tar", "cannot be opened: Protocol not known"),
        ("memory://bucket/#cache=1MB", "does not hold one piece"),
        ("memory://bucket/#cache=lots", "is no size"),
        ("memory://bucket/#fps=3", "no option fps"),
    ):
        with pytest.raises(FovealError, match=says) as caught:
            open_source(text)
        assert caught.value.hint
    assert remote.bytes_option("", {"cache": "1.5gb"}) == 1_500_000_000
    assert remote.bytes_option("", {"cache": "20000000"}) == 20_000_000


@pytest.fixture
def server(request):
    """Files over HTTP on this machine, in parts where ``request.param`` allows."""
    files = {f"/s-{s}.tar": tar_of(range(10 * s, 10 * s + 10)) for s in range(2)}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, send):
            content = files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range") if request.param else None
            if asked:
                first, last = (int(x) for x in asked.removeprefix("bytes=").split("-"))
                size = len(content)
                content = content[first : last + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            else:
                self.send_response(200)
            if request.param:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if send:
                self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


@pytest.mark.parametrize("server", [True], indirect=True)
def test_over_http(server, tmp_path):
    pieces = Pieces(tmp_path / "pieces", limit=3 * PIECE, size=PIECE)
    source = open_remote_shards(f"{server}/s-{{0..1}}.tar", {}, pieces=pieces)
    assert [source.content(i) for i in range(20)] == [picture(i) for i in range(20)]
    with pytest.raises(FovealError, match="no such file"):
        open_source(f"{server}/gone.tar")


@pytest.mark.parametrize("server", [False], indirect=True)
def test_a_server_without_parts_is_told(server, tmp_path):
    with pytest.raises(FovealError, match="no parts"):
        open_remote_shards(
            f"{server}/s-0.tar", {}, pieces=Pieces(tmp_path / "pieces", 3 * PIECE, PIECE)
        )
