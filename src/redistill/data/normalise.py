"""Named normalisation sets: which mean and standard deviation are taken from the pixels, and the map between two sets.

A stream is normalised once, by name; the name travels with checkpoints and records. A pixel q of 0..peak becomes
``(q / peak - mean) / std``, computed in that order in fp32 (fp64 for a run in double precision), which is bitwise what the
usual ``ToTensor`` and ``Normalize`` transforms compute.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from redistill.core import RedistillError, nearest

NUMERICS = 1


@dataclass(frozen=True)
class Normalisation:
    """One named set.

    Attributes:
        name: how experiments and checkpoints call it.
        mean, std: one number a channel, or a single number for every channel, in units of the full pixel range 0..1.
        peak: the stored pixel value that counts as 1 (255; the digits of scikit-learn have 17 grey levels, 0..16).
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    peak: int = 255

    def __post_init__(self) -> None:
        for what in ("mean", "std"):
            given = getattr(self, what)
            numbers = tuple(float(v) for v in (given if isinstance(given, Sequence | np.ndarray | Tensor) else (given,)))
            object.__setattr__(self, what, numbers)  # a list, an array or one number is as good as a tuple
            if not numbers or not all(map(math.isfinite, numbers)) or (what == "std" and min(numbers) <= 0):
                least = ", each above 0" if what == "std" else ""
                raise RedistillError(f"normalisation {self.name!r}: {what} must be one number a channel{least}, got {given}")
        if len(self.mean) != len(self.std):
            raise RedistillError(f"normalisation {self.name!r}: {len(self.mean)} means and {len(self.std)} standard deviations")
        if isinstance(self.peak, bool) or not isinstance(self.peak, SupportsIndex) or not 1 <= self.peak <= 255:
            raise RedistillError(f"normalisation {self.name!r}: peak, the pixel that counts as 1, must lie between 1 and 255")
        object.__setattr__(self, "peak", int(self.peak))
        if "(" in self.name or ")" in self.name or not self.name.isprintable():
            raise RedistillError(f"a normalisation is called by plain words without brackets, got {self.name!r}")

    def __str__(self) -> str:
        """How data sets, files and records call it: a set of this module by its name, one's own with its constants.

        >>> str(Normalisation("my clinic", (0.4,), (0.25,), peak=16)), str(normalisation("half"))
        ('my clinic (mean 0.4, std 0.25, peak 16)', 'half')
        """
        if SETS.get(self.name) == self:
            return self.name
        constants = f"mean {' '.join(map(repr, self.mean))}, std {' '.join(map(repr, self.std))}"
        return f"{self.name} ({constants}{'' if self.peak == 255 else f', peak {self.peak}'})".strip()

    def require_channels(self, channels: int) -> None:
        """Refuse images whose number of channels this set was not made for."""
        if len(self.mean) not in (1, channels):
            fitting = ", ".join(n for n, s in SETS.items() if len(s.mean) in (1, channels))
            raise RedistillError(
                f"normalisation {self.name!r} has {len(self.mean)} channels, the images have {channels}: use one of {fitting}"
            )

    def on(self, device: torch.device | str, dtype: torch.dtype, peak: int | None = None) -> Normaliser:
        """The set as constants on one device, ready for batches that are wanted in ``dtype``.

        ``peak``: the pixel that counts as 1; it belongs to the data (digits have 16 under every set). Default: the set's.
        """
        work = torch.float64 if dtype == torch.float64 else torch.float32
        mean, std = (torch.tensor(v, dtype=work, device=device).view(-1, 1, 1) for v in (self.mean, self.std))
        white: float | Tensor = float(self.peak if peak is None else peak)
        if torch.device(device).type != "cpu":
            # an accelerator multiplies by the inverse of a number, which rounds otherwise; by a tensor of its own it divides
            white = torch.tensor(white, dtype=work, device=device)
        return Normaliser(mean, std, white, work, dtype)


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Constants of one set on one device; ``white``: the pixel that counts as 1. ``work`` is the precision of the arithmetic, ``dtype``
    that of the result."""

    mean: Tensor
    std: Tensor
    white: float | Tensor
    work: torch.dtype
    dtype: torch.dtype

    def __call__(self, pixels: Tensor, channels_last: bool = False) -> Tensor:
        """uint8 [B, C, H, W] -> normalised [B, C, H, W] in ``dtype``, rounded once where that is narrower than fp32."""
        images = pixels.to(self.work).div_(self.white).sub_(self.mean).div_(self.std).to(self.dtype)
        # converting the layout last is the fastest order measured (fp32, batch 128: 0.43 ms against 0.83 ms first)
        return images.contiguous(memory_format=torch.channels_last) if channels_last else images


SETS: dict[str, Normalisation] = {
    s.name: s
    for s in (
        # pixel mean; std is the mean over images of the std within one image: kuangliu/pytorch-cifar, and from there
        # Micaelli & Storkey's and Ferles et al.'s codes (and ReviewKD's for CIFAR-100)
        Normalisation("cifar10-kuangliu", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        # mean and standard deviation of all training pixels
        Normalisation("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        Normalisation("cifar100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        Normalisation("svhn-zskt", (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),  # polo5/ZeroShotKnowledgeTransfer
        Normalisation("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        Normalisation("mnist", (0.1307,), (0.3081,)),
        Normalisation("fashion-mnist", (0.2860,), (0.3530,)),
        # measured over all 1,797 images of sklearn.datasets.load_digits divided by 16: 0.30526, 0.37605
        Normalisation("digits", (0.3053,), (0.3760,), peak=16),
        Normalisation("half", (0.5,), (0.5,)),
        Normalisation("none", (0.0,), (1.0,)),
        Normalisation("pixels", (0.0,), (1 / 255,)),  # as stored, 0 to 255: Keras and TensorFlow Lite examples
    )
}

_OWN = re.compile(r"(?P<name>[^()]*?) *\(mean (?P<mean>[^,()]+), *std (?P<std>[^,()]+)(?:, *peak (?P<peak>\d{1,3}))?\)")


def normalisation(name: str | Normalisation) -> Normalisation:
    """The set of that name; one of one's own by its constants, ``"my clinic (mean 0.4, std 0.25)"``; a set as it is.

    >>> normalisation("mine (mean 0.5 0.4 0.3, std 0.2 0.2 0.2)").mean
    (0.5, 0.4, 0.3)
    """
    if isinstance(name, Normalisation):
        return name
    if name in SETS:
        return SETS[name]
    if found := _OWN.fullmatch(name):
        try:
            mean, std = (tuple(float(v) for v in found[what].split()) for what in ("mean", "std"))
        except ValueError as error:
            raise RedistillError(f"normalisation {name!r}: mean and std are numbers, one a channel ({error})") from error
        return Normalisation(found["name"], mean, std, int(found["peak"] or 255))
    raise RedistillError(f'{nearest(name, SETS, "normalisation")}; one of your own: "mine (mean 0.5 0.5 0.5, std 0.2 0.2 0.2)"')


def require_peak(normalise: str, peak: int | None, of: str) -> None:
    """Refuse constants that are written for another white than these pixels have: the white belongs to the data, and nothing
    would divide by the written one.

    ``peak``: the white of the images called ``of``; None: 255.
    """
    made, white = normalisation(normalise), peak or 255
    if made.name not in SETS and made.peak not in (255, white):
        raise RedistillError(
            f"{made} is for pixels of which {made.peak} counts as 1, those of {of} have {white}: leave the peak out (mean and "
            f"std are in units of the full range), or give the data their white, numpy.savez(file, x=images, peak={made.peak})"
        )


def affine_between(a: str | Normalisation, b: str | Normalisation) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``(scale, shift)`` a channel, so that images normalised by ``a``, times scale, plus shift, are normalised by ``b``.

    >>> affine_between("none", "half")
    ((2.0,), (-1.0,))
    """
    one, two = normalisation(a), normalisation(b)
    channels = max(len(one.mean), len(two.mean))
    one.require_channels(channels)
    two.require_channels(channels)
    full = [v * channels if len(v) == 1 else v for v in (one.mean, one.std, two.mean, two.std)]
    scale = tuple(s1 / s2 for _, s1, _, s2 in zip(*full, strict=True))
    shift = tuple((m1 - m2) / s2 for m1, _, m2, s2 in zip(*full, strict=True))
    return scale, shift


@dataclass(frozen=True)
class Renormalise:
    """Images [B, C, H, W] normalised by one set, as another set has them: ``images * scale + shift`` channel by channel.

    What it returns has the precision and the device of what it was given.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def between(cls, a: str, b: str) -> Renormalise:
        """From the named set ``a`` to ``b``."""
        return cls(*affine_between(a, b))

    def __call__(self, images: Tensor) -> Tensor:
        made = images.new_tensor if images.device.type == "cpu" else functools.partial(_there, dtype=images.dtype, device=images.device)
        scale, shift = (made(v).view(1, -1, 1, 1) for v in (self.scale, self.shift))
        return images * scale + shift


@functools.lru_cache(maxsize=64)
def _there(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers on an accelerator, copied there once: whoever copies at every step waits for the device."""
    return torch.tensor(values, dtype=dtype, device=device)
