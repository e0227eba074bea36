"""``redistill compare``: runs beside each other, or every method of a list trained and put beside each other."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.cells import titled, warn_other_images
from redistill.cli.options import Change, DataDir, Device, Json, NoCache, Out, Threads, seeds_of, show_json, typed
from redistill.errors import RedistillError
from redistill.paths import expanded

if TYPE_CHECKING:
    from redistill.runs.store import Run, Store


class TableForm(StrEnum):
    """How a table is written."""

    markdown = "markdown"
    csv = "csv"
    latex = "latex"


@app.command()
def compare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Folders, beginnings of ids or cells, or names; none with --methods.", metavar="RUN")
    ] = None,
    out: Out = Path("runs"),
    baseline: Annotated[str | None, typer.Option(help="Which cell the others are compared with; default: the first.")] = None,
    on: Annotated[str, typer.Option(help="Evaluation set.")] = "test",
    form: Annotated[TableForm, typer.Option("--format", help="How to write the table.")] = TableForm.markdown,
    as_json: Json = False,
    methods: Annotated[
        str | None, typer.Option("--methods", help="Train these first: all, or names such as KD,DKD,CRD.", metavar="LIST")
    ] = None,
    data: Annotated[str, typer.Option("--data", help="With --methods: the data set.")] = "digits",
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="With --methods: weights, an experiment that trains it, or a network.", metavar="FILE")
    ] = None,
    student: Annotated[str | None, typer.Option("--student", help="With --methods: the network that learns.", metavar="NAME")] = None,
    assistant: Annotated[
        str | None, typer.Option("--assistant", help="With --methods: the network between the two, for TAKD.", metavar="NAME")
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="With --methods: 3 means 0, 1, 2; 4,7 means 4 and 7.", metavar="SEEDS")] = "3",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="With --methods: other than the data's own.")] = None,
    change: Change = [],  # noqa: B006  typer reads the default and never changes it
    device: Device = "auto",
    data_dir: DataDir = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="With --methods: how many cohorts work side by side.")] = 1,
    threads: Threads = None,
    no_cache: NoCache = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --methods: say what would be trained, and train nothing.")] = False,
    context: typer.Context = None,  # type: ignore[assignment]  # None where it is called as a function
) -> None:
    """Compare cells over their seeds.

    Means with 95 % intervals, and differences paired by seed.

    --methods trains every method of the list first, that the data and the networks allow, in cohorts: the same images in the same
    order, the same first weights. The table is printed, and saved in comparisons/ of the folder of runs.
    """
    from redistill.runs.store import Store

    if methods is None:
        given = {"--teacher": teacher, "--student": student, "--assistant": assistant, "--epochs": epochs, "--set": change or None}
        used = [option for option, value in given.items() if value is not None]
        # with a default of their own; of runs that are there, all seeds would be compared
        if used := used or typed(context, "data", "seeds", "jobs", "no_cache", "dry_run"):
            raise RedistillError(f"{used[0]} says how methods are trained: name them with --methods all, or --methods KD,DKD")
        if not names:
            raise RedistillError("name the runs to compare (redistill runs lists them), or train some: --methods all --data digits")
        _show(cells_of(Store(out), names), Store(out), baseline, on, form, as_json)
        return
    if names:
        raise RedistillError(f"{names[0]!r} is a run, and --methods trains new ones: give the one or the other")
    _trained(
        methods, data, teacher=teacher, student=student, assistant=assistant, epochs=epochs, change=change, seeds=seeds, out=out,
        baseline=baseline, on=on, form=form, as_json=as_json, device=device, data_dir=data_dir, jobs=jobs, threads=threads,
        no_cache=no_cache, dry_run=dry_run,
    )  # fmt: skip


def _trained(
    methods: str, data: str, *, teacher: str | None, student: str | None, assistant: str | None, epochs: int | None, change: Sequence[str],
    seeds: str, out: Path, baseline: str | None, on: str, form: TableForm, as_json: bool, device: str, data_dir: Path | None, jobs: int,
    threads: int | None, no_cache: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Train what is asked for and show the table."""
    from redistill.cli.run import resources
    from redistill.launch.carry_out import carry_out
    from redistill.launch.methods import ground, rows
    from redistill.published.methods import chosen
    from redistill.report.progress import Terminal
    from redistill.runs.store import Store

    wanted = chosen(methods)
    numbers = seeds_of(seeds) or [0]
    common = ground(data, student=student, teacher=teacher, assistant=assistant, epochs=epochs, changes=change)
    found, why = rows(wanted, common, device=device, data_dir=data_dir)
    for name, reason in why.items():
        print(f"redistill: left out: {name}: {reason}", file=sys.stderr)
    asked = [name for name in wanted if name in found]
    if len(asked) < 2:
        raise RedistillError("fewer than two methods are left to compare")
    if dry_run and as_json:
        plan = [{"method": name, "terms": [part.written() for part in found[name].method], "seeds": numbers} for name in asked]
        show_json({"methods": plan, "left_out": dict(why)})
        return
    if dry_run:
        for name in asked:
            print(f"{name}: {' + '.join(_part(part.written()) for part in found[name].method)}, seeds {', '.join(map(str, numbers))}")
        return
    every = [found[name].with_seed(seed) for seed in numbers for name in asked]
    outcome = carry_out(every, Store(out), resources(data_dir, device, jobs=jobs, threads=threads, no_cache=no_cache), Terminal())
    for problem in outcome.problems:
        print(f"redistill: {problem}", file=sys.stderr)
    if len(outcome.runs) < len(every):
        raise typer.Exit(outcome.status or 1)
    cells = {name: [run for run in outcome.runs if run.cell == found[name].cell] for name in asked}
    table = _show(cells, Store(out), baseline, on, form, as_json)
    place = out / "comparisons"
    kept = _save(place, f"{data}-{common.student}".replace(":", "-").replace("/", "-"), table, why)
    if not as_json:
        print(f"saved in {', '.join(str(path) for path in kept)}", file=sys.stderr)
    if outcome.status:
        raise typer.Exit(outcome.status)


def _part(row: Mapping[str, Any]) -> str:
    weight = row.get("weight", 1.0)
    shown = f"{weight:g}" if isinstance(weight, int | float) else f"({weight['first']:g} to {weight['last']:g})"
    return f"{shown} * {row['use']}"


def _save(place: Path, name: str, table: Mapping[str, Any], why: Mapping[str, str]) -> list[Path]:
    """The table as Markdown and CSV, and all of it as JSON."""
    import json

    from redistill import files

    notes = "".join(f"\nLeft out: {method}: {reason}\n" for method, reason in why.items())
    notes += f"\nLeft out because they diverged: {'; '.join(table['diverged'])}\n" if table["diverged"] else ""
    texts = {
        "md": table["markdown"] + notes,
        "csv": table["csv"],
        "json": json.dumps({"rows": table["rows"], "diverged": table["diverged"], "left_out": dict(why)}, indent=1) + "\n",
    }
    place.mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        files.write(place / f"{name}.{ending}", text.encode())
    return [place / f"{name}.{ending}" for ending in texts]


def _show(
    cells: Mapping[str, Sequence[Run]], store: Store, baseline: str | None, on: str, form: TableForm, as_json: bool
) -> dict[str, Any]:
    """Print the table of some cells, by title; returns its texts and rows. A cell of which every run diverged has none."""
    from redistill.report.table import comma_separated, comparison, latex, markdown
    from redistill.runs.run import step_of

    gone = [f"{r.label}, seed {r.seed}" for found in cells.values() for r in found if r.diverged is not None]
    every, cells = cells, {title: found for title, found in cells.items() if any(run.diverged is None for run in found)}
    if not cells:
        raise RedistillError(f"every run of {', '.join(map(repr, every))} diverged: there is no accuracy to compare")
    accuracies = {title: {run.seed: run.accuracy(on) for run in found if run.diverged is None} for title, found in cells.items()}
    first = next(iter(cells))
    if baseline is not None:
        chosen = {every[baseline][0].cell} if baseline in every else {run.cell for run in store.pick(baseline)}
        asked = next((title for title, found in every.items() if found[0].cell in chosen), None)
        if asked is None:
            raise RedistillError(f"--baseline {baseline!r} is none of the cells compared: {', '.join(every)}")
        if asked not in cells:
            raise RedistillError(f"every run of the baseline {asked!r} diverged: name another one, {', '.join(cells)}")
        first = asked
    elif first != (died := next(iter(every))):
        print(f"redistill: every run of {died!r} diverged: the others are compared with {first!r}", file=sys.stderr)
    warn_other_images(cells, first, on)
    rows = comparison(accuracies, first, step=step_of(chain.from_iterable(cells.values()), on))
    shown = [{**dataclasses.asdict(row), "runs": [run.id for run in cells[row.method]]} for row in rows]
    if as_json:
        show_json(shown)
    else:
        write = {TableForm.markdown: markdown, TableForm.csv: comma_separated, TableForm.latex: latex}[form]
        print(write(rows, first), end="")
    if gone:
        print(f"left out because they diverged: {'; '.join(gone)}", file=sys.stderr)
    return {"rows": shown, "markdown": markdown(rows, first), "csv": comma_separated(rows, first), "diverged": gone}


def cells_of(store: Store, names: Sequence[str]) -> dict[str, list[Run]]:
    """The runs named, by title; what is left out, or is out of date, is told on standard error."""
    from redistill.cli.look import warn_left_out
    from redistill.runs.lookup import Today

    picked: list[Run] = []
    for name in names:
        if len(names) > 1 and _is_no_cell(store, name):
            continue  # compare runs/*: what a shell found beside the cells
        picked += store.pick(name)
    cells = titled(picked)
    every = [run for found in cells.values() for run in found]
    warn_left_out(store, every)
    today = Today(store)
    for run in every:
        if (why := today.stale(run)) is not None:
            print(f"redistill: {run.label}, seed {run.seed} is stale: {why}", file=sys.stderr)
    return cells


def _is_no_cell(store: Store, name: str) -> bool:
    """Whether a name is a folder or a file of the store that holds no run: its indices, a run that has only begun."""
    path = expanded(name)
    if not path.exists() or path.resolve().parent != store.root.resolve():
        return False
    return not path.is_dir() or not any(path.glob("seed-*/record.json"))
