"""A paper's cells beside our runs: claims made from a plan, runs read from a store, findings table by table.

The rule of a claim (epoch, tolerance, seeds, paired or not) follows from the paper file and the plan alone, so it stands
before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redistill.claims import Claim, Finding, Measured, Published, Summary, judge_table
from redistill.errors import RedistillError
from redistill.experiment.files import canonical, digest
from redistill.experiment.store import Damaged, Run, Store, stale
from redistill.experiment.value import Experiment, identity
from redistill.papers.cells import Cell, Printed
from redistill.papers.plan import Plan, Planned
from redistill.papers.schema import Checkpoint, Metric, Protocol
from redistill.report.beliefs import Believed
from redistill.report.checkpoints import Checked, looked_for


@dataclass(frozen=True)
class Judged:
    """One table of a paper.

    Attributes:
        planned: its cells. runs: what was found for each, by the label of its cell. findings: in the order of the cells,
            then gains, orders, published files. summary: None where nothing can be judged (no number is printed).
    """

    table: str
    planned: tuple[Planned, ...]
    runs: Mapping[str, tuple[Run, ...]]
    findings: tuple[Finding, ...]
    summary: Summary | None


def label(cell: Cell) -> str:
    """How a table's reader finds a cell: row and column."""
    return f"{cell.row} / {cell.column}"


def attacked(cell: Cell) -> str:
    """Whose gradient pushes the images of a transition error."""
    return "teacher" if cell.facts.get("gradient") == "teacher" else "student"


def _key(planned: Planned) -> str:
    """What is measured: the same runs, and the same thing about them."""
    assert planned.experiment is not None
    return f"{planned.experiment.cell} {attacked(planned.cell)}"


def judged(
    plan: Plan,
    store: Store,
    files: Mapping[str, Checked] | None = None,
    beliefs: Mapping[tuple[str, str], Believed] | None = None,
) -> list[Judged]:
    """Findings for every table of a plan.

    Args:
        files: accuracies of published files by SHA-256 (:mod:`redistill.report.checkpoints`).
        beliefs: transition errors by run and attacked network (:mod:`redistill.report.beliefs`).
    """
    if plan.scale != 1.0:
        raise RedistillError(f"a plan at scale {plan.scale:g} earns no verdict: judge one at the published length")
    tables = dict.fromkeys(planned.cell.table for planned in plan.cells)
    found = Found(store)
    return [_table(plan, name, found, files or {}, beliefs or {}) for name in tables]


def _table(
    plan: Plan,
    name: str,
    store: Found,
    files: Mapping[str, Checked],
    beliefs: Mapping[tuple[str, str], Believed],
) -> Judged:
    planned = tuple(p for p in plan.cells if p.cell.table == name)
    metric, protocol = plan.paper.table(name).metric, plan.paper.protocol(name)
    # runs shared by several cells count once, under the first cell's label
    home: dict[str, str] = {}
    for p in planned:
        if p.experiment is not None:
            home.setdefault(_key(p), label(p.cell))
    runs: dict[str, tuple[Run, ...]] = {}
    measured: dict[str, list[Measured]] = {}
    for p in planned:
        if p.experiment is None or (key := home[_key(p)]) in runs:
            continue
        found, values = _measured(p, plan.seeds, store, at_step=protocol.which == "at_step")
        if metric == "mte":
            known = [beliefs.get((run.id, attacked(p.cell))) for run in found]
            values = [Measured(run.seed, b.mte) for run, b in zip(found, known, strict=True) if b is not None]
        runs[key] = found
        if values:
            measured[key] = values
    claims = _claims(plan, planned, home, metric, protocol)
    for checkpoint in plan.paper.file.checkpoint:
        there = [p.cell for p in planned if checkpoint.table == name and checkpoint.holds(p.cell.facts)]
        if there and (claim := _file_claim(checkpoint, there[0], metric, protocol)) is not None:
            claims.append(claim)
            if (evaluated := files.get(checkpoint.sha256)) is not None:
                measured[claim.cell] = [Measured(0, evaluated.accuracy)]
    if not claims:
        return Judged(name, planned, runs, (), None)
    findings, summary = judge_table(claims, measured)
    return Judged(name, planned, runs, tuple(looked_for(f, plan.paper, files) for f in findings), summary)


# ---------------------------------------------------------------------------------------------------------------------
# Claims
# ---------------------------------------------------------------------------------------------------------------------
def published(printed: Printed, protocol: Protocol, metric: Metric) -> Published:
    """A printed number in the unit of our runs: an error rate becomes an accuracy."""
    value = 100.0 - printed.value if metric == "error" else printed.value
    return Published(
        value=round(value, printed.decimals) if metric == "error" else value,
        # without the number of its runs a spread says nothing
        std=printed.std if protocol.seeds is not None and protocol.seeds > 1 else None,
        seeds=protocol.seeds,
        ddof=protocol.ddof,
        which=protocol.which,
        aggregate=protocol.aggregate,
        decimals=printed.decimals,
        approximate=printed.approximate,
        variance=protocol.spread == "variance",
    )


def _claims(
    plan: Plan, planned: Sequence[Planned], home: Mapping[str, str], metric: Metric, protocol: Protocol
) -> list[Claim]:
    seeds = len(plan.seeds)
    made: list[Claim] = []
    values: dict[str, Published] = {}
    for p in planned:
        cell = p.cell
        if cell.printed is None:
            continue
        own = plan.paper.protocol_of(cell)
        values[label(cell)] = published(cell.printed, own, metric)
        also = tuple(published(number, own, metric) for a in cell.also if (number := Printed.read(a.value)) is not None)
        runs = home[_key(p)] if p.experiment is not None else label(cell)
        made.append(
            Claim(
                id=label(cell),
                kind="value",
                cell=runs,
                published=values[label(cell)],
                tolerance=protocol.tolerance,
                seeds=seeds,
                contradicting=also,
            )
        )
    table = plan.paper.table(planned[0].cell.table)
    for kind, pairs in (("gain", table.gains), ("order", table.orders)):
        for first, second in pairs:
            for one, two in _couples(planned, first, second):
                claim = _difference(kind, one, two, values, home, protocol, seeds)
                if claim is not None:
                    made.append(claim)
    return list({claim.id: claim for claim in made}.values())


def _couples(planned: Sequence[Planned], first: str, second: str) -> list[tuple[Planned, Planned]]:
    """Cells of two columns row by row, or of two rows column by column."""
    couples = []
    for by, along in (("column", "row"), ("row", "column")):
        ones = {getattr(p.cell, along): p for p in planned if getattr(p.cell, by) == first}
        twos = {getattr(p.cell, along): p for p in planned if getattr(p.cell, by) == second}
        couples += [(ones[at], twos[at]) for at in ones if at in twos]
    return couples


def _difference(
    kind: str,
    one: Planned,
    two: Planned,
    values: Mapping[str, Published],
    home: Mapping[str, str],
    protocol: Protocol,
    seeds: int,
) -> Claim | None:
    if one.experiment is None or two.experiment is None or _key(one) == _key(two):
        return None
    a, b = values.get(label(one.cell)), values.get(label(two.cell))
    if a is None or b is None or (kind == "order" and a.value == b.value):
        return None
    if kind == "order" and a.value < b.value:
        one, two, a, b = two, one, b, a
    assert one.experiment is not None and two.experiment is not None
    paired = protocol.aggregate != "median" and together(one.experiment, two.experiment)
    sign = "minus" if kind == "gain" else "above"
    return Claim(
        id=f"{label(one.cell)} {sign} {label(two.cell)}",
        kind="gain" if kind == "gain" else "order",
        cell=home[_key(one)],
        published=a,
        baseline=home[_key(two)],
        published_baseline=b,
        decides="paired" if paired else "unpaired",
        tolerance=protocol.tolerance,
        seeds=seeds,
    )


def together(one: Experiment, two: Experiment) -> bool:
    """Whether two experiments see the same images in the same order, so that their difference is paired by seed.

    A network trained without a teacher sees what the students of the same source and recipe see.
    """
    if one.source.depends_on_student or two.source.depends_on_student or one.source != two.source:
        return False
    recipes = [e.recipe.model_copy(update={"teacher_mode": "eval"}) for e in (one, two)]
    return recipes[0] == recipes[1]


def _file_claim(checkpoint: Checkpoint, cell: Cell, metric: Metric, protocol: Protocol) -> Claim | None:
    """What a cell, or something said of the file itself, claims of a published file."""
    if (printed := Printed.read(checkpoint.value) or cell.printed) is None:
        return None
    about = f"published file {checkpoint.path}" if checkpoint.value else f"published file of {label(cell)}"
    number = published(printed, protocol, metric)
    return Claim(id=about, kind="checkpoint", cell=f"file {checkpoint.path}", published=number, seeds=1)


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------
def told(run: Run) -> dict[str, Any]:
    """What of a record must be the same wherever the run lies: the numbers."""
    return {name: run.record[name] for name in ("accuracy", "diverged", "steps")}


def to_measure(plan: Plan, found: Found) -> Iterator[tuple[Run, Experiment, str]]:
    """Runs of cells that print a transition error, with the attacked network."""
    for p in plan.cells:
        if p.experiment is None or plan.paper.table(p.cell.table).metric != "mte":
            continue
        for seed in plan.seeds:
            one = p.experiment.with_seed(seed)
            if (run := found.find(one)) is not None:
                yield run, one, attacked(p.cell)


def asked(written: Any) -> Any:
    """What of a written experiment was asked for, without what followed from device and version."""
    if isinstance(written, Mapping):
        return {name: asked(value) for name, value in written.items() if name not in ("arithmetic", "numerics")}
    return [asked(value) for value in written] if isinstance(written, list | tuple) else written


class Found:
    """The finished runs of a store by what was asked, so that a run counts on whatever device it was made.

    A run whose formulas have changed since (``numerics``), or whose teacher has, is found and is *stale*.

    Raises:
        RedistillError: a record that cannot be used (damaged, altered, of a newer version), or two records of one run that
            tell different things.
    """

    def __init__(self, store: Store):
        self.store = store
        self.runs: dict[tuple[str, int], list[Run]] = {}
        known: dict[str, Run] = {}
        for run in store.runs():
            if isinstance(run, Damaged):
                raise RedistillError(run.why)
            if not isinstance(run, Run):
                continue
            twin = known.setdefault(run.id, run)
            if told(twin) != told(run):
                raise RedistillError(
                    f"{twin.folder} and {run.folder} are both run {run.id} and tell different things: a run is a fact, so one "
                    f"of them was changed or made elsewhere; move it out of {store.root}"
                )
            self.runs.setdefault((self._key(run.record["experiment"]), run.seed), []).append(run)

    def _key(self, written: Mapping[str, Any]) -> str:
        return digest(canonical(identity(asked({name: value for name, value in written.items() if name != "seed"}))))

    def find(self, one: Experiment) -> Run | None:
        """Its own run where that is there, else one that was asked the same; fresh ones first."""
        runs = self.runs.get((self._key(one.written(seed=False)), one.seed), [])
        return min(runs, key=lambda run: (run.id != one.id, self.stale(run, one), run.folder), default=None)

    def stale(self, run: Run, one: Experiment) -> bool:
        before, now = run.record["experiment"]["numerics"], one.numerics
        return before != now or stale(run, self.store) is not None


def _measured(
    planned: Planned, seeds: Sequence[int], found: Found, *, at_step: bool
) -> tuple[tuple[Run, ...], list[Measured]]:
    """The finished runs of a cell's experiment, and their accuracies."""
    assert planned.experiment is not None
    runs, values = [], []
    for seed in seeds:
        mine = planned.experiment.with_seed(seed)
        for one in (mine, *(other.with_seed(seed) for other in planned.elsewhere)):
            run = found.find(one)
            if run is None or "test" not in run.record["accuracy"]:
                continue
            table = run.record["accuracy"]["test"]
            last, best = float(table["last"]), float(table["best"])
            if at_step and one is not mine:
                curve = {int(step): float(value) for step, value in run.curves()["accuracy"]["test"]}
                if (step := mine.recipe.steps) not in curve:
                    continue  # not evaluated there
                last = curve[step]
            runs.append(run)
            values.append(Measured(seed, last, None if at_step else best, stale=found.stale(run, one)))
            break
    return tuple(runs), values


__all__ = ["Found", "Judged", "judged", "label", "published", "to_measure", "together"]
