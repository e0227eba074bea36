"""``redistill papers``, ``reproduce`` and ``report``: published tables, what they take, and what came of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli import app
from redistill.cli.look import warn_left_out
from redistill.cli.options import DataDir, Device, Json, Out, Threads, TrustCode, seeds_of, show_json, use_threads
from redistill.cli.run import Alone, Budget, Jobs, NoCache, NoWait, finish, resources
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment
    from redistill.papers.plan import Plan
    from redistill.runs.store import Store

PaperName = Annotated[str, typer.Argument(help="A paper: redistill papers; or the path of a paper file.", metavar="PAPER")]
Tables = Annotated[list[str], typer.Option("--table", help="Only this table; may be repeated.", metavar="TABLE")]
Only = Annotated[list[str], typer.Option("--only", help="Only this method; may be repeated.", metavar="METHOD")]

Rows = Annotated[
    list[str], typer.Option("--rows", help="Only rows of this label, or with this entry in it; may be repeated.", metavar="ROW")
]

Columns = Annotated[list[str], typer.Option("--columns", help="Only this column; may be repeated.", metavar="COLUMN")]

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


@app.command()
def papers(
    name: Annotated[str | None, typer.Argument(help="One paper, to see its tables.", metavar="[PAPER]")] = None,
    check: Annotated[bool, typer.Option("--check", help="Build the experiment of every cell and tell what is wrong.")] = False,
    as_json: Json = False,
) -> None:
    """The papers of this package, or the tables of one."""
    from redistill.papers.load import checked, load, names

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
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Run what the cells of a paper need, or only plan it.

    Teachers come first, cohorts are trained together, nothing is done twice. A run that was cut off goes on with the same
    command. The last line of a plan: cells (published numbers and cells asked for), experiments (runs in all, teachers
    included), teachers (runs whose students teach), hours still to go on this machine. Before the first run of a claim starts
    its rule is written into the store; verdicts use that one.
    """
    from redistill.runs.store import Store
    from redistill.verdicts.rules import write_rules

    def plan_of(seeds: str, looks: tuple[int, ...]) -> Plan:
        return planned(
            paper, table, only, rows, columns, seeds, device=device, scale=scale, teacher=teacher, cohort=not alone, looks=looks,
            teachers=teachers, unit=unit,
        )  # fmt: skip

    looks = LOOKS if seeds == "auto" else ()
    made = plan_of(str(LOOKS[0]) if looks else seeds, looks)
    store = Store(out)
    use_threads(threads)
    show(made, store, device, jobs, sys.stdout if dry_run and not as_json else sys.stderr, as_json=as_json and dry_run,
         rules=dry_run and scale == 1.0)  # fmt: skip
    for named in code_in(made):
        print(f"code of its own, run only with --trust-code: {named}", file=sys.stderr)
    if dry_run:
        return
    if scale != 1.0:
        print(f"scale {scale:g}: every record says so, and no verdict is given", file=sys.stderr)
    given = resources(
        data_dir, device, budget=time_budget, jobs=jobs, alone=alone, no_wait=no_wait, no_cache=no_cache, threads=threads,
        trust_code=trust_code,
    )  # fmt: skip
    if scale == 1.0:
        write_rules(made, store)
    finish(made.wanted, out, given, as_json=as_json)
    for look in looks[1:] if scale == 1.0 else ():
        wanted = _open(made, store, look)
        if not wanted:
            break
        print(f"look at {look} seeds: {len(wanted)} runs of claims that are still open", file=sys.stderr)
        finish(wanted, out, given, as_json=as_json)
    if scale == 1.0 and not as_json:
        from redistill.claims import sentence
        from redistill.verdicts.tables import judged

        for one in judged(made, store):
            for finding in one.findings:
                if finding.reading is not None:
                    print(sentence(finding))


@app.command()
def explain(
    cell: Annotated[str, typer.Argument(help="A cell, PAPER:TABLE:ROW:COLUMN; redistill papers PAPER --json lists them.")],
    only: Annotated[list[str], typer.Option("--only", help="Only this departure; may be repeated.", metavar="NAME")] = [],  # noqa: B006
    seeds: Seeds = "3",
    scale: Annotated[float, typer.Option("--scale", help="Part of the published length.")] = 1.0,
    teacher: Teacher = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is there and what would run; run nothing.")] = False,
    time_budget: Budget = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    out: Out = Path("runs"),
    no_cache: NoCache = False,
    threads: Threads = None,
) -> None:
    """Change one departure of a cell at a time, and rank them.

    Each is run with the same seeds; the effect is on the accuracy.
    """
    from redistill.experiment.cost import cost
    from redistill.launch.queue import plan
    from redistill.launch.rates import rate
    from redistill.papers.explain import effects, told, variants
    from redistill.papers.load import load
    from redistill.runs.store import Store

    name, colon, rest = cell.partition(":")
    paper = load(name)
    if not colon:
        raise RedistillError(f"{cell!r} is a paper: name a cell of it, for example {paper.cells[0].id!r}")
    one = paper.cell(rest)
    numbers = seeds_of(seeds) or [0]
    use_threads(threads)
    found = variants(paper, one, only=only, device=device, scale=scale, teachers=files_of(teacher))
    store = Store(out)
    wanted = [variant.experiment.with_seed(seed) for seed in numbers for variant in found]
    missing = [group for g in plan(wanted) if (group := tuple(e for e in g if store.find(e) is None))]
    if missing and dry_run:
        hours = sum(cost(group) for group in missing) / rate(device) / 3600
        print(f"{sum(map(len, missing))} runs are missing, {hours:.1f} hours")
    if missing and not dry_run:
        finish(wanted, out, resources(data_dir, device, budget=time_budget, jobs=jobs, no_cache=no_cache, threads=threads))
    print("\n".join(told(effects(found, store, numbers), one)))
    if scale != 1.0:
        print(f"scale {scale:g}: what a departure does at the published length may be another thing")


@app.command()
def report(
    what: Annotated[
        list[str], typer.Argument(help="A paper (redistill papers; or the path of a paper file), or runs: folders, ids, names.",
                                  metavar="PAPER|RUN...")
    ],
    to: Annotated[Path, typer.Option("--to", "-o", help="Folder of the report.", metavar="FOLDER")],
    table: Tables = [],  # noqa: B006
    only: Only = [],  # noqa: B006
    rows: Rows = [],  # noqa: B006
    columns: Columns = [],  # noqa: B006
    seeds: PlanSeeds = "3",
    teacher: Teacher = [],  # noqa: B006
    teachers: Teachers = "paper",
    unit: Unit = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Folder with published files to evaluate.", metavar="FOLDER")
    ] = None,
    belief: Annotated[bool, typer.Option("--belief", help="Measure transition errors that tables print and runs allow.")] = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    out: Out = Path("runs"),
    threads: Threads = None,
) -> None:
    """A paper beside our runs, or runs alone, as a page.

    index.html needs nothing else. Of a paper: verdicts, curves, methods, assumptions, departures, cost and checklist; also as
    Markdown, CSV and LaTeX.
    Of runs: the same without claims.
    """
    from redistill.papers.load import load, names
    from redistill.report.folder import save
    from redistill.runs.lookup import Found
    from redistill.runs.store import Store
    from redistill.verdicts import beliefs
    from redistill.verdicts.checkpoints import evaluate, kept
    from redistill.verdicts.tables import judged, to_measure

    use_threads(threads)
    if len(what) > 1 or not (what[0] in names() or what[0].endswith(".toml")):
        print(_report_of_runs(what, to, out))
        return
    paper = what[0]
    looks = LOOKS if seeds == "auto" else ()
    made = planned(
        paper, table, only, rows, columns, str(LOOKS[0]) if looks else seeds, device=device, teacher=teacher, looks=looks,
        teachers=teachers, unit=unit,
    )  # fmt: skip
    files = out / "checkpoints"
    if checkpoints is not None:
        if not checkpoints.is_dir():
            raise RedistillError(f"--checkpoints {checkpoints}: there is no such folder")
        for found in evaluate(load(paper), checkpoints, files, data_dir):
            if isinstance(found, str):
                print(f"redistill: {found}", file=sys.stderr)
            else:
                print(f"{found.file}: {found.accuracy:g} % of {found.images} images of {found.data}", file=sys.stderr)
    store, believed, pick = Store(out), out / "beliefs", made.paper.file.setup.images
    if belief:
        for one in beliefs.measure(to_measure(made, Found(store)), store, believed, data_dir, device, pick):
            print(f"run {one.run}, pushed by the {one.attacked}: MTE {one.mte:.4f} ± {one.standard_error:.4f}", file=sys.stderr)
    for path in save(made, judged(made, store, kept(files), beliefs.kept(believed, pick)), to):
        print(path)


def _report_of_runs(what: list[str], to: Path, out: Path) -> Path:
    """The page of runs."""
    from redistill.files import make_folder, write
    from redistill.papers.load import names
    from redistill.report.web import runs_page
    from redistill.runs.store import Run, Store

    store = Store(out)
    found: dict[str, Run] = {}
    for name in what:
        if name in names():
            raise RedistillError(f"{name} is a paper, and a report is of one paper or of runs: leave out the other {len(what) - 1} names")
        try:
            picked = store.pick(name)
        except RedistillError as error:
            raise RedistillError(f"{error}; papers are {', '.join(names())}") from error
        warn_left_out(store, picked)
        found.update({run.id: run for run in picked})
    make_folder(to)
    write(to / "index.html", runs_page(list(found.values())).encode())
    return to / "index.html"


# ---------------------------------------------------------------------------------------------------------------------
# What the commands share
# ---------------------------------------------------------------------------------------------------------------------
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
    looks: tuple[int, ...] = (),
    teachers: str = "paper",
    unit: float | None = None,
) -> Plan:
    """The plan of a command's filters."""
    from redistill.papers.load import load
    from redistill.papers.plan import make, select

    found = load(paper)
    cells = select(found, tables, only, rows, columns)
    numbers = seeds_of(seeds) or [0]
    return make(
        found, cells, seeds=numbers, device=device, scale=scale, teachers=files_of(teacher), cohort=cohort, looks=looks,
        teachers_each=teachers == "each", allowance=allowance_of(teachers), unit=unit,
    )  # fmt: skip


def allowance_of(teachers: str) -> float:
    """``--teachers 0.2`` as a number; 0 for the words."""
    if teachers in ("paper", "each"):
        return 0.0
    try:
        return float(teachers)
    except ValueError:
        raise RedistillError(
            f"--teachers {teachers!r}: write paper (as the paper has them), each (one a seed), or what a teacher may add in points, 0.2"
        ) from None


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


def code_in(made: Plan) -> list[str]:
    """Code that a paper file names, each once: which file it is, without running it."""
    from redistill.experiment.named_code import names

    return list(dict.fromkeys(named.located().described for one in made.runs for named in names(one)))


def files_of(teacher: list[str]) -> dict[str, Path]:
    """``--teacher wrn-40-2=file`` as a table."""
    files = {}
    for text in teacher:
        name, equals, file = text.partition("=")
        if not equals:
            raise RedistillError(f"--teacher {text!r}: write NET=FILE, for example --teacher wrn-40-2=teacher.safetensors")
        files[name] = Path(file)
    return files


def show(made: Plan, store: Store, device: str, jobs: int, to: object, *, as_json: bool = False, rules: bool = False) -> None:
    """The plan: what cannot be run, cohort by cohort what is still to run and how long it takes, and the totals."""
    from redistill.experiment.cost import cost
    from redistill.launch.rates import rate
    from redistill.report import rule_text

    missing = made.missing(store)
    speed = rate(device)
    hours = [cost(group) / speed / 3600 for group in missing]
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
        out += [f"{h:9.2f} h  {kind}, seed {group[0].seed}: {group[0].label}", *(f"{'':13}+ {one.label}" for one in group[1:])]
    done = len(made.runs) - sum(map(len, missing))
    if done:
        out.append(f"{done} of {len(made.runs)} runs are there already")
    out.append(f"at {speed / 1e9:.1f} GMAC/s a process, {jobs} side by side" if jobs > 1 else f"at {speed / 1e9:.1f} GMAC/s")
    out.append(made.last_line(3600 * sum(hours) / jobs))
    print("\n".join(out), file=to)  # type: ignore[call-overload]
