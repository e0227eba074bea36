"""What a paper file says, as values. ``micaelli2019.toml`` shows every part at work.

A file prints each table as the paper does, so that it is proof-read by eye, and says once for the whole paper what the
numbers mean: which method is which sum of terms, and which source and recipe belong to which cells. A cell is known by its
*facts*: ``method``, ``teacher``, ``student``, ``data`` and whatever else the file declares (``M``, the images a class). The
entries of ``[[case]]`` turn facts into settings, from the first to the last.

Knows TOML and sentences, never torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from redistill.user_code import refuse_code
from redistill.values import Value


def _text(value: Any) -> Any:
    """Numbers of a file may stand as numbers: ``M = 200`` is the fact "200"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


Fact = Annotated[str, BeforeValidator(_text)]
Facts = dict[str, Fact]

OWN_FACTS = ("method", "teacher", "student", "data", "trains", "seed", "gradient")
"""``trains = "teacher"``: the cell is about the teacher of its pair. ``seed``: the published one, of a table by seed.
``gradient = "teacher"``: of a transition error, images are pushed by the teacher's gradient, not the student's."""

Which = Literal["last", "best_on_test", "best_on_validation", "at_step", "unknown", "none"]
Aggregate = Literal["mean", "median", "single", "unknown"]
Metric = Literal["accuracy", "error", "mte"]
"""Unit of a table: percent of images classified rightly, or wrongly; a mean transition error, from 0."""
Pick = Literal["first", "random", "ferles"]


class About(Value):
    """``[paper]``: what was read, and where.

    Args:
        code: repositories as ``owner/name@commit``. history: one line a version, newest last; whatever can move a number
            raises ``version``. reproduces: the paper file whose numbers this one repeats.
    """

    title: str
    authors: tuple[str, ...] = Field(min_length=1)
    year: int
    venue: str = ""
    arxiv: str = ""
    code: tuple[str, ...] = ()
    reproduces: str = ""
    version: int = Field(default=1, ge=1)
    history: tuple[str, ...] = Field(min_length=1)


class Protocol(Value):
    """How a printed number was made, and by which rule ours is held against it.

    Args:
        which: the epoch reported. aggregate, seeds: of how many runs. ddof: of the printed spread; None: not known.
        spread: what stands behind ±: a standard deviation, or a variance, whose square root is wider where it is below 1.
        tolerance: half width of what counts as equal, in the table's unit.
        because: where it is said, or why it is believed.
    """

    which: Which
    aggregate: Aggregate
    seeds: int | None = Field(default=None, ge=1)
    ddof: Literal[0, 1] | None = None
    spread: Literal["sd", "variance"] = "sd"
    tolerance: float = Field(default=0.5, gt=0)
    because: str = ""


class ProtocolOfTable(Value):
    """What a table's protocol has unlike the paper's."""

    which: Which | None = None
    aggregate: Aggregate | None = None
    seeds: int | Literal["unknown"] | None = None
    ddof: Literal[0, 1, "unknown"] | None = None
    spread: Literal["sd", "variance"] | None = None
    tolerance: float | None = Field(default=None, gt=0)
    because: str | None = None


class TeacherRule(Value):
    """How the teachers of this paper are made: as a student of ``method`` with the same data, under a seed rule."""

    method: str
    seed: Literal["same"] | Annotated[int, Field(ge=0)] = "same"


class Setup(Value):
    """``[setup]``: ``data`` where a table names none, ``facts`` that tell cells apart beside the usual ones.

    ``images``: those of transition errors (see :func:`redistill.belief.transitions`).
    """

    data: str
    facts: tuple[str, ...] = ()
    teacher: TeacherRule
    images: Pick = "first"


class Selector(Value):
    """Base of entries that hold for some cells: all of ``where`` must hold, each value alone or one of a list."""

    where: dict[str, Fact | tuple[Fact, ...]] = Field(default_factory=dict)

    def holds(self, facts: Mapping[str, str]) -> bool:
        return all(facts.get(name, "") in ((v,) if isinstance(v, str) else v) for name, v in self.where.items())


class Case(Selector):
    """``[[case]]``: settings of the cells where it holds; a later case overrules an earlier one.

    Args:
        source, recipe: names of ``[source.*]`` and ``[recipe.*]``. set: further settings, shaped like an experiment file,
            put in key by key; a term is named by its ``use`` (``method.AT.weight``), ``"{M}"`` stands for that fact, and ""
            takes a key away.
        teacher: facts of the experiment that makes the teacher, where they are not those of [setup] teacher.
        start: the student starts from the student of another cell, whose facts these are (the others as in this cell).
    """

    source: str | None = None
    recipe: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    teacher: Facts | None = None
    start: Facts | None = None


class Assumption(Selector):
    """``[[assumed]]``: what the paper leaves out, and what is done here."""

    about: str
    ours: str
    because: str


class Deviation(Selector):
    """``[[departs]]``: where paper and code disagree. ``change``: the settings of the other reading, for ``explain``."""

    name: str
    about: str
    theirs: str
    ours: str
    because: str
    change: dict[str, Any] = Field(default_factory=dict)


class Reported(Selector):
    """``[[reported]]``: cells whose reported epoch is another than [protocol] says (a table's own protocol stands above)."""

    which: Which
    because: str


class Unknown(Selector):
    """``[[unknown]]``: cells of which no experiment can be made, and why."""

    because: str


class CellReference(Selector):
    """Base of entries that speak of exactly one cell of ``table``."""

    table: str


class AlternativeValue(CellReference):
    """``[[also]]``: another value printed for one cell of ``table``, with its source."""

    value: str
    source: str
    because: str = ""


class Checkpoint(CellReference):
    """``[[checkpoint]]``: a published file whose accuracy a cell of ``table`` claims.

    Args:
        path: where it lies in the repository, which may hold several files of one name. sha256: of its content.
        model, normalise: how it is read. data: what it is evaluated on.
        value, source: a number said of this very file, where the cell's number is another file's.
    """

    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    model: str
    data: str
    normalise: str
    value: str = ""
    source: str = ""

    @property
    def file(self) -> str:
        """Its name."""
        return self.path.rpartition("/")[2]

    @field_validator("model")
    @classmethod
    def _of_ours(cls, name: str) -> str:
        refuse_code(name, "a paper file")
        return name


class Command(Value):
    """``[[command]]``: an experiment of the original project and the one line here that repeats it."""

    about: str
    original: str
    ours: str
    note: str = ""


class Table(Value):
    """``[table.N]``: a printed table.

    Args:
        caption, page: of the print. kind: where the numbers stand.
        where: facts of all its cells. header, rows: as printed. An entry of ``header`` that ``column`` describes holds
            numbers; any other names a fact, or is ``row``, whose entries ``row`` describes. A fact may quote another one
            of the same place, ``student = "{teacher}"``, and is taken away by "".
        gains, orders: pairs of column labels (compared within a row) or of row labels (within a column): the first minus
            the second is a claimed gain; of an order, the better one is claimed to be better (by print, else the first).
    """

    caption: str
    page: str
    kind: Literal["paper", "figure", "text", "code", "readme", "log", "asked"] = "paper"
    metric: Metric = "accuracy"
    note: str = ""
    where: Facts = Field(default_factory=dict)
    header: tuple[str, ...] = Field(min_length=2)
    rows: tuple[tuple[str, ...], ...] = Field(min_length=1)
    column: dict[str, Facts]
    row: dict[str, Facts] = Field(default_factory=dict)
    gains: tuple[tuple[str, str], ...] = ()
    orders: tuple[tuple[str, str], ...] = ()
    protocol: ProtocolOfTable = ProtocolOfTable()

    @property
    def keys(self) -> tuple[str, ...]:
        """The leading entries of the header, which name the row."""
        return tuple(name for name in self.header if name not in self.column)


class PaperFile(Value):
    """A whole file."""

    paper: About
    protocol: Protocol
    setup: Setup
    network: dict[str, str]
    source: dict[str, dict[str, Any]]
    recipe: dict[str, dict[str, Any]]
    method: dict[str, tuple[dict[str, Any], ...]]
    case: tuple[Case, ...] = Field(min_length=1)
    assumed: tuple[Assumption, ...] = ()
    departs: tuple[Deviation, ...] = ()
    reported: tuple[Reported, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    also: tuple[AlternativeValue, ...] = ()
    checkpoint: tuple[Checkpoint, ...] = ()
    command: tuple[Command, ...] = ()
    table: dict[str, Table]

    @property
    def facts(self) -> tuple[str, ...]:
        return (*OWN_FACTS, *self.setup.facts)


def together(paper: Protocol, table: ProtocolOfTable) -> Protocol:
    """A table's whole protocol."""
    given = {name: value for name, value in table.model_dump().items() if value is not None}
    rows: dict[str, Any] = {**paper.model_dump(), **given}
    unknown = {name: None for name in ("seeds", "ddof") if rows[name] == "unknown"}
    return Protocol.model_validate({**rows, **unknown})


def quoted(given: Mapping[str, str], row: Mapping[str, str]) -> dict[str, str]:
    """Facts with ``{teacher}`` replaced by the row's fact of that name, and empty ones taken away.

    >>> quoted({"teacher": "", "student": "{teacher}", "M": "200"}, {"teacher": "WRN-40-2"})
    {'student': 'WRN-40-2', 'M': '200'}
    """
    made = {}
    for name, value in given.items():
        if value.startswith("{") and value.endswith("}"):
            value = row.get(value[1:-1], "")
        if value:
            made[name] = value
    return made


def joined(labels: Sequence[str]) -> str:
    """The entries that name a row, as one label."""
    return ", ".join(labels)
