"""Linear SVMs with the squared hinge, as many problems and costs at once as there are.

For every problem: minimise ``0.5 * (||w||^2 + b^2) + C * sum_i a_i * max(0, 1 - s_i * f_i)^2``,
``f = x w + b``, with ``s`` the sign of a sample (0: it takes no part) and ``a`` its class's weight.
That is LIBLINEAR's L2-regularised L2-loss SVM with the bias as one more feature (Fan et al., JMLR
2008), solved in the primal by Newton's method with conjugate gradients and an exact line search
(Keerthi and DeCoste, JMLR 2005): all problems share the matrix products.

Legend: N samples, D features, R directions (at most D + 1 and N), P problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_FLOAT64_VALUES = 1 << 20  # up to this many features float64 costs nothing that is felt
_NEWTON, _CONJUGATE, _LINE = 60, 24, 12  # rounds at most
_FORCING = 0.1  # how exactly a Newton step is solved, relative to its gradient
_FLAT = 1e-10  # directions with less than this share of the largest variance hold nothing


@dataclass(frozen=True)
class Hyperplanes:
    """Fitted classifiers for one cost.

    Attributes:
        weight: [D, P].
        bias: [P].
        objective: Of each problem at the end, [P].
        rounds: Of Newton's method.
    """

    weight: Tensor
    bias: Tensor
    objective: Tensor
    rounds: int

    def scores(self, x_QD: Tensor) -> Tensor:
        """Signed distances (times the norm of the weight), [Q, P]."""
        return x_QD.to(self.weight.dtype) @ self.weight + self.bias


class SquaredHinge:
    """Problems that share their samples.

    The samples are rotated onto the principal axes of all of them, bias included, which changes
    neither the problems nor their solutions: the penalty is a rotation's friend. Where there are
    fewer samples than features, only as many directions are left as there are samples.

    Args:
        x_ND: Features.
        sign_NP: +1, -1 or 0 (left out) of every sample in every problem.
        positive: Weight of the positive samples; negative ones weigh 1.
    """

    def __init__(self, x_ND: Tensor, sign_NP: Tensor, *, positive: float = 2.0) -> None:
        self.exact = x_ND.numel() <= _FLOAT64_VALUES
        dtype = torch.float64 if self.exact else torch.float32
        with_bias = torch.cat([x_ND, torch.ones_like(x_ND[:, :1])], 1).to(dtype)
        self.axes_DR = _axes(with_bias).to(dtype)
        self.z_NR = with_bias @ self.axes_DR
        self.square_NR = self.z_NR.square()
        sign_NP = sign_NP.to(x_ND.device)
        self.sign_NP = sign_NP.to(dtype)
        self.weight_NP = torch.where(sign_NP > 0, positive, 1.0).to(dtype) * (sign_NP != 0)

    def path(self, costs: Sequence[float]) -> Iterator[Hyperplanes]:
        """Solutions for every cost, each started from the one before: ascending is quickest."""
        v_RP = self.z_NR.new_zeros(self.z_NR.shape[1], self.sign_NP.shape[1])
        before = None
        for cost in costs:
            # Where almost nothing is beyond the margin, w is proportional to the cost.
            if before is not None:
                v_RP = self._scaled(v_RP, cost, cost / before)
            v_RP, objective, rounds = self._solve(v_RP, cost)
            before = cost
            w = self.axes_DR @ v_RP
            yield Hyperplanes(w[:-1], w[-1], objective, rounds)

    def _scaled(self, v_RP: Tensor, cost: float, by: float) -> Tensor:
        """Per problem the better start: the solution before, or that times ``by``."""
        margin = 1 - self.sign_NP * (self.z_NR @ v_RP)
        scaled = _objective(by * v_RP, 1 - by * (1 - margin), self.weight_NP, cost)
        better = scaled < _objective(v_RP, margin, self.weight_NP, cost)
        return torch.where(better, by * v_RP, v_RP)

    def _solve(self, v_RP: Tensor, cost: float) -> tuple[Tensor, Tensor, int]:
        """Solution [R, P], objective [P] and rounds of one cost."""
        tolerance = 1e-13 if self.exact else 1e-5
        v_RP, objective_P = v_RP.clone(), v_RP.new_zeros(v_RP.shape[1])
        open_P = torch.arange(v_RP.shape[1], device=v_RP.device)  # problems not solved so far
        v, sign, weight = v_RP, self.sign_NP, self.weight_NP
        margin = 1 - sign * (self.z_NR @ v)
        for rounds in range(_NEWTON + 1):
            pull = 2 * cost * weight
            inside = pull * (margin > 0)
            gradient = v - self.z_NR.T @ (inside * sign * margin)
            curvature = 1 + self.square_NR.T @ inside
            objective_P[open_P] = _objective(v, margin, weight, cost)
            # An estimate of how far the objective is above its minimum.
            above = 0.5 * (gradient.square() / curvature).sum(0)
            more = above > tolerance * objective_P[open_P]
            if rounds == _NEWTON or not more.any():
                break
            if not more.all():
                open_P = open_P[more]
                v, sign, weight, margin, pull, inside, gradient, curvature = (
                    x[:, more] for x in (v, sign, weight, margin, pull, inside, gradient, curvature)
                )
            step = self._newton_step(gradient, curvature, inside)
            change = sign * (self.z_NR @ step)
            t = _line_search(v, step, margin, change, pull)
            v = v + t * step
            margin = margin - t * change
            v_RP[:, open_P] = v
        return v_RP, objective_P, rounds

    def _newton_step(self, gradient_RP: Tensor, curvature_RP: Tensor, inside_NP: Tensor) -> Tensor:
        """Solves ``H step = -gradient`` by conjugate gradients, preconditioned by H's diagonal."""
        step = torch.zeros_like(gradient_RP)
        residual = -gradient_RP
        direction = residual / curvature_RP
        power_P = (residual * direction).sum(0)
        enough_P = _FORCING**2 * power_P
        for _ in range(_CONJUGATE):
            open_P = power_P > enough_P
            if not open_P.any():
                break
            turned = direction + self.z_NR.T @ (inside_NP * (self.z_NR @ direction))
            along_P = torch.where(open_P, power_P / (direction * turned).sum(0), 0.0)
            step += along_P * direction
            residual -= along_P * turned
            next_RP = residual / curvature_RP
            power_next_P = (residual * next_RP).sum(0)
            direction = next_RP + torch.where(open_P, power_next_P / power_P, 0.0) * direction
            power_P = torch.where(open_P, power_next_P, power_P)
        return step


def _axes(x_ND: Tensor) -> Tensor:
    """Principal axes (not centred), float64 [D, R]."""
    n, d = x_ND.shape
    if n >= d:
        axes_DD: Tensor = torch.linalg.eigh((x_ND.T @ x_ND).double()).eigenvectors
        return axes_DD
    values_N, vectors_NN = torch.linalg.eigh((x_ND @ x_ND.T).double())
    kept = values_N > _FLAT * values_N[-1]
    axes_DR: Tensor = x_ND.T.double() @ (vectors_NN[:, kept] / values_N[kept].sqrt())
    return axes_DR


def _objective(v_RP: Tensor, margin_NP: Tensor, weight_NP: Tensor, cost: float) -> Tensor:
    hinge_NP = margin_NP.clamp(min=0)
    return 0.5 * v_RP.square().sum(0) + cost * (weight_NP * hinge_NP.square_()).sum(0)


def _line_search(
    v_RP: Tensor, step_RP: Tensor, margin_NP: Tensor, change_NP: Tensor, pull_NP: Tensor
) -> Tensor:
    """The length of every step that minimises its objective, [P].

    Along the step the objective is convex and piecewise quadratic: Newton's method on its slope,
    kept inside a bracket.
    """
    linear_P, square_P = (v_RP * step_RP).sum(0), step_RP.square().sum(0)
    t_P = torch.ones_like(linear_P)
    low_P, high_P = torch.zeros_like(t_P), torch.full_like(t_P, torch.inf)
    slope_0 = linear_P - (pull_NP * change_NP * margin_NP.clamp(min=0)).sum(0)
    for _ in range(_LINE):
        beyond_NP = margin_NP - t_P * change_NP
        inside_NP = pull_NP * change_NP * (beyond_NP > 0)
        slope_P = linear_P + t_P * square_P - (inside_NP * beyond_NP).sum(0)
        if not (slope_P.abs() > 0.01 * slope_0.abs()).any():
            break
        bend_P = square_P + (inside_NP * change_NP).sum(0)
        high_P = torch.where(slope_P > 0, t_P, high_P)
        low_P = torch.where(slope_P < 0, t_P, low_P)
        newton_P = t_P - slope_P / bend_P.clamp(min=torch.finfo(bend_P.dtype).tiny)
        halved_P = torch.where(high_P.isinf(), 2 * t_P, (low_P + high_P) / 2)
        t_P = torch.where((newton_P > low_P) & (newton_P < high_P), newton_P, halved_P)
    return t_P
