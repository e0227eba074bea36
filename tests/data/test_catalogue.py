"""The catalogue against its readers: every row, part by part, on small files of the official layouts made here."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

import redistill.data as data
from redistill.core import RedistillError
from redistill.data import official, tiny
from redistill.data.catalogue import OFFICIAL, count_of, divided, row_of
from redistill.data.fetch import File, Place

RNG = np.random.default_rng(0)


def sum_of(path: Path) -> File:
    return File(path.name, hashlib.md5(path.read_bytes()).hexdigest(), ("http://x/y",))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with two images of every part of every data set."""
    base = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        for name, table, meta in (
            ("cifar-10-batches-py", "CIFAR10", {b"label_names": [b"c%d" % i for i in range(10)]}),
            (
                "cifar-100-python",
                "CIFAR100",
                {b"fine_label_names": [b"f%d" % i for i in range(100)], b"coarse_label_names": [b"c%d" % i for i in range(20)]},
            ),
        ):
            (base / name).mkdir()
            for part in ("train", "test"):
                x = RNG.integers(0, 256, (2, 3072), dtype=np.uint8)
                content = {b"data": x, b"labels": [0, 1], b"fine_labels": [0, 99], b"coarse_labels": [0, 19]}
                (base / name / part).write_bytes(pickle.dumps(content, protocol=3))
                patch.setitem(getattr(official, f"{table}_FILES"), part, (sum_of(base / name / part),))
            (base / name / "meta").write_bytes(pickle.dumps(meta, protocol=3))
            patch.setattr(official, f"{table}_META", sum_of(base / name / "meta"))
        (base / "svhn").mkdir()
        for part in ("train", "extra", "test"):
            path = base / "svhn" / f"{part}_32x32.mat"
            scipy.io.savemat(path, {"X": RNG.integers(0, 256, (32, 32, 3, 2), dtype=np.uint8), "y": np.array([[1], [10]], np.uint8)})
            patch.setitem(official.SVHN_FILES, part, sum_of(path))
        for name, table in (("mnist", "MNIST"), ("fashion-mnist", "FASHION")):
            (base / name).mkdir()
            for part, files in official._IDX.items():
                pixels = bytes(RNG.integers(0, 256, 2 * 784, dtype=np.uint8))
                content = (struct.pack(">3I", 2, 28, 28) + pixels, struct.pack(">I", 2) + b"\0\1")
                for file, kind, inside in zip(files, (3, 1), content, strict=True):
                    (base / name / file).write_bytes(gzip.compress(b"\0\0\x08" + bytes([kind]) + inside))
                patch.setitem(getattr(official, f"{table}_FILES"), part, tuple(sum_of(base / name / file) for file in files))
        root = base / "tiny-imagenet-200"
        wnids = [f"n{i:08d}" for i in range(200)]
        for folder in (*(f"train/{wnid}/images" for wnid in wnids[:2]), "val/images"):
            (root / folder).mkdir(parents=True)
            Image.new("RGB", (64, 64)).save(root / folder / "0.JPEG")
        for wnid in wnids[2:]:
            (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "val" / "images" / "1.JPEG").write_bytes((root / "val" / "images" / "0.JPEG").read_bytes())
        (root / "wnids.txt").write_text("\n".join(wnids))
        (root / "words.txt").write_text("\n".join(f"{wnid}\ta word" for wnid in wnids))
        (root / "val" / "val_annotations.txt").write_text(f"0.JPEG\t{wnids[3]}\t0\n1.JPEG\t{wnids[199]}\t0\n")
        patch.setattr(tiny, "PLACE", Place("tiny-imagenet-200"))
        yield base


@pytest.mark.parametrize("name", [name for name in data.names() if row_of(name) is not None])
def test_a_row_is_what_its_reader_gives(small: Path, name: str) -> None:
    kind, _, part = name.partition(":")
    row = OFFICIAL[kind]
    images = data.load(name, small)
    assert isinstance(images, data.Images) and images.name == name
    assert (images.classes, images.image_shape) == (row.classes, row.shape)
    assert len(images.class_names or ()) == row.classes
    assert (images.normalise, images.augment) == (row.normalise, row.augment if part == "train" else "none")
    assert len(images) == (count_of(name) if kind == "digits" else 2)
    assert row.evaluated_on in row.parts and next(iter(row.parts)) == "train"


def test_the_functions_give_what_the_names_give(small: Path) -> None:
    pairs: dict[str, Any] = {
        "cifar10": data.cifar10(small), "cifar100": data.cifar100(small), "cifar100-coarse": data.cifar100(small, coarse=True),
        "svhn": data.svhn(small), "mnist": data.mnist(small), "mnist32": data.mnist(small, size=32),
        "fashion-mnist": data.fashion_mnist(small), "fashion-mnist32": data.fashion_mnist(small, size=32),
        "tiny-imagenet": data.tiny_imagenet(small), "digits": data.digits(),
    }  # fmt: skip
    assert pairs.keys() == OFFICIAL.keys()
    for name, pair in pairs.items():
        for images, part in zip(pair, ("train", OFFICIAL[name].evaluated_on), strict=True):
            assert images.manifest() == data.load(f"{name}:{part}", small).manifest()
    assert data.mnist(small, size=30)[1].name == "mnist30:test" and data.mnist(small, size=30)[1].image_shape == (1, 30, 30)


def test_the_sizes_are_those_of_the_real_files(shared: Path) -> None:
    """Where the official files are; elsewhere the published number of images a class says it."""
    place = Path(os.environ.get("REDISTILL_DATA", ""))
    for name in ("cifar10", "cifar100", "cifar100-coarse"):
        row = OFFICIAL[name]
        each = {"cifar10": (5_000, 1_000), "cifar100": (500, 100), "cifar100-coarse": (2_500, 500)}[name]
        assert tuple(row.parts.values()) == tuple(n * row.classes for n in each)
        if (place / "cifar-10-batches-py").is_dir() and (place / "cifar-100-python").is_dir():
            assert {part: len(data.load(f"{name}:{part}", place)) for part in row.parts} == row.parts
    assert OFFICIAL["digits"].parts == {"train": len(data.digits()[0]), "test": len(data.digits()[1])}


def test_a_path_may_hold_colons_and_spaces(tmp_path: Path) -> None:
    assert divided("folder:/a b:c/d:val") == ("folder", "/a b:c/d", "val")
    assert divided("arrays:/a:b/c.npz") == ("arrays", "/a:b/c.npz", "")
    assert divided("hf:someone/things:test") == ("hf", "someone/things", "test")
    root = tmp_path / "a b:train"
    (root / "x").mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (8, 8)).save(root / "x" / f"{number}.png")
    assert len(data.load(f"folder:{root}")) == 2 and len(data.load("folder:a b:train", tmp_path)) == 2
    np.savez(tmp_path / "a:b c.npz", x=np.zeros((2, 1, 8, 8), np.uint8), y=np.arange(2))
    assert data.load("arrays:a:b c.npz", tmp_path).classes == 2


def test_a_label_that_cannot_be_a_class_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1, 8, 8), np.uint8), y=np.array([0, 10**9]))
    with pytest.raises(RedistillError, match=r"labels run from 0 to 1000000000, for 2 images"):
        data.arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 1, 8, 8), np.uint8), y=np.array([0, 999]))
    assert data.arrays(tmp_path / "b.npz").classes == 1_000


def test_nobody_knows_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container under a user id without an entry in passwd and without HOME: data of one's own are read all the same."""
    import pwd

    def nobody(number: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "REDISTILL_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RedistillError, match=r"there is no folder for data: HOME is not set .* --data-dir FOLDER .* or REDISTILL_DATA"):
        data.cifar10()
    with pytest.raises(RedistillError, match=r"~/x\.npz: ~ stands for no folder here"):
        data.arrays("~/x.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1, 8, 8), np.uint8), y=np.arange(2))
    assert len(data.load(f"arrays:{tmp_path}/a.npz")) == 2 and len(data.digits()[0]) == 1347
