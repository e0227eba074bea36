"""``--jobs N``: a process for each run or cohort, and a live table of what runs, is done, failed and waits."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from redistill.experiment.files import make_folder, pretty, write
from redistill.experiment.run import Queue
from redistill.experiment.stop import Interrupted
from redistill.experiment.store import FORMAT, PENDING
from redistill.experiment.work import group_label
from redistill.jobs import Pool, Task, threads_each

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment


def tasks_of(queue: Queue, threads: int) -> list[Task]:
    """One task a group of the plan; what is there already is left out."""
    tasks: list[Task] = []
    home: dict[str, str] = {}  # which task makes an experiment
    for group in queue.groups:
        left = [one for one in group if queue.store.find(one) is None]
        queue.found += [run for one in group if (run := queue.store.find(one)) is not None]
        if not left:
            continue
        names = [_written(queue, one) for one in left]
        words = [sys.executable, "-m", "redistill", "run", *names, "--out", str(queue.store.root), "--device", queue.device]
        words += ["--threads", str(threads), "--checkpoint-every", str(queue.every)]
        if queue.data_dir is not None:
            words += ["--data-dir", str(queue.data_dir)]
        if not queue.wait:
            words.append("--no-wait")
        title = f"{group_label(left)} {left[0].folder}"
        needs = frozenset(home[n.id] for one in left for n in one.needs() if n.id in home)
        tasks.append(Task(title, words, queue.store.folder(left[0]) / "log.txt", needs))
        home |= {one.id: title for one in left}
    return tasks


def _written(queue: Queue, one: Experiment) -> str:
    """The experiment as a file in its run's folder, for the process that will run it."""
    folder = queue.store.folder(one)
    make_folder(folder)
    write(folder / PENDING, pretty({"format": FORMAT, "label": one.label, "id": one.id, "experiment": one.written()}))
    return str(folder / PENDING)


def side_by_side(queue: Queue, jobs: int, threads: int | None) -> list[str]:
    """Run the plan in processes; returns a sentence for each task that did not end well.

    Raises:
        Interrupted: a signal or the time budget stopped all of them; every one has saved a checkpoint.
    """
    each = threads if threads is not None else threads_each(jobs)
    tasks = tasks_of(queue, each)
    pool = Pool(tasks, jobs, {**os.environ, "OMP_NUM_THREADS": str(each)})
    asked = False
    with _Table(tasks) as table:
        for changed in pool:
            queue.stop.with_us = {task.process.pid for task in pool.running() if task.process is not None}
            table.show(changed)
            if queue.stop.why is not None and not asked:
                asked = True
                pool.stop(queue.stop.signal or signal.SIGUSR1)
    if asked and any(task.state in ("stopped", "waits") for task in tasks):
        done = sum(task.state == "done" for task in tasks)
        raise Interrupted(
            f"stopped ({queue.stop.why}): {done} of {len(tasks)} done, the rest is saved; run the same command again to go on",
            queue.stop.status,
        )
    return [f"{task.name}: {task.why}" for task in tasks if task.state != "done"]


class _Table:
    """A live table on a terminal, one line for each change in a log; on standard error."""

    def __init__(self, tasks: Sequence[Task]):
        self.tasks = tasks
        self.live: Any = None
        self._context: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> _Table:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._context = Live(console=Console(stderr=True), refresh_per_second=4)
            self.live = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def show(self, changed: Sequence[Task]) -> None:
        if self.live is not None:
            self.live.update(self._table())
            return
        for task in changed:
            print(f"{task.state}: {task.name}{': ' + task.why if task.why else ''}", file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table("state", "run", "time", "", title=self._counts())
        for task in self.tasks:
            note = task.why or (task.last_line() if task.state == "runs" else "")
            table.add_row(task.state, task.name, f"{task.seconds:.0f} s" if task.started else "", note)
        return table

    def _counts(self) -> str:
        states = [task.state for task in self.tasks]
        return ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
