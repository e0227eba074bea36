"""Images on disk: a folder with one folder a class, or of images without labels.

What fits in memory becomes :class:`Images`; what does not is a :class:`Folder`, read by threads ahead of the steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, RedistillError, Room, Shape, nearest
from redistill.data import decode
from redistill.data.dataset import DataSet, PureStream, Rule, Schedule, require_consistent
from redistill.data.images import Images
from redistill.data.normalise import Normalisation, normalisation
from redistill.data.subsets import whole
from redistill.paths import expanded

NUMERICS = 1
MEMORY = 2 * 2**30  # bytes of decoded pixels up to which a folder is held in memory
PREFETCH = 3  # batches that are decoded ahead
AUGMENTATIONS = ("none", "resized-crop")
OnCorrupt = Literal["refuse", "skip"]


@dataclass(frozen=True, eq=False)
class Folder(DataSet):
    """Image files that are decoded when they are needed; itself a source of batches.

    Attributes:
        root: the folder. files: relative paths, in order. y, classes, name, normalise, index, rule, class_names: as in
            :class:`Images`.
        augment: "resized-crop" (random resized crop and flip, Inception's) or "none".
        size: images become size x size. resize: for evaluation the shorter side is first brought to this length (default:
            8/7 of ``size``, the 256 for 224 of ImageNet) and the middle cut out.
        workers: threads that decode; default one a core, at most 16. It moves no number.
        corrupt: files that were left out because they cannot be read.
    """

    root: Path
    files: tuple[str, ...]
    y: Tensor | None
    classes: int | None
    name: str
    normalise: str = "imagenet"
    augment: str = "resized-crop"
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
        if self.augment not in AUGMENTATIONS:
            raise RedistillError(nearest(self.augment, AUGMENTATIONS, "augmentation of a folder read from disk"))
        if self.shorter_side < whole("size", self.size, 1):
            raise RedistillError(f"{self.name}: resize={self.resize} is smaller than size={self.size}")

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} files, {self.size}x{self.size}, {self.normalise}, augment {self.augment}>"

    @property
    def shorter_side(self) -> int:
        return round(self.size * 8 / 7) if self.resize is None else self.resize

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
            digest.update(f"{file}\0{(self.root / file).stat().st_size}\0".encode())

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
        return decode.read(self.root / self.files[position], self.size, self.shorter_side, variant)

    def in_memory(self) -> Images:
        """Everything decoded once: the shorter side brought to ``size`` and the middle kept.

        A random resized crop becomes crop and flip with an eighth of the side as padding, as 4 is for CIFAR's 32.
        """
        x = decode.read_all(self.root, self.files, self.size, self.size, decode.workers_or_all(self.workers))
        augment = "none" if self.augment == "none" else f"crop-flip:{max(1, self.size // 8)}"
        rule = (*self.rule, ("without_corrupt", {"files": list(self.corrupt)})) if self.corrupt else self.rule
        return Images(x, self.y, self.classes, self.name, self.normalise, augment, self.index, rule, self.class_names)

    def batches(
        self,
        batch_size: int = 500,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> Iterator[Batch]:
        whole("batch_size", batch_size, 1)
        normalise = normalisation(self.normalise).on(device, dtype)
        images = decode.in_threads(partial(self.pixels, variant=None), range(len(self)), decode.workers_or_all(self.workers))
        for first in range(0, len(self), batch_size):
            index = torch.arange(first, min(first + batch_size, len(self)), device=device)
            stacked = torch.stack([next(images) for _ in range(len(index))]).to(device)
            labels = None if self.y is None else self.y[first : first + batch_size].to(device)
            yield Batch(normalise(stacked, channels_last), labels, index, torch.zeros_like(index))

    def start(self, room: Room) -> FolderStream:
        return FolderStream(self, room)


class FolderStream(PureStream):
    """:class:`Folder` at work in one run, decoded ahead by threads.

    The order is drawn as for :class:`Images`; the variant of image i in an epoch is the number derived from
    (seed, "variant", epoch, i), and fixes its crop.
    """

    def __init__(self, folder: Folder, room: Room):
        self.folder = folder
        self.room = room
        self.schedule = Schedule(len(folder), room, "cpu")
        self.normalise = normalisation(folder.normalise).on(room.device, room.dtype)
        self.augmented = folder.augment != "none"
        self._pool = ThreadPoolExecutor(decode.workers_or_all(folder.workers), thread_name_prefix="decode")
        self._ahead: dict[int, tuple[Tensor, Tensor, list[Future[Tensor]]]] = {}

    def read(self, step: int) -> Batch:
        wanted = range(step, min(step + 1 + PREFETCH, max(self.room.steps, step + 1)))
        for old in [s for s in self._ahead if s not in wanted]:
            for future in self._ahead.pop(old)[2]:
                future.cancel()
        for soon in wanted:
            if soon not in self._ahead:
                index, variants = self._chosen(soon)
                pairs = zip(index.tolist(), variants.tolist() if self.augmented else [None] * len(index), strict=True)
                self._ahead[soon] = index, variants, [self._pool.submit(self.folder.pixels, i, v) for i, v in pairs]
        index, variants, futures = self._ahead.pop(step)
        pixels = torch.stack([future.result() for future in futures])
        device = self.room.device
        labels = None if self.folder.y is None else self.folder.y[index].to(device)
        images = self.normalise(pixels.to(device), self.room.channels_last)
        return Batch(images, labels, index.to(device), variants.to(device))

    def _chosen(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, index = self.schedule.positions(step)
        if not self.augmented:
            return index, torch.zeros_like(index)
        return index, torch.tensor([rng.generator_seed(self.room.seed, "variant", i, epoch) for i in index.tolist()])


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
) -> Images | Folder:
    """Read a folder of class folders (ImageNet's layout), or with ``labelled=False`` all images below a folder.

    Args:
        path: the folder. Its class folders lie in ``train/`` and ``val/``, or directly in it.
        part: "train" or "val". Where there are no such folders, "val" is a tenth of the images, ``held_out(0.1, seed=0)``,
            and "train" the rest. None: ``train/`` where there is one, else everything.
        size: side of the square that images become; default: their own where all are squares of one size, else 224.
        on_corrupt: "refuse" names files that are no images; "skip" decodes every file once, leaves out those that
            fail and lists them (in ``Folder.corrupt``, or as a rule of ``Images``).
        memory: bytes of decoded pixels up to which the images are held in memory; beyond, they are read when needed.
        workers: threads that decode; default one a core, at most 16.
    """
    root = expanded(path)
    if not root.is_dir():
        raise RedistillError(f"there is no folder {root}: give a folder with one folder of images a class")
    if part not in (None, "train", "val"):
        raise RedistillError(f"part of a folder must be 'train' or 'val', got {part!r}")
    if on_corrupt not in ("refuse", "skip"):
        raise RedistillError(f"on_corrupt must be 'refuse' or 'skip', got {on_corrupt!r}")
    divided = labelled and (root / "train").is_dir()
    if divided and part == "val" and not (root / "val").is_dir():
        raise RedistillError(f"{root} has a folder train/ but none called val/: add it, or hold images out of train")
    below = root / (part or "train") if divided else root
    class_names = _classes(root, below, divided) if labelled else None
    files, labels = _listed(below, class_names)
    threads = decode.workers_or_all(workers)
    sizes = list(decode.in_threads(partial(_look, below, fully=on_corrupt == "skip"), files, threads))
    corrupt = tuple(file for file, found in zip(files, sizes, strict=True) if found is None)
    if corrupt and on_corrupt == "refuse":
        shown = ", ".join(corrupt[:5]) + (f" and {len(corrupt) - 5} more" if len(corrupt) > 5 else "")
        raise RedistillError(f"{below}: {len(corrupt)} files are no images ({shown}): remove them, or give on_corrupt='skip'")
    good = [i for i, found in enumerate(sizes) if found is not None]
    kinds = {found for found in sizes if found is not None}
    own = next(iter(kinds))[0] if len(kinds) == 1 and all(w == h for w, h in kinds) else 224
    found = Folder(
        below,
        tuple(files[i] for i in good),
        None if labels is None else torch.tensor([labels[i] for i in good], dtype=torch.int64),
        None if class_names is None else len(class_names),
        f"{'folder' if labelled else 'images'}:{path}" + (f":{part or 'train'}" if divided else ""),
        augment="none" if part == "val" else "resized-crop",
        size=own if size is None else size,
        class_names=class_names,
        workers=workers,
        corrupt=corrupt,
    )
    every = found.in_memory() if len(found) * math.prod(found.image_shape) <= memory else found
    if divided or part is None:
        return every
    rest, held = every.held_out(0.1, seed=0)
    return rest if part == "train" else held


def _classes(root: Path, below: Path, divided: bool) -> tuple[str, ...]:
    names = _folders(below)
    if not names:
        raise RedistillError(f"{below} holds no class folders: give every class a folder, or read it as 'images:{below}'")
    if divided and below.name == "val" and names != (known := _folders(root / "train")):
        odd = sorted(set(names) ^ set(known))
        raise RedistillError(
            f"{root}: train/ has {len(known)} classes, val/ has {len(names)}; only one of them has {', '.join(odd[:5])}: "
            f"both must have the same class folders"
        )
    return names


def _folders(path: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")))


def _listed(below: Path, class_names: tuple[str, ...] | None) -> tuple[list[str], list[int] | None]:
    if class_names is None:
        files: list[str] = decode.image_files(below)
        labels = None
    else:
        each = [[f"{name}/{file}" for file in decode.image_files(below / name)] for name in class_names]
        files = [file for group in each for file in group]
        labels = [label for label, group in enumerate(each) for _ in group]
    if not files:
        raise RedistillError(f"{below} holds no images ({', '.join(decode.SUFFIXES)})")
    return files, labels


def _look(below: Path, file: str, fully: bool) -> tuple[int, int] | None:
    """Size of an image, or None where it cannot be read (``fully``: to its end)."""
    try:
        return decode.decoded(below / file).size if fully else decode.size_of(below / file)
    except decode.UNREADABLE:
        return None
