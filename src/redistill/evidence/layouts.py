"""The shapes of tables that quote others: one number a row, methods down the side, methods across."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redistill.errors import RedistillError
from redistill.evidence import names
from redistill.evidence.entries import Found, Left, Quoted, is_method, is_network, is_top5, number_of, pair_of, unread
from redistill.evidence.grid import Grid
from redistill.evidence.registry import registry
from redistill.evidence.units import ERRORS, Unit, column_name, of_errors, says_percent

ROLES = {
    "dataset": ("dataset", "data"), "teacher": ("teacher",), "student": ("student",), "method": ("method", "distiller", "approach"),
    "setting": ("setting",),
    "value": ("value", "quoted", "acc", "accuracy", "top_1", "top1", "acc@1", "top_1_acc", "top_1_accuracy", "top1_acc", "top1_accuracy",
              "test_acc", "test_accuracy", *ERRORS),
}  # fmt: skip
"""Names of the columns of a long table, one number a row, as :func:`redistill.evidence.units.column_name` writes them."""

AVERAGES = ("avg", "avg.", "average", "mean", "δ", "year", "venue", "params", "#params", "flops")
"""Columns of numbers that nobody quotes."""

ACC = ("", "acc", "accuracy", "top_1", "top1", "top_1_acc", "top_1_accuracy", "acc@1")
"""Labels of a row of accuracies below a row of networks, as :func:`redistill.evidence.units.column_name` writes them."""


def quoted_in(grid: Grid, where: str, unit: Unit | None) -> tuple[list[Quoted], list[str]]:
    """The numbers of a table, and what of it was left out, in sentences.

    Args:
        where: the file and the table in it, for errors. unit: what was said of a column of errors.

    Raises:
        RedistillError: its columns or rows cannot be told.
    """
    long = _long(grid, where, unit)
    if long is not None:
        return long, []
    left = Left()
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
        made = [(one.of_fraction() if of == "fraction" else one).of_error() for one in made]
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


def _wide(grid: Grid, where: str, left: Left) -> list[Quoted]:
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
        if held and any(is_top5(cell) for cell in row[:labels]):
            left.top5 += [body[j] for j in held]
            continue
        if not held and (both := _both(label, body)):
            for j, (teacher, student) in both.items():
                for name, one, text in ((names.TEACHER, teacher, "teacher"), (names.STUDENT, student, "student")):
                    made.append(_cell(columns[j], where, name, one, f"{one[0]:.{one[1]}f}", text))
            continue
        left.unread += [text for j, text in body.items() if j not in held and unread(text, beside=bool(held))]
        if not held:
            words = {j: text for j, text in body.items() if text.strip() not in ("", "-", "–", "—", "/") and not unread(text)}
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
            if is_top5(columns[j].words):
                left.top5.append(body[j])
            elif names.plain(columns[j].words) not in AVERAGES:
                made.append(_cell(columns[j], where, method, found, body[j], label))
    return made


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
        if any(number_of(row[j]) is not None or unread(row[j]) for row in grid[1:]):
            return max(1, j)
    return width


def _methods_across(grid: Grid, labels: int, where: str, left: Left) -> list[Quoted]:
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
                left.unread += [row[j]] if unread(row[j], beside=True) else []
            elif any(map(is_top5, (*row[:labels], grid[0][j]))):
                left.top5.append(row[j])
            else:
                value, decimals, std, mark = found
                mark += names.unmarked(grid[0][j])[1]
                made.append(
                    Quoted(f"{teacher} -> {student}", grid[0][j], "", teacher, student, grid[0][j], "", row[j], value, decimals, std, mark)
                )
    return made
