"""Images on disk: a folder with one folder a class, or of images without labels.

What fits in memory becomes :class:`Images`; what does not is a :class:`Folder`, read by threads ahead of the steps. Both
give the same pixels, the same crops and the same batches.
"""

from __future__ import annotations

import dataclasses
import math
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, RedistillError, Shape, StreamContext
from redistill.data import decode
from redistill.data.ahead import Ahead
from redistill.data.augment import Augmenter, augmentation
from redistill.data.dataset import DataSet, PureStream, Rule, Schedule, require_consistent
from redistill.data.images import Images, mixed, offsets_of, operated, variants_of
from redistill.data.normalise import Normalisation, normalisation
from redistill.data.subsets import whole
from redistill.paths import expanded

NUMERICS = 1
MEMORY = 2 * 2**30  # bytes of decoded pixels up to which a folder is held in memory
WHITE = 255  # of every decoded picture, whatever set normalises it
OnCorrupt = Literal["refuse", "skip"]


@dataclass(frozen=True, eq=False)
class Folder(DataSet):
    """Image files that are decoded when they are needed; itself a source of batches.

    Attributes:
        root: the folder. files: relative paths, in order. y, classes, name, normalise, index, rule, class_names: as in
            :class:`Images`.
        augment: as of images in memory; "resized-crop" (random resized crop and flip, Inception's) is of the original pictures.
        size: images become size x size. resize: the shorter side is first brought to this length (default: ``size``; the
            usual evaluation of ImageNet is 256 for 224) and the middle cut out, except for "resized-crop".
        workers: threads that decode; default one a core, at most 16. It moves no number.
        corrupt: files that were left out because they cannot be read.
    """

    root: Path
    files: tuple[str, ...]
    y: Tensor | None
    classes: int | None
    name: str
    normalise: str = "imagenet"
    augment: str = "none"
    size: int = 224
    resize: int | None = None
    index: Tensor = field(default_factory=lambda: torch.arange(0))  # empty stands for 0..N-1
    rule: tuple[Rule, ...] = ()
    class_names: tuple[str, ...] | None = None
    workers: int | None = None
    corrupt: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "normalise", str(self.normalise))
        if not len(self.index):
            object.__setattr__(self, "index", torch.arange(len(self.files)))
        require_consistent(self.name, len(self.files), self.y, self.classes, self.class_names)
        normalisation(self.normalise).require_channels(3)
        if augmentation(self.augment).strong:
            raise RedistillError(f"{self.name}: strong views are made of images in memory: use .in_memory(), or another augmentation")
        Augmenter(augmentation(self.augment), torch.empty(0, 3, self.size, self.size))  # refuses what does not fit these images
        if self.shorter_side < whole("size", self.size, 1):
            raise RedistillError(f"{self.name}: resize={self.resize} is smaller than size={self.size}")

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} files, {self.size}x{self.size}, {self.normalise}, augment {self.augment}>"

    @property
    def shorter_side(self) -> int:
        return self.size if self.resize is None else self.resize

    @property
    def image_shape(self) -> Shape:
        return (3, self.size, self.size)

    def _particulars(self) -> dict[str, Any]:
        return {"size": self.size, "resize": self.shorter_side, "corrupt": len(self.corrupt)}

    @cached_property
    def sha256(self) -> str:
        """Over positions, labels, and the name and size in bytes of every file (not its content, which may be terabytes)."""
        return self._hash()

    def _digest(self, digest: Any) -> None:
        for file in self.files:
            digest.update(os.fsencode(f"{file}\0{(self.root / file).stat().st_size}\0"))

    def subset(self, positions: Tensor, rule: Rule) -> Self:
        y = None if self.y is None else self.y[positions]
        files = tuple(self.files[i] for i in positions.tolist())
        return dataclasses.replace(self, files=files, y=y, index=self.index[positions], rule=(*self.rule, rule))

    def with_(self, *, augment: str | None = None, normalise: str | Normalisation | None = None) -> Self:
        return dataclasses.replace(self, augment=augment or self.augment, normalise=str(normalise or self.normalise))

    def unlabelled(self) -> Self:
        return dataclasses.replace(self, y=None, rule=(*self.rule, ("unlabelled", {})))

    def pixels(self, position: int, variant: int | None) -> Tensor:
        """uint8 [3, size, size] of one image; ``variant`` None: as for evaluation."""
        least = augmentation(self.augment).area or decode.AREA[0]
        return decode.read(self.root / self.files[position], self.size, self.shorter_side, variant, least)

    def in_memory(self) -> Images:
        """Everything decoded once, as evaluation sees it."""
        x = decode.read_all(self.root, self.files, self.size, self.shorter_side, decode.workers_or_all(self.workers))
        left_out = [decode.shown(file) for file in self.corrupt]
        rule = (*self.rule, ("without_corrupt", {"files": left_out})) if self.corrupt else self.rule
        return Images(x, self.y, self.classes, self.name, self.normalise, self.augment, self.index, rule, self.class_names, WHITE)

    def batches(
        self,
        batch_size: int = 500,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> Iterator[Batch]:
        whole("batch_size", batch_size, 1)
        normalise = normalisation(self.normalise).on(device, dtype, WHITE)
        images = decode.in_threads(partial(self.pixels, variant=None), range(len(self)), decode.workers_or_all(self.workers))
        for first in range(0, len(self), batch_size):
            index = torch.arange(first, min(first + batch_size, len(self)), device=device)
            stacked = torch.stack([next(images) for _ in range(len(index))]).to(device)
            labels = None if self.y is None else self.y[first : first + batch_size].to(device)
            yield Batch(normalise(stacked, channels_last), labels, index, torch.zeros_like(index))

    def start(self, room: StreamContext) -> FolderStream:
        return FolderStream(self, room)


class FolderStream(PureStream):
    """:class:`Folder` at work in one run, decoded ahead by threads.

    Order, variants, shared offsets, operations and mixing are drawn as for :class:`Images`. Under "resized-crop" the variant of image i
    in an epoch is the number derived from (seed, "variant", i, epoch), and fixes its crop.
    """

    def __init__(self, folder: Folder, room: StreamContext):
        self.folder = folder
        self.room = room
        self.schedule = Schedule(len(folder), room, "cpu")
        self.normalise = normalisation(folder.normalise).on(room.device, room.dtype, WHITE)
        found = augmentation(folder.augment)
        self.resized, self.partly = found.area is not None, folder.partly_labelled
        # what is done to a picture comes after its crop, so that a crop stands with the picture; else all of a batch are cropped at once
        self.singly = bool(found.operations) and not self.resized
        empty = torch.empty(0, *folder.image_shape, dtype=torch.uint8)
        self.augment = Augmenter(found, empty if self.singly else empty.to(room.device))
        self._drawn: tuple[int, Tensor] | None = None
        self._offsets: tuple[int, list[int]] | None = None
        self._ahead = Ahead(decode.workers_or_all(folder.workers), room.steps, self._wanted)

    def read(self, step: int) -> Batch:
        (index, variants), pixels = self._ahead.batch(step)
        device = self.room.device
        pixels, there = pixels.to(device), variants.to(device)
        if not self.singly:
            pixels = self.augment.applied(pixels, there)
        labels = None if self.folder.y is None else self.folder.y[index].to(device)
        images = self.normalise(pixels, self.room.channels_last)
        made = Batch(images, labels, index.to(device), there, positions=index, partly=self.partly)
        return mixed(made, self.augment.augment, self.room.seed, step)

    def _wanted(self, step: int) -> tuple[tuple[Tensor, Tensor], list[Callable[[], Tensor]]]:
        index, variants = self._chosen(step)
        pairs = zip(index.tolist(), variants.tolist(), strict=True)
        return (index, variants), [partial(self._picture, i, variant, step // self.schedule.steps) for i, variant in pairs]

    def _picture(self, position: int, variant: int, epoch: int) -> Tensor:
        """uint8 [3, size, size] of one picture in one epoch, without the crop that a whole batch gets."""
        pixels = self.folder.pixels(position, variant if self.resized else None)
        if self.singly:
            pixels = self.augment.applied(pixels[None], torch.tensor([variant]))[0]
        return operated(pixels, self.augment.augment, self.room.seed, position, epoch)

    def _chosen(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, index, _ = self.schedule.positions(step)
        if self.resized:
            return index, torch.tensor([rng.generator_seed(self.room.seed, "variant", i, epoch) for i in index.tolist()])
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, variants_of(self.augment.augment, len(self.folder), self.room.seed, epoch)
        variant = self._drawn[1][index]
        if self.augment.augment.batch:
            variant = self.augment.augment.at_offset(variant, self._offset(epoch, step % self.schedule.steps))
        return index, variant

    def _offset(self, epoch: int, within: int) -> int:
        if self._offsets is None or self._offsets[0] != epoch:
            self._offsets = epoch, offsets_of(self.augment.augment, self.schedule.steps, self.room.seed, epoch)
        return self._offsets[1][within]


# -- reading a folder -------------------------------------------------------------------------------------------------
def folder(
    path: str | Path,
    part: str | None = None,
    *,
    size: int | None = None,
    labelled: bool = True,
    on_corrupt: OnCorrupt = "refuse",
    memory: int = MEMORY,
    workers: int | None = None,
    augment: str | None = None,
    resize: int | None = None,
) -> Images | Folder:
    """Read a folder of class folders (ImageNet's layout), or with ``labelled=False`` all images below a folder.

    Args:
        path: the folder. Its class folders lie in ``train/``, ``val/`` and ``test/``, or directly in it.
        part: "train", "val" (``val/``, ``valid/`` or ``validation/``) or "test", where there is such a folder. Where there are
            none, "val" is a tenth of the images, ``held_out(0.1, seed=0)``, and "train" the rest. None: ``train/`` where
            there is one, else everything.
        size: side of the square that images become; default: their own where all are squares of one size, else 224.
        on_corrupt: "refuse" names files that are no images; "skip" decodes every file once, leaves out those that
            fail and lists them (in ``Folder.corrupt``, or as a rule of ``Images``).
        memory: bytes of decoded pixels up to which the images are held in memory; beyond, they are read when needed. It
            moves no pixel.
        workers: threads that decode; default one a core, at most 16.
        augment: default: for training crop and flip with an eighth of the side as padding, as 4 is for CIFAR's 32;
            "resized-crop" is Inception's, of the original pictures, which are then always read from disk.
        resize: length that the shorter side is brought to before the middle is cut out; default ``size``.
    """
    root = expanded(path)
    if not _is_folder(root):
        raise RedistillError(f"there is no folder {decode.shown(root)}: give a folder with one folder of images a class")
    named = next((root / name for name in PARTS.get(part or "train", ()) if _is_folder(root / name)), None)
    if part not in (None, "train", "val") and not (part == "test" and labelled and named):
        raise RedistillError(f"part of a folder must be 'train' or 'val', got {part!r}")
    if on_corrupt not in ("refuse", "skip"):
        raise RedistillError(f"on_corrupt must be 'refuse' or 'skip', got {on_corrupt!r}")
    divided = labelled and _is_folder(root / "train")
    if divided and named is None:
        raise RedistillError(
            f"{root} has a folder train/ but none called val/: add it, or read {root / 'train'} by itself, of which a tenth then stands "
            f"for val"
        )
    below = named if divided and named is not None else root
    class_names = _classes(root, below, divided) if labelled else None
    files, labels = _listed(below, class_names, every=below.name == "train" or not divided)
    threads = decode.workers_or_all(workers)
    with decode.quietly():
        sizes = list(decode.in_threads(partial(_look, below, fully=on_corrupt == "skip"), files, threads))
    corrupt = tuple(file for file, found in zip(files, sizes, strict=True) if isinstance(found, str))
    if corrupt and on_corrupt == "refuse":
        shown = ", ".join(map(decode.shown, corrupt[:5])) + (f" and {len(corrupt) - 5} more" if len(corrupt) > 5 else "")
        why = next(found for found in sizes if isinstance(found, str))
        are = "1 file is no image" if len(corrupt) == 1 else f"{len(corrupt)} files are no images"
        raise RedistillError(f"{below}: {are} ({shown}): remove them, or give on_corrupt='skip'. The first: {why}")
    good = [i for i, found in enumerate(sizes) if not isinstance(found, str)]
    kinds = {found for found in sizes if not isinstance(found, str)}
    own = next(iter(kinds))[0] if len(kinds) == 1 and all(w == h for w, h in kinds) else 224
    side = own if size is None else whole("size", size, 1)
    found = Folder(
        below,
        tuple(files[i] for i in good),
        None if labels is None else torch.tensor([labels[i] for i in good], dtype=torch.int64),
        None if class_names is None else len(class_names),
        f"{'folder' if labelled else 'images'}:{path}" + (f":{part or 'train'}" if divided else ""),
        augment=augment or (f"crop-flip:{max(1, side // 8)}" if part in (None, "train") else "none"),
        size=side,
        resize=resize,
        class_names=class_names,
        workers=workers,
        corrupt=corrupt,
    )
    fits = len(found) * math.prod(found.image_shape) <= memory and augmentation(found.augment).area is None
    every = found.in_memory() if fits else found
    if divided or part is None:
        return every
    rest, held = every.held_out(0.1, seed=0)
    return rest if part == "train" else held


PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Names of the folders that hold a part."""

LIKE_PARTS = ("train", "training", "val", "valid", "validation", "test", "testing", "eval", "evaluation", "dev")
"""Names, in small letters, under which people keep parts; folders of folders that are called so are no classes."""


def in_memory(images: Any) -> Any:
    """Images in memory, decoded now where they lie on disk."""
    return images.in_memory() if isinstance(images, Folder) else images


def beside(images: Any, others: Any) -> Images:
    """``images`` and, after them, ``others`` without their labels (:meth:`Images.beside`), in memory.

    Raises:
        RedistillError: the crops of ``images`` are cut out of files, whose sides are gone in memory.
    """
    if isinstance(images, Folder) and augmentation(images.augment).area is not None:
        raise RedistillError(
            f"{images.name} is augmented by {images.augment}, which cuts out of the files, and images without labels ({others.name}) are "
            f"added to images in memory, of which the sides are cut off: take another augmentation, crop-flip:4, or take them away"
        )
    found: Images = in_memory(images).beside(in_memory(others))
    return found


def _is_folder(path: Path) -> bool:
    """False also for names that no file system takes; a folder that may not be looked into is named."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except PermissionError as error:
        raise RedistillError(f"{decode.shown(path)} cannot be looked at ({error.strerror}): change the rights of its folder") from error
    except (OSError, ValueError):
        return False


def _classes(root: Path, below: Path, divided: bool) -> tuple[str, ...]:
    """Class names in order, those of train/; another part may lack some of them, and may have no others."""
    names = _folders(below)
    if not names:
        raise RedistillError(f"{below} holds no class folders: give every class a folder, or read it as 'images:{below}'")
    if not divided and (part := next((n for n in names if n.lower() in LIKE_PARTS and _folders(below / n)), None)):
        raise RedistillError(
            f"{root} has the folder {part}, which holds folders and would be a class: call the folders of the parts train/ and val/ (or "
            f"test/), in small letters, or give another name to a class that is called {part}"
        )
    if divided and below.name != "train":
        known = _folders(root / "train")
        if odd := sorted(set(names) - set(known)):
            raise RedistillError(
                f"{root}: train/ has {len(known)} classes, {below.name}/ has {len(names)}; only one of them has "
                f"{', '.join(odd[:5])}: both must have the same class folders"
            )
        return known
    return names


def _folders(path: Path) -> tuple[str, ...]:
    """Class folders in the order of their names, letter by letter; links that lead upwards are none."""
    above = decode.places_above(path)
    try:
        inside = [(p.name, p.stat()) for p in path.iterdir() if not decode.passed_over(p.name) and p.is_dir()]
    except OSError as error:
        raise RedistillError(f"the folder {decode.shown(path)} cannot be read ({error.strerror}): change its rights") from error
    names = sorted(name for name, about in inside if (about.st_dev, about.st_ino) not in above)
    if odd := next((name for name in names if decode.shown(name) != name), None):
        raise RedistillError(f"{path}: the class folder {decode.shown(odd)} has a name that is no UTF-8: rename it")
    return tuple(names)


def _listed(below: Path, class_names: tuple[str, ...] | None, every: bool) -> tuple[list[str], list[int] | None]:
    """Files and labels; ``every``: a class folder without an image is refused (it would be a class that nothing teaches)."""
    if class_names is None:
        files: list[str] = decode.image_files(below)
        labels = None
    else:
        there = [name for name in class_names if _is_folder(below / name)]
        found = {name: [f"{name}/{file}" for file in decode.image_files(below / name)] for name in there}
        each = [found.get(name, []) for name in class_names]
        files = [file for group in each for file in group]
        labels = [label for label, group in enumerate(each) for _ in group]
        if files and every and not all(each):
            empty = [name for name, group in zip(class_names, each, strict=True) if not group]
            raise RedistillError(f"{below}: the class folders {', '.join(empty[:5])} hold no image: remove them, or fill them")
    if not files:
        raise RedistillError(f"{below} holds no images ({', '.join(decode.SUFFIXES)})")
    return files, labels


def _look(below: Path, file: str, fully: bool) -> tuple[int, int] | str:
    """Size of an image, or why it cannot be read (``fully``: to its end)."""
    try:
        return decode.decoded(below / file).size if fully else decode.size_of(below / file)
    except decode.UNREADABLE as error:
        return decode.reason(error)
