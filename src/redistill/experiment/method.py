"""The rows of ``[[method]]``: terms with settings and weights, read and built."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import Field

from redistill import user_code
from redistill.core import Method, Ramp, RedistillError, Term
from redistill.experiment.source.images import placeless
from redistill.values import Value


class Part(Value):
    """One term of the method with its weight and all its settings."""

    use: str
    weight: float | Ramp = 1.0
    settings: dict[str, Any] = Field(default_factory=dict)
    code: str | None = None
    file: str | None = None

    def written(self) -> dict[str, Any]:
        weight: Any = self.weight
        if isinstance(weight, Ramp):
            weight = {key: getattr(weight, key) for key in ("start", "end", "first", "last", "unit")}
        own = {name: value for name in ("code", "file") if (value := getattr(self, name)) is not None}
        return {"use": self.use, "weight": weight, **own, **self.settings}

    @staticmethod
    def identified(written: Mapping[str, Any]) -> dict[str, Any]:
        """What of a written term is hashed: code of one's own by its SHA-256."""
        return placeless(written)


def made_method(parts: Sequence[Part]) -> Method:
    """The weighted sum of terms, fresh."""
    from redistill import terms

    made = []
    for part in parts:
        cls: type[Term]
        if part.code is None:
            cls = terms.by_name(part.use)
        else:
            cls = user_code.load(part.use, Path(), file=part.file, code=part.code, kind=Term).object
        made.append((part.weight, cls(**part.settings)))
    return Method(made)


RESERVED = ("use", "weight", "code", "file")


def ramp(table: dict[str, Any]) -> Ramp:
    """A ramp from its table, numbers as numbers: ``5`` and ``5.0`` are one experiment."""
    if odd := [name for name, value in table.items() if isinstance(value, bool)]:
        raise RedistillError(f"{odd[0]} must be a number, not {str(table[odd[0]]).lower()}")
    made: Ramp = pydantic.TypeAdapter(Ramp).validate_python(table)
    return made


@functools.cache
def settings_of(cls: type[Term]) -> type[Value]:
    """The settings of a term as a model that checks and completes them; made from its fields and their types."""
    hints = typing.get_type_hints(cls)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = pydantic.Field(default_factory=field.default_factory)
        fields[field.name] = (hints[field.name], default)
    made: type[Value] = pydantic.create_model(
        cls.__name__, __base__=Value, __config__=None, __module__=__name__, **fields
    )
    return made
