"""Pictures of every kind and folders as they are found: scaled or refused by name, entered once, never read from a pipe."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from redistill import data
from redistill.core import RedistillError, StreamContext
from redistill.data import Folder, Images, decode, folder, formats

RNG = np.random.default_rng(0)
GREY16 = RNG.integers(0, 65536, (6, 5), dtype=np.uint16)
SCALED = np.round(GREY16.astype(np.float64) * 255 / 65535).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    Image.fromarray(GREY16).save(file)
    found = np.asarray(decode.decoded(file))
    assert np.array_equal(found, np.repeat(SCALED[:, :, None], 3, 2)) and decode.size_of(file) == (5, 6)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (RNG.random((4, 4), dtype=np.float32), "floating point numbers, of which nobody says which one is white"),
        (RNG.integers(0, 2**30, (4, 4), dtype=np.int32), "32-bit whole numbers, of which nobody says"),
    ],
)
def test_numbers_without_a_known_white_are_refused_by_name(tmp_path: Path, pixels: Any, says: str) -> None:
    (tmp_path / "c").mkdir()
    Image.fromarray(pixels).save(tmp_path / "c" / "odd.tif")
    Image.fromarray(COLOUR[:4, :4]).save(tmp_path / "c" / "good.png")
    with pytest.raises(RedistillError, match=f"odd.tif.*{says}"):
        folder(tmp_path, memory=0)
    kept = folder(tmp_path, on_corrupt="skip")
    assert len(kept) == 1 and kept.rule == (("without_corrupt", {"files": ["c/odd.tif"]}),)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_several_pictures_in_a_file_are_refused_by_name(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(RedistillError, match=f"a.{ending}.*it holds 3 pictures"):
        folder(tmp_path, labelled=False)
    frames[0].save(tmp_path / f"a.{ending}")
    assert len(folder(tmp_path, labelled=False)) == 1


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_photographs_are_upright(tmp_path: Path, turn: int, ending: str) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(COLOUR).save(tmp_path / f"a.{ending}", exif=exif)
    with Image.open(tmp_path / f"a.{ending}") as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    found = decode.decoded(tmp_path / f"a.{ending}")
    assert found.size == expected.size == decode.size_of(tmp_path / f"a.{ending}") == ((5, 6) if turn < 5 else (6, 5))
    assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_palettes_transparency_and_inks_keep_their_colours(tmp_path: Path) -> None:
    plain = Image.fromarray(COLOUR)
    few = plain.quantize(8)
    few.save(tmp_path / "p.png")
    few.save(tmp_path / "t.png", transparency=bytes([0, 128, 255]))
    opaque = plain.convert("RGBA")
    opaque.save(tmp_path / "rgba.png")
    Image.fromarray(COLOUR[:, :, 0]).convert("LA").save(tmp_path / "la.png")
    plain.convert("CMYK").save(tmp_path / "cmyk.tif")
    with decode.quietly():
        found = {f: np.asarray(decode.decoded(tmp_path / f)) for f in ("p.png", "t.png", "rgba.png", "la.png", "cmyk.tif")}
    assert np.array_equal(found["p.png"], np.asarray(few.convert("RGB"))) and np.array_equal(found["t.png"], found["p.png"])
    assert np.array_equal(found["rgba.png"], COLOUR) and np.array_equal(found["cmyk.tif"], COLOUR)
    assert np.array_equal(found["la.png"], np.repeat(COLOUR[:, :, :1], 3, 2))


def test_very_large_pictures_get_a_sentence_and_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png")
    for most in (300, 150):  # Pillow warns above the first limit and refuses above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(RedistillError, match=f"a.png.*it has more than {most} pixels"):
            folder(tmp_path, labelled=False)


# -- folders as they are ----------------------------------------------------------------------------------------------
@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in "abc":
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{i}.PNG")
    return root


def test_links_in_circles_and_what_is_no_picture(tree: Path) -> None:
    (tree / "a" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "b" / "up").symlink_to(tree.parent, target_is_directory=True)
    (tree / "c" / "self").symlink_to(tree / "c", target_is_directory=True)
    (tree / "again").symlink_to(tree, target_is_directory=True)  # a link to the folder itself is no class
    (tree / "__MACOSX" / "a").mkdir(parents=True)
    (tree / "__MACOSX" / "a" / "._0.png").write_bytes(b"\0\5\26\7")
    (tree / "a" / "._0.png").write_bytes(b"\0\5\26\7")
    (tree / "a" / ".DS_Store").write_bytes(b"x")
    os.mkfifo(tree / "b" / "pipe.png")
    found = folder(tree)
    assert (len(found), found.class_names, found.class_counts()) == (9, ("a", "b", "c"), (3, 3, 3))
    assert len(folder(tree, labelled=False)) == 9
    (tree / "b" / "gone.png").symlink_to(tree / "nowhere.png")
    with pytest.raises(RedistillError, match=r"gone.png.*No such file"):
        folder(tree)


def test_an_empty_class_is_named_in_training_and_may_be_missing_in_validation(tree: Path) -> None:
    (tree / "d").mkdir()
    with pytest.raises(RedistillError, match="the class folders d hold no image: remove them, or fill them"):
        folder(tree)
    (tree / "d").rmdir()
    root = tree.parent / "divided"
    root.mkdir()
    tree.rename(root / "train")
    (root / "valid" / "b").mkdir(parents=True)
    (root / "test" / "c").mkdir(parents=True)
    for place in ("valid/b", "test/c"):
        Image.fromarray(COLOUR[:5]).save(root / place / "x.jpeg")
    val, test = folder(root, "val"), folder(root, "test")
    assert (val.classes, val.class_names, val.class_counts()) == (3, ("a", "b", "c"), (0, 1, 0))
    assert test.class_counts() == (0, 0, 1) and test.augment == "none"


def test_names_that_are_no_utf8(tree: Path) -> None:
    os.rename(os.fsencode(tree / "a" / "0.PNG"), os.fsencode(tree / "a") + b"/\xff.png")
    found = folder(tree, memory=0)
    assert isinstance(found, Folder) and len(found.manifest()["sha256"]) == 64 and len(folder(tree)) == 9
    with open(os.fsencode(tree / "a") + b"/\xff.png", "wb") as file:
        file.write(b"no image")
    with pytest.raises(RedistillError, match=r"\\xff.png") as refusal:
        folder(tree)
    str(refusal.value).encode()  # can be printed
    os.rename(os.fsencode(tree / "a"), os.fsencode(tree) + b"/\xfe")
    with pytest.raises(RedistillError, match=r"the class folder \\xfe has a name that is no UTF-8"):
        folder(tree)
    with pytest.raises(RedistillError, match="there is no folder"):
        folder("x" * 5000)


# -- arrays -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("x", "more", "expected"),
    [
        (GREY16[None, None], {}, SCALED),
        (np.array([[[[0.0, 0.5, 1.0]]]]), {}, [0, 128, 255]),
        (np.array([[[[0.0, 1.0, 255.0]]]], np.float32), {}, [0, 1, 255]),
        (np.array([[[[0, 7, 255]]]], np.int64), {}, [0, 7, 255]),
        (np.array([[[[False, True]]]]), {}, [0, 255]),
        (np.array([[[[0, 4, 16]]]], np.uint8), {"peak": 16}, [0, 64, 255]),
        (np.array([[[[0, 4095]]]], np.uint16), {"peak": 4095}, [0, 255]),
    ],
)
def test_the_white_of_the_pixels_belongs_to_the_data(tmp_path: Path, x: Any, more: dict[str, int], expected: Any) -> None:
    np.savez(tmp_path / "a.npz", x=x, **more)
    images = data.arrays(tmp_path / "a.npz")
    assert np.array_equal(images.x.numpy().reshape(-1), np.asarray(expected).reshape(-1))


def test_another_set_of_constants_keeps_the_white() -> None:
    """Digits have 17 grey levels: normalised by ``half``, white is (16 / 16 - 0.5) / 0.5 = 1, not -0.87."""
    train, _ = data.digits()
    half = train.with_(normalise="half")
    seen = half.normalised()
    assert half.peak == 16 and float(seen.max()) == 1.0 and float(seen.min()) == -1.0
    assert torch.equal(next(half.batches(7)).images, seen[:7])
    assert torch.equal(half.start(StreamContext(0, 9, torch.device("cpu"), torch.float32, 5)).batch(0).images.amax(), torch.tensor(1.0))
    other = Images(train.x * 15, train.y, 10, "bytes", "half").with_(normalise="digits")
    assert other.peak == 255 and float(other.normalised().max()) == pytest.approx((240 / 255 - 0.3053) / 0.3760)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"x": np.full((1, 1, 2, 2), 300, np.int32)}, "from 300 to 300: give pixels 0..255 as bytes, or say which number is white"),
        ({"x": np.full((1, 1, 2, 2), np.nan)}, "whose white is known"),
        ({"x": np.full((1, 1, 2, 2), -1.0)}, "from -1 to -1"),
        ({"x": np.full((1, 1, 2, 2), 17, np.uint8), "peak": 16}, "from 17 to 17"),
        ({"x": np.zeros((2, 1, 2, 2), np.uint8), "y": np.array([0, 10**9])}, "labels run from 0 to 1000000000, for 2 images"),
        ({"x": np.zeros((1, 1, 2, 2), np.uint8), "peak": 0}, "peak must be one whole number above 0"),
        ({"x": np.zeros((1, 1, 2, 2), np.complex64)}, "got complex64"),
    ],
)
def test_arrays_whose_meaning_is_unknown(tmp_path: Path, content: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(RedistillError, match=says):
        data.arrays(tmp_path / "a.npz")


def test_a_file_may_say_its_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1, 2, 2), np.uint8), y=np.array([0, 2000]), classes=5000)
    assert data.arrays(tmp_path / "a.npz").classes == 5000


def test_archives_that_are_none_or_ask_for_much(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def refused(says: str) -> None:
        with pytest.raises(RedistillError, match=f"a.npz cannot be read as arrays \\(.*{says}"):
            formats.read_arrays(path)

    path.write_bytes(b"")
    refused("it is empty")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    refused("it is one array, an .npy file under another name")
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    for described in (
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 3, 100, 100)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3)",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3)}",
        b"((((((((",
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", header + described.ljust(117) + b"\n")
        refused("")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", b"\x93NUMPY" + bytes(100))
    whole = path.read_bytes()
    for cut in (len(whole) // 2, 60):
        path.write_bytes(whole[:30] + bytes(30) + whole[cut:])
        refused("")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array(member, np.zeros((2**13, 1, 100, 100), np.uint8))
    refused("would unpack to 81,920,000 bytes")
    os.remove(path)
    os.mkfifo(path)
    refused("it is no plain file")


def test_memory_decides_no_shared_offset_and_no_white(tree: Path) -> None:
    room = StreamContext(0, 9, torch.device("cpu"), torch.float32, 4)
    stored, disk = (folder(tree, memory=m, augment="crop-flip-reflect-batch:1") for m in (2**20, 0))
    assert isinstance(stored, Images) and isinstance(disk, Folder)
    one, two = (x.with_(normalise="mine (mean 0.4, std 0.25, peak 16)") for x in (stored, disk))
    for step in range(4):
        a, b = one.start(room).batch(step), two.start(room).batch(step)
        assert torch.equal(a.variant, b.variant) and torch.equal(a.images, b.images)
    assert torch.equal(next(one.batches(9)).images, next(two.batches(9)).images)
