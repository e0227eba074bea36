"""One cohort at work.

A :class:`CohortRun` is an iterator over steps, like the loop that it drains. It writes a checkpoint every minute and when it is
asked to stop, and one record a student at the end. Every student has a checkpoint of its own, so a cohort that was
interrupted may go on as another cohort or alone: bit for bit the same either way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from redistill import machine
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import Lock, make_folder, pretty, sweep, there, write
from redistill.launch.best import Watch, chosen_on
from redistill.launch.materials import BuiltObjects
from redistill.launch.saved import Saved, common_step, join, split
from redistill.launch.stop import Stop
from redistill.launch.threads import wanted
from redistill.launch.trackers import Tracked
from redistill.launch.tracking import Tracking, warned
from redistill.precision import resolve_device
from redistill.runs import checkpoint
from redistill.runs.record import curves_of, differing, exactness, kept_by, learned_otherwise, now, record_of, times
from redistill.runs.store import Run, Store
from redistill.sealed import BEST, CURVES, LOCK, PENDING
from redistill.train.loop import Loop
from redistill.train.result import Progress

Cohort = tuple[Experiment, ...]
OFTEN = 2.0  # seconds between two writings of curves without an evaluation


def group_label(experiments: Sequence[Experiment]) -> str:
    """One name for a cohort in progress lines: the first two, and how many more."""
    names = list(dict.fromkeys(one.label for one in experiments))
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{' | '.join(names[:2])}{more} (seed {experiments[0].seed})"


class CohortRun:
    """One cohort being trained: ``for progress in work: ...``; afterwards ``work.runs``. Enter it to hold its folders.

    Args:
        experiments: of one cohort (see :func:`plan`). store: where to. data_dir: where the data lie.
        stop: who may ask for a stop. device: which device of the type that stands in the experiments.
        every: seconds between checkpoints. threads: said by somebody; None: chosen for the size of a step.
        cache: what the teacher says is looked up and remembered
            (:mod:`redistill.train.remembered`); the sessions of a record say how much of it.
        track: names of trackers that hear its numbers while it runs (:mod:`redistill.launch.tracking`).
    """

    def __init__(
        self,
        experiments: Cohort,
        store: Store,
        data_dir: Path | None = None,
        *,
        stop: Stop | None = None,
        device: str = "auto",
        every: float = 60.0,
        cache: bool = True,
        threads: int | None = None,
        track: Sequence[str] = (),
    ):
        self.warn: Callable[[str], None] = warned  # who hears that a tracker does not work
        self._track = tuple(track)
        self._tracking: Tracking | None = None
        self.say: Callable[[str], None] = lambda text: None  # who hears what it is doing now
        self._threads, self._threads_before = threads, torch.get_num_threads()
        self._points = self._epochs = 0  # of all curves, when they were last written
        self._curves_at = time.monotonic()
        self.experiments = experiments
        self.store, self.data_dir, self.every, self.cache = store, data_dir, every, cache
        self.stop = stop if stop is not None else Stop()
        self.folders = [store.folder(one) for one in experiments]
        self.runs: list[Run] = []
        self.notes: list[str] = []  # what a person should know: damaged checkpoints, another machine
        self.step = self.steps = 0
        kind = experiments[0].arithmetic.device
        self.device = resolve_device(kind if device == "auto" else device)
        if self.device.type != kind:
            raise RedistillError(f"this experiment was resolved for device {kind!r}, not {self.device.type!r}: load it anew")
        self._locks = [Lock(folder / LOCK) for folder in self.folders]
        self._loop: Loop | None = None
        self._sessions: list[list[dict[str, Any]]] = []
        self._code: dict[str, Any] = {}

    @property
    def label(self) -> str:
        return group_label(self.experiments)

    # -- folders ------------------------------------------------------------------------------------------------------
    def take(self) -> bool:
        """Take the locks of all folders, or none of them and say False."""
        taken = False
        try:
            taken = all(self._taken(folder, lock) for folder, lock in zip(self.folders, self._locks, strict=True))
        finally:
            if not taken:  # one is held, or cannot be made: the others are free again
                for lock in self._locks:
                    lock.release()
        return taken

    def _taken(self, folder: Path, lock: Lock) -> bool:
        make_folder(folder)
        taken = lock.take()
        if lock.missing and lock.missing not in self.notes:
            self.notes.append(lock.missing)
        return taken

    def release(self) -> None:
        if self._tracking is not None:
            self._tracking.close()
            self._tracking = None
        if torch.get_num_threads() != self._threads_before:
            torch.set_num_threads(self._threads_before)
        for lock in self._locks:
            lock.release()

    @property
    def loop(self) -> Loop | None:
        """What it drains, once it has begun."""
        return self._loop

    # -- beginning ----------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Build everything and load the checkpoints, where there are any."""
        if self._loop is None:
            self._loop = self._made()
            if self._track:
                runs = [
                    Tracked(f"{one.label}, seed {one.seed}", one.id, folder, one.written())
                    for one, folder in zip(self.experiments, self.folders, strict=True)
                ]
                self._tracking = Tracking(self._track, runs, lambda text: self.warn(text))

    def _made(self) -> Loop:
        machine.forget_peak(self.device)
        for folder, one in zip(self.folders, self.experiments, strict=True):
            sweep(folder)
            self.store.begin(one)
        saved = [Saved.of(folder, one) for folder, one in zip(self.folders, self.experiments, strict=True)]
        step = common_step(saved)
        for each, folder in zip(saved, self.folders, strict=True):
            for path, problem in each.damaged.items():
                kept = checkpoint.aside(path, "damaged")
                self.notes.append(f"{problem}; it is kept as {kept.name}; going on from step {step}")
            if each.step > step:  # somebody else saved more since the cohort was made: not thrown away
                for path in (folder / checkpoint.NAME, folder / checkpoint.PREVIOUS):
                    if there(path):
                        kept = checkpoint.aside(path, f"step-{each.step}")
                        self.notes.append(f"{path} is kept as {kept.name}: its cohort goes on from step {step}")
        self.materials = BuiltObjects(self.experiments, self.store, self.data_dir, cache=self.cache, resumed=step > 0)
        first = self.experiments[0]
        if self._threads is None:
            nets = [net for net, _ in self.materials.students] + ([self.materials.teacher] if self.materials.teacher is not None else [])
            few = wanted(nets, tuple(self.materials.source.image_shape), first.recipe.batch_size, self.device)
            if few != torch.get_num_threads():
                torch.set_num_threads(few)
        loop = Loop(
            self.materials.students,
            self.materials.teacher,
            self.materials.source,
            first.recipe,
            seed=first.seed,
            evaluate=self.materials.evaluate,
            every=first.evaluate.every,
            device=self.device,
            cache=self.cache,
        )
        # now, because a checkout may move on while this code runs
        self._code = {"versions": machine.versions(), "git": machine.git()}
        here = machine.hardware(self.device)
        self._sessions = [[] for _ in saved]
        self._watches = [self._watch(one, loop.steps) for one in self.experiments]
        if step:
            picked = [one.states[step] for one in saved]
            with checkpoint.fitting(self.folders[0] / checkpoint.NAME):
                loop.load_state(join([state for state, _ in picked]))
                for watch, (state, _), student in zip(self._watches, picked, loop.students, strict=True):
                    watch.load_state(state.get("best", {}), student)
            self._sessions = [list(facts["sessions"]) for _, facts in picked]
            if other := differing(self._sessions[0][-1]["hardware"], here):
                self.notes.append(f"{self.folders[0]}: the checkpoint comes from {other}: the result may differ in its last bits")
        session = {"hardware": here, "from": loop.step, "to": loop.step, "started": now(), "memory": {}}
        for number, (sessions, folder) in enumerate(zip(self._sessions, self.folders, strict=True)):
            begun = {**session, **self.materials.origins(number)}
            if sessions and (role := learned_otherwise(sessions[-1], begun)):
                self.notes.append(
                    f"{folder}: its {role} has been trained again since step {step} was saved, to other weights: its record will say that "
                    f"it is not exact. Delete the checkpoints there to begin it again"
                )
            sessions.append(begun)
        self.step, self.steps = loop.step, loop.steps
        self._saved_at, self._saved_step = time.monotonic(), loop.step
        return loop

    # -- stepping -----------------------------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        self.begin()
        loop = self._loop
        assert loop is not None
        try:
            progress = next(loop)
        except StopIteration:
            if not self.runs:
                self._finish(loop)
            raise
        self.step = progress.step
        for watch, student in zip(self._watches, loop.students, strict=True):
            watch.look(student)
        self._write_curves(loop)
        if self._tracking is not None:
            self._tracking.look(loop)
        if self.stop.why is not None and progress.step < progress.steps:
            self.save()
            self.stop.check(f"step {progress.step} of {progress.steps} of {self.label} is saved in {self.folders[0]}")
        if time.monotonic() - self._saved_at >= self.every:
            self.save()
        return progress

    def _write_curves(self, loop: Loop) -> None:
        """Curves as they come, at every evaluation, and between them at the end of epochs that are not too short; a disk that is full
        says so at the next checkpoint."""
        points = sum(len(curve) for student in loop.students for curve in student.curves.values())
        epochs = sum(len(student.losses) for student in loop.students)
        soon = points == self._points and (epochs == self._epochs or time.monotonic() - self._curves_at < OFTEN)
        if soon or loop.step == loop.steps:
            return
        self._points, self._epochs, self._curves_at = points, epochs, time.monotonic()
        for folder, result in zip(self.folders, loop.results(), strict=True):
            with contextlib.suppress(RedistillError):
                write(folder / CURVES, pretty(curves_of(result)))

    def save(self) -> None:
        """Write a checkpoint a student."""
        loop = self._loop
        if loop is None or loop.step == self._saved_step:
            return
        self._close_session(loop)
        states = [{**state, "best": watch.state()} for state, watch in zip(split(loop.state()), self._watches, strict=True)]
        for folder, one, state, sessions in zip(self.folders, self.experiments, states, self._sessions, strict=True):
            checkpoint.save(folder, state, {"id": one.id, "sessions": sessions})
        self._saved_at, self._saved_step = time.monotonic(), loop.step

    def _watch(self, one: Experiment, steps: int) -> Watch:
        # where the recipe itself says which network is kept there is no second one
        named = one.recipe.ema is None and one.recipe.patience is None
        return Watch(chosen_on(self.materials.evaluate) if named else None, one.evaluate.first_step(steps))

    def _close_session(self, loop: Loop) -> None:
        memory = machine.peak_memory(self.device)
        for sessions in self._sessions:
            sessions[-1] |= {"to": loop.step, "memory": memory}
            if loop.teacher is not None:
                sessions[-1]["teacher_answers"] = loop.teacher.answered.written() if self.cache else {"off": "--no-cache"}

    # -- the end ------------------------------------------------------------------------------------------------------
    def _finish(self, loop: Loop) -> None:
        self._close_session(loop)
        shared = self.materials.facts(self.store, self.say, self.device)
        together = [one.id for one in self.experiments]
        for number, result in enumerate(loop.results()):
            one, folder = self.experiments[number], self.folders[number]
            weights = self.materials.weights(number, result)
            record = record_of(one, result, loop.steps)
            best = self._watches[number].best
            # a checkpoint of an earlier version held no best network: better none than a later one
            known = best is not None and record["accuracy"][best.name]["best_step"] == best.step
            last = best is not None and best.step == result.steps
            record = {
                **record,
                **shared,
                **self.materials.own_facts(number, result),
                "cohort": together,
                "time": times(result, self.device.type),
                "sessions": self._sessions[number],
                "exact": exactness(self._sessions[number]),
                **self._code,
                "finished": now(),
                "best_network": None if not known else "last" if last else BEST,
            }
            more = kept_by(loop.stream, one) | self.materials.code[number] | self.materials.learned(number, result)
            if best is not None and known and not last:
                more[BEST] = self.materials.best_weights(number, best)
            self.runs.append(self.store.finish(folder, record, curves_of(result), weights, more))
            checkpoint.remove(folder)
            with contextlib.suppress(OSError):  # the run is there: what is left beside it harms nobody
                (folder / PENDING).unlink(missing_ok=True)
