"""Experiments in, runs out: the launcher of the command line, of notebooks and of everything else that wants runs.

It prints nothing: what there is to tell goes to a :class:`Display` that is handed in, what came of it is the :class:`Outcome`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from redistill.answers.folder import limit
from redistill.errors import RedistillError, sentence
from redistill.experiment.value import Experiment
from redistill.files import there
from redistill.launch.cohort import CohortRun
from redistill.launch.jobs import Task
from redistill.launch.local import Tasks, side_by_side
from redistill.launch.named_code import refusal, vouch, whole
from redistill.launch.queue import Queue, plan
from redistill.launch.stop import Interrupted, Stop
from redistill.runs.store import RECORD, Run, Store


@dataclass(frozen=True)
class Resources:
    """With what runs are made.

    Attributes:
        data_dir: folder of the data sets. device: auto, cpu, cuda ... threads: of one process; None: chosen by the work of a step.
        budget: seconds after which a checkpoint is saved and the work is left; None: no limit.
        jobs: processes side by side. cohort: students that share a stream are trained together.
        wait: for runs that another process has in hand. every: seconds between checkpoints.
        cache: what teachers say is remembered between runs; no bit changes by it.
        trust_code: code of one's own that records and paper files name may be run.
        track: names of trackers (:data:`redistill.launch.trackers.PACKAGES`) that hear every run's numbers at the end of its epochs.
        debug: an error that is no sentence of ours is raised where it happened.
    """

    data_dir: Path | None = None
    device: str = "auto"
    threads: int | None = None
    budget: float | None = None
    jobs: int = 1
    cohort: bool = True
    wait: bool = True
    every: float = 60.0
    cache: bool = True
    trust_code: bool = False
    debug: bool = False
    track: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        runs: of the experiments that were wanted, in their order. found: ids of those that were there already.
        problems: a sentence for each thing that went wrong. status: 0, or the exit status that a command should end with.
        known: those of the problems that are no news: runs that were there already and had diverged.
    """

    runs: list[Run]
    found: frozenset[str]
    problems: list[str]
    status: int
    known: frozenset[str] = frozenset()

    def news(self) -> Outcome:
        """The same for whoever asks for a verdict, in which a run that diverged long ago counts as a fact: what went wrong this time."""
        problems = [problem for problem in self.problems if problem not in self.known]
        return replace(self, problems=problems, known=frozenset(), status=self.status if self.status > 1 else int(bool(problems)))


class Display(Protocol):
    """Who shows what is going on."""

    def note(self, text: str) -> None:
        """A sentence that a person should know: a damaged checkpoint, a folder that another process holds."""

    def drain(self, work: CohortRun) -> None:
        """Go through all steps of a work, showing how far it is: ``for _ in work: ...`` at least."""

    def tasks(self, tasks: Sequence[Task]) -> AbstractContextManager[Tasks]:
        """A table of processes, which is shown those that changed."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None:
        return None

    def drain(self, work: CohortRun) -> None:
        for _ in work:
            pass

    def tasks(self, tasks: Sequence[Task]) -> AbstractContextManager[Tasks]:
        return nullcontext(self)

    def show(self, changed: Sequence[Task]) -> None:
        return None


def carry_out(
    wanted: Sequence[Experiment], store: Store, resources: Resources | None = None, display: Display | None = None
) -> Outcome:
    """Run what is wanted and whatever it needs first; what is there already is only read.

    Signals and the budget stop it at the next step, with a checkpoint; the same call goes on from there.

    Raises:
        RedistillError: REDISTILL_CACHE_LIMIT is no size, before anything is trained.
    """
    given = resources if resources is not None else Resources()
    if given.cache:
        limit()
    shown = display if display is not None else Silent()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    status, problems = 0, []
    before = {one.id for one in wanted if there(store.folder(one) / RECORD)}
    listen = threading.current_thread() is threading.main_thread()  # signals go to no other
    with Stop(given.budget, listen=listen) as stop:
        groups = plan(wanted, cohort=given.cohort)
        queue = Queue(groups, store, given.data_dir, stop, given.device, given.every, given.wait, given.cache,
                      given.threads, given.track, note=shown.note)  # fmt: skip
        try:
            _require_words(queue, wanted, given.trust_code)
            if given.jobs > 1:
                problems += side_by_side(queue, given.jobs, given.threads, shown.tasks)
            else:
                problems += _one_by_one(queue, shown, given.debug)
        except Interrupted as error:
            status = error.status
            problems.append(str(error))
    problems += queue.blocked.values()
    runs = []
    for one in {one.id: one for one in wanted}.values():
        try:
            if (run := store.find(one)) is not None:
                runs.append(run)
        except RedistillError as error:
            if str(error) not in problems:
                problems.append(str(error))
    made = {run.id for run in runs}
    if not problems and (lost := [one for one in wanted if one.id not in made]):  # a process ended well and has made something else
        problems.append(f"{lost[0].label} (seed {lost[0].seed}) has no run in {store.folder(lost[0])}, although nothing failed")
    found = frozenset(before | {run.id for run in queue.found})
    diverged = {run.id: f"{run.label} (seed {run.seed}) diverged: {run.diverged}" for run in runs if run.diverged is not None}
    problems += diverged.values()
    known = frozenset(words for one, words in diverged.items() if one in found)
    return Outcome(runs, found, problems, status or int(bool(problems)), known)


def _require_words(queue: Queue, wanted: Sequence[Experiment], trusted: bool) -> None:
    """Code of one's own in what is still to run: run it on the user's word, or leave those experiments out with a sentence, and with
    them what nobody but they needs (their teachers would be trained for nothing)."""
    for one in (one for group in queue.groups for one in group):
        if trusted:
            vouch(one)
        elif (why := refusal(one)) is not None and queue.missing(one):
            queue.blocked[one.id] = why
    if queue.blocked:
        chains = [tuple(whole(one)) for one in wanted]
        useful = {one.id for chain in chains if not any(each.id in queue.blocked for each in chain) for one in chain}
        useful |= {one.id for one in wanted}
        queue.groups = [left for group in queue.groups if (left := tuple(one for one in group if one.id in useful))]


def _one_by_one(queue: Queue, display: Display, debug: bool) -> list[str]:
    """Work through the plan in this process; returns a sentence for each work that failed."""
    problems = []
    for work in queue:
        try:
            work.begin()
            for note in work.notes:
                display.note(note)
            display.drain(work)
        except Interrupted:
            raise
        except Exception as error:
            if debug and not isinstance(error, RedistillError):
                raise
            problems.append(f"{work.label}: {sentence(error)}")
    return problems
