"""Names of the table's columns, and a view's description as the flat array compiled code reads."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from foveal.views.spec import View

COLUMNS = (
    "top", "left", "height", "width",  # the region, in pixels of the source
    "flip",  # 0 or 1
    "order",  # index of the jitter's permutation; -1: no jitter
    "brightness",  # factor, or what is added
    "contrast", "saturation",  # factors
    "hue",  # shift, in turns
    "grey", "sigma", "solarise",  # 0 or 1; blur in pixels, 0 is off; 0 or 1
    "tile_top", "tile_left",  # of a tile, in pixels of the crop
    "threshold",  # of the solariser
    "affine", "angle",  # 0 or 1; degrees, clockwise
    "shift_y", "shift_x", "scale",  # shares of the side; magnification
    "shear_y", "shear_x",  # degrees
    "turns", "shrink",  # quarter turns anticlockwise; side in pixels, 0 is off
    "pca", "pca_1", "pca_2", "pca_3",  # 0 or 1; factors, strongest component first
    "hsv", "hsv_hue",  # 0 or 1; turns
    "s_power", "s_factor", "s_add", "v_power", "v_factor", "v_add",
    "invert", "posterise", "autocontrast", "equalise",  # 0 or 1; bits kept, 0 is off; 0 or 1
    "sharpness", "projection",  # factor, 1 is off; 0 or 1
    "channel_shift",  # 0 or 1; then pixels
    "red_y", "red_x", "green_y", "green_x", "blue_y", "blue_x",
    "kept",  # channel that is not dropped, -1: all
    "noise",  # standard deviation
    "seed_0", "seed_1",  # of noise, integers below 2**24: exact in float32
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(COLUMNS)}

# Indices into a row; numba reads module constants, not names.
(
    C_TOP, C_LEFT, C_HEIGHT, C_WIDTH, C_FLIP, C_ORDER, C_BRIGHTNESS, C_CONTRAST, C_SATURATION,
    C_HUE, C_GREY, C_SIGMA, C_SOLARISE, C_TILE_TOP, C_TILE_LEFT, C_THRESHOLD, C_AFFINE, C_ANGLE,
    C_SHIFT_Y, C_SHIFT_X, C_SCALE, C_SHEAR_Y, C_SHEAR_X, C_TURNS, C_SHRINK, C_PCA, C_PCA_1,
    C_PCA_2, C_PCA_3, C_HSV, C_HSV_HUE, C_S_POWER, C_S_FACTOR, C_S_ADD, C_V_POWER, C_V_FACTOR,
    C_V_ADD, C_INVERT, C_POSTERISE, C_AUTOCONTRAST, C_EQUALISE, C_SHARPNESS, C_PROJECTION,
    C_CHANNEL_SHIFT, C_RED_Y, C_RED_X, C_GREEN_Y, C_GREEN_X, C_BLUE_Y, C_BLUE_X, C_KEPT, C_NOISE,
    C_SEED_0, C_SEED_1,
) = range(len(COLUMNS))  # fmt: skip

# What ``Choice`` and ``Tiles.once`` name: first and last column of each operation, and the row of
# a view to which nothing happens.
SPANS = {
    "jitter": ("order", "hue"), "brightness": ("brightness", "brightness"),
    "contrast": ("contrast", "contrast"), "saturation": ("saturation", "saturation"),
    "hue": ("hue", "hue"), "grey": ("grey", "grey"), "blur": ("sigma", "sigma"),
    "solarise": ("solarise", "solarise"), "turns": ("turns", "turns"),
    "affine": ("affine", "shear_x"), "rotation": ("angle", "angle"),
    "translation": ("shift_y", "shift_x"), "scale": ("scale", "scale"),
    "shear": ("shear_y", "shear_x"), "shrink": ("shrink", "shrink"), "pca": ("pca", "pca_3"),
    "hsv": ("hsv", "v_add"), "invert": ("invert", "invert"),
    "posterise": ("posterise", "posterise"), "autocontrast": ("autocontrast", "autocontrast"),
    "equalise": ("equalise", "equalise"), "sharpness": ("sharpness", "sharpness"),
    "projection": ("projection", "projection"), "channel_shift": ("channel_shift", "blue_x"),
    "channel_drop": ("kept", "kept"), "noise": ("noise", "noise"),
}  # fmt: skip
_OPERATIONS = tuple(SPANS)
SPAN = np.array([[COLUMN[a], COLUMN[b] + 1] for a, b in SPANS.values()], np.int64)

_IDLE = {
    "order": -1.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "scale": 1.0,
    "pca_1": 1.0, "pca_2": 1.0, "pca_3": 1.0, "s_power": 1.0, "s_factor": 1.0, "v_power": 1.0,
    "v_factor": 1.0, "sharpness": 1.0, "kept": -1.0,
}  # fmt: skip
IDLE = np.array([_IDLE.get(name, 0.0) for name in COLUMNS], np.float32)

# All orders of (brightness, contrast, saturation, hue).
ORDERS = np.array(
    [
        (a, b, c, d)
        for a in range(4)
        for b in range(4)
        for c in range(4)
        for d in range(4)
        if len({a, b, c, d}) == 4
    ],
    np.int64,
)
AS_LISTED = 0.0  # ORDERS[0] is (0, 1, 2, 3)

KINDS = ("random_resized", "clipped", "center", "resize_random", "pad_random", "whole")
BORDERS = ("zero", "reflect", "picture")

# Indices into ``parameters``.
(
    P_SIZE, P_KIND, P_SCALE0, P_SCALE1, P_RATIO0, P_RATIO1, P_FRACTION, P_RESIZE, P_PAD, P_BICUBIC,
    P_FLIP, P_JITTER, P_BRIGHTNESS, P_CONTRAST, P_SATURATION, P_HUE, P_ADDITIVE, P_RANDOM_ORDER,
    P_GREY, P_GREY_MEAN, P_BLUR, P_SIGMA0, P_SIGMA1, P_KERNEL, P_ZERO_BORDER, P_SOLARISE,
    P_THRESHOLD0, P_THRESHOLD1, P_ROWS, P_COLUMNS, P_STRIDE, P_TILE, P_TILE_JITTER,
    P_MORE,
    P_AFFINE, P_ROTATION, P_TRANSLATION, P_MAGNIFY0, P_MAGNIFY1, P_SHEAR_X, P_SHEAR_Y, P_BORDER,
    P_TURN_0, P_TURN_1, P_TURN_2, P_SHRINK, P_SHRINK0, P_SHRINK1,
    P_PCA, P_PCA0, P_PCA1,
    P_HSV, P_HSV_HUE, P_POWER0, P_POWER1, P_FACTOR0, P_FACTOR1, P_ADD0, P_ADD1,
    P_INVERT, P_POSTERISE, P_BITS0, P_BITS1, P_AUTOCONTRAST, P_EQUALISE,
    P_SHARPNESS, P_SHARPNESS0, P_SHARPNESS1, P_PROJECTION,
    P_CHANNEL_SHIFT, P_CHANNEL_SHIFT0, P_CHANNEL_SHIFT1, P_DROP, P_DROP_NOISE,
    P_NOISE, P_NOISE0, P_NOISE1,
    P_ONCE, P_CHOICE, P_CHOICE_OF, P_CHOICE_COUNT,
    P_LENGTH,
) = range(82)  # fmt: skip


@functools.lru_cache(maxsize=256)
def parameters(view: View) -> NDArray[np.float64]:
    """A view as the flat array the kernels read; sets of operations are bit masks."""
    c, j, b, t = view.crop, view.jitter, view.blur, view.tiles
    low, high = view.threshold if isinstance(view.threshold, tuple) else (view.threshold,) * 2
    values = [
        view.size, KINDS.index(c.kind), *c.scale, math.log(c.ratio[0]), math.log(c.ratio[1]),
        c.fraction, c.resize, c.pad,
        view.interpolation == "bicubic", view.flip,
        *((j.p, j.brightness, j.contrast, j.saturation, j.hue, j.additive, j.random_order)
          if j else (0,) * 7),
        view.grey, view.grey_kind == "mean",
        *((b.p, *b.sigma) if b else (0, 0, 0)), view.blur_kernel,
        b is not None and b.border == "zero",
        view.solarise, low, high,
        *((t.rows, t.columns, t.stride, t.size, t.jitter) if t else (0,) * 5),
    ]  # fmt: skip
    values += [draws_more(view), *_geometry(view), *_colour(view), *_sets(view)]
    assert len(values) == P_LENGTH
    return np.array(values, np.float64)


def draws_more(view: View) -> bool:
    """Whether a view has operations beyond crop, mirror, jitter, grey, blur and solarise.

    Most have none, and then nothing is drawn for them.
    """
    plain = View(size=view.size)
    names = (
        "affine", "turns", "shrink", "pca", "hsv", "invert", "posterise", "autocontrast",
        "equalise", "sharpness", "projection", "channel_shift", "channel_drop", "noise", "choice",
    )  # fmt: skip
    return isinstance(view.threshold, tuple) or any(
        getattr(view, name) != getattr(plain, name) for name in names
    )


def _geometry(view: View) -> list[float]:
    a, s = view.affine, view.shrink
    share = [view.turns.count(k) / len(view.turns) for k in range(3)]
    return [
        *((a.p, a.rotation, a.translation, *a.scale, *a.shear, BORDERS.index(a.border))
          if a else (0, 0, 0, 1, 1, 0, 0, 0)),
        *np.cumsum(share),
        *((s.p, *s.pixels) if s else (0, 1, 1)),
    ]  # fmt: skip


def _colour(view: View) -> list[float]:
    v = view
    pca, h, post, sharp = v.pca, v.hsv, v.posterise, v.sharpness
    shift, drop, noise = v.channel_shift, v.channel_drop, v.noise
    return [
        *((pca.p, *pca.factor) if pca else (0, 1, 1)),
        *((h.p, h.hue, *h.power, *h.factor, *h.add) if h else (0, 0, 1, 1, 1, 1, 0, 0)),
        v.invert, *((post.p, *post.bits) if post else (0, 8, 8)), v.autocontrast, v.equalise,
        *((sharp.p, *sharp.factor) if sharp else (0, 1, 1)), v.projection,
        *((shift.p, *shift.pixels) if shift else (0, 0, 0)),
        *((drop.p, drop.noise) if drop else (0, 0)),
        *((noise.p, *noise.sigma) if noise else (0, 0, 0)),
    ]  # fmt: skip


def _sets(view: View) -> list[float]:
    """Sets of operations as bit masks."""
    once = view.tiles.once if view.tiles else ()
    choice = view.choice
    of = choice.of if choice else ()
    return [
        _mask(once),
        1.0 if choice is None else choice.p,
        _mask(of),
        (choice.count if choice else None) or len(of),
    ]


def _mask(names: tuple[str, ...]) -> int:
    return sum(1 << _OPERATIONS.index(name) for name in names)
