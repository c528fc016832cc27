"""How alike two networks see the same pictures: linear CKA.

Legend: N samples, D and E features.
"""

from __future__ import annotations

from torch import Tensor

from foveal.errors import FovealError


def linear_cka(x_ND: Tensor, y_NE: Tensor) -> float:
    """1 where one is a rotated, scaled and shifted version of the other, 0 where nothing is shared.

    ``|Y'X|^2 / (|X'X| |Y'Y|)`` of centred features, Frobenius norms (Kornblith et al.,
    "Similarity of Neural Network Representations Revisited", ICML 2019, section 3). Computed from
    the N x N similarities, so that its cost does not grow with D times E.

    Raises:
        FovealError: Other than the same samples, or fewer than two.
    """
    if x_ND.ndim != 2 or y_NE.ndim != 2 or len(x_ND) != len(y_NE) or len(x_ND) < 2:
        raise FovealError(
            f"features of the same two or more samples are compared, got {tuple(x_ND.shape)} "
            f"and {tuple(y_NE.shape)}"
        )
    k_NN, l_NN = (_similarities(z.double()) for z in (x_ND, y_NE))
    norms = k_NN.norm() * l_NN.norm()
    return float((k_NN * l_NN).sum() / norms) if norms > 0 else 0.0


def _similarities(z_ND: Tensor) -> Tensor:
    z_ND = z_ND - z_ND.mean(0)
    return z_ND @ z_ND.T
