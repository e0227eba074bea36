"""What of a run can be gone on from: the checkpoints in its folder, step by step, a student at a time.

Every student of a cohort has a checkpoint of its own (:func:`split`, :func:`join`), so that a cohort may go on as another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import Lock, sweep, there
from redistill.runs import checkpoint
from redistill.sealed import LOCK, PENDING

State = dict[str, Any]


def split(state: State) -> list[State]:
    """The state of a cohort as one state a student."""
    return [{**state, "students": [student]} for student in state["students"]]


def join(states: Sequence[State]) -> State:
    """Inverse of :func:`split`, for states of the same step."""
    return {**states[0], "students": [state["students"][0] for state in states]}


@dataclass
class Saved:
    """What of one run can be gone on from: states by step, and the files that were found damaged, each with a sentence."""

    states: dict[int, tuple[State, dict[str, Any]]] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, experiment: Experiment) -> Saved:
        """What is saved in a run's folder.

        Raises:
            Foreign: a checkpoint that this run must not write over.
        """
        found = cls()
        for name in (checkpoint.NAME, checkpoint.PREVIOUS):
            path = folder / name
            if not there(path):
                continue
            try:
                state, facts = checkpoint.load(path)
            except checkpoint.Foreign:
                raise
            except RedistillError as error:
                found.damaged[path] = str(error)
                continue
            if not {"id", "sessions"} <= facts.keys() or not facts["sessions"] or "step" not in state:
                found.damaged[path] = f"{path} is damaged: it does not say which run it is of, or which step"
                continue
            if facts["id"] != experiment.id:
                raise checkpoint.Foreign(
                    f"{path} belongs to run {facts['id']}, not to {experiment.id}: move it where it belongs, or delete it to "
                    f"begin this run"
                )
            found.states.setdefault(int(state["step"]), (state, facts))
        return found

    @property
    def step(self) -> int:
        """The latest step that is saved whole; 0 is the beginning."""
        return max(self.states, default=0)


def saved_step(folder: Path, experiment: Experiment) -> int | str:
    """From which step a run can go on; or why it cannot, and must be left alone."""
    try:
        return Saved.of(folder, experiment).step
    except RedistillError as error:
        return str(error)


def tidy(folder: Path) -> None:
    """Remove what a process that was killed after it wrote the record left beside it, unless another one is at it."""
    left = [folder / PENDING, folder / checkpoint.NAME, folder / checkpoint.PREVIOUS]
    if not any(map(there, left)) and not any(folder.glob(".*.partial")):
        return
    lock = Lock(folder / LOCK)
    with contextlib.suppress(OSError, RedistillError):  # a store that may only be read
        if lock.take():
            try:
                sweep(folder)
                checkpoint.remove(folder)
                (folder / PENDING).unlink(missing_ok=True)
            finally:
                lock.release()


def common_step(saved: Sequence[Saved]) -> int:
    """The latest step from which all of them can go on; 0 is the beginning."""
    steps = set.intersection(*({0, *one.states} for one in saved))
    return max(steps)
