"""``redistill bench``: this package's loop against a plain PyTorch loop that does the same work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.options import Json, show_json
from redistill.errors import RedistillError, counted
from redistill.paths import expanded


@app.command()
def bench(
    rows: Annotated[
        list[str] | None, typer.Argument(help="KD, KD+AT, FitNet, VID, Review, zero-shot (default: these), plan.", metavar="ROW")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender; medians and ranges are over them.")] = 5,
    batch: Annotated[int, typer.Option(min=2, help="Images a batch.")] = 128,
    compiled: Annotated[bool, typer.Option("--compile", help="Time the compiled fast step too; the first call takes minutes.")] = False,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory, each in a process of its own.")] = True,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of both contenders.", metavar="N")] = 1,
    to: Annotated[Path | None, typer.Option("--to", help="Write the result there as JSON too.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Time this package against a plain loop.

    WRN-40-2 teaches WRN-16-1. First both must do the same work: pixels equal to Pillow's, losses and all gradients of the first step
    equal; else there is no ratio. Then they take turns in one process, and CPU time and wall time are compared turn by turn.

    The row plan, which runs only where it is named, takes about six minutes of two quiet cores: six methods and three seeds by redistill
    run --jobs 2, against eighteen plain runs.
    """
    import torch

    from redistill.bench import run
    from redistill.runs.measured import begin
    from redistill.runs.measured import keep as kept

    if to is not None and not expanded(to).parent.is_dir():
        raise RedistillError(f"there is no folder {expanded(to).parent} to write {expanded(to).name} into: make it first")
    torch.set_num_threads(threads)
    begun = begin()
    say = (lambda text: print(text, file=sys.stderr, flush=True)) if as_json else (lambda text: print(text, flush=True))

    def keep(found: dict[str, Any]) -> None:
        if to is not None:
            kept(expanded(to), found, begun, "benchmarks")

    found = run.bench(rows or run.NAMES, rounds=rounds, batch=batch, compiled=compiled, memory=memory, say=say, keep=keep)
    if as_json:
        show_json(found)
        return
    units = "bf16 matrix units" if found["bf16_matrix_units"] else "no bf16 matrix units: fast is fp32 here"
    threaded = counted(found["threads"], "thread")
    print(f"{found['processor']} ({found['capability']}, {units}), {threaded}, load {found['load']}, torch {found['torch']}")
