"""``redistill report``: a paper beside our runs, or runs alone, as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli import app
from redistill.cli.cells import other_images, titled
from redistill.cli.look import warn_left_out
from redistill.cli.options import DataDir, Device, Out, Threads, TrustCode, typed, use_threads
from redistill.cli.planning import Columns, Only, PlanSeeds, Rows, Tables, Teacher, Teachers, Unit, planned
from redistill.errors import RedistillError


@app.command()
def report(
    what: Annotated[
        list[str], typer.Argument(help="A paper (redistill papers; or the path of a paper file), or runs: folders, ids, names.",
                                  metavar="PAPER|RUN")
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
    pdf: Annotated[bool, typer.Option("--pdf", help="Of a paper: an article too, as PDF (needs typst: redistill[pdf]).")] = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    out: Out = Path("runs"),
    threads: Threads = None,
    trust_code: TrustCode = False,
    context: typer.Context = None,  # type: ignore[assignment]  # None where it is called as a function
) -> None:
    """A paper beside our runs, or runs alone, as a page.

    index.html needs nothing else. Of a paper: verdicts, curves, methods, assumptions, departures, cost and checklist; also as
    Markdown, CSV and LaTeX, and with --pdf as an article. What was easy, what was hard and what the authors said stands in
    papers/PAPER.md where you work (beside a paper file of your own), part by part.
    Of runs: the same without claims.
    """
    from redistill.files import make_folder
    from redistill.launch.named_code import vouch
    from redistill.papers.load import load, names
    from redistill.paths import expanded
    from redistill.report.folder import save
    from redistill.report.written import places_of, written_of
    from redistill.runs.lookup import Found
    from redistill.runs.store import Store
    from redistill.verdicts import beliefs
    from redistill.verdicts.checkpoints import evaluate, kept
    from redistill.verdicts.tables import judged, to_measure

    use_threads(threads)
    if len(what) > 1 or not (what[0] in names() or what[0].endswith(".toml")):
        if pdf:
            raise RedistillError("--pdf makes an article of a paper's report; these are runs: leave it out, index.html prints well")
        if of_paper := typed(context, "table", "only", "rows", "columns", "seeds", "teacher", "teachers", "unit", "checkpoints", "belief"):
            words = f"{', '.join(of_paper)}: of the report of a paper alone; {' '.join(what)} means runs, all of which are shown"
            raise RedistillError(f"{words}: leave {'it' if len(of_paper) == 1 else 'them'} out, and name the runs that are wanted")
        print(_report_of_runs(what, to, out))
        return
    paper = what[0]
    if any(place.resolve().parent == expanded(to).resolve() for place in places_of(paper)):
        raise RedistillError(f"--to {to}: what you write about the paper has its place there, and the report's pages the same name: "
                             f"give another folder, {to / 'report'}")  # fmt: skip
    prose = written_of(paper)
    made = planned(paper, table, only, rows, columns, seeds, device=device, teacher=teacher, teachers=teachers, unit=unit)
    if checkpoints is not None and not checkpoints.is_dir():
        raise RedistillError(f"--checkpoints {checkpoints}: there is no such folder")
    make_folder(expanded(to))  # before minutes of work, not after them
    files = out / "checkpoints"
    if checkpoints is not None:
        for found in evaluate(load(paper), checkpoints, files, data_dir, [p.cell for p in made.cells]):
            if isinstance(found, str):
                print(f"redistill: {found}", file=sys.stderr)
            else:
                print(f"{found.file}: {found.accuracy:g} % of {found.images} images of {found.data}", file=sys.stderr)
    store, believed, pick = Store(out), out / "beliefs", made.paper.file.setup.images
    if belief:
        if trust_code:
            for experiment in made.runs:
                vouch(experiment)
        for one in beliefs.measure(to_measure(made, Found(store)), store, believed, data_dir, device, pick):
            within = "" if one.standard_error is None else f" ± {one.standard_error:.4f}"
            way = "the student, relative, by the reproduction's code" if one.attacked == "relative" else f"the {one.attacked}"
            print(f"run {one.run}, pushed by {way}: MTE {one.mte:.4f}{within}", file=sys.stderr)
    known = beliefs.kept(believed, pick)
    tables = judged(made, store, kept(files), known)
    if not any(any(one.runs.values()) or any(f.measured for f in one.findings) for one in tables):
        print(f"redistill: nothing in {out} says anything of these claims: the report has the claims alone", file=sys.stderr)
    for path in save(made, tables, to, written=prose, beliefs=list(known.values()), pdf=pdf):
        print(path)


def _report_of_runs(what: list[str], to: Path, out: Path) -> Path:
    """The page of runs."""
    from redistill.papers.load import names
    from redistill.report.folder import save_runs
    from redistill.runs.lookup import Today
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
    today = Today(store)
    old = {run.id: why for run in found.values() if (why := today.stale(run)) is not None}
    for run, why in old.items():
        print(f"redistill: {run} is stale: {why}", file=sys.stderr)
    notes = [f"Stale, {found[run].label}, seed {found[run].seed}: {why}." for run, why in old.items()]
    cells = titled(found.values())
    for on in dict.fromkeys(name for run in found.values() for name in run.entry.accuracy):
        shown = {title: having for title, several in cells.items() if (having := [run for run in several if on in run.entry.accuracy])}
        for text in other_images(shown, next(iter(shown)), on):
            print(f"redistill: {text}", file=sys.stderr)
            notes.append(f"{text}.")
    return save_runs(list(found.values()), to, notes)
