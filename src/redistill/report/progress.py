"""How far a loop is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO


class Stepwise(Protocol):
    """Anything that says how many steps it takes and yields after each (``redistill.Loop``)."""

    step: int
    steps: int

    def __iter__(self) -> Iterator[object]: ...


@contextlib.contextmanager
def telling(label: str, total: int, *, done: int = 0, unit: str = "steps", stream: TextIO | None = None) -> Iterator[Callable[[int], None]]:
    """A function to be told how many of ``total`` are done; it shows them on ``stream`` (default: standard error, so that
    results stay apart)."""
    out = stream if stream is not None else sys.stderr
    if out.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=out)) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda now: bar.update(task, completed=now)
        return
    start = told = time.monotonic()
    print(f"{label}: {done} of {total} {unit}", file=out, flush=True)

    def line(now: int) -> None:
        nonlocal told
        if time.monotonic() - told >= 10.0:
            told = time.monotonic()
            print(f"{label}: {now} of {total} {unit}, {told - start:.0f} s", file=out, flush=True)

    yield line
    print(f"{label}: done in {time.monotonic() - start:.1f} s", file=out, flush=True)


def watch(loop: Stepwise, label: str, *, stream: TextIO | None = None) -> None:
    """Drain ``loop``, telling the progress on ``stream`` (see :func:`telling`)."""
    with telling(label, loop.steps, done=loop.step, stream=stream) as tell:
        for _ in loop:
            tell(loop.step)
