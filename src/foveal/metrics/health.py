"""Figures of features that need no labels: spread, effective rank, spectrum, alignment.

Legend: N samples, D features, V views of a sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.errors import FovealError

_EPSILON = 1e-7  # RankMe and LiDAR add it to every share


def feature_std(z_ND: Tensor) -> float:
    """Spread of l2-normalised features: 1 when evenly spread, 0 when all are the same.

    The standard deviation (over samples, population) of each dimension of ``z / ||z||``, averaged
    over dimensions and multiplied by sqrt(D) (Chen and He, "Exploring simple Siamese
    representation learning", CVPR 2021, section 4.1, where 1/sqrt(D) is the even spread).
    """
    _check(z_ND)
    unit_ND = F.normalize(z_ND.double())
    return float(unit_ND.std(0, correction=0).mean() * math.sqrt(z_ND.shape[1]))


def effective_rank(spectrum: Tensor) -> float:
    """``exp(-sum p log p)`` with ``p = s / sum(s) + 1e-7``: directions in use; 0 for all zeros."""
    total = spectrum.double().sum()
    if total <= 0:
        return 0.0
    p = spectrum.double() / total + _EPSILON
    return float(torch.exp(-(p * p.log()).sum()))


def rankme(z_ND: Tensor) -> float:
    """RankMe (Garrido et al., ICML 2023, section 3): effective rank of the singular values.

    Of the raw matrix, not centred, and not of squared singular values.
    """
    _check(z_ND)
    return effective_rank(_squared_singular_values(z_ND).sqrt())


def covariance_spectrum(z_ND: Tensor) -> Tensor:
    """Eigenvalues of the covariance of centred features, largest first, float64."""
    _check(z_ND)
    z_ND = z_ND.double()
    return _squared_singular_values(z_ND - z_ND.mean(0)) / len(z_ND)


def power_law_exponent(
    eigenvalues: Tensor, *, first: int = 1, last: int | None = None, weighted: bool = False
) -> float:
    """Slope of ``-log(eigenvalue)`` on ``log(index)``, by least squares.

    Args:
        eigenvalues: Largest first.
        first: First index used, counted from 1.
        last: Last index used; None, or one too large: the last positive eigenvalue's.
        weighted: Weigh index i by 1/i, as the released code does.

    Raises:
        FovealError: Fewer than two positive eigenvalues in the range.
    """
    positive = int((eigenvalues > 0).sum())
    last = min(last or positive, positive)
    if last - first < 1:
        raise FovealError(
            f"the spectrum has {positive} positive eigenvalues: no slope from index {first} on"
        )
    index = torch.arange(first, last + 1, dtype=torch.float64, device=eigenvalues.device)
    x, y = index.log(), -eigenvalues[first - 1 : last].double().log()
    weight = 1 / index if weighted else torch.ones_like(index)
    weight = weight / weight.sum()
    x = x - (weight * x).sum()
    return float((weight * x * (y - (weight * y).sum())).sum() / (weight * x * x).sum())


def alpha_req(
    z_ND: Tensor, *, first: int = 11, last: int | None = 100, weighted: bool = True
) -> float:
    """alpha-ReQ (Agrawal et al., NeurIPS 2022): how fast the spectrum of the features decays.

    The paper leaves the fit open; indices 11 to 100 weighted by 1/i are what released code does.
    """
    return power_law_exponent(covariance_spectrum(z_ND), first=first, last=last, weighted=weighted)


def lidar(z_NVD: Tensor, *, delta: float = 1e-4) -> float:
    """LiDAR (Thilak et al., ICLR 2024, section 4): effective rank of the linear discriminants.

    Every picture is a class, its views are the samples: ``S_w^-1/2 S_b S_w^-1/2`` with ``delta``
    added to the diagonal of the within-picture covariance ``S_w``.

    Args:
        z_NVD: Features of V views of N pictures.
        delta: In squared units of the features.
    """
    if z_NVD.ndim != 3 or min(z_NVD.shape) < 1:
        raise FovealError(f"LiDAR needs features [pictures, views, D], got {tuple(z_NVD.shape)}")
    return effective_rank(lidar_spectrum(z_NVD, delta=delta))


def lidar_spectrum(z_NVD: Tensor, *, delta: float = 1e-4) -> Tensor:
    """Eigenvalues of LiDAR's matrix, largest first, float64 [D]."""
    z_NVD = z_NVD.double()
    mean_ND = z_NVD.mean(1)
    between_ND = mean_ND - mean_ND.mean(0)
    within_MD = (z_NVD - mean_ND[:, None]).flatten(0, 1)
    s_b = between_ND.T @ between_ND / len(between_ND)
    s_w = within_MD.T @ within_MD / len(within_MD)
    s_w += delta * torch.eye(len(s_w), dtype=s_w.dtype, device=s_w.device)
    values, vectors = torch.linalg.eigh(s_w)
    if values[0] <= 0:
        raise FovealError("the views of every picture vary in fewer than D directions: delta > 0")
    root = vectors * values.rsqrt()
    discriminants: Tensor = torch.linalg.eigvalsh(root.T @ s_b @ root)
    return discriminants.clamp(min=0).flip(0)


def alignment(x_ND: Tensor, y_ND: Tensor) -> float:
    """Mean squared distance of the two views of a sample on the unit sphere.

    Wang and Isola, "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", ICML 2020, section 4.1, with exponent 2. 0 is best.
    """
    _check(x_ND)
    x_ND, y_ND = F.normalize(x_ND.double()), F.normalize(y_ND.double())
    return float((x_ND - y_ND).square().sum(1).mean())


def uniformity(z_ND: Tensor, *, t: float = 2.0) -> float:
    """``log mean exp(-t ||z_i - z_j||^2)`` over pairs i < j on the unit sphere; lower is better.

    Same paper, section 4.2. Self pairs are left out. Memory grows with N^2.
    """
    _check(z_ND)
    if len(z_ND) < 2:
        raise FovealError("uniformity needs at least two samples")
    z_ND = F.normalize(z_ND.double())
    squared = (2 - 2 * z_ND @ z_ND.T).clamp_(min=0)
    i, j = torch.triu_indices(len(z_ND), len(z_ND), offset=1, device=z_ND.device)
    exponents = -t * squared[i, j]
    return float(torch.logsumexp(exponents, 0) - math.log(len(exponents)))


def _squared_singular_values(z_ND: Tensor) -> Tensor:
    """Largest first, float64 [min(N, D)], by the smaller Gram matrix.

    Far quicker than a singular value decomposition; values below the rounding error of the
    largest one are set to zero.
    """
    z_ND = z_ND.double()
    gram = z_ND.T @ z_ND if z_ND.shape[0] >= z_ND.shape[1] else z_ND @ z_ND.T
    values = torch.linalg.eigvalsh(gram).flip(0)
    noise = values[0] * len(values) * torch.finfo(torch.float64).eps
    return torch.where(values > noise, values, torch.zeros_like(values))


def _check(z_ND: Tensor) -> None:
    if z_ND.ndim != 2 or min(z_ND.shape) < 1:
        raise FovealError(f"features are [samples, dimensions], got {tuple(z_ND.shape)}")
