"""Folders of images: layouts, corrupt files, streaming, random resized crops. Small files made here."""

from __future__ import annotations

import gc
import math
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from redistill import rng
from redistill.core import RedistillError, Source, Stream, StreamContext
from redistill.data import Folder, Images, decode, folder, load


def picture(path: Path, width: int = 10, height: int = 8, seed: int = 0, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """train/ with 3 classes of 4 pictures, val/ with 2 each, of different sizes."""
    for part, count in (("train", 4), ("val", 2)):
        for c, name in enumerate(("ant", "bee", "cow")):
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png", 20 + i, 16 + c, seed=100 * c + i)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not an image")
    return tmp_path


def room(batch_size: int, steps: int = 50, seed: int = 0, **more: Any) -> StreamContext:
    return StreamContext(seed, batch_size, torch.device("cpu"), torch.float32, steps, **more)


def test_imagenet_layout_in_memory(tree: Path) -> None:
    train, val = folder(tree, "train", size=12), folder(tree, "val", size=12)
    assert isinstance(train, Images) and isinstance(val, Images)
    assert train.class_counts() == (4, 4, 4) and val.class_counts() == (2, 2, 2)
    assert train.class_names == ("ant", "bee", "cow") and train.image_shape == (3, 12, 12)
    assert (train.augment, val.augment, train.normalise) == ("crop-flip:1", "none", "imagenet")
    # the third file of bee: 22x17 becomes 16x12 (bilinear), of which the middle 12x12 remain
    with Image.open(tree / "train/bee/2.png") as image:
        expected = np.array(image.resize((16, 12), Image.Resampling.BILINEAR).crop((2, 0, 14, 12)))
    assert torch.equal(train.x[6], torch.from_numpy(expected).permute(2, 0, 1))


def test_squares_of_one_size_stay_as_they_are(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "ab"[i % 2] / f"{i}.png", 9, 9, seed=i)
    images = folder(tmp_path)
    assert isinstance(images, Images) and images.image_shape == (3, 9, 9)
    with Image.open(tmp_path / "b" / "3.png") as image:
        assert torch.equal(images.x[4], torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_without_train_and_val_a_tenth_is_split_off(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(10):
            picture(tmp_path / c / f"{i}.png", 8, 8, seed=i)
    train, val = folder(tmp_path, "train"), folder(tmp_path, "val")
    assert train.class_counts() == (9, 9) and val.class_counts() == (1, 1)
    assert set(train.index.tolist()) | set(val.index.tolist()) == set(range(20))
    assert val.rule == (("held_out", {"n": 0.1, "seed": 0, "part": "held"}),)
    assert len(folder(tmp_path)) == 20


def test_unlabelled_images_below_a_folder(tree: Path) -> None:
    images = load("images:train", tree)
    assert not images.labelled and images.classes is None and len(images) == 12 and images.name == "images:train"
    with pytest.raises(RedistillError, match="per_class needs labels"):
        images.per_class(1, 0)


def test_load_names_the_part(tree: Path) -> None:
    a, b = load(f"folder:{tree.name}:val", tree.parent), load(f"folder:{tree.name}", tree.parent, part="val")
    assert a.name == b.name == f"folder:{tree.name}:val" and len(a) == len(b) == 6
    assert load(f"folder:{tree.name}", tree.parent).count == 12
    with pytest.raises(RedistillError, match="already names a part"):
        load(f"folder:{tree.name}:val", tree.parent, part="train")


def test_what_does_not_fit_memory_is_read_when_needed(tree: Path) -> None:
    streamed, held = folder(tree, "val", size=12, memory=1000, resize=14), folder(tree, "val", size=12, resize=14)
    assert isinstance(streamed, Folder) and isinstance(streamed, Source)
    assert streamed.y is not None and held.y is not None and torch.equal(streamed.y, held.y)
    assert streamed.shorter_side == 14 and streamed.settings()["resize"] == 14
    (batch,) = streamed.batches(10)
    with Image.open(tree / "val/cow/1.png") as image:  # 21x18 becomes 16x14, of which the middle 12x12 remain
        expected = np.array(image.resize((16, 14), Image.Resampling.BILINEAR).crop((2, 1, 14, 13)))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.equal(batch.images[5], ((torch.from_numpy(expected).float() / 255 - mean) / std).permute(2, 0, 1))
    sizes = [len(b.images) for b in streamed.batches(4, "cpu", torch.float64, True)]
    assert sizes == [4, 2]


@pytest.mark.parametrize("augment", [None, "none", "flip", "crop-flip-reflect:2"])
def test_memory_decides_no_pixel_no_crop_and_no_step(tree: Path, augment: str | None) -> None:
    held, streamed = (folder(tree, "train", size=12, memory=memory, augment=augment) for memory in (2**30, 0))
    assert isinstance(held, Images) and isinstance(streamed, Folder) and held.augment == streamed.augment
    assert all(torch.equal(a.images, b.images) for a, b in zip(held.batches(5), streamed.batches(5), strict=True))
    one, two = held.start(room(5, seed=2)), streamed.start(room(5, seed=2))
    for step in (0, 1, 2, 7, 3):
        a, b = one.batch(step), two.batch(step)
        assert torch.equal(a.images, b.images) and torch.equal(a.variant, b.variant)  # type: ignore[arg-type, union-attr]
        assert torch.equal(a.labels, b.labels) and torch.equal(a.index, b.index)  # type: ignore[arg-type, union-attr]
    with pytest.raises(RedistillError, match="'resized-crop' needs the original pictures"):
        held.with_(augment="resized-crop")


def test_a_stream_that_nobody_holds_is_gone_with_its_threads_and_the_networks_of_its_run(tree: Path) -> None:
    found = folder(tree, "train", size=12, memory=0, workers=2)
    kept = room(5)
    stream = found.start(kept)
    stream.batch(0)
    seen = weakref.ref(kept)
    gc.disable()  # it does not wait for the garbage to be collected
    try:
        for step in range(1, kept.steps):
            stream.batch(step)
        del stream, kept
        until = time.monotonic() + 5
        while seen() is not None and time.monotonic() < until:  # a thread lets go of its last picture a moment after it is there
            time.sleep(0.01)
        assert seen() is None
    finally:
        gc.enable()


def test_streaming_is_random_access_and_equal_for_any_number_of_workers(tree: Path) -> None:
    def stream(workers: int) -> Stream:
        found = folder(tree, "train", size=12, memory=0, workers=workers)
        assert isinstance(found, Folder)
        return found.start(room(5))

    walked = stream(1)
    sequence = [walked.batch(s) for s in range(9)]
    jumped = stream(4)
    for step in (7, 2, 8, 0, 3, 2):
        assert torch.equal(jumped.batch(step).images, sequence[step].images)
    assert jumped.batch(3) is jumped.batch(3)
    assert [len(b.images) for b in sequence[:3]] == [5, 5, 2] and jumped.state_dict() == {}
    order = torch.cat([b.index for b in sequence[:3] if b.index is not None])
    assert torch.equal(order, torch.randperm(12, generator=rng.stream(0, "order", 0)))


def test_a_variant_is_the_crop(tree: Path) -> None:
    found = folder(tree, "train", size=12, augment="resized-crop")
    assert isinstance(found, Folder) and found.y is not None
    batch = found.start(room(12, seed=3)).batch(1)
    assert batch.index is not None and batch.variant is not None and batch.labels is not None
    assert torch.equal(batch.labels, found.y[batch.index])
    i, variant = int(batch.index[4]), int(batch.variant[4])
    assert variant == rng.generator_seed(3, "variant", i, 1)
    draw = torch.Generator().manual_seed(variant)
    flip = float(torch.rand((), generator=draw)) < 0.5
    with Image.open(found.root / found.files[i]) as image:
        crop = image.crop(decode.crop_box(*image.size, draw)).resize((12, 12), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
    expected = expected.flip(2) if flip else expected
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert torch.equal(batch.images[4], (expected.float() / 255 - mean) / std)


def test_random_resized_crops_have_the_published_distribution() -> None:
    """Area uniform in 8 to 100 percent and log-ratio uniform between 3/4 and 4/3, where the image allows every draw."""
    draw = torch.Generator().manual_seed(0)
    areas, ratios = [], []
    for _ in range(2000):
        left, top, right, bottom = decode.crop_box(400, 400, draw)
        assert 0 <= left < right <= 400 and 0 <= top < bottom <= 400
        areas.append((right - left) * (bottom - top) / 160000)
        ratios.append(math.log((right - left) / (bottom - top)))
    assert 0.075 < min(areas) and max(areas) <= 1
    fit = [a for a in areas if a < 0.75]  # every ratio fits: 0.75 * 4/3 = 1
    assert abs(sum(a < 0.4 for a in fit) / len(fit) - (0.4 - 0.08) / (0.75 - 0.08)) < 0.03
    assert max(map(abs, ratios)) < math.log(4 / 3) + 0.02 and abs(sum(ratios) / 2000) < 0.02
    assert decode.crop_box(400, 10, draw)[3] <= 10 and decode.crop_box(1, 50, draw) == (0, 24, 1, 25)


def test_subsets_and_manifest_of_a_folder_on_disk(tree: Path) -> None:
    found = folder(tree, "train", size=12, memory=0)
    assert isinstance(found, Folder)
    few = found.per_class(2, seed=0)
    assert few.class_counts() == (2, 2, 2) and [found.files[i] for i in few.index.tolist()] == list(few.files)
    assert len(few.in_memory().x) == 6
    assert few.manifest() == folder(tree, "train", size=12, memory=0).per_class(2, seed=0).manifest()
    assert few.manifest()["sha256"] != found.manifest()["sha256"]
    rest, held = found.held_out(3, seed=0)
    assert set(rest.files) | set(held.files) == set(found.files) and len(held) == 3
    plain = found.with_(augment="none", normalise="half").start(room(4))
    assert torch.equal(plain.batch(0).images, plain.batch(0).images) and int(plain.batch(0).variant.sum()) == 0  # type: ignore[union-attr]
    with pytest.raises(RedistillError, match="unknown augmentation 'crop'"):
        found.with_(augment="crop")


# -- files that are no images -----------------------------------------------------------------------------------------
@pytest.fixture
def damaged(tree: Path) -> Path:
    (tree / "train/ant/9.png").write_bytes(b"no image at all")
    whole = (tree / "train/bee/0.png").read_bytes()
    (tree / "train/bee/9.png").write_bytes(whole[: len(whole) // 2])  # a good header and half of the pixels
    return tree


def test_files_that_are_no_images_are_counted_and_listed(damaged: Path) -> None:
    with pytest.raises(
        RedistillError, match=r"train: 1 file is no image \(ant/9.png\): remove them, or give on_corrupt='skip'"
    ):
        folder(damaged, "train", size=12)
    (damaged / "train/ant/9.png").unlink()
    with pytest.raises(
        RedistillError, match=r"bee/9.png cannot be read \(.*\): remove it, or read the folder with on_corrupt='skip'"
    ):
        folder(damaged, "train", size=12)
    streamed = folder(damaged, "train", size=12, memory=0)
    with pytest.raises(RedistillError, match=r"bee/9.png cannot be read"):
        streamed.start(room(13)).batch(0)


def test_corrupt_files_are_skipped_by_choice(damaged: Path) -> None:
    held = folder(damaged, "train", size=12, on_corrupt="skip")
    assert len(held) == 12 and held.rule == (("without_corrupt", {"files": ["ant/9.png", "bee/9.png"]}),)
    streamed = folder(damaged, "train", size=12, on_corrupt="skip", memory=0)
    assert isinstance(streamed, Folder) and streamed.corrupt == ("ant/9.png", "bee/9.png") and len(streamed) == 12
    assert streamed.settings()["corrupt"] == 2 and len(streamed.start(room(12)).batch(0).images) == 12


def test_folders_that_cannot_work(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match=r"there is no folder .*nowhere: give a folder"):
        folder(tmp_path / "nowhere")
    with pytest.raises(RedistillError, match="part of a folder must be 'train' or 'val', got 'test'"):
        folder(tree, "test")
    with pytest.raises(RedistillError, match="ant holds no class folders: give every class a folder, or read it as 'images:"):
        folder(tree / "train" / "ant")
    picture(tree / "val" / "dog" / "0.png")
    with pytest.raises(RedistillError, match="train/ has 3 classes, val/ has 4; only one of them has dog"):
        folder(tree, "val")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(RedistillError, match="empty holds no images"):
        folder(tmp_path / "empty")
    with pytest.raises(RedistillError, match="workers must be at least 1, got 0"):
        folder(tree, workers=0)
    with pytest.raises(RedistillError, match="on_corrupt must be 'refuse' or 'skip', got 'ignore'"):
        folder(tree, on_corrupt="ignore")  # type: ignore[arg-type]


def test_other_colour_modes_become_rgb(tmp_path: Path) -> None:
    for i, mode in enumerate(("L", "P", "RGBA", "1")):
        picture(tmp_path / "a" / f"{i}.png", 8, 8, mode=mode)
    images = folder(tmp_path)
    assert images.image_shape == (3, 8, 8) and len(images) == 4
