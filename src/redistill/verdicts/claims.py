"""The claims of a plan: which number of a paper, held against which runs, by which rule; made before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from redistill.claims import Claim, Published
from redistill.claims.model import Design
from redistill.experiment.value import Experiment
from redistill.papers.cells import Cell, Paper, ReportedValue
from redistill.papers.plan import Plan, Planned
from redistill.papers.schema import Checkpoint, Metric, Protocol
from redistill.papers.schema import Table as PrintedTable
from redistill.sources.variants import KINDS
from redistill.stats import Estimate, VarianceComponent, satterthwaite
from redistill.verdicts.expected import Expected, Power, expected, within_reach

DifferenceKind = Literal["gain", "order"]


def label(cell: Cell) -> str:
    """How a table's reader finds a cell: row and column."""
    return f"{cell.row} / {cell.column}"


def attacked(cell: Cell) -> str:
    """Whose gradient pushes the images of a transition error; ``relative``: :mod:`redistill.belief.minibatch`."""
    if cell.facts.get("measure") == "relative":
        return "relative"
    return "teacher" if cell.facts.get("gradient") == "teacher" else "student"


def key(planned: Planned) -> str:
    """What is measured: the same runs, and the same thing about them."""
    assert planned.experiment is not None
    return f"{planned.experiment.cell} {attacked(planned.cell)}"


@dataclass(frozen=True)
class Kind:
    """What is known of a cell before any experiment is made of it: trained on generated images, going on from a student."""

    generated: bool
    started: bool
    regime: str


def kind_of(paper: Paper, cell: Cell) -> Kind | None:
    """Cells of one regime may be expected to scatter alike: the same kind of images, so many of them, from the same start.

    None where no experiment can be made of the cell.
    """
    if cell.unknown:
        return None
    settings = paper.settings(cell)
    generated, started = settings["source"].get("kind", "images") in KINDS, "run" in settings["student"]
    return Kind(generated, started, regime("generated" if generated else "real", cell.facts, started))


def regime(images: str, facts: Mapping[str, str], started: bool) -> str:
    """The name of a regime.

    >>> regime("real", {"data": "cifar10", "M": "200"}, True)
    'real cifar10, M 200, from a student'
    """
    many = f", M {facts['M']}" if "M" in facts else ""
    return f"{images} {facts.get('data', '')}{many}{', from a student' if started else ''}"


@dataclass(frozen=True)
class Table:
    """A table of a plan before its runs are looked at.

    Attributes:
        planned: its cells. home: what is measured -> label of the first cell that it is measured for. claims: with their rules.
        others, company: cells of the printed table that nobody asked for, and the claims of which one of them is a part. They are
            judged along, so that no verdict depends on what else is asked for; nobody is told of them.
        regimes: label -> regime. spreads: label -> what its accuracies are expected to scatter by; of transition errors nothing is
            known. sizes: regime -> how many different
            cells of the whole printed table are of it, whichever of them are planned.
    """

    name: str
    planned: tuple[Planned, ...]
    home: Mapping[str, str]
    claims: tuple[Claim, ...]
    regimes: Mapping[str, str]
    spreads: Mapping[str, Expected]
    sizes: Mapping[str, int]
    others: tuple[Planned, ...] = ()
    company: tuple[Claim, ...] = ()

    @property
    def cells(self) -> tuple[Planned, ...]:
        """Of the whole printed table, those that were asked for first."""
        return (*self.planned, *self.others)

    def lenders(self, claim: Claim) -> int:
        """How many cells of the whole table can lend each other the spread of a claim's cell."""
        return max(1, self.sizes.get(self.regimes.get(claim.cell, ""), 1))

    def power(self, claim: Claim) -> Power | None:
        """What seeds can do for a claim; None for a published file, an order without numbers, and where no spread is expected."""
        spreads = [self.spreads.get(cell) for cell in claim.cells]
        known = tuple(spread for spread in spreads if spread is not None)
        if claim.kind == "checkpoint" or claim.claimed is None or len(known) < len(spreads):
            return None
        family = sum(one.kind in ("gain", "order") for one in (*self.claims, *self.company))
        return Power(claim, known, self.lenders(claim), family)


def claims_of(plan: Plan) -> dict[str, list[Claim]]:
    """Every claim of a plan, table by table, with the rule by which it will be judged."""
    return {table.name: list(table.claims) for table in tables_of(plan)}


def tables_of(plan: Plan) -> list[Table]:
    return [_table(plan, name) for name in dict.fromkeys(planned.cell.table for planned in plan.cells)]


def _table(plan: Plan, name: str) -> Table:
    planned, others = (tuple(p for p in some if p.cell.table == name) for some in (plan.cells, plan.others))
    everything = (*planned, *others)
    metric, protocol = plan.paper.table(name).metric, plan.paper.protocol(name)
    home: dict[str, str] = {}  # runs shared by several cells count once, under the first cell's label
    for p in everything:
        if p.experiment is not None:
            home.setdefault(key(p), label(p.cell))
    # a rule must not depend on which other cells somebody asks for: spreads and regimes are those of the whole table
    kinds = [(cell, kind) for cell in plan.paper.cells_of(name) if (kind := kind_of(plan.paper, cell)) is not None]
    printed: dict[str, list[float]] = {}
    different: dict[str, set[str]] = {}
    for cell, kind in kinds:
        facts = {fact: value for fact, value in cell.facts.items() if fact != "seed"}
        different.setdefault(kind.regime, set()).add(repr(sorted(facts.items())))
        if cell.printed is not None and (spread := published(cell.printed, plan.paper.protocol_of(cell), metric).spread) is not None:
            printed.setdefault(kind.regime, []).append(spread.sd)
    by_id = {cell.id: kind for cell, kind in kinds}
    regimes: dict[str, str] = {}
    spreads: dict[str, Expected] = {}
    for p in everything:
        if p.experiment is not None and (here := home[key(p)]) not in regimes:
            mine = by_id[p.cell.id]
            regimes[here] = mine.regime
            if metric != "mte":
                spreads[here] = expected(p.cell.facts, mine.generated, mine.started, printed.get(mine.regime, []))
    sizes = {regime: len(cells) for regime, cells in different.items()}
    table = Table(name, planned, home, (), regimes, spreads, sizes, others)
    asked = {p.cell.id for p in planned}
    made = [(_with_rule(plan, table, claim), wanted) for claim, wanted in _claims(plan, everything, asked, home, metric, protocol)]
    claims, company = ([claim for claim, shown in made if shown is wanted] for wanted in (True, False))
    for checkpoint in plan.paper.file.checkpoint:
        there = [p.cell for p in planned if checkpoint.table == name and checkpoint.holds(p.cell.facts)]
        if there and (claim := _file_claim(checkpoint, there[0], metric, protocol)) is not None:
            claims.append(claim)
    return replace(table, claims=tuple(claims), company=tuple(company))


def _with_rule(plan: Plan, table: Table, claim: Claim) -> Claim:
    """With what the plan says of tolerance, looks and teachers, and whether an affordable number of seeds can settle it."""
    spread = table.spreads.get(claim.cell)
    claim = replace(claim, looks=plan.looks, allowance=plan.allowance if distilled(table, claim) else 0.0)
    if plan.unit is not None and spread is not None:
        claim = replace(claim, tolerance=max(claim.tolerance, round(plan.unit * spread.sd, 2)))
    if spread is None or claim.kind not in ("value", "gain"):
        return claim
    return replace(claim, reach=within_reach(claim, spread, table.lenders(claim)))


def distilled(table: Table, claim: Claim) -> bool:
    """Whether some of its runs learn from a teacher."""
    return any(
        p.experiment is not None and p.experiment.teacher is not None and table.home[key(p)] in claim.cells for p in table.cells
    )


# ---------------------------------------------------------------------------------------------------------------------
# What is printed
# ---------------------------------------------------------------------------------------------------------------------
def published(printed: ReportedValue, protocol: Protocol, metric: Metric, teachers: int | None = None) -> Published:
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
        teachers=teachers,
    )


def merged(numbers: Sequence[Published]) -> Published:
    """Single runs of one experiment, printed seed by seed, as one number: their mean, with their spread.

    >>> one = merged([Published(x, None, 1, None, "last", "single") for x in (90.0, 91.0, 92.0)])
    >>> one.value, one.std, one.seeds, one.aggregate
    (91.0, 1.0, 3, 'mean')
    """
    values = [number.value for number in numbers]
    first = numbers[0]
    return replace(
        first, value=float(np.mean(values)), std=float(np.std(values, ddof=1)), seeds=len(values), ddof=1, aggregate="mean"
    )


def _claims(
    plan: Plan, planned: Sequence[Planned], asked: Set[str], home: Mapping[str, str], metric: Metric, protocol: Protocol
) -> list[tuple[Claim, bool]]:
    """The claims of cells, and whether each is about cells that are asked for (ids): some of a mean's, both of a difference."""
    seeds = len(plan.seeds)
    made: list[tuple[Claim, bool]] = []
    values: dict[str, Published] = {}
    for group in _groups(planned, protocol):
        cell = group[0].cell
        several = [one.cell for one in group]
        own = plan.paper.protocol_of(cell)
        distilled = group[0].experiment is not None and group[0].experiment.teacher is not None
        # students of one teacher tell nothing of what another would add
        teachers = 1 if plan.printed_of_one and distilled else None
        singles = [published(c.printed, own, metric, teachers) for c in several if c.printed is not None]
        name = label(cell) if len(several) == 1 else _mean_label(several)
        number = singles[0] if len(singles) == 1 else merged(singles)
        for c in several:
            values[label(c)] = number
        also = []
        for i, c in enumerate(several):
            for text in c.also:
                if (other := ReportedValue.read(text.value)) is not None:
                    one = published(other, own, metric, teachers)
                    also.append(one if len(singles) == 1 else merged([*singles[:i], one, *singles[i + 1 :]]))
        runs = home[key(group[0])] if group[0].experiment is not None else label(cell)
        claim = Claim(name, "value", runs, number, tolerance=protocol.tolerance, seeds=seeds, contradicting=tuple(also))
        made.append((claim, any(c.id in asked for c in several)))
    of = {label(p.cell): p for p in planned}
    for kind, left, right in couples(plan.paper.table(planned[0].cell.table), [p.cell for p in planned]):
        first, second = of[label(left)], of[label(right)]
        a, b = values.get(label(left)), values.get(label(right))
        if first.experiment is None or second.experiment is None or a is None or b is None or key(first) == key(second):
            continue
        # what a seed brings to all cells is taken out where a table allows it; two cells alone are compared by their means
        blocked = protocol.aggregate != "median" and together(first.experiment, second.experiment)
        ends = (End(label(left), home[key(first)], a), End(label(right), home[key(second)], b))
        differs = difference(kind, *ends, "blocked" if blocked else "unpaired", protocol.tolerance, seeds)
        if differs is not None:
            made.append((differs, left.id in asked and right.id in asked))
    return list({claim.id: (claim, wanted) for claim, wanted in made}.values())


def _groups(planned: Sequence[Planned], protocol: Protocol) -> list[list[Planned]]:
    """Cells with a number; single runs of one experiment, printed seed by seed, together."""
    groups: dict[str, list[Planned]] = {}
    for p in planned:
        if p.cell.printed is None:
            continue
        single = p.experiment is not None and protocol.aggregate == "single" and protocol.seeds == 1
        groups.setdefault(key(p) if single else p.cell.id, []).append(p)
    return list(groups.values())


def _mean_label(cells: Sequence[Cell]) -> str:
    rows, columns = (list(dict.fromkeys(getattr(c, name) for c in cells)) for name in ("row", "column"))
    return f"{' + '.join(rows)} / mean of {', '.join(columns)}"


def couples(table: PrintedTable, cells: Sequence[Cell]) -> Iterator[tuple[DifferenceKind, Cell, Cell]]:
    """Cells whose difference a table claims: of two columns row by row, of two rows column by column."""
    kinds: tuple[tuple[DifferenceKind, Sequence[tuple[str, str]]], ...] = (("gain", table.gains), ("order", table.orders))
    for kind, pairs in kinds:
        for first, second in pairs:
            for by, along in (("column", "row"), ("row", "column")):
                ones = {getattr(cell, along): cell for cell in cells if getattr(cell, by) == first}
                twos = {getattr(cell, along): cell for cell in cells if getattr(cell, by) == second}
                yield from ((kind, ones[at], twos[at]) for at in ones if at in twos)


def claimed_order(one: Published, two: Published) -> int:
    """1 where the paper says that the first is better, -1 the other way round, 0 where it says neither.

    With printed spreads its own numbers say it, either way: a difference from zero at 5 % (two-sided, its own seeds). Without,
    the text does, and the paper file names the advocated one first: the print must agree by more than a last digit.
    """
    difference = one.value - two.value
    a, b = one.spread, two.spread
    if a is not None and b is not None:
        welch = satterthwaite((VarianceComponent(a.sd**2 * one.share, a.df), VarianceComponent(b.sd**2 * two.share, b.df)))
        own = Estimate(difference, (welch,))
        return 0 if difference == 0 or own.p() > 0.05 else 1 if difference > 0 else -1
    return 1 if difference > 1.5 * 10.0 ** -min(one.decimals, two.decimals) else 0


@dataclass(frozen=True)
class End:
    """One of the two cells of a difference: its label, whose runs stand for it, and what is printed."""

    label: str
    home: str
    number: Published


def difference(kind: DifferenceKind, one: End, two: End, decides: Design, tolerance: float, seeds: int) -> Claim | None:
    """The claim of a gain, or of the order that the print shows; None where it shows none."""
    if kind == "order":
        sign = claimed_order(one.number, two.number)
        if sign == 0:
            return None
        one, two = (one, two) if sign > 0 else (two, one)
    return Claim(
        f"{one.label} {'minus' if kind == 'gain' else 'above'} {two.label}", kind, one.home, one.number, two.home, two.number, decides,
        tolerance=tolerance, seeds=seeds,
    )  # fmt: skip


def together(one: Experiment, two: Experiment) -> bool:
    """Whether two experiments see the same images in the same order, so that what a seed brings is in both.

    A network trained without a teacher sees what the students of the same source and recipe see.
    """
    if one.source.depends_on_student or two.source.depends_on_student or one.source != two.source:
        return False
    recipes = [e.recipe.model_copy(update={"teacher_mode": "eval"}) for e in (one, two)]
    return recipes[0] == recipes[1]


def _file_claim(checkpoint: Checkpoint, cell: Cell, metric: Metric, protocol: Protocol) -> Claim | None:
    """What a cell, or something said of the file itself, claims of a published file."""
    if (printed := ReportedValue.read(checkpoint.value) or cell.printed) is None:
        return None
    about = f"published file {checkpoint.path}" if checkpoint.value else f"published file of {label(cell)}"
    number = published(printed, protocol, metric)
    return Claim(id=about, kind="checkpoint", cell=f"file {checkpoint.path}", published=number, seeds=1)
