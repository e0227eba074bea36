"""Normalisation and augmentation, against per-image Pillow and against the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from redistill.core import RedistillError, StreamContext
from redistill.data import Augmenter, Images, affine_between, augmentation, normalisation
from redistill.data.normalise import SETS


def noise(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (count, channels, height, width), generator=g, dtype=torch.uint8)


def reflected(image: Image.Image, p: int) -> Image.Image:
    """Padding by reflection from Pillow's own crops and mirrors, without repeating the border."""
    w, h = image.size
    wide = Image.new(image.mode, (w + 2 * p, h))
    wide.paste(image, (p, 0))
    wide.paste(ImageOps.mirror(image.crop((1, 0, 1 + p, h))), (0, 0))
    wide.paste(ImageOps.mirror(image.crop((w - 1 - p, 0, w - 1, h))), (p + w, 0))
    tall = Image.new(image.mode, (w + 2 * p, h + 2 * p))
    tall.paste(wide, (0, p))
    tall.paste(ImageOps.flip(wide.crop((0, 1, w + 2 * p, 1 + p))), (0, 0))
    tall.paste(ImageOps.flip(wide.crop((0, h - 1 - p, w + 2 * p, h - 1))), (0, p + h))
    return tall


def by_pillow(x: torch.Tensor, p: int, reflect: bool, dy: int, dx: int, flip: bool) -> torch.Tensor:
    """One image [C, H, W], the usual way."""
    array = x.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[:, :, 0] if x.shape[0] == 1 else array)
    padded = reflected(image, p) if reflect else ImageOps.expand(image, p, 0)
    h, w = x.shape[1:]
    out = padded.crop((dx, dy, dx + w, dy + h))
    if flip:
        out = ImageOps.mirror(out)
    return torch.from_numpy(np.array(out).reshape(h, w, -1)).permute(2, 0, 1)


@pytest.mark.parametrize("name", ["crop-flip", "crop-flip-reflect"])
def test_all_162_variants_equal_pillow_pixel_for_pixel(name: str) -> None:
    x = noise(3, 3, 32, 32)
    index = torch.arange(162) % 3
    out = Augmenter(augmentation(name), x)(index, torch.arange(162))
    assert out.dtype == torch.uint8 and out.shape == (162, 3, 32, 32)
    for v in range(162):
        dy, dx, flip = v // 18, v // 2 % 9, v % 2 == 1
        assert torch.equal(out[v], by_pillow(x[v % 3], 4, "reflect" in name, dy, dx, flip)), v
    assert torch.equal(out[(4 * 9 + 4) * 2], x[index[80]])  # offset (4, 4), not mirrored: the image itself


@pytest.mark.parametrize(("name", "shape"), [("crop-flip:2", (1, 5, 8)), ("crop-flip-reflect:3", (3, 7, 6)), ("flip", (3, 4, 6))])
def test_other_sizes_and_paddings_equal_pillow(name: str, shape: tuple[int, int, int]) -> None:
    augment = augmentation(name)
    x = noise(2, *shape)
    every = torch.arange(augment.variants)
    out = Augmenter(augment, x)(every % 2, every)
    for v in range(augment.variants):
        assert torch.equal(out[v], by_pillow(x[v % 2], augment.pad, augment.reflect, *augment.parts(v))), v


def test_variant_numbers() -> None:
    crop = augmentation("crop-flip")
    assert (crop.variants, augmentation("flip").variants, augmentation("none").variants) == (162, 2, 1)
    assert augmentation("crop-flip:8").variants == 17 * 17 * 2
    assert [crop.parts(v) for v in (0, 1, 2, 18, 161)] == [
        (0, 0, False),
        (0, 0, True),
        (0, 1, False),
        (1, 0, False),
        (8, 8, True),
    ]


def test_names_of_augmentations_are_checked() -> None:
    with pytest.raises(RedistillError, match="unknown augmentation 'crop-flp': did you mean crop-flip"):
        augmentation("crop-flp")
    with pytest.raises(RedistillError, match="'flip:4': only a crop has a padding"):
        augmentation("flip:4")
    with pytest.raises(RedistillError, match="reflects 8 pixels, the images have 8x8: reflect fewer than 8"):
        Augmenter(augmentation("crop-flip-reflect:8"), noise(1, 1, 8, 8))


def test_normalisation_is_the_formula_bit_for_bit() -> None:
    x = noise(4, 3, 6, 5)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    expected = (x.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.equal(normalisation("cifar10-kuangliu").on("cpu", torch.float32)(x), expected)
    half = normalisation("half").on("cpu", torch.float64)(torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3))
    assert half.dtype == torch.float64 and half.flatten().tolist() == [-1.0, 51 / 255 / 0.5 - 1, 1.0]


def test_bf16_is_rounded_once_from_fp32() -> None:
    x = noise(4, 3, 8, 8)
    imagenet = normalisation("imagenet")
    assert torch.equal(imagenet.on("cpu", torch.bfloat16)(x), imagenet.on("cpu", torch.float32)(x).bfloat16())


def test_digits_have_seventeen_grey_levels() -> None:
    x = torch.tensor([0, 16], dtype=torch.uint8).view(1, 1, 1, 2)
    out = normalisation("digits").on("cpu", torch.float64)(x).flatten()
    assert torch.allclose(out, torch.tensor([-0.3053 / 0.3760, (1 - 0.3053) / 0.3760], dtype=torch.float64), rtol=1e-15)


def test_channels_last_only_moves_memory() -> None:
    x = noise(4, 3, 8, 8)
    norm = normalisation("svhn-zskt").on("cpu", torch.float32)
    plain, moved = norm(x), norm(x, channels_last=True)
    assert torch.equal(plain, moved)
    assert plain.stride() == (192, 64, 8, 1) and moved.stride() == (192, 1, 24, 3)


@pytest.mark.parametrize("a", sorted(SETS))
@pytest.mark.parametrize("b", ["cifar10-kuangliu", "half", "digits", "imagenet"])
def test_affine_between_maps_one_set_onto_the_other(a: str, b: str) -> None:
    channels = max(len(SETS[a].mean), len(SETS[b].mean))
    unit = torch.rand(2, channels, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def normal(name: str) -> torch.Tensor:
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (SETS[name].mean, SETS[name].std))
        return (unit - mean) / std

    scale, shift = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in affine_between(a, b))
    assert torch.allclose(normal(a) * scale + shift, normal(b), atol=1e-14)


def test_unknown_normalisation_and_wrong_channels() -> None:
    with pytest.raises(RedistillError, match="unknown normalisation 'cifar-10': did you mean cifar10"):
        normalisation("cifar-10")
    with pytest.raises(RedistillError, match="'imagenet' has 3 channels, the images have 1: use one of mnist"):
        normalisation("imagenet").require_channels(1)


def test_a_batch_may_share_its_offset_and_each_image_has_its_own_flip() -> None:
    """Mirrored first, then one window of the padded images, as ``tf.random_crop`` cuts a whole batch."""
    x = noise(40, 3, 8, 8)
    augment = augmentation("crop-flip-reflect-batch:2")
    assert (augment.variants, augment.batch, augmentation("crop-flip-reflect").batch) == (50, True, False)
    room = StreamContext(seed=4, batch_size=16, device=torch.device("cpu"), dtype=torch.float32, steps=12, teacher=None, students=())
    stream = Images(x, None, 10, "noise", "none", "crop-flip-reflect-batch:2").start(room)
    windows, flips = set(), 0
    for step in range(12):
        batch = stream.batch(step)
        assert batch.index is not None and batch.variant is not None
        mirrored = [bool(v % 2) for v in batch.variant.tolist()]
        flips += sum(mirrored)
        shown = (batch.images * 255).round().to(torch.uint8)
        fitting = [
            (dy, dx) for dy in range(5) for dx in range(5)
            if all(torch.equal(out, by_pillow(x[i].flip(-1) if m else x[i], 2, True, dy, dx, False))
                   for out, i, m in zip(shown, batch.index.tolist(), mirrored, strict=True))
        ]
        assert len(fitting) == 1, step  # one window explains all images of the batch
        windows |= set(fitting)
    assert len(windows) > 6 and 160 * 0.3 < flips < 160 * 0.7
    again = Images(x, None, 10, "noise", "none", "crop-flip-reflect-batch:2").start(room)
    assert torch.equal(again.batch(7).images, stream.batch(7).images)
