"""Data as values: images, subsets of images, and the readers that make them.

>>> train, test = digits()
>>> train.per_class(10, seed=0)
<digits:train.per_class(M=10, seed=0): 100 images 1x8x8, digits, augment none>
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from redistill.data.augment import Augmentation, Augmenter, augmentation
from redistill.data.catalogue import OFFICIAL, OWN, Official, Where, arrays, load, names
from redistill.data.dataset import DataSet
from redistill.data.dataset_of import of
from redistill.data.fetch import default_dir
from redistill.data.folders import Folder, folder
from redistill.data.hub import huggingface
from redistill.data.images import Images
from redistill.data.normalise import Normalisation, Renormalise, affine_between, normalisation
from redistill.data.official import read_fashion_mnist, read_mnist

__all__ = [
    "OFFICIAL",
    "OWN",
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
    "of",
    "svhn",
    "tiny_imagenet",
]

Pair = tuple[Images, Images]


def _pair(row: Official, data_dir: Where, download: bool) -> Pair:
    """The training part, and the part that a student is evaluated on."""
    return row.load("train", data_dir, download), row.load(row.evaluated_on, data_dir, download)


def cifar10(data_dir: Where = None, download: bool = False) -> Pair:
    """(train, test): 50,000 and 10,000 images [3, 32, 32] in 10 classes; train is augmented by crop-flip."""
    return _pair(OFFICIAL["cifar10"], data_dir, download)


def cifar100(data_dir: Where = None, download: bool = False, *, coarse: bool = False) -> Pair:
    """(train, test): 50,000 and 10,000 images [3, 32, 32] in 100 classes, or 20 coarse ones; train: crop-flip."""
    return _pair(OFFICIAL["cifar100-coarse" if coarse else "cifar100"], data_dir, download)


def svhn(data_dir: Where = None, download: bool = False) -> Pair:
    """(train, test): 73,257 and 26,032 cropped digits [3, 32, 32]; ``load("svhn:extra")`` has 531,131 more."""
    return _pair(OFFICIAL["svhn"], data_dir, download)


def mnist(data_dir: Where = None, download: bool = False, *, size: int = 28) -> Pair:
    """(train, test): 60,000 and 10,000 digits [1, 28, 28]; ``size=32`` pads them with black."""
    return _pair(_padded("mnist", size), data_dir, download)


def fashion_mnist(data_dir: Where = None, download: bool = False, *, size: int = 28) -> Pair:
    """(train, test): 60,000 and 10,000 pieces of clothing [1, 28, 28]; ``size=32`` pads them with black."""
    return _pair(_padded("fashion-mnist", size), data_dir, download)


def _padded(name: str, size: int) -> Official:
    """The row of a set under another size; a padded set has a name of its own, ``mnist32``, so that a record says which it was."""
    row, read = OFFICIAL[name], {"mnist": read_mnist, "fashion-mnist": read_fashion_mnist}[name]
    return row if size == row.size else replace(row, name=f"{name}{size}", size=size, read=partial(read, size=size))


def tiny_imagenet(data_dir: Where = None, download: bool = False) -> Pair:
    """(train, val): 100,000 and 10,000 images [3, 64, 64] in 200 classes; the official test part has no labels."""
    return _pair(OFFICIAL["tiny-imagenet"], data_dir, download)


def digits() -> Pair:
    """The 1,797 digits that ship with scikit-learn as (train, test): [1347, 1, 8, 8] and [450, 1, 8, 8], 17 grey levels.

    There is no official split. Ours is ``held_out(450, seed=0)`` of all of them: every class in proportion to its size.
    ``index`` counts in scikit-learn's order.
    """
    return _pair(OFFICIAL["digits"], None, False)
