"""The network of the best evaluation of a run, watched from outside the loop through the curves that it draws.

Several published codes save the network whenever its accuracy on the test set rises, and take that file as teacher or as
start of the next training.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from redistill.learner import Learner


def chosen_on(sets: Collection[str]) -> str | None:
    """The evaluation set on which a best network is chosen: ``test``, else the first in the order of the alphabet.

    >>> chosen_on(["val", "test"]), chosen_on(["val", "held_out"]), chosen_on([])
    ('test', 'held_out', None)
    """
    return "test" if "test" in sets else min(sets, default=None)


@dataclass(frozen=True)
class Best:
    """``tensors``: the state dict after ``step``, on the CPU. accuracy: in percent on the evaluation set ``name``."""

    name: str
    step: int
    accuracy: float
    tensors: dict[str, Tensor]


class Watch:
    """The best network so far of one student.

    Args:
        name: of the evaluation set, None where nothing is evaluated. first: the step from which an evaluation counts.
    """

    def __init__(self, name: str | None, first: float):
        self.name, self.first = name, first
        self.best: Best | None = None
        self._seen = 0

    def look(self, student: Learner) -> None:
        """Call after every step: keeps the weights where the newest evaluation is the best, the earliest of equals."""
        if self.name is None or len(curve := student.curves[self.name]) == self._seen:
            return
        self._seen = len(curve)
        step, accuracy = curve[-1]
        if step >= self.first and (self.best is None or accuracy > self.best.accuracy):
            tensors = {name: value.detach().to("cpu", copy=True) for name, value in student.net.state_dict().items()}
            self.best = Best(self.name, step, accuracy, tensors)

    def state(self) -> dict[str, Any]:
        """To be saved with the rest of a run."""
        if self.best is None:
            return {}
        return {"step": self.best.step, "accuracy": self.best.accuracy, "tensors": dict(self.best.tensors)}

    def load_state(self, saved: dict[str, Any], student: Learner) -> None:
        """Go on where :meth:`state` was taken; ``student`` as it was then."""
        if self.name is None:
            return
        self._seen = len(student.curves[self.name])
        if saved:
            self.best = Best(self.name, int(saved["step"]), float(saved["accuracy"]), dict(saved["tensors"]))
