"""From experiments to runs: what must come first, what can share a cohort, and one cohort at work.

A :class:`Work` is an iterator over steps, like the loop that it drains. It writes a checkpoint every minute and when it is
asked to stop, and one record a student at the end. Every student has a checkpoint of its own, so a cohort that was
interrupted may go on as another cohort or alone: bit for bit the same either way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redistill.core import Keeper, Stream
from redistill.errors import RedistillError
from redistill.experiment import checkpoint, machine
from redistill.experiment.build import Materials
from redistill.experiment.files import Lock, canonical, make_folder, pretty, sweep, write
from redistill.experiment.stop import Interrupted, Stop
from redistill.experiment.store import FORMAT, LOCK, PENDING, Run, Store
from redistill.experiment.value import Experiment, identity
from redistill.fit import Loop, Progress, Result
from redistill.precision import resolve_device

Group = tuple[Experiment, ...]
State = dict[str, Any]


# ---------------------------------------------------------------------------------------------------------------------
# What comes first, and what goes together
# ---------------------------------------------------------------------------------------------------------------------
def shared_key(experiment: Experiment) -> str:
    """What students of one cohort have in common: teacher, source, recipe, evaluation and seed."""
    written = identity(experiment.written())
    key = {name: written.get(name) for name in ("teacher", "source", "recipe", "evaluate", "arithmetic", "seed")}
    if experiment.source.depends_on_student or experiment.recipe.teacher_mode == "train":
        key["alone"] = experiment.id
    return canonical(key)


def plan(experiments: Iterable[Experiment], *, cohort: bool = True) -> list[Group]:
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
    planned: list[Group] = []
    done: set[str] = set()
    waiting = [tuple(group) for group in groups.values()]
    while waiting:
        ready = next(g for g in waiting if all(n.id in done for one in g for n in one.needs()))
        waiting.remove(ready)
        planned.append(ready)
        done |= {one.id for one in ready}
    return planned


# ---------------------------------------------------------------------------------------------------------------------
# One cohort at work
# ---------------------------------------------------------------------------------------------------------------------
def split(state: State) -> list[State]:
    """The state of a cohort as one state a student."""
    return [{**state, "students": [student]} for student in state["students"]]


def join(states: Sequence[State]) -> State:
    """Inverse of :func:`split`, for states of the same step."""
    return {**states[0], "students": [state["students"][0] for state in states]}


@dataclass
class Saved:
    """What of one run can be gone on from: states by step, and what was found damaged."""

    states: dict[int, tuple[State, dict[str, Any]]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, experiment: Experiment) -> Saved:
        found = cls()
        for name in (checkpoint.NAME, checkpoint.PREVIOUS):
            if not (folder / name).exists():
                continue
            try:
                state, facts = checkpoint.load(folder / name)
            except RedistillError as error:
                found.damaged.append(str(error))
                continue
            if facts["id"] == experiment.id:
                found.states.setdefault(int(state["step"]), (state, facts))
            else:
                found.damaged.append(f"{folder / name} belongs to run {facts['id']}, not to {experiment.id}")
        return found


def common_step(saved: Sequence[Saved]) -> int:
    """The latest step from which all of them can go on; 0 is the beginning."""
    steps = set.intersection(*({0, *one.states} for one in saved))
    return max(steps)


class Work:
    """One cohort being trained: ``for progress in work: ...``; afterwards ``work.runs``. Enter it to hold its folders.

    Args:
        experiments: of one cohort (see :func:`plan`). store: where to. data_dir: where the data lie.
        stop: who may ask for a stop. device: which device of the type that stands in the experiments.
        every: seconds between checkpoints.
    """

    def __init__(
        self,
        experiments: Group,
        store: Store,
        data_dir: Path | None = None,
        *,
        stop: Stop | None = None,
        device: str = "auto",
        every: float = 60.0,
    ):
        self.experiments = experiments
        self.store, self.data_dir, self.every = store, data_dir, every
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

    @property
    def label(self) -> str:
        names = list(dict.fromkeys(one.label for one in self.experiments))
        return f"{' | '.join(names)} (seed {self.experiments[0].seed})"

    # -- folders ------------------------------------------------------------------------------------------------------
    def take(self) -> bool:
        """Take the locks of all folders, or none of them and say False."""
        for number, (folder, lock) in enumerate(zip(self.folders, self._locks, strict=True)):
            make_folder(folder)
            if not lock.take():
                for earlier in self._locks[:number]:
                    earlier.release()
                return False
        return True

    def release(self) -> None:
        for lock in self._locks:
            lock.release()

    # -- beginning ----------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Build everything and load the checkpoints, where there are any."""
        if self._loop is None:
            self._loop = self._made()

    def _made(self) -> Loop:
        for folder, one in zip(self.folders, self.experiments, strict=True):
            sweep(folder)
            pending = {"format": FORMAT, "label": one.label, "id": one.id, "experiment": one.written()}
            write(folder / PENDING, pretty(pending))
        saved = [Saved.of(folder, one) for folder, one in zip(self.folders, self.experiments, strict=True)]
        step = common_step(saved)
        for each in saved:
            self.notes += [f"{problem}; going on from step {step}" for problem in each.damaged]
        self.materials = Materials(self.experiments, self.store, self.data_dir)
        first = self.experiments[0]
        loop = Loop(
            self.materials.students,
            self.materials.teacher,
            self.materials.source,
            first.recipe,
            seed=first.seed,
            evaluate=self.materials.evaluate,
            every=first.evaluate.every,
            device=self.device,
        )
        here = machine.hardware(self.device)
        self._sessions = [[] for _ in saved]
        if step:
            picked = [one.states[step] for one in saved]
            loop.load_state(join([state for state, _ in picked]))
            self._sessions = [list(facts["sessions"]) for _, facts in picked]
            if other := differing(self._sessions[0][-1]["hardware"], here):
                self.notes.append(f"{self.folders[0]}: the checkpoint comes from {other}: the result may differ in its last bits")
        session = {"hardware": here, "from": loop.step, "to": loop.step, "started": now(), "memory": {}}
        for sessions in self._sessions:
            sessions.append(dict(session))
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
        if self.stop.why is not None and progress.step < progress.steps:
            self.save()
            self.stop.check(f"step {progress.step} of {progress.steps} of {self.label} is saved in {self.folders[0]}")
        if time.monotonic() - self._saved_at >= self.every:
            self.save()
        return progress

    def save(self) -> None:
        """Write a checkpoint a student."""
        loop = self._loop
        if loop is None or loop.step == self._saved_step:
            return
        self._close_session(loop)
        states = split(loop.state())
        for folder, one, state, sessions in zip(self.folders, self.experiments, states, self._sessions, strict=True):
            checkpoint.save(folder, state, {"id": one.id, "sessions": sessions})
        self._saved_at, self._saved_step = time.monotonic(), loop.step

    def _close_session(self, loop: Loop) -> None:
        memory = machine.peak_memory(self.device)
        for sessions in self._sessions:
            sessions[-1] |= {"to": loop.step, "memory": memory}

    # -- the end ------------------------------------------------------------------------------------------------------
    def _finish(self, loop: Loop) -> None:
        self._close_session(loop)
        shared = self.materials.facts(self.store)
        together = [one.id for one in self.experiments]
        for number, result in enumerate(loop.results()):
            one, folder = self.experiments[number], self.folders[number]
            weights = self.materials.weights(number, result)
            record = {
                **record_of(one, result),
                **shared,
                **self.materials.own_facts(number, result),
                "cohort": together,
                "time": times(result, self.device.type),
                "sessions": self._sessions[number],
                "exact": exactness(self._sessions[number]),
                "versions": machine.versions(),
                "git": machine.git(),
                "finished": now(),
            }
            more = kept_by(loop.stream, one)
            self.runs.append(self.store.finish(folder, record, curves_of(result), weights, more))
            checkpoint.remove(folder)
            (folder / PENDING).unlink(missing_ok=True)


def kept_by(stream: Stream, one: Experiment) -> dict[str, bytes]:
    """Files of what the stream wants kept beside the weights."""
    if not isinstance(stream, Keeper):
        return {}
    metadata = {"redistill": "kept", "run": one.id}
    return {f"{name}.safetensors": checkpoint.pack(tensors, metadata) for name, tensors in stream.keepsakes().items()}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def differing(before: dict[str, Any], here: dict[str, Any]) -> str | None:
    """In what two machines differ, in words, or None where bit-identity is promised."""
    keys = [key for key in here if key != "cores" and before.get(key) != here[key]]
    return ", ".join(f"{key} {before.get(key)} (here {here[key]})" for key in keys) or None


def exactness(sessions: list[dict[str, Any]]) -> str:
    """Whether the run is promised to be bit-identical to an uninterrupted one on its machine, and if not, why."""
    others = [other for one in sessions[1:] if (other := differing(sessions[0]["hardware"], one["hardware"]))]
    return f"no: continued on another machine: {others[0]}" if others else "yes"


def times(result: Result, device: str) -> dict[str, float | None]:
    """Seconds: ``wall`` and ``cpu`` of the cohort's steps and evaluations, ``own`` wall time of this student's steps.

    ``device`` is the wall time during which an accelerator was in use (every step is on it), None on a CPU.
    """
    return {
        "wall": result.seconds,
        "cpu": result.cpu_seconds,
        "device": None if device == "cpu" else result.seconds,
        "own": result.own_seconds,
    }


def record_of(one: Experiment, result: Result) -> dict[str, Any]:
    """What was asked and what came out, each accuracy named for what it is."""
    accuracy = {}
    for name, found in result.accuracy.items():
        accuracy[name] = {
            "data": one.evaluate.sets.get(name, "the held-out part of the training images"),
            "last": found.last,
            "best": found.best,
            "best_step": found.best_step,
            "best_is": f"the highest of {len(found.curve)} evaluations, chosen on this set itself",
        }
    return {
        "format": FORMAT,
        "id": one.id,
        "cell": one.cell,
        "seed": one.seed,
        "name": one.name,
        "label": one.label,
        "experiment": one.written(),
        "accuracy": accuracy,
        "diverged": result.diverged,
        "steps": result.steps,
    }


def curves_of(result: Result) -> dict[str, Any]:
    """``accuracy``: (step, percent) by set; ``losses``: mean of each epoch by term; ``rates``: first of each epoch;

    ``source``: (step, numbers of the source's own); ``gradient_norms``: mean of each epoch before clipping, if it clips.
    """
    return {
        "accuracy": {name: [list(point) for point in found.curve] for name, found in result.accuracy.items()},
        "losses": {name: list(values) for name, values in result.losses.items()},
        "rates": list(result.rates),
        "source": [[step, numbers] for step, numbers in result.source_log],
        "gradient_norms": list(result.gradient_norms),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Everything that was asked for
# ---------------------------------------------------------------------------------------------------------------------
@dataclass
class Queue:
    """Works through a plan: what is there is read, what another process has in hand is left to it.

    ``for work in queue: ...`` gives one :class:`Work` after the other, its folders held, to be drained by the caller; a
    work whose training fails may be left, then what needs it is not run and stands in ``blocked``.

    Attributes:
        found: runs that were there already. blocked: a sentence for each experiment that could not begin.
    """

    groups: list[Group]
    store: Store
    data_dir: Path | None = None
    stop: Stop = field(default_factory=Stop)
    device: str = "auto"
    every: float = 60.0
    wait: bool = True
    found: list[Run] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    waiting_for: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Work]:
        pending = list(self.groups)
        given_up: set[str] = set()
        while pending:
            self.stop.check(f"{sum(map(len, pending))} runs are left")
            busy: list[Group] = []
            progressed = False
            for group in pending:
                open_ones = self._open(group, given_up)
                if not open_ones:
                    progressed = True
                    continue
                if any(self.store.find(n) is None and n.id not in given_up for one in open_ones for n in one.needs()):
                    busy.append(open_ones)  # another process makes what this one needs
                    continue
                work = Work(open_ones, self.store, self.data_dir, stop=self.stop, device=self.device, every=self.every)
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
                self.waiting_for = names
                time.sleep(0.5)

    def _open(self, group: Group, given_up: set[str]) -> Group:
        """What of a group is still to be trained and can be."""
        left = []
        for one in group:
            run = self.store.find(one)
            if run is not None:
                if all(run.id != known.id for known in self.found):
                    self.found.append(run)
                continue
            failed = [n for n in one.needs() if n.id in given_up or n.id in self.blocked or self._diverged(n)]
            if failed:
                self.blocked[one.id] = f"{one.label} (seed {one.seed}) needs {self.store.folder(failed[0])}, which failed"
                continue
            if one.id not in self.blocked:
                left.append(one)
        return tuple(left)

    def _diverged(self, one: Experiment) -> bool:
        run = self.store.find(one)
        return run is not None and run.diverged is not None


def run_one(experiment: Experiment, store: Store, data_dir: str | Path | None = None) -> Run:
    """Train what is missing for one experiment, then itself; or just read it."""
    queue = Queue(plan([experiment]), store, Path(data_dir) if data_dir is not None else None)
    for work in queue:
        for _ in work:
            pass
    run = store.find(experiment)
    if run is None:
        raise RedistillError(next(iter(queue.blocked.values())))
    return run


__all__ = ["Interrupted", "Queue", "Work", "plan", "run_one"]
