"""How hard the Doom objects are: raw pixels, an untrained network, and supervision.

    python benchmarks/doom_calibration.py OUT [--views 128000] [--sheets docs/images]

Prints the table of docs/doom.md: kNN (k = 20, cosine, weights exp(s / 0.07) as in Wu et al., NPID,
CVPR 2018, section 3.4) on raw pixels and on an untrained network, and a short supervised run with
its test accuracy as it goes. Nothing is chosen on the test part; the run's length is given.
"""

import argparse
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from foveal.core import rng

K, TEMPERATURE = 20, 0.07
SIDE, CROP = 64, 40


def load(folder: Path) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Images float [N, 3, 64, 64] in [0, 1], labels [N], class names."""
    classes = sorted(p.name for p in folder.iterdir())
    files = [(p, i) for i, c in enumerate(classes) for p in sorted((folder / c).glob("*.png"))]
    images = np.stack([np.asarray(Image.open(p)) for p, _ in files])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor([i for _, i in files]), classes


def knn_accuracy(train, train_y, test, test_y, classes):
    """Share of test rows named right by the weighted vote of the K nearest training rows."""
    train, test = F.normalize(train, dim=1), F.normalize(test, dim=1)
    right = 0
    for part, y in zip(test.split(512), test_y.split(512), strict=True):
        similarity, rows = (part @ train.T).topk(K, dim=1)
        votes = torch.zeros(len(part), classes)
        votes.scatter_add_(1, train_y[rows], (similarity / TEMPERATURE).exp())
        right += int((votes.argmax(1) == y).sum())
    return right / len(test_y)


def pixels(x, side):
    """Centred, normalised pixels of the shrunken image [N, D]."""
    small = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    flat = small.flatten(1)
    return flat - flat.mean(dim=1, keepdim=True)


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


def network(classes: int) -> tuple[nn.Module, nn.Module]:
    """A trunk of 0.9 M parameters and a linear head."""
    trunk = nn.Sequential(
        nn.Conv2d(3, 32, 5, 2, 2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        Block(32, 64, 2),
        Block(64, 128, 2),
        Block(128, 192, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return trunk, nn.Linear(192, classes)


def centre(x):
    """The middle of the picture at the size the network sees, [N, 3, CROP, CROP]."""
    return F.interpolate(x, size=(CROP, CROP), mode="bilinear", antialias=True)


def random_views(x, step, seed):
    """Random resized crops with flips, one draw for each picture of the batch."""
    n = len(x)
    u = torch.from_numpy(
        rng.uniform(rng.key(seed, "calibration", "views"), step * n + np.arange(n), 4)
    ).float()
    scale = (0.5 + 0.5 * u[:, 0]).sqrt()
    flip = torch.where(u[:, 3] < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, 0, 2] = (1 - scale) * (2 * u[:, 1] - 1)
    theta[:, 1, 2] = (1 - scale) * (2 * u[:, 2] - 1)
    grid = F.affine_grid(theta, [n, 3, CROP, CROP], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="reflection")


@torch.no_grad()
def features(trunk, x, batch=512):
    trunk.eval()
    return torch.cat([trunk(centre(part) - 0.5) for part in x.split(batch)])


@torch.no_grad()
def estimate_batch_norm(trunk, x):
    """Running statistics of an untrained network from training pictures."""
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    trunk.train()
    for part in x[torch.randperm(len(x))[:4096]].split(256):
        trunk(centre(part) - 0.5)
    for norm in norms:
        norm.momentum = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("doom", type=Path, help="what `foveal data doom` wrote")
    parser.add_argument("--views", type=int, default=128_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=Path, help="write the pictures of docs/doom.md here")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x, y, classes = load(args.doom / "objects" / "train")
    test_x, test_y, _ = load(args.doom / "objects" / "test")
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
        object_sheet(args.doom / "objects" / "test", classes, args.sheets / "doom_objects.jpg")
        if (args.doom / "scenes").is_dir():
            scene_sheet(args.doom / "scenes", args.sheets / "doom_scenes.png")
    count = len(classes)
    print(f"{date.today()}  {platform.processor() or platform.machine()}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}")  # fmt: skip
    print(f"{len(x):,} training and {len(test_x):,} test crops of {count} classes")
    print(f"chance                                   {100 / count:5.1f} %")
    for side in (32, 40):
        score = knn_accuracy(pixels(x, side), y, pixels(test_x, side), test_y, count)
        print(f"kNN, raw pixels {side} px                    {100 * score:5.1f} %", flush=True)
    trunk, head = network(count)
    estimate_batch_norm(trunk, x)
    score = knn_accuracy(features(trunk, x), y, features(trunk, test_x), test_y, count)
    print(f"kNN, untrained network                   {100 * score:5.1f} %", flush=True)

    parameters = [*trunk.parameters(), *head.parameters()]
    steps = args.views // args.batch
    optimiser = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=steps + 1)
    order = rng.key(args.seed, "calibration", "order")
    start = time.perf_counter()
    for step in range(steps):
        rows = rng.integers(order, np.array([step], np.int64), args.batch, len(x))[0]
        trunk.train()
        logits = head(trunk(random_views(x[rows], step, args.seed) - 0.5))
        loss = F.cross_entropy(logits, y[rows], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % max(1, steps // 4) == 0:
            z = features(trunk, test_x)
            with torch.no_grad():
                score = float((head(z).argmax(1) == test_y).float().mean())
            seen = (step + 1) * args.batch
            spent = f"loss {loss.item():.2f}, {time.perf_counter() - start:.0f} s"
            print(
                f"supervised, {seen:7,} views, test accuracy {100 * score:6.1f} %   {spent}",
                flush=True,
            )
    score = knn_accuracy(features(trunk, x), y, features(trunk, test_x), test_y, count)
    print(f"kNN, supervised network                  {100 * score:5.1f} %")


def object_sheet(folder: Path, classes: list[str], path: Path, columns: int = 12) -> None:
    """Two classes in a row, crops spread over the maps."""
    rows, gap = (len(classes) + 1) // 2, 8
    width = (SIDE + 2) * columns
    sheet = Image.new("RGB", (2 * width + gap, (SIDE + 2) * rows))
    for i, name in enumerate(classes):
        files = sorted((folder / name).glob("*.png"))
        for j in range(columns):
            crop = Image.open(files[j * len(files) // columns])
            sheet.paste(crop, ((i % 2) * (width + gap) + (SIDE + 2) * j, (SIDE + 2) * (i // 2)))
    sheet.save(path, quality=88)


def scene_sheet(folder: Path, path: Path, columns: int = 5) -> None:
    """A row of frames, of their class masks, and of depth (white is 1,000 map units or more)."""
    names = (folder / "ImageSets" / "Main" / "val.txt").read_text().split()
    sheet = Image.new("RGB", (322 * columns, 242 * 3))
    for i in range(columns):
        name = names[i * len(names) // columns]
        depth = np.asarray(Image.open(folder / "Depth" / f"{name}.png"))
        shade = np.where(depth == 0, 255, np.minimum(depth * 0.255, 255)).astype(np.uint8)
        pictures = (
            Image.open(folder / "JPEGImages" / f"{name}.jpg"),
            Image.open(folder / "SegmentationClass" / f"{name}.png").convert("RGB"),
            Image.fromarray(shade).convert("RGB"),
        )
        for row, picture in enumerate(pictures):
            sheet.paste(picture, (322 * i, 242 * row))
    sheet.resize((sheet.width * 3 // 5, sheet.height * 3 // 5)).save(path)


if __name__ == "__main__":
    main()
