"""What is done to one picture under its own draws: colour jitter and RandAugment, on Pillow's pictures.

Drawing and doing are apart: :meth:`drawn` says which operations with which strengths, and :func:`done` does them, so that either can be
compared with another library at the same numbers.

| name | what | source |
|---|---|---|
| ``colour-jitter:b,c,s,h`` | brightness, contrast and saturation times a factor from [1 - b, 1 + b] (never below 0), hue turned by up to h of its circle; in a random order | ``torchvision.transforms.ColorJitter`` |
| ``randaugment:N,M`` | N of fourteen operations, drawn with replacement, all of magnitude M of 30 | Cubuk et al. 2020 (arXiv:1909.13719), ranges as ``torchvision.transforms.RandAugment`` has them |

Shears, shifts and turns go one way or the other, enhancers up or down, with equal chances; what comes in from outside is black, and
pixels are taken from the nearest.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from redistill.core import RedistillError

NUMERICS = 1
BINS = 30  # of magnitude, from 0 to 30
Done = tuple[str, float]
"""An operation by name, and its strength."""


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _hue(image: Image.Image, turn: float) -> Image.Image:
    """Hue moved by a part of its circle of 256 steps; grey has none."""
    if image.mode != "RGB":
        return image
    hue, saturation, value = image.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int64) + int(turn * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert("RGB")


OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, v: image,
    "shear-x": lambda image, v: _affine(image, (1, v, 0, 0, 1, 0)),
    "shear-y": lambda image, v: _affine(image, (1, 0, 0, v, 1, 0)),
    "translate-x": lambda image, v: _affine(image, (1, 0, -v, 0, 1, 0)),
    "translate-y": lambda image, v: _affine(image, (1, 0, 0, 0, 1, -v)),
    "rotate": lambda image, v: image.rotate(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "saturation": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "solarize": lambda image, v: ImageOps.solarize(image, v),  # type: ignore[arg-type]  # a threshold between two levels is as good
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "hue": _hue,
}
"""By name: of a picture and a strength, the picture. Strengths: a shear, pixels, degrees counterclockwise, the factor of an enhancer,
bits, a threshold, a part of the circle."""

DRAWN = (
    "identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "saturation", "contrast", "sharpness",
    "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""The fourteen of RandAugment."""


def done(image: Image.Image, operations: Sequence[Done]) -> Image.Image:
    """The picture after the operations, in their order."""
    for name, strength in operations:
        image = OPERATIONS[name](image, strength)
    return image


def strength(name: str, magnitude: int, width: int, height: int, sign: int) -> float:
    """What magnitude M of 30 comes to for an operation of RandAugment on a picture; ``sign`` is 1 or -1.

    >>> strength("rotate", 15, 32, 32, -1), strength("posterize", 30, 32, 32, 1), strength("solarize", 0, 32, 32, 1)
    (-15.0, 4.0, 255.0)
    """
    part = magnitude / BINS
    if name.startswith("shear"):
        return sign * 0.3 * part
    if name.startswith("translate"):
        return sign * float(int(150.0 / 331.0 * (width if name.endswith("x") else height) * part))
    if name == "rotate":
        return sign * 30.0 * part
    if name in ("brightness", "saturation", "contrast", "sharpness"):
        return 1.0 + sign * 0.9 * part
    if name == "posterize":
        return float(8 - round(magnitude / (BINS / 4)))
    return 255.0 * (1.0 - part) if name == "solarize" else 0.0


@dataclass(frozen=True)
class RandAugment:
    """``count`` operations of magnitude ``magnitude``; 2 and 9 are the defaults of torchvision and of timm's recipes."""

    count: int = 2
    magnitude: int = 9

    def drawn(self, draw: torch.Generator, width: int, height: int) -> list[Done]:
        """The operations for one picture."""
        share = torch.rand(2 * self.count, generator=draw, dtype=torch.float64).tolist()
        pairs = zip(share[::2], share[1::2], strict=True)
        chosen = [(DRAWN[int(which * len(DRAWN))], 1 if way < 0.5 else -1) for which, way in pairs]
        return [(name, strength(name, self.magnitude, width, height, sign)) for name, sign in chosen]


@dataclass(frozen=True)
class ColourJitter:
    """Reach of each factor around 1, and of the hue around 0; 0.4 is timm's for the three, and no hue."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0

    def drawn(self, draw: torch.Generator, width: int, height: int) -> list[Done]:
        """The operations for one picture."""
        share = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
        order = torch.randperm(4, generator=draw).tolist()
        found: list[Done | None] = []
        for name, reach, part in zip(("brightness", "contrast", "saturation"), (self.brightness, self.contrast, self.saturation), share,
                                     strict=False):  # fmt: skip
            low = max(0.0, 1.0 - reach)
            found.append((name, low + (1.0 + reach - low) * part) if reach else None)
        found.append(("hue", self.hue * (2.0 * share[3] - 1.0)) if self.hue else None)
        return [one for which in order if (one := found[which]) is not None]


Operation = RandAugment | ColourJitter
NAMES = ("colour-jitter", "randaugment")


def operation(name: str, settings: str | None) -> Operation:
    """``randaugment`` or ``colour-jitter`` with its settings, as they are written behind the colon.

    >>> operation("randaugment", "1,5"), operation("colour-jitter", "0.8,0.8,0.8,0.2").hue
    (RandAugment(count=1, magnitude=5), 0.2)
    """
    if name == "randaugment":
        numbers = numbers_of(name, settings, (2, 9), "randaugment:2,9 is two operations of magnitude 9 of 30")
        count, magnitude = numbers if len(numbers) == 2 else (numbers[0], 9)
        if count != int(count) or magnitude != int(magnitude) or not (1 <= count <= 14 and 0 <= magnitude <= BINS):
            raise RedistillError(f"augmentation 'randaugment:{settings}': 1 to 14 operations of a whole magnitude from 0 to {BINS}")
        return RandAugment(int(count), int(magnitude))
    numbers = numbers_of(name, settings, (0.4, 0.4, 0.4, 0.0), "colour-jitter:0.4 or colour-jitter:0.4,0.4,0.4,0.1 (brightness, contrast, "
                         "saturation, hue)")  # fmt: skip
    one, *more = numbers
    brightness, contrast, saturation, hue = (one, one, one, 0.0) if not more else (*numbers, 0.0)[:4] if len(more) > 1 else (-1.0,) * 4
    if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:
        raise RedistillError(
            f"augmentation 'colour-jitter:{settings}': one number for brightness, contrast and saturation, or three, or four with the hue; "
            f"none below 0, the hue at most 0.5"
        )
    return ColourJitter(brightness, contrast, saturation, hue)


def numbers_of(name: str, settings: str | None, usual: tuple[float, ...], example: str) -> tuple[float, ...]:
    """The numbers behind the colon, at most as many as are usual; these where nothing stands there."""
    if settings is None:
        return usual
    try:
        found = tuple(float(part) for part in settings.split(","))
    except ValueError:
        found = ()
    if not 1 <= len(found) <= len(usual) or not all(abs(number) < 1e6 for number in found):
        raise RedistillError(f"augmentation '{name}:{settings}': write {example}")
    return found


def picture_of(pixels: Tensor, peak: int = 255) -> Image.Image:
    """A picture of bytes [1 or 3, H, W] of which ``peak`` counts as white."""
    if peak != 255:
        pixels = ((pixels.to(torch.int32) * 255 + peak // 2) // peak).to(torch.uint8)
    grey = pixels.shape[0] == 1
    return Image.fromarray((pixels[0] if grey else pixels.permute(1, 2, 0).contiguous()).numpy())


def pixels_of(image: Image.Image, peak: int = 255) -> Tensor:
    """Inverse of :func:`picture_of`: uint8 [C, H, W]."""
    found = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, -1).permute(2, 0, 1)
    if peak != 255:
        found = ((found.to(torch.int32) * peak + 127) // 255).to(torch.uint8)
    return found.contiguous()
