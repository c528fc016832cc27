"""Pictures for instance retrieval: queries, and a gallery that holds the same things.

::

    DATA/query/THING/*.jpg
    DATA/gallery/THING/*.jpg      (and DATA/gallery/_distractor/*.jpg, which show nothing asked for)
    DATA/whiten/**/*.jpg          (optional: pictures that whitening is learned on)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foveal.data.files import FileSource, open_folder, peeked
from foveal.data.sources import Source
from foveal.data.splits import open_class_folder
from foveal.errors import FovealError

LAYOUT = "DATA/query/THING/*.jpg, DATA/gallery/THING/*.jpg (in _distractor what nobody asks for)"


def open_instances(data: Any, channels: int) -> tuple[FileSource, FileSource, Source | None]:
    """Queries, gallery, and what whitening is learned on (None: the layout has no such folder).

    Args:
        data: The folder.
        channels: 1 or 3.

    Raises:
        FovealError: Another layout, or a query of something the gallery does not hold.
    """
    root = Path(str(data)).expanduser()
    missing = [name for name in ("query", "gallery") if not (root / name).is_dir()]
    if missing:
        raise FovealError(f"{data} has no {' and no '.join(f'{m}/' for m in missing)}", hint=LAYOUT)
    gallery = open_class_folder(root / "gallery", channels=channels)
    known = set(gallery.classes or [])
    for folder in sorted(p for p in (root / "query").iterdir() if p.is_dir()):
        if folder.name not in known:
            raise FovealError(
                f"{folder} asks for something that {root / 'gallery'} does not hold", hint=LAYOUT
            )
    query = open_class_folder(root / "query", gallery.classes, channels)
    folder = root / "whiten"
    apart = peeked(open_folder(str(folder), folder), channels) if folder.is_dir() else None
    return query, gallery, apart
