"""A table's accuracies against the number of images a class, the paper's beside ours, as a drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from redistill.papers.plan import Plan
from redistill.report.figures import against_images
from redistill.report.style import svg_text
from redistill.report.traces import lost
from redistill.report.web_parts import LETTER, WIDTH
from redistill.runs.run import step_of
from redistill.runs.store import Run
from redistill.stats import percent_interval
from redistill.verdicts.claims import label
from redistill.verdicts.diverged import counts_for
from redistill.verdicts.tables import TableVerdict

Point = tuple[float, float, float, float]


def by_images(plan: Plan, judged: TableVerdict) -> str | None:
    """An SVG, where the cells of a table differ by M and something of it ran with two seeds; else None.

    What stands in the table stands here: means of what is printed seed by seed, ours with the interval beside the verdict.
    """
    if plan.paper.table(judged.table).metric == "mte":
        return None
    facts: dict[str, dict[str, str]] = {}
    printed: dict[str, dict[float, list[float]]] = {}
    ours: dict[str, list[Point]] = {}
    died: dict[str, tuple[int, int]] = {}
    told = {f.claim.cell: f.reading.ours for f in judged.findings if f.claim.kind == "value" and f.reading is not None}
    for cell in (p.cell for p in judged.planned if p.cell.facts.get("M", "").isdigit()):
        about = {k: v for k, v in cell.facts.items() if k not in ("M", "seed")}
        name, images = ", ".join(about.values()), float(cell.facts["M"])
        facts[name] = about
        if (accuracy := plan.paper.accuracy(cell)) is not None:
            printed.setdefault(name, {}).setdefault(images, []).append(accuracy)
        runs = judged.runs.get(label(cell), ())
        if len(runs) > 1:
            lived = all(run.diverged is None for run in runs)
            best = plan.paper.protocol_of(cell).which == "best_on_test"
            mine = told.get(label(cell)) if lived else None
            point = _living(runs, best) if mine is None else (mine.value, mine.low, mine.high)
            ours.setdefault(name, []).append((images, *point))
            dead, ran = died.get(name, (0, 0))
            died[name] = dead + sum(run.diverged is not None for run in runs), ran + len(runs)
    if not ours or len({m for points in printed.values() for m in points}) < 2:
        return None
    brief = dict(zip(ours, short([facts[name] for name in ours]), strict=True))
    drawn = against_images(
        {brief[name]: [(m, fmean(values)) for m, values in points.items()] for name, points in printed.items() if name in brief},
        {brief[name]: points for name, points in ours.items()},
        diverged={brief[name]: lost(*counts) for name, counts in died.items()},
        title="Accuracy against images a class", width=WIDTH, size=LETTER,
    )  # fmt: skip
    return svg_text(drawn, f"Accuracy against M, table {judged.table}")


def _living(runs: Sequence[Run], best: bool) -> tuple[float, float, float]:
    """Mean and 95 % interval of the runs that trained to their end; where none did, of what guessing comes to. No interval of one.

    Between a network that guesses and one that does not there is no mean worth drawing. best: of their best epochs.
    """
    values = [counts_for(run)[best] for run in runs if run.diverged is None] or [counts_for(run)[0] for run in runs]
    if len(values) == 1:
        return values[0], math.nan, math.nan
    found = percent_interval(values, step=step_of(runs, "test"))
    return found.value, found.low, found.high


def short(facts: Sequence[Mapping[str, str]]) -> list[str]:
    """Names without what all of them have in common, as long as they stay different.

    >>> short([{"data": "cifar10", "method": "KD"}, {"data": "cifar10", "method": "AT"}, {"data": "cifar10", "method": "AT"}])
    ['KD', 'AT', 'AT']
    """
    every = {key for one in facts for key in one}
    unlike = {key for key in every if len({one[key] for one in facts if key in one}) > 1}
    whole, brief = ([", ".join(v for k, v in one.items() if k in keys) for one in facts] for keys in (every, unlike))
    return brief if all(brief) and len(set(brief)) == len(set(whole)) else whole
