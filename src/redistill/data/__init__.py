"""Data as values: images, subsets of images, and the readers that make them.

>>> train, test = digits()
>>> train.per_class(10, seed=0)
<digits:train.per_class(M=10, seed=0): 100 images 1x8x8, digits, augment none>
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from redistill.core import RedistillError, nearest
from redistill.data import official
from redistill.data.augment import Augmentation, Augmenter, augmentation
from redistill.data.dataset import DataSet
from redistill.data.fetch import default_dir
from redistill.data.folders import Folder, folder
from redistill.data.formats import read_arrays, stated_classes
from redistill.data.hub import huggingface
from redistill.data.images import Images
from redistill.data.normalise import Normalisation, Renormalise, affine_between, normalisation
from redistill.data.official import digits
from redistill.data.tiny import tiny_imagenet_part

__all__ = [
    "Augmentation",
    "Augmenter",
    "DataSet",
    "Folder",
    "Images",
    "Normalisation",
    "Renormalise",
    "affine_between",
    "arrays",
    "augmentation",
    "cifar10",
    "cifar100",
    "default_dir",
    "digits",
    "fashion_mnist",
    "folder",
    "huggingface",
    "load",
    "mnist",
    "names",
    "normalisation",
    "svhn",
    "tiny_imagenet",
]

Where = str | Path | None
Pair = tuple[Images, Images]


def cifar10(data_dir: Where = None, download: bool = False) -> Pair:
    """(train, test): 50,000 and 10,000 images [3, 32, 32] in 10 classes; train is augmented by crop-flip."""
    return official.cifar10_part("train", data_dir, download), official.cifar10_part("test", data_dir, download)


def cifar100(data_dir: Where = None, download: bool = False, *, coarse: bool = False) -> Pair:
    """(train, test): 50,000 and 10,000 images [3, 32, 32] in 100 classes, or 20 coarse ones; train: crop-flip."""
    part = partial(official.cifar100_part, data_dir=data_dir, download=download, coarse=coarse)
    return part("train"), part("test")


def svhn(data_dir: Where = None, download: bool = False) -> Pair:
    """(train, test): 73,257 and 26,032 cropped digits [3, 32, 32]; ``load("svhn:extra")`` has 531,131 more."""
    return official.svhn_part("train", data_dir, download), official.svhn_part("test", data_dir, download)


def mnist(data_dir: Where = None, download: bool = False, *, size: int = 28) -> Pair:
    """(train, test): 60,000 and 10,000 digits [1, 28, 28]; ``size=32`` pads them with black."""
    part = partial(official.mnist_part, data_dir=data_dir, download=download, size=size)
    return part("train"), part("test")


def fashion_mnist(data_dir: Where = None, download: bool = False, *, size: int = 28) -> Pair:
    """(train, test): 60,000 and 10,000 pieces of clothing [1, 28, 28]; ``size=32`` pads them with black."""
    part = partial(official.fashion_mnist_part, data_dir=data_dir, download=download, size=size)
    return part("train"), part("test")


def tiny_imagenet(data_dir: Where = None, download: bool = False) -> Pair:
    """(train, val): 100,000 and 10,000 images [3, 64, 64] in 200 classes; the official test part has no labels."""
    return tiny_imagenet_part("train", data_dir, download), tiny_imagenet_part("val", data_dir, download)


def arrays(path: str | Path, *, classes: int | None = None) -> Images:
    """An ``.npz`` file with ``x`` (uint8 [N, C, H, W] or [N, H, W, C]) and labels ``y`` [N], or without ``y``.

    ``classes``: how many there are; default: what the file says by an entry ``classes``, else the largest label + 1.
    Normalised by ``half``, not augmented.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise RedistillError(f"there is no file {file}: write it with numpy.savez(file, x=images, y=labels)")
    classes = stated_classes(file) if classes is None else classes
    x, y = read_arrays(file, classes)
    if y is not None and classes is None and len(y):
        classes = int(y.max()) + 1
    return Images(torch.from_numpy(x), None if y is None else torch.from_numpy(y), classes, f"arrays:{path}", "half")


_Part = Callable[[str, Where, bool], Images]
_OFFICIAL: dict[str, tuple[_Part, tuple[str, ...]]] = {
    "cifar10": (official.cifar10_part, ("train", "test")),
    "cifar100": (official.cifar100_part, ("train", "test")),
    "cifar100-coarse": (partial(official.cifar100_part, coarse=True), ("train", "test")),
    "svhn": (official.svhn_part, ("train", "extra", "test")),
    "mnist": (official.mnist_part, ("train", "test")),
    "mnist32": (partial(official.mnist_part, size=32), ("train", "test")),
    "fashion-mnist": (official.fashion_mnist_part, ("train", "test")),
    "fashion-mnist32": (partial(official.fashion_mnist_part, size=32), ("train", "test")),
    "tiny-imagenet": (tiny_imagenet_part, ("train", "val")),
    "digits": (lambda part, data_dir, download: digits()[part == "test"], ("train", "test")),
}
OWN = {"arrays": "arrays:FILE.npz", "folder": "folder:PATH", "images": "images:PATH", "hf": "hf:NAME"}


def names() -> tuple[str, ...]:
    """Every name that :func:`load` knows, and the forms of those that name data of your own."""
    return (*(f"{name}:{part}" for name, (_, parts) in _OFFICIAL.items() for part in parts), *OWN.values())


def load(name: str, data_dir: Where = None, *, part: str | None = None, download: bool = False) -> Images | Folder:
    """The images of that name.

    Args:
        name: "cifar10:train" (without a part: train), or data of your own: "arrays:FILE.npz", "folder:PATH" (a folder of
            class folders), "images:PATH" (a folder of images without labels), "hf:NAME" (Hugging Face).
        data_dir: where the official files lie; default $REDISTILL_DATA, else ~/.cache/redistill. FILE and PATH are
            looked for there, then in the current folder.
        part: another way to say the part; also of a folder ("train", "val") and of a Hugging Face data set (its split).
        download: fetch official files that are missing.
    """
    kind, _, rest = name.partition(":")
    if kind in OWN:
        return _load_yours(kind, name, rest, data_dir, part)
    if kind not in _OFFICIAL:
        raise RedistillError(nearest(name, (*_OFFICIAL, *names()), "data"))
    read, parts = _OFFICIAL[kind]
    if part is not None and rest and part != rest:
        raise RedistillError(f"data {name!r} already names a part, and part={part!r} another: give one of them")
    wanted = part or rest or "train"
    if wanted not in parts:
        hint = "; its official test part has no labels" if kind == "tiny-imagenet" else ""
        raise RedistillError(f"{kind} has the parts {', '.join(parts)}, not {wanted!r}{hint}")
    return read(wanted, data_dir, download)


def _load_yours(kind: str, name: str, rest: str, data_dir: Where, part: str | None) -> Images | Folder:
    if not rest:
        raise RedistillError(f"data {name!r} says no place: write {OWN[kind]}")
    if kind in ("folder", "hf") and (written := re.fullmatch(r"(.+):(\w+)", rest)):
        if part is not None and part != written[2]:
            raise RedistillError(f"data {name!r} already names a part, and part={part!r} another: give one of them")
        rest, part = written[1], written[2]
    if kind in ("arrays", "images") and part is not None:
        raise RedistillError(f"data {name!r} has no parts, got part={part!r}: use held_out to divide it")
    if kind == "hf":
        return huggingface(rest, part or "train")
    base = default_dir() if data_dir is None else Path(data_dir).expanduser()
    path = Path(rest).expanduser()
    place = base / path if (base / path).exists() else path
    found = arrays(place) if kind == "arrays" else folder(place, part, labelled=kind == "folder")
    # the name stays as it was written, wherever the files lie on this machine
    return dataclasses.replace(found, name=f"{kind}:{rest}" + (f":{part}" if part else ""))
