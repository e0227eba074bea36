"""What people hand to the loop, as it is or refused with the way out: one sentence for what is nearly a source or a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redistill.core import RedistillError, Source
from redistill.data import DataSet
from redistill.metrics import ImageSet

WAYS = "rd.data.arrays(file), rd.data.folder(path) or rd.data.Images(x, y, classes, name, normalise) makes one"


def source_of(given: Any) -> Source:
    """``given`` if it is a source of images."""
    if isinstance(given, type):
        raise RedistillError(f"the source must be made before it is given: {given.__name__}(...), not the class {given.__name__}")
    if isinstance(given, Source):
        return given
    raise RedistillError(f"the source must be images (redistill.data) or a redistill.Source, {_what(given)}: {_way(given)}")


def sets_of(given: Any) -> dict[str, ImageSet]:
    """Evaluation sets by name out of what was given as ``evaluate=``."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        pair = isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(one, DataSet) for one in given)
        way = 'evaluate={"test": test} of train, test = ...' if pair else 'give evaluate={"test": test}'
        raise RedistillError(f"evaluate= takes evaluation sets by name, {_what(given)}: {way}")
    for name, images in given.items():
        if not isinstance(name, str):
            raise RedistillError(f'evaluate= takes sets by name, got the name {name!r}: evaluate={{"test": test}}')
        if not all(hasattr(images, needed) for needed in ("classes", "normalise", "all_labels", "with_", "batches")):
            raise RedistillError(f"evaluate[{name!r}] must be images (redistill.data), {_what(images)}: {_way(images)}")
        if images.all_labels is None:
            raise RedistillError(f"evaluate[{name!r}] has no labels, and an accuracy needs them: give labelled images")
    return dict(given)


def lacking(counted: int, wanted: int) -> str:
    """The way out for a set that may only lack images of the last classes; "" where it has more than is wanted."""
    if counted > wanted:
        return ""
    return (
        f"; where the set only lacks images of the last classes, say how many there are: rd.data.arrays(file, classes={wanted}), or an "
        f"array classes = {wanted} in the .npz file"
    )


def _what(given: Any) -> str:
    kind = type(given)
    if isinstance(given, tuple | list):
        return f"got a {kind.__name__} of {len(given)} ({', '.join(type(one).__name__ for one in given[:3])})"
    return f"got a {kind.__module__.split('.')[0]} {kind.__name__}" if kind.__module__ != "builtins" else f"got {str(given)[:60]!r}"


def _way(given: Any) -> str:
    """How to make of it what was meant."""
    if isinstance(given, tuple | list) and any(isinstance(one, DataSet) for one in given):
        return "a data set comes as a pair: train, test = rd.data..., then give train, and evaluate={'test': test}"
    kind = type(given).__name__
    if hasattr(given, "dataset") and hasattr(given, "batch_size"):
        return f"give images, rd.data.of(loader.dataset): the loop orders, augments and normalises them itself; {WAYS}"
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, str | tuple | list | dict):
        return f"rd.data.of({kind.lower()}) makes images of a data set; {WAYS}"
    if isinstance(given, str):
        return f"open it first, rd.data.load({given[:60]!r})"
    return WAYS
