"""Any data set of somebody else's as images in memory: a torch ``Dataset``, a Hugging Face one, a list of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from redistill.core import RedistillError
from redistill.core.batch import UNLABELLED
from redistill.data import decode
from redistill.data.formats import FEWEST
from redistill.data.images import Images
from redistill.errors import sentence

IMAGE_KEYS, LABEL_KEYS = ("image", "img", "pixel_values", "picture", "x"), ("label", "labels", "target", "fine_label", "y", "class")


class Indexed(Protocol):
    """What has a length and items by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def of(
    dataset: Indexed,
    *,
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
    size: int | None = None,
    name: str | None = None,
    normalise: str = "half",
    augment: str = "none",
    image: str | None = None,
    label: str | None = None,
) -> Images:
    """The images of a data set, read once, item by item, and held as bytes.

    An item is an image with its label, an image alone, or a mapping with one of the usual names. Where some items have a label and
    others none (missing, None or -1), terms that need labels act on the former. An image is a picture of Pillow, bytes
    [C, H, W] or [H, W, C], 16 bits without a sign (65535 is white), truth values (true is white), or floating point numbers between 0
    and 1 (``ToTensor``), which are rounded to bytes. Transforms of the data set run once for each image: leave random ones, and
    ``Normalize``, out of it, they belong to the stream.

    Args:
        classes: how many; default: the data set's own ``classes``, else the largest label + 1. class_names: default: its own.
        size: side of the square that images become; default: their own size, which must be the same for all.
        name: by which records call it. normalise, augment: of the stream.
        image, label: names of an item's entries (columns of a Hugging Face set), where they are not the usual ones.
    """
    if hasattr(dataset, "batch_size") and hasattr(dataset, "dataset"):
        raise RedistillError("rd.data.of takes the data set, not its loader: give loader.dataset; batches are made by the loop")
    if isinstance(dataset, Mapping) and len(dataset):
        parts = list(map(repr, dataset))
        raise RedistillError(
            f"rd.data.of takes one part of a data set, got a {type(dataset).__name__} of {', '.join(parts)}: give dataset[{parts[0]}]"
        )
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise RedistillError(
            f"rd.data.of takes a data set with a length and items by number, got a {type(dataset).__name__}: list(...) makes one of items"
        )
    if isinstance(dataset, tuple | list) and len(dataset) == 2 and getattr(dataset[0], "ndim", 0) == 4:
        raise RedistillError(
            "rd.data.of takes items, got a pair of arrays: give torch.utils.data.TensorDataset(images, labels), of tensors, or "
            "rd.data.Images(images, labels, classes, name, normalise)"
        )
    if not len(dataset):
        raise RedistillError("this data set holds no image")
    pixels: list[Tensor] = []
    labels: list[int] = []
    for index in range(len(dataset)):
        try:
            item = dataset[index]
        except Exception as error:  # somebody else's reader
            raise RedistillError(f"item {index} of this data set cannot be read: {sentence(error)}") from error
        shown, known = _parts(item, index, image, label)
        pixels.append(_bytes(shown, index, size))
        labels.append(UNLABELLED if known is None else known)
    channels = max(len(p) for p in pixels)
    same = [p.expand(channels, -1, -1) if len(p) == 1 else p for p in pixels]
    if len(shapes := sorted({tuple(p.shape) for p in same})) > 1:
        raise RedistillError(f"the images have {len(shapes)} shapes, from {list(shapes[0])} to {list(shapes[-1])}: give size=")
    names = tuple(map(str, class_names)) if class_names is not None else _names(dataset, LABEL_KEYS if label is None else (label,))
    if classes is None and names is None and max(labels) >= max(len(labels), FEWEST):
        raise RedistillError(
            f"the largest label is {max(labels)}, for {len(labels)} images: number the classes from 0, or say how many there are, classes="
        )
    y = None if max(labels) == UNLABELLED else torch.tensor(labels, dtype=torch.int64)
    if classes is None and y is not None:
        classes = len(names) if names is not None else int(y.max()) + 1
    return Images(torch.stack(same), y, classes, name or f"of:{type(dataset).__name__}", normalise, augment, class_names=names)


def _names(dataset: Any, keys: Sequence[str]) -> tuple[str, ...] | None:
    """The class names that a data set of torchvision or of the hub carries, also behind ``Subset``; ``keys``: columns of labels."""
    for _ in range(8):
        if isinstance(found := getattr(dataset, "classes", None), list | tuple) and all(isinstance(n, str) for n in found):
            return tuple(found)
        features = getattr(dataset, "features", None)
        if isinstance(features, Mapping):
            named = next((getattr(features[k], "names", None) for k in keys if k in features), None)
            return tuple(named) if named else None
        if (inner := getattr(dataset, "dataset", None)) is None:
            return None
        dataset = inner
    return None


def _parts(item: Any, index: int, image_key: str | None, label_key: str | None) -> tuple[Any, int | None]:
    if isinstance(item, Mapping):
        keys = IMAGE_KEYS if image_key is None else (image_key,)
        image = next((item[k] for k in keys if k in item), None)
        if image is None:
            raise RedistillError(
                f"item {index} has the keys {', '.join(map(str, item))} and no image among them ({', '.join(keys)}): name it, image="
            )
        if label_key is not None and label_key not in item:
            raise RedistillError(f"item {index} has the keys {', '.join(map(str, item))} and no {label_key!r} among them")
        label = next((item[k] for k in (LABEL_KEYS if label_key is None else (label_key,)) if k in item), None)
    elif isinstance(item, tuple | list) and item:
        image, label = item[0], item[1] if len(item) > 1 else None
    else:
        image, label = item, None
    if label is None:
        return image, None
    if isinstance(label, Tensor | np.ndarray | np.generic):
        flat = torch.as_tensor(label).flatten()
        if len(flat) != 1:
            raise RedistillError(f"item {index} has a label of {len(flat)} numbers, expected the number of one class")
        label = flat[0].item()
    if isinstance(label, bool) or not isinstance(label, int):
        raise RedistillError(f"item {index} has the label {label!r}, expected the whole number of a class, from 0")
    if label < UNLABELLED:
        raise RedistillError(f"item {index} has the label {label}, expected the number of a class from 0 on, or {UNLABELLED} for none")
    return image, None if label == UNLABELLED else label


def _bytes(image: Any, index: int, size: int | None) -> Tensor:
    """uint8 [C, H, W] of one image."""
    if isinstance(image, Image.Image):
        try:
            upright = decode.eight_bits(image)
        except decode.UNREADABLE as error:
            raise RedistillError(f"the picture of item {index} cannot be used ({error})") from error
        picture = upright.convert("L" if upright.mode in decode.GREY else "RGB")
        return decode.tensor_of(picture if size is None else decode.whole_image(picture, size, size))
    if not isinstance(image, Tensor | np.ndarray):
        raise RedistillError(f"the image of item {index} is a {type(image).__name__}, expected a picture of Pillow, a tensor or an array")
    try:  # the rows of an array may run backwards, and its bytes be those of another machine
        x = image if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image, image.dtype.newbyteorder("=")))
    except TypeError as error:
        raise RedistillError(f"the image of item {index} is an array of {image.dtype}, expected bytes") from error
    x = x[None] if x.ndim == 2 else x
    if x.ndim == 3 and x.shape[0] not in (1, 3) and x.shape[2] in (1, 3):
        x = x.permute(2, 0, 1)
    if x.ndim != 3 or x.shape[0] not in (1, 3) or not x.numel():
        raise RedistillError(f"the image of item {index} has the shape {list(x.shape)}, expected [C, H, W] with one or three channels")
    if x.dtype == torch.uint16:
        x = (x.to(torch.int64) * 255 + 32767) // 65535  # as pictures of 16 bits
    elif x.dtype == torch.bool:
        x = x.to(torch.uint8) * 255
    if x.is_floating_point():
        low, high = float(x.min()), float(x.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RedistillError(f"the image of item {index} holds NaN or infinity: mend it, or leave it out")
        if 0 <= low and 2 < high <= 255:
            raise RedistillError(
                f"the image of item {index} has floating point numbers up to {high:.3g}, expected 0 to 1: divide by 255, or give bytes"
            )
        if not (0 <= low and high <= 1):
            raise RedistillError(
                f"the image of item {index} has numbers from {low:.3g} to {high:.3g}: leave Normalize out of the data set's transforms, "
                f"images are normalised by the stream (or give bytes)"
            )
        x = (x * 255).round()
    elif x.dtype != torch.uint8 and (int(x.min()) < 0 or int(x.max()) > 255):
        raise RedistillError(f"the image of item {index} has numbers from {int(x.min())} to {int(x.max())}, expected bytes, 0 to 255")
    x = x.to(torch.uint8)
    if size is None or x.shape[1:] == (size, size):
        return x
    return decode.tensor_of(decode.whole_image(Image.fromarray(x.permute(1, 2, 0).squeeze(2).numpy()), size, size))
