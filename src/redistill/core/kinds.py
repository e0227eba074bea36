"""Settings of a term as Python gives them: what is declared a number is one, what is declared true or false is that, of any maker."""

from __future__ import annotations

import functools
import math
import numbers
import types
import typing
from typing import Any

import numpy as np

from redistill.errors import RedistillError

_TAKEN: dict[type, tuple[tuple[type, ...], str, str]] = {
    float: ((numbers.Real,), "a number", "a list of numbers"),
    int: ((numbers.Integral,), "a whole number", "a list of whole numbers"),
    bool: ((bool, np.bool_), "True or False", "a list of True and False"),
}


def is_number(value: object) -> bool:
    """A real number; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


@functools.cache
def declared(cls: type) -> dict[str, tuple[type, bool, bool]]:
    """Fields of a class that are declared as numbers or truths: (``float``, ``int`` or ``bool``; None is taken too; a tuple of them).

    Of other fields, and where a declaration cannot be read, nothing is known.

    >>> class Settings:
    ...     T: float = 4.0
    ...     mid: int | None = None
    ...     levels: tuple[float, ...] = (1.0, 2.0)
    ...     at: str = ""
    >>> declared(Settings)
    {'T': (<class 'float'>, False, False), 'mid': (<class 'int'>, True, False), 'levels': (<class 'float'>, False, True)}
    """
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError, SyntaxError, AttributeError):  # a name that only a type checker imports
        return {}
    found = {}
    for name, hint in hints.items():
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        many = typing.get_args(hint) if union else (hint,)
        kinds = [kind for kind in many if kind is not types.NoneType]
        several = len(kinds) == 1 and typing.get_origin(kinds[0]) is tuple and typing.get_args(kinds[0])[1:] == (...,)
        kind = typing.get_args(kinds[0])[0] if several else kinds[0] if len(kinds) == 1 else None
        if kind in _TAKEN:
            found[name] = (kind, len(kinds) < len(many), several)
    return found


def as_declared(who: str, name: str, value: Any, kind: type, *, optional: bool, several: bool) -> Any:
    """``value``, numpy's as Python's own, or a sentence that says what was to be given; see :func:`declared`."""
    if optional and value is None:
        return None
    taken, one, list_of = _TAKEN[kind]
    entries = (value,) if not several else tuple(value) if isinstance(value, list | tuple) else (None,)
    if not all(isinstance(entry, taken) and (kind is bool or not isinstance(entry, bool)) for entry in entries):
        wanted = f"{list_of if several else one}{' or None' if optional else ''}"
        raise RedistillError(f"{who}({name}={value!r}): must be {wanted}, got a {type(value).__name__}")
    own = tuple(entry if type(entry) in (float, int, bool) else kind(entry) for entry in entries)
    return own if several else own[0]


def require_finite(who: str, name: str, value: Any) -> None:
    """No setting is infinite or NaN, as in a file; after the term's own check, which may say more."""
    if not all(math.isfinite(entry) for entry in (value if isinstance(value, tuple) else (value,)) if is_number(entry)):
        raise RedistillError(f"{who}({name}={value!r}): must be finite")
