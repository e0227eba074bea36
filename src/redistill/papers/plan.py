"""From the cells of a paper to the runs they need: which, in what order, in which cohorts, and how long they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.experiment.value import Experiment
from redistill.launch.cohort import Cohort
from redistill.launch.queue import plan as grouped
from redistill.papers.cells import Cell, Paper
from redistill.papers.scale import scaled
from redistill.runs.store import Store


# ---------------------------------------------------------------------------------------------------------------------
# Which cells
# ---------------------------------------------------------------------------------------------------------------------
def select(
    paper: Paper,
    tables: Sequence[str] = (),
    only: Sequence[str] = (),
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> list[Cell]:
    """The cells that are asked for; an empty filter lets everything pass.

    Args:
        tables: their names; ``table1`` and ``Table 1`` are ``1``. only: methods. rows, columns: whole labels, or one entry of a
            row's label (``WRN-16-1``). Of each, several names in one text are parted by commas.

    Raises:
        RedistillError: a name that no cell has, or filters that leave none.
    """
    chosen = [_table(paper, name) for name in listed(tables, paper.file.table)] or list(paper.file.table)
    cells = [cell for table in chosen for cell in paper.cells_of(table)]
    for what, wanted, of in (
        ("method", only, lambda cell: {cell.facts.get("method", "")}),
        ("row", rows, lambda cell: {cell.row, *cell.row.split(", ")}),
        ("column", columns, lambda cell: {cell.column}),
    ):
        if not wanted:
            continue
        known = set().union(*map(of, cells)) if cells else set()
        names = listed(wanted, known)
        for name in names:
            if name not in known:
                raise RedistillError(f"{nearest(name, known, what)} (of the cells chosen so far)")
        cells = [cell for cell in cells if of(cell) & set(names)]
    return cells


def listed(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names as somebody gives them: one a text, or several parted by commas; a known name may hold a comma itself.

    >>> listed(["KD,FitNet", "a, b"], ["KD", "FitNet", "a, b"])
    ['KD', 'FitNet', 'a, b']
    """
    whole = set(known)
    return [name for text in given for name in ([text] if text in whole else _parts(text))]


def _parts(text: str) -> list[str]:
    """Between commas; a text with nothing in it stays, so that it is refused like any name that is not there."""
    return [part.strip() for part in text.split(",") if part.strip()] or [text]


def _table(paper: Paper, name: str) -> str:
    """A table's name; ``table1`` and ``Table 1`` are ``1``."""
    short = name.lower().removeprefix("table").strip()
    if name not in paper.file.table and short not in paper.file.table:
        paper.table(name)  # says which there are
    return name if name in paper.file.table else short


# ---------------------------------------------------------------------------------------------------------------------
# Which experiments
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Planned:
    """A cell with its experiment.

    Attributes:
        experiment: None where none can be made. elsewhere: longer experiments that pass through this one's last step with
            the same rates, so that their curves hold its number too (cells at a named step).
    """

    cell: Cell
    experiment: Experiment | None
    elsewhere: tuple[Experiment, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be run for some cells of a paper.

    Attributes:
        cells: with their experiments. seeds: of every experiment. groups: cohorts in an order that works.
        others: the rest of their tables, not asked for: never run, but what is there of them lends its spread to a verdict.
        scale: part of the published length; below 1 nothing earns a verdict.
        looks: numbers of seeds at which claims are judged, fixed before; (): one look, at all of ``seeds``.
        teachers_each: every seed has a teacher of its own, whatever the paper did. allowance: what one teacher may add, a
            standard deviation in points, where all seeds share one.
        unit: tolerance in spreads of the regime, where that is more than the paper's; None: in points alone.
        printed_of_one: ours have a teacher a seed and the paper had one for all.
    """

    paper: Paper
    cells: tuple[Planned, ...]
    seeds: tuple[int, ...]
    groups: tuple[Cohort, ...]
    scale: float = 1.0
    looks: tuple[int, ...] = ()
    teachers_each: bool = False
    allowance: float = 0.0
    unit: float | None = None
    printed_of_one: bool = False
    others: tuple[Planned, ...] = ()

    @property
    def wanted(self) -> list[Experiment]:
        """The experiments of the cells themselves, each once, seed by seed."""
        return _once(one for planned in self.cells for one in _own(planned, self.seeds))

    @property
    def runs(self) -> list[Experiment]:
        """Everything that must be there in the end, teachers and starting points included."""
        return [one for group in self.groups for one in group]

    @property
    def teachers(self) -> list[Experiment]:
        """Those runs whose students teach others."""
        return _once(
            maker
            for one in self.runs
            if one.teacher is not None and (maker := one.teacher.maker(one.seed)) is not None
        )

    def missing(self, store: Store) -> list[Cohort]:
        """Groups with what is still to be trained."""
        left = (tuple(one for one in group if store.find(one) is None) for group in self.groups)
        return [group for group in left if group]

    def last_line(self, seconds: float) -> str:
        """``cells N experiments N teachers N hours X``; what takes minutes has four decimals, 0.0061."""
        hours = f"{seconds / 3600:.{1 if seconds >= 3600 or not seconds else 4}f}"
        return f"cells {len(self.cells)} experiments {len(self.runs)} teachers {len(self.teachers)} hours {hours}"


def _own(planned: Planned, seeds: Iterable[int]) -> list[Experiment]:
    if planned.experiment is None or planned.elsewhere:
        return []
    return [planned.experiment.with_seed(seed) for seed in seeds]


def _once(experiments: Iterable[Experiment]) -> list[Experiment]:
    return list({one.id: one for one in experiments}.values())


def make(
    paper: Paper,
    cells: Sequence[Cell],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "auto",
    scale: float = 1.0,
    teachers: Mapping[str, Path] | None = None,
    cohort: bool = True,
    looks: Sequence[int] = (),
    teachers_each: bool = False,
    allowance: float = 0.0,
    unit: float | None = None,
) -> Plan:
    """The plan of some cells.

    Args:
        scale: length of every run as a part of the published one, above 0 and at most 1.
        teachers: files of weights, by the printed or our name of the network: they stand in for trained teachers.
        looks, teachers_each, allowance, unit: see :class:`Plan`.

    Raises:
        RedistillError: an impossible scale, a teacher that no cell needs, an experiment that cannot be made.
    """
    if not 0 <= allowance < float("inf") or (allowance and teachers_each):
        raise RedistillError(
            f"an allowance of {allowance:g} points for the teacher: at least 0, and none where every seed has its own teacher"
        )
    if unit is not None and not unit > 0:
        raise RedistillError(f"a tolerance of {unit:g} spreads: it must be above 0")
    if teachers_each and teachers:
        raise RedistillError("a file of weights is one teacher for all seeds: leave out either the file or one teacher a seed")
    printed_of_one = teachers_each and paper.file.setup.teacher.seed != "same"
    if teachers_each:
        setup = paper.file.setup
        rule = setup.teacher.model_copy(update={"seed": "same"})
        paper = replace(paper, file=paper.file.model_copy(update={"setup": setup.model_copy(update={"teacher": rule})}))
    if not 0 < scale <= 1:
        raise RedistillError(f"--scale {scale:g}: a part of the published length, above 0 and at most 1")
    if not cells:
        raise RedistillError("no cell is left: ask for fewer things at a time")
    files = dict(teachers or {})
    known: dict[str, Experiment] = {}
    planned = [Planned(cell, _experiment(paper, cell, files, device, scale, known)) for cell in cells]
    teach(files, {p.cell.id: p.experiment for p in planned}, paper)
    planned = [_passed(one, planned, paper) for one in planned]
    wanted = _once(one for p in planned for one in _own(p, seeds))
    groups = tuple(grouped(wanted, cohort=cohort))
    others = _rest(paper, cells, files, device, known) if scale == 1.0 else ()
    return Plan(
        paper, tuple(planned), tuple(seeds), groups, scale, tuple(looks), teachers_each, allowance, unit, printed_of_one, others
    )  # fmt: skip


def _experiment(
    paper: Paper, cell: Cell, files: Mapping[str, Path], device: str, scale: float, known: dict[str, Experiment]
) -> Experiment | None:
    """What a cell asks; None where the paper file cannot say it. ``known``: by settings without their name, added to."""
    if cell.unknown:
        return None
    settings = paper.settings(cell)
    imported(settings, files, paper)
    text = repr({**settings, "name": ""})
    if text not in known:
        known[text] = of(settings, device, scale, paper.folder)
    return known[text]


def _rest(
    paper: Paper, cells: Sequence[Cell], files: Mapping[str, Path], device: str, known: dict[str, Experiment]
) -> tuple[Planned, ...]:
    """The cells of the same tables that are not asked for; one that cannot be made is nobody's trouble here."""
    asked, made = {cell.id for cell in cells}, []
    for cell in (one for table in dict.fromkeys(cell.table for cell in cells) for one in paper.cells_of(table)):
        if cell.id not in asked:
            with suppress(RedistillError):
                made.append(Planned(cell, _experiment(paper, cell, files, device, 1.0, known)))
    return tuple(_passed(one, made, paper) for one in made)


def of(settings: dict[str, Any], device: str, scale: float, folder: Path) -> Experiment:
    """The experiment of settings whose relative paths start in ``folder``, at a part of its length."""
    whole = Experiment.of(settings, folder=folder, device=device, trust_code=False)
    if scale == 1.0:
        return whole
    return Experiment.of(scaled(whole.written(), scale), folder=folder, device=device, trust_code=False)


def _passed(planned: Planned, others: Sequence[Planned], paper: Paper) -> Planned:
    """With the longest other experiment through which a cell at a named step is reached."""
    mine = planned.experiment
    if mine is None or paper.protocol(planned.cell.table).which != "at_step" or mine.recipe.steps is None:
        return planned
    longer = {
        one.id: one
        for other in others
        if (one := other.experiment) is not None
        and one.recipe.steps is not None
        and one.recipe.steps > mine.recipe.steps
        and one.model_copy(update={"recipe": mine.recipe, "name": mine.name}) == mine
        and one.recipe.model_copy(update={"steps": mine.recipe.steps}) == mine.recipe
    }
    return Planned(planned.cell, mine, tuple(sorted(longer.values(), key=lambda one: -(one.recipe.steps or 0))))


def imported(settings: dict[str, Any], files: Mapping[str, Path], paper: Paper) -> None:
    """Let files of weights stand in for teachers, in place, everywhere in the settings."""
    for role in ("teacher", "student"):
        net = settings.get(role)
        if not isinstance(net, dict) or "run" not in net:
            continue
        imported(net["run"], files, paper)
        model = net["run"]["student"].get("model", "")
        file = next((f for name, f in files.items() if paper.file.network.get(name, name) == model), None)
        if role == "teacher" and file is not None:
            settings[role] = {"model": model, "from": str(file.expanduser().resolve())}


def teach(files: Mapping[str, Path], experiments: Mapping[str, Experiment | None], paper: Paper) -> None:
    """Refuse files of weights for networks that teach nothing. experiments: by the id of their cell.

    Raises:
        RedistillError: a network of ``files`` teaches none of them.
    """
    names = {model for one in experiments.values() for model in _teachers(one)}
    unused = [name for name in files if paper.file.network.get(name, name) not in names]
    if unused and not names:
        cells = f"{', '.join([*experiments][:3])}{' ...' if len(experiments) > 3 else ''}"
        raise RedistillError(f"--teacher {unused[0]}: no network teaches the chosen cells ({cells}): leave the option out")
    if unused:
        raise RedistillError(f"--teacher: {nearest(unused[0], names, 'teacher of the chosen cells')}")


def _teachers(one: Experiment | None) -> set[str]:
    """Architectures that teach an experiment, or what its student goes on from."""
    if one is None:
        return set()
    return ({one.teacher.model} if one.teacher is not None else set()) | _teachers(one.student.run)


__all__ = ["Plan", "Planned", "make", "scaled", "select"]
