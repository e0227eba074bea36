"""Shapes in signatures, checked while the tests run: ``Float[Tensor, "batch classes"]`` is a promise, not a comment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from beartype import BeartypeConf, beartype

TYPED = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is a float, as in all of Python
SAMPLED = ("list[", "List[", "Sequence[", "tuple[", "Mapping[", "dict[")  # of these it looks at one entry, drawn from the global generator

F = TypeVar("F", bound=Callable[..., object])


def checked(function: F) -> F:
    """The function with its shapes checked; one without shapes as it is, so that bad settings still meet their own sentence."""
    notes = [str(note) for note in getattr(function, "__annotations__", {}).values()]
    shaped = any("Tensor," in note for note in notes) and not any(kind in note for note in notes for kind in SAMPLED)
    return TYPED(function) if shaped else function
