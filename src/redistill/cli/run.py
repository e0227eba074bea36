"""``redistill run`` and ``redistill train``: from files to runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redistill.cli import app, tell
from redistill.cli.cells import titled, warn_other_images
from redistill.cli.options import Change, DataDir, Device, Json, NoCache, Out, Threads, Track, TrustCode, seeds_of, show_json

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment
    from redistill.launch.carry_out import Outcome, Resources
    from redistill.runs.store import Run

Seeds = Annotated[str | None, typer.Option("--seeds", help="3 means 0, 1, 2; 4,7 means 4 and 7; 4, means 4 alone.", metavar="SEEDS")]

Budget = Annotated[
    str | None, typer.Option("--time-budget", help="Stop and save after that long: 90s, 30m, 1h30m.", metavar="TIME")
]

Jobs = Annotated[int, typer.Option("--jobs", min=1, help="How many runs (or cohorts) work side by side.")]
Alone = Annotated[bool, typer.Option("--alone", help="No cohorts: one student at a time.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Leave runs that another process has in hand to it, and end.")]
FAILED = 1  # exit status: something could not be made; what was stopped and can go on has another one
Every = Annotated[float, typer.Option("--checkpoint-every", min=0, help="Seconds between checkpoints.")]


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(help="Experiments: TOML files, records or run folders.", metavar="FILE")],
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
    no_cache: NoCache = False,
    track: Track = [],  # noqa: B006
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Run experiments, and whatever they need first.

    What is there already is only read.

    Ctrl-C, SIGTERM, SIGUSR1, SIGHUP and the time budget save a checkpoint at the next step; the same command goes on from
    it.
    """
    from redistill.experiment.value import Experiment

    given = resources(
        data_dir, device, budget=time_budget, jobs=jobs, alone=alone, no_wait=no_wait, threads=threads, every=checkpoint_every,
        no_cache=no_cache, trust_code=trust_code, track=track,
    )  # fmt: skip
    wanted: list[Experiment] = []
    numbers: Sequence[int | None] = seeds_of(seeds) or [None]
    several = False
    for seed in numbers:
        for file in files:
            found = Experiment.load_all(file, seed=seed, device=device, change=change, data_dir=data_dir, trust_code=trust_code)
            several = several or len(found) > 1
            wanted += found
    finish(wanted, out, given, as_json=as_json, table=several)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A network: redistill list models.", metavar="MODEL")],
    data: Annotated[str, typer.Argument(help="A data set: redistill list data.", metavar="DATA")],
    epochs: Annotated[int, typer.Option(min=1, help="Of the training images.")] = 30,
    lr: Annotated[float, typer.Option(min=0.0, help="Highest learning rate; a cosine from it to 0.")] = 0.1,
    seeds: Seeds = None,
    change: Change = [],  # noqa: B006
    time_budget: Budget = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    threads: Threads = None,
    track: Track = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Train one network on labels alone: a teacher, or a baseline.

    SGD with Nesterov momentum and a cosine schedule.
    """
    from redistill.experiment.value import Experiment
    from redistill.settings.change import changed

    settings: dict[str, Any] = {
        "student": {"model": model},
        "method": [{"use": "CE"}],
        "source": {"data": data},
        "recipe": {"epochs": epochs, "lr": lr, "nesterov": True, "schedule": {"kind": "cosine"}, "per": "step"},
    }
    settings = changed(settings, change)
    wanted = [Experiment.of(settings, seed=seed, device=device, data_dir=data_dir) for seed in seeds_of(seeds) or [0]]
    finish(wanted, out, resources(data_dir, device, budget=time_budget, threads=threads, track=track), as_json=as_json)


def finish(wanted: list[Experiment], out: Path, resources: Resources, *, as_json: bool = False, table: bool = False) -> None:
    """Run what is wanted and say what came out, with ``table`` as a comparison too; exits with a status other than 0 unless all of
    it is there."""
    outcome = carried_out(wanted, out, resources)
    report([outcome], as_json)
    if table and not as_json:
        _compared(outcome)
    if outcome.status:
        raise typer.Exit(outcome.status)


def carried_out(wanted: list[Experiment], out: Path, resources: Resources) -> Outcome:
    """Run what is wanted, and show on standard error how far it is."""
    from redistill.launch.carry_out import carry_out
    from redistill.report.progress import Terminal
    from redistill.runs.store import Store

    return carry_out(wanted, Store(out), resources, Terminal())


def resources(
    data_dir: Path | None,
    device: str,
    *,
    budget: str | None = None,
    jobs: int = 1,
    alone: bool = False,
    no_wait: bool = False,
    threads: int | None = None,
    every: float = 60.0,
    no_cache: bool = False,
    trust_code: bool = False,
    track: Sequence[str] = (),
) -> Resources:
    """The options of a command as :class:`redistill.launch.carry_out.Resources`."""
    from redistill import cli
    from redistill.launch.carry_out import Resources
    from redistill.launch.stop import seconds
    from redistill.launch.trackers import names_of

    return Resources(
        data_dir=data_dir,
        device=device,
        threads=threads,
        budget=None if budget is None else seconds(budget),
        jobs=jobs,
        cohort=not alone,
        wait=not no_wait,
        every=every,
        cache=not no_cache,
        trust_code=trust_code,
        debug=cli.debug,
        track=names_of(track),
    )


def report(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """What came out, on standard output; what went wrong, on standard error (with ``--json`` in the JSON too)."""
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    for problem in problems:
        tell(problem)
    if as_json:
        runs = {run.id: run for outcome in outcomes for run in outcome.runs}
        show_json({"runs": [summary(run) for run in runs.values()], "problems": problems})
        return
    for outcome in outcomes:
        for run in outcome.runs:
            numbers = ", ".join(f"{name} {table['last']:.2f} %" for name, table in run.record["accuracy"].items())
            what = "diverged" if run.diverged is not None else numbers or "no evaluation set"
            how = "was there" if run.id in outcome.found else "written"
            print(f"{run.label}, seed {run.seed}: {what} ({how}: {run.folder})")


def _compared(outcome: Outcome) -> None:
    """The cells of what was asked for beside each other, the first one the baseline."""
    from redistill.report.table import comparison, markdown
    from redistill.runs.record import networks_of
    from redistill.runs.run import step_of

    cells = titled(run for run in outcome.runs if run.diverged is None)
    for name in dict.fromkeys(name for found in cells.values() for run in found for name in run.entry.accuracy):
        shown = {title: having for title, found in cells.items() if (having := [run for run in found if name in run.entry.accuracy])}
        if len(shown) > 1:
            first = next(iter(shown))
            warn_other_images(shown, first, name)
            values = {title: {run.seed: run.accuracy(name) for run in found} for title, found in shown.items()}
            rows = comparison(values, first, step=step_of(chain.from_iterable(shown.values()), name))
            which = networks_of(run.entry for found in shown.values() for run in found)
            print(f"\n{name}, accuracy {which}:\n\n{markdown(rows, first)}", end="")


def summary(run: Run) -> dict[str, Any]:
    """One run in a few keys, for machines."""
    return {
        "id": run.id,
        "cell": run.cell,
        "seed": run.seed,
        "label": run.label,
        "folder": str(run.folder),
        "accuracy": {name: table["last"] for name, table in run.record["accuracy"].items() if run.diverged is None},
        "diverged": run.diverged,
        "seconds": run.record["time"]["wall"],
    }
