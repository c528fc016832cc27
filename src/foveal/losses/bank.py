"""A memory bank: one unit vector for every sample, as it was when the sample was last seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import rng


class MemoryBank(nn.Module):
    """Rows [N, D], replicated on every rank and kept equal there by ``update``.

    1,281,167 rows of 128 float32 numbers are 656 MB; float16 halves that.

    Args:
        samples: N.
        dim: D.
        seed: Of the random unit vectors it starts with.
        momentum: Share of the old row kept at an update.
        half: Keep the rows as float16.
    """

    rows: Tensor

    def __init__(
        self, samples: int, dim: int, *, seed: int, momentum: float = 0.5, half: bool = False
    ) -> None:
        super().__init__()
        self.momentum = momentum
        generator = torch.Generator().manual_seed(rng.seed64(seed, "bank"))
        drawn = F.normalize(torch.randn(samples, dim, generator=generator), dim=1)
        self.register_buffer("rows", drawn.half() if half else drawn)

    def __len__(self) -> int:
        return len(self.rows)

    def similarity(self, z_BD: Tensor, candidates_BM: Tensor) -> Tensor:
        """Dot products with chosen rows, [B, M]; no gradient reaches the bank."""
        if len(self) <= 4 * candidates_BM.shape[1]:
            # One product with all rows moves less memory than copying most of them for each sample.
            return (z_BD @ self.rows.to(z_BD.dtype).T).gather(1, candidates_BM)
        chosen_BMD = self.rows[candidates_BM].to(z_BD.dtype)
        return torch.bmm(chosen_BMD, z_BD[:, :, None])[:, :, 0]

    @torch.no_grad()
    def update(self, index_B: Tensor, z_BD: Tensor) -> None:
        """Moves rows towards new unit vectors and back to length 1.

        Args:
            index_B: Rows of the whole global batch; of a row that occurs twice the last one counts.
            z_BD: Unit vectors.
        """
        which, where = torch.unique(index_B, return_inverse=True)
        place = torch.arange(len(index_B), device=index_B.device)
        last = torch.zeros_like(which).scatter_reduce(0, where, place, "amax")
        old = self.rows[which].float()
        new = self.momentum * old + (1 - self.momentum) * z_BD[last].float()
        self.rows[which] = F.normalize(new, dim=1).to(self.rows.dtype)
