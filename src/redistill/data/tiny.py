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
    wnids = _text(ids).split()
    label = {wnid: i for i, wnid in enumerate(wnids)}
    if len(label) != len(wnids) or not wnids:
        raise RedistillError(f"{ids} names {len(wnids)} classes, {len(label)} of them different: get the official archive again")
    if part == "train":
        found = [(file, label[w]) for w in wnids for file in _images(root, f"train/{w}/images")]
    else:
        rows = [line.split("\t") for line in _text(annotations).splitlines() if line.strip()]
        if odd := next((row for row in rows if len(row) < 2 or row[0] != Path(row[0]).name), None):
            raise RedistillError(
                f"{annotations} has the line {str(odd)[:100]}, expected a file, a tab and a class: get the official archive again"
            )
        if unknown := sorted({row[1] for row in rows} - set(label)):
            raise RedistillError(f"{annotations} names {unknown[0][:40]}, which is not one of the {len(wnids)} classes in {ids}")
        found = [(_validation(root, row[0], row[1]), label[row[1]]) for row in rows]
    x = decode.read_all(root, [file for file, _ in found], 64, 64, decode.workers_or_all(None))
    spoken = {wnid: name for wnid, tab, name in (line.partition("\t") for line in _text(words).splitlines()) if tab}
    return Part(x, torch.tensor([y for _, y in found]), tuple(spoken.get(w, w) for w in wnids))


def _images(root: Path, below: str) -> list[str]:
    if not (root / below).is_dir():
        raise RedistillError(f"{root / below} is missing: delete {root} and unpack the archive again")
    return [f"{below}/{file}" for file in decode.image_files(root / below)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RedistillError(f"{path} cannot be read as text ({error}): get the official archive again") from error


def _validation(root: Path, file: str, wnid: str) -> str:
    """Where an image of ``val`` lies: as unpacked, or in the folder of its class, where many scripts move it."""
    for place in ("images", f"{wnid}/images", wnid):
        if (root / "val" / place / file).is_file():
            return f"val/{place}/{file}"
    raise RedistillError(f"{root / 'val' / 'images' / file} is missing, also in val/{wnid}/: unpack the archive again")
