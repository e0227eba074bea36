"""What a run measured: accuracies named for what they are, losses, times; how far it is; why it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redistill.core import Method, RedistillError
from redistill.train.kept import Kept


class Diverged(RedistillError):
    """A loss stopped being a finite number; says which term, with which weight, at which step."""


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one evaluation set, in percent, each number named for what it is.

    Attributes:
        last: of the network that is kept: after the last step, where the recipe says nothing else (``ema``, ``patience``).
        best: the highest of all evaluations; chosen *on this set*, so on a test set it is an optimistic number. best_step: the step
            count at which it was reached. curve: (steps taken, accuracy).
    """

    last: float
    best: float
    best_step: int
    curve: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, curve: Sequence[tuple[int, float]], kept: float | None = None) -> Accuracy:
        """``kept``: of the network that is kept, where that is not the last one."""
        step, best = max(curve, key=lambda point: (point[1], -point[0]))
        return cls(last=curve[-1][1] if kept is None else kept, best=best, best_step=step, curve=tuple(curve))


@dataclass(frozen=True)
class Result:
    """What one student's training measured. Nothing was written to disk.

    Attributes:
        accuracy: by evaluation set. losses: by term, mean unweighted loss of each epoch. steps: taken.
        own_seconds: wall time of this student's own steps (of replayed ones an equal share). seconds, cpu_seconds: of the whole
            cohort, with the stream, the teacher and the evaluations. diverged: the sentence about a non-finite loss, or None.
        method: the terms with their trained adapters. gradient_norms: mean norm of the student's gradient before it was
            clipped, each epoch; empty where the recipe does not clip. notes: what was warned of before the first step.
        kept: which network is kept, where the recipe leaves that open (``ema``, ``patience``); None: the last one.
    """

    accuracy: dict[str, Accuracy]
    losses: dict[str, tuple[float, ...]]
    rates: tuple[float, ...]
    steps: int
    own_seconds: float
    seconds: float
    cpu_seconds: float
    diverged: str | None
    method: Method
    source_log: tuple[tuple[int, dict[str, float]], ...] = ()
    gradient_norms: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    kept: Kept | None = None


@dataclass(frozen=True)
class Progress:
    """Where a loop stands: ``step`` of ``steps`` done."""

    step: int
    steps: int
    epoch: int
