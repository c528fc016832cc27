"""Operations across the three channels of planar [3, N], clipped to [0, 1]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath=True)
def grey_of(x: Any, i: Any) -> Any:
    """BT.601 luma of pixel i of planar [C, N]."""
    if x.shape[0] == 1:
        return x[0, i]
    return np.float32(0.2989) * x[0, i] + np.float32(0.587) * x[1, i] + np.float32(0.114) * x[2, i]


@njit(nogil=True, cache=True, fastmath=True)
def saturation(x: Any, factor: Any) -> None:
    """Away from, or towards, each pixel's grey; three channels."""
    f = np.float32(factor)
    for i in range(x.shape[1]):
        d = (np.float32(1) - f) * grey_of(x, i)
        for c in range(3):
            x[c, i] = min(max(x[c, i] * f + d, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True, fastmath=True)
def hue(x: Any, shift: Any) -> None:
    """A turn of the hue circle by ``shift``; three channels, through HSV, without branches."""
    one, six = np.float32(1), np.float32(6)
    turn = np.float32(shift) * six
    for i in range(x.shape[1]):
        r, g, b = x[0, i], x[1, i], x[2, i]
        top = max(r, max(g, b))
        delta = top - min(r, min(g, b))
        safe = delta if delta > 0 else one
        h = (
            (g - b) / safe
            if top == r
            else (np.float32(2) + (b - r) / safe if top == g else np.float32(4) + (r - g) / safe)
        )
        h += turn
        for c in range(3):
            # Red, green and blue peak at 0, 2 and 4 sixths: distance round the circle.
            k = h - np.float32(2 * c)
            k -= six * np.floor(k / six)
            k = min(k, six - k)
            x[c, i] = top - delta * min(max(k - one, np.float32(0)), one)


@njit(nogil=True, cache=True, fastmath=True)
def grey(x: Any, mean: Any) -> None:
    """All three channels become the grey value: BT.601, or the plain mean."""
    for i in range(x.shape[1]):
        v = (x[0, i] + x[1, i] + x[2, i]) / np.float32(3) if mean else grey_of(x, i)
        for c in range(3):
            x[c, i] = v


# Removes the green-magenta axis a = (-1, 2, -1): I - a a' / a'a (Doersch et al. 2015, section 3.1).
PROJECTION = (np.eye(3) - np.outer((-1, 2, -1), (-1, 2, -1)) / 6).astype(np.float32)


@njit(nogil=True, cache=True, fastmath=True)
def mix(x: Any, matrix: Any, shift: Any) -> None:
    """``matrix @ x + shift`` for each pixel: [3, N], [3, 3], [3]."""
    for i in range(x.shape[1]):
        r, g, b = x[0, i], x[1, i], x[2, i]
        for c in range(3):
            v = matrix[c, 0] * r + matrix[c, 1] * g + matrix[c, 2] * b + shift[c]
            x[c, i] = min(max(v, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True)
def project(x: Any) -> None:
    """Takes the green-magenta axis out."""
    mix(x, PROJECTION, np.zeros(3, np.float32))


@njit(nogil=True, cache=True)
def eigenvectors(a: Any) -> Any:
    """Eigenvectors of a symmetric [3, 3], as columns, largest eigenvalue first (Jacobi)."""
    a = a.copy()
    v = np.eye(3)
    for _sweep in range(12):
        for i in range(3):
            p, q = (0, 1) if i == 0 else ((0, 2) if i == 1 else (1, 2))
            if abs(a[p, q]) < 1e-300:
                continue
            theta = (a[q, q] - a[p, p]) / (2 * a[p, q])
            t = (1.0 if theta >= 0 else -1.0) / (abs(theta) + math.sqrt(theta * theta + 1))
            c = 1 / math.sqrt(t * t + 1)
            s = t * c
            for k in range(3):
                kp, kq = a[k, p], a[k, q]
                a[k, p], a[k, q] = c * kp - s * kq, s * kp + c * kq
            for k in range(3):
                pk, qk = a[p, k], a[q, k]
                a[p, k], a[q, k] = c * pk - s * qk, s * pk + c * qk
            for k in range(3):
                kp, kq = v[k, p], v[k, q]
                v[k, p], v[k, q] = c * kp - s * kq, s * kp + c * kq
    order = np.argsort(-np.diag(a))
    return v[:, order]


@njit(nogil=True, cache=True)
def pca_contrast(x: Any, factors: Any) -> None:
    """Stretches the colours about their mean along their principal components, strongest first."""
    n = x.shape[1]
    mean = np.zeros(3)
    for c in range(3):
        mean[c] = x[c].mean()
    covariance = np.zeros((3, 3))
    for i in range(n):
        r, g, b = x[0, i] - mean[0], x[1, i] - mean[1], x[2, i] - mean[2]
        covariance[0, 0] += r * r
        covariance[0, 1] += r * g
        covariance[0, 2] += r * b
        covariance[1, 1] += g * g
        covariance[1, 2] += g * b
        covariance[2, 2] += b * b
    for i in range(3):
        for j in range(i):
            covariance[i, j] = covariance[j, i]
    v = eigenvectors(covariance / n)
    matrix = np.zeros((3, 3))
    for k in range(3):
        for i in range(3):
            for j in range(3):
                matrix[i, j] += factors[k] * v[i, k] * v[j, k]
    shift = np.zeros(3)
    for i in range(3):
        shift[i] = mean[i]
        for j in range(3):
            shift[i] -= matrix[i, j] * mean[j]
    mix(x, matrix.astype(np.float32), shift.astype(np.float32))


@njit(nogil=True, cache=True, fastmath=True)
def hsv_powers(x: Any, turn: Any, s: Any, v: Any) -> None:
    """Saturation and value to a power, times a factor, plus a number; the hue turned.

    ``s`` and ``v`` hold power, factor and addend; both results are clipped before RGB is made.
    """
    zero, one, six = np.float32(0), np.float32(1), np.float32(6)
    for i in range(x.shape[1]):
        r, g, b = x[0, i], x[1, i], x[2, i]
        top = max(r, max(g, b))
        delta = top - min(r, min(g, b))
        safe = delta if delta > 0 else one
        h = (
            (g - b) / safe
            if top == r
            else (np.float32(2) + (b - r) / safe if top == g else np.float32(4) + (r - g) / safe)
        )
        h += np.float32(turn) * six
        saturation = delta / top if top > 0 else zero
        saturation = np.float32(saturation ** s[0] * s[1] + s[2])
        saturation = min(max(saturation, zero), one)
        value = np.float32(top ** v[0] * v[1] + v[2])
        value = min(max(value, zero), one)
        for c in range(3):
            k = h - np.float32(2 * c)
            k -= six * np.floor(k / six)
            k = min(k, six - k)
            x[c, i] = value * (one - saturation * min(max(k - one, zero), one))


@njit(nogil=True, cache=True)
def channel_shift(x: Any, moves: Any) -> None:
    """Moves each channel of [C, H, W] by whole pixels down and right; the border is repeated."""
    channels, height, width = x.shape
    old = np.empty((height, width), np.float32)
    for c in range(channels):
        dy, dx = int(moves[2 * c]), int(moves[2 * c + 1])
        old[:] = x[c]
        for row in range(height):
            source = old[min(max(row - dy, 0), height - 1)]
            for i in range(width):
                x[c, row, i] = source[min(max(i - dx, 0), width - 1)]
