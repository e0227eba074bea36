"""The data sets with official files, one row each, and every name that :func:`load` knows.

A row says what is known of a data set before its files are on this machine: whoever needs a length, a shape, a default or the
part that a student is evaluated on asks it here, and the readers are asked for pixels and labels alone.

>>> OFFICIAL["svhn"].parts["train"], OFFICIAL["svhn"].augment_of("train")
(73257, 'none')
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from redistill.core import RedistillError, Shape, nearest
from redistill.data import official
from redistill.data.fetch import default_dir
from redistill.data.folders import Folder, OnCorrupt, folder
from redistill.data.formats import read_arrays, stated_classes
from redistill.data.hub import huggingface
from redistill.data.images import Images
from redistill.data.official import Part
from redistill.data.tiny import read_tiny_imagenet
from redistill.paths import expanded, is_there

Where = str | Path | None


class Reader(Protocol):
    """Reads one part from ``data_dir``; fetches what is missing where ``download`` says so."""

    def __call__(self, part: str, data_dir: Where = None, download: bool = False) -> Part: ...


@dataclass(frozen=True)
class Official:
    """One data set.

    Attributes:
        parts: images in each part, training part first. classes, channels, size: of every part; images are square.
        normalise: name of its normalisation set. augment: of the training part; no other part is augmented.
        evaluated_on: the part that stands for a test where none is named.
        read: pixels, labels and class names of a part. unlabelled: an official part that is left out, for the message.
    """

    name: str
    parts: Mapping[str, int]
    classes: int
    channels: int
    size: int
    normalise: str
    augment: str
    evaluated_on: str
    read: Reader
    unlabelled: str = ""

    @property
    def shape(self) -> Shape:
        return (self.channels, self.size, self.size)

    def augment_of(self, part: str) -> str:
        return self.augment if part == "train" else "none"

    def load(self, part: str, data_dir: Where = None, download: bool = False) -> Images:
        """The images of a part under this row's defaults; the number of classes is what the files say."""
        if part not in self.parts:
            hint = f"; its official {self.unlabelled} part has no labels" if self.unlabelled else ""
            raise RedistillError(f"{self.name} has the parts {', '.join(self.parts)}, not {part!r}{hint}")
        read = self.read(part, data_dir, download)
        return Images(
            read.x,
            read.y,
            len(read.class_names),
            f"{self.name}:{part}",
            self.normalise,
            self.augment_of(part),
            index=torch.arange(len(read.x)) if read.index is None else read.index,
            class_names=read.class_names,
        )


_CIFAR = {"train": 50_000, "test": 10_000}
_MNIST = {"train": 60_000, "test": 10_000}
_SVHN = {"train": 73_257, "extra": 531_131, "test": 26_032}

OFFICIAL: Mapping[str, Official] = {
    row.name: row
    for row in (
        Official("cifar10", _CIFAR, 10, 3, 32, "cifar10-kuangliu", "crop-flip", "test", official.read_cifar10),
        Official("cifar100", _CIFAR, 100, 3, 32, "cifar100", "crop-flip", "test", official.read_cifar100),
        Official(
            "cifar100-coarse", _CIFAR, 20, 3, 32, "cifar100", "crop-flip", "test", partial(official.read_cifar100, coarse=True)
        ),
        Official("svhn", _SVHN, 10, 3, 32, "svhn-zskt", "none", "test", official.read_svhn),
        Official("mnist", _MNIST, 10, 1, 28, "mnist", "none", "test", official.read_mnist),
        Official("mnist32", _MNIST, 10, 1, 32, "mnist", "none", "test", partial(official.read_mnist, size=32)),
        Official("fashion-mnist", _MNIST, 10, 1, 28, "fashion-mnist", "none", "test", official.read_fashion_mnist),
        Official(
            "fashion-mnist32", _MNIST, 10, 1, 32, "fashion-mnist", "none", "test", partial(official.read_fashion_mnist, size=32)
        ),
        Official(
            "tiny-imagenet", {"train": 100_000, "val": 10_000}, 200, 3, 64, "imagenet",
            "crop-flip:8",  # an eighth of the side, as 4 is for CIFAR: our choice
            "val", read_tiny_imagenet, unlabelled="test",
        ),
        Official(
            "digits", {"train": official.DIGITS_COUNT - official.DIGITS_TEST, "test": official.DIGITS_TEST},
            10, 1, 8, "digits", "none", "test", official.read_digits,
        ),
    )
}  # fmt: skip

OWN: Mapping[str, str] = {"arrays": "arrays:FILE.npz", "folder": "folder:PATH", "images": "images:PATH", "hf": "hf:NAME"}


def names() -> tuple[str, ...]:
    """Every name that :func:`load` knows, and the forms of those that name data of your own."""
    return (*(f"{name}:{part}" for name, row in OFFICIAL.items() for part in row.parts), *OWN.values())


def row_of(name: str) -> Official | None:
    """The row of ``"cifar10"`` or ``"cifar10:train"``; None for data of one's own."""
    return OFFICIAL.get(name.partition(":")[0])


def count_of(name: str) -> int | None:
    """Images in an official part, ``"cifar10:train"``; None for data of one's own."""
    row, part = row_of(name), name.partition(":")[2]
    return None if row is None else row.parts.get(part or "train")


def divided(name: str, base: Path | None = None) -> tuple[str, str, str]:
    """``("folder", "/a b:c/d", "val")`` for ``"folder:/a b:c/d:val"``: kind, place, part ("" where none is named).

    What is there as it is written, below ``base`` or from here, is a place, whatever colons its name holds.
    """
    kind, _, rest = name.partition(":")
    plain, colon, part = rest.rpartition(":")
    if not colon or kind in ("arrays", "images"):
        return kind, rest, ""
    if kind == "folder" and (not re.fullmatch(r"\w+", part) or any(is_there(found) for found in candidates(rest, base))):
        return kind, rest, ""
    return kind, plain, part


def candidates(place: str, base: Path | None) -> list[Path]:
    """Where a path may lie: below ``base``, and from here."""
    path = expanded(place)
    return [path] if base is None else [base / path, path]


def load(
    name: str,
    data_dir: Where = None,
    *,
    part: str | None = None,
    download: bool = False,
    size: int | None = None,
    on_corrupt: OnCorrupt | None = None,
    augment: str | None = None,
) -> Images | Folder:
    """The images of that name.

    Args:
        name: "cifar10:train" (without a part: train), or data of your own: "arrays:FILE.npz", "folder:PATH" (a folder of
            class folders), "images:PATH" (a folder of images without labels), "hf:NAME" (Hugging Face).
        data_dir: where the official files lie; default $REDISTILL_DATA, else ~/.cache/redistill. FILE and PATH are
            looked for there, then in the current folder.
        part: another way to say the part; also of a folder ("train", "val", "test") and of a Hugging Face data set (its split).
        download: fetch official files that are missing.
        size: side of the square that the pictures of "folder:", "images:" and "hf:" become. on_corrupt: "skip" leaves out files of
            the first two that are no images. augment: of these two, instead of their own; other sets have ``.with_(augment=...)``.
    """
    kind, _, rest = name.partition(":")
    if augment is not None and kind not in ("folder", "images"):
        return load(name, data_dir, part=part, download=download, size=size, on_corrupt=on_corrupt).with_(augment=augment)
    if kind in OWN and kind != "arrays":
        return _load_yours(kind, name, data_dir, part, size, on_corrupt, augment)
    if size is not None or on_corrupt is not None:
        raise RedistillError(f"size and on_corrupt are for picture files (folder:, images:); {name} holds pixels already: leave them out")
    if kind in OWN:
        return _load_yours(kind, name, data_dir, part)
    if kind not in OFFICIAL:
        raise RedistillError(nearest(name, (*OFFICIAL, *names()), "data"))
    if part is not None and rest and part != rest:
        raise RedistillError(f"data {name!r} already names a part, and part={part!r} another: give one of them")
    return OFFICIAL[kind].load(part or rest or "train", data_dir, download)


def _load_yours(
    kind: str, name: str, data_dir: Where, part: str | None, size: int | None = None, on_corrupt: OnCorrupt | None = None,
    augment: str | None = None,
) -> Images | Folder:
    base = _base(data_dir)
    kind, rest, named = divided(name, base)
    if not rest:
        raise RedistillError(f"data {name!r} says no place: write {OWN[kind]}")
    if named and part is not None and part != named:
        raise RedistillError(f"data {name!r} already names a part, and part={part!r} another: give one of them")
    part = part or named or None
    if kind in ("arrays", "images") and part is not None:
        raise RedistillError(f"data {name!r} has no parts, got part={part!r}: use held_out to divide it")
    if kind == "hf":
        return huggingface(rest, part or "train", size=size)
    place = next((path for path in candidates(rest, base) if is_there(path)), expanded(rest))
    found: Images | Folder
    if kind == "arrays":
        found = arrays(place)
    else:
        found = folder(place, part, labelled=kind == "folder", size=size, on_corrupt=on_corrupt or "refuse", augment=augment)
    # the name stays as it was written, wherever the files lie on this machine
    return dataclasses.replace(found, name=f"{kind}:{rest}" + (f":{part}" if part else ""))


def _base(data_dir: Where) -> Path | None:
    """The data folder, or None where there is none to look in: data of one's own do not need it."""
    if data_dir is not None:
        return expanded(data_dir)
    try:
        return default_dir()
    except RedistillError:
        return None


def arrays(path: str | Path, *, classes: int | None = None) -> Images:
    """An ``.npz`` file with ``x`` (uint8 [N, C, H, W] or [N, H, W, C]) and labels ``y`` [N], or without ``y``.

    ``classes``: how many there are; default: the number ``classes`` in the file, else the largest label + 1 (a test set may lack
    the last class). Normalised by ``half``, not augmented.
    """
    file = expanded(path)
    if not is_there(file):
        raise RedistillError(f"there is no file {file}: write it with numpy.savez(file, x=images, y=labels)")
    classes = stated_classes(file) if classes is None else classes
    x, y = read_arrays(file, classes)
    if y is not None and classes is None and len(y):
        classes = int(y.max()) + 1
    return Images(torch.from_numpy(x), None if y is None else torch.from_numpy(y), classes, f"arrays:{path}", "half")
