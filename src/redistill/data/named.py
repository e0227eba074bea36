"""A data set by the name that an experiment gives it: the whole name, what it stands for, its content, and the images.

Beside the names of :func:`redistill.data.load` there are data of one's own, ``./file.py:name``, a function without arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redistill.data import catalogue
from redistill.data.augment import RESIZED
from redistill.data.catalogue import OFFICIAL, OWN
from redistill.data.folders import PARTS
from redistill.errors import RedistillError, nearest, sentence
from redistill.files import digest
from redistill.paths import expanded, is_there
from redistill.user_code import load, locate

PATHS = ("arrays", "folder", "images")  # kinds whose names hold a path
PICTURES = ("folder", "images")  # kinds that are read from picture files


def full_name(name: str, part: Literal["train", "test"], folder: Path, data_dir: Path | None = None) -> str:
    """The name with its part: ``cifar10`` is ``cifar10:train`` in [source], ``cifar10:test`` in [evaluate].

    A data set without a part of that name has its own for it: Tiny-ImageNet is evaluated on ``val``, and so is a folder that
    has ``train/`` and ``val/``. A path that exists beside the experiment file becomes absolute.
    """
    if is_own_data(name):
        return f"{locate(name, folder).file}:{name.rpartition(':')[2]}"
    kind = name.partition(":")[0]
    if kind in PATHS:
        _, place, which = catalogue.divided(name, folder)
        there = folder / expanded(place)
        if part == "test" and kind == "folder" and not which:
            which = _part_beside(place, folder, data_dir)
        known = f"{kind}:{there.resolve() if place and is_there(there) else place}"
        return f"{known}:{which}" if which else known
    if (row := OFFICIAL.get(name)) is not None:
        return f"{name}:{part if part in row.parts else row.evaluated_on}"
    every = [*OFFICIAL, *OWN]
    if kind not in every:
        if expanded(name).is_dir():
            raise RedistillError(f"{name} is a folder: write folder:{name} (its class folders) or images:{name} (without labels)")
        if expanded(name).is_file():
            raise RedistillError(f"{name} is a file: {arrays_or_folder(name)}")
        raise RedistillError(nearest(kind, every, "data"))
    if (row := OFFICIAL.get(kind)) is not None and name.partition(":")[2] not in row.parts:
        raise RedistillError(nearest(name, [f"{kind}:{one}" for one in row.parts], "part"))
    return name


def arrays_or_folder(name: str) -> str:
    """What to write where a file was given as data."""
    kind = Path(name).suffix.lower()
    if kind == ".npz":
        return f"write arrays:{name} (images x and labels y)"
    if kind == ".py":
        return f"say which function in it is meant, {name}:NAME"
    return "give a folder of images (an archive is to be unpacked first), or arrays:FILE.npz"


def _part_beside(place: str, folder: Path, data_dir: Path | None) -> str:
    """The part of a folder of images that lies beside its ``train/``: "val" where there is one, under any of its names, else
    "test"; "" where the folder is not divided."""
    for base in (folder, data_dir):
        for root in catalogue.candidates(place, base):
            for part in ("val", "test"):
                if is_there(root / "train") and any(is_there(root / name) for name in PARTS[part]):
                    return part
    return ""


def evaluated_on(name: str, data_dir: Path | None = None) -> str | None:
    """What stands for a test set beside a source that trains on the training part of its data; None where nothing does."""
    if is_own_data(name):
        return None
    if (row := catalogue.row_of(name)) is not None:
        return f"{row.name}:{row.evaluated_on}" if name == f"{row.name}:train" else None
    kind, place, part = catalogue.divided(name, data_dir)
    if kind != "folder" or part not in ("", "train"):
        return None
    beside = _part_beside(place, Path(), data_dir) or ("val" if part else "")  # without train/, "train" and "val" are drawn from it
    return f"folder:{place}:{beside}" if beside else None


def defaults(
    name: str,
    part: Literal["train", "test"],
    folder: Path,
    data_dir: Path | None = None,
    *,
    trust_code: bool = False,
    opening: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """A data set's own normalisation and augmentation; data of one's own are opened to ask them."""
    full = full_name(name, part, folder)
    kind, _, which = full.partition(":")
    if (row := OFFICIAL.get(kind)) is not None:
        return {"normalise": row.normalise, "augment": row.augment_of(which)}
    made = load_data(full, data_dir, trust_code=trust_code, opening=opening)
    return {"normalise": made.normalise, "augment": getattr(made, "augment", "none")}


def content(full: str, data_dir: Path | None = None, opening: Mapping[str, Any] | None = None) -> str | None:
    """SHA-256 of data of one's own (of the file that makes them, for ``./file.py:name``); None for official data."""
    if catalogue.row_of(full) is not None:
        return None
    if is_own_data(full):
        found = locate(full, Path())
        return digest(f"{found.name} {found.code}")
    return str(load_data(full, data_dir, opening=opening).manifest()["sha256"])


def load_data(
    name: str,
    data_dir: Path | None,
    wanted: str | None = None,
    *,
    trust_code: bool = False,
    opening: Mapping[str, Any] | None = None,
) -> Any:
    """A data set by name; ``./file.py:name`` is called without arguments.

    Args:
        wanted: the content it must have. trust_code: the user says that code of one's own may be run.
        opening: how picture files are opened, ``size`` and ``on_corrupt`` of :func:`redistill.data.folders.folder`; of no
            meaning for data that hold pixels already.
    """
    pictures = dict(opening or {}) if name.partition(":")[0] in PICTURES else {}
    if wanted is not None and (found := content(name, data_dir, pictures)) != wanted:
        raise RedistillError(f"{name} has changed: its content is {str(found)[:12]}, the experiment was made with {wanted[:12]}")
    if is_own_data(name):
        make = load(name, Path(), code=locate(name, Path()).code, trusted=trust_code).object
        try:
            made = make()
        except RedistillError:
            raise
        except Exception as error:  # somebody else's function
            raise RedistillError(f"{name} makes no data set: {sentence(error)}") from error
        if not all(hasattr(made, needed) for needed in ("labelled", "classes", "image_shape", "batches")):
            raise RedistillError(f"{name} must make images (redistill.data), it made a {type(made).__name__}: return rd.data.of(dataset)")
        return made
    return catalogue.load(name, data_dir, **pictures)


def is_own_data(name: str) -> bool:
    """Whether a name is ``./file.py:name``, and no folder of a data set that happens to be called so."""
    return ".py:" in name and name.partition(":")[0] not in OWN


def opening_words(rows: Mapping[str, Any]) -> dict[str, Any]:
    """How picture files are opened, out of the settings of a source: their augmentation where crops are cut out of the files themselves."""
    found = {key: rows[key] for key in ("size", "on_corrupt") if rows.get(key) is not None}
    name = rows.get("augment")
    if isinstance(name, str) and name.partition(":")[0].partition("+")[0] == RESIZED:
        found["augment"] = name
    return found


def shown_like(opening: Mapping[str, Any]) -> dict[str, Any]:
    """How pictures are opened that are shown as they are, beside training images that are opened by ``opening``."""
    return {key: value for key, value in opening.items() if key != "augment"}


@dataclass(frozen=True)
class Looks:
    """What of a data set the cost of a run depends on."""

    images: int
    classes: int
    channels: int
    size: int


UNKNOWN = Looks(0, 10, 3, 32)
"""Data of one's own that are not on this machine: they are counted as CIFAR-10's images, and their number as none."""


@functools.cache
def looks(name: str) -> Looks:
    """From the catalogue; data of one's own are opened, once."""
    if (row := catalogue.row_of(name)) is not None:
        return Looks(catalogue.count_of(name) or 0, row.classes, row.channels, row.size)
    try:
        found = load_data(name, None)
        channels, size, *_ = found.image_shape
        return Looks(int(found.count), int(found.classes or UNKNOWN.classes), channels, size)
    except RedistillError:
        return UNKNOWN
