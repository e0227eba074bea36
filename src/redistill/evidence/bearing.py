"""The claims of our paper files that somebody's runs bear on, judged by the rules of our own runs.

Runs of unlike sources are never pooled, and neither are runs of unlike settings: each way to combine the settings of one source
is judged by itself. Differences are unpaired, because nothing here shows that equal seeds of others share anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from redistill.claims import Claim, Finding, Measured, Summary, judge_table
from redistill.claims.judge import mismatch
from redistill.claims.model import Which
from redistill.claims.words import EPOCH
from redistill.data.catalogue import row_of
from redistill.errors import RedistillError, counted, nearest
from redistill.evidence import names
from redistill.evidence.matching import combinations, epochs_of, key_of, key_of_run, regime_of
from redistill.evidence.model import Evidence, Trained, arms
from redistill.papers.cells import Cell, Paper
from redistill.papers.load import load
from redistill.papers.load import names as paper_names
from redistill.verdicts.claims import End, couples, difference, label, published

SEEDS = 3
"""No verdict before so many runs of each cell, as with ours."""


@dataclass(frozen=True)
class Bearing:
    """Findings about one table of one paper from runs of one source with one combination of settings.

    Attributes:
        whose: source and, within it, whose runs. variant: what tells this combination from the others, "" for the only one.
        arms: cell -> its runs. apart: runs that would bear on a cell but do not count, and why, a sentence each.
        stored: of a store of ours, cell -> place and seed of each run that counts.
    """

    paper: str
    table: str
    whose: str
    variant: str
    arms: Mapping[str, tuple[Trained, ...]]
    findings: tuple[Finding, ...]
    summary: Summary | None
    apart: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    stored: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)

    def runs_of(self, cell: str) -> list[tuple[str, int | None]]:
        """Place and seed of each run of a cell."""
        return [*((run.place, run.seed) for run in self.arms.get(cell, ())), *self.stored.get(cell, ())]


def paper_of(key: str) -> str | None:
    """The paper file for a key of the claims: ``tian2020_crd`` is ``tian2020``; None where we have none.

    Raises:
        RedistillError: there are no claims of that name.
    """
    from redistill.evidence.registry import registry

    known = paper_names()
    if key in known:
        return key
    stem = key.partition("_")[0]
    sources = registry().sources
    if key not in sources and not key.endswith(".toml"):
        raise RedistillError(f"evidence about a claim that does not exist: {nearest(key, [*known, *sources], 'paper')}")
    return stem if stem in known else None


def bearings(evidence: Evidence, paper: str | None = None) -> tuple[list[Bearing], list[str]]:
    """Every finding, and what bears on no claim, a sentence each.

    Args:
        paper: judge against this one, whatever the runs say they are about.

    Raises:
        RedistillError: ``paper`` is not there, or no run bears on it; runs name claims that do not exist.
    """
    if evidence.store is not None:
        return _ours(evidence, paper), []
    found: list[Bearing] = []
    nothing: list[str] = []
    groups: dict[str, list[Trained]] = {}
    for run in evidence.runs:
        groups.setdefault(run.origin, []).append(run)
    for origin, runs in groups.items():
        wanted: dict[str, list[Trained]] = {}
        whole = evidence.kind == "our evidence format"
        for run in runs:
            if paper is not None:
                wanted.setdefault(paper, []).append(run)
            elif run.paper is not None:
                if (name := paper_of(run.paper)) is not None:
                    wanted.setdefault(name, []).append(run)
                else:
                    nothing.append(f"{run.place} ({run.words}): no paper file of ours has the claims {run.paper}")
            elif not whole:
                for name in paper_names():
                    wanted.setdefault(name, []).append(run)
        for name, mine in wanted.items():
            one = load(name)
            whose = evidence.source.words + (f", {origin}" if origin else "")
            made, used = _of_paper(one, mine, whose)
            found += made
            if paper is None and whole:
                nothing += [f"{r.place}: {one.name} has no cell for {r.words}{_printed(r)}" for r in mine if r.place not in used]
    _no_errors(evidence, found)
    if paper is not None and not found:
        cells = {names.method(run.method) for run in evidence.runs}
        count = f"{counted(len(evidence.runs), 'run')} {'is' if len(evidence.runs) == 1 else 'are'}"
        raise RedistillError(
            f"{evidence.name}: no run bears on a claim of {paper}: its {count} of {', '.join(sorted(cells))} "
            f"with {evidence.runs[0].words} first, and {paper} has no such cell"
        )
    return found, _once(nothing)


FAR = 15.0
"""Points from the print at which a mean is looked at as an error rate."""


def _no_errors(evidence: Evidence, found: Sequence[Bearing]) -> None:
    """Refuse runs whose numbers are far from the print, while 100 minus them are near it, in most cells."""
    if any("because --unit says so" in text for text in evidence.notes):
        return
    values = []
    for bearing in found:
        for finding in bearing.findings:
            claim = finding.claim
            runs = bearing.arms.get(claim.cell, ())
            if claim.kind == "value" and claim.published is not None and runs:
                last = [run.last if run.last is not None else run.best for run in runs]
                values.append((sum(x for x in last if x is not None) / len(last), claim.published.value))
    turned = [(x, y) for x, y in values if abs(x - y) > FAR and abs(100 - x - y) < FAR / 3]
    if len(turned) > len(values) / 2:
        x, y = turned[0]
        raise RedistillError(
            f"{evidence.name}: {len(turned)} of {len(values)} means are near 100 minus the paper's accuracy ({x:.2f} beside "
            f"{y:.2f}): these look "
            f"like errors; say --unit error (or --unit percent if they are accuracies)"
        )


def _printed(run: Trained) -> str:
    """What the registry knows of a run's cell that no paper file has."""
    from redistill.evidence.registry import registry

    numbers = [n for n in registry().at(run.cell) if n.source == run.paper]
    return f" (the registry has {numbers[0].words})" if numbers else ""


def _once(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def _ours(evidence: Evidence, paper: str | None) -> list[Bearing]:
    """Runs of ours are found by the identity of their experiments, as in a report."""
    from redistill.papers.plan import make, select
    from redistill.runs.store import Store
    from redistill.verdicts.tables import judged

    assert evidence.store is not None
    found = []
    for name in [paper] if paper is not None else paper_names():
        one = load(name)
        plan = make(one, select(one), seeds=range(SEEDS))
        for table in judged(plan, Store(evidence.store)):
            there = [f for f in table.findings if f.verdict != "not attempted"]
            if there:
                counted = {cell: {one.seed for one in several if not one.stale} for cell, several in table.measured.items()}
                stored = {
                    cell: [(f"run {run.id}", run.seed) for run in runs if run.seed in counted.get(cell, ())]
                    for cell, runs in table.runs.items()
                }
                whose = evidence.source.words
                found.append(Bearing(one.name, table.table, whose, "", {}, tuple(there), table.summary, (), table.rules, stored))
    if paper is not None and not found:
        raise RedistillError(f"{evidence.name}: no finished run of this store is of an experiment of {paper}")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Judging
# ---------------------------------------------------------------------------------------------------------------------
def _of_paper(paper: Paper, runs: Sequence[Trained], whose: str) -> tuple[list[Bearing], set[str]]:
    by_key: dict[tuple[str, ...], list[list[Trained]]] = {}
    for members in arms(tuple(runs)).values():
        by_key.setdefault(key_of_run(members[0]), []).append(members)
    made: list[Bearing] = []
    used: set[str] = set()
    for name, table in paper.file.table.items():
        if table.metric not in ("accuracy", "error"):
            continue
        homes: dict[tuple[str, ...], str] = {}
        cells: dict[str, Cell] = {}
        theirs: dict[str, list[list[Trained]]] = {}
        apart: list[str] = []
        for cell in paper.cells_of(name):
            key = key_of(paper, cell)
            if cell.printed is None or key is None or key not in by_key:
                continue
            home = homes.setdefault(key, label(cell))
            cells[label(cell)] = cell
            if home in theirs:
                continue
            theirs[home] = []
            planned = epochs_of(paper, cell)
            for members in by_key[key]:
                used |= {run.place for run in members}
                other = sorted({run.epochs for run in members if run.epochs is not None and planned is not None and run.epochs != planned})
                if other:
                    apart.append(
                        f"{members[0].words}: ran for {', '.join(map(str, other))} epochs, the paper's recipe has {planned}: no "
                        f"verdict is given"
                    )
                else:
                    theirs[home].append(members)
        theirs = {home: mine for home, mine in theirs.items() if mine}
        if not theirs:
            if apart:
                made.append(Bearing(paper.name, name, whose, "", {}, (), None, tuple(_once(apart))))
            continue
        claims = _claims(paper, name, cells, {k: h for k, h in homes.items() if h in theirs})
        made += _judged(paper, name, whose, claims, theirs, cells, tuple(_once(apart)))
    return made, used


def _claims(paper: Paper, table: str, cells: Mapping[str, Cell], homes: Mapping[tuple[str, ...], str]) -> list[Claim]:
    """The claims of the cells that have runs: each printed number, each gain and order of the table between two of them."""
    metric, tolerance = paper.table(table).metric, paper.protocol(table).tolerance
    made: dict[str, Claim] = {}
    seen: set[tuple[str, str]] = set()
    numbers = {}
    home_of = {}
    for name, cell in cells.items():
        key = key_of(paper, cell)
        if key is None or key not in homes or cell.printed is None:
            continue
        protocol = paper.protocol_of(cell)
        home, number = homes[key], published(cell.printed, protocol, metric)
        numbers[name], home_of[name] = number, home
        if (home, repr(number)) in seen:
            continue  # the same number of the same runs, printed in another column
        seen.add((home, repr(number)))
        also = [published(p, protocol, metric) for a in cell.also if (p := type(cell.printed).read(a.value)) is not None]
        made[name] = Claim(name, "value", home, number, tolerance=tolerance, seeds=SEEDS, contradicting=tuple(also))
    for kind, left, right in couples(paper.table(table), list(cells.values())):
        one, two = label(left), label(right)
        if one in numbers and two in numbers and home_of[one] != home_of[two]:
            ends = (End(one, home_of[one], numbers[one]), End(two, home_of[two], numbers[two]))
            if (claim := difference(kind, *ends, "unpaired", tolerance, SEEDS)) is not None:
                made[claim.id] = claim
    return list(made.values())


def _judged(
    paper: Paper,
    table: str,
    whose: str,
    claims: Sequence[Claim],
    theirs: Mapping[str, list[list[Trained]]],
    cells: Mapping[str, Cell],
    apart: tuple[str, ...],
) -> list[Bearing]:
    made: list[Bearing] = []
    listed: set[str] = set()
    regimes = {home: regime_of(paper, cells[home]) for home in theirs}
    for variant, chosen in combinations(theirs):
        mine = [claim for claim in claims if all(cell in chosen for cell in claim.cells)]
        count = {cell: len(runs) for cell, runs in chosen.items()}
        whole = []
        for claim in mine:
            n = min(count[cell] for cell in claim.cells)
            lacks = any(run.last is None for cell in claim.cells for run in chosen[cell])
            # every run that the source has counts, and all of them were planned as far as anybody can know
            whole.append(replace(claim, seeds=max(SEEDS, n), compare="best_on_test" if lacks else None))
        measured = {cell: _measured(runs) for cell, runs in chosen.items()}
        findings, summary = judge_table(whole, measured, regimes)
        # what does not hang on the settings is said once
        keys = [f"{f.claim.id}: {[[run.place for run in chosen[cell]] for cell in f.claim.cells]}" for f in findings]
        fresh = [f for f, key in zip(findings, keys, strict=True) if key not in listed]
        listed |= set(keys)
        if fresh:
            noted = tuple(_noted(f, chosen) for f in fresh)
            summary = _of_epochs(summary, chosen)
            made.append(Bearing(paper.name, table, whose, variant, chosen, noted, summary, apart if not made else (), _settings(chosen)))
    return made


def _settings(chosen: Mapping[str, Sequence[Trained]]) -> tuple[str, ...]:
    """What the source says of how its runs were made, cell by cell; the paper's recipe may be another."""
    lines = []
    for cell, runs in chosen.items():
        known = ", ".join(f"{name} {value}" for name, value in runs[0].settings.items() if value is not None)
        if known:
            lines.append(f"Settings of {cell}, as the source states them: {known}.")
    return tuple(lines)


def _measured(runs: Sequence[Trained]) -> list[Measured]:
    """Runs as numbers; one without a seed is numbered by its place."""
    made = []
    for number, run in enumerate(runs):
        best = run.best if run.best_on == "test" else None
        last = run.last if run.last is not None else run.best
        assert last is not None
        seed = run.seed if run.seed is not None and all(r.seed is not None for r in runs) else number
        best = best if run.last is not None or best is not None else None
        made.append(Measured(seed, last, best, diverged=guesses(run)))
    return made


def guesses(run: Trained) -> bool:
    """Whether its last network guesses, to the digit: of balanced test images codes print 100 / classes of one that diverged, whose
    every answer is the same class."""
    row = row_of(names.data(run.dataset))
    return run.last is not None and row is not None and abs(run.last - 100 / row.classes) < 0.005


BEST: dict[str | None, Which] = {"test": "best_on_test", "validation": "best_on_validation", None: "unknown"}


def _taken(cells: Iterable[Sequence[Trained]]) -> list[Which]:
    """At which epochs the numbers that stand for a last one were taken, as far as the source says."""
    return list(dict.fromkeys("last" if run.last is not None else BEST[run.best_on] for runs in cells for run in runs))


def _noted(finding: Finding, chosen: Mapping[str, Sequence[Trained]]) -> Finding:
    """With the epoch that its numbers really are of, and what else a reader must know of the runs."""
    finding = replace(finding, note="; ".join(filter(None, [finding.note, *_notes(finding.claim, chosen)])))
    taken = _taken(chosen[cell] for cell in finding.claim.cells)
    if finding.epoch != "last" or taken == ["last"]:
        return finding
    if len(taken) == 1:
        return replace(finding, epoch=taken[0], mismatch=mismatch(finding.claim, taken[0]))
    return replace(finding, epoch=None, mismatch=f"these runs are of unlike epochs ({', '.join(EPOCH[one] for one in taken)})")


def _of_epochs(summary: Summary, chosen: Mapping[str, Sequence[Trained]]) -> Summary:
    """With spreads under the epoch that they are of; where that is several, under none."""
    taken = _taken(chosen.values())
    named = {(taken[0] if epoch == "last" else epoch, of): pool for (epoch, of), pool in summary.regimes.items()}
    return replace(summary, pools={}, regimes=named if len(taken) == 1 else {})


def _notes(claim: Claim, chosen: Mapping[str, Sequence[Trained]]) -> list[str]:
    lines = []
    for cell in claim.cells:
        runs = chosen[cell]
        if any(run.last is None for run in runs):
            lines.append(f"the last epoch of {cell} is not known (its numbers: {', '.join(EPOCH[one] for one in _taken([runs]))})")
        if dead := [run.place for run in runs if guesses(run)]:
            as_what = "has the accuracy of guessing: taken as a run" if len(dead) == 1 else "have the accuracy of guessing: taken as runs"
            lines.append(f"{', '.join(dead)} {as_what} that diverged")
        same = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :] if a.last == b.last and a.best == b.best and a.best is not None]
        if same:
            a, b = same[0]
            lines.append(f"{a.place} and {b.place} have the same last and best accuracy to the digit: they may be one run")
    return lines
