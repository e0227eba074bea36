"""``redistill run`` and ``redistill train``: from files to runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app, said
from redistill.cli.options import Change, DataDir, Device, Json, Out, seeds_of, show_json
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from redistill.experiment.store import Run
    from redistill.experiment.value import Experiment

Seeds = Annotated[str | None, typer.Option("--seeds", help="3 means 0, 1, 2; 4,7 means 4 and 7; 4, means 4 alone.", metavar="SEEDS")]
Budget = Annotated[
    str | None, typer.Option("--time-budget", help="Stop and save after that long: 90s, 30m, 1h30m.", metavar="TIME")
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="How many runs (or cohorts) work side by side.")]
Alone = Annotated[bool, typer.Option("--alone", help="No cohorts: one student at a time.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Leave runs that another process has in hand to it, and end.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of one process; default: torch's own.")]
Every = Annotated[float, typer.Option("--checkpoint-every", min=0, help="Seconds between checkpoints.")]


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(help="Experiments: TOML files, records or run folders.", metavar="FILE...")],
    seeds: Seeds = None,
    change: Change = [],  # noqa: B006  typer reads the default and never changes it
    time_budget: Budget = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    jobs: Jobs = 1,
    alone: Alone = False,
    no_wait: NoWait = False,
    threads: Threads = None,
    checkpoint_every: Every = 60.0,
    as_json: Json = False,
) -> None:
    """Run experiments, and whatever they need first. What is there already is only read.

    Ctrl-C, SIGTERM, SIGUSR1 and the time budget save a checkpoint at the next step; the same command goes on from it.
    """
    from redistill.experiment.value import Experiment

    wanted: list[Experiment] = []
    numbers: Sequence[int | None] = seeds_of(seeds) or [None]
    for seed in numbers:
        wanted += [Experiment.load(file, seed=seed, device=device, change=change, data_dir=data_dir) for file in files]
    carry_out(
        wanted,
        out,
        data_dir,
        device=device,
        budget=time_budget,
        jobs=jobs,
        cohort=not alone,
        wait=not no_wait,
        threads=threads,
        every=checkpoint_every,
        as_json=as_json,
    )


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A network: redistill list models.")],
    data: Annotated[str, typer.Argument(help="A data set: redistill list data.")],
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    lr: Annotated[float, typer.Option(min=0.0, help="Highest learning rate; a cosine from it to 0.")] = 0.1,
    seeds: Seeds = None,
    change: Change = [],  # noqa: B006
    time_budget: Budget = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """Train one network on labels alone (SGD with Nesterov momentum, a cosine schedule): a teacher, or a baseline."""
    from redistill.experiment.change import changed
    from redistill.experiment.value import Experiment

    settings: dict[str, Any] = {
        "student": {"model": model},
        "method": [{"use": "CE"}],
        "source": {"data": data},
        "recipe": {"epochs": epochs, "lr": lr, "nesterov": True, "schedule": {"kind": "cosine"}, "per": "step"},
    }
    settings = changed(settings, change)
    wanted = [Experiment.of(settings, seed=seed, device=device, data_dir=data_dir) for seed in seeds_of(seeds) or [0]]
    carry_out(wanted, out, data_dir, device=device, budget=time_budget, as_json=as_json)


def carry_out(
    wanted: list[Experiment],
    out: Path,
    data_dir: Path | None,
    *,
    device: str = "auto",
    budget: str | None = None,
    jobs: int = 1,
    cohort: bool = True,
    wait: bool = True,
    threads: int | None = None,
    every: float = 60.0,
    as_json: bool = False,
) -> None:
    """Run what is wanted and say what came out; exits with a status other than 0 unless all of it is there."""
    import torch

    from redistill.experiment.run import Queue, plan
    from redistill.experiment.stop import Interrupted, Stop, seconds
    from redistill.experiment.store import Store
    from redistill.report.progress import watch

    if threads is not None:
        torch.set_num_threads(threads)
    store = Store(out)
    status, problems = 0, []
    with Stop(None if budget is None else seconds(budget), listen=True) as stop:
        queue = Queue(plan(wanted, cohort=cohort), store, data_dir, stop, device, every, wait)
        try:
            if jobs > 1:
                from redistill.cli.side_by_side import side_by_side

                problems = side_by_side(queue, jobs, threads)
            else:
                for work in queue:
                    try:
                        work.begin()
                        for note in work.notes:
                            print(note, file=sys.stderr)
                        watch(work, work.label)
                    except Interrupted:
                        raise
                    except Exception as error:
                        if not isinstance(error, RedistillError) and debugging():
                            raise
                        problems.append(f"{work.label}: {said(error)}")
        except Interrupted as error:
            status = error.status
            problems.append(str(error))
    problems += queue.blocked.values()
    runs = [run for one in {one.id: one for one in wanted}.values() if (run := store.find(one)) is not None]
    problems += [f"{run.label} (seed {run.seed}) diverged: {run.diverged}" for run in runs if run.diverged is not None]
    report(runs, {run.id for run in queue.found}, problems, as_json)
    if problems:
        raise typer.Exit(status or 1)


def debugging() -> bool:
    from redistill import cli

    return cli.debug


def report(runs: list[Run], found: set[str], problems: list[str], as_json: bool) -> None:
    """What came out, on standard output; what went wrong, on standard error (with ``--json`` in the JSON too)."""
    for problem in problems:
        print(f"redistill: {problem}", file=sys.stderr)
    if as_json:
        show_json({"runs": [summary(run) for run in runs], "problems": problems})
        return
    for run in runs:
        numbers = ", ".join(f"{name} {table['last']:.2f} %" for name, table in run.record["accuracy"].items())
        how = "was there" if run.id in found else "written"
        print(f"{run.label}, seed {run.seed}: {numbers or 'no evaluation set'} ({how}: {run.folder})")


def summary(run: Run) -> dict[str, Any]:
    """One run in a few keys, for machines."""
    return {
        "id": run.id,
        "cell": run.cell,
        "seed": run.seed,
        "label": run.label,
        "folder": str(run.folder),
        "accuracy": {name: table["last"] for name, table in run.record["accuracy"].items()},
        "diverged": run.diverged,
        "seconds": run.record["time"]["wall"],
    }
