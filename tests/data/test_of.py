"""Data sets of other people become images: pairs, mappings, pictures, floats; what is normalised already is refused."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import redistill as rd
from redistill.core import RedistillError

PIXELS = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


class Pictures(Dataset[Any]):
    """As torchvision's are: pictures and numbers, with the names of classes."""

    classes = ("ant", "bee", "cow")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(PIXELS[index].permute(1, 2, 0).numpy()), int(LABELS[index])


class Columns(list[Any]):
    """As the hub's are: mappings."""


class Torn(Pictures):
    """Whose files are gone."""

    def __getitem__(self, index: int) -> Any:
        raise FileNotFoundError(2, "No such file", "torn.png")


def test_pixels_of_other_numbers_are_scaled_by_their_white() -> None:
    """Sixteen bits as in pictures (65535 is white), masks from black to white, rows that run backwards, bytes of another machine."""
    wide = np.array([[0, 128, 257 * 7, 65535]], np.uint16)
    made = [wide, torch.from_numpy(wide), wide.astype(">u2"), wide[:, ::-1]]
    images = rd.data.of([(x, 0) for x in made])
    assert images.x[:, 0, 0].tolist() == [[0, 0, 7, 255]] * 3 + [[255, 7, 0, 0]]
    with Image.fromarray(wide) as picture:
        assert torch.equal(rd.data.of([(picture, 0)]).x[0], images.x[0])
    assert rd.data.of([(np.array([[False, True]]), 0)]).x.flatten().tolist() == [0, 255]


@pytest.mark.parametrize(
    "made",
    [
        Pictures(),
        TensorDataset(PIXELS, LABELS),
        TensorDataset(PIXELS / 255, LABELS),
        [(x.permute(1, 2, 0).numpy(), np.int64(y)) for x, y in zip(PIXELS, LABELS, strict=True)],
        Columns({"img": x, "fine_label": int(y)} for x, y in zip(PIXELS, LABELS, strict=True)),
    ],
    ids=["pictures", "bytes", "floats", "arrays", "columns"],
)
def test_every_form_gives_the_same_bytes(made: Any) -> None:
    images = rd.data.of(made)
    assert torch.equal(images.x, PIXELS) and images.y is not None and torch.equal(images.y, LABELS) and images.classes == 3
    assert images.sha256 == rd.data.of(Pictures()).sha256


def test_bytes_are_no_levels_of_a_named_set() -> None:
    """Of pixels to 255 under normalise="digits" 16 counted as 1: the network saw them up to 16 times too bright."""
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bytes_of = TensorDataset(x, torch.arange(4) % 2)
    with pytest.raises(RedistillError, match=r"pixels run to 25\d, and 16 counts as 1 .*and then \.with_\(normalise='digits'\)"):
        rd.data.of(bytes_of, normalise="digits")
    with pytest.raises(RedistillError, match=r"of bytes 255 does, Images\(\.\.\., peak=255\)"):
        rd.data.Images(x, None, None, "mine", "mine (mean 0.5, std 0.5, peak 16)")
    there = rd.data.of(bytes_of).with_(normalise="digits").normalised()
    assert torch.equal(there, rd.data.Images(x, None, None, "mine", "digits", peak=255).normalised()) and float(there.max()) < 2
    assert rd.data.of(TensorDataset(x // 16, torch.arange(4) % 2), normalise="digits").peak == 16


def test_names_come_with_the_set_and_a_subset_keeps_them() -> None:
    images = rd.data.of(Subset(Pictures(), [0, 1]))
    assert images.class_names == ("ant", "bee", "cow") and images.classes == 3 and len(images) == 2
    assert rd.data.of(TensorDataset(PIXELS)).y is None
    assert rd.data.of(Pictures(), size=4).image_shape == (3, 4, 4)


def test_such_images_are_a_source() -> None:
    train = rd.data.of(TensorDataset(PIXELS, LABELS))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    result = rd.fit(net, None, rd.CE(), train, rd.Recipe(steps=2, batch_size=4), seed=0, evaluate={"test": train})
    assert result.steps == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (TensorDataset(PIXELS / 255 * 2 - 1, LABELS), "leave Normalize out of the data set's transforms"),
        (TensorDataset(PIXELS * 1.0, LABELS), "floating point numbers up to .*, expected 0 to 1: divide by 255, or give bytes"),
        (TensorDataset(PIXELS * float("nan"), LABELS), "the image of item 0 holds NaN or infinity"),
        ((PIXELS, LABELS), r"got a pair of arrays: give torch.utils.data.TensorDataset\(images, labels\)"),
        (DataLoader(TensorDataset(PIXELS, LABELS)), "give loader.dataset"),
        (TensorDataset(PIXELS, LABELS.float()), r"has the label 0\.0, expected the whole number of a class"),
        ([{"a": 1}], "has the keys a and no image among them"),
        ([PIXELS[0], PIXELS[1, :, :4]], r"the images have 2 shapes, .*give size="),
        ([torch.zeros(5, 8, 8)], r"has the shape \[5, 8, 8\]"),
        ([("a.png", 0)], "is a str, expected a picture"),
        ([()], "is a tuple, expected a picture"),
        ([(np.array([["a"]]), 0)], "is an array of <U1, expected bytes"),
        ([torch.zeros(3, 0, 0)], r"has the shape \[3, 0, 0\]"),
        (Torn(), "item 0 of this data set cannot be read: torn.png: No such file"),
        ([], "holds no image"),
        (iter([]), "takes a data set with a length"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_refused(given: Any, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        rd.data.of(given)


def test_the_loop_says_how_a_data_set_becomes_images() -> None:
    given: Any = TensorDataset(PIXELS, LABELS)
    with pytest.raises(RedistillError, match=r"rd\.data\.of\("):
        rd.fit(torch.nn.Linear(1, 1), None, rd.CE(), given, rd.Recipe(steps=1), seed=0)




# -- Hugging Face, as far as one can without it -----------------------------------------------------------------------------
class Names:
    """What ``datasets.ClassLabel`` has."""

    names: ClassVar[list[str]] = ["cat", "dog", "emu"]


class Hub:
    """A ``datasets.Dataset`` as far as it is used: a length, rows by number, features by column."""

    def __init__(self, labels: list[int | None], image: str = "image", label: str = "label") -> None:
        self.labels, self.keys = labels, (image, label)
        self.features = {image: object(), label: Names()}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = Image.fromarray(PIXELS[index].permute(1, 2, 0).numpy())
        return {self.keys[0]: picture, self.keys[1]: self.labels[index], "id": index}


def test_hugging_face_sets_by_their_columns() -> None:
    images = rd.data.of(Hub([2, 0, 1, 1]))
    assert images.class_names == ("cat", "dog", "emu") and images.y is not None and images.y.tolist() == [2, 0, 1, 1]
    assert torch.equal(images.x, PIXELS[:4])
    other = rd.data.of(Hub([2, 0, 1, 1], "scan", "finding"), image="scan", label="finding")
    assert torch.equal(other.x, images.x) and other.class_names == images.class_names and torch.equal(other.y, images.y)  # type: ignore[arg-type]
    with pytest.raises(RedistillError, match=r"no image among them \(image, img, .*\): name it, image="):
        rd.data.of(Hub([0, 1], "scan"))
    with pytest.raises(RedistillError, match="and no 'findings' among them"):
        rd.data.of(Hub([0, 1]), label="findings")
    with pytest.raises(RedistillError, match=r"one part of a data set, got a dict of 'train', 'test': give dataset\['train'\]"):
        rd.data.of({"train": Hub([0]), "test": Hub([0])})  # type: ignore[arg-type]
    with pytest.raises(RedistillError, match="has the label -2, expected the number of a class from 0 on, or -1 for none"):
        rd.data.of(Hub([0, -2]))
    assert rd.data.of(Hub([-1, None])).y is None


def test_items_without_a_label_stand_beside_those_with_one() -> None:
    for labels in ([0, None, 2, -1], [0, -1, 2, None]):
        images = rd.data.of(Hub(labels))
        assert images.y is not None and images.y.tolist() == [0, -1, 2, -1] and images.partly_labelled and images.classes == 3
    mixed = rd.data.of([(PIXELS[0], 0), (PIXELS[1],), (PIXELS[2], 1)])
    assert mixed.y is not None and mixed.y.tolist() == [0, -1, 1]


@pytest.mark.parametrize("largest", [1000, 10**12, 2**70])
def test_labels_beyond_the_images_are_no_classes(largest: int) -> None:
    """A network of 10^12 classes was asked for, in the allocator's words."""
    with pytest.raises(RedistillError, match=f"the largest label is {largest}, for 3 images: number the classes from 0, or .*classes="):
        rd.data.of([(PIXELS[i], label) for i, label in enumerate((0, largest, 1))])
    assert rd.data.of([(PIXELS[0], 0), (PIXELS[1], 1000)], classes=1001).classes == 1001
