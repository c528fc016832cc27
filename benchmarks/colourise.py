"""What a colorization run has learned to see: pictures, what the network is shown, its colours.

    python benchmarks/colourise.py RUN DATA OUT.jpg [--count N]

DATA should be pictures the run has not seen. Three rows: as they are, grey, coloured by the run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foveal.core import rng
from foveal.core.batch import as_images
from foveal.core.colour import lab_to_rgb, rgb_to_lightness
from foveal.data.loader import ordered_views
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.build import build_method, build_table, data_info
from foveal.engine.runfolder import RunFolder
from foveal.views.presets import center_view

ENLARGED = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=12)
    arguments = parser.parse_args()
    folder = RunFolder(arguments.run)
    recipe = folder.recipe()
    source = open_source(arguments.data)
    report = scan(source)
    method = build_method(recipe, data_info(recipe, source, report, len(report.good)))
    method.load_state_dict(torch.load(folder.last, weights_only=True)["method"])
    method.eval()
    table = build_table(source, report)
    rows = rng.permute(rng.key(1, "shown"), len(table), np.arange(arguments.count))
    view = center_view(recipe.evaluation.size, recipe.evaluation.fraction)
    ((_, pixels, _),) = ordered_views(table, view, batch=len(rows), threads=1, rows=rows)
    x = as_images(pixels)
    lightness = rgb_to_lightness(x)
    grey = lab_to_rgb(torch.cat([lightness, torch.zeros_like(x[:, :2])], 1)).clamp(0, 1)
    shown = torch.stack([x, grey, method.colourise(x)])  # [3, N, C, H, W]
    sheet = shown.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    image = Image.fromarray((sheet * 255).round().to(torch.uint8).numpy())
    size = (image.width * ENLARGED, image.height * ENLARGED)
    image.resize(size, Image.Resampling.BICUBIC).save(arguments.out, quality=85)


if __name__ == "__main__":
    main()
