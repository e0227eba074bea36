"""What the commands about papers share: the words that choose cells of a paper, the plan that they make, and how it is shown."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli.options import seeds_of, show_json
from redistill.errors import RedistillError
from redistill.paths import expanded

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment
    from redistill.papers.plan import Plan
    from redistill.runs.store import Store

PaperName = Annotated[str, typer.Argument(help="A paper: redistill papers; or the path of a paper file.", metavar="PAPER")]
Tables = Annotated[list[str], typer.Option("--table", help="Only these tables, 1,2; may be repeated.", metavar="TABLE,...")]
Only = Annotated[list[str], typer.Option("--only", help="Only these methods, KD,FitNet; may be repeated.", metavar="METHOD,...")]

Rows = Annotated[
    list[str], typer.Option("--rows", help="Only rows of these labels, or with these entries in them; may be repeated.", metavar="ROW,...")
]

Columns = Annotated[list[str], typer.Option("--columns", help="Only these columns; may be repeated.", metavar="COLUMN,...")]

Teacher = Annotated[
    list[str], typer.Option("--teacher", help="Weights that stand in for a trained teacher; may be repeated.", metavar="NET=FILE")
]

Seeds = Annotated[str, typer.Option("--seeds", help="3 means 0, 1, 2; 4,7 means 4 and 7.", metavar="SEEDS")]

PlanSeeds = Annotated[
    str,
    typer.Option("--seeds", help="3 means 0, 1, 2; 4,7 means 4 and 7; auto looks at 3, 5 and 10 seeds.", metavar="SEEDS|auto"),
]

Teachers = Annotated[
    str,
    typer.Option(
        "--teachers", help="paper: as the paper has them; each: one a seed; 0.2: allow for teachers that differ by ±0.2.",
        metavar="paper|each|POINTS",
    ),
]  # fmt: skip

Unit = Annotated[
    float | None, typer.Option("--tolerance-spreads", help="Tolerance of so many spreads of the regime, where that is more.")
]

LOOKS = (3, 5, 10)
"""``--seeds auto``: numbers of seeds at which claims are looked at, fixed before."""


def planned(
    paper: str,
    tables: list[str],
    only: list[str],
    rows: list[str],
    columns: list[str],
    seeds: str,
    *,
    device: str = "auto",
    scale: float = 1.0,
    teacher: list[str],
    cohort: bool = True,
    teachers: str = "paper",
    unit: float | None = None,
) -> Plan:
    """The plan of a command's filters. ``seeds``: as ``--seeds`` has them, ``auto`` for looks at 3, 5 and 10."""
    from redistill.papers.load import load
    from redistill.papers.plan import make, select

    found = load(paper)
    cells = select(found, tables, only, rows, columns)
    looks = LOOKS if seeds == "auto" else ()
    numbers = list(range(LOOKS[0])) if looks else seeds_of(seeds) or [0]
    return make(
        found, cells, seeds=numbers, device=device, scale=scale, teachers=files_of(teacher), cohort=cohort, looks=looks,
        teachers_each=teachers == "each", allowance=allowance_of(teachers), unit=unit,
    )  # fmt: skip


def allowance_of(teachers: str) -> float:
    """``--teachers 0.2`` as a number; 0 for the words."""
    if teachers in ("paper", "each"):
        return 0.0
    with contextlib.suppress(ValueError):
        if 0 <= (points := float(teachers)) < math.inf:
            return points
    raise RedistillError(
        f"--teachers {teachers!r}: write paper (as the paper has them), each (one a seed), or what a teacher may add in points, 0.2"
    )


def code_in(asked: Iterable[Experiment]) -> list[str]:
    """Code that a paper file names in experiments, each once: which file it is, without running it."""
    from redistill.launch.named_code import names

    return list(dict.fromkeys(named.located().described for one in asked for named in names(one)))


def files_of(teacher: list[str]) -> dict[str, Path]:
    """``--teacher wrn-40-2=file`` as a table."""
    files = {}
    for text in teacher:
        name, equals, file = text.partition("=")
        if not equals:
            raise RedistillError(f"--teacher {text!r}: write NET=FILE, for example --teacher wrn-40-2=teacher.safetensors")
        files[name] = expanded(file)
    return files


def show(
    made: Plan, store: Store, device: str, jobs: int, to: object, *, as_json: bool = False, rules: bool = False, remembers: bool = True
) -> None:
    """The plan: what cannot be run, cohort by cohort what is still to run and how long it takes, and the totals."""
    from redistill.launch.progress import estimated
    from redistill.launch.rates import rate
    from redistill.papers.cost import seconds
    from redistill.recipe import Recipe
    from redistill.report import rule_text

    missing = made.missing(store)
    hours = [seconds(group, device, remembers=remembers) / 3600 for group in missing]
    unknown = [p.cell for p in made.cells if p.cell.unknown]
    if as_json:
        rows = [
            {"experiments": [one.id for one in group], "labels": [one.label for one in group], "seed": group[0].seed, "hours": h}
            for group, h in zip(missing, hours, strict=True)
        ]
        totals = {"cells": len(made.cells), "experiments": len(made.runs), "teachers": len(made.teachers), "hours": sum(hours) / jobs}
        claims = rule_text.rows(made)
        show_json({"groups": rows, "unknown": {cell.id: cell.unknown for cell in unknown}, "claims": claims, **totals})
        return
    out: list[str] = [f"{cell.id}: no experiment: {cell.unknown}" for cell in unknown]
    if rules:
        out += rule_text.lines(made)
    teaching = {one.id for one in made.teachers}
    for group, h in zip(missing, hours, strict=True):
        kind = "teacher" if all(one.id in teaching for one in group) else f"cohort of {len(group)}" if len(group) > 1 else "run"
        out.append(f"{estimated(3600 * h):>9}  {kind}, seed {group[0].seed}: {group[0].label}")
        out += [f"{'':11}+ {one.label}" for one in group[1:]]
    done = len(made.runs) - sum(map(len, missing))
    if done:
        out.append(f"{done} of {len(made.runs)} runs are there already")
    kinds = list(dict.fromkeys(group[0].recipe.precision for group in missing)) or [Recipe.model_fields["precision"].default]
    speeds = [f"{rate(device, kind) / 1e9:.1f} GMAC/s{f' in {kind}' if len(kinds) > 1 else ''}" for kind in kinds]
    out.append(f"at {' and '.join(speeds)}{f' a process, {jobs} side by side' if jobs > 1 else ''}")
    out.append(made.last_line(3600 * sum(hours) / jobs))
    print("\n".join(out), file=to)  # type: ignore[call-overload]
