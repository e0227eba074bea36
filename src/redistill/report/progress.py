"""How far a loop is, or many processes are: a bar or a table on a terminal, plain lines in a log; on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from redistill.errors import plain
from redistill.launch.jobs import Task

if TYPE_CHECKING:
    from redistill.launch.cohort import CohortRun


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
    label = plain(label)
    if out.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=out)) as bar:
            task = bar.add_task(escape(label), total=total, completed=done)
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


class Terminal:
    """Shows on standard error what :func:`redistill.launch.carry_out.carry_out` does."""

    def note(self, text: str) -> None:
        print(plain(text), file=sys.stderr, flush=True)

    def drain(self, work: CohortRun) -> None:
        watch(work, work.label)

    def tasks(self, tasks: Sequence[Task]) -> AbstractContextManager[Table]:
        return Table(tasks)


class Table:
    """A live table of processes on a terminal, one line for each change in a log."""

    def __init__(self, tasks: Sequence[Task]):
        self._tasks = tasks
        self._live: Any = None
        self._context: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> Table:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._context = Live(console=Console(stderr=True), refresh_per_second=4)
            self._live = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def show(self, changed: Sequence[Task]) -> None:
        if self._live is not None:
            self._live.update(self._drawn())
            return
        for task in changed:
            print(plain(f"{task.state}: {task.name}{': ' + task.why if task.why else ''}"), file=sys.stderr, flush=True)

    def _drawn(self) -> Any:
        from rich import table
        from rich.text import Text

        drawn = table.Table("state", "run", "time", "", title=self._counts())
        for task in self._tasks:
            note = task.why or (task.last_line() if task.state == "runs" else "")
            seconds = f"{task.seconds:.0f} s" if task.started else ""
            drawn.add_row(task.state, Text(plain(task.name)), seconds, Text(plain(note)))
        return drawn

    def _counts(self) -> str:
        states = [task.state for task in self._tasks]
        return ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
