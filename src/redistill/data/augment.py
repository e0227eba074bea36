"""Augmentation of whole batches of uint8 images in memory: pad, crop at an offset, flip.

Every augmented version of an image is one whole number, its *variant*. With padding p there are (2p+1)^2 offsets and two
orientations, so padding 4 has 162 variants::

    variant = (dy * (2p+1) + dx) * 2 + flip        0 <= dy, dx <= 2p

The image is padded by p on each side (with black, or by reflection without repeating the border), the window of the original
size whose upper left corner lies at row dy and column dx is cut out, and mirrored left to right where flip is 1: pixel for
pixel the usual per-image transforms. The variant in which nothing happens is (p, p, 0).

Names that end in ``+strong`` give two views: the batch as it is, then the same images once more, cropped and flipped anew and under
the strong operations of :mod:`redistill.data.strong`.

Names that end in ``-batch`` draw one offset for all images of a batch, and a flip for each: what ``tf.random_crop`` makes of a
batch (the TensorFlow reproduction of VID). There an image is mirrored before its border is added.

A name may go on with what is done to every image by itself (:mod:`redistill.data.operations`), and with how the images of a batch are
mixed (:mod:`redistill.data.mixing`), in this order::

    crop-flip+randaugment:2,9    resized-crop+colour-jitter:0.4+mixup:0.2+cutmix    crop-flip+mixup:1

``resized-crop:p`` cuts a random part of at least the share p out of an image, 0.08 where nothing is said, scales it to the image's size
and mirrors half of them (:func:`redistill.data.decode.random_crop`). These have no number of variants: every draw of an image is a stream
of its own, by seed, epoch and image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from redistill.core import RedistillError, nearest
from redistill.data import mixing, operations
from redistill.data.decode import AREA
from redistill.data.mixing import Mixing
from redistill.data.operations import Operation
from redistill.data.strong import SUFFIX

NUMERICS = 1
RESIZED = "resized-crop"


@dataclass(frozen=True)
class Augmentation:
    """``none``, ``flip``, ``crop-flip``, ``crop-flip-reflect``, ``crop-flip-reflect-batch``; ``:p`` after a crop: the padding (4).

    Attributes:
        name: as written. pad: pixels on each side. reflect: pad by reflection instead of black. flip: mirror half of them.
        batch: one offset for all images of a batch. strong: a second, strong view of every image.
        area: smallest share of an image that a resized crop keeps; None: there is none. operations: of each image by itself, in their
            order. mixing: of the images of a batch with each other.
    """

    name: str
    pad: int
    reflect: bool
    flip: bool
    batch: bool = False
    strong: bool = False
    area: float | None = None
    operations: tuple[Operation, ...] = ()
    mixing: Mixing | None = None

    @property
    def pictured(self) -> bool:
        """Whether every image is made by itself, on the host, by draws of its own."""
        return self.area is not None or bool(self.operations)

    @property
    def bounded(self) -> bool:
        """Whether an image has a number of versions, all of which may be seen again."""
        return not (self.strong or self.pictured or self.mixing)

    @property
    def variants(self) -> int:
        """How many windows and orientations of one image there are."""
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    @property
    def offsets(self) -> int:
        """How many windows of one padded image there are."""
        return (2 * self.pad + 1) ** 2

    def at_offset(self, variant: Tensor, offset: int | Tensor) -> Tensor:
        """Variants [B] that keep the flip of ``variant`` [B] and share the window of number ``offset``, dy · (2p+1) + dx, which may
        also be a tensor [1] on their device.

        The window is that of the image as it is shown: of a mirrored one the other side is cut off.

        >>> augmentation("crop-flip-reflect-batch:1").at_offset(torch.tensor([0, 1]), 0).tolist()       # dx 0, and 2 mirrored
        [0, 5]
        """
        across = 2 * self.pad + 1
        dy, dx = offset // across, offset % across
        flip = variant % 2
        return (dy * across + torch.where(flip == 1, 2 * self.pad - dx, dx)) * 2 + flip

    def parts(self, variant: int) -> tuple[int, int, bool]:
        """``(dy, dx, flip)`` of one variant."""
        where, flip = divmod(variant, 2) if self.flip else (variant, 0)
        dy, dx = divmod(where, 2 * self.pad + 1)
        return dy, dx, bool(flip)


_KINDS = ("none", "flip", "crop-flip", "crop-flip-reflect", "crop-flip-reflect-batch")


def augmentation(name: str) -> Augmentation:
    """Read a name.

    >>> augmentation("crop-flip").variants, augmentation("crop-flip-reflect:2").variants
    (162, 50)
    >>> augmentation("resized-crop:0.25+mixup").area, augmentation("flip+randaugment:1,5").operations
    (0.25, (RandAugment(count=1, magnitude=5),))
    """
    parts = name.split("+")
    strong = len(parts) > 1 and parts[-1] == SUFFIX[1:]
    if strong:
        parts.pop()
    words = [(word, settings if sign else None) for word, sign, settings in (part.partition(":") for part in parts)]
    area, kind, size = None, "none", 0
    if words[0][0] not in (*operations.NAMES, *mixing.NAMES):
        kind, settings = words.pop(0)
        if kind == RESIZED:
            area, kind = _area(name, settings), "none"
        else:
            kind, size = _window(name, kind, settings)
    made = _further(name, words)
    ways = {word: settings for word, settings in words if word in mixing.NAMES}
    if strong and kind.endswith("-batch"):
        raise RedistillError(f"augmentation {name!r}: a batch that shares its offset has no strong view")
    if strong and (words or area is not None):
        raise RedistillError(f"augmentation {name!r}: a strong view is one of its own, beside crop and flip alone: leave the rest out")
    return Augmentation(
        name, size, "reflect" in kind, kind != "none", kind.endswith("-batch"), strong, area, made, mixing.mixing(ways)
    )


def _window(name: str, kind: str, settings: str | None) -> tuple[str, int]:
    """The kind of a crop, and its padding."""
    if kind not in _KINDS or (settings is not None and not re.fullmatch(r"\d+", settings)):
        known = (*_KINDS, RESIZED, *operations.NAMES, *mixing.NAMES)
        raise RedistillError(nearest(kind if settings is None or kind not in _KINDS else f"{kind}:{settings}", known, "augmentation"))
    crops = kind.startswith("crop")
    if settings is not None and (not crops or int(settings) < 1):
        raise RedistillError(f"augmentation {name!r}: only a crop has a padding, of at least 1 pixel, for example 'crop-flip:8'")
    return kind, int(settings or 4) if crops else 0


def _area(name: str, settings: str | None) -> float:
    (low,) = operations.numbers_of(RESIZED, settings, (AREA[0],), f"{RESIZED}:0.25, the smallest share of an image that is kept")
    if not 0 < low <= 1:
        raise RedistillError(f"augmentation {name!r}: the smallest share of an image that is kept must lie above 0 and at most at 1")
    return low


def _further(name: str, words: list[tuple[str, str | None]]) -> tuple[Operation, ...]:
    """What is done to each image, in order; refuses what is unknown, stands twice, or behind the mixing of the batch."""
    made: list[Operation] = []
    mixed = ""
    for number, (word, settings) in enumerate(words):
        if word not in (*operations.NAMES, *mixing.NAMES):
            if word in (*_KINDS, RESIZED, SUFFIX[1:]):
                where = "at the end" if word == SUFFIX[1:] else "first"
                raise RedistillError(f"augmentation {name!r}: {word} stands {where}, crop+operations+mixing, and only once")
            raise RedistillError(nearest(word, (*operations.NAMES, *mixing.NAMES), "part of an augmentation"))
        if word in (other for other, _ in words[:number]):
            raise RedistillError(f"augmentation {name!r}: {word} stands twice")
        if word in mixing.NAMES:
            mixed = word
        elif mixed:
            raise RedistillError(f"augmentation {name!r}: {word} is done to one image and {mixed} to a batch of them: write {word} before")
        else:
            made.append(operations.operation(word, settings))
    return tuple(made)


class Augmenter:
    """An augmentation applied to the images of one tensor: ``augmenter(index, variant) -> uint8 [B, C, H, W]``.

    One gather makes crop, padding and flip: the source position of every output pixel is the sum of an entry of a table of
    rows [2p+1, H] and one of a table of columns [2(2p+1), W]; positions outside the image all point at one extra black pixel.
    No loop over images, no branch on data, so that it can stand in a CUDA graph.
    """

    def __init__(self, augment: Augmentation, images: Tensor):
        """``images``: uint8 [N, C, H, W], already on the device that is to work."""
        _, _, height, width = images.shape
        if augment.reflect and augment.pad >= min(height, width):
            raise RedistillError(
                f"augmentation {augment.name!r} reflects {augment.pad} pixels, the images have {height}x{width}: "
                f"reflect fewer than {min(height, width)}"
            )
        self.images = images
        self.augment = augment
        outside = height * width
        rows = _windows(height, augment) * width
        columns = _windows(width, augment)
        if augment.flip:
            columns = torch.stack([columns, columns.flip(1)], 1).reshape(-1, width)
        # one coordinate outside already makes the sum reach ``outside``; clamped, it points at the black pixel
        self.rows = torch.where(rows < 0, outside, rows).to(images.device)
        self.columns = torch.where(columns < 0, outside, columns).to(images.device)
        self.outside = outside

    def __call__(self, index: Tensor, variant: Tensor) -> Tensor:
        """``index``, ``variant``: [B] int64 on the device of the images."""
        return self.applied(self.images.index_select(0, index), variant)

    def applied(self, batch: Tensor, variant: Tensor) -> Tensor:
        """The variants [B] of a batch of images [B, C, H, W] of the same size, wherever those come from."""
        if self.augment.variants == 1:
            return batch
        count, channels, height, width = batch.shape
        across = len(self.columns)  # all (dx, flip) of one dy
        rows = self.rows.index_select(0, torch.div(variant, across, rounding_mode="floor"))
        columns = self.columns.index_select(0, variant % across)
        source = rows.unsqueeze(2) + columns.unsqueeze(1)
        flat = batch.view(count, channels, height * width)
        if self.augment.pad and not self.augment.reflect:
            source.clamp_(max=self.outside)
            flat = F.pad(flat, (0, 1))
        source = source.view(count, 1, height * width).expand(count, channels, height * width)
        return flat.gather(2, source).view(batch.shape)


def _windows(size: int, augment: Augmentation) -> Tensor:
    """[2p+1, size]: which row of the image each row of the window is, for every offset; -1 outside the image."""
    padded = torch.arange(-augment.pad, size + augment.pad)
    if augment.reflect:
        padded = (size - 1) - ((size - 1) - padded.abs()).abs()
    else:
        padded[(padded < 0) | (padded >= size)] = -1
    return padded.unfold(0, size, 1)
