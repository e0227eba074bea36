"""A paper's cells beside our runs: claims held against the runs of a store, findings table by table.

The rule of a claim (epoch, tolerance, seeds, which comparison decides) follows from the paper file and the plan alone, or
stands in the store since its first run started; every seed of its cells that was begun counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from redistill.claims import Finding, Measured, Summary, judge_table
from redistill.claims.model import Epoch
from redistill.errors import RedistillError, counted
from redistill.experiment.value import Experiment
from redistill.papers.explain import Effect
from redistill.papers.plan import Plan, Planned
from redistill.papers.scale import scale_of
from redistill.papers.schema import Metric
from redistill.runs.fall import fall
from redistill.runs.lookup import Found
from redistill.runs.store import Run, Store
from redistill.verdicts.beliefs import Believed
from redistill.verdicts.checkpoints import Checked, looked_for
from redistill.verdicts.claims import Table, attacked, claims_of, distilled, key, label, published, tables_of, together
from redistill.verdicts.departed import effects_of
from redistill.verdicts.diverged import came_to, counts, counts_for, why
from redistill.verdicts.rules import ruled, sentences
from redistill.verdicts.taught import Substitutes


@dataclass(frozen=True)
class TableVerdict:
    """One table of a paper.

    Attributes:
        planned: its cells. runs: what was found for each, by the label of its cell. findings: in the order of the cells,
            then gains, orders, published files. summary: None where nothing can be judged (no number is printed).
        rules: how old the rules are, about which teacher the verdicts are, and which of two records of one run counts, in
            sentences. departed: by the label of a cell, what came of taking one departure the other way, where that was run:
            the cell as planned first. measured: what the runs came to, by the label of their cell, in the unit of the table's
            ``metric``; a run whose transition error was not measured is not there.
    """

    table: str
    planned: tuple[Planned, ...]
    runs: Mapping[str, tuple[Run, ...]]
    findings: tuple[Finding, ...]
    summary: Summary | None
    rules: tuple[str, ...] = ()
    departed: Mapping[str, tuple[Effect, ...]] = field(default_factory=dict)
    measured: Mapping[str, Sequence[Measured]] = field(default_factory=dict)
    metric: Metric = "accuracy"

    @property
    def decimals(self) -> int:
        """With how many a mean of its runs is told."""
        return 4 if self.metric == "mte" else 2


def judged(
    plan: Plan,
    store: Store,
    files: Mapping[str, Checked] | None = None,
    beliefs: Mapping[tuple[str, str], Believed] | None = None,
) -> list[TableVerdict]:
    """Findings for every table of a plan.

    Where no run of a trained teacher's students is there, but runs that learned from a file of weights are, these are judged, and
    the table says which file taught (:class:`redistill.verdicts.taught.Substitutes`).

    Args:
        files: accuracies of published files by SHA-256 (:mod:`redistill.verdicts.checkpoints`).
        beliefs: transition errors by run and attacked network (:mod:`redistill.verdicts.beliefs`).
    """
    if plan.scale != 1.0:
        raise RedistillError(f"a plan at scale {plan.scale:g} earns no verdict: judge one at the published length")
    found = Found(store)
    substitutes = Substitutes(found)
    plan = substitutes.plan(plan)
    return [_judge(plan, table, found, files or {}, beliefs or {}, substitutes) for table in tables_of(plan)]


def _judge(
    plan: Plan,
    table: Table,
    found: Found,
    files: Mapping[str, Checked],
    beliefs: Mapping[tuple[str, str], Believed],
    substitutes: Substitutes,
) -> TableVerdict:
    metric, protocol = plan.paper.table(table.name).metric, plan.paper.protocol(table.name)
    runs: dict[str, tuple[Run, ...]] = {}
    measured: dict[str, list[Measured]] = {}
    lost: dict[str, Mapping[Epoch, str]] = {}
    departed: dict[str, tuple[Effect, ...]] = {}
    looked: set[str] = set()
    shown = {table.home[key(p)] for p in table.planned if p.experiment is not None}
    for p in table.cells:
        if p.experiment is None or (cell := table.home[key(p)]) in looked:
            continue
        looked.add(cell)
        there, values = _measured(p, found, plan.seeds, at_step=protocol.which == "at_step")
        dead = [(run, value) for run, value in zip(there, values, strict=True) if value.diverged]
        if metric == "mte":
            known = [beliefs.get((run.id, attacked(p.cell))) for run in there]
            values = [Measured(v.seed, b.mte, stale=v.stale) for v, b in zip(values, known, strict=True) if b is not None]
        if values:
            measured[cell] = values
        if cell not in shown:
            continue
        runs[cell] = there
        if there and (effects := effects_of(plan.paper, p, found)):
            departed[cell] = effects
        others = substitutes.notes(p, {run.id for run in there})
        rest = (shortened(p, found), others)
        fell = ", ".join(f"seed {run.seed} {what}" for run in there if (what := fall(run)) is not None)
        lost[cell] = {epoch: ", ".join(filter(None, (_lost(p, dead, found, metric, epoch), fell, *rest))) for epoch in get_args(Epoch)}
    for checkpoint in plan.paper.file.checkpoint:
        if (evaluated := files.get(checkpoint.sha256)) is not None and evaluated.answers(checkpoint):
            measured[f"file {checkpoint.path}"] = [Measured(0, evaluated.accuracy)]
    if not table.claims:
        said = (f"{cell}: {words['last']}." for cell, words in lost.items() if words["last"])
        return TableVerdict(table.name, table.planned, runs, (), None, (*said, *standing_in(runs)), departed, measured, metric)
    rules = ruled(plan, table, found)
    rules, company = rules[: len(table.claims)], rules[len(table.claims) :]
    findings, summary = judge_table([r.claim for r in rules], measured, table.regimes, [r.claim for r in company])
    noted = [replace(f, note="; ".join(filter(None, [f.note, *_losses(f, lost)]))) for f in findings]
    used = dict.fromkeys(run.id for several in runs.values() for run in several)
    notes = (f"{found.notes[one]}." for one in used if one in found.notes)
    allowed = [rule.claim.allowance for rule in rules if rule.claim.kind != "checkpoint" and distilled(table, rule.claim)]
    words = (*sentences(rules), *teachers(table, runs, allowed), *standing_in(runs), *notes)
    found_files = tuple(looked_for(finding, plan.paper, files) for finding in noted)
    return TableVerdict(table.name, table.planned, runs, found_files, summary, words, departed, measured, metric)


def _lost(planned: Planned, dead: Sequence[tuple[Run, Measured]], found: Found, metric: Metric, epoch: Epoch) -> str:
    """Seeds of a cell that are not what they should be: diverged ones (``dead``) count, as what the epoch that is compared makes of
    them; those begun are waited for."""
    assert planned.experiment is not None
    words = []
    if dead:
        several, first = len(dead) > 1, dead[0][0]
        seeds = f"seed{'s' if several else ''} {', '.join(str(run.seed) for run, _ in dead)} diverged and"
        reached = [value.best_on_test for _, value in dead if value.best_on_test not in (None, value.last)]
        if metric == "mte":
            as_what = "have no transition error" if several else "has no transition error"
        elif epoch == "last" or not reached:
            as_what = f"count{'' if several else 's'} as guessing, {dead[0][1].last:g} %"
        else:
            best = ", ".join(f"{value.best_on_test:.2f} %" for _, value in dead)
            as_what = f"count{'' if several else 's'} as the best that was reached, {best}"
        words.append(f"{seeds} {as_what}: {why(first)}" + (f" (seed {first.seed})" if several else ""))
    words += [f"seed {seed} was begun and is not finished" for seed in found.unfinished(planned.experiment)]
    return ", ".join(words)


def shortened(planned: Planned, found: Found) -> str:
    """What runs of a cell at a part of the published length came to, by seed: they earn no verdict, and are not hidden."""
    by_scale: dict[str, list[Run]] = {}
    for several in found.runs.values():
        for run in several:
            if (scale := scale_of(run.record["experiment"] | {"name": run.label}, planned.cell.id)) is not None:
                by_scale.setdefault(scale, []).append(run)
    words = []
    for scale, runs in sorted(by_scale.items(), key=lambda pair: float(pair[0])):
        last = ((run.seed, came_to(run, " %")) for run in sorted(runs, key=lambda run: run.seed))
        values = ", ".join(f"{words} (seed {seed})" for seed, words in last if words)
        words.append(f"at {scale} of the published length {values or 'nothing was evaluated'}: no verdict")
    return "; ".join(words)


def _losses(finding: Finding, lost: Mapping[str, Mapping[Epoch, str]]) -> list[str]:
    """Of a claim's cells, in words."""
    claim = finding.claim
    best = (finding.epoch or (claim.published.which if claim.published else "last")) == "best_on_test"
    epoch: Epoch = "best_on_test" if best else "last"
    losses = {cell: words for cell in claim.cells if (words := lost.get(cell, {}).get(epoch, ""))}
    return list(losses.values()) if len(claim.cells) == 1 else [f"{cell}: {words}" for cell, words in losses.items()]


def teachers(table: Table, runs: Mapping[str, Sequence[Run]], allowed: Sequence[float] = ()) -> list[str]:
    """About which teacher the verdicts of a table are: of the cells that ran, or of all before any has.

    Args:
        allowed: of each claim about a distilled cell, what a teacher may add by the rule that counts, in points.
    """
    ran = [p for p in table.planned if p.experiment is not None and runs.get(table.home[key(p)])]
    taught = [p.experiment for p in ran or table.planned if p.experiment is not None and p.experiment.teacher is not None]
    if not taught:
        return []
    one = [e for e in taught if e.teacher is not None and (e.teacher.run is None or e.teacher.seed != "same")]
    if any(allowed):
        counts = Counter(allowed)
        by = [f"±{points:g} points" + (f" ({counted(n, 'claim')})" if len(counts) > 1 else "") for points, n in sorted(counts.items())]
        return [f"Every interval allows for teachers that differ by {', '.join(by)} (one standard deviation), ours and theirs."]
    if one:
        return [
            f"With this teacher: all seeds of {'these' if len(one) == len(taught) else f'{len(one)} of {len(taught)}'} cells learn "
            f"from one network, so the verdicts are about that teacher; what another would add stands in no interval "
            f"(0.2 points of it would make 9 % of the verdicts at the edge false with three seeds and 19 % with ten, instead of 5 %: "
            f"docs/verdicts.md)."
        ]
    return ["Every seed has a teacher of its own, so that what a teacher adds is part of the spread."]


def standing_in(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Files of weights that taught in the place of a teacher trained by the paper's recipe, with their accuracy."""
    files: dict[str, list[str]] = {}
    for cell, several in runs.items():
        for teacher in (run.record.get("teacher") or {} for run in several):
            if "path" in teacher:
                known = ", ".join(f"{value:.2f} % on {name}" for name, value in teacher.get("accuracy", {}).items())
                words = f"{Path(teacher['path']).name} ({', '.join(filter(None, (teacher['model'], known)))})"
                cells = files.setdefault(words, [])
                cells += [cell] if cell not in cells else []
    return [
        f"The teacher of {', '.join(cells)} is the file {words}, in the place of one trained as the paper's was."
        for words, cells in files.items()
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------
def to_measure(plan: Plan, found: Found) -> Iterator[tuple[Run, Experiment, str]]:
    """Runs of cells that print a transition error, with the attacked network."""
    for p in Substitutes(found).plan(plan).cells:
        if p.experiment is None or plan.paper.table(p.cell.table).metric != "mte":
            continue
        for seed in sorted({*plan.seeds, *found.seeds(p.experiment)}):
            one = p.experiment.with_seed(seed)
            if (run := found.find(one)) is not None and run.diverged is None:
                yield run, one, attacked(p.cell)


def _measured(
    planned: Planned, found: Found, seeds: tuple[int, ...], *, at_step: bool
) -> tuple[tuple[Run, ...], list[Measured]]:
    """Every finished run of a cell's experiment, whichever seeds a report asks for, and their accuracies."""
    assert planned.experiment is not None
    runs, values = [], []
    asked = (planned.experiment, *planned.elsewhere)
    for seed in sorted({*seeds, *(s for one in asked for s in found.seeds(one))}):
        mine = planned.experiment.with_seed(seed)
        for one in (mine, *(other.with_seed(seed) for other in planned.elsewhere)):
            run = found.find(one)
            if run is None or not counts(run):
                continue
            (last, best), dead = counts_for(run), run.diverged is not None
            if at_step and one is not mine:
                curve = {int(step): float(value) for step, value in run.curves()["accuracy"]["test"]}
                step = mine.recipe.steps
                if step in curve:
                    last, dead = curve[step], False  # what died later was alive there
                elif not dead or run.record["steps"] > (step or 0):
                    continue  # not evaluated there
            runs.append(run)
            values.append(Measured(seed, last, None if at_step else best, stale=found.stale(run, one), diverged=dead))
            break
    return tuple(runs), values


__all__ = ["Found", "TableVerdict", "claims_of", "judged", "label", "published", "tables_of", "to_measure", "together"]
