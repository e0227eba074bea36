"""Colour jitter, RandAugment, resized crops: each operation beside torchvision's at the same numbers, and what is drawn."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import redistill as rd
from helpers.libraries import library
from redistill import rng
from redistill.core import RedistillError, Stream, StreamContext
from redistill.data import decode
from redistill.data.augment import augmentation
from redistill.data.operations import (
    BINS,
    DRAWN,
    OPERATIONS,
    ColourJitter,
    RandAugment,
    done,
    operation,
    picture_of,
    pixels_of,
    strength,
)
from redistill.sources.inversion import Rounds

PIXELS = torch.randint(0, 256, (12, 3, 20, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
THEIRS = {
    "identity": "Identity", "shear-x": "ShearX", "shear-y": "ShearY", "translate-x": "TranslateX", "translate-y": "TranslateY",
    "rotate": "Rotate", "brightness": "Brightness", "saturation": "Color", "contrast": "Contrast", "sharpness": "Sharpness",
    "posterize": "Posterize", "solarize": "Solarize", "autocontrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip


def images(augment: str, channels: int = 3, normalise: str = "none") -> rd.data.Images:
    return rd.data.Images(PIXELS[:, :channels], torch.arange(12) % 3, 3, "twelve", normalise, augment)


def room(seed: int = 0, batch: int = 5, steps: int = 9) -> StreamContext:
    return StreamContext(seed=seed, batch_size=batch, device=torch.device("cpu"), dtype=torch.float64, steps=steps)


def photograph(mode: str = "RGB") -> Image.Image:
    """Smooth, so that neighbouring pixels are close and a wrong shear shows."""
    y, x = np.mgrid[0:24, 0:30]
    planes = [127 + 120 * np.sin(x / 5 + k) * np.cos(y / (4 + k)) for k in range(3)]
    return Image.fromarray(np.stack(planes, 2).astype(np.uint8)).convert(mode)


# -- beside torchvision ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_each_operation_is_torchvisions_at_the_same_numbers(mode: str) -> None:
    theirs = library("torchvision.transforms.autoaugment")
    functional = library("torchvision.transforms.functional")
    image = photograph(mode)
    space = theirs.RandAugment(2, 9, 31)._augmentation_space(31, (image.height, image.width))
    assert set(space) == {THEIRS[name] for name in DRAWN}
    for name in DRAWN:
        magnitudes, signed = space[THEIRS[name]]
        for magnitude in (0, 9, 17, 30):
            for sign in (1, -1) if signed else (1,):
                size = float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
                expected = theirs._apply_op(image, THEIRS[name], sign * size, functional.InterpolationMode.NEAREST, None)
                mine = OPERATIONS[name](image, strength(name, magnitude, image.width, image.height, sign))
                assert np.array_equal(np.asarray(mine), np.asarray(expected)), (name, magnitude, sign)


def test_colour_jitter_is_torchvisions_at_the_same_numbers() -> None:
    functional = library("torchvision.transforms.functional")
    same = {
        "brightness": functional.adjust_brightness, "contrast": functional.adjust_contrast, "saturation": functional.adjust_saturation,
        "hue": functional.adjust_hue,
    }  # fmt: skip
    for image in (photograph(), photograph("L")):
        for name, function in same.items():
            for value in (-0.31, -0.02, 0.0, 0.13, 0.5) if name == "hue" else (0.0, 0.6, 1.0, 1.37):
                assert np.array_equal(np.asarray(OPERATIONS[name](image, value)), np.asarray(function(image, value))), (name, value)


# -- by hand -------------------------------------------------------------------------------------------------------------
def test_operations_by_their_formulas() -> None:
    image = photograph()
    x = np.asarray(image).astype(float)
    inverted = np.where(x < 100, x, 255 - x)
    assert np.array_equal(np.asarray(OPERATIONS["solarize"](image, 100.0)), inverted.astype(np.uint8))
    assert np.array_equal(np.asarray(OPERATIONS["posterize"](image, 3.0)), (x // 32 * 32).astype(np.uint8))
    bright = np.clip(x * 1.25, 0, 255)
    assert np.abs(np.asarray(OPERATIONS["brightness"](image, 1.25)).astype(float) - bright).max() <= 1
    moved = np.asarray(OPERATIONS["translate-x"](image, 4.0))
    assert np.array_equal(moved[:, 4:], np.asarray(image)[:, :-4]) and not moved[:, :4].any()
    moved = np.asarray(OPERATIONS["translate-y"](image, -3.0))
    assert np.array_equal(moved[:-3], np.asarray(image)[3:]) and not moved[-3:].any()
    turned = OPERATIONS["hue"](Image.new("RGB", (2, 2), (255, 0, 0)), 1 / 3)
    assert turned.getpixel((0, 0)) == (0, 255, 0)
    assert np.array_equal(np.asarray(OPERATIONS["hue"](photograph("L"), 0.3)), np.asarray(photograph("L")))
    neutral = {"brightness": 1.0, "saturation": 1.0, "contrast": 1.0, "sharpness": 1.0, "rotate": 0.0, "shear-x": 0.0}
    for name, value in neutral.items():
        assert np.array_equal(np.asarray(OPERATIONS[name](image, value)), np.asarray(image)), name


def test_randaugment_draws_evenly_and_no_other_than_its_fourteen() -> None:
    assert len(DRAWN) == 14
    draw = torch.Generator().manual_seed(0)
    drawn = [one for _ in range(2000) for one in RandAugment(3, 12).drawn(draw, 32, 24)]
    names = Counter(name for name, _ in drawn)
    assert set(names) == set(DRAWN) and all(abs(n / len(drawn) - 1 / 14) < 0.01 for n in names.values())
    assert {v for name, v in drawn if name == "rotate"} == {12.0, -12.0}
    assert {v for name, v in drawn if name == "translate-x"} == {5.0, -5.0}  # int(150 / 331 · 32 · 12 / 30)
    assert {round(v, 6) for name, v in drawn if name == "contrast"} == {1.36, 0.64}
    up = [v > 0 for name, v in drawn if name == "shear-x"]
    assert 0.4 < sum(up) / len(up) < 0.6
    assert strength("posterize", BINS, 8, 8, 1) == 4 and strength("solarize", BINS, 8, 8, 1) == 0


def test_colour_jitter_draws_what_it_is_told() -> None:
    draw = torch.Generator().manual_seed(0)
    drawn = [ColourJitter(0.4, 0.2, 1.5, 0.1).drawn(draw, 8, 8) for _ in range(2000)]
    spans = {"brightness": (0.6, 1.4), "contrast": (0.8, 1.2), "saturation": (0.0, 2.5), "hue": (-0.1, 0.1)}
    assert len({tuple(name for name, _ in one) for one in drawn}) == 24  # every order
    for name, (low, high) in spans.items():
        values = np.array([v for one in drawn for n, v in one if n == name])
        assert len(values) == 2000 and low <= values.min() < low + 0.05 * (high - low) and high - 0.05 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert {name for name, _ in ColourJitter(0.4, 0.0, 0.0, 0.0).drawn(draw, 8, 8)} == {"brightness"}


# -- in a stream ---------------------------------------------------------------------------------------------------------
def test_what_is_done_to_an_image_depends_on_image_epoch_and_seed_alone() -> None:
    name = "crop-flip:2+colour-jitter:0.4,0.4,0.4,0.1+randaugment:2,20"
    made = augmentation(name)
    batch = images(name).start(room(seed=4)).batch(5)  # epoch 1
    assert batch.index is not None and batch.variant is not None
    plain = images("crop-flip:2").start(room(seed=4)).batch(5)
    assert torch.equal(batch.index, plain.index) and torch.equal(batch.variant, plain.variant)  # type: ignore[arg-type]
    for row, i in enumerate(batch.index.tolist()):
        draw = rng.stream(4, "operations", i, 1)
        image = picture_of((plain.images[row] * 255).round().to(torch.uint8))
        for one in made.operations:
            image = done(image, one.drawn(draw, 16, 20))
        assert torch.equal(pixels_of(image).double() / 255, batch.images[row])


def test_a_resized_crop_in_memory_is_the_one_of_a_file() -> None:
    batch = images("resized-crop:0.3").start(room(seed=3)).batch(4)
    assert batch.index is not None and batch.variant is not None
    for row, (i, variant) in enumerate(zip(batch.index.tolist(), batch.variant.tolist(), strict=True)):
        assert variant == rng.generator_seed(3, "variant", i, 1)
        draw = torch.Generator().manual_seed(variant)
        flip = bool(torch.rand((), generator=draw) < 0.5)
        box = decode.crop_box(16, 20, draw, 0.3)
        assert (box[2] - box[0]) * (box[3] - box[1]) > 0.25 * 16 * 20
        expected = picture_of(PIXELS[i]).crop(box).resize((16, 20), Image.Resampling.BILINEAR)
        pixels = pixels_of(expected)
        assert torch.equal((pixels.flip(2) if flip else pixels).double() / 255, batch.images[row])


@pytest.mark.parametrize("augment", ["resized-crop+randaugment", "crop-flip:2+colour-jitter+randaugment:1,30", "flip+randaugment+cutmix"])
def test_files_are_the_same_for_any_number_of_threads_and_any_order_of_steps(tmp_path: Path, augment: str) -> None:
    for number, pixels in enumerate(PIXELS):
        place = tmp_path / "abc"[number % 3]
        place.mkdir(exist_ok=True)
        picture_of(pixels).save(place / f"{number}.png")

    def stream(workers: int, memory: int = 0) -> Stream:
        return rd.data.folder(tmp_path, size=12, memory=memory, workers=workers, augment=augment).start(room(seed=1))

    walked = stream(1)
    sequence = [walked.batch(s) for s in range(9)]
    others = [stream(4), *([stream(2, 2**30)] if not augment.startswith("resized") else [])]  # the last one in memory
    for other in others:
        for step in (7, 2, 8, 0, 3, 2):
            assert torch.equal(other.batch(step).images, sequence[step].images)
            assert torch.equal(other.batch(step).labels, sequence[step].labels)  # type: ignore[arg-type]
    assert walked.state_dict() == {}
    assert not torch.equal(sequence[0].images, stream(1).batch(3).images)


def test_grey_pictures_of_few_levels_keep_their_white() -> None:
    x = torch.randint(0, 17, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(pixels_of(picture_of(x[0], 16), 16), x[0])
    digits = rd.data.Images(x, torch.arange(6) % 2, 2, "digits", "digits", "randaugment:2,15")
    assert digits.peak == 16
    made = digits.start(room(batch=6)).batch(0).images
    plain = digits.with_(augment="none").start(room(batch=6)).batch(0).images
    assert made.shape == plain.shape and made.max() <= plain.max() + 1e-9 and not torch.equal(made, plain)


# -- names ---------------------------------------------------------------------------------------------------------------
def test_names() -> None:
    made = augmentation("resized-crop:0.25+colour-jitter:0.8,0.8,0.8,0.2+randaugment:1,5+mixup+cutmix:0.5")
    assert made.area == 0.25 and made.operations == (ColourJitter(0.8, 0.8, 0.8, 0.2), RandAugment(1, 5)) and made.pictured
    assert made.mixing is not None and (made.mixing.mixup, made.mixing.cutmix) == (0.2, 0.5)
    assert augmentation("mixup:1").variants == 1 and augmentation("randaugment").operations == (RandAugment(2, 9),)
    assert augmentation("crop-flip").bounded and not any(augmentation(n).bounded for n in ("mixup", "flip+randaugment", "crop-flip+strong"))
    assert augmentation("colour-jitter:0.1,0.2,0.3").operations == (ColourJitter(0.1, 0.2, 0.3, 0.0),)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("color-jitter", "did you mean colour-jitter"),
        ("crop-flip+randaug", "did you mean randaugment"),
        ("randaugment:2,31", "1 to 14 operations of a whole magnitude from 0 to 30"),
        ("randaugment:two", "write randaugment:2,9"),
        ("randaugment:1,2,3", "write randaugment:2,9"),
        ("colour-jitter:0.4,0.4", "one number for brightness, contrast and saturation, or three, or four"),
        ("colour-jitter:0.4,0.4,0.4,0.6", "the hue at most 0.5"),
        ("colour-jitter:-1", "none below 0"),
        ("mixup:0", "α must be above 0"),
        ("mixup:0.2,0.3", "write mixup:0.2"),
        ("cutmix+randaugment", "write randaugment before"),
        ("mixup+crop-flip", "crop-flip stands first"),
        ("randaugment+randaugment", "randaugment stands twice"),
        ("resized-crop:0", "must lie above 0 and at most at 1"),
        ("crop-flip+randaugment+strong", "leave the rest out"),
        ("flip:2", "only a crop has a padding"),
    ],
)
def test_names_that_mean_nothing(name: str, says: str) -> None:
    with pytest.raises(RedistillError, match=says.replace("(", r"\(")):
        augmentation(name)


def test_what_cannot_be_a_picture() -> None:
    four = torch.zeros(2, 4, 8, 8, dtype=torch.uint8)
    with pytest.raises(RedistillError, match="'randaugment' is of grey or coloured images, not of 4 channels"):
        rd.data.Images(four, None, None, "four", "none", "randaugment")
    with pytest.raises(RedistillError, match=r"'resized-crop:0\.5' needs the original pictures"):
        rd.data.Images(PIXELS, None, None, "folder:photos", "none", "resized-crop:0.5")
    with pytest.raises(RedistillError, match="is for images of a data set"):
        Rounds(augment="randaugment")
    assert operation("randaugment", None) == RandAugment() and math.isclose(strength("shear-x", 30, 1, 1, -1), -0.3)
