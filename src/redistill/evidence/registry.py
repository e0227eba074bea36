"""Published numbers with their sources: which table, last or best, of how many runs, and who restated them later.

The numbers come with the package (``registry.json``, written by ``scripts/make_registry.py`` from the claim files, whose SHA-256
it names) and from paper files that have no such claims.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redistill.evidence import names
from redistill.evidence.matching import KNOWN, from_labels

Key = tuple[str, str, str, str, str]
"""Data, teacher, student, method, setting: keys by :mod:`redistill.evidence.names`."""


@dataclass(frozen=True)
class Number:
    """One printed number.

    Attributes:
        source: its key, ``tian2020_crd``. table, place: where in it, and where it was read. key: what it is of.
        value, std, decimals: as printed. error: an error rate. which, aggregate, seeds: last or best, of how many runs, in the
            words of the claim file. kind: of the table. row, column: its place in the table, for its neighbours.
        doubt: why it is no source ("" for one that is).
    """

    source: str
    year: int
    table: str
    place: str
    key: Key
    dataset: str
    teacher: str | None
    student: str
    method: str
    value: float
    std: float | None
    decimals: int
    error: bool
    which: str
    aggregate: str
    seeds: int | None
    kind: str
    row: int
    column: int
    approximate: bool = False
    reproduction: bool = False
    doubt: str = ""

    @property
    def accuracy(self) -> float:
        return round(100 - self.value, self.decimals) if self.error else self.value

    @property
    def pair(self) -> str:
        return f"{self.teacher} -> {self.student}" if self.teacher else self.student

    @property
    def printed(self) -> str:
        std = f" ± {self.std:g}" if self.std is not None else ""
        return f"{'≈ ' if self.approximate else ''}{self.value:.{self.decimals}f}{std}{' % error' if self.error else ''}"

    @property
    def words(self) -> str:
        runs = f"{self.aggregate}{f' of {self.seeds}' if self.seeds else ''}"
        return f"{self.printed} in {self.source}, {self.table} ({runs}; epoch: {self.which}; read in {self.place})"

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Nearest to the origin first: own numbers before reproductions, print before second hand and figures, early before late."""
        second, figure = "second-hand" in self.kind, "figure" in self.kind or "code" in self.kind
        return int(self.reproduction), int(second), self.year, int(figure)


@dataclass(frozen=True)
class Restated:
    """A later table that prints a number again."""

    source: str
    title: str
    how_read: str
    date: str
    value: float
    mark: str | None


@dataclass(frozen=True)
class Registry:
    """Everything known, by what it is of."""

    numbers: tuple[Number, ...]
    restated: Mapping[Key, tuple[Restated, ...]]
    sources: Mapping[str, Mapping[str, Any]]
    quoting: Mapping[str, Mapping[str, Any]]

    @functools.cached_property
    def by_key(self) -> dict[Key, list[Number]]:
        found: dict[Key, list[Number]] = {}
        for number in self.numbers:
            found.setdefault(number.key, []).append(number)
        return {key: sorted(them, key=lambda n: n.rank) for key, them in found.items()}

    def of(self, key: Key) -> list[Number]:
        """Numbers of exactly one cell, nearest to the origin first."""
        return self.by_key.get(key, [])

    def at(self, cell: tuple[str, str, str, str]) -> list[Number]:
        """Numbers of a cell in any setting."""
        return sorted((n for n in self.numbers if n.key[:4] == cell), key=lambda n: n.rank)

    def known(self, place: int) -> set[str]:
        """Every key of data (0), teacher (1), student (2), method (3)."""
        return {number.key[place] for number in self.numbers} - {""}

    def neighbours(self, number: Number) -> list[tuple[str, Number]]:
        """What stands beside a number in its table, and how."""
        same = [n for n in self.numbers if n.source == number.source and n.table == number.table and n is not number]
        found = []
        for other in same:
            across, down = other.column - number.column, other.row - number.row
            if down == 0 and across:
                where = "in the neighbouring column" if abs(across) == 1 else f"{abs(across)} columns away"
                found.append((where, other))
            elif across == 0 and down:
                found.append(("in the neighbouring row" if abs(down) == 1 else f"{abs(down)} rows away", other))
        return sorted(found, key=lambda pair: abs(pair[1].column - number.column) + abs(pair[1].row - number.row))


def setting_of(text: str, method: str) -> str:
    """What of a setting tells cells apart.

    >>> setting_of("top-1", "kd"), setting_of("M=200", "at+kd"), setting_of("M=0, beta=250", "zeroshot")
    ('', 'M=200', '')
    >>> setting_of("full data (M=5000)", "x")
    ''
    """
    if found := re.search(r"\bM\s*=\s*(\d+)", text):
        many = int(found[1])
        return "" if many == 5000 or (many == 0 and "zeroshot" in method) else f"M={many}"
    text = re.sub(r"top-1|full data|\(full\)|CIFAR-100?|SVHN|\([a-z]\)", "", text).strip(" ,;")
    return text


def key_of(dataset: str, teacher: str | None, student: str, method: str, setting: str) -> Key:
    """The key of a cell; a network alone has no partner, and a teacher is one for itself."""
    name = names.method(method)
    setting = setting_of(setting, name)
    if name == names.TEACHER:
        return names.data(dataset), "", names.network(teacher or student), names.TEACHER, setting
    if name == names.STUDENT:
        return names.data(dataset), "", names.network(student), names.STUDENT, setting
    return names.data(dataset), names.network(teacher or ""), names.network(student), name, setting


def decimals_of(values: list[float]) -> int:
    """How many digits a table prints: the most that one of its numbers needs."""
    return max((len(f"{value:.6f}".rstrip("0").partition(".")[2]) for value in values), default=0)


@functools.cache
def registry() -> Registry:
    """The registry of this package."""
    file = importlib.resources.files("redistill.evidence") / "registry.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    numbers: list[Number] = []
    for source, about in data["sources"].items():
        for name, table in about["tables"].items():
            numbers += _table(source, about, name, table)
    numbers += _paper_files({source.partition("_")[0] for source in data["sources"]})
    restated: dict[Key, list[Restated]] = {}
    for source, about in data["restated"].items():
        for dataset, teacher, student, method, setting, value, mark in about["cells"]:
            one = Restated(source, about["title"], about["how_read"], str(about["date"]), value, mark)
            restated.setdefault(key_of(dataset, teacher, student, method, setting), []).append(one)
    unique = {key: tuple({(r.source, r.value): r for r in them}.values()) for key, them in restated.items()}
    return Registry(tuple(numbers), unique, data["sources"], data["restated"])


def _table(source: str, about: Mapping[str, Any], name: str, table: Mapping[str, Any]) -> list[Number]:
    rows: dict[str, int] = {}
    columns: dict[tuple[str | None, str], int] = {}
    decimals = decimals_of([row[4] for row in table["rows"]])
    made = []
    for teacher, student, method, setting, value, std, approximate, place, *note in table["rows"]:
        dataset = table["dataset"]
        if "/" in dataset:
            dataset = next((one for one in ("SVHN", "CIFAR-100", "CIFAR-10") if one in setting), dataset.partition("/")[0].strip())
        if student is None:  # a teacher that stands alone in its row
            student = teacher or "?"
        doubt = note[0] if note and ("misprint" in note[0] or "hard-coded" in note[0]) else ""
        made.append(
            Number(
                source, int(about["year"]), name, about["places"][place], key_of(dataset, teacher, student, method, setting), dataset,
                teacher,
                student, method, float(value), std, decimals, "error" in table["metric"], table["which"], table["aggregate"],
                table["seeds"],
                table["kind"], rows.setdefault(f"{method} {setting}", len(rows)), columns.setdefault((teacher, student), len(columns)),
                approximate,
                bool(about["reproduces"]) or table["kind"] == "reproduction", doubt,
            )
        )  # fmt: skip
    return made


def _paper_files(known: set[str]) -> list[Number]:
    """Numbers of paper files without claims of their own."""
    from redistill.papers.cells import ReportedValue
    from redistill.papers.load import load
    from redistill.papers.load import names as papers

    made = []
    for name in papers():
        if name in known:
            continue
        paper = load(name)
        about = paper.file.paper
        for table, content in paper.file.table.items():
            if content.metric not in ("accuracy", "error"):
                continue
            rows: dict[str, int] = {}
            columns: dict[str, int] = {}
            for cell in paper.cells_of(table):
                facts = cell.facts
                if cell.printed is None or facts.get("student") is None or facts.get("trains") == "teacher":
                    continue  # a teacher by itself is nobody's baseline
                protocol = paper.protocol_of(cell)
                method = names.STUDENT if from_labels(paper, cell) else facts.get("method", "")
                other = ", ".join(f"{k} {v}" for k, v in facts.items() if k not in KNOWN)
                many = setting_of(f"M={facts['M']}", names.method(method)) if facts.get("M", "").isdigit() else ""
                setting = ", ".join(filter(None, (many, other)))
                dataset = names.NAMES.get(facts.get("data", paper.file.setup.data), facts.get("data", paper.file.setup.data))
                key = (*key_of(dataset, facts.get("teacher"), facts["student"], method, "")[:4], setting)
                row, column = rows.setdefault(cell.row, len(rows)), columns.setdefault(cell.column, len(columns))
                contradicting = (value for also in cell.also if (value := ReportedValue.read(also.value)) is not None)
                made += [
                    Number(
                        name, about.year, table, f"{content.page} ({', '.join(about.code)})", key, dataset, facts.get("teacher"),
                        facts["student"], method, one.value, one.std, one.decimals, content.metric == "error", protocol.which,
                        protocol.aggregate, protocol.seeds, content.kind, row, column, one.approximate, bool(about.reproduces),
                    )
                    for one in (cell.printed, *contradicting)
                ]  # fmt: skip
    return made
