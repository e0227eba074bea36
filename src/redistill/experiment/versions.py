"""Versions of everything that can move a number of an experiment; they are part of its identity.

Some stand in every experiment. The others, which came later, stand there from version 2 on, so that no experiment of before
has another identity.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from redistill.core import Term
from redistill.experiment.source.images import Settings
from redistill.models.build import family

if TYPE_CHECKING:
    from redistill.experiment.evaluate import Evaluate
    from redistill.experiment.networks import Net

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


def _sources(source: Any) -> Iterator[Any]:
    """A source and the sources it is made of."""
    yield source
    for half in ("first", "second"):
        if isinstance(inner := getattr(source, half, None), Settings):
            yield from _sources(inner)


def numerics(terms: Iterable[Term], source: Any, nets: Sequence[Net | None], shown: Evaluate) -> dict[str, int]:
    """The section ``numerics`` of an experiment.

    Args:
        terms: of its method. source: its settings. nets: teacher, if there is one, and student. shown: its evaluation.
    """
    found = {key: version(module) for key, module in ALWAYS.items()}
    found |= {f"term:{type(term).__name__}": term.numerics for term in terms}
    found |= source.numerics()
    models = [net.model for net in nets if net is not None and net.code is None]
    models += [one.generator for one in _sources(source) if getattr(one, "generator", None) and one.code is None]
    data = [*shown.sets.values(), *(one.data for one in _sources(source) if hasattr(one, "data"))]
    data += [beside for one in _sources(source) if (beside := getattr(one, "beside", None)) is not None]
    later = dict(RAISED)
    later |= {f"model:{name}": f"models.{name}" for name in map(family, models) if name is not None}
    for name in data:
        later |= {module.replace(".", ":"): module for module in READERS.get(name.partition(":")[0], ())}
    return found | {key: number for key, module in later.items() if (number := version(module)) > 1}
