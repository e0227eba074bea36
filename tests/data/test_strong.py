"""Two views of a batch: the weak one as ever, the strong one drawn image by image."""

from __future__ import annotations

import pytest
import torch

import redistill as rd
from redistill.core import RedistillError, StreamContext
from redistill.data.augment import augmentation
from redistill.data.strong import GREY, OPERATIONS, _cut, strongly

PIXELS = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def images(augment: str, channels: int = 3) -> rd.data.Images:
    return rd.data.Images(PIXELS[:, :channels], torch.arange(12) % 3, 3, "twelve", "half", augment)


def room(seed: int = 0, batch: int = 4) -> StreamContext:
    return StreamContext(seed=seed, batch_size=batch, device=torch.device("cpu"), dtype=torch.float32, steps=6)


def test_the_weak_half_is_the_batch_without_a_strong_view() -> None:
    plain, two = images("crop-flip:2").start(room()), images("crop-flip:2+strong").start(room())
    for step in range(6):
        a, b = plain.batch(step), two.batch(step)
        assert torch.equal(a.images, b.images[:4]) and torch.equal(a.variant, b.variant[:4])  # type: ignore[index]
        assert b.index.tolist() == 2 * a.index.tolist() and b.labels.tolist() == 2 * a.labels.tolist()  # type: ignore[union-attr]
        assert not torch.equal(b.images[:4], b.images[4:])


def test_a_strong_view_depends_on_image_epoch_and_seed_alone() -> None:
    index = torch.arange(12)
    made = strongly(PIXELS, index, 3, 5)
    assert made.dtype == torch.uint8 and made.shape == PIXELS.shape
    assert torch.equal(strongly(PIXELS[[7, 2]], index[[7, 2]], 3, 5), made[[7, 2]])
    changed = [(made != strongly(PIXELS, index, *other)).flatten(1).any(1) for other in ((4, 5), (3, 6))]
    assert all(int(each.sum()) >= 10 for each in changed)
    resumed = images("crop-flip:2+strong").start(room())
    assert torch.equal(resumed.batch(4).images, images("crop-flip:2+strong").start(room()).batch(4).images)


def test_a_strong_view_knows_the_white_of_its_images() -> None:
    """Pixels of 17 grey levels were solarised, stretched and cut as if 255 were white: up to 16 times brighter than white."""
    levels = torch.randint(0, 17, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    digits = rd.data.Images(levels, torch.arange(40) % 2, 2, "levels", "digits", "none+strong")
    assert digits.peak == 16
    batch = digits.start(StreamContext(seed=0, batch_size=40, device=torch.device("cpu"), dtype=torch.float32, steps=1)).batch(0)
    white, black = ((v - 0.3053) / 0.3760 for v in (1.0, 0.0))
    assert float(batch.images.max()) == pytest.approx(white, abs=1e-6) and float(batch.images.min()) == pytest.approx(black, abs=1e-6)
    # what they would be with 256 levels, to the nearest of 17
    index, wide = torch.arange(40), ((levels.int() * 255 + 8) // 16).to(torch.uint8)
    assert torch.equal(strongly(levels, index, 0, 0, 16), ((strongly(wide, index, 0, 0).int() * 16 + 127) // 255).to(torch.uint8))


def test_only_sets_of_another_white_have_the_new_version() -> None:
    def numerics(**source: str) -> dict[str, int]:
        whole = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": source, "recipe": {"epochs": 1}}
        return dict(rd.Experiment.of(whole, device="cpu").numerics)

    assert numerics(data="digits", augment="none+strong")["data:strong"] == 2
    others = (("cifar10", "flip+strong"), ("digits", "flip"))
    assert not any("data:strong" in numerics(data=data, augment=augment) for data, augment in others)


def test_all_fourteen_operations_keep_size_and_kind() -> None:
    from PIL import Image

    for mode, shape in (("RGB", (16, 16, 3)), ("L", (16, 16))):
        image = Image.fromarray(PIXELS[0].permute(1, 2, 0)[..., : shape[2] if len(shape) == 3 else 1].squeeze().contiguous().numpy())
        for name, operation, low, high in OPERATIONS:
            for strength in (low, (low + high) / 2, high):
                made = operation(image, strength)
                assert (made.size, made.mode) == (image.size, mode), name
        assert _cut(image, 4, 0.5, 0.5).getpixel((8, 8)) == (GREY if mode == "RGB" else GREY[1])
    assert len(OPERATIONS) == 14
    assert strongly(PIXELS[:, :1], torch.arange(12), 0, 0).shape == (12, 1, 16, 16)


def test_names_of_two_views() -> None:
    assert augmentation("none+strong").strong and augmentation("crop-flip:8+strong").pad == 8 and not augmentation("flip").strong
    refused = {"crop-flip-reflect-batch+strong": "shares its offset", "strong": "unknown augmentation", "crop+strong": "crop-flip"}
    for name, message in refused.items():
        with pytest.raises(RedistillError, match=message):
            augmentation(name)
    with pytest.raises(RedistillError, match="strong views are of grey or coloured images, not of 2 channels"):
        images("none+strong", channels=2)


def test_a_run_with_mlkd_learns_from_both_views() -> None:
    teacher, student = rd.models.wrn(10, 2, 3, image_size=16, seed=1), rd.models.wrn(10, 1, 3, image_size=16)
    method = 2 * rd.CE() + rd.MLKD()
    recipe = rd.Recipe(steps=3, batch_size=6, lr=0.01)
    result = rd.fit(student, teacher, method, images("crop-flip:2+strong"), recipe, seed=0, device="cpu")
    assert result.diverged is None and set(result.losses) == {"CE", "MLKD"}
    with pytest.raises(RedistillError, match="MLKD compares a weak and a strong view"):
        rd.fit(student, teacher, method, images("crop-flip:2"), recipe, seed=0, device="cpu")
