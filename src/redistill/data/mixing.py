"""Mixup and CutMix: images of a batch mixed with each other, before anybody sees them, so that teacher and student see the same.

    mixup (Zhang et al. 2018, arXiv:1710.09412):  x = λ x_i + (1 - λ) x_j,  λ ~ Beta(α, α)
    CutMix (Yun et al. 2019, arXiv:1905.04899):   a box of x_i is that of x_j; its sides are √(1 - λ) of the image's, its middle lies
                                                  anywhere, and λ becomes the share of x_i that is left after it was cut at the border

Image i of a batch meets image i - 1; the order of a batch is drawn anyway. One λ a batch, drawn from (seed, "mixing", step). A mixed
image has two labels: that of x_i with the share λ, that of x_j with 1 - λ. Where both are named, a batch is mixed one way or the
other with equal chances. Mixing is linear, so it commutes with the normalisation, after which it is done.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, RedistillError
from redistill.data.operations import numbers_of

NUMERICS = 1
NAMES = ("mixup", "cutmix")
ALPHA = {"mixup": 0.2, "cutmix": 1.0}
"""0.2: of the authors' code for ImageNet; 1: CutMix's. Beyer et al. 2022 (arXiv:2106.05237) mix evenly, ``mixup:1``."""


@dataclass(frozen=True)
class Mixing:
    """The α of either way, None where it is not asked for."""

    mixup: float | None = None
    cutmix: float | None = None

    def drawn(self, seed: int, step: int, height: int, width: int) -> Mix:
        """How the batch of one step is mixed."""
        from scipy.special import betaincinv  # slow to import, and few runs mix

        which, share, down, across = torch.rand(4, generator=rng.stream(seed, "mixing", step), dtype=torch.float64).tolist()
        cut = self.cutmix is not None and (self.mixup is None or which < 0.5)
        alpha = self.cutmix if cut else self.mixup
        assert alpha is not None
        part = float(betaincinv(alpha, alpha, share))
        if not cut:
            return Mix(part, None)
        box = cut_box(part, height, width, down, across)
        top, bottom, left, right = box
        return Mix(1.0 - (bottom - top) * (right - left) / (height * width), box)


@dataclass(frozen=True)
class Mix:
    """share: of the first image and its label. box: (top, bottom, left, right) that is taken from the second; None: all of it."""

    share: float
    box: tuple[int, int, int, int] | None

    def of(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W], each mixed with the one before it (the first with the last)."""
        others = images.roll(1, 0)
        if self.box is None:
            return images * self.share + others * (1.0 - self.share)
        top, bottom, left, right = self.box
        made = images.clone()
        made[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return made

    def batch(self, batch: Batch) -> Batch:
        """The batch, mixed; what its images are to labels, each says by two labels and a share."""
        second = None if batch.labels is None else batch.labels.roll(1, 0)
        share = torch.full((len(batch.images),), self.share, dtype=batch.images.dtype, device=batch.images.device)
        return dataclasses.replace(batch, images=self.of(batch.images), second=second, share=share)


def cut_box(share: float, height: int, width: int, down: float, across: float) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the box that is 1 - ``share`` of an image before it is cut at the border; ``down`` and ``across``
    from [0, 1): where its middle lies.

    >>> cut_box(0.75, 8, 8, 0.5, 0.0)
    (2, 6, 0, 2)
    """
    side = 0.5 * math.sqrt(1.0 - share)
    y, x, tall, wide = int(down * height), int(across * width), int(side * height), int(side * width)
    return max(y - tall, 0), min(y + tall, height), max(x - wide, 0), min(x + wide, width)


def mixing(parts: dict[str, str | None]) -> Mixing | None:
    """What ``mixup`` and ``cutmix``, with what is written behind their colons, mean; None where neither is named.

    >>> mixing({"mixup": None, "cutmix": "0.5"})
    Mixing(mixup=0.2, cutmix=0.5)
    """
    found = {}
    for name in NAMES:
        if name in parts:
            (alpha,) = numbers_of(name, parts[name], (ALPHA[name],), f"{name}:{ALPHA[name]:g}, one number, the α of its Beta")
            if alpha <= 0 or not math.isfinite(alpha):
                raise RedistillError(f"augmentation '{name}:{parts[name]}': α must be above 0, for example {name}:{ALPHA[name]:g}")
            found[name] = alpha
    return Mixing(**found) if found else None
