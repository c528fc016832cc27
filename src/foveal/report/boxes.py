"""Pictures with the boxes that a detector found in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from foveal.core.files import read_json
from foveal.data.images import decode, read_bytes
from foveal.errors import BadImage
from foveal.report.pictures import picture_of

_WIDTH, _COLUMNS, _GAP = 240, 3, 4
_SURE = 0.5  # boxes below are drawn thin
_COLOUR = (255, 196, 0)


def examples(results: Path) -> Image.Image | None:
    """A sheet of the examples that kept results of detection name.

    Args:
        results: Folder of results.

    Returns:
        None where there are none, or none of the pictures lies where it was.
    """
    found: list[dict[str, Any]] = []
    for name in ("detection", "detection-finetune"):
        path = results / f"{name}.json"
        if path.is_file() and not found:
            found = read_json(path)[0]["configuration"]["chosen"]["trained"]["examples"]
    drawn = [picture for each in found if (picture := _drawn(each)) is not None]
    if not drawn:
        return None
    height = max(picture.height for picture in drawn)
    columns = min(_COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    size = (columns * (_WIDTH + _GAP) - _GAP, rows * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, "white")
    for i, picture in enumerate(drawn):
        row, column = divmod(i, columns)
        sheet.paste(picture, (column * (_WIDTH + _GAP), row * (height + _GAP)))
    return sheet


def _drawn(example: dict[str, Any]) -> Image.Image | None:
    """One picture with its boxes, the least sure first."""
    try:
        picture = picture_of(decode(read_bytes(Path(example["file"]))).pixels)
    except (BadImage, OSError):
        return None
    scale = _WIDTH / picture.width
    picture = picture.resize((_WIDTH, max(1, round(picture.height * scale))))
    draw = ImageDraw.Draw(picture)
    for *corners, score, name in reversed(example["boxes"]):
        left, top, right, bottom = (x * scale for x in corners)
        draw.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=_COLOUR,
                       width=2 if score >= _SURE else 1)  # fmt: skip
        draw.text((left + 3, top + 1), f"{name} {100 * score:.0f}", fill=_COLOUR)
    return picture
