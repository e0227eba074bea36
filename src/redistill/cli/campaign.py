"""``redistill campaign``: cells of many papers, one piece after the other, in as many nights as it takes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli import app
from redistill.cli.options import DataDir, Device, Json, Out, Threads, TrustCode, seeds_of, show_json
from redistill.cli.papers import reproduce
from redistill.cli.run import FAILED, Budget, Jobs
from redistill.errors import RedistillError


@app.command()
def campaign(
    file: Annotated[Path, typer.Argument(help="Its pieces, experiments/campaign.toml.", metavar="FILE")],
    only: Annotated[list[str], typer.Option("--only", help="Only this piece, ferles2020:4; may be repeated.", metavar="PIECE")] = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is done of each piece and how long the rest takes.")] = False,
    time_budget: Budget = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    out: Out = Path("runs"),
    threads: Threads = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Work through the papers' cells that a file lists, in its order.

    Each piece is a line of reproduce. A run that was cut off goes on with the same command; the exit status is 75 where the time
    was over before the last piece, and 1 where runs of this time failed or diverged: the pieces after them have had their turn.
    """
    from redistill.launch.progress import estimated
    from redistill.launch.rates import rate
    from redistill.launch.stop import TRY_AGAIN, seconds
    from redistill.papers.campaign import read, standing
    from redistill.runs.store import Store

    if as_json and not dry_run:
        raise RedistillError("--json lists what is done and what is left: give it with --dry-run")
    end = None if time_budget is None else time.monotonic() + seconds(time_budget)
    pieces = read(file, only)
    if dry_run:
        rows, total = [], 0.0
        for number, one in enumerate(standing(pieces, Store(out), device, {p.seeds: seeds_of(p.seeds) or [] for p in pieces}), 1):
            hours = one.seconds / 3600
            total += hours
            rows.append({"piece": one.piece.name, "why": one.piece.why, "done": one.done, "runs": one.runs, "hours": hours})
            if not as_json:
                length = estimated(3600 * hours)
                print(f"{number:3}. {one.done} of {one.runs} runs, {length:>9} to go  {one.piece.name}: {one.piece.why}", flush=True)
        if as_json:
            show_json({"pieces": rows, "hours": total})
        else:
            print(f"in all: {estimated(3600 * total)}, one process at {rate(device) / 1e9:.1f} GMAC/s")
        return
    failed: list[str] = []
    for piece in pieces:
        left = None
        if end is not None:
            left = f"{end - time.monotonic():.0f}s"
            if end - time.monotonic() < 1:
                raise typer.Exit(TRY_AGAIN)
        print(f"== {piece.name}: {piece.why}", file=sys.stderr, flush=True)
        try:
            reproduce(
                piece.paper, list(piece.tables), list(piece.only), list(piece.rows), list(piece.columns), piece.seeds, time_budget=left,
                data_dir=data_dir, device=device, jobs=jobs, out=out, threads=threads, trust_code=trust_code,
            )  # fmt: skip
        except typer.Exit as left_with:
            if left_with.exit_code != FAILED:
                raise
            failed.append(piece.name)  # a run that diverged will do so again: what comes after it must have its turn
    if failed:
        print(f"redistill: not all runs are there, or some diverged, of {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(FAILED)
