"""A campaign: cells of many papers in an order, each piece one line of ``redistill reproduce`` with the reason why it stands there.

    [[piece]]
    paper = "ferles2020"
    tables = ["4"]
    why = "teachers of both zero-shot papers"
    # and, where they are wanted: only = ["KD"] (methods), rows, columns, seeds = "5"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic
from pydantic import Field

from redistill.errors import RedistillError, nearest
from redistill.papers.cost import seconds
from redistill.papers.load import load
from redistill.papers.plan import make, select
from redistill.paths import expanded
from redistill.runs.store import Store
from redistill.settings.text import parse
from redistill.values import Value


class Piece(Value):
    """Some cells of one paper.

    Attributes:
        paper: its name, or the path of its file. tables, only, rows, columns: which cells, as the options of ``reproduce``; nothing
            means all. seeds: ``3`` means 0, 1, 2. why: why it stands where it does.
    """

    paper: str
    tables: tuple[str, ...] = Field(min_length=1)
    why: str
    only: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    seeds: str = Field("3", pattern=r"^\d+(,\d*)*$")

    @property
    def name(self) -> str:
        """``ferles2020:4``; several tables are joined by ``+``, methods follow after a colon."""
        return ":".join([self.paper, "+".join(self.tables), *(["+".join(self.only)] if self.only else [])])


class _File(Value):
    piece: tuple[Piece, ...] = Field(min_length=1)


def read(path: Path, only: Sequence[str] = ()) -> tuple[Piece, ...]:
    """The pieces of a campaign's file in their order, or those of these names.

    Raises:
        RedistillError: every mistake of the file; a name that none of its pieces has; cells that no paper has.
    """
    table, mistakes = parse(path)
    pieces: tuple[Piece, ...] = ()
    try:
        pieces = _File.model_validate(table).piece
    except pydantic.ValidationError as error:
        mistakes.validation((), error)
    mistakes.raise_if_any()
    pieces = tuple(_beside(one, path.parent) for one in pieces)
    for number, one in enumerate(pieces):
        try:
            select(load(one.paper), one.tables, one.only, one.rows, one.columns)
        except RedistillError as error:
            mistakes.add(("piece", number), str(error))
    mistakes.raise_if_any()
    names = [one.name for one in pieces]
    for name in only:
        if name not in names:
            raise RedistillError(nearest(name, names, "piece"))
    return tuple(one for one in pieces if not only or one.name in only)


def _beside(one: Piece, folder: Path) -> Piece:
    """A paper file is looked for from the campaign's file on, wherever the command was typed."""
    own = one.paper.endswith(".toml") and folder != Path()
    return one.model_copy(update={"paper": str(folder / expanded(one.paper))}) if own else one


@dataclass(frozen=True)
class Standing:
    """How far a piece is: runs that are there, runs in all, and the seconds still to go of one process here. A run that an earlier
    piece needs too is work of that one."""

    piece: Piece
    done: int
    runs: int
    seconds: float


def standing(pieces: Sequence[Piece], store: Store, device: str, seeds: dict[str, list[int]]) -> Iterator[Standing]:
    """What there is of each piece; nothing is run and no data are read. ``seeds``: what the texts of the pieces mean."""
    seen: set[str] = set()
    for one in pieces:
        paper = load(one.paper)
        plan = make(paper, select(paper, one.tables, one.only, one.rows, one.columns), seeds=seeds[one.seeds], device=device)
        missing = plan.missing(store)
        still = [group for found in missing if (group := tuple(run for run in found if run.id not in seen))]
        seen |= {run.id for run in plan.runs}
        yield Standing(one, len(plan.runs) - sum(map(len, missing)), len(plan.runs), sum(seconds(group, device) for group in still))
