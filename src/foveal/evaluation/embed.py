"""The verb ``embed``: pooled features of pictures in one file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foveal.backbones.encoder import Encoder
from foveal.core.files import atomic_path
from foveal.data.badfiles import write_bad_files
from foveal.data.sources import open_source
from foveal.errors import FovealError
from foveal.evaluation.features import Store, encoder_features
from foveal.evaluation.run import encoder_of
from foveal.views.presets import center_view


def embed(
    run_or_file: str | Path | Encoder, data: Any, out: str | Path, *, layer: str = "pooled"
) -> Path:
    """Writes the pooled features of pictures.

    The file holds ``features`` float32 [N, D], ``names`` [N], ``labels`` int64 [N] (-1 unknown)
    and ``classes`` (names of the labels; empty without classes). Pictures that cannot be read are
    left out and named with their reason in ``OUT.bad_files.csv`` beside it.

    Args:
        run_or_file: A run folder, an exported file, or an Encoder.
        data: Anything ``open_source`` reads.
        out: Ends in ``.npz``.
        layer: ``pooled``, or ``embedding``: what the run's method compared pictures by.

    Returns:
        ``out``.

    Raises:
        FovealError: ``out`` has another ending, or no picture can be read.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise FovealError(f"features are written as .npz, not {out.name}", hint=f"--out {out}.npz")
    encoder = encoder_of(run_or_file, layer)
    source = open_source(data, channels=encoder.channels)
    view = center_view(encoder.size, encoder.fraction)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the result, since a system's temporary folder may be small.
    with tempfile.TemporaryDirectory(prefix=".foveal-embed-", dir=out.parent) as temporary:
        found = encoder_features(Store(Path(temporary)), encoder, source, view)
        with atomic_path(out) as path:
            np.savez(
                path,
                features=found.x,
                names=np.array([source.name(int(i)) for i in found.rows]),
                labels=found.labels,
                classes=np.array(source.classes or [], dtype=np.str_),
            )
    listed = out.with_name(f"{out.name}.bad_files.csv")
    if found.bad:
        write_bad_files(listed, found.bad)
    else:
        listed.unlink(missing_ok=True)  # of an earlier call
    return out
