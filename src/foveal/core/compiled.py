"""Compiled functions, cached on disk, whose cache notices a change in any file they are made of.

Numba compares a cached function with its own file only, yet compiles in what it calls and the
constants it reads from other files: after an upgrade or a pull, old machine code would stay in use
unseen.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from numba import njit


def compiled(*, fastmath: bool = False, inline: str = "never") -> Callable[[Any], Any]:
    """A decorator: ``njit`` without the GIL and with a cache.

    Args:
        fastmath: Sums may be reordered, which is what vectorises them; no NaN may occur.
        inline: "always" puts the function into its callers before they are compiled.
    """

    def make(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True, cache=True, fastmath=fastmath, inline=inline)(function)
        if hasattr(dispatcher, "_cache"):  # NUMBA_DISABLE_JIT hands the function itself back
            dispatcher._cache._cache_file._source_stamp = _stamp()
        return dispatcher

    return make


@functools.cache
def _stamp() -> str:
    package = Path(__file__).parents[1]
    files = [f for layer in ("core", "views") for f in (package / layer).rglob("*.py")]
    return stamp_of(files)


def stamp_of(files: Iterable[Path]) -> str:
    """A word that changes with the text of any of some files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        text = path.read_bytes()
        digest.update(f"{path.name}:{len(text)}:".encode())
        digest.update(text)
    return digest.hexdigest()
