"""From a file to a paper: every mistake in one answer, each with its line."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel

from redistill.errors import RedistillError, nearest
from redistill.papers.cells import Cell, Paper, ReportedValue
from redistill.papers.schema import CellReference, Checkpoint, PaperFile, Selector, Table
from redistill.paths import expanded
from redistill.settings.lines import Path as Key
from redistill.settings.lines import of_keys
from redistill.settings.tables import MOST_BYTES, content_of, toml_of
from redistill.settings.validation import ValidationErrors


def names() -> list[str]:
    """The papers of this package."""
    found = importlib.resources.files("redistill.papers").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in found if entry.name.endswith(".toml"))


def load(name: str | Path) -> Paper:
    """A paper of this package by name, or any paper file by its path.

    Raises:
        RedistillError: there is no such paper, or every mistake of its file.
    """
    path = expanded(name)
    if path.suffix == ".toml":
        return parse(content_of(path, MOST_BYTES), str(path), path.stem, path.parent)
    if str(name) not in names():
        raise RedistillError(f"{nearest(str(name), names(), 'paper')} (or give the path of a paper file, ./mine.toml)")
    inside = importlib.resources.files("redistill.papers") / f"{name}.toml"
    return parse(inside.read_bytes(), f"{name}.toml", str(name))


def parse(content: bytes, where: str, name: str, folder: Path = Path()) -> Paper:
    """A paper from the content of its file in ``folder``; ``where`` is how messages call the file."""
    text, data = toml_of(content, where)
    mistakes = ValidationErrors(where, {**of_keys(text), **_rows(text, of_keys(text))}, data)
    file = None
    try:
        file = PaperFile.model_validate(data)
    except pydantic.ValidationError:
        _known(mistakes, (), data, PaperFile)
        listed = list(mistakes.found)
        with mistakes.at(()):  # again: misspelt keys are put right by now
            PaperFile.model_validate(data)
        # an unknown key has been told with its nearest name already
        mistakes.found = listed + [m for m in mistakes.found[len(listed) :] if not m.endswith(": unknown setting")]
    mistakes.raise_if_any()
    assert file is not None
    _resolved(mistakes, file)
    mistakes.raise_if_any()
    paper = Paper(name, file, folder)
    _cells(mistakes, paper)
    mistakes.raise_if_any()
    return paper


def _rows(text: str, lines: Mapping[Key, int]) -> dict[Key, int]:
    """The line of every row of a table, which stands inside one long value."""
    found: dict[Key, int] = {}
    whole = text.splitlines()
    for key, start in lines.items():
        if len(key) == 3 and key[0] == "table" and key[2] == "rows":
            row = 0
            for number in range(start + 1, len(whole) + 1):
                line = whole[number - 1].strip()
                if line.startswith("]"):
                    break
                if line.startswith("["):
                    found[(*key, row)] = number
                    row += 1
    return found


def _known(mistakes: ValidationErrors, key: Key, given: Any, model: type[BaseModel]) -> None:
    """Unknown keys with the nearest allowed one, at every depth."""
    if not isinstance(given, Mapping):
        return
    mistakes.unknown(key, given, model.model_fields, "key")
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None or name not in given:
            continue
        value = given[name]
        if isinstance(value, list):
            for number, one in enumerate(value):
                _known(mistakes, (*key, name, number), one, inner)
        elif name == "table" and isinstance(value, Mapping):
            for label, one in value.items():
                _known(mistakes, (*key, name, label), one, inner)
        else:
            _known(mistakes, (*key, name), value, inner)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model among the types of a field."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _model_in(inner)) is not None:
            return found
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------
def _resolved(mistakes: ValidationErrors, file: PaperFile) -> None:
    """Every name of the file stands for something in it."""

    def named(key: Key, name: str, among: Iterable[str], what: str) -> None:
        if name not in set(among):
            mistakes.add(key, nearest(name, among, what))

    def sizes_of(key: Key, facts: Iterable[str]) -> None:
        for fact in facts:
            named((*key, fact), fact, file.facts, "fact (declare more in [setup] facts)")

    named(("setup", "teacher", "method"), file.setup.teacher.method, file.method, "method")
    for kind, entries in (("case", file.case), ("assumed", file.assumed), ("departs", file.departs)):
        _wheres(mistakes, kind, entries, sizes_of)
    pointing = (("unknown", file.unknown), ("also", file.also), ("checkpoint", file.checkpoint), ("reported", file.reported))
    for kind, others in pointing:
        _wheres(mistakes, kind, others, sizes_of)
    for number, case in enumerate(file.case):
        if case.source is not None:
            named(("case", number, "source"), case.source, file.source, "source")
        if case.recipe is not None:
            named(("case", number, "recipe"), case.recipe, file.recipe, "recipe")
        for kind, given in (("teacher", case.teacher), ("start", case.start)):
            sizes_of(("case", number, kind), given or {})
            if given and "method" in given:
                named(("case", number, kind, "method"), given["method"], file.method, "method")
    for key, entry in _pointing(file):
        named((*key, "table"), entry.table, file.table, "table")
    seen: set[str] = set()
    for number, departs in enumerate(file.departs):
        if departs.name in seen:
            mistakes.add(("departs", number, "name"), "two departures have this name")
        seen.add(departs.name)
    for name, table in file.table.items():
        _table(mistakes, ("table", name), table, sizes_of)


def _pointing(file: PaperFile) -> Iterator[tuple[Key, CellReference]]:
    """Every entry that speaks of one cell, with its key."""
    for number, also in enumerate(file.also):
        yield ("also", number), also
    for number, checkpoint in enumerate(file.checkpoint):
        yield ("checkpoint", number), checkpoint


def _wheres(mistakes: ValidationErrors, kind: str, entries: Iterable[Selector], sizes_of: Any) -> None:
    for number, entry in enumerate(entries):
        sizes_of((kind, number, "where"), entry.where)


def _table(mistakes: ValidationErrors, key: Key, table: Table, sizes_of: Any) -> None:
    sizes_of((*key, "where"), table.where)
    for kind, described in (("column", table.column), ("row", table.row)):
        for label, facts in described.items():
            sizes_of((*key, kind, label), facts)
    for label in table.column:
        if label not in table.header:
            mistakes.add((*key, "column", label), nearest(label, table.header, "entry of the header"))
    if len(set(table.header)) < len(table.header):
        mistakes.add((*key, "header"), "names a column twice")
    sizes_of((*key, "header"), [name for name in table.keys if name != "row"])
    labels = [*table.column, *(row[table.header.index("row")] for row in table.rows if "row" in table.header)]
    labels += [row[0] for row in table.rows if row and len(table.keys) == 1]
    for kind, pairs in (("gains", table.gains), ("orders", table.orders)):
        for label in (label for pair in pairs for label in pair):
            if label not in labels:
                mistakes.add((*key, kind), nearest(label, labels, "row or column"))
    numbers: list[ReportedValue] = []
    for number, row in enumerate(table.rows):
        if len(row) != len(table.header):
            mistakes.add((*key, "rows", number), f"has {len(row)} entries, the header has {len(table.header)}")
            continue
        for column, text in zip(table.header, row, strict=True):
            if column in table.column:
                with mistakes.at((*key, "rows", number)):
                    if (printed := ReportedValue.read(text)) is not None:
                        numbers.append(printed)
                        if table.metric in ("accuracy", "error") and not 0 <= printed.value <= 100:
                            mistakes.add((*key, "rows", number), f"{text} is no {table.metric} in percent, which lies between 0 and 100")
            elif column == "row" and text not in table.row:
                mistakes.add((*key, "rows", number), nearest(text, table.row, "row (describe it in row)"))
    if numbers and _fractions(table, numbers):
        mistakes.add(
            (*key, "rows"), f"are all at most 1, as fractions are: an {table.metric} stands in percent, {100 * numbers[0].value:g} for "
            f"{numbers[0].value:g}",
        )  # fmt: skip


def _fractions(table: Table, numbers: Sequence[ReportedValue]) -> bool:
    """Whether a table in percent seems to hold fractions; errors below 1 % are printed with fewer digits than such."""
    small = all(one.value <= 1 for one in numbers) and any(one.value for one in numbers)
    return small and (table.metric == "accuracy" or (table.metric == "error" and max(one.decimals for one in numbers) > 2))


# ---------------------------------------------------------------------------------------------------------------------
# Cells
# ---------------------------------------------------------------------------------------------------------------------
def _cells(mistakes: ValidationErrors, paper: Paper) -> None:
    """Cells are unique, methods and networks are there, and every other entry speaks of some cell."""
    file = paper.file
    for name in file.table:
        seen: dict[tuple[tuple[str, str], ...], Cell] = {}
        for cell in paper.places(name):
            facts = tuple(sorted(cell.facts.items()))
            twin = seen.setdefault(facts, cell)
            if twin.printed != cell.printed:
                mistakes.add(
                    ("table", name),
                    f"{cell.row} / {cell.column} and {twin.row} / {twin.column} are one cell with two numbers: put the second "
                    f"into [[also]], or tell them apart by a fact",
                )
    for cell in paper.cells:
        key: Key = ("table", cell.table)
        if cell.unknown:
            continue
        if cell.facts.get("method") not in file.method:
            mistakes.add(key, f"{cell.row} / {cell.column}: {nearest(cell.facts.get('method', ''), file.method, 'method')}")
        for role in ("teacher", "student"):
            printed = cell.facts.get(role)
            if printed is not None and printed not in file.network:
                mistakes.add(key, f"{cell.row} / {cell.column}: {nearest(printed, file.network, f'{role} (see [network])')}")
    everything = [cell.facts for cell in paper.cells]
    speaking = (("unknown", file.unknown), ("assumed", file.assumed), ("departs", file.departs), ("reported", file.reported))
    for kind, entries in speaking:
        for number, entry in enumerate(entries):
            if not any(entry.holds(facts) for facts in everything):
                mistakes.add((kind, number, "where"), "holds for no cell of the paper")
    for place, pointing in _pointing(file):
        there = [cell for cell in paper.cells_of(pointing.table) if pointing.holds(cell.facts)]
        if len(there) != 1:
            mistakes.add((*place, "where"), f"must mean one cell of table {pointing.table}, it means {len(there)}")
    for number, also in enumerate(file.also):
        with mistakes.at(("also", number, "value")):
            if ReportedValue.read(also.value) is None:
                mistakes.add(("also", number, "value"), "holds no number")
    first: dict[str, Checkpoint] = {}
    for number, asked in enumerate(file.checkpoint):
        with mistakes.at(("checkpoint", number, "value")):
            ReportedValue.read(asked.value)
        for known_by in (asked.path, asked.sha256):  # an evaluation is known by its file: it has one answer
            before = first.setdefault(known_by, asked)
            if any(getattr(asked, name) != getattr(before, name) for name in ("sha256", "model", "data", "normalise")):
                mistakes.add(
                    ("checkpoint", number),
                    f"{asked.path} stands there twice with another sha256, model, data or normalise: one file has one evaluation",
                )
                break


def checked(paper: Paper) -> list[str]:
    """What is wrong with the experiments of a paper, cell by cell: terms, their arguments, networks, recipes, sources.

    Needs torch, unlike :func:`load`.
    """
    from redistill.experiment.value import Experiment

    wrong: list[str] = []
    for cell in paper.cells:
        if cell.unknown:
            continue
        try:
            Experiment.of(paper.settings(cell), folder=paper.folder, device="cpu", trust_code=False)
        except RedistillError as error:
            wrong.append(f"{cell.id}: {error}")
    return wrong


__all__ = ["checked", "load", "names", "parse"]
