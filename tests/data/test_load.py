"""Data sets by name: the real CIFAR files where they are, small files of the official layouts made here elsewhere."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import redistill.data as data
from redistill.core import RedistillError
from redistill.data import official, tiny
from redistill.data.fetch import File, Place
from redistill.published.few_images import per_class_ferles

RNG = np.random.default_rng(1)


# -- the real files ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official CIFAR files: in $REDISTILL_DATA, else unpacked once from the shared sprites."""
    given = os.environ.get("REDISTILL_DATA")
    if given and (Path(given) / "cifar-10-batches-py").is_dir() and (Path(given) / "cifar-100-python").is_dir():
        return Path(given)
    place = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, str(shared / "data" / "unpack.py"), str(place)], check=True, capture_output=True)
    return place


def test_real_cifar10(real: Path) -> None:
    train, test = data.cifar10(real)
    assert (train.count, test.count, train.classes, train.image_shape) == (50000, 10000, 10, (3, 32, 32))
    assert train.class_counts() == (5000,) * 10 and test.class_counts() == (1000,) * 10
    assert train.class_names == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert (train.name, train.normalise, train.augment, test.augment) == (
        "cifar10:train",
        "cifar10-kuangliu",
        "crop-flip",
        "none",
    )
    assert train.y is not None and train.y[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    # the published statistics: pixel mean .4914 .4822 .4465, pixel std .2470 .2435 .2616
    level = torch.arange(256, dtype=torch.float64) / 255
    for channel, mean, std in ((0, 0.4914, 0.2470), (1, 0.4822, 0.2435), (2, 0.4465, 0.2616)):
        share = torch.bincount(train.x[:, channel].flatten(), minlength=256).double() / (50000 * 1024)
        found = float((share * level).sum())
        assert round(found, 4) == mean and round(float((share * (level - found) ** 2).sum().sqrt()), 4) == std
    # and kuangliu's, the mean over images of the std within an image (here over a fifth of them)
    within = (train.x[:10000].float() / 255).flatten(2).std(2).mean(0)
    assert within.tolist() == pytest.approx([0.2023, 0.1994, 0.2010], abs=1e-3)
    few = train.per_class(200, seed=0)
    assert few.class_counts() == (200,) * 10
    # the published count of the faulty rule: M = 10 gave 9 to 12 images a class in one run of the authors' code
    void = per_class_ferles(train, 10, seed=0)
    assert len(void) == 100 and int(void.index.max()) < 300 and void.class_counts() != (10,) * 10


def test_real_cifar100(real: Path) -> None:
    train, test = data.cifar100(real)
    coarse = data.load("cifar100-coarse:test", real)
    assert train.class_counts() == (500,) * 100 and test.class_counts() == (100,) * 100
    assert coarse.class_counts() == (500,) * 20 and coarse.class_names is not None and coarse.class_names[0] == "aquatic_mammals"
    assert train.class_names is not None and train.class_names[:2] == ("apple", "aquarium_fish")
    assert coarse.manifest()["data"] == "cifar100-coarse:test" and train.normalise == "cifar100"
    # every fine class lies in one coarse class
    pairs = {(int(f), int(c)) for f, c in zip(test.y, coarse.y, strict=True)}  # type: ignore[arg-type]
    assert len(pairs) == 100


def test_svhn_substitute_as_arrays(real: Path) -> None:
    if not (real / "svhn-recrop").is_dir():
        pytest.skip(f"no svhn-recrop in {real}")
    images = data.load("arrays:svhn-recrop/train_head.npz", real)
    assert images.class_counts() == (66, 227, 141, 134, 110, 112, 78, 70, 78, 67)
    assert images.name == "arrays:svhn-recrop/train_head.npz" and images.with_(normalise="svhn-zskt").normalise == "svhn-zskt"


# -- official layouts, small ------------------------------------------------------------------------------------------
def known(monkeypatch: pytest.MonkeyPatch, table: dict[str, Any], part: str, *paths: Path) -> None:
    """Give small files the checksums of official ones."""
    files = tuple(File(p.name, hashlib.md5(p.read_bytes()).hexdigest(), ("http://x/y",)) for p in paths)
    monkeypatch.setitem(table, part, files if isinstance(table[part], tuple) else files[0])


def test_small_cifar10_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    x = RNG.integers(0, 256, (6, 3072), dtype=np.uint8)
    for name, rows in (("data_batch_1", slice(0, 4)), ("data_batch_2", slice(4, 6))):
        content = {b"data": x[rows], b"labels": list(range(6))[rows], b"batch_label": b"", b"filenames": []}
        (folder / name).write_bytes(pickle.dumps(content, protocol=3))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"c%d" % i for i in range(10)]}, protocol=3))
    known(monkeypatch, official.CIFAR10_FILES, "train", folder / "data_batch_1", folder / "data_batch_2")
    monkeypatch.setattr(
        official, "CIFAR10_META", File("batches.meta", hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest())
    )
    images = data.load("cifar10", tmp_path)
    assert isinstance(images, data.Images) and images.y is not None
    assert np.array_equal(images.x.numpy().reshape(6, 3072), x) and images.y.tolist() == [0, 1, 2, 3, 4, 5]
    (folder / "data_batch_2").write_bytes(b"cut")
    with pytest.raises(
        RedistillError, match=r"data_batch_2 is not the official file but truncated or altered: expected MD5 \w{32}, found"
    ):
        data.load("cifar10", tmp_path)


def test_small_svhn_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.integers(0, 256, (32, 32, 3, 12), dtype=np.uint8)
    path = tmp_path / "svhn" / "extra_32x32.mat"
    path.parent.mkdir()
    scipy.io.savemat(path, {"X": x, "y": np.array([[i % 10 + 1] for i in range(12)], np.uint8)})
    known(monkeypatch, official.SVHN_FILES, "extra", path)
    images = data.load("svhn:extra", tmp_path)
    assert images.class_counts() == (1, 2, 2, 1, 1, 1, 1, 1, 1, 1)
    assert (images.normalise, images.augment, images.classes) == ("svhn-zskt", "none", 10)


@pytest.mark.parametrize("place", ["mnist", "MNIST/raw"])
def test_small_mnist_files_padded_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    x = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    folder = tmp_path / place
    folder.mkdir(parents=True)
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    images.write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 3, 28, 28) + x.tobytes()))
    labels.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes([7, 0, 9])))
    known(monkeypatch, official.MNIST_FILES, "train", images, labels)
    plain, padded = data.load("mnist:train", tmp_path), data.load("mnist32:train", tmp_path)
    assert isinstance(plain, data.Images) and isinstance(padded, data.Images) and plain.y is not None
    assert plain.image_shape == (1, 28, 28) and padded.image_shape == (1, 32, 32) and plain.y.tolist() == [7, 0, 9]
    assert torch.equal(padded.x[:, :, 2:30, 2:30], plain.x) and int(padded.x.sum()) == int(plain.x.sum())
    assert (plain.normalise, padded.name) == ("mnist", "mnist32:train")
    with pytest.raises(RedistillError, match="can be padded to an even number more, such as 32, got size=31"):
        data.mnist(tmp_path, size=31)


def test_small_tiny_imagenet_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg(colour: int, mode: str = "RGB") -> bytes:
        path = tmp_path / "p.png"
        Image.new(mode, (64, 64), colour if mode == "L" else (colour, 0, 0)).save(path)
        return path.read_bytes()

    archive = tmp_path / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        root = "tiny-imagenet-200"
        packed.writestr(f"{root}/wnids.txt", "n02\nn01\n")
        packed.writestr(f"{root}/words.txt", "n01\tcat, felis\nn02\tdog\nn03\tother\n")
        packed.writestr(f"{root}/train/n01/images/n01_0.JPEG", jpeg(10))
        packed.writestr(f"{root}/train/n02/images/n02_0.JPEG", jpeg(20))
        packed.writestr(f"{root}/train/n02/images/n02_1.JPEG", jpeg(30, "L"))
        packed.writestr(f"{root}/val/images/val_0.JPEG", jpeg(40))
        packed.writestr(f"{root}/val/val_annotations.txt", "val_0.JPEG\tn01\t0\t0\t62\t62\n")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(tiny, "PLACE", Place("tiny-imagenet-200", File(archive.name, md5, ("http://x/y",))))
    train, val = data.tiny_imagenet(tmp_path)
    assert train.y is not None and train.y.tolist() == [0, 0, 1] and train.class_names == ("dog", "cat, felis")
    assert train.x[:, 0, 0, 0].tolist() == [20, 30, 10] and train.x[1, 2, 5, 5] == 30
    assert val.y is not None and val.y.tolist() == [1] and int(val.x[0, 0, 0, 0]) == 40
    assert (train.augment, val.augment) == ("crop-flip:8", "none")
    with pytest.raises(
        RedistillError, match="tiny-imagenet has the parts train, val, not 'test'; its official test part has no lab"
    ):
        data.load("tiny-imagenet:test", tmp_path)


# -- digits -----------------------------------------------------------------------------------------------------------
def test_digits_are_split_in_proportion_and_always_the_same() -> None:
    train, test = data.digits()
    assert train.x.shape == (1347, 1, 8, 8) and test.x.shape == (450, 1, 8, 8) and int(train.x.max()) == 16
    assert train.class_counts() == (133, 136, 133, 137, 136, 136, 136, 134, 131, 135)
    assert sorted([*train.index.tolist(), *test.index.tolist()]) == list(range(1797))
    assert test.index[:5].tolist() == data.load("digits:test").index[:5].tolist()
    everything = torch.cat([train.x, test.x]).double() / 16
    assert (round(float(everything.mean()), 4), round(float(everything.std(correction=0)), 4)) == (0.3053, 0.3760)
    assert abs(float(torch.cat([train.normalised(), test.normalised()]).mean())) < 1e-3
    assert (train.name, train.rule, train.augment, train.normalise) == ("digits:train", (), "none", "digits")


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(RedistillError, match="digits come with scikit-learn, which is not installed: pip install"):
        data.digits()


# -- Hugging Face, against a stand-in for its library -----------------------------------------------------------------
def stand_in(
    monkeypatch: pytest.MonkeyPatch, pictures: list[Image.Image], version: str = "3.1.0", column: str = "Image", labels: Any = (0, 1)
) -> None:
    feature_types = {"img": type(column, (), {})(), "label": type("ClassLabel", (), {"names": ["no", "yes"]})()}

    class Rows:
        features = feature_types

        def __iter__(self) -> Any:
            return iter([{"img": p, "label": labels[i % 2]} for i, p in enumerate(pictures)])

        def __getitem__(self, name: str) -> list[int]:
            return [labels[i % 2] for i in range(len(pictures))]

    library = types.ModuleType("datasets")
    library.__version__ = version  # type: ignore[attr-defined]
    library.load_dataset = lambda name, split: Rows()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)


def test_a_hugging_face_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, [Image.new("RGB", (8, 8), (i, 2, 3)) for i in range(3)])
    images = data.load("hf:someone/things:test")
    assert isinstance(images, data.Images) and images.y is not None
    assert (images.name, images.image_shape, images.class_names) == ("hf:someone/things:test", (3, 8, 8), ("no", "yes"))
    assert images.y.tolist() == [0, 1, 0] and images.x[:, 0, 0, 0].tolist() == [0, 1, 2]
    for labels, wanted in (((-1, -1), None), ((1, -1), [1, -1, 1])):  # kept secret, or known of some
        stand_in(monkeypatch, [Image.new("RGB", (8, 8))] * 3, labels=labels)
        found = data.load("hf:someone/things:test").y
        assert (None if found is None else found.tolist()) == wanted
    stand_in(monkeypatch, [Image.new("L", (8, 8), 5), Image.new("L", (9, 9))])
    with pytest.raises(RedistillError, match=r"images of 2 sizes, from \(8, 8\) to \(9, 9\): give .*huggingface a size"):
        data.load("hf:someone/things")
    assert data.huggingface("someone/things", size=6).image_shape == (1, 6, 6)


def test_hugging_face_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RedistillError, match="need the library 'datasets', which is not installed: pip install 'redistill"):
        data.load("hf:x/y")
    stand_in(monkeypatch, [], version="2.14.0")
    with pytest.raises(RedistillError, match=r"hf: needs datasets >= 3, got 2.14.0"):
        data.load("hf:x/y")
    stand_in(monkeypatch, [])

    def gone(name: str, split: str) -> None:
        raise ConnectionError("no way to the hub\nand more")

    sys.modules["datasets"].load_dataset = gone  # type: ignore[attr-defined]
    with pytest.raises(RedistillError, match=r"hf:x/y: its split 'test' cannot be had: ConnectionError: no way to the hub$"):
        data.load("hf:x/y:test")
    stand_in(monkeypatch, [], column="Value")
    with pytest.raises(RedistillError, match="has no column of images, only img, label"):
        data.load("hf:x/y")


# -- names ------------------------------------------------------------------------------------------------------------
def test_names_lists_what_load_knows() -> None:
    known_names = data.names()
    assert {"cifar10:train", "cifar100-coarse:test", "svhn:extra", "mnist32:train", "tiny-imagenet:val", "digits:test"} <= set(
        known_names
    )
    assert known_names[-4:] == ("arrays:FILE.npz", "folder:PATH", "images:PATH", "hf:NAME")


def test_arrays_and_their_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3, 8, 8), np.uint8), y=np.array([0, 1, 2, 4]))
    images = data.load("arrays:a.npz", tmp_path)
    assert (images.classes, images.normalise, images.augment) == (5, "half", "none")
    assert data.arrays(tmp_path / "a.npz", classes=7).class_counts() == (1, 1, 1, 0, 1, 0, 0)
    with pytest.raises(RedistillError, match="labels run from 0 to 4, but 3 classes have labels 0 to 2: give classes=5"):
        data.arrays(tmp_path / "a.npz", classes=3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar11:train", "unknown data 'cifar11:train': did you mean cifar10"),
        ("cifar10:val", "cifar10 has the parts train, test, not 'val'"),
        ("arrays:", "data 'arrays:' says no place: write arrays:FILE.npz"),
        ("arrays:none.npz", r"there is no file none.npz: write it with numpy.savez\(file, x=images, y=labels\)"),
        ("folder:nowhere", "there is no folder nowhere"),
    ],
)
def test_names_that_load_does_not_know(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(RedistillError, match=message):
        data.load(name, tmp_path)


def test_a_part_said_twice_or_missing_files(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="already names a part, and part='test' another"):
        data.load("cifar10:train", tmp_path, part="test")
    with pytest.raises(RedistillError, match="has no parts, got part='train': use held_out"):
        data.load("images:x", tmp_path, part="train")
    with pytest.raises(
        RedistillError, match=r"test_batch, batches.meta not found in .*put them there, or their archive cifar-10-python"
    ):
        data.load("cifar10", tmp_path, part="test")
    with pytest.raises(
        RedistillError, match=r"train_32x32.mat not found in .*svhn: put them there \(from http://ufldl.stanford.edu/hou"
    ):
        data.svhn(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# redistill download
# ---------------------------------------------------------------------------------------------------------------------
def test_download_on_the_command_line_fetches_every_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from redistill import cli

    asked: list[tuple[str, Path | None, bool]] = []

    def part(which: str, data_dir: Path | None, download: bool) -> official.Part:
        asked.append((which, data_dir, download))
        return official.read_digits(which)

    monkeypatch.setitem(data.OFFICIAL, "mnist", dataclasses.replace(data.OFFICIAL["digits"], name="mnist", read=part))
    monkeypatch.setattr(sys, "argv", ["redistill", "download", "mnist", "mnist:test", "--data-dir", str(tmp_path), "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert asked == [("train", tmp_path, True), ("test", tmp_path, True)]
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["count"], row["classes"]) for row in rows] == [("mnist:train", 1347, 10), ("mnist:test", 450, 10)]


def test_only_official_data_can_be_downloaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from redistill import cli

    monkeypatch.setattr(sys, "argv", ["redistill", "download", "arrays:mine.npz"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1 and "'arrays:mine.npz' is no official data set: known are cifar10," in capsys.readouterr().err
