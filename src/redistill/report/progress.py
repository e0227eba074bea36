"""How far a loop is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Protocol, TextIO


class Stepwise(Protocol):
    """Anything that says how many steps it takes and yields after each (``redistill.Loop``)."""

    step: int
    steps: int

    def __iter__(self) -> Iterator[object]: ...


def watch(loop: Stepwise, label: str, *, stream: TextIO | None = None) -> None:
    """Drain ``loop``, telling the progress on ``stream`` (default: standard error, so that results stay apart)."""
    out = stream if stream is not None else sys.stderr
    if out.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=out)) as bar:
            task = bar.add_task(label, total=loop.steps, completed=loop.step)
            for _ in loop:
                bar.update(task, completed=loop.step)
        return
    start, told = time.monotonic(), 0.0
    print(f"{label}: {loop.steps} steps", file=out, flush=True)
    for _ in loop:
        now = time.monotonic()
        if now - told >= 10.0 and now - start >= 10.0:
            told = now
            print(f"{label}: step {loop.step} of {loop.steps}, {now - start:.0f} s", file=out, flush=True)
    print(f"{label}: done in {time.monotonic() - start:.1f} s", file=out, flush=True)
