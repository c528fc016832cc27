"""Every method at a size that trains in seconds: the listed ones by their small recipe; toys."""

import numpy as np
from PIL import Image
from toys import SIZE, TOYS, MaskedTokens

from foveal.core.files import write_json
from foveal.data.masked import COLUMNS
from foveal.engine.plan import resized_options
from foveal.methods import get_method, list_methods
from foveal.recipe import Evaluation, Machine, Network, Optimiser, Recipe, Schedule, override
from foveal.recipes import get_recipe

PICTURES = 24
# A combination whose parts have an average, pseudo-labels, groups and a refresh.
COMBINATION = "byol+deepcluster"
# A count within rounding of its ReLU's corner has a gradient on one rank and none on another; of
# 1,000 counts a picture, one often is.
OPTIONS = {"counting": {"counts": 16}}
NAMES = [*list_methods(), COMBINATION, *(f"toys:{toy.__name__}" for toy in TOYS)]


def tiny_recipe(name: str, **changes) -> Recipe:
    """8 pictures a step, 3 steps an epoch, two epochs."""
    vit = name == f"toys:{MaskedTokens.__name__}"
    if ":" not in name:
        base = get_recipe(f"{name}/small")
        options = resized_options(name, {**base.options, **OPTIONS.get(name, {})}, SIZE)
        if get_method(name).parts:
            # Every part's batch must divide by the ranks.
            options["sizes"] = {}
    else:
        base, options = Recipe(method=name, epochs=1), {}
    # Averages, since the gradient of a maximum jumps where two positions are within rounding of
    # each other, and ranks round differently. Pooling is within a picture: ranks have no part.
    network = (
        Network(name="vit_tiny", extra={"patch_size": 4, "img_size": SIZE, "depth": 2})
        if vit
        else Network(name="small", width=0.25, extra={"pool": "avg"})
    )
    return override(
        base.model_copy(update={"options": options, "network": network}),
        {
            "batch": 8,
            "epochs": 2.0,
            "evaluation": Evaluation(size=SIZE, fraction=1.0).model_dump(),
            "optimiser": Optimiser(name="sgd", lr=0.05, scaling="none").model_dump(),
            # One step: a first step at the full rate multiplies what ranks round differently
            # (SimCLR and BYOL: to 8e-5 in float32, 7e-8 in float64).
            "schedule": Schedule(warmup=0.34).model_dump(),
            "machine": Machine(cores=1, monitor_every=100.0, log_every=1).model_dump(),
            **changes,
        },
    )


def write_pictures(folder, n=PICTURES, classes=2, side=20):
    """Class folders of blobs on gradients; every class has its own colour and upright."""
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 120, side)[:, None, None]
    for i in range(n):
        c = i % classes
        picture = np.zeros((side, side, 3)) + ramp + generator.integers(0, 60, 3)
        y, x = generator.integers(2, side - 8, 2)
        picture[y : y + 6, x : x + 6, c % 3] += 110
        picture += generator.normal(0, 8, picture.shape)
        path = folder / f"class{c}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def kind_of_data(name):
    """Which pile a method (None: any) learns from."""
    return "masks" if name is not None and get_method(name).needs_masks else "pictures"


def write_frames_with_masks(folder, n=PICTURES, side=20):
    """What ``foveal data motion`` leaves: frames with a bright square, soft masks, the table."""
    pictures = write_pictures(folder / "frames" / "v", n, side=side)
    (folder / "masks" / "v").mkdir(parents=True)
    lines = [",".join(COLUMNS)]
    for i, path in enumerate(sorted(pictures.rglob("*.png"))):
        picture = np.asarray(Image.open(path)).astype(np.int64)
        y, x = 2 + i % 8, 3 + i % 7
        picture[y : y + 8, x : x + 7] += 90
        soft = np.full((side, side), 40, np.uint8)
        soft[y - 1 : y + 9, x - 1 : x + 8] = 140  # doubtful
        soft[y : y + 8, x : x + 7] = 250
        frame = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        frame.save(folder / "frames" / "v" / f"{i:06d}.jpg", quality=95)
        Image.fromarray(soft).save(folder / "masks" / "v" / f"{i:06d}.png")
        path.unlink()
        share = 56 / side**2
        lines.append(f"v/{i:06d},v/{i // 6:04d},{share},0,{y},{x},8,7,{side},{side}")
    (folder / "frames.csv").write_text("\n".join(lines) + "\n")
    write_json(folder / "motion.json", {"format": 1})
    return folder
