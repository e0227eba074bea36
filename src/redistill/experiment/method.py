"""The rows of ``[[method]]``: terms with settings and weights, read and built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from redistill import user_code
from redistill.core import Method, Ramp, RedistillError, Term
from redistill.core.term_settings import made_term, ramp, settings_of
from redistill.experiment.reading import Reading
from redistill.settings.validation import ValidationErrors
from redistill.terms import by_name
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


    def build(self) -> Term:
        """The term, fresh."""
        if self.code is None:
            return by_name(self.use)(**self.settings)
        own: type[Term] = user_code.load(self.use, Path(), file=self.file, code=self.code, kind=Term).object
        return own(**self.settings)


RESERVED = ("use", "weight", "code", "file")


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
    use = row.get("use")
    if not isinstance(use, str):
        raise RedistillError('is missing: name a term, use = "KD"')
    if not is_code(use):
        return by_name(use), {"use": use}
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
    given = {name: value for name, value in row.items() if name not in (RESERVED if "code" in named else RESERVED[:2])}
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


def beside(row: Any) -> Any:
    """A row of ``[[source.extra]]``, completed: a term of this package beside the generator's own, without labels, weighed by a number."""
    if not isinstance(row, dict):
        return row
    if not isinstance(row.get("use"), str):
        raise ValueError('every table of extra names a term, use = "Diversity"')
    cls, weight = by_name(row["use"]), row.get("weight", 1.0)
    shape = settings_of(cls)
    given = {name: value for name, value in row.items() if name not in ("use", "weight")}
    if odd := sorted(set(given) - set(shape.model_fields)):
        raise ValueError(f"{row['use']} has no setting {odd[0]!r}")
    if cls.needs_labels:
        raise ValueError(f"{row['use']} needs labels, and generated images have none")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"the weight of {row['use']} must be a number")
    return TermSpec(use=row["use"], weight=float(weight), settings=made_term(cls, shape(**given))[1])


def made_method(parts: Sequence[TermSpec]) -> Method:
    """The weighted sum of terms, fresh."""
    return Method((part.weight, part.build()) for part in parts)
