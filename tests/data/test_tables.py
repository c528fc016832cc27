"""Tables: whatever column holds the pictures, in row groups, and damage that is named."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zoo
from pyarrow import ipc

from foveal.data import arrow, tables
from foveal.data.blocks import BlockCache
from foveal.data.loader import Loader, StreamPlan, Table
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.data.splits import load_splits
from foveal.errors import BadImage, FovealError
from foveal.views.spec import View

NAMES = ["owl", "dog", "cat"]


def png(i, size=(20, 16)):
    return zoo.encoded(zoo.drawn(np.random.default_rng(i), size), "PNG")


def pixels(i):
    return np.asarray(zoo.drawn(np.random.default_rng(i), (20, 16)))


def struct(contents, paths=None):
    paths = paths or [f"{i}.png" for i in range(len(contents))]
    rows = [{"bytes": c, "path": p} for c, p in zip(contents, paths, strict=True)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def shaped(arrays):
    kind = pa.fixed_shape_tensor(pa.uint8(), arrays[0].shape)
    values = np.concatenate([a.ravel() for a in arrays])
    flat = pa.FixedSizeListArray.from_arrays(values, arrays[0].size)
    return pa.ExtensionArray.from_storage(kind, flat)


def nested(arrays):
    return pa.array([a.tolist() for a in arrays], pa.list_(pa.list_(pa.list_(pa.uint8()))))


COLUMNS = {
    "bytes": lambda rows: pa.array([png(i) for i in rows]),
    "large bytes": lambda rows: pa.array([png(i) for i in rows], pa.large_binary()),
    "bytes and path": lambda rows: struct([png(i) for i in rows]),
    "nested": lambda rows: nested([pixels(i) for i in rows]),
    "shaped": lambda rows: shaped([pixels(i) for i in rows]),
}


def table_of(rows, column="bytes and path", **more):
    columns = {"id": pa.array(list(rows)), "image": COLUMNS[column](rows)}
    columns["label"] = pa.array([i % 3 for i in rows])
    about = {"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}}
    table = pa.table({**columns, **more})
    return table.replace_schema_metadata({"huggingface": json.dumps(about)})


def save(path, table, group=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=group, write_page_checksum=True)
        return path
    make = ipc.new_stream if "stream" in path.name else ipc.new_file
    with pa.OSFile(str(path), "wb") as file, make(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=group)
    return path


FILES = ["a.parquet", "stream.arrow", "file.arrow"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_table_holds_what_was_put_there(tmp_path, file, column):
    save(tmp_path / file, table_of(range(11), column))
    save(tmp_path / f"b{file}", table_of(range(11, 15), column))
    source = open_source(tmp_path)
    assert len(source) == 15 and source.channels == 3 and source.classes == NAMES
    in_order = sorted([file, f"b{file}"])
    assert source.name(0) == f"{in_order[0]}[0]" and source.name(14).startswith(in_order[1])
    rows = list(range(15)) if in_order[0] == file else [*range(11, 15), *range(11)]
    assert source.labels.tolist() == [i % 3 for i in rows]
    for at, i in enumerate(rows):
        assert np.array_equal(source.read(at), pixels(i))
        assert source.content(at) == (png(i) if "bytes" in column else None)
    report = scan(source)
    assert len(report.good) == 15
    assert report.formats == ({"PNG": 15} if "bytes" in column else {"array": 15})
    assert abs(report.to_json()["bytes"] - sum(p.stat().st_size for p in tmp_path.iterdir())) < 15
    assert len(open_source(f"{tmp_path}/b*{Path(file).suffix}")) == 4


def test_columns_are_found_by_type_and_name(tmp_path):
    image, other = COLUMNS["bytes"](range(4)), COLUMNS["bytes"](range(10, 14))
    words = pa.array(["b", "a", None, "b"])
    path = save(tmp_path / "a.parquet", pa.table({"scan": image, "kind": words}))
    source = open_source(path)
    assert source.labels is None and np.array_equal(source.read(0), pixels(0))
    source = open_source(f"{path}#label=kind")
    assert source.classes == ["a", "b"] and source.labels.tolist() == [1, 0, -1, 1]
    save(path, pa.table({"left": image, "right": other}))
    with pytest.raises(FovealError, match=r"several columns .*: left, right") as caught:
        open_source(path)
    assert caught.value.hint.endswith("#image=left")
    assert np.array_equal(open_source(f"{path}#image=right").read(0), pixels(10))
    for text, says in (("image=no", "no column no"), ("label=no", "no labels in a column no"),
                       ("colour=x", "no option colour")):  # fmt: skip
        with pytest.raises(FovealError, match=says) as caught:
            open_source(f"{path}#image=left,{text}" if "label" in text else f"{path}#{text}")
        assert caught.value.hint
    save(path, pa.table({"id": pa.array([1])}))
    with pytest.raises(FovealError, match=r"no column of .* holds pictures: id"):
        open_source(path)


def test_pictures_beside_the_table(tmp_path):
    """What ``datasets`` saves without embedding."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(png(1))
    column = struct([None, None], ["pictures/1.png", "pictures/gone.png"])
    path = save(tmp_path / "tables" / ".." / "a.parquet", pa.table({"image": column}))
    source = open_source(path)
    assert np.array_equal(source.read(0), pixels(1))
    assert [b.kind for b in scan(source).bad] == ["missing"]


def test_rows_without_a_picture_are_named(tmp_path):
    column = pa.array([png(0), None, b"", b"no picture", png(4)])
    path = save(tmp_path / "a.parquet", pa.table({"image": column}))
    bad = {b.name: b.kind for b in scan(path).bad}
    assert bad == {
        "a.parquet[1]": "empty", "a.parquet[2]": "empty", "a.parquet[3]": "not_a_picture",
    }  # fmt: skip
    ragged = [[[[0] * 3] * 4] * 5, [[[0] * 3] * 4, [[0] * 3] * 2], None]
    column = pa.array(ragged, nested([pixels(0)]).type)
    path = save(tmp_path / "b.parquet", pa.table({"image": column}))
    assert [b.kind for b in scan(path).bad] == ["shape", "empty"]
    whole = pa.array([[[300, 1], [2, 3]]], pa.list_(pa.list_(pa.int64())))
    path = save(tmp_path / "c.parquet", pa.table({"image": whole}))
    assert [b.kind for b in scan(path).bad] == ["depth"]


def test_streams_read_a_row_group_once_a_pass(tmp_path, monkeypatch):
    for f in range(4):
        save(tmp_path / f"{f}.parquet", table_of(range(24 * f, 24 * f + 24)))
    read = []
    column = arrow.TableFile.column

    def noted(self, part, name):
        read.append((self.path, part.place))
        return column(self, part, name)

    monkeypatch.setattr(arrow.TableFile, "column", noted)
    monkeypatch.setattr(tables, "window_of", lambda largest: 3)
    source = open_source(tmp_path)
    size = max(source._cache.get(b).nbytes for b in range(24))
    runs = []
    for threads in (1, 3):
        source = open_source(tmp_path)
        # Room for two windows of three, of 24.
        source._cache = BlockCache(source._column, lambda column: column.nbytes, 6 * size)
        table = Table(source, np.arange(96), source.labels, stats=scan(source).stats)
        read.clear()
        plan = StreamPlan("main", {"a": View(size=16)}, 8)
        # One batch ahead: with more, a thread that is kept from its core comes back to blocks of a
        # window that the others have left, and room for two is not enough.
        with Loader(table, [plan], seed=0, threads=threads, prefetch=1) as loader:
            runs.append([loader.get(s)["main"].views["a"].clone() for s in range(12)])
        assert len(read) - len(set(read)) <= 6 and source._cache.bytes <= 6 * size
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    path = tmp_path / "0.parquet"
    save(path, table_of(range(5)))
    with pytest.raises(BadImage, match="changed after the scan"):
        table.read(0)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_was_cut_off_is_named(tmp_path, file):
    path = save(tmp_path / file, table_of(range(12)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    save(tmp_path / "zz.parquet", table_of(range(4)))
    source = open_source(tmp_path)
    bad = {b.name: b.kind for b in scan(source).bad}
    if "stream" in file:
        assert bad == {"stream.arrow (all that follows)": "truncated"} and len(source) == 9
        assert np.array_equal(source.read(3), pixels(3))
    else:
        assert bad == {file: "damaged"} and len(source) == 5
    assert source.labels.tolist()[-5] == -1 and source.labels.tolist()[-4:] == [0, 1, 2, 0]


def test_damage_inside_is_found_by_the_checksum(tmp_path):
    path = tmp_path / "a.parquet"
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table_of(range(12)), path, row_group_size=4, write_page_checksum=True, **plain)
    content = bytearray(path.read_bytes())
    at = content.index(png(5)) + 60
    content[at] ^= 1
    path.write_bytes(content)
    kinds = [b.kind for b in scan(path).bad]
    assert kinds == ["damaged"] * 4  # the row group


def test_what_is_said_where_nothing_can_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 this is none")
    with pytest.raises(FovealError, match=r"no rows that can be read; a.parquet cannot be read"):
        open_source(tmp_path)
    with pytest.raises(FovealError, match="does not exist"):
        open_source(tmp_path / "b.parquet")
    save(tmp_path / "a.parquet", table_of(range(4)))
    monkeypatch.setattr(tables, "_LARGEST", 10)
    with pytest.raises(FovealError, match=r"a row group of .* GB") as caught:
        open_source(tmp_path)
    assert "row_group_size" in caught.value.hint
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(FovealError, match="pyarrow") as caught:
        open_source(tmp_path)
    assert "foveal[parquet]" in caught.value.hint


@pytest.mark.parametrize("layout", ["hub", "saved"])
def test_given_splits_stay_as_they_are(tmp_path, layout):
    """As on the hub, and as ``save_to_disk`` leaves a DatasetDict."""
    names = {"hub": "data/{}-00000-of-00001.parquet", "saved": "{}/stream-00000-of-00001.arrow"}
    save(tmp_path / names[layout].format("train"), table_of(range(9)))
    images = COLUMNS["bytes and path"](range(20, 23))
    other = pa.table({"image": images, "label": ["cat", "owl", "cat"]})
    save(tmp_path / names[layout].format("test"), other)
    if layout == "saved":
        (tmp_path / "train" / "state.json").write_text("{}")
        save(tmp_path / "train" / "cache-12.arrow", table_of(range(30, 33)))
    train, test = load_splits(tmp_path)
    assert len(train) == 9 and train.classes == test.classes == NAMES
    assert test.labels.tolist() == [2, 0, 2]
    other = pa.table({"image": images, "label": ["cow"] * 3})
    save(tmp_path / names[layout].format("test"), other)
    with pytest.raises(FovealError, match="class cow, which the training part does not have"):
        load_splits(tmp_path)
