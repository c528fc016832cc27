"""Features, computed once per network and data and kept on disk.

Legend: N pictures, B of a batch, C channels, H, W pixels, D features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.backbones.encoder import Encoder
from foveal.backbones.reading import device_of, in_pieces, piece_of
from foveal.core import rng
from foveal.core.cores import share_cores
from foveal.core.files import atomic_path, read_json, write_json
from foveal.data.badfiles import BadFile
from foveal.data.loader import BadFiles, Table, ordered_views
from foveal.data.sources import Source
from foveal.errors import FovealError
from foveal.views.spec import View

Network = TypeVar("Network", bound=nn.Module)
_BATCH = 256
_LARGEST = 65504.0  # of float16
_BATCH_PIXELS = _BATCH * 96 * 96  # larger pictures come in smaller batches


@dataclass(frozen=True)
class Features:
    """Features of the pictures of a source that could be read.

    Attributes:
        x: float32 [N, D] (maps are kept in float16), memory-mapped.
        labels: int64 [N], -1 unknown.
        rows: Row of the source for each, int64 [N].
        bad: The pictures that could not be read.
        key: Identifies everything that shaped them.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    bad: tuple[BadFile, ...]
    key: str


class Store:
    """Arrays on disk by a hash of what shapes them. The folder may be deleted at any time.

    Args:
        folder: Made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def get(
        self, shaped_by: Mapping[str, Any], make: Callable[[Path], Any]
    ) -> tuple[NDArray[Any], Any, str]:
        """The array and what was noted with it, made if it is not there.

        Args:
            shaped_by: Plain values; another value anywhere is another array.
            make: Writes the array (``.npy``) to a path and returns plain values to note.

        Returns:
            The array (memory-mapped, writing to it changes no file), the notes, the key.
        """
        key = digest_of(shaped_by)
        array, notes = self.folder / f"{key}.npy", self.folder / f"{key}.json"
        # The notes come last: where they are, the array is whole.
        if not (notes.is_file() and array.is_file()):
            with atomic_path(array) as temporary:
                found = make(temporary)
            write_json(notes, {"shaped_by": dict(shaped_by), "notes": found})
        return np.load(array, mmap_mode="c"), read_json(notes)["notes"], key


def digest_of(value: Mapping[str, Any]) -> str:
    """A short hash of plain values."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def weights_digest(network: nn.Module, *, without: tuple[str, ...] = ()) -> str:
    """A hash of every parameter and buffer, with its name, but those that begin so."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if name.startswith(without):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())  # type: ignore[arg-type,unused-ignore]
    return digest.hexdigest()


def check_unchanged(network: nn.Module, digest: str) -> None:
    """Raises if a parameter or buffer is not what it was when ``digest`` was taken."""
    if weights_digest(network) != digest:
        raise FovealError(
            "evaluation changed a parameter or a buffer of the network it evaluates",
            hint="a layer writes to its buffers in evaluation mode; the numbers are not kept",
        )


@contextmanager
def frozen(network: nn.Module) -> Iterator[str]:
    """Evaluation mode and no gradient; yields the digest of the weights.

    Raises:
        FovealError: On leaving, if a parameter or buffer changed (the frozen law).
    """
    before = weights_digest(network)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield before
    finally:
        for module, mode in modes.items():
            module.training = mode
    check_unchanged(network, before)


@contextmanager
def compute_threads(device: torch.device) -> Iterator[int]:
    """Cuts torch's threads to its share of the cores; yields the loader's.

    Fewer than its share (``OMP_NUM_THREADS=1``) stay fewer.
    """
    cores = share_cores(accelerator=device.type != "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, cores.compute))
    try:
        yield cores.loader
    finally:
        torch.set_num_threads(before)


def encoder_features(
    store: Store,
    encoder: Encoder,
    source: Source,
    view: View,
    *,
    rows: NDArray[np.int64] | None = None,
    view_key: rng.Key = (0, 0),
) -> Features:
    """Pooled features of a source through a frozen encoder.

    Args:
        store: Where they are kept.
        encoder: Not changed.
        source: With the encoder's channels.
        view: What is cut from each picture.
        rows: Rows of the source; None: all.
        view_key: Keys the view, where it is random.
    """
    return read_features(
        store, encoder, source, view, lambda images: encoder(images)["pooled"],
        {"layer": "pooled"}, rows=rows, view_key=view_key,
    )  # fmt: skip


def read_features(
    store: Store,
    encoder: Encoder,
    source: Source,
    view: View,
    read: Callable[[Tensor], Tensor],
    named: Mapping[str, Any],
    *,
    rows: NDArray[np.int64] | None = None,
    view_key: rng.Key = (0, 0),
    dtype: Literal["float32", "float16"] = "float32",
) -> Features:
    """What ``read`` makes of pictures by a frozen encoder: end points, crops.

    Args:
        store: Where it is kept.
        encoder: Not changed.
        source: With the encoder's channels.
        view: What is cut from each picture.
        read: Pictures [B, C, H, W] in [0, 1], on the encoder's device, to [B, D].
        named: What identifies ``read``.
        rows: Rows of the source; None: all.
        view_key: Keys the view, where it is random.
        dtype: How it is kept; what float16 cannot hold is cut off.
    """
    device = device_of(encoder)

    def forward(pixels: Tensor) -> Tensor:
        found = in_pieces(encoder, pixels, read)
        return found.clamp(-_LARGEST, _LARGEST) if dtype == "float16" else found

    with frozen(encoder) as digest, compute_threads(device) as threads:
        shaped_by = {
            "network": encoder.describe(),
            "weights": digest,
            **named,
            "device": device.type,
            "piece": piece_of(encoder, view.size),
        }
        return view_features(
            store,
            forward,
            source,
            view,
            shaped_by,
            rows=rows,
            view_key=view_key,
            threads=threads,
            check=lambda: check_unchanged(encoder, digest),
            dtype=dtype,
        )


def view_features(
    store: Store,
    forward: Callable[[Tensor], Tensor],
    source: Source,
    view: View,
    shaped_by: Mapping[str, Any],
    *,
    rows: NDArray[np.int64] | None = None,
    view_key: rng.Key = (0, 0),
    threads: int = 1,
    check: Callable[[], None] | None = None,
    dtype: str = "float32",
) -> Features:
    """``forward`` (pixels [B, H, W, C] -> float32 [B, D]) over one view of every picture.

    Args:
        store: Where they are kept.
        forward: Called with batches of pixels.
        source: The pictures.
        view: What is cut from each.
        shaped_by: What identifies ``forward``.
        rows: Rows of the source; None: all.
        view_key: Keys the view, where it is random.
        threads: That decode and cut.
        check: Called before anything is kept; raises if it must not be.
        dtype: How they are kept.

    Raises:
        FovealError: No picture could be read.
    """
    chosen = np.arange(len(source)) if rows is None else rows
    labels = np.full(len(source), -1, np.int64) if source.labels is None else source.labels
    table = Table(source, chosen, labels[chosen])
    batch = int(np.clip(_BATCH_PIXELS // view.size**2, 16, _BATCH))

    def make(path: Path) -> dict[str, Any]:
        bad = BadFiles()
        unread: list[int] = []
        out: Any = None
        for some, pixels, ok in ordered_views(
            table, view, batch=batch, threads=threads, key=view_key, bad=bad
        ):
            features = forward(pixels).numpy()
            features[~ok] = 0
            if out is None:
                out = np.lib.format.open_memmap(
                    path, mode="w+", dtype=dtype, shape=(len(table), features.shape[1])
                )
            out[some] = features
            unread += [int(i) for i in some[~ok]]
        if out is None or len(unread) == len(table):
            reason = f", the first because {bad.list()[0].reason}" if bad.list() else ""
            raise FovealError(f"none of the {len(table)} pictures of {source.root} could be "
                              f"read{reason}")  # fmt: skip
        out.flush()
        if check is not None:
            check()
        return {"unread": unread, "bad": [vars(b) for b in bad.list()]}

    everything = {
        **shaped_by,
        "data": source.fingerprint(),
        "channels": source.channels,
        "bits": source.bits,
        "rows": "all" if rows is None else hashlib.blake2b(rows.tobytes()).hexdigest()[:32],
        "view": view.model_dump(mode="json"),
        "view_key": list(view_key),
        "dtype": dtype,
        "batch": batch,
    }
    x, notes, key = store.get(everything, make)
    if notes["unread"]:
        x = np.delete(x, notes["unread"], axis=0)
    kept = np.delete(np.arange(len(table)), notes["unread"])
    bad = tuple(BadFile(**b) for b in notes["bad"])
    return Features(x, table.label[kept], chosen[kept], bad, key)


def on_accelerator(encoder: Encoder) -> Encoder:
    """A loaded encoder where it runs fastest: on a GPU, if there is one."""
    return encoder.to("cuda") if torch.cuda.is_available() else encoder


def placed(network: Network, device: torch.device) -> Network:
    """A network on a device, its convolutions in the order of memory that is fastest there."""
    return network.to(device).to(memory_format=torch.channels_last)
