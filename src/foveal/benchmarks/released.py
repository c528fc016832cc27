"""Files of the papers' authors that golden values need and that foveal may not carry.

They are licensed otherwise or by nobody. A golden value whose file is not in ``folder()`` is
skipped by its test, and the table of methods lists it as skipped; whoever has the file puts it
there, and it is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foveal.core.files import cache_home


@dataclass(frozen=True)
class Released:
    """One file.

    Attributes:
        method: Whose golden value it is.
        name: The file's.
        origin: The repository it is released in.
        golden: What is checked of it.
    """

    method: str
    name: str
    origin: str
    golden: str

    @property
    def path(self) -> Path:
        """Where it is looked for."""
        return folder() / self.name

    @property
    def reason(self) -> str:
        """Why its golden value is skipped."""
        return f"{self.name} of {self.origin} is not in {folder()}"


def folder() -> Path:
    """``released`` in foveal's cache folder."""
    return cache_home() / "released"


_JIGSAW = "github.com/MehdiNoroozi/JigsawPuzzleSolver"
_PORT = "github.com/bbrattoli/JigsawPuzzlePytorch"

# Distances of permutations: mean, smallest, and how many pairs differ in 2, 3, ... places.
PERMUTATIONS: dict[Released, tuple[float, int, tuple[int, ...] | None]] = {
    Released(
        "jigsaw",
        "permutations_100_max.bin",
        _JIGSAW,
        "distances of the 100 permutations: mean 8.08, smallest 2, and their counts",
    ): (8.08, 2, (5, 12, 18, 114, 253, 876, 1390, 2282)),
    Released(
        "jigsaw",
        "permutations_701.bin",
        _JIGSAW,
        "distances of the 701 permutations: mean 7.99895, smallest 3",
    ): (7.99895, 3, None),
    Released(
        "jigsaw",
        "permutations_1000.npy",
        _PORT,
        "distances of the 1,000 permutations: mean 8.00536, smallest 2",
    ): (8.00536, 2, None),
}


def golden_files() -> list[Released]:
    """All of them, in the order of the table."""
    return list(PERMUTATIONS)
