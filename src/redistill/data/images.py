"""Images in memory: one uint8 tensor, labels, and where they come from. The central value of the data room."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, RedistillError, Shape, StreamContext
from redistill.core.batch import UNLABELLED
from redistill.data import decode
from redistill.data.ahead import Ahead
from redistill.data.augment import Augmentation, Augmenter, augmentation
from redistill.data.dataset import DataSet, PureStream, Rule, Schedule, require_consistent
from redistill.data.normalise import Normalisation, normalisation
from redistill.data.operations import done, picture_of, pixels_of
from redistill.data.strong import strongly
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
        if self.x.shape[-1] in (1, 3, 4) and self.x.shape[1] not in (1, 3, 4):
            raise RedistillError(
                f"{self.name}: images must be [N, C, H, W], got {list(self.x.shape)}, where the channels seem to stand last: "
                f"x.permute(0, 3, 1, 2).contiguous() puts them first"
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
        if not 1 <= (white := whole("peak", self.peak or 0, 1)) <= 255:
            raise RedistillError(f"{self.name}: peak={self.peak}, the pixel that counts as 1, must lie between 1 and 255")
        if white < 255 and (top := int(self.x.max())) > white:
            raise RedistillError(
                f"{self.name}: pixels run to {top}, and {white} counts as 1 (peak, or what normalise={self.normalise!r} has): of bytes 255 "
                f"does, Images(..., peak=255); or take them under another set first, and then .with_(normalise={self.normalise!r})"
            )
        found = augmentation(self.augment)
        if (found.strong or found.pictured) and self.x.shape[1] not in (1, 3):
            what = "strong views are" if found.strong else f"augmentation {self.augment!r} is"
            raise RedistillError(f"{self.name}: {what} of grey or coloured images, not of {self.x.shape[1]} channels")
        if found.area is not None and self.name.partition(":")[0] in ("folder", "images"):
            raise RedistillError(
                f"augmentation {self.augment!r} needs the original pictures: give it to redistill.data.folder(path, "
                f"augment={self.augment!r}), which reads them from disk; of these images the sides are cut off already"
            )
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

    def beside(self, others: Images) -> Self:
        """These images and, after them, ``others`` without their labels, so that terms that need labels act on these alone.

        Raises:
            RedistillError: these have no labels; the others have another shape, or another white.
        """
        if self.y is None or self.classes is None:
            raise RedistillError(f"{self.name} has no labels, so nothing stands beside images without labels: give labelled images first")
        if (self.image_shape, self.peak) != (others.image_shape, others.peak):
            shapes = " and ".join(f"{list(one.image_shape)} with {one.peak} as white" for one in (self, others))
            raise RedistillError(f"{self.name} and {others.name} have images of unlike kind, {shapes}: make them the same (size=)")
        y = torch.cat([self.y, torch.full((len(others),), UNLABELLED)])
        index = torch.cat([self.index, torch.full((len(others),), -1)])
        rule = (*self.rule, ("beside", others.manifest()))
        return dataclasses.replace(self, x=torch.cat([self.x, others.x]), y=y, index=index, rule=rule)

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
        found = augmentation(self.augment)
        if found.bounded:
            return TabledImageStream(self, room)
        # what is drawn image by image, or for a batch as a whole, is drawn on the host
        return (PictureStream if found.pictured else ImageStream)(self, room)


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
        self.partly, self.peak = images.partly_labelled, images.peak or 255
        self.augment = Augmenter(augmentation(images.augment), images.x.contiguous().to(room.device))
        self.normalise = normalisation(images.normalise).on(room.device, room.dtype, images.peak)
        self.schedule = Schedule(len(images), room, room.device)
        self._variants: tuple[int, Tensor] | None = None
        self._offsets: tuple[int, list[int]] | None = None
        self._stronger: tuple[int, Tensor] | None = None  # on the CPU
        self._on_cpu = Augmenter(augmentation(images.augment), images.x.contiguous())

    def read(self, step: int) -> Batch:
        epoch, index, positions = self.schedule.positions(step)
        offset = self._offset(epoch, step % self.schedule.steps) if self.augment.augment.batch else None
        again = self._again(epoch) if self.augment.augment.strong else None
        made = self._made(index, self._variant(epoch), offset, positions, again, epoch)
        return mixed(made, self.augment.augment, self.seed, step)

    def _made(
        self, index: Tensor, variants: Tensor, offset: int | Tensor | None, positions: Tensor | None,
        again: Tensor | None = None, epoch: int = 0,
    ) -> Batch:  # fmt: skip
        """The batch of the images at ``index`` [B]; ``variants``, ``again`` [N] of all, the second of their strong views."""
        variant = variants.index_select(0, index)
        if offset is not None:
            variant = self.augment.augment.at_offset(variant, offset)
        pixels = self.augment(index, variant)
        if again is not None:
            assert positions is not None  # strong views are made of pictures, on the host, of the host's pixels: nobody waits for a device
            stronger = again.index_select(0, positions)
            made = strongly(self._on_cpu(positions, stronger), positions, self.seed, epoch, self.peak)
            pixels = torch.cat([pixels, made.to(self.device)])
            index, variant = index.repeat(2), torch.cat([variant, stronger.to(self.device)])
            positions = positions.repeat(2)
        images = self.normalise(pixels, self.channels_last)
        labels = None if self.labels is None else self.labels.index_select(0, index)
        return Batch(images, labels, index, variant, positions=positions, partly=self.partly)

    def _again(self, epoch: int) -> Tensor:
        """The variant of every image's strong view in one epoch, drawn from (seed, "strong", epoch)."""
        if self._stronger is None or self._stronger[0] != epoch:
            drawn = rng.stream(self.seed, "strong", epoch)
            variants = torch.randint(0, self.augment.augment.variants, (self.schedule.count,), generator=drawn)
            self._stronger = epoch, variants
        return self._stronger[1]

    def _variant(self, epoch: int) -> Tensor:
        if self._variants is None or self._variants[0] != epoch:
            drawn = variants_of(self.augment.augment, self.schedule.count, self.seed, epoch)
            self._variants = epoch, drawn.to(self.device)
        return self._variants[1]

    def _offset(self, epoch: int, within: int) -> int:
        if self._offsets is None or self._offsets[0] != epoch:
            self._offsets = epoch, offsets_of(self.augment.augment, self.schedule.steps, self.seed, epoch)
        return self._offsets[1][within]


class PictureStream(ImageStream):
    """The same, each image made by itself by threads on the host: cropped, and under the operations of :mod:`redistill.data.operations`,
    whose draws are those of (seed, "operations", image, epoch)."""

    def __init__(self, images: Images, room: StreamContext):
        super().__init__(images, room)
        self._drawn: tuple[int, Tensor] | None = None
        self._ahead = Ahead(decode.workers_or_all(None), room.steps, self._chosen)

    def read(self, step: int) -> Batch:
        (positions, variants), pixels = self._ahead.batch(step)
        index = positions.to(self.device)
        images = self.normalise(pixels.to(self.device), self.channels_last)
        labels = None if self.labels is None else self.labels.index_select(0, index)
        made = Batch(images, labels, index, variants.to(self.device), positions=positions, partly=self.partly)
        return mixed(made, self.augment.augment, self.seed, step)

    def _chosen(self, step: int) -> tuple[tuple[Tensor, Tensor], list[Callable[[], Tensor]]]:
        epoch, _, positions = self.schedule.positions(step)
        if self.augment.augment.area is not None:
            variants = torch.tensor([rng.generator_seed(self.seed, "variant", i, epoch) for i in positions.tolist()])
        else:
            if self._drawn is None or self._drawn[0] != epoch:
                self._drawn = epoch, variants_of(self.augment.augment, self.schedule.count, self.seed, epoch)
            variants = self._drawn[1][positions]
            if self.augment.augment.batch:
                variants = self.augment.augment.at_offset(variants, self._offset(epoch, step % self.schedule.steps))
        pairs = zip(positions.tolist(), variants.tolist(), strict=True)
        return (positions, variants), [partial(self._picture, i, variant, epoch) for i, variant in pairs]

    def _picture(self, position: int, variant: int, epoch: int) -> Tensor:
        """uint8 [C, H, W] of one image in one epoch."""
        augment = self.augment.augment
        if augment.area is not None:
            pixels = self._on_cpu.images[position]
            crop = decode.random_crop(picture_of(pixels, self.peak), (pixels.shape[2], pixels.shape[1]), variant, augment.area)
            pixels = pixels_of(crop, self.peak)
        else:
            pixels = self._on_cpu(torch.tensor([position]), torch.tensor([variant]))[0]
        return operated(pixels, augment, self.seed, position, epoch, self.peak)


class TabledImageStream(ImageStream):
    """The same, told which step it is by a number on the device: what an epoch needs lies there in tables."""

    def __init__(self, images: Images, room: StreamContext):
        super().__init__(images, room)
        self._tables: Tables | None = None

    def rows(self, step: int) -> int:
        return self.schedule.rows(step)

    def upload(self, step: int) -> None:
        epoch = step // self.schedule.steps
        if self._tables is None:
            self._tables = Tables.of(self.schedule)
        if self._tables.epoch != epoch:
            offsets = offsets_of(self.augment.augment, self.schedule.steps, self.seed, epoch)
            self._tables.lay(epoch, self.schedule.order(epoch)[0], self._variant(epoch), offsets)

    def looked_up(self, step: Tensor, rows: int) -> Batch:
        tables = self._tables
        assert tables is not None
        within = step % self.schedule.steps
        index = tables.order.index_select(0, within * self.schedule.size + tables.places[:rows])
        offset = tables.offsets.index_select(0, within) if self.augment.augment.batch else None
        return self._made(index, tables.variants, offset, None)


@dataclass
class Tables:
    """Whole numbers of one epoch that stay where they lie on the device: ``order`` and ``variants`` [N], ``offsets`` [steps];
    ``places``: 0, 1, ... of a batch."""

    order: Tensor
    variants: Tensor
    offsets: Tensor
    places: Tensor
    epoch: int = -1

    @classmethod
    def of(cls, schedule: Schedule) -> Tables:
        """Empty ones."""
        count, device = schedule.count, schedule.device
        order, variants, offsets = (torch.zeros(n, dtype=torch.int64, device=device) for n in (count, count, schedule.steps))
        return cls(order, variants, offsets, torch.arange(schedule.size, device=device))

    def lay(self, epoch: int, order: Tensor, variants: Tensor, offsets: list[int]) -> None:
        """Those of an epoch."""
        self.order.copy_(order)
        self.variants.copy_(variants)
        self.offsets.copy_(torch.tensor(offsets))
        self.epoch = epoch


def variants_of(augment: Augmentation, count: int, seed: int, epoch: int) -> Tensor:
    """int64 [count], on the CPU: the variant of every image of a set in one epoch, drawn from (seed, "variant", epoch)."""
    return torch.randint(0, augment.variants, (count,), generator=rng.stream(seed, "variant", epoch))


def offsets_of(augment: Augmentation, steps: int, seed: int, epoch: int) -> list[int]:
    """The offset that each batch of an epoch shares, where it shares one, drawn from (seed, "offset", epoch)."""
    return torch.randint(0, augment.offsets, (steps,), generator=rng.stream(seed, "offset", epoch)).tolist()


def operated(pixels: Tensor, augment: Augmentation, seed: int, position: int, epoch: int, peak: int = 255) -> Tensor:
    """Bytes [C, H, W] of one image after the operations of an augmentation, drawn from (seed, "operations", image, epoch)."""
    if not augment.operations:
        return pixels
    draw = rng.stream(seed, "operations", position, epoch)
    image = picture_of(pixels, peak)
    for operation in augment.operations:
        image = done(image, operation.drawn(draw, *image.size))
    return pixels_of(image, peak)


def mixed(batch: Batch, augment: Augmentation, seed: int, step: int) -> Batch:
    """The batch of a step, its images mixed with each other where the augmentation says so."""
    if augment.mixing is None:
        return batch
    return augment.mixing.drawn(seed, step, *batch.images.shape[2:]).batch(batch)
