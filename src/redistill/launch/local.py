"""Runs side by side on this machine: a process for each run or cohort of a plan."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from redistill.errors import RedistillError
from redistill.launch.cohort import Cohort, group_label
from redistill.launch.jobs import Pool, Task, threads_each
from redistill.launch.named_code import names, refusal, whole
from redistill.launch.progress import gist
from redistill.launch.queue import Queue
from redistill.launch.stop import Interrupted
from redistill.launch.threads import SHARE, word


class Tasks(Protocol):
    """Shows processes while they work."""

    def show(self, changed: Sequence[Task]) -> None: ...


def shared_out(groups: Sequence[Cohort], jobs: int) -> list[Cohort]:
    """A plan's cohorts for ``jobs`` processes: the last of those that may begin together are cut where processes would stand idle.

    Three cohorts of six in two processes are two of six and two of three, which end at the same time. Each part asks the teacher
    for itself, processor time for time on the wall; a student has the same bits in it as in the whole. On an accelerator, which
    all processes share, nothing is cut.
    """
    stage_of: dict[str, int] = {}
    stages: dict[int, list[Cohort]] = {}
    for group in groups:
        stage = 1 + max((stage_of.get(n.id, -1) for one in group for n in one.needs()), default=-1)
        stage_of |= dict.fromkeys((one.id for one in group), stage)
        stages.setdefault(stage, []).append(group)
    cut: dict[str, int] = {}  # how many parts, by the first experiment of a cohort
    for together in stages.values():
        if over := len(together) % jobs:
            cut |= {group[0].id: jobs // over for group in together[-over:] if group[0].arithmetic.device == "cpu"}
    parts = []
    for group in groups:
        count = min(cut.get(group[0].id, 1), len(group))
        parts += [group[i::count] for i in range(count)]  # dealt out like cards: neighbours in a file often cost alike
    return parts


def tasks_of(queue: Queue, threads: int | None, jobs: int = 1) -> dict[str, tuple[Task, Cohort]]:
    """One task a group of the plan, shared out among ``jobs``, by its name; what is there already, or may not run, is left out.

    threads: said by somebody; None: each process chooses for the size of its steps."""
    tasks: dict[str, tuple[Task, Cohort]] = {}
    home: dict[str, str] = {}  # which task makes an experiment
    for left in shared_out([open_ones for group in queue.groups if (open_ones := queue.open(group))], jobs):
        # the folder and not the file in it: whoever finishes the run first puts a record in place of the pending experiment
        folders = [str(queue.store.begin(one)) for one in left]
        # -P: nothing is imported from the folder in which the command was given
        words = [sys.executable, "-P", "-m", "redistill", "run", *folders, "--runs", str(queue.store.root), "--device", queue.device]
        words += ["--checkpoint-every", str(queue.every), *([] if threads is None else ["--threads", str(threads)])]
        if queue.data_dir is not None:
            words += ["--data-dir", str(queue.data_dir)]
        if not queue.wait:
            words.append("--no-wait")
        if not queue.cache:
            words.append("--no-cache")
        if queue.track:
            words += ["--track", ",".join(queue.track)]
        every = [each for one in left for each in whole(one)]  # a teacher that is there already is code too
        if any(True for one in every for _ in names(one)) and all(refusal(one) is None for one in every):
            words.append("--trust-code")  # this process was told so, by a file of the user's or by the same word
        title = f"{group_label(left)} {left[0].folder}"
        needs = frozenset(home[n.id] for one in left for n in one.needs() if n.id in home)
        tasks[title] = Task(title, words, queue.store.folder(left[0]) / "log.txt", needs), left
        home |= {one.id: title for one in left}
    return tasks


def environment(threads: int) -> dict[str, str]:
    """Of a worker: this process's own search path, less the current folder, and the threads it may use."""
    ours = str(Path(__file__).resolve().parents[2])
    path = [entry for entry in dict.fromkeys([*sys.path, ours]) if entry and os.pathsep not in entry]
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(path)}


def side_by_side(
    queue: Queue, jobs: int, threads: int | None, display: Callable[[Sequence[Task]], AbstractContextManager[Tasks]]
) -> list[str]:
    """Run the plan in processes; returns a sentence for each task that did not end well.

    Args:
        display: opens a table of the tasks.

    Raises:
        Interrupted: a signal or the time budget stopped all of them; every one has saved a checkpoint.
    """
    said = threads if threads is not None else word()
    planned = tasks_of(queue, said, jobs)
    around = environment(said) if said is not None else {**environment(threads_each(jobs)), SHARE: "1"}
    tasks = [task for task, _ in planned.values()]

    def there(task: Task) -> bool:
        """All runs of a task are in the store and none has diverged, whoever put them there."""
        try:
            runs = [queue.store.find(one) for one in planned[task.name][1]]
        except RedistillError:
            return False
        return all(run is not None and run.diverged is None for run in runs)

    told: set[object] = set()

    def note(text: str) -> None:
        if (known := gist(text)) not in told:  # every process says it, and a person needs it once
            told.add(known)
            queue.note(text)

    pool = Pool(tasks, jobs, around, there, note)
    asked = False
    with display(tasks) as table:
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
