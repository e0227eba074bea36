"""What a network of one's own is called with: the facts of the data under the names that its signature has.

The world says ``num_classes`` where this package says ``classes``; nothing is passed that a signature does not ask for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from redistill.core import RedistillError, nearest

NAMES: dict[str, tuple[str, ...]] = {
    "classes": ("classes", "num_classes", "n_classes", "nb_classes", "num_labels", "n_labels"),
    "channels": ("channels", "in_channels", "in_chans", "num_channels"),
    "image_size": ("image_size", "img_size"),
}
"""By fact of the data, what constructors call it; the first that a signature has is filled."""


def filled(name: str, made: Callable[..., Any], facts: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments for ``made``: ``args`` as given, and of ``facts`` what its signature asks for and ``args`` lacks.

    Args:
        name: how messages call it. facts: ``classes``, ``channels``, ``image_size``, as far as they are known.

    Raises:
        RedistillError: an argument that the signature does not have, or one that it needs and nobody gives.

    >>> filled("net", lambda num_classes, width=8: None, {"classes": 10, "channels": 3}, {"width": 4})
    {'num_classes': 10, 'width': 4}
    """
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError) as error:
        raise RedistillError(f"{name} cannot be called: it must be a class or a function that makes a network") from error
    takes = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given: dict[str, Any] = {}
    for fact, value in facts.items():
        known = NAMES.get(fact, (fact,))
        if not any(n in args for n in known) and (mine := next((n for n in known if n in takes), None)) is not None:
            given[mine] = value
    if not anything and (unknown := [n for n in args if n not in takes]):
        raise RedistillError(f"{name}: {nearest(unknown[0], takes, 'argument')}")
    missing = [n for n in takes if parameters[n].default is inspect.Parameter.empty and n not in given and n not in args]
    if missing:
        facts_known = ", ".join(names[0] for names in NAMES.values())
        raise RedistillError(
            f"{name} needs {', '.join(missing)}, which nobody gives: write args = {{ {missing[0]} = ... }}, or name a function beside it "
            f"that makes the network (filled by themselves are {facts_known} and their usual names, such as num_classes and in_channels)"
        )
    return {**given, **args}


def default_of(made: Callable[..., Any], fact: str, otherwise: Any = None) -> Any:
    """The default that the signature of ``made`` has for a fact under any of its names, else ``otherwise``.

    >>> default_of(lambda in_chans=1: None, "channels", 3), default_of(lambda in_chans: None, "channels", 3)
    (1, 3)
    """
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):
        return otherwise
    mine = next((n for n in NAMES.get(fact, (fact,)) if n in parameters), None)
    return otherwise if mine is None or parameters[mine].default is inspect.Parameter.empty else parameters[mine].default
