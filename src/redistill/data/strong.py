"""Strong augmentation: two random operations of fourteen on each image, then a grey square. What MLKD shows beside the weak view.

The RandAugment of FixMatch as MLKD's released code has it (logit standardisation's copy, commit f6e5aa5): each operation's strength
is drawn evenly from its own range, whatever ``m`` says there, rotations, shears and shifts go one way or the other, and a square of
half the side at most, in the colour (125, 123, 114), is put on it. Strengths of the four enhancers lie below 1, so they take away.

Every draw of an image is one stream, (seed, "strong", epoch, image): neither the batch nor the order of images matters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor

from redistill import rng
from redistill.data.operations import picture_of, pixels_of

NUMERICS = 2
"""Of sets whose white is not 255 alone (digits: 16), whose strong views were made as if it were; of others nothing has changed."""

SUFFIX = "+strong"
"""Ending of an augmentation's name whose batches hold two views."""

GREY = (125, 123, 114)
CUTOUT = 0.5

Operation = Callable[[Image.Image, float], Image.Image]


def _affine(a: float, b: float, c: float, d: float, e: float, f: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f))


OPERATIONS: tuple[tuple[str, Operation, float, float], ...] = (
    ("AutoContrast", lambda image, v: ImageOps.autocontrast(image), 0.0, 1.0),
    ("Brightness", lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.05, 0.95),
    ("Color", lambda image, v: ImageEnhance.Color(image).enhance(v), 0.05, 0.95),
    ("Contrast", lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.05, 0.95),
    ("Equalize", lambda image, v: ImageOps.equalize(image), 0.0, 1.0),
    ("Identity", lambda image, v: image, 0.0, 1.0),
    ("Posterize", lambda image, v: ImageOps.posterize(image, max(1, int(v))), 4.0, 8.0),
    ("Rotate", lambda image, v: image.rotate(v), -30.0, 30.0),
    ("Sharpness", lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.05, 0.95),
    ("ShearX", lambda image, v: _affine(1, v, 0, 0, 1, 0)(image), -0.3, 0.3),
    ("ShearY", lambda image, v: _affine(1, 0, 0, v, 1, 0)(image), -0.3, 0.3),
    ("Solarize", lambda image, v: ImageOps.solarize(image, int(v)), 0.0, 256.0),
    ("TranslateX", lambda image, v: _affine(1, 0, v * image.size[0], 0, 1, 0)(image), -0.3, 0.3),
    ("TranslateY", lambda image, v: _affine(1, 0, 0, 0, 1, v * image.size[1])(image), -0.3, 0.3),
)
"""Name, operation, and the range of its strength."""


def strongly(images: Tensor, index: Tensor, seed: int, epoch: int, peak: int = 255) -> Tensor:
    """Uint8 images [B, C, H, W] with one or three channels, each under its own two operations; ``index`` [B]: which image each is;
    ``peak``: the pixel that counts as white."""
    pixels = images.cpu()
    made = [_one(image, seed, epoch, which, peak) for image, which in zip(pixels, index.tolist(), strict=True)]
    return torch.stack(made).to(images.device)


def _one(pixels: Tensor, seed: int, epoch: int, which: int, peak: int) -> Tensor:
    draw = torch.rand(8, generator=rng.stream(seed, "strong", epoch, which), dtype=torch.float64).tolist()
    image = picture_of(pixels, peak)
    for chosen, strength in ((draw[0], draw[1]), (draw[2], draw[3])):
        _, operation, low, high = OPERATIONS[int(chosen * len(OPERATIONS))]
        image = operation(image, low + (high - low) * strength)
    return pixels_of(_cut(image, draw[4] * CUTOUT * image.size[0], draw[5], draw[6]), peak)


def _cut(image: Image.Image, side: float, across: float, down: float) -> Image.Image:
    """A grey square of ``side`` pixels, its middle anywhere on the image."""
    width, height = image.size
    x, y = (int(max(0, at * size - side / 2)) for at, size in ((across, width), (down, height)))
    image = image.copy()
    fill = GREY if image.mode == "RGB" else GREY[1]
    ImageDraw.Draw(image).rectangle((x, y, min(width, x + side), min(height, y + side)), fill)
    return image
