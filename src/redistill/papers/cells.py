"""The cells of a paper: every printed number with the facts that say what it is of, and the settings of its experiment."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.papers.schema import AlternativeValue, Assumption, Deviation, Facts, PaperFile, Protocol, Table, joined, quoted, together
from redistill.settings.change import put

_NUMBER = re.compile(r"(?P<about>≈\s*)?(?P<value>[-−]?\d+(?:\.(?P<decimals>\d+))?)(?:\s*±\s*(?P<std>\d*\.?\d+(?:e-?\d+)?))?")

NOT_PRINTED = ("", "-", "?")
"""Entries of a row that hold no number: nothing there, a dash in print, asked for but published nowhere."""


@dataclass(frozen=True)
class ReportedValue:
    """A number as it stands in print, in the unit of its table."""

    value: float
    decimals: int
    std: float | None = None
    approximate: bool = False

    @classmethod
    def read(cls, text: str) -> ReportedValue | None:
        """From an entry of a table; None where it holds none.

        >>> ReportedValue.read("86.60 ± 0.56")
        ReportedValue(value=86.6, decimals=2, std=0.56, approximate=False)

        Raises:
            RedistillError: the entry is no number.
        """
        if text.strip() in NOT_PRINTED:
            return None
        match = _NUMBER.fullmatch(text.strip())
        if match is None:
            raise RedistillError(
                f'{text!r} is not a printed number: write it as it stands, "86.60 ± 0.56", "≈ 0.8" where it is read off a '
                f'figure, "-" where there is none, "?" where it is asked for and printed nowhere'
            )
        std = match["std"]
        return cls(
            value=float(match["value"].replace("−", "-")),
            decimals=len(match["decimals"] or ""),
            std=None if std is None else float(std),
            approximate=match["about"] is not None,
        )


@dataclass(frozen=True)
class Cell:
    """One cell of one table.

    Attributes:
        paper, table, row, column: where it stands; together they are its ``id``.
        facts: what it is of. printed: its number, None where it is asked for but published nowhere.
        also: other values printed for it elsewhere. unknown: why no experiment can be made of it, "" where one can.
    """

    paper: str
    table: str
    row: str
    column: str
    facts: Mapping[str, str]
    printed: ReportedValue | None
    also: tuple[AlternativeValue, ...] = ()
    unknown: str = ""

    @property
    def id(self) -> str:
        return f"{self.paper}:{self.table}:{self.row}:{self.column}"


@dataclass(frozen=True)
class Paper:
    """A paper file under its name, with what follows from it. ``folder``: where its relative paths start, as in an experiment's file."""

    name: str
    file: PaperFile
    folder: Path = field(default=Path())

    # -- cells --------------------------------------------------------------------------------------------------------
    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell once, table by table, row by row; a number printed again in the same table is the same cell."""
        return tuple(cell for name in self.file.table for cell in self.cells_of(name))

    def cells_of(self, table: str) -> tuple[Cell, ...]:
        found: dict[tuple[tuple[str, str], ...], Cell] = {}
        for cell in self.places(table):
            found.setdefault(tuple(sorted(cell.facts.items())), cell)
        return tuple(found.values())

    def places(self, name: str) -> list[Cell]:
        """The cells of a table place by place, a repeated number each time.

        Raises:
            RedistillError: a row is not as long as the header, or an entry is no number.
        """
        table = self.table(name)
        found = []
        for number, row in enumerate(table.rows):
            if len(row) != len(table.header):
                raise RedistillError(
                    f"table {name}, row {number + 1} has {len(row)} entries, the header has {len(table.header)}"
                )
            facts, labels = self._of_row(table, row)
            for column, text in zip(table.header, row, strict=True):
                if column in table.column and text.strip() not in ("", "-"):
                    whole = {"data": self.file.setup.data, **facts, **table.column[column]}
                    found.append(self._cell(name, joined(labels), column, quoted(whole, facts), text))
        return found

    def _of_row(self, table: Table, row: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
        facts: dict[str, str] = dict(table.where)
        labels = []
        for column, text in zip(table.header, row, strict=True):
            if column in table.column:
                continue
            labels.append(text)
            if column == "row":
                if text not in table.row:
                    raise RedistillError(nearest(text, table.row, "row"))
                facts |= table.row[text]
            else:
                facts[column] = text
        return facts, labels

    def _cell(self, table: str, row: str, column: str, facts: dict[str, str], text: str) -> Cell:
        also = tuple(a for a in self.file.also if a.table == table and a.holds(facts))
        unknown = next((u.because for u in self.file.unknown if u.holds(facts)), "")
        return Cell(self.name, table, row, column, facts, ReportedValue.read(text), also, unknown)

    def table(self, name: str) -> Table:
        if name not in self.file.table:
            raise RedistillError(nearest(name, self.file.table, f"table of {self.name}"))
        return self.file.table[name]

    def cell(self, text: str) -> Cell:
        """By its id, with or without the paper's name; a number printed twice has two."""
        wanted = text.removeprefix(f"{self.name}:")
        name = wanted.partition(":")[0]
        self.table(name)
        known = {f"{c.table}:{c.row}:{c.column}": c for c in self.places(name)}
        if wanted not in known:
            raise RedistillError(nearest(wanted, known, "cell"))
        place = known[wanted]
        return next(c for c in self.cells_of(name) if c.facts == place.facts)

    def protocol(self, table: str) -> Protocol:
        return together(self.file.protocol, self.table(table).protocol)

    def protocol_of(self, cell: Cell) -> Protocol:
        """The protocol of a cell's table with the epoch that this cell reports."""
        whole = self.protocol(cell.table)
        if self.table(cell.table).protocol.which is not None:
            return whole
        own = next((r for r in self.file.reported if r.holds(cell.facts)), None)
        return whole if own is None else whole.model_copy(update={"which": own.which, "because": own.because})

    def accuracy(self, cell: Cell) -> float | None:
        """The printed number as an accuracy in percent, 100 minus an error; None where none is printed, or it is neither."""
        metric = self.table(cell.table).metric
        if cell.printed is None or metric == "mte":
            return None
        return round(100.0 - cell.printed.value, cell.printed.decimals) if metric == "error" else cell.printed.value

    def assumed(self, cell: Cell) -> list[Assumption]:
        return [a for a in self.file.assumed if a.holds(cell.facts)]

    def departs(self, cell: Cell) -> list[Deviation]:
        return [d for d in self.file.departs if d.holds(cell.facts)]

    # -- settings -----------------------------------------------------------------------------------------------------
    def settings(self, cell: Cell) -> dict[str, Any]:
        """The experiment behind a cell, shaped like an experiment file.

        Raises:
            RedistillError: there is none (see ``cell.unknown``).
        """
        if cell.unknown:
            raise RedistillError(f"no experiment can be made of {cell.id}: {cell.unknown}")
        return {"name": cell.id, **self.made(cell.facts)}

    def made(self, facts: Mapping[str, str]) -> dict[str, Any]:
        """Settings from facts."""
        from redistill.terms import by_name

        facts = {"data": self.file.setup.data, **facts}
        if facts.get("method") not in self.file.method:
            raise RedistillError(nearest(facts.get("method", ""), self.file.method, "method"))
        terms = [dict(copy.deepcopy(term)) for term in self.file.method[facts["method"]]]
        made: dict[str, Any] = {"student": {}, "method": terms, "evaluate": {"test": f"{facts['data']}:test"}}
        start: Facts | None = None
        of_teacher: Facts = {"method": self.file.setup.teacher.method}
        for case in self.file.case:
            if not case.holds(facts):
                continue
            for kind, name, table in (("source", case.source, self.file.source), ("recipe", case.recipe, self.file.recipe)):
                if name is not None:
                    made[kind] = copy.deepcopy(table[name])
            put(made, filled(case.set, facts))
            start = case.start if case.start is not None else start
            of_teacher |= case.teacher or {}
        for needed in ("source", "recipe"):
            if needed not in made:
                raise RedistillError(f"no [[case]] gives a {needed} to {described(facts)}")
        if made["source"].get("kind", "images") == "images":
            made["source"].setdefault("data", facts["data"])
        if any(by_name(str(term["use"])).needs_teacher for term in terms):
            made["teacher"] = self.teacher(facts, of_teacher)
        if start is not None:
            before = quoted({**facts, **start}, facts)
            made["student"] = {"run": self.made(before), "seed": "same"}
        else:
            made["student"] = {"model": self.network(facts, str(facts.get("trains", "student"))), **made["student"]}
        return made

    def teacher(self, facts: Mapping[str, str], rule: Mapping[str, str]) -> dict[str, Any]:
        """The section [teacher] of an experiment with these facts: the teacher, trained by ``rule`` on the same data."""
        self.network(facts, "teacher")
        alone = {"student": facts["teacher"], "data": facts["data"], **rule}
        return {"run": self.made(alone), "seed": self.file.setup.teacher.seed}

    def network(self, facts: Mapping[str, str], role: str) -> str:
        """Our name of the network that plays a role."""
        printed = facts.get(role)
        if printed is None:
            raise RedistillError(f"{described(facts)} names no {role}")
        if printed not in self.file.network:
            raise RedistillError(nearest(printed, self.file.network, f"network as {self.name} prints it"))
        return self.file.network[printed]


def described(facts: Mapping[str, str]) -> str:
    """Facts in words.

    >>> described({"method": "KD+AT", "M": "200"})
    'method KD+AT, M 200'
    """
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def filled(changes: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, Any]:
    """Changes with every text ``"{M}"`` replaced by the fact of that name, a number where it is one: the one substitution there is.

    >>> filled({"per_class": "{M}", "at": [["{mine}", "stage2"]]}, {"M": "200", "mine": "stage1"})
    {'per_class': 200, 'at': [['stage1', 'stage2']]}

    Raises:
        RedistillError: there is no such fact.
    """
    return {name: _filled(value, facts) for name, value in changes.items()}


def _filled(value: Any, facts: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return filled(value, facts)
    if isinstance(value, list):
        return [_filled(entry, facts) for entry in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        if value[1:-1] not in facts:
            raise RedistillError(f"{value!r} asks for a fact that {described(facts)} does not have")
        fact = facts[value[1:-1]]
        return int(fact) if fact.isdigit() else fact
    return value
