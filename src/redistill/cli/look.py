"""Commands that look at runs: ``runs``, ``show``, ``diff``; and at what there is: ``list``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.options import Json, Out, show_json
from redistill.errors import RedistillError, counted, nearest
from redistill.paths import expanded

if TYPE_CHECKING:
    from redistill.runs.store import Run, Store



class Listing(StrEnum):
    table = "table"
    ro_crate = "ro-crate"


LISTS = {
    "methods": "terms", "losses": "terms", "networks": "models", "architectures": "models", "datasets": "data", "data sets": "data",
}  # fmt: skip
"""What others call the three lists."""


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Aligned plain text; nothing is cut, so that it can be read by other programs."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)


def _matches(run: Run, data: str | None, student: str | None, method: str | None) -> bool:
    from redistill.runs.record import parts_of

    written = run.entry.experiment
    named = [str(one.get("data", one.get("use", one["kind"]))).lower() for one in parts_of(written["source"])]
    uses = {part["use"].lower() for part in written["method"]}
    return (
        (data is None or any(data.lower() in name for name in named))
        and (student is None or student.lower() in written["student"]["model"].lower())
        and (method is None or method.lower() in uses)
    )


@app.command()
def runs(
    out: Out = Path("runs"),
    data: Annotated[str | None, typer.Option(help="Only runs on this data set.")] = None,
    student: Annotated[str | None, typer.Option(help="Only runs of this student.")] = None,
    method: Annotated[str | None, typer.Option(help="Only runs with this term.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Copy records and curves of finished runs, and weights of small teachers, there.", metavar="DIR"),
    ] = None,
    form: Annotated[
        Listing, typer.Option("--as", help="table, or ro-crate: describe the store in its ro-crate-metadata.json.")
    ] = Listing.table,
    as_json: Json = False,
) -> None:
    """List the runs of a store: finished, begun, damaged."""
    if form is Listing.ro_crate:
        if data is not None or student is not None or method is not None or keep is not None or as_json:
            raise RedistillError("--as ro-crate describes every finished run: leave --data, --student, --method, --keep and --json out")
        _crate(out)
        return
    if keep is not None:
        if data is not None or student is not None or method is not None or as_json:
            raise RedistillError("--keep copies every finished run: leave --data, --student, --method and --json out")
        _keep(out, keep)
        return
    from redistill.runs.lookup import Today
    from redistill.runs.store import Damaged, Run, Store

    store = Store(out)
    today = Today(store)
    filtered = data is not None or student is not None or method is not None
    rows: list[dict[str, Any]] = []
    for run in store.runs():
        row: dict[str, Any] = {"folder": str(run.folder), "id": None, "label": "", "seed": None, "accuracy": {}, "state": "", "why": ""}
        if isinstance(run, Run):
            if not _matches(run, data, student, method):
                continue
            row |= {"id": run.id, "label": run.label, "seed": run.seed, "state": "done"}
            row["accuracy"] = {name: found.last for name, found in run.entry.accuracy.items()}
            if run.diverged is not None:  # what it reached on the way is not what it came to
                row |= {"state": "diverged", "why": run.diverged, "accuracy": {}}
            elif (why := today.stale(run)) is not None:
                row |= {"state": "stale", "why": why}
        elif isinstance(run, Damaged):
            row |= {"state": "damaged", "why": run.why}  # nobody knows whether it fits: it is told under every filter
        elif filtered:
            continue
        else:
            row |= {"state": "begun", "label": run.label, "why": f"{run.command} goes on"}
        rows.append(row)
    if as_json:
        show_json(rows)
        return
    if not rows:
        print(f"no runs in {out}" + (" fit" if filtered else ""), file=sys.stderr)
        return
    table = [["id", "seed", "state", "accuracy %", "run", ""]]
    for row in rows:
        numbers = " ".join(f"{name} {value:.2f}" for name, value in row["accuracy"].items())
        seed = "" if row["seed"] is None else str(row["seed"])
        table.append([row["id"] or row["folder"], seed, row["state"], numbers, row["label"], row["why"]])
    print(columns(table))


def _crate(out: Path) -> None:
    from redistill.export.formats import CRATE, crate
    from redistill.files import write
    from redistill.runs.store import Store

    write(out / CRATE, crate(Store(out)))
    print(f"{out / CRATE}: the runs of {out} as an RO-Crate")


def _keep(out: Path, to: Path) -> None:
    from redistill.runs.export import export
    from redistill.runs.store import Store

    runs, teachers = export(Store(out), expanded(to))
    print(f"{counted(runs, 'run')} and {counted(teachers, 'teacher')} in {to}")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Folder, beginning of an id, or name.", metavar="RUN")],
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show one run: what was asked, what came out, where."""
    from redistill.runs.lookup import Today
    from redistill.runs.store import Store

    store = Store(out)
    today = Today(store)
    picked = store.pick(run)
    warn_left_out(store, picked)
    if as_json:  # one text that a program can read, of several runs too
        show_json(picked[0].record if len(picked) == 1 else [found.record for found in picked])
        return
    for found in picked:
        _tell(found, today.stale(found))


def warn_left_out(store: Store, runs: Sequence[Run]) -> None:
    """Name on standard error what of these cells cannot be used: a seed is never left out in silence."""
    for damaged in store.left_out(runs):
        print(f"redistill: left out: {damaged.why}", file=sys.stderr)


def _tell(run: Run, old: str | None) -> None:
    from redistill.runs.fall import fall

    record = run.entry
    print(f"{run.label}, seed {run.seed}  (id {run.id}, {run.folder})")
    if old is not None:
        print(f"  STALE: {old}")
    if run.diverged is not None:
        print(f"  DIVERGED: {run.diverged}")
    for name, table in record.accuracy.items():
        what = "at the last step" if record.kept is None else "of the network that is kept"
        what = what if run.diverged is None else "at the last evaluation before that"
        print(f"  {name} ({table.data}): {table.last:.2f} % {what}; {table.best:.2f} % is {table.best_is}")
        if (fell := fall(run, name)) is not None:
            print(f"  FALLEN: it {fell}")
    if record.kept is not None:
        print(f"  kept: {record.kept['why']} (step {record.kept['step']:,} of {record.steps:,})")
    if record.teacher is not None:
        measured = ", ".join(f"{name} {value:.2f} %" for name, value in record.teacher.accuracy.items())
        print(f"  teacher {record.teacher.model}: {measured or 'not measured'} (SHA-256 {record.teacher.sha256[:12]})")
    print(f"  trained on {seen(record.data['train'])}, {record.parameters:,} parameters, {record.steps:,} steps")
    machine = record.sessions[-1]["hardware"]
    sessions = len(record.sessions)
    print(f"  {record.time.wall:.1f} s wall, {record.time.cpu:.1f} s CPU, {machine['device']}, {counted(machine['threads'], 'thread')}, "
          f"{counted(sessions, 'session')}, bit-identical: {record.exact}")  # fmt: skip
    commit = f", commit {record.git.commit[:10]}{' (changed)' if record.git.changed else ''}" if record.git else ""
    versions = ", ".join(f"{name} {record.versions.get(name, '?')}" for name in ("redistill", "torch"))
    print(f"  {versions}{commit}, finished {record.finished}")
    pairs = list(record.pairs.values())
    for number, part in enumerate(record.experiment["method"]):
        rest = ", ".join(f"{key}={value!r}" for key, value in part.items() if key not in ("use", "weight", "code", "file"))
        met = ", ".join(f"{mine} with {theirs}" for mine, theirs in pairs[number]) if number < len(pairs) else ""
        print(f"  {part.get('weight', 1.0)} * {part['use']}({rest})" + (f"; student's {met} of the teacher" if met else ""))
    print(f"  recipe: {', '.join(f'{k}={v}' for k, v in record.experiment['recipe'].items())}")


def seen(train: dict[str, Any]) -> str:
    """Which images a student saw, in words."""
    if train.get("kind") == "mixed":
        return f"{seen(train.get('first', {}))} and {seen(train.get('second', {}))} in turn"
    if "count" in train:
        return f"{train['count']} images"
    from redistill.sources.variants import KINDS

    if train.get("kind") in KINDS:
        return "images made out of its teacher" if "iterations" in train else "a generator's images"
    return "images of a source of one's own"


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="One run: its folder, the beginning of its id, or its name.", metavar="A")],
    b: Annotated[str, typer.Argument(help="The other.", metavar="B")],
    out: Out = Path("runs"),
    assert_equal: Annotated[
        bool, typer.Option("--assert-equal", help="Exit status 1 if weights, curves or switches differ (time and machine may).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Every switch, version and number in which two runs differ."""
    import dataclasses

    from redistill.runs.compare import differences
    from redistill.runs.store import Store

    store = Store(out)
    one, two = (_single(store, name) for name in (a, b))
    found = differences(one, two)
    if as_json:
        show_json([{**dataclasses.asdict(d), "matters": d.matters} for d in found])
    else:
        rows = [[d.part, d.where, *("" if v is None else str(v) for v in (d.a, d.b))] for d in found]
        print(columns([["", "", str(one.folder), str(two.folder)], *rows]) if rows else "no difference")
    if assert_equal and (which := [d for d in found if d.matters]):
        print(f"redistill: the runs differ in {', '.join(dict.fromkeys(d.part for d in which))}", file=sys.stderr)
        raise typer.Exit(1)


def _single(store: Store, name: str) -> Run:
    found = store.pick(name)
    if len(found) != 1:
        seeds = ", ".join(str(run.folder) for run in found)
        raise RedistillError(f"{name!r} means {len(found)} runs ({seeds}): give one of them")
    return found[0]


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="terms, models or data.", metavar="WHAT")],
    as_json: Json = False,
) -> None:
    """List the terms, networks or data sets that have a name."""
    import json

    lists = json.loads((Path(__file__).with_name("listed.json")).read_text(encoding="utf-8"))  # made by :mod:`redistill.cli.listing`
    if what not in lists:
        raise RedistillError(nearest(what, lists, "list", LISTS))
    if as_json:
        show_json([{"name": name, "about": about} for name, about in lists[what].items()])
    else:
        print(columns(lists[what].items()))
