"""CPC v2's context network: what stands in the rows of a map down to each place.

Legend: B samples, D features, H, W rows and columns of the map.
"""

from __future__ import annotations

from torch import Tensor, nn


class RowContext(nn.Module):
    """Sums up the rows up to each place, its own included (CPC v2, the appendix).

    Args:
        features: D.
        hidden: Channels of a block.
        blocks: Each looks one row further up and one column further to both sides.
    """

    def __init__(self, features: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, hidden, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1)),
                nn.ZeroPad2d((0, 0, 1, 0)),
                nn.Conv2d(hidden, hidden, (2, 1)),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden, features, 1),
            )
            for _ in range(blocks)
        )

    def forward(self, z_BDHW: Tensor) -> Tensor:
        """[B, D, H, W] -> the same shape."""
        for block in self.blocks:
            z_BDHW = z_BDHW + block(z_BDHW)
        return z_BDHW.relu()
