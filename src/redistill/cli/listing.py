"""What ``redistill list`` says, made from the package itself by ``scripts/make_docs.py``: no command waits for 35 networks to be built."""

from __future__ import annotations

import json
import sys

import torch

from redistill import data, models, terms
from redistill.core import Term

_OWN = {
    "arrays": "a file of numpy: x, images, and y, their classes (left out: no labels)",
    "folder": "pictures, one folder a class, in train/ and val/ or undivided",
    "images": "pictures without labels, in one folder",
    "hf": "a data set of the Hugging Face Hub",
}


def text() -> str:
    """The content of ``listed.json`` beside this file."""
    found = {
        "terms": {cls.__name__: _about(cls) for cls in terms.ALL},
        "models": {name: _size(name) for name in models.names()},
        "data": _data(),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _about(cls: type[Term]) -> str:
    """The first line of its module, where that is its own, else of the class."""
    alone = sum(other.__module__ == cls.__module__ for other in terms.ALL) == 1
    documented = sys.modules[cls.__module__].__doc__ if alone else cls.__doc__
    return next(iter((documented or "").strip().splitlines()), "")


def _size(name: str) -> str:
    """Parameters, multiply-accumulates of one image at the network's own size, and the stages' shapes."""
    with torch.device("meta"):  # shapes without weights: nothing is allocated or computed
        info = models.describe(models.build(name, initialise=False))
    stages = ", ".join("x".join(map(str, shape)) for _, shape in info.stages)
    return f"{info.parameters:>10,} parameters  {info.macs / 1e6:>8.1f} M MACs  {stages}"


def _data() -> dict[str, str]:
    """Official parts with what is in them, and the forms of data of one's own."""
    found = {
        f"{row.name}:{part}": f"{row.classes:>3} classes  {count:>7,} images of {row.channels}x{row.size}x{row.size}"
        for row in data.OFFICIAL.values()
        for part, count in row.parts.items()
    }
    return found | {form: _OWN[kind] for kind, form in data.OWN.items()}
