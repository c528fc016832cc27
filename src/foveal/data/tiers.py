"""Which pixels a run reads: the files', those of a shrunk decoding, or those of a copy."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from foveal.core.memory import available_memory
from foveal.data.blocks import blocks_of
from foveal.data.cache import Tier, expected_bytes, fits_jpeg, open_cache
from foveal.data.images import decode
from foveal.data.masked import MaskedSource
from foveal.data.picture import Picture, Pixels, with_channels
from foveal.data.sources import Source, is_encoded
from foveal.errors import FovealError

_OF_MEMORY = 0.5  # share of free memory raw pixels may take: read from disk they are no faster
_OF_DISK = 0.5  # share of the free disk a copy may take
_PEEK = 32  # files looked at


class ScaledSource:
    """``Source`` whose JPEGs are decoded at a fraction of their size.

    Fewer DCT coefficients are less work, and other pixels than decoding first and shrinking then.

    Args:
        source: The pictures.
        short: Both sides keep at least this many pixels.
    """

    def __init__(self, source: Source, short: int) -> None:
        self.source, self.short = source, short
        self.root, self.channels, self.bits = source.root, source.channels, source.bits
        self.classes, self.labels, self.ignored = source.classes, source.labels, source.ignored
        self.blocks = blocks_of(source)

    def __len__(self) -> int:
        return len(self.source)

    def name(self, i: int) -> str:
        """See ``Source``."""
        return self.source.name(i)

    def read(self, i: int) -> Pixels:
        """See ``Source``."""
        content = self.source.content(i)
        if content is None:
            return self.source.read(i)
        return with_channels(decode(content, self.short).pixels, self.channels, self.bits)

    def content(self, i: int) -> bytes | None:
        """See ``Source``."""
        return self.source.content(i)

    def picture(self, i: int) -> tuple[Picture, bytes]:
        """See ``Source``."""
        return self.source.picture(i)

    def stat(self, i: int) -> tuple[int, int] | None:
        """See ``Source``."""
        return self.source.stat(i)

    def fingerprint(self) -> str:
        """See ``Source``."""
        text = f"{self.source.fingerprint()} scaled {self.short}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_through(
    source: Source,
    *,
    kind: Literal["none", "raw", "jpeg"],
    short: int,
    quality: int,
    scaled: bool,
    folder: Path,
    say: Callable[[str], None] | None = None,
) -> Source:
    """A source by way of a cache tier; its pixels are the frame of boxes and masks.

    Args:
        source: The pictures.
        kind: ``none`` reads the files themselves.
        short: Short side that is kept, in pixels.
        quality: Of a ``jpeg`` copy.
        scaled: Decode JPEGs at a fraction of their size.
        folder: Where copies are kept.
        say: Told what is going on.
    """
    if (scaled or kind != "none") and isinstance(source, MaskedSource):
        raise FovealError(
            f"the masks and boxes of {source.root} count in pixels of its frames, which a cache "
            "tier would shrink",
            hint="cache.tier=none cache.scaled=false",
        )
    if kind == "jpeg" and not fits_jpeg(source):
        raise FovealError(
            f"a JPEG keeps 8 bits and 1 or 3 channels; {source.root} is read with {source.bits} "
            f"bits and {source.channels} channels, and would lose some",
            hint="cache.tier=raw",
        )
    if scaled:
        source = ScaledSource(source, short)
    if kind == "none":
        return source
    return open_cache(source, Tier(kind, short, quality), folder, say=say)


def choose_kind(
    source: Source, short: int, folder: Path
) -> tuple[Literal["none", "raw", "jpeg"], str]:
    """The tier that suits data, memory and disk, and why.

    Raw pixels where all of them stay in memory; JPEG where they do not and the copy is smaller
    than what is read now; otherwise none.

    Args:
        source: The pictures.
        short: Short side that would be kept, in pixels.
        folder: Where the copy would be.
    """
    if isinstance(source, MaskedSource):
        return "none", "masks count in pixels of the frames"
    rows = np.unique(np.linspace(0, len(source) - 1, min(_PEEK, len(source))).astype(int)).tolist()
    if not any(is_encoded(source, i) for i in rows):
        return "none", "the pictures are not encoded: there is nothing to save"
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    raw = expected_bytes(source, Tier("raw", short))
    if raw <= _OF_MEMORY * available_memory() and raw <= _OF_DISK * free:
        return "raw", f"{raw / 1e9:,.2f} GB of pixels stay in memory"
    if not fits_jpeg(source):
        return "none", f"{raw / 1e9:,.1f} GB of pixels are too much, and JPEG would lose some"
    jpeg = expected_bytes(source, Tier("jpeg", short))
    if jpeg > _OF_DISK * free:
        return "none", f"a copy of {jpeg / 1e9:,.1f} GB would fill the disk of {folder}"
    stored = np.mean([(source.stat(i) or (0, 0))[0] for i in rows]) * len(source)
    if jpeg > 0.8 * stored:
        return "none", f"the files take {stored / 1e9:,.1f} GB, a copy {jpeg / 1e9:,.1f} GB"
    return "jpeg", f"{jpeg / 1e9:,.2f} GB; raw pixels would be {raw / 1e9:,.1f} GB"
