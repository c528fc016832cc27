"""Operations across the three channels of planar [3, N], clipped to [0, 1]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from foveal.core.compiled import compiled


@compiled(fastmath=True)
def saturation(x: Any, factor: Any) -> None:
    """Away from, or towards, each pixel's grey; three channels."""
    zero, one, f = np.float32(0), np.float32(1), np.float32(factor)
    red, green, blue = x[0], x[1], x[2]  # rows of their own: what the compiler vectorises
    for i in range(red.shape[0]):
        r, g, b = red[i], green[i], blue[i]
        d = (one - f) * (np.float32(0.2989) * r + np.float32(0.587) * g + np.float32(0.114) * b)
        red[i] = min(max(r * f + d, zero), one)
        green[i] = min(max(g * f + d, zero), one)
        blue[i] = min(max(b * f + d, zero), one)


@compiled(fastmath=True, inline="always")
def _hue_of(r: Any, g: Any, b: Any, top: Any, delta: Any) -> Any:
    """Hue in sixths of a turn, -1 to 5. All three cases are computed: no branch to mispredict."""
    scale = np.float32(1) / max(delta, np.float32(1e-12))
    from_red = (g - b) * scale
    from_green = (b - r) * scale + np.float32(2)
    from_blue = (r - g) * scale + np.float32(4)
    h = from_green if top == g else from_blue
    return from_red if top == r else h


@compiled(fastmath=True, inline="always")
def _fade(h: Any) -> Any:
    """How far a channel lies below the top, of the saturation: its hue's distance from ``h``."""
    h = abs(h - np.float32(6) * np.rint(h * np.float32(1 / 6)))
    return min(max(h - np.float32(1), np.float32(0)), np.float32(1))


@compiled(fastmath=True)
def hue(x: Any, shift: Any) -> None:
    """A turn of the hue circle by ``shift``; three channels, through HSV, without branches."""
    turn = np.float32(shift) * np.float32(6)
    red, green, blue = x[0], x[1], x[2]
    for i in range(red.shape[0]):
        r, g, b = red[i], green[i], blue[i]
        top = max(r, max(g, b))
        delta = top - min(r, min(g, b))
        h = _hue_of(r, g, b, top, delta) + turn
        # Red, green and blue peak at 0, 2 and 4 sixths.
        red[i] = top - delta * _fade(h)
        green[i] = top - delta * _fade(h - np.float32(2))
        blue[i] = top - delta * _fade(h - np.float32(4))


@compiled(fastmath=True)
def grey(x: Any, mean: Any) -> None:
    """All three channels become the grey value: BT.601, or the plain mean."""
    third = np.float32(1 / 3)
    a = third if mean else np.float32(0.2989)
    b = third if mean else np.float32(0.587)
    c = third if mean else np.float32(0.114)
    red, green, blue = x[0], x[1], x[2]
    for i in range(red.shape[0]):
        v = a * red[i] + b * green[i] + c * blue[i]
        red[i] = v
        green[i] = v
        blue[i] = v


# Removes the green-magenta axis a = (-1, 2, -1): I - a a' / a'a (Doersch et al. 2015, section 3.1).
PROJECTION = (np.eye(3) - np.outer((-1, 2, -1), (-1, 2, -1)) / 6).astype(np.float32)


@compiled(fastmath=True)
def mix(x: Any, matrix: Any, shift: Any) -> None:
    """``matrix @ x + shift`` for each pixel: [3, N], [3, 3], [3]."""
    zero, one = np.float32(0), np.float32(1)
    red, green, blue = x[0], x[1], x[2]
    a, b, c, p = matrix[0, 0], matrix[0, 1], matrix[0, 2], shift[0]
    d, e, f, q = matrix[1, 0], matrix[1, 1], matrix[1, 2], shift[1]
    g, h, k, s = matrix[2, 0], matrix[2, 1], matrix[2, 2], shift[2]
    for i in range(red.shape[0]):
        u, v, w = red[i], green[i], blue[i]
        red[i] = min(max(a * u + b * v + c * w + p, zero), one)
        green[i] = min(max(d * u + e * v + f * w + q, zero), one)
        blue[i] = min(max(g * u + h * v + k * w + s, zero), one)


@compiled()
def project(x: Any) -> None:
    """Takes the green-magenta axis out."""
    mix(x, PROJECTION, np.zeros(3, np.float32))


@compiled()
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
    # The largest first, by three exchanges.
    for i in range(3):
        p, q = (0, 1) if i != 1 else (1, 2)
        if a[q, q] > a[p, p]:
            a[p, p], a[q, q] = a[q, q], a[p, p]
            for k in range(3):
                v[k, p], v[k, q] = v[k, q], v[k, p]
    return v


@compiled()
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


@compiled(fastmath=True)
def hsv_powers(x: Any, turn: Any, s: Any, v: Any) -> None:
    """Saturation and value to a power, times a factor, plus a number; the hue turned.

    ``s`` and ``v`` hold power, factor and addend; both results are clipped before RGB is made.
    """
    zero, one = np.float32(0), np.float32(1)
    turn = np.float32(turn) * np.float32(6)
    s_power, s_factor, s_add = np.float32(s[0]), np.float32(s[1]), np.float32(s[2])
    v_power, v_factor, v_add = np.float32(v[0]), np.float32(v[1]), np.float32(v[2])
    red, green, blue = x[0], x[1], x[2]
    for i in range(red.shape[0]):
        r, g, b = red[i], green[i], blue[i]
        top = max(r, max(g, b))
        delta = top - min(r, min(g, b))
        h = _hue_of(r, g, b, top, delta) + turn
        saturation = (delta / max(top, np.float32(1e-12))) ** s_power * s_factor + s_add
        value = min(max(top**v_power * v_factor + v_add, zero), one)
        delta = value * min(max(saturation, zero), one)
        red[i] = value - delta * _fade(h)
        green[i] = value - delta * _fade(h - np.float32(2))
        blue[i] = value - delta * _fade(h - np.float32(4))


@compiled()
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
