"""Shapes in signatures, checked while the tests run: ``Float[Tensor, "batch classes"]`` is a promise, not a comment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype

F = TypeVar("F", bound=Callable[..., object])


def checked(function: F) -> F:
    """The function with its shapes checked; one without shapes as it is, so that bad settings still meet their own sentence."""
    notes = getattr(function, "__annotations__", {}).values()
    return beartype(function) if any("Tensor," in str(note) for note in notes) else function
