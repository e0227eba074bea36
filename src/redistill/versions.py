"""Versions of everything in this package that can move a number; they are part of an experiment's identity.

Some stand in every experiment. The others, which came later, stand there from version 2 on, so that no experiment of before
has another identity.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable

from redistill.core import Term
from redistill.models.build import family

ALWAYS = {"rng": "rng", "taps": "features.places", "fit": "train.loop", "evaluate": "metrics"}

RAISED = {
    "optimise": "train.optimise", "precision": "precision", "recipe": "recipe", "ramp": "core.ramp", "normalise": "data.normalise",
    "data:augment": "data.augment", "model:arch": "models.arch",
}  # fmt: skip

READERS = {"folder": ("data.folders", "data.decode"), "images": ("data.folders", "data.decode"), "hf": ("data.decode",),
           "tiny-imagenet": ("data.decode",)}  # fmt: skip


def version(module: str) -> int:
    """The version of a module of this package, asked for when it is needed."""
    found: int = importlib.import_module(f"redistill.{module}").NUMERICS
    return found


def numerics(terms: Iterable[Term], models: Iterable[str], data: Iterable[str]) -> dict[str, int]:
    """What is used, by name, with its version. ``models``, ``data``: names of networks and data sets of this package."""
    found = {key: version(module) for key, module in ALWAYS.items()}
    found |= {f"term:{type(term).__name__}": term.numerics for term in terms}
    later = dict(RAISED)
    later |= {f"model:{name}": f"models.{name}" for name in map(family, models) if name is not None}
    for name in data:
        later |= {module.replace(".", ":"): module for module in READERS.get(name.partition(":")[0], ())}
    return found | {key: number for key, module in later.items() if (number := version(module)) > 1}


def of_modules(names: Iterable[str]) -> dict[str, int]:
    """Versions of those modules of this package that have one, by name; whatever else is named has none."""
    found = {name: getattr(sys.modules.get(name), "NUMERICS", None) for name in names if name.startswith("redistill.")}
    return {name: number for name, number in found.items() if isinstance(number, int)}
