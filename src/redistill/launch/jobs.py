"""Several commands on one machine at the same time: each a process of its own, started when what it needs is done.

Knows nothing of experiments. A process that dies takes nothing with it but itself and what needs it; when this process dies, however
it does, the others are told (:func:`end_with_parent`) and stop as if asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from redistill.errors import NOTE

State = Literal["waits", "runs", "done", "failed", "stopped"]
POLL = 0.1  # seconds between two looks at the processes
LIFELINE = "REDISTILL_LIFELINE"  # the read end of a pipe that only the parent holds open


@dataclass
class Task:
    """One command.

    Attributes:
        name: for people. command: its words. log: where its output goes, after what is there already (another process may be
            writing to it); removed when it ends well.
        needs: names of tasks that must be done before. again: an exit status that means "stopped, and can go on".
        state, why, seconds: what became of it so far.
    """

    name: str
    command: Sequence[str]
    log: Path
    needs: frozenset[str] = frozenset()
    again: frozenset[int] = frozenset({75, 129, 130, 143})
    state: State = "waits"
    why: str = ""
    started: float = 0.0
    ended: float = 0.0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    log_start: int = 0
    heard: int = 0  # bytes of the log whose notes were handed on

    @property
    def seconds(self) -> float:
        if not self.started:
            return 0.0
        return (self.ended or time.monotonic()) - self.started

    def notes(self) -> list[str]:
        """What the process has told a person (:data:`redistill.errors.NOTE`) since this was asked last."""
        try:
            with open(self.log, "rb") as file:
                file.seek(self.heard)
                new, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self.heard += len(new + newline)
        return [line.removeprefix(NOTE) for line in new.decode(errors="replace").splitlines() if line.startswith(NOTE)]

    def last_line(self) -> str:
        """The last line that the process has written."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(self.log_start, self.log.stat().st_size - 2000))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def threads_each(jobs: int) -> int:
    """The cores of this machine that this process may use, shared out among ``jobs`` processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def end_with_parent() -> None:
    """For a process that a :class:`Pool` started: ask itself to stop (SIGTERM) as soon as the parent is gone."""
    if (given := os.environ.pop(LIFELINE, "")).isdigit():
        handle = int(given)

        def wait() -> None:
            try:
                os.set_inheritable(handle, False)
                while os.read(handle, 1):
                    pass
            except OSError:
                return  # no such pipe: it was not meant for this process
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, daemon=True, name="lifeline").start()


class Pool:
    """Works through tasks, ``jobs`` at a time: ``for changed in pool: ...`` looks again and again until all is over.

    Args:
        tasks: in the order in which they should start. environment: of the processes.
        there: whether what a task makes is there, whatever became of its process (somebody else may have made it).
        note: takes what the processes tell a person, line by line.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        jobs: int,
        environment: Mapping[str, str] | None = None,
        there: Callable[[Task], bool] = lambda task: False,
        note: Callable[[str], None] = lambda text: None,
    ):
        self.there = there
        self.note = note
        self.tasks = list(tasks)
        self.jobs = jobs
        self.environment = dict(os.environ if environment is None else environment)
        self._by_name = {task.name: task for task in self.tasks}
        self._stopping = False
        self._asked: set[int] = set()  # signals that stop() has sent

    def running(self) -> list[Task]:
        return [task for task in self.tasks if task.state == "runs"]

    def __iter__(self) -> Iterator[list[Task]]:
        """Yields the tasks whose state has just changed, every tenth of a second."""
        ours, held = os.pipe()  # ``held`` is closed when this process ends, and then a read of ``ours`` ends
        try:
            while True:
                for task in self.running():
                    self._hear(task)
                changed = self._settle() + self._block() + self._begin(ours)
                yield changed
                if not self.running() and (self._stopping or all(task.state != "waits" for task in self.tasks)):
                    return
                time.sleep(POLL)
        finally:
            os.close(held)
            os.close(ours)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Start nothing more, and ask what runs to stop."""
        self._stopping = True
        self._asked |= {number, signal.SIGTERM}
        for task in self.running():
            assert task.process is not None
            task.process.send_signal(number)

    def _hear(self, task: Task) -> None:
        for text in task.notes():
            self.note(text)

    def _begin(self, lifeline: int) -> list[Task]:
        begun = []
        for task in self.tasks:
            if self._stopping or len(self.running()) >= self.jobs:
                break
            if task.state != "waits" or any(self._by_name[name].state != "done" for name in task.needs):
                continue
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with open(task.log, "ab") as log:
                task.log_start = task.heard = log.tell()
                # a session of its own: Ctrl-C reaches it through stop(), once
                task.process = subprocess.Popen(
                    list(task.command), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                    env={**self.environment, LIFELINE: str(lifeline)}, pass_fds=(lifeline,),
                )  # fmt: skip
            task.state, task.started = "runs", time.monotonic()
            begun.append(task)
        return begun

    def _settle(self) -> list[Task]:
        ended = []
        for task in self.running():
            assert task.process is not None
            status = task.process.poll()
            if status is None:
                continue
            task.ended = time.monotonic()
            self._hear(task)
            if status == 0 or self.there(task):
                task.state = "done"
                with contextlib.suppress(OSError):
                    task.log.unlink(missing_ok=True)
            elif status < 0 and self._stopping and -status in self._asked:
                task.state, task.why = "stopped", "stopped before it had begun"
            elif status in task.again:
                task.state, task.why = "stopped", task.last_line()
            elif status < 0:
                task.state, task.why = "failed", f"ended by {signal.Signals(-status).name} (its output: {task.log})"
            else:
                task.state, task.why = "failed", task.last_line() or f"ended with status {status}"
            ended.append(task)
        return ended

    def _block(self) -> list[Task]:
        """What needs something that failed has failed too."""
        blocked = []
        for task in self.tasks:
            lost = [name for name in sorted(task.needs) if self._by_name[name].state in ("failed", "stopped")]
            if task.state == "waits" and lost and self._by_name[lost[0]].state == "failed":
                task.state, task.why = "failed", f"needs {lost[0]}, which failed"
                blocked.append(task)
            elif task.state == "waits" and lost:
                task.state, task.why = "stopped", f"needs {lost[0]}, which was stopped"
                blocked.append(task)
        return blocked
