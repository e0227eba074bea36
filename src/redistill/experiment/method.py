"""The rows of ``[[method]]``: terms with settings and weights, read and built."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import Field

from redistill import user_code
from redistill.core import Method, Ramp, RedistillError, Term
from redistill.experiment.reading import Reading
from redistill.settings.validation import ValidationErrors
from redistill.user_code import is_code
from redistill.values import Value


class TermSpec(Value):
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


def read_rows(given: object, mistakes: ValidationErrors, reading: Reading) -> list[tuple[TermSpec, Term]]:
    """The section ``[[method]]``: what is right of it, in its order; the rest is told to ``mistakes``."""
    if not isinstance(given, list) or not given or not all(isinstance(row, dict) for row in given):
        mistakes.add(("method",), 'must be a list of terms, each [[method]] with use = "KD" and its settings')
        return []
    found = []
    for number, row in enumerate(given):
        before = len(mistakes.found)
        with mistakes.at(("method", number, "use")):
            cls, named = _term(row, reading)
        if len(mistakes.found) == before and (made := _row(cls, row, named, number, mistakes)) is not None:
            found.append(made)
    return found


def _term(row: Mapping[str, Any], reading: Reading) -> tuple[type[Term], dict[str, Any]]:
    """The class of a row, and how it is named."""
    from redistill import terms

    use = row.get("use")
    if not isinstance(use, str):
        raise RedistillError('is missing: name a term, use = "KD"')
    if not is_code(use):
        return terms.by_name(use), {"use": use}
    found = user_code.load(
        use, reading.folder, file=row.get("file"), code=row.get("code"), kind=Term, trusted=reading.trusted
    )
    if not (isinstance(found.object, type) and issubclass(found.object, Term)):
        raise RedistillError(f"{use} must be a subclass of redistill.Term, it is {found.object!r}")
    return found.object, {"use": found.name, "code": found.code, "file": found.file}


def _row(
    cls: type[Term], row: dict[str, Any], named: dict[str, Any], number: int, mistakes: ValidationErrors
) -> tuple[TermSpec, Term] | None:
    key = ("method", number)
    before = len(mistakes.found)
    shape = settings_of(cls)
    given = {name: value for name, value in row.items() if name not in RESERVED}
    mistakes.unknown(key, given, (*shape.model_fields, "weight"), f"setting of {cls.__name__}")
    with mistakes.at(key):
        term, settings = made_term(cls, shape.model_validate({n: v for n, v in given.items() if n in shape.model_fields}))
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float | dict):
        mistakes.add((*key, "weight"), "must be a number or a table { start = 0, end = 20, last = 5.0 }")
    elif isinstance(weight, dict):
        known = [field.name for field in dataclasses.fields(Ramp)]
        mistakes.unknown((*key, "weight"), weight, known)
        weight = {name: value for name, value in weight.items() if name in known}
    if len(mistakes.found) > before:
        return None
    made = None
    with mistakes.at((*key, "weight") if isinstance(weight, dict) else key):
        made = TermSpec(weight=ramp(weight) if isinstance(weight, dict) else float(weight), settings=settings, **named), term
    return made


def made_method(parts: Sequence[TermSpec]) -> Method:
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
