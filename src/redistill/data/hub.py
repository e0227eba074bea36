"""Data sets of the Hugging Face hub, through its ``datasets`` library (an extra that is imported only here)."""

from __future__ import annotations

import torch
from PIL import Image

from redistill.core import RedistillError
from redistill.core.batch import UNLABELLED
from redistill.data import decode
from redistill.data.formats import FEWEST
from redistill.data.images import Images
from redistill.errors import sentence


def huggingface(name: str, part: str = "train", *, size: int | None = None) -> Images:
    """One split of an image data set, held in memory.

    The pictures are the column of type ``Image``, the labels the one of type ``ClassLabel`` (CIFAR-100: the first of them);
    without it, whole numbers called ``label`` are, and else the images are unlabelled. Pictures keep one channel where all are grey.

    Args:
        name: as on the hub, for example "uoft-cs/cifar10". part: name of the split.
        size: side of the square that images become; default: their own size, which must then be the same for all.
    """
    try:
        import datasets
    except ImportError as error:
        raise RedistillError(
            "hf: data sets need the library 'datasets', which is not installed: pip install 'redistill[hf]'"
        ) from error
    if int(datasets.__version__.split(".")[0]) < 3:
        # earlier versions could run a script that lies beside the data
        raise RedistillError(f"hf: needs datasets >= 3, got {datasets.__version__}: pip install --upgrade datasets")
    try:
        rows = datasets.load_dataset(name, split=part)
    except Exception as error:  # of many kinds: no such set, no such split, no network
        raise RedistillError(f"hf:{name}: its split {part!r} cannot be had: {sentence(error)}") from error
    columns = {kind: [c for c, f in rows.features.items() if type(f).__name__ == kind] for kind in ("Image", "ClassLabel")}
    if not columns["Image"]:
        raise RedistillError(f"hf:{name} has no column of images, only {', '.join(rows.features)}: choose an image data set")
    pictures = []
    for i, row in enumerate(rows):
        if row[columns["Image"][0]] is None:
            raise RedistillError(f"hf:{name}: row {i} has no picture: filter the set, or choose another")
        pictures.append(row[columns["Image"][0]])
    if not pictures:
        raise RedistillError(f"hf:{name} holds no picture in its split {part!r}: choose another")
    mode = "L" if all(picture.mode in decode.GREY for picture in pictures) else "RGB"
    pictures = [_eight_bits(picture, name, i).convert(mode) for i, picture in enumerate(pictures)]
    if size is not None:
        pictures = [decode.whole_image(picture, size, size) for picture in pictures]
    if len(sizes := sorted({picture.size for picture in pictures})) > 1:
        raise RedistillError(
            f"hf:{name} has images of {len(sizes)} sizes, from {sizes[0]} to {sizes[-1]}: give redistill.data.huggingface a size"
        )
    y = class_names = None
    if columns["ClassLabel"]:
        column = columns["ClassLabel"][0]
        y, class_names = torch.tensor(rows[column]), tuple(rows.features[column].names)
        y = None if int(y.max()) == UNLABELLED else y  # a test part whose labels are kept secret
    else:  # whole numbers that are called labels are labels
        for column in ("label", "labels", "fine_label"):
            if str(getattr(rows.features.get(column), "dtype", "")).startswith(("int", "uint")):
                y = torch.tensor(rows[column], dtype=torch.int64)
                if int(y.min()) < 0 or int(y.max()) >= max(len(y), FEWEST):
                    raise RedistillError(f"hf:{name}: {column} runs from {y.min()} to {y.max()}: labels count from 0, without gaps")
                break
    x = torch.stack([decode.tensor_of(picture) for picture in pictures])
    classes = len(class_names) if class_names is not None else None if y is None else int(y.max()) + 1
    return Images(x, y, classes, f"hf:{name}:{part}", "half", class_names=class_names)


def _eight_bits(picture: Image.Image, name: str, row: int) -> Image.Image:
    try:
        return decode.eight_bits(picture)
    except decode.UNREADABLE as error:
        raise RedistillError(f"hf:{name}: the picture of row {row} cannot be used ({error}): filter the set, or choose another") from error
