"""What kind of data a path names, told by the endings of its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from foveal.data.files import cannot_list
from foveal.data.images import EXTENSIONS
from foveal.data.video import VIDEOS

Kind = Literal["pictures", "videos"]
_KINDS: dict[str, Kind] = {ending: "videos" for ending in VIDEOS}


def kind_of(path: Path) -> Kind:
    """The kind of a file or of a folder: pictures come first, then what most other files are.

    A folder of pictures is known by its first picture, whatever else lies there.
    """
    if not path.is_dir():
        return _KINDS.get(path.suffix.lower(), "pictures")
    seen: dict[Kind, int] = {}
    for _, folders, files in os.walk(path, followlinks=True, onerror=cannot_list):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if ending in EXTENSIONS:
                return "pictures"
            if ending in _KINDS:
                seen[_KINDS[ending]] = seen.get(_KINDS[ending], 0) + 1
    return max(seen, key=lambda kind: (seen[kind], kind)) if seen else "pictures"
