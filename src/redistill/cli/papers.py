"""``redistill papers``, ``plan``, ``reproduce`` and ``explain``: published tables, what they take, and what came of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli import app, tell
from redistill.cli.look import columns as aligned
from redistill.cli.options import DataDir, Device, Json, NoCache, Out, Threads, Track, TrustCode, seeds_of, show_json, use_threads
from redistill.cli.planning import (
    Columns,
    Only,
    PaperName,
    PlanSeeds,
    Rows,
    Seeds,
    Tables,
    Teacher,
    Teachers,
    Unit,
    code_in,
    files_of,
    planned,
    show,
)
from redistill.cli.run import FAILED, Alone, Budget, Jobs, NoWait, carried_out, resources
from redistill.cli.run import report as told
from redistill.errors import RedistillError, counted

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment
    from redistill.launch.carry_out import Outcome
    from redistill.papers.plan import Plan
    from redistill.runs.store import Store


@app.command()
def papers(
    name: Annotated[str | None, typer.Argument(help="One paper, to see its tables.", metavar="PAPER")] = None,
    check: Annotated[bool, typer.Option("--check", help="Build the experiment of every cell and tell what is wrong.")] = False,
    as_json: Json = False,
) -> None:
    """The papers of this package, or the tables of one."""
    from redistill.papers.load import checked, load, names

    if name is None and check:
        raise RedistillError("--check builds the cells of one paper: name it, redistill papers PAPER --check")
    if name is None:
        found = {each: load(each) for each in names()}
        if as_json:
            show_json([{"name": n, "title": p.file.paper.title, "cells": len(p.cells)} for n, p in found.items()])
            return
        for each, paper in found.items():
            print(f"{each:16} {len(paper.cells):4} cells  {paper.file.paper.title} ({paper.file.paper.year})")
        return
    paper = load(name)
    wrong = checked(paper) if check else []
    if as_json:
        show_json({"name": paper.name, "tables": {t: [c.id for c in paper.cells_of(t)] for t in paper.file.table}, "wrong": wrong})
    else:
        for table, content in paper.file.table.items():
            print(f"{table:18} {len(paper.cells_of(table)):4} cells  {content.caption}")
    for mistake in wrong:
        print(f"redistill: {mistake}", file=sys.stderr)
    if wrong:
        raise typer.Exit(1)


@app.command()
def plan(
    paper: PaperName,
    table: Tables = [],  # noqa: B006  typer reads the defaults and never changes them
    only: Only = [],  # noqa: B006
    rows: Rows = [],  # noqa: B006
    columns: Columns = [],  # noqa: B006
    seeds: PlanSeeds = "3",
    teacher: Teacher = [],  # noqa: B006
    teachers: Teachers = "paper",
    unit: Unit = None,
    power: Annotated[
        bool, typer.Option("--power", help="Which claims can be settled, with how many seeds; nothing about runs and hours.")
    ] = False,
    device: Device = "auto",
    jobs: Jobs = 1,
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """What a paper's cells take, and what their claims can show.

    As reproduce --dry-run; with --power the chance of a verdict for each claim instead, were the paper's number exactly true.
    Nothing is run, and no data are read.
    """
    from redistill.runs.store import Store

    made = planned(paper, table, only, rows, columns, seeds, device=device, teacher=teacher, teachers=teachers, unit=unit)
    if power:
        from redistill.report import power as chances

        found = chances.rows(made)
        if as_json:
            show_json(found)
            return
        print("\n".join(chances.totals(found)))
        for name, claims in found.items():
            if claims:
                print(f"\ntable {name}\n{aligned([chances.HEAD, *map(chances.entries, claims)])}")
        return
    show(made, Store(out), device, jobs, sys.stdout, as_json=as_json, rules=True)


@app.command()
def reproduce(
    paper: PaperName,
    table: Tables = [],  # noqa: B006  typer reads the defaults and never changes them
    only: Only = [],  # noqa: B006
    rows: Rows = [],  # noqa: B006
    columns: Columns = [],  # noqa: B006
    seeds: PlanSeeds = "3",
    scale: Annotated[float, typer.Option("--scale", help="Part of the published length; below 1 nothing earns a verdict.")] = 1.0,
    teacher: Teacher = [],  # noqa: B006
    teachers: Teachers = "paper",
    unit: Unit = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, its cost and the rules of its claims; run nothing, read no data.")
    ] = False,
    time_budget: Budget = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    out: Out = Path("runs"),
    alone: Alone = False,
    no_wait: NoWait = False,
    no_cache: NoCache = False,
    threads: Threads = None,
    track: Track = [],  # noqa: B006
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Run what the cells of a paper need, or only plan it.

    Teachers come first, cohorts are trained together, nothing is done twice. A run that was cut off goes on with the same
    command. The last line of a plan: cells (published numbers and cells asked for), experiments (runs in all, teachers
    included), teachers (runs whose students teach), hours still to go on this machine. Before the first run of a claim starts
    its rule is written into the store; verdicts use that one. The exit status is about what this command has run: runs that were
    there and diverged count in the verdicts.
    """
    from redistill.runs.store import Store
    from redistill.verdicts.rules import write_rules

    made = planned(
        paper, table, only, rows, columns, seeds, device=device, scale=scale, teacher=teacher, cohort=not alone, teachers=teachers,
        unit=unit,
    )  # fmt: skip
    store = Store(out)
    use_threads(threads)
    show(made, store, device, jobs, sys.stdout if dry_run and not as_json else sys.stderr, as_json=as_json and dry_run,
         rules=dry_run and scale == 1.0, remembers=not no_cache)  # fmt: skip
    _name_code(made.runs)
    if dry_run:
        return
    if scale != 1.0:
        print(f"scale {scale:g}: every record says so, and no verdict is given", file=sys.stderr)
    given = resources(
        data_dir, device, budget=time_budget, jobs=jobs, alone=alone, no_wait=no_wait, no_cache=no_cache, threads=threads,
        trust_code=trust_code, track=track,
    )  # fmt: skip
    if scale == 1.0:
        write_rules(made, store)
    outcomes: list[Outcome] = []
    looks = made.looks[1:] if scale == 1.0 else ()
    wanted, look = made.wanted, 0
    while wanted:
        outcomes.append(carried_out(wanted, out, given).news())
        if not as_json:
            told(outcomes[-1:], False)
        if look == len(looks) or len(outcomes[-1].runs) < len({one.id for one in wanted}):
            break  # what could not be made is still wanted
        wanted, look = _open(made, store, looks[look]), look + 1
        if wanted:
            print(f"look at {looks[look - 1]} seeds: {counted(len(wanted), 'run')} of claims that are still open", file=sys.stderr)
    if as_json:
        told(outcomes, True)
    status = _unless_stopped(max((one.status for one in outcomes), default=0))
    if scale == 1.0 and not as_json:
        from redistill.claims import sentences
        from redistill.verdicts.tables import judged

        for one in judged(made, store):
            for words in sentences([finding for finding in one.findings if finding.reading is not None]):
                print(words)
    if status:
        raise typer.Exit(status)


def _name_code(asked: Iterable[Experiment]) -> None:
    """Say before the first run which code a paper file names."""
    for named in code_in(asked):
        print(f"code of its own, run only with --trust-code: {named}", file=sys.stderr)


def _unless_stopped(status: int) -> int:
    """Leave a command that was stopped and can go on; beside a run that failed or diverged, and will again, the others stand."""
    if status not in (0, FAILED):
        raise typer.Exit(status)
    return status


@app.command()
def explain(
    cell: Annotated[str, typer.Argument(help="A cell, PAPER:TABLE:ROW:COLUMN; redistill papers PAPER --json lists them.", metavar="CELL")],
    only: Annotated[list[str], typer.Option("--only", help="Only these departures; may be repeated.", metavar="NAME,...")] = [],  # noqa: B006
    seeds: Seeds = "3",
    scale: Annotated[float, typer.Option("--scale", help="Part of the published length.")] = 1.0,
    teacher: Teacher = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is there and what would run; run nothing.")] = False,
    time_budget: Budget = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    out: Out = Path("runs"),
    no_wait: NoWait = False,
    no_cache: NoCache = False,
    threads: Threads = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Change one departure of a cell at a time, and rank them.

    Each is run with the same seeds; the effect is on the accuracy. The exit status is about what this command has run: runs that
    were there and diverged are facts that it tells.
    """
    from redistill.launch.named_code import whole
    from redistill.launch.progress import estimated
    from redistill.launch.queue import plan
    from redistill.papers.cost import seconds
    from redistill.papers.explain import effects, rows, sentences, variants
    from redistill.papers.load import load
    from redistill.papers.plan import Planned
    from redistill.runs.lookup import Found
    from redistill.runs.store import Store, stale
    from redistill.verdicts.taught import of_other_teachers

    name, colon, rest = cell.partition(":")
    paper = load(name)
    if not colon:
        raise RedistillError(f"{cell!r} is a paper: name a cell of it, for example {paper.cells[0].id!r}")
    one = paper.cell(rest)
    numbers = seeds_of(seeds) or [0]
    beside = sys.stderr if as_json else sys.stdout
    use_threads(threads)
    found = variants(paper, one, only=only, device=device, scale=scale, teachers=files_of(teacher))
    store = Store(out)
    asked = [variant.experiment.with_seed(seed) for seed in numbers for variant in found]
    known = Found(store)
    # how one ended that is there, or was made on another device, is no news, and no failure of this command
    wanted = [each for each in asked if known.fresh(each) is None and store.find(each) is None]
    missing = [group for g in plan(wanted) if (group := tuple(e for e in g if store.find(e) is None))]
    if missing and dry_run:
        long = sum(seconds(group, device, remembers=not no_cache) for group in missing)
        count = sum(map(len, missing))
        print(f"{counted(count, 'run')} {'is' if count == 1 else 'are'} missing, {estimated(long)}", file=beside)
    _name_code(one for variant in found for one in whole(variant.experiment))
    status = 0
    if missing and not dry_run:
        given = resources(
            data_dir, device, budget=time_budget, jobs=jobs, no_wait=no_wait, no_cache=no_cache, threads=threads, trust_code=trust_code
        )
        outcome = carried_out(wanted, out, given)
        if as_json:
            for problem in outcome.problems:
                tell(problem)
        else:
            told([outcome], False)
        status = _unless_stopped(outcome.status)
        known = Found(store)
    for run in filter(None, map(store.find, asked)):
        if (why := stale(run, store)) is not None:
            print(f"redistill: {run.label}, seed {run.seed} is stale and not counted: {why}", file=sys.stderr)
    plain, *changed = effects(found, known, numbers)
    if as_json:
        show_json(rows([plain, *changed], paper, one))
    else:
        print("\n".join(sentences([plain, *changed], paper, one)))
    if not (plain.values or plain.diverged) and (others := of_other_teachers(Planned(one, found[0].experiment), known)):
        print(others, file=beside)
    if scale != 1.0:
        print(f"scale {scale:g}: what a departure does at the published length may be another thing", file=beside)
    if status:
        raise typer.Exit(status)


def _open(made: Plan, store: Store, look: int) -> list[Experiment]:
    """The runs up to the next look of cells whose claims are still unclear."""
    from redistill.verdicts.claims import key, tables_of
    from redistill.verdicts.tables import judged

    tables = {table.name: table for table in tables_of(made)}
    wanted: dict[str, Experiment] = {}
    for one in judged(made, store):
        unclear = {cell for f in one.findings if f.verdict in ("unclear", "pending") for cell in f.claim.cells}
        home = tables[one.table].home
        for p in one.planned:
            if p.experiment is not None and not p.elsewhere and home[key(p)] in unclear:
                for seed in range(look):
                    again = p.experiment.with_seed(seed)
                    wanted[again.id] = again
    return list(wanted.values())
