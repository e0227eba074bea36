"""A table that quotes others, cell by cell: what each number is said to be of, in the words of the table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from redistill.errors import RedistillError, cut
from redistill.evidence import names
from redistill.evidence.entries import Quoted
from redistill.evidence.files import content_of, finite, value_in
from redistill.evidence.grid import grids
from redistill.evidence.layouts import quoted_in
from redistill.evidence.registry import decimals_of, key_of, registry
from redistill.evidence.units import Unit, says_percent, unit_of

WRITTEN = {
    "CIFAR-100": r"\bcifar[-\s_]?100\b", "CIFAR-10": r"\bcifar[-\s_]?10\b", "Tiny-ImageNet": r"\btiny[-\s_]?imagenet\b",
    "ImageNet": r"(?<!tiny)(?<!tiny.)\bimagenet(?![-\s_]?(?:100|a|c|lt|r|v2|sketch)\b)(?:-?1k)?\b", "SVHN": r"\bsvhn\b",
}  # fmt: skip
"""Data sets as a table names them."""


@dataclass(frozen=True)
class QuotingTable:
    """A whole file. ``about``: what it says of itself. ``notes``: what was recognised, in sentences."""

    name: str
    about: Mapping[str, Any]
    cells: tuple[Quoted, ...]
    notes: tuple[str, ...] = ()


def read_table(path: Path, dataset: str | None = None, unit: Unit | None = None) -> QuotingTable:
    """The numbers of a table with what they are of.

    Args:
        dataset: of all numbers, where the table names none. unit: percent, fraction or error, where it is not recognised.

    Raises:
        RedistillError: there is no table, or its columns cannot be told.
    """
    if not path.is_file():
        raise RedistillError(f"{path}: there is no such file")
    text = content_of(path)
    notes: list[str] = []
    about: Mapping[str, Any] = {}
    if path.suffix == ".json":
        about, cells = _json(path, text, dataset)
    else:
        cells = []
        wrong = []
        for number, grid in enumerate(grids(path, text), 1):
            try:
                here, left = quoted_in(grid, f"{path}, table {number}", unit)
                mine, words = _placed(path, text, here, dataset, f"{path}, table {number}")
                cells += mine
                notes += [one for one in (*words, *left) if one not in notes]
            except RedistillError as error:
                wrong.append(str(error))
        if not cells:
            raise RedistillError(wrong[0] if wrong else f"{path}: its tables hold no numbers{''.join(f'; {one}' for one in notes)}")
        notes += [f"left out: {words}" for words in wrong]
    cells, words = _placed(path, text, cells, dataset, str(path))
    notes += words
    if unit is None and not says_percent([cell.text for cell in cells if not cell.turned]):
        unit, words_of_unit = unit_of([cell.value for cell in cells if not cell.turned], str(path))
        notes += [words_of_unit] if words_of_unit else []
    if unit == "fraction":
        cells = [cell if cell.turned else cell.of_fraction() for cell in cells]
    elif unit == "error":
        cells = [cell if cell.turned else cell.of_error() for cell in cells]
    if any(cell.turned for cell in cells):
        notes.append(f"{path}: numbers are errors: compared as 100 minus them")
    return QuotingTable(path.stem, about, tuple(cells), tuple(notes))


# ---------------------------------------------------------------------------------------------------------------------
# JSON
# ---------------------------------------------------------------------------------------------------------------------
def _json(path: Path, text: str, dataset: str | None) -> tuple[Mapping[str, Any], list[Quoted]]:
    data = value_in(text, str(path))
    rows = data.get("cells") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows:
        raise RedistillError(f"{path}: has no list 'cells' of numbers with teacher, student, method and quoted")
    numbers = []
    for number, row in enumerate(rows, 1):
        value = row.get("quoted", row.get("value")) if isinstance(row, dict) else None
        if not _is_number(value):
            raise RedistillError(f"{path}, cell {number}: quoted is {cut(repr(value))}, which is no number")
        if (std := row.get("quoted_std")) is not None and not _is_number(std):
            raise RedistillError(f"{path}, cell {number}: quoted_std is {std!r}, which is no number")
        for name in ("teacher", "student", "method", "dataset", "setting", "marked"):
            if not isinstance(row.get(name), str | None):
                raise RedistillError(f"{path}, cell {number}: {name} is {row[name]!r}, which is no text: put it in quotation marks")
        if not row.get("method") or not (row.get("student") or row.get("teacher")):
            raise RedistillError(f"{path}, cell {number}: needs student (or teacher) and method")
        numbers.append(float(value))
    decimals = decimals_of(numbers)
    made = [
        Quoted(
            row=str(row["method"]), column=f"{row.get('teacher')} -> {row.get('student')}",
            dataset=str(row.get("dataset") or dataset or ""),
            teacher=row.get("teacher"), student=str(row.get("student") or row["teacher"]), method=str(row["method"]),
            setting=str(row.get("setting") or ""), text=f"{value:.{decimals}f}", value=value, decimals=decimals, std=row.get("quoted_std"),
            mark=str(row.get("marked") or ""),
        )
        for row, value in zip(rows, numbers, strict=True)
    ]  # fmt: skip
    about = data.get("quoting") if isinstance(data, dict) else None
    return about if isinstance(about, dict) else {}, made


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and finite(value)


# ---------------------------------------------------------------------------------------------------------------------
# Which data set
# ---------------------------------------------------------------------------------------------------------------------
def _placed(path: Path, text: str, cells: list[Quoted], stated: str | None, where: str) -> tuple[list[Quoted], list[str]]:
    """Cells of one table with their data set."""
    if all(cell.dataset for cell in cells):
        return cells, []
    name, words = _dataset(path, text, cells, stated, where)
    return [cell if cell.dataset else replace(cell, dataset=name) for cell in cells], words


def _dataset(path: Path, text: str, cells: Sequence[Quoted], stated: str | None, where: str) -> tuple[str, list[str]]:
    """The data set of cells that name none: told, the only one that the file names, or the only one with such cells."""
    if stated is not None:
        return stated, []
    found = [name for name, written in WRITTEN.items() if re.search(written, text, re.I)]
    if len(found) == 1:
        return found[0], [f"{path}: the file names the data set {found[0]}"]
    mine = {key_of("", c.teacher, c.student, c.method, "")[1:4] for c in cells}
    there: dict[str, set[tuple[str, str, str]]] = {}
    for number in registry().numbers:
        if (cell := number.key[1:4]) in mine and not number.doubt:
            there.setdefault(number.key[0], set()).add(cell)
    every = set().union(*there.values()) if there else set()
    sets = [one for one, known in there.items() if known == every]
    if len(sets) == 1:
        name = names.NAMES.get(sets[0], sets[0])
        return name, [f"{where}: does not name its data set; taken as {name}, the only one for which the registry has all its known cells"]
    known = ", ".join(sorted(names.NAMES.get(one, one) for one in sets)) or "none in the registry"
    raise RedistillError(f"{where}: names no data set and its pairs could be of several ({known}): say --dataset CIFAR-100")
