"""The report of runs by themselves, as one HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from redistill.errors import counted
from redistill.files import digest
from redistill.report.figures import curves_of, ends_of
from redistill.report.html import Content, el, figure, page, table
from redistill.report.style import svg_text
from redistill.report.traces import traces
from redistill.report.web_parts import LETTER, WIDTH, methods, of_runs, sections
from redistill.runs.record import networks_of
from redistill.runs.run import step_of
from redistill.runs.store import Run
from redistill.stats import percent_interval


def subject(runs: Sequence[Run]) -> str:
    """What a report of runs is about: their configurations, whichever seeds of them."""
    return f"runs {digest(','.join(sorted({run.cell for run in runs})))[:12]}"


def runs_page(runs: Sequence[Run], notes: Sequence[str] = ()) -> str:
    """What some runs asked for and what came out, with no claim beside them; ``notes``: what is to be said first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(f"{run.label}\0{run.cell}", []).append(run)
    named = {f"{key.partition(chr(0))[0]}": several for key, several in groups.items()}
    if len(named) < len(groups):  # one label, several configurations
        named = {f"{several[0].label} ({several[0].cell[:6]})": several for several in groups.values()}
    rows = []
    for name, several in named.items():
        lost = [str(run.seed) for run in several if run.diverged is not None]
        sets = list(dict.fromkeys(data for run in several for data in run.entry.accuracy))
        for data in sets or ["none"]:  # a run without evaluation ran all the same
            values = [run.accuracy(data) for run in several if data in run.entry.accuracy and run.diverged is None]
            mean = percent_interval(values, step=step_of(several, data)) if len(values) > 1 else None
            text = f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]" if mean else f"{values[0]:.2f}" if values else ""
            seeds = f"{', '.join(str(run.seed) for run in several)}{f' (diverged: {chr(44).join(lost)})' if lost else ''}"
            rows.append((name, data, text, str(len(values)), seeds))
    head_of = ("run", "set", "accuracy % [95 %]", "n", "seeds")
    out: list[Content] = [table(head_of, rows, f"Accuracy {networks_of(run.entry for run in runs)}", numbers=(2, 3))]
    if curves := traces(named):
        drawn = curves_of(curves, title="Accuracy over the run", ylabel="accuracy, %", width=WIDTH, size=LETTER)
        out.append(el("div", figure(svg_text(drawn, "Accuracy over the run", ends_of(curves, "accuracy, %")), "runs"), class_="figures"))
    again = [(f"{run.label}, seed {run.seed}", el("code", f"redistill run {shlex.quote(str(run.folder))}")) for run in runs]
    commands: list[Content] = [table(("run", "command"), again, "The same run again, or only read where it is there")]
    parts = [("Accuracy", out), ("Methods", methods(runs)), *of_runs(runs, None), ("Commands", commands)]
    cells = f"{counted(len(runs), 'run')} of {counted(len(groups), 'configuration')}"
    head = [el("h1", f"Report of {cells}"), *(el("p", note) for note in notes)]
    return page(f"Report of {cells}", head, sections(parts), of=subject(runs))
