"""The labels a run may see: those its recipe chooses, kept in its folder; all others are hidden."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.core.files import read_text
from foveal.data.labels import (
    draw_few,
    filled,
    names_text,
    noisy,
    only_labels_of,
    read_predictions,
    rows_of_names,
    with_labels,
)
from foveal.data.sources import Source
from foveal.engine.runfolder import RunFolder
from foveal.recipe import Labels


def seen_labels(
    choice: Labels, source: Source, good: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels training sees, int64 [N], -1 hidden or unknown; and the rows that were labelled.

    Noise made on purpose changes some of these labels; predictions are not among them.

    Args:
        choice: Of the recipe.
        source: With all labels.
        good: Rows that can be read; subsets are drawn from them.
    """
    known = only_labels_of(source, good)
    if choice.file is not None:
        rows = rows_of_names(source, choice.file)
    elif choice.per_class is not None or choice.share is not None:
        rows = draw_few(known, per_class=choice.per_class, share=choice.share, seed=choice.seed)
    else:
        rows = np.flatnonzero(known >= 0)
    seen = only_labels_of(source, rows)
    if choice.flip or choice.drop:
        classes = len(source.classes or [])
        seen = noisy(seen, classes, flip=choice.flip, drop=choice.drop, seed=choice.seed)
        rows = rows[seen[rows] >= 0]
    if choice.predicted is not None:
        predicted = read_predictions(source, choice.predicted, confidence=choice.confidence)
        seen = filled(seen, predicted)
    return seen, rows


def limited(
    choice: Labels,
    source: Source,
    good: NDArray[np.int64],
    folder: RunFolder,
    say: Callable[[str], None],
) -> tuple[Source, dict[Path, str]]:
    """The source as training may see it, and what of that is kept in the run folder.

    A run that is continued reads its own folder: the files it was given may have changed since.

    Args:
        choice: Of the recipe.
        source: With all labels.
        good: Rows that can be read.
        folder: Of the run, which may not exist yet.
        say: Told what is seen.
    """
    if choice == Labels():
        return source, {}
    if folder.exists:
        own: dict[str, Any] = {"per_class": None, "share": None, "file": str(folder.labels_file)}
        if choice.predicted is not None:
            own["predicted"] = str(folder.predicted_file)
        if choice.hierarchy is not None:
            own["hierarchy"] = str(folder.hierarchy_file)
        choice = choice.model_copy(update=own)
    seen, rows = seen_labels(choice, source, good)
    texts = {folder.labels_file: names_text(source, rows)}
    if choice.predicted is not None:
        texts[folder.predicted_file] = read_text(choice.predicted)
    if choice.hierarchy is not None:
        texts[folder.hierarchy_file] = read_text(choice.hierarchy)
    text = f"labels of {len(rows):,} pictures are used, the others are hidden"
    if predicted := int((seen >= 0).sum()) - len(rows):
        text += f"; {predicted:,} are predictions"
    if choice.flip:
        wrong = int((seen[rows] != only_labels_of(source, rows)[rows]).sum())
        text += f"; {wrong:,} were made wrong on purpose"
    say(text)
    return with_labels(source, seen), texts
