"""From files to evidence: which reader reads what, and our own format."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from redistill.errors import RedistillError, cut, nearest
from redistill.evidence.model import BestOn, Evidence, Source, Trained
from redistill.evidence.units import Unit, percent, unit_of
from redistill.files import UNREADABLE, unreadable
from redistill.settings.tables import content_of as bytes_of
from redistill.settings.tables import text_of

FIELDS = ("paper", "dataset", "teacher", "student", "method", "settings", "seed", "epochs", "last", "best", "best_on", "extra")
"""Keys of one run of our format."""


LARGEST = 64 * 2**20  # bytes of one file of evidence
WIDEST = 1000  # entries of a row


@dataclass(frozen=True)
class Stated:
    """What the command line says about a file that cannot say it itself.

    Attributes:
        source: ``owner/name@commit``. facts: of every run: dataset, teacher, student, method, seed. columns: role -> column.
        unit: of the accuracies; None: recognised.
    """

    source: str | None = None
    facts: Mapping[str, str] | None = None
    columns: Mapping[str, str] | None = None
    unit: Unit | None = None

    def fact(self, name: str) -> str | None:
        return (self.facts or {}).get(name)

    def origin(self, path: Path, how: str) -> Source:
        """The source of a file that names none."""
        if self.source is None:
            return Source(f"the file {path}" if path.is_file() else f"the folder {path}", None, how)
        owner, at, commit = self.source.partition("@")
        if not at or not commit.strip() or not owner.strip():
            raise RedistillError(f"--source {self.source!r}: names no commit: write OWNER/NAME@COMMIT")
        return Source(owner, commit, how)


def content_of(path: Path) -> str:
    """The text of a file of evidence."""
    return text_of(bytes_of(path, LARGEST, "evidence"), str(path))


def value_in(text: str, where: str) -> Any:
    """The value of a JSON text; NaN is one, and told with its run."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except _TwiceError as error:
        raise RedistillError(f"{where}: {error}") from error
    except UNREADABLE as error:
        raise RedistillError(f"{where}: is no JSON ({_why(error)}): was the file cut short?") from error


class _TwiceError(Exception):
    """A key stands twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice: the second would replace the first in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:i]))
        raise _TwiceError(f"the key {cut(twice)!r} stands twice in one object: leave one of the two out")
    return found


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, json.JSONDecodeError) else unreadable(error)


def lines_of(text: str, where: str, delimiter: str) -> list[list[str]]:
    """The rows of a CSV that are not empty."""
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise RedistillError(f"{where}: is no table that can be read: {error} (a quotation mark that nothing closes?)") from error
    if rows and max(map(len, rows)) > WIDEST:
        raise RedistillError(f"{where}: has a row of {max(map(len, rows)):,} entries, more than the {WIDEST:,} that a table may have")
    return rows


def read_ours(path: Path, stated: Stated | None = None) -> Evidence:
    """A file in our evidence format: ``source``, ``caveats``, ``runs`` and what else is known."""
    stated = stated or Stated()
    data = value_in(content_of(path), str(path))
    if not isinstance(data, dict) or not isinstance(data.get("runs"), list):
        raise RedistillError(f"{path}: has no list 'runs': evidence in our format is an object with source, caveats and runs")
    rows = data["runs"]
    if not rows:
        raise RedistillError(f"{path}: holds no runs")
    source = _source(path, data.get("source"), stated)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise RedistillError(f"{path}: run {number} is no object with {', '.join(FIELDS)}")
    runs, notes = runs_of(rows, [f"{path.name}, run {number}" for number in range(1, len(rows) + 1)], str(path), stated)
    return Evidence(
        name=path.stem,
        kind="our evidence format",
        source=source,
        runs=runs,
        published=_objects(data, "published", path, ("value", "mean", "std", "test_last", "test_last_std", "test_at_best_val",
                                                     "test_at_best_val_std")),
        claims=_objects(data, "published_claims", path, ("gain",)),
        teachers=_objects(data, "teachers", path),
        pairs=_objects(data, "pairs", path, ("float_correct", "int8_correct", "only_float_correct", "only_int8_correct", "images")),
        caveats=_texts(data, "caveats", path),
        notes=notes,
    )


def _objects(data: Mapping[str, Any], name: str, path: Path, numbers: Sequence[str] = ()) -> tuple[Mapping[str, Any], ...]:
    """A list of objects; what of each stands in ``numbers`` is one, or null."""
    found = data.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise RedistillError(f"{path}: {name} must be a list of objects")
    for place, one in enumerate(found, 1):
        for key in numbers:
            value = one.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not finite(value)):
                raise RedistillError(f"{path}: {name}, entry {place}: {key} is {cut(repr(value))}: a number in percent or a count, or null")
    return tuple(found)


def _texts(data: Mapping[str, Any], name: str, path: Path) -> tuple[str, ...]:
    found = data.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise RedistillError(f"{path}: {name} must be a list of sentences")
    return tuple(found)


def _source(path: Path, given: Any, stated: Stated) -> Source:
    if stated.source is not None:
        return stated.origin(path, str(given.get("how", "")) if isinstance(given, Mapping) else "our evidence format")
    if not isinstance(given, Mapping) or not given.get("repository"):
        raise RedistillError(f"{path}: has no source with a repository: whose runs are these? (or say --source OWNER/NAME@COMMIT)")
    if not given.get("commit"):
        raise RedistillError(
            f'{path}: source {given["repository"]} names no commit, so nobody can look at what was read: add "commit" '
            f"(or say --source {given['repository']}@COMMIT)"
        )
    text = {name: str(given.get(name, "")) for name in ("licence", "read", "how")}
    return Source(str(given["repository"]), str(given["commit"]), text["how"], text["licence"], text["read"])


def runs_of(
    rows: Sequence[Mapping[str, Any]], places: Sequence[str], where: str, stated: Stated, told: Unit | None = None
) -> tuple[tuple[Trained, ...], tuple[str, ...]]:
    """Runs from rows with the keys of our format, and what was recognised about their unit; ``told``: the one that a reader knows."""
    for place, row in zip(places, rows, strict=True):
        for name in ("last", "best"):
            value = row.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise RedistillError(f"{place}: {name} is {value!r}, which is no number: an accuracy in percent, or null")
            if value is not None and not finite(value):
                raise RedistillError(
                    f"{place}: {name} is {cut(str(value))}: a run that diverged has an accuracy too: give it, that of guessing if nothing "
                    f"else"
                )
    unit, notes = told or stated.unit, ""
    if stated.unit is not None:
        notes = f"{where}: numbers are read as {stated.unit}, because --unit says so"
    if unit is None:
        unit, notes = unit_of([float(row[n]) for row in rows for n in ("last", "best") if row.get(n) is not None], where)
    made = []
    for place, row in zip(places, rows, strict=True):
        made.append(_run(row, place, stated, unit))
    return tuple(made), (notes,) if notes else ()


def _run(row: Mapping[str, Any], place: str, stated: Stated, unit: Unit) -> Trained:
    for name in row:
        if name not in FIELDS:
            raise RedistillError(f"{place}: {nearest(name, FIELDS, 'key of a run')}")
    text = {}
    for name in ("dataset", "student", "method", "teacher"):
        value = row.get(name) if row.get(name) is not None else stated.fact(name)
        if value is None and name != "teacher":
            raise RedistillError(f"{place}: names no {name}: give it in the file, or for all runs with --is {name}=...")
        text[name] = None if value in (None, "") else str(value)
    seed, epochs = (whole(row.get(n) if row.get(n) is not None else stated.fact(n), n, place) for n in ("seed", "epochs"))
    best_on = row.get("best_on") or None
    if best_on is not None and best_on not in get_args(BestOn):
        raise RedistillError(f"{place}: best_on is {best_on!r}: 'test' (chosen on the test images), 'validation' or null")
    last, best = (None if row.get(n) is None else percent(float(row[n]), unit) for n in ("last", "best"))
    for name in ("settings", "extra"):
        if not isinstance(row.get(name) or {}, Mapping):
            raise RedistillError(f"{place}: {name} must be an object of names and values, not {row[name]!r}")
    if best_on == "test" and last is not None and best is not None and best < last - 0.05 and last <= 100:
        raise RedistillError(
            f"{place}: best = {best:g} is below last = {last:g}, which the best epoch on the test images cannot be: are these errors "
            f"(say --unit error), or the columns exchanged?"
        )
    assert text["dataset"] is not None and text["student"] is not None and text["method"] is not None
    return Trained(
        place=place, dataset=text["dataset"], teacher=text["teacher"], student=text["student"], method=text["method"],
        settings=dict(row.get("settings") or {}), seed=seed, epochs=epochs, last=last, best=best, best_on=best_on,
        paper=row.get("paper") or stated.fact("paper"), extra=dict(row.get("extra") or {}),
    )  # fmt: skip


def finite(value: int | float) -> bool:
    """Whether a number is one of percent; a whole number may be beyond all floating point ones."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def whole(value: Any, name: str, place: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise RedistillError(f"{place}: {name} is {cut(repr(value))}: a whole number, or null where it is not known") from None
    if not number.is_integer() or number < 0:
        raise RedistillError(f"{place}: {name} is {value!r}: a whole number, or null where it is not known")
    return int(number)
