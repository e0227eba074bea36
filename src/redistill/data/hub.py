"""Data sets of the Hugging Face hub, through its ``datasets`` library (an extra that is imported only here)."""

from __future__ import annotations

import torch

from redistill.core import RedistillError
from redistill.data import decode
from redistill.data.images import Images


def huggingface(name: str, part: str = "train", *, size: int | None = None) -> Images:
    """One split of an image data set, held in memory.

    The pictures are the column of type ``Image``, the labels the one of type ``ClassLabel`` (CIFAR-100: the first of them);
    without such a column the images are unlabelled. Grey pictures keep one channel where the first one has one.

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
    rows = datasets.load_dataset(name, split=part)
    columns = {kind: [c for c, f in rows.features.items() if type(f).__name__ == kind] for kind in ("Image", "ClassLabel")}
    if not columns["Image"]:
        raise RedistillError(f"hf:{name} has no column of images, only {', '.join(rows.features)}: choose an image data set")
    pictures = [row[columns["Image"][0]] for row in rows]
    mode = "L" if pictures and pictures[0].mode in ("1", "L") else "RGB"
    pictures = [picture.convert(mode) for picture in pictures]
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
    x = torch.stack([decode.tensor_of(picture) for picture in pictures])
    classes = None if class_names is None else len(class_names)
    return Images(x, y, classes, f"hf:{name}:{part}", "half", class_names=class_names)
