"""Small photographs that a network can learn to tell apart in a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
NAMES = ("blue", "green", "red")
BIG, SMALL = f"{HERE / 'engineers.py'}:Big", f"{HERE / 'engineers.py'}:Small"


def photo(path: Path, channel: int, seed: int, side: int = 16, mode: str = "RGB") -> None:
    """Noise that is a little brighter in one channel."""
    pixels = np.random.default_rng(seed).normal(110, 40, (side, side, 3))
    pixels[..., channel] += 45
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(path)


def folder_of_photos(root: Path, train: int, val: int, names: tuple[str, ...] = NAMES) -> Path:
    for part, count in (("train", train), ("val", val)):
        for number, name in enumerate(names):
            for i in range(count):
                photo(root / part / name / f"{i}.png", 2 - number % 3, 1000 * number + i + (500 if part == "val" else 0))
    return root
