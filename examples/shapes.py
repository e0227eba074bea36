"""Draw a folder of small photographs to try ``redistill distill`` on: 600 of six kinds for training, 240 to evaluate on.

    python examples/shapes.py shapes
    redistill distill --data shapes --teacher examples/shapes.py:Teacher --train-teacher 30 --student half
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor, nn

KINDS = ("circle", "cross", "ring", "square", "stripes", "triangle")
SIDE = 64


def picture(kind: str, draw: random.Random) -> Image.Image:
    """One shape of a random colour, size, place and angle on a blurred ground, with noise over all of it."""
    noise = np.random.default_rng(draw.getrandbits(32))
    ground = noise.normal(draw.uniform(70, 180), 30, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(ground).filter(ImageFilter.GaussianBlur(draw.uniform(1, 3)))
    pen, colour = ImageDraw.Draw(image), tuple(draw.randint(0, 255) for _ in range(3))
    r = draw.uniform(0.22, 0.4) * SIDE
    x, y, angle = draw.uniform(r, SIDE - r), draw.uniform(r, SIDE - r), draw.uniform(0, math.pi)

    def at(turn: float, far: float) -> tuple[float, float]:
        return x + far * math.cos(angle + turn), y + far * math.sin(angle + turn)

    if kind == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif kind == "ring":
        pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=round(0.3 * r))
    elif kind in ("square", "triangle"):
        corners = 4 if kind == "square" else 3
        pen.polygon([at(2 * math.pi * k / corners, r) for k in range(corners)], fill=colour)
    elif kind == "cross":
        for turn in (0.0, math.pi / 2):
            pen.line([at(turn, r), at(turn + math.pi, r)], fill=colour, width=round(0.35 * r))
    else:
        for shift in (-0.6, 0.0, 0.6):
            dx, dy = (shift * r * f(angle + math.pi / 2) for f in (math.cos, math.sin))
            ends = [at(0.0, 0.8 * r), at(math.pi, 0.8 * r)]
            pen.line([(px + dx, py + dy) for px, py in ends], fill=colour, width=round(0.2 * r))
    grain = noise.normal(0, draw.uniform(4, 14), (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def write(root: Path, seed: int = 0) -> None:
    """100 photographs a kind below ``train/``, 40 below ``val/``."""
    draw = random.Random(seed)
    for part, count in (("train", 100), ("val", 40)):
        for kind in KINDS:
            (root / part / kind).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture(kind, draw).save(root / part / kind / f"{number:03d}.png")


def _block(a: int, b: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class Teacher(nn.Module):
    """Six convolutions; ``width`` is what a smaller one of the family has less of."""

    def __init__(self, num_classes: int, width: int = 24):
        super().__init__()
        w = width
        self.stem = _block(3, w, 2)
        self.one = nn.Sequential(_block(w, 2 * w, 2), _block(2 * w, 2 * w, 1))
        self.two = nn.Sequential(_block(2 * w, 4 * w, 2), _block(4 * w, 4 * w, 1))
        self.head = nn.Linear(4 * w, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.two(self.one(self.stem(x))).mean((2, 3)))
        return logits


if __name__ == "__main__":
    write(Path(sys.argv[1]))
