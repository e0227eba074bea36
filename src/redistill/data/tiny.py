"""Tiny-ImageNet (Stanford CS231n): 200 classes of ImageNet at 64x64."""

from __future__ import annotations

from pathlib import Path

import torch

from redistill.core import RedistillError
from redistill.data import decode
from redistill.data.fetch import File, Place, obtain
from redistill.data.official import Part

PLACE = Place(
    "tiny-imagenet-200",
    File(
        "tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
        (
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "https://huggingface.co/datasets/cnak47/cv-datasets/resolve/main/tiny-imagenet-200.zip",
        ),
    ),
)
# the unpacked images have no published checksums: the archive's is checked before it is unpacked
FILES = (File("wnids.txt", None), File("words.txt", None), File("val/val_annotations.txt", None))


def read_tiny_imagenet(part: str, data_dir: str | Path | None = None, download: bool = False) -> Part:
    """``train`` or ``val``, images [3, 64, 64].

    The official test part has no labels. A label is the position of the class in ``wnids.txt``; grey images become RGB.
    """
    ids, words, annotations = obtain(PLACE, FILES, data_dir, download)
    root = ids.parent
    wnids = ids.read_text().split()
    label = {wnid: i for i, wnid in enumerate(wnids)}
    if part == "train":
        found = [(file, label[w]) for w in wnids for file in _images(root, f"train/{w}/images")]
    else:
        rows = [line.split("\t") for line in annotations.read_text().splitlines() if line]
        if odd := sorted({row[1] for row in rows} - set(label)):
            raise RedistillError(f"{annotations} names {odd[0]}, which is not one of the {len(wnids)} classes in {ids}")
        found = [(f"val/images/{row[0]}", label[row[1]]) for row in rows]
    x = decode.read_all(root, [file for file, _ in found], 64, 64, decode.workers_or_all(None))
    spoken = dict(line.split("\t", 1) for line in words.read_text().splitlines() if line)
    return Part(x, torch.tensor([y for _, y in found]), tuple(spoken.get(w, w) for w in wnids))


def _images(root: Path, below: str) -> list[str]:
    if not (root / below).is_dir():
        raise RedistillError(f"{root / below} is missing: delete {root} and unpack the archive again")
    return [f"{below}/{file}" for file in decode.image_files(root / below)]
