"""A table that quotes others, cell by cell: what each number is said to be of, in the words of the table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from redistill.errors import RedistillError, counted, cut
from redistill.evidence import names
from redistill.evidence.files import content_of, finite, value_in
from redistill.evidence.grid import Grid, grids
from redistill.evidence.registry import Registry, decimals_of, key_of, registry
from redistill.evidence.units import ERRORS, Unit, column_name, of_errors, percent, says_percent, unit_of

NUMBER = re.compile(
    r"(?P<value>[-−+]?\d+(?:\.(?P<decimals>\d+))?)\s*%?(?:\s*(?:±|\+/?-|\(±?)\s*(?P<std>\d*\.?\d+)\s*%?\)?)?\s*(?:\([^)]*\)|[↑↓][\d.]*)?"
)

ROLES = {
    "dataset": ("dataset", "data"), "teacher": ("teacher",), "student": ("student",), "method": ("method", "distiller", "approach"),
    "setting": ("setting",),
    "value": ("value", "quoted", "acc", "accuracy", "top_1", "top1", "acc@1", "top_1_acc", "top_1_accuracy", "top1_acc", "top1_accuracy",
              "test_acc", "test_accuracy", *ERRORS),
}  # fmt: skip
"""Names of the columns of a long table, one number a row, as :func:`redistill.evidence.units.column_name` writes them."""

TOP5 = re.compile(r"\b(?:top|acc|prec)[\s@_-]*5\b|\br@5\b", re.I)
"""Labels of rows and columns that are no top-1."""

WRITTEN = {
    "CIFAR-100": r"\bcifar[-\s_]?100\b", "CIFAR-10": r"\bcifar[-\s_]?10\b", "Tiny-ImageNet": r"\btiny[-\s_]?imagenet\b",
    "ImageNet": r"(?<!tiny)(?<!tiny.)\bimagenet(?![-\s_]?(?:100|a|c|lt|r|v2|sketch)\b)(?:-?1k)?\b", "SVHN": r"\bsvhn\b",
}  # fmt: skip
"""Data sets as a table names them."""

NUMERIC = re.compile(r"(?:\\[a-z]+)?\W*\d{1,2}[.,]\d", re.I)
LONELY = re.compile(r"(?:\\[a-z]+)?\W*\d\d[.,]\d", re.I)
"""How an entry begins that a person takes for an accuracy: beside other numbers, and in a row that may be a heading."""

Found = tuple[float, int, float | None, str]
"""Value, decimals, spread and marks of an entry."""

AVERAGES = ("avg", "avg.", "average", "mean", "δ", "year", "venue", "params", "#params", "flops")
"""Columns of numbers that nobody quotes."""

ACC = ("", "acc", "accuracy", "top_1", "top1", "top_1_acc", "top_1_accuracy", "acc@1")
"""Labels of a row of accuracies below a row of networks, as :func:`redistill.evidence.units.column_name` writes them."""


@dataclass(frozen=True)
class Quoted:
    """One number of a quoting table.

    Attributes:
        row, column: its labels in the table. text: as it stands there. value: in percent, as accuracy where ``--unit`` says error.
        mark: footnote signs at the number or its name. turned: its column says that it is an error, and ``value`` is 100 minus it.
    """

    row: str
    column: str
    dataset: str
    teacher: str | None
    student: str
    method: str
    setting: str
    text: str
    value: float
    decimals: int
    std: float | None = None
    mark: str = ""
    turned: bool = False

    @property
    def pair(self) -> str:
        return f"{self.teacher} -> {self.student}" if self.teacher else self.student


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
                here, left = _grid(grid, f"{path}, table {number}", unit)
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
        cells = [cell if cell.turned else _of_fraction(cell) for cell in cells]
    elif unit == "error":
        cells = [cell if cell.turned else _of_error(cell) for cell in cells]
    if any(cell.turned for cell in cells):
        notes.append(f"{path}: numbers are errors: compared as 100 minus them")
    return QuotingTable(path.stem, about, tuple(cells), tuple(notes))


def _of_fraction(cell: Quoted) -> Quoted:
    spread = None if cell.std is None else percent(cell.std, "fraction")
    return replace(cell, value=percent(cell.value, "fraction"), decimals=max(0, cell.decimals - 2), std=spread)


def _of_error(cell: Quoted) -> Quoted:
    return replace(cell, value=percent(cell.value, "error"), turned=True)


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
# Grids
# ---------------------------------------------------------------------------------------------------------------------
def number_of(text: str) -> Found | None:
    """Value, decimals, spread and marks of an entry; None where it holds no number.

    >>> number_of("70.66†"), number_of("86.60 ± 0.56"), number_of("ResNet20"), number_of("-")
    ((70.66, 2, None, '†'), (86.6, 2, 0.56, ''), None, None)
    """
    bare, marks = names.unmarked(re.sub(r"\[\d[\d, ]*\]", "", text))
    found = NUMBER.fullmatch(bare)
    if found is None:
        return None
    std = None if found["std"] is None else float(found["std"])
    return float(found["value"].replace("−", "-")), len(found["decimals"] or ""), std, marks


@dataclass
class _Left:
    """Entries that look like numbers and are none that is compared."""

    unread: list[str] = field(default_factory=list)
    top5: list[str] = field(default_factory=list)

    def notes(self, where: str) -> list[str]:
        made = []
        if self.unread:
            made.append(
                f"{where}: left out, as they are no single number with a point: {cut(', '.join(dict.fromkeys(self.unread)), 200)} "
                f"({counted(len(self.unread), 'cell')})"
            )
        if self.top5:
            made.append(f"{where}: left out, as they are called top-5: {counted(len(self.top5), 'number')}")
        return made


def _grid(grid: Grid, where: str, unit: Unit | None) -> tuple[list[Quoted], list[str]]:
    """The numbers of a table, and what of it was left out."""
    long = _long(grid, where, unit)
    if long is not None:
        return long, []
    left = _Left()
    try:
        return _wide(grid, where, left), left.notes(where)
    except RedistillError:
        header = [column_name(names.plain(cell)) for cell in grid[0]]
        there = {role for role, others in ROLES.items() if any(name in others for name in header)}
        if "value" not in there or not there & {"teacher", "student"}:
            raise
        missing = [role for role in ("method", "student") if role not in there]
        raise RedistillError(
            f"{where}: a table with one number a row needs columns method, student and accuracy; {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing beside {', '.join(map(repr, grid[0]))}"
        ) from None


def _long(grid: Grid, where: str, unit: Unit | None) -> list[Quoted] | None:
    """One number a row under named columns; None where the table is not of that kind."""
    header = [column_name(names.plain(cell)) for cell in grid[0]]
    roles = {role: [i for i, name in enumerate(header) if name in others] for role, others in ROLES.items()}
    if not roles["value"] or not roles["student"] or not roles["method"]:
        return None
    for role, there in roles.items():
        if len(there) > 1:
            raise RedistillError(f"{where}: columns {' and '.join(repr(grid[0][i]) for i in there)} could both be the {role}: leave one")
    at = {role: there[0] for role, there in roles.items() if there}
    made = []
    for number, row in enumerate(grid[1:], 2):
        found = number_of(row[at["value"]])
        if found is None:
            if row[at["value"]].strip() in ("", "-", "–", "—", "n/a", "N/A"):
                continue
            raise RedistillError(f"{where}, row {number}: {row[at['value']]!r} is no number")
        value, decimals, std, mark = found
        text = {role: row[at[role]] if role in at else "" for role in ROLES}
        made.append(
            Quoted(text["method"], f"{text['teacher']} -> {text['student']}", text["dataset"], text["teacher"] or None, text["student"],
                   text["method"], text["setting"], row[at["value"]], value, decimals, std, mark + names.unmarked(text["method"])[1])
        )  # fmt: skip
    if header[at["value"]] in ERRORS:
        of = of_errors([one.value for one in made], unit or ("percent" if says_percent([one.text for one in made]) else None), where)
        made = [_of_error(_of_fraction(one) if of == "fraction" else one) for one in made]
    return made


@dataclass
class _Column:
    """What the header has said of a column so far."""

    words: str = ""
    teacher: str | None = None
    student: str | None = None

    def take(self, words: str, role: str) -> None:
        if role == "teacher":
            self.teacher = words
        elif role == "student":
            self.student = words
        elif (pair := pair_of(words)) is not None:
            self.teacher, self.student = pair
        self.words = f"{self.words} / {words}" if self.words and words not in self.words else words


def pair_of(text: str) -> tuple[str, str] | None:
    """Teacher and student of a label such as "A -> B", "A / B", "A to B", "T: A, S: B".

    >>> pair_of("WRN-40-2 -> WRN-16-2"), pair_of("ResNet56 / ResNet20"), pair_of("KD")
    (('WRN-40-2', 'WRN-16-2'), ('ResNet56', 'ResNet20'), None)
    """
    text = re.sub(r"\b[TS](?:eacher|tudent)?\s*:\s*", "", text)
    for parted in (r"\s*(?:-+>|=>|→)\s*", r"\s+to\s+", r"\s*/\s*", r"\s*[&,;]\s*"):
        parts = re.split(parted, text)
        if len(parts) == 2 and all(is_network(part) for part in parts):
            return parts[0].strip(), parts[1].strip()
    return None


def is_network(text: str) -> bool:
    """Whether a rule for networks, or the registry, knows a name."""
    key = names.network(text)
    return key in registry().known(1) | registry().known(2) or any(
        re.fullmatch(p, re.sub(r"[\s/.]+", "-", names.plain(text))) for p, _ in names.NETWORKS
    )


def is_method(text: str, known: Registry) -> bool:
    return names.method(text) in known.known(3) or names.known_method(text)


def _wide(grid: Grid, where: str, left: _Left) -> list[Quoted]:
    """Methods along one side, pairs of networks along the other."""
    known = registry()
    labels = _label_columns(grid)
    if labels == len(grid[0]):
        return []
    across = [grid[0][j] for j in range(labels, len(grid[0]))]
    methods_across = sum(is_method(text, known) for text in across)
    if methods_across > len(across) / 2 and not any(pair_of(text) or is_network(text) for text in across):
        return _methods_across(grid, labels, where, left)
    columns = {j: _Column() for j in range(labels, len(grid[0]))}
    # beside the names there may be a column of groups (several rows in one), of venues or of years
    name_at = max(range(labels), key=lambda j: sum(is_method(row[j], known) for row in grid))
    last_role = ""
    made: list[Quoted] = []
    for number, row in enumerate(grid, 1):
        label = row[name_at]
        body = {j: row[j] for j in columns}
        held = {j: found for j, text in body.items() if (found := number_of(text)) is not None}
        role = names.method(label) if names.method(label) in (names.TEACHER, names.STUDENT) else ""
        if held and any(_is_top5(cell) for cell in row[:labels]):
            left.top5 += [body[j] for j in held]
            continue
        if not held and (both := _both(label, body)):
            for j, (teacher, student) in both.items():
                for name, one, text in ((names.TEACHER, teacher, "teacher"), (names.STUDENT, student, "student")):
                    made.append(_cell(columns[j], where, name, one, f"{one[0]:.{one[1]}f}", text))
            continue
        left.unread += [text for j, text in body.items() if j not in held and _unread(text, beside=bool(held))]
        if not held:
            words = {j: text for j, text in body.items() if text.strip() not in ("", "-", "–", "—", "/") and not _unread(text)}
            last_role = {names.TEACHER: "teacher", names.STUDENT: "student"}.get(role, "")
            if not last_role and words and all(is_network(text) for text in words.values()) and any(c.teacher for c in columns.values()):
                last_role = "student"  # a second line of networks under the teachers
            elif (
                not last_role
                and words
                and all(is_network(text) for text in words.values())
                and number == 1
                and _networks_below(grid, labels)
            ):
                last_role = "teacher"
            for j, text in words.items():
                columns[j].take(text, last_role)
            continue
        if column_name(names.plain(label)) in ACC and last_role:
            method = names.TEACHER if last_role == "teacher" else names.STUDENT
        elif not label.strip():
            raise RedistillError(f"{where}, row {number}: its numbers stand under no name of a method, teacher or student")
        else:
            method = label
        for j, found in held.items():
            if _is_top5(columns[j].words):
                left.top5.append(body[j])
            elif names.plain(columns[j].words) not in AVERAGES:
                made.append(_cell(columns[j], where, method, found, body[j], label))
    return made


def _is_top5(label: str) -> bool:
    """Whether a row or column is called top-5, and not "top-1 (top-5)".

    >>> _is_top5("ResNet18 / Top-5 (%)"), _is_top5("Acc@1 / Acc@5"), _is_top5("KD, T=5")
    (True, False, False)
    """
    return bool(TOP5.search(label)) and not re.search(r"(?:top|acc|prec)[\s@_-]*1\b", label, re.I)


def _unread(text: str, beside: bool = False) -> bool:
    """Whether an entry is meant as an accuracy and is no number; ``beside``: numbers stand in its row, so that it is no heading.

    >>> _unread("73,33"), _unread("73.33/91.2"), _unread("0.5x"), _unread("75.51"), _unread("0.5x", beside=True)
    (True, True, False, False, True)
    """
    return number_of(text) is None and bool((NUMERIC if beside else LONELY).match(text))


def _cell(column: _Column, where: str, method: str, found: Found, text: str, label: str) -> Quoted:
    """One number under a column.

    Raises:
        RedistillError: nothing above it says which pair it is of.
    """
    value, decimals, std, mark = found
    if column.student is None and column.teacher is None:
        if not column.words:
            raise RedistillError(f"{where}: a column cannot be told: nothing above its numbers names a teacher and a student")
        raise RedistillError(
            f"{where}: column {column.words!r} cannot be told: write the pair above it, TEACHER -> STUDENT, or two rows Teacher and Student"
        )
    if column.student is None and names.method(method) != names.TEACHER:
        raise RedistillError(f"{where}: column {column.words!r} names no student: add a row Student, or write TEACHER -> STUDENT")
    student = column.student or column.teacher or "?"
    mark += names.unmarked(label)[1]
    return Quoted(label or method, column.words, "", column.teacher, student, method, "", text, value, decimals, std, mark)


def _both(label: str, body: Mapping[int, str]) -> dict[int, tuple[Found, Found]]:
    """Accuracies of teacher and student in one entry, "75.61 / 73.26" in a row "Teacher / Student"."""
    if [names.method(part) for part in label.split("/")] != [names.TEACHER, names.STUDENT]:
        return {}
    pairs = {}
    for j, text in body.items():
        numbers = [number_of(part) for part in text.split("/")]
        if len(numbers) == 2 and numbers[0] is not None and numbers[1] is not None:
            pairs[j] = (numbers[0], numbers[1])
    return pairs


def _networks_below(grid: Grid, labels: int) -> bool:
    """Whether the second row names networks too."""
    return len(grid) > 1 and any(cell.strip() for cell in grid[1][labels:]) and all(is_network(c) for c in grid[1][labels:] if c.strip())


def _label_columns(grid: Grid) -> int:
    """How many columns at the left hold names in every row."""
    width = len(grid[0])
    for j in range(width):
        if any(number_of(row[j]) is not None or _unread(row[j]) for row in grid[1:]):
            return max(1, j)
    return width


def _methods_across(grid: Grid, labels: int, where: str, left: _Left) -> list[Quoted]:
    """Pairs down the side: "A -> B", or a column of teachers and one of students."""
    header = [names.plain(cell) for cell in grid[0]]
    made = []
    for number, row in enumerate(grid[1:], 2):
        named = [cell for cell in row[:labels] if cell.strip()]
        teacher = next((row[j] for j in range(labels) if header[j] == "teacher"), None)
        student = next((row[j] for j in range(labels) if header[j] == "student"), None)
        if teacher is None or student is None:
            pair = next((two for cell in named if (two := pair_of(cell)) is not None), None)
            nets = [cell for cell in named if is_network(cell)]
            if pair is None and len(nets) == 2:
                pair = (nets[0], nets[1])
            if pair is None:
                if not any(number_of(cell) for cell in row[labels:]):
                    continue
                raise RedistillError(f"{where}, row {number}: {' '.join(named)!r} names no pair of networks: write TEACHER -> STUDENT")
            teacher, student = pair
        for j in range(labels, len(row)):
            found = number_of(row[j])
            if found is None:
                left.unread += [row[j]] if _unread(row[j], beside=True) else []
            elif any(map(_is_top5, (*row[:labels], grid[0][j]))):
                left.top5.append(row[j])
            else:
                value, decimals, std, mark = found
                mark += names.unmarked(grid[0][j])[1]
                made.append(
                    Quoted(f"{teacher} -> {student}", grid[0][j], "", teacher, student, grid[0][j], "", row[j], value, decimals, std, mark)
                )
    return made


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
