"""Images in memory: one uint8 tensor, labels, and where they come from. The central value of the data room."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, RedistillError, Shape, StreamContext
from redistill.data.augment import Augmentation, Augmenter, augmentation
from redistill.data.dataset import DataSet, PureStream, Rule, Schedule, require_consistent
from redistill.data.normalise import Normalisation, normalisation
from redistill.data.subsets import whole

NUMERICS = 1


@dataclass(frozen=True, eq=False)
class Images(DataSet):
    """A set of images of one size, held as bytes; itself a source of batches.

    Attributes:
        x: uint8 [N, C, H, W].
        y: int64 [N] labels, or None.
        classes: number of classes; None only where there are no labels and nothing says it.
        name: where the images come from, "cifar10:train".
        normalise: name of the normalisation set of the stream (a :class:`Normalisation` of one's own is kept by its full name).
        augment: name of the augmentation of the stream (evaluation never augments).
        index: int64 [N], position of each image in the full official part; default 0..N-1.
        rule: the rules that led from that part to this set, for example ``(("per_class", {"M": 200, "seed": 0}),)``.
        class_names: one name a class, or None.
        peak: the pixel that counts as 1, whatever set normalises the images later; default: that of ``normalise`` now.
    """

    x: Tensor
    y: Tensor | None
    classes: int | None
    name: str
    normalise: str
    augment: str = "none"
    index: Tensor = field(default_factory=lambda: torch.arange(0))  # empty stands for 0..N-1
    rule: tuple[Rule, ...] = ()
    class_names: tuple[str, ...] | None = None
    peak: int | None = None

    def __post_init__(self) -> None:
        given: tuple[tuple[str, Any], ...] = (("images", self.x), ("labels", self.y))
        for what, value in given:
            if value is not None and not isinstance(value, Tensor):
                kind = f"a {type(value).__module__}.{type(value).__name__}".replace("builtins.", "")
                raise RedistillError(f"{self.name}: {what} must be a tensor, got {kind}: torch.as_tensor(...) makes one")
        if self.x.dtype != torch.uint8 or self.x.dim() != 4:
            raise RedistillError(
                f"{self.name}: images must be uint8 [N, C, H, W], got {self.x.dtype} {list(self.x.shape)}: "
                f"give the pixels as bytes, unnormalised"
            )
        object.__setattr__(self, "normalise", str(self.normalise))
        if not len(self.index):
            object.__setattr__(self, "index", torch.arange(len(self.x)))
        require_consistent(self.name, len(self.x), self.y, self.classes, self.class_names)
        if self.index.dtype != torch.int64 or self.index.shape != (len(self.x),):
            raise RedistillError(f"{self.name}: index must be int64 [{len(self.x)}], one position an image")
        normalisation(self.normalise).require_channels(self.x.shape[1])
        if self.peak is None:
            object.__setattr__(self, "peak", normalisation(self.normalise).peak)
        if not 1 <= whole("peak", self.peak or 0, 1) <= 255:
            raise RedistillError(f"{self.name}: peak={self.peak}, the pixel that counts as 1, must lie between 1 and 255")
        Augmenter(augmentation(self.augment), self.x)  # refuses what does not fit these images

    def __repr__(self) -> str:
        size = "x".join(map(str, self.image_shape))
        history = "".join(f".{rule}({', '.join(f'{k}={v!r}' for k, v in s.items())})" for rule, s in self.rule)
        return f"<{self.name}{history}: {len(self)} images {size}, {self.normalise}, augment {self.augment}>"

    @property
    def image_shape(self) -> Shape:
        return tuple(self.x.shape[1:])

    @cached_property
    def sha256(self) -> str:
        return self._hash()

    def _particulars(self) -> dict[str, Any]:
        return {}

    def _digest(self, digest: Any) -> None:
        digest.update(self.x.cpu().contiguous().numpy().data)

    def subset(self, positions: Tensor, rule: Rule) -> Self:
        y = None if self.y is None else self.y[positions]
        return dataclasses.replace(self, x=self.x[positions], y=y, index=self.index[positions], rule=(*self.rule, rule))

    def with_(self, *, augment: str | None = None, normalise: str | Normalisation | None = None) -> Self:
        return dataclasses.replace(self, augment=augment or self.augment, normalise=str(normalise or self.normalise))

    def unlabelled(self) -> Self:
        return dataclasses.replace(self, y=None, rule=(*self.rule, ("unlabelled", {})))

    def normalised(self, positions: Tensor | slice | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """[n, C, H, W] without augmentation; all images where no positions are given."""
        chosen = self.x if positions is None else self.x[positions]
        return normalisation(self.normalise).on(self.x.device, dtype, self.peak)(chosen)

    def batches(
        self,
        batch_size: int = 500,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> Iterator[Batch]:
        whole("batch_size", batch_size, 1)
        normalise = normalisation(self.normalise).on(device, dtype, self.peak)
        for first in range(0, len(self), batch_size):
            here = slice(first, first + batch_size)
            index = torch.arange(first, min(first + batch_size, len(self)), device=device)
            labels = None if self.y is None else self.y[here].to(device)
            yield Batch(normalise(self.x[here].to(device), channels_last), labels, index, torch.zeros_like(index))

    def start(self, room: StreamContext) -> ImageStream:
        return ImageStream(self, room)


class ImageStream(PureStream):
    """:class:`Images` at work in one run.

    The pixels go to the device once; order and variants of an epoch are whole-number tensors drawn on the CPU from
    (seed, "order", epoch) and (seed, "variant", epoch) and uploaded once an epoch. ``variant[i]`` belongs to image i of the
    set, whenever in the epoch it comes. Where a batch shares its offset, that is drawn from (seed, "offset", epoch).
    """

    def __init__(self, images: Images, room: StreamContext):
        self.seed = room.seed
        self.device = room.device
        self.channels_last = room.channels_last
        self.labels = None if images.y is None else images.y.to(room.device)
        self.augment = Augmenter(augmentation(images.augment), images.x.contiguous().to(room.device))
        self.normalise = normalisation(images.normalise).on(room.device, room.dtype, images.peak)
        self.schedule = Schedule(len(images), room, room.device)
        self._variants: tuple[int, Tensor] | None = None
        self._offsets: tuple[int, list[int]] | None = None

    def read(self, step: int) -> Batch:
        epoch, index = self.schedule.positions(step)
        variant = self._variant(epoch).index_select(0, index)
        if self.augment.augment.batch:
            variant = self.augment.augment.at_offset(variant, self._offset(epoch, step % self.schedule.steps))
        images = self.normalise(self.augment(index, variant), self.channels_last)
        labels = None if self.labels is None else self.labels.index_select(0, index)
        return Batch(images, labels, index, variant)

    def _variant(self, epoch: int) -> Tensor:
        if self._variants is None or self._variants[0] != epoch:
            drawn = variants_of(self.augment.augment, self.schedule.count, self.seed, epoch)
            self._variants = epoch, drawn.to(self.device)
        return self._variants[1]

    def _offset(self, epoch: int, within: int) -> int:
        if self._offsets is None or self._offsets[0] != epoch:
            self._offsets = epoch, offsets_of(self.augment.augment, self.schedule.steps, self.seed, epoch)
        return self._offsets[1][within]


def variants_of(augment: Augmentation, count: int, seed: int, epoch: int) -> Tensor:
    """int64 [count], on the CPU: the variant of every image of a set in one epoch, drawn from (seed, "variant", epoch)."""
    return torch.randint(0, augment.variants, (count,), generator=rng.stream(seed, "variant", epoch))


def offsets_of(augment: Augmentation, steps: int, seed: int, epoch: int) -> list[int]:
    """The offset that each batch of an epoch shares, where it shares one, drawn from (seed, "offset", epoch)."""
    return torch.randint(0, augment.offsets, (steps,), generator=rng.stream(seed, "offset", epoch)).tolist()
