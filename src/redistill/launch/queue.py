"""From experiments to runs: what must come first, what can share a cohort, and working through all of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from redistill.errors import RedistillError, counted
from redistill.experiment.value import Experiment
from redistill.files import canonical, held
from redistill.identity import identity
from redistill.launch.cohort import Cohort, CohortRun
from redistill.launch.saved import saved_step, tidy
from redistill.launch.stop import Stop
from redistill.runs.store import Run, Store
from redistill.sealed import LOCK


def shared_key(experiment: Experiment) -> str:
    """What students of one cohort have in common: teacher, source, recipe, evaluation and seed."""
    written = identity(experiment.written())
    key = {name: written.get(name) for name in ("teacher", "source", "recipe", "evaluate", "arithmetic", "seed")}
    if experiment.source.depends_on_student or experiment.recipe.teacher_mode == "train":
        key["alone"] = experiment.id
    return canonical(key)


def plan(experiments: Iterable[Experiment], *, cohort: bool = True) -> list[Cohort]:
    """Every experiment and all that it needs, each once, in an order that works; cohort by cohort, seed by seed.

    Args:
        cohort: put experiments that share teacher, source, recipe, evaluation and seed into one cohort.
    """
    depth: dict[str, int] = {}
    seen: dict[str, Experiment] = {}

    def visit(one: Experiment) -> int:
        if one.id not in depth:
            depth[one.id] = 1 + max((visit(before) for before in one.needs()), default=-1)
            seen[one.id] = one
        return depth[one.id]

    for one in experiments:
        visit(one)
    groups: dict[tuple[int, str], list[Experiment]] = {}
    for one in seen.values():
        groups.setdefault((depth[one.id], shared_key(one) if cohort else one.id), []).append(one)
    # what came first in the command comes first, as far as the chain allows
    planned: list[Cohort] = []
    done: set[str] = set()
    waiting = [tuple(group) for group in groups.values()]
    while waiting:
        ready = next(g for g in waiting if all(n.id in done for one in g for n in one.needs()))
        waiting.remove(ready)
        planned.append(ready)
        done |= {one.id for one in ready}
    return planned


@dataclass
class Queue:
    """Works through a plan: what is there is read, what another process has in hand is left to it.

    ``for work in queue: ...`` gives one :class:`CohortRun` after the other, its folders held, to be drained by the caller; a
    work whose training fails may be left, then what needs it is not run and stands in ``blocked``.

    Attributes:
        found: runs that were there already. blocked: a sentence for each experiment that could not begin.
        cache: what teachers say is remembered between runs. track: trackers that hear the runs' numbers.
        note: told once which folders are waited for while there is nothing else to do; standard error, unless said otherwise.
    """

    groups: list[Cohort]
    store: Store
    data_dir: Path | None = None
    stop: Stop = field(default_factory=Stop)
    device: str = "auto"
    every: float = 60.0
    wait: bool = True
    cache: bool = True
    threads: int | None = None
    track: tuple[str, ...] = ()
    found: list[Run] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    note: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)

    def __iter__(self) -> Iterator[CohortRun]:
        pending = list(self.groups)
        announced = False
        given_up: set[str] = set()
        while pending:
            if self.stop.why is not None and (left := sum(self.missing(one) for group in pending for one in group)):
                self.stop.check(f"{counted(left, 'run')} {'is' if left == 1 else 'are'} left")
            busy: list[Cohort] = []
            progressed = False
            for group in pending:
                open_ones = self._open(group, given_up)
                if not open_ones:
                    progressed = True
                    continue
                if all(held(self.store.folder(one) / LOCK) for one in open_ones):
                    busy.append(open_ones)  # not even looked into: who waits reads no checkpoints twice a second
                    continue
                open_ones, *others = self._by_saved_step(open_ones)
                busy += others
                if any(self._find(n) is None and n.id not in given_up for one in open_ones for n in one.needs()):
                    busy.append(open_ones)  # another process makes what this one needs
                    continue
                work = CohortRun(
                    open_ones, self.store, self.data_dir, stop=self.stop, device=self.device, every=self.every, cache=self.cache,
                    threads=self.threads, track=self.track,
                )  # fmt: skip
                if not work.take():
                    busy.append(open_ones)
                    continue
                progressed = True
                try:
                    # the other process may have finished between our look and our lock
                    if all(self.store.find(one) is None for one in open_ones):
                        yield work
                        given_up |= {one.id for one in open_ones if self.store.find(one) is None}
                    else:
                        busy.append(open_ones)
                finally:
                    work.release()
            pending = busy
            if pending and not progressed:
                names = [str(self.store.folder(one)) for group in pending for one in group]
                if not self.wait:
                    self.blocked |= {one.id: f"{self.store.folder(one)} is held by another process" for g in pending for one in g}
                    return
                if not announced:
                    self.note(f"waiting for another process, which holds {', '.join(names)}")
                    announced = True
                time.sleep(0.5)

    def missing(self, one: Experiment) -> bool:
        """Whether its run is still to be made."""
        return self._find(one) is None

    def open(self, group: Cohort) -> Cohort:
        """What of a group is still to be trained and can be."""
        return self._open(group, set())

    def _open(self, group: Cohort, given_up: set[str]) -> Cohort:
        left = []
        for one in group:
            run = self._find(one)
            if run is not None:
                if all(run.id != known.id for known in self.found):
                    self.found.append(run)
                    tidy(run.folder)
                continue
            failed = [n for n in one.needs() if self._diverged(n) or n.id in given_up or n.id in self.blocked]
            if failed:
                self.blocked[one.id] = f"{one.label} (seed {one.seed}) needs {self.store.folder(failed[0])}, which failed"
                continue
            if one.id not in self.blocked:
                left.append(one)
        return tuple(left)

    def _by_saved_step(self, group: Cohort) -> list[Cohort]:
        """A group once more in groups: who has saved another step goes on from there, apart. The bits are the same."""
        if len(group) == 1:
            return [group]
        found: dict[int | str, list[Experiment]] = {}
        for one in group:
            found.setdefault(saved_step(self.store.folder(one), one), []).append(one)
        return [tuple(ones) for ones in found.values()]

    def _find(self, one: Experiment) -> Run | None:
        """Its run; a record that cannot be used stands in ``blocked``, and stops nothing else."""
        try:
            return self.store.find(one)
        except RedistillError as error:
            self.blocked[one.id] = str(error)
            return None

    def _diverged(self, one: Experiment) -> bool:
        run = self._find(one)
        return run is not None and run.diverged is not None


def run_one(experiment: Experiment, store: Store | str | Path, data_dir: str | Path | None = None) -> Run:
    """Train what is missing for one experiment, then itself; or just read it."""
    store = store if isinstance(store, Store) else Store(store)
    queue = Queue(plan([experiment]), store, Path(data_dir) if data_dir is not None else None)
    for work in queue:
        for _ in work:
            pass
    run = store.find(experiment)
    if run is None:
        raise RedistillError(next(iter(queue.blocked.values())))
    return run
