"""How far a loop is, or many processes are: a bar or a table on a terminal, plain lines in a log; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from redistill.errors import NOTE, plain
from redistill.launch.jobs import Task
from redistill.launch.progress import progress as progress
from redistill.launch.progress import watch as watch

if TYPE_CHECKING:
    from redistill.launch.cohort import CohortRun


class Terminal:
    """Shows on standard error what :func:`redistill.launch.carry_out.carry_out` does."""

    def __init__(self) -> None:
        self._told: set[object] = set()

    def note(self, text: str) -> None:
        print(f"{NOTE}{plain(text)}", file=sys.stderr, flush=True)

    def drain(self, work: CohortRun) -> None:
        work.say, work.warn = lambda text: print(plain(text), file=sys.stderr, flush=True), self.note
        watch(work, work.label, told=self._told)

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
