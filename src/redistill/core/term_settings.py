"""Settings of a term, and its weight, as a file holds them: checked, completed, made into the term."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from typing import Any

import pydantic

from redistill.core.method import Term
from redistill.core.ramp import Ramp
from redistill.errors import RedistillError
from redistill.values import Value


def ramp(table: dict[str, Any]) -> Ramp:
    """A ramp from its table, numbers as numbers: ``5`` and ``5.0`` are one experiment."""
    if odd := [name for name, value in table.items() if isinstance(value, bool)]:
        raise RedistillError(f"{odd[0]} must be a number, not {str(table[odd[0]]).lower()}")
    made: Ramp = pydantic.TypeAdapter(Ramp).validate_python(table)
    return made


@functools.cache
def settings_of(cls: type[Term]) -> type[Value]:
    """The settings of a term as a model that checks and completes them; made from its fields and their types."""
    cls.completed()
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError, SyntaxError) as error:
        raise RedistillError(f"{cls.__name__}: the type of a setting cannot be read ({error}): write T: float = 4.0") from error
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = pydantic.Field(default_factory=field.default_factory)
        fields[field.name] = (hints[field.name], default)
    for name, (kind, _) in fields.items():
        try:
            pydantic.TypeAdapter(kind)
        except pydantic.errors.PydanticSchemaGenerationError as error:
            raise RedistillError(
                f"{cls.__name__}.{name} is a {getattr(kind, '__name__', kind)}, and a setting is what a file can hold: a number, text, "
                f"true or false, or lists of them; tensors and networks are made in setup(ctx)"
            ) from error
    made: type[Value] = pydantic.create_model(
        cls.__name__, __base__=Value, __config__=None, __module__=__name__, **fields
    )
    return made


def made_term(cls: type[Term], filled: Value) -> tuple[Term, dict[str, Any]]:
    """A term with checked settings (of :func:`settings_of`), and those of them that it has, as they are written."""
    term = cls(**{name: getattr(filled, name) for name in type(filled).model_fields})
    kept = json.loads(json.dumps(filled.model_dump(mode="json")))
    return term, {name: value for name, value in kept.items() if name in term.settings()}
