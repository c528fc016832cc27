"""Applying: pixels and a row of numbers become a view. Compiled, without the GIL, one call each.

Scratch is planar float32 [C, H, W] in [0, 1], so inner loops run over contiguous memory and the
compiler vectorises them; nothing is rounded between operations.
"""

from foveal.views.kernels.blur import blur, blur_weights, sharpness
from foveal.views.kernels.colour import (
    channel_shift,
    grey,
    hsv_powers,
    hue,
    pca_contrast,
    project,
    saturation,
)
from foveal.views.kernels.noise import add_noise, drop_channels
from foveal.views.kernels.resize import resample, resize_planar, shrink_and_back, store
from foveal.views.kernels.tone import (
    autocontrast,
    brightness,
    contrast,
    equalise,
    invert,
    posterise,
    solarise,
)
from foveal.views.kernels.warp import inverse_affine, warp

__all__ = [
    "add_noise", "autocontrast", "blur", "blur_weights", "brightness", "channel_shift", "contrast",
    "drop_channels", "equalise", "grey", "hsv_powers", "hue", "inverse_affine", "invert",
    "pca_contrast", "posterise", "project", "resample", "resize_planar",
    "saturation", "sharpness", "shrink_and_back", "solarise", "store", "warp",
]  # fmt: skip
