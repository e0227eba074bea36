"""Weights of terms that change over a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from redistill.core.kinds import is_number
from redistill.errors import RedistillError

NUMERICS = 1


@dataclass(frozen=True)
class Ramp:
    """A weight that moves linearly from ``first`` at ``start`` to ``last`` at ``end``, constant outside.

    Args:
        start, end: in whole epochs counted from 0 (``unit="epoch"``, the weight is constant within an epoch, as the
            published loops have it) or in steps (``unit="step"``).
        first, last: the weight before and after.

    ``Ramp(0, 20)`` is ReviewKD's warm-up (weight 0 in the first epoch); mdistiller, which counts epochs from 1, is
    ``Ramp(-1, 19)``. ``5 * Ramp(0, 20)`` ends at 5.

    >>> [Ramp(0, 4).at(epoch=e, step=0) for e in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start: float
    end: float
    first: float = 0.0
    last: float = 1.0
    unit: Literal["epoch", "step"] = "epoch"

    def __post_init__(self) -> None:
        if odd := [f.name for f in dataclasses.fields(self)[:4] if not is_number(getattr(self, f.name))]:
            raise RedistillError(f"Ramp({odd[0]}={getattr(self, odd[0])!r}): must be a number")
        if not self.end > self.start:
            raise RedistillError(f"Ramp({self.start}, {self.end}): the end must come after the start")
        if not all(map(math.isfinite, (self.start, self.end, self.first, self.last))):
            raise RedistillError(f"{self}: all four numbers must be finite")
        if self.unit not in ("epoch", "step"):
            raise RedistillError(f"Ramp unit must be 'epoch' or 'step', got {self.unit!r}")

    def at(self, *, epoch: int, step: int) -> float:
        now = epoch if self.unit == "epoch" else step
        part = min(max((now - self.start) / (self.end - self.start), 0.0), 1.0)
        return self.first + (self.last - self.first) * part

    def __rmul__(self, factor: float) -> Ramp:
        return dataclasses.replace(self, first=factor * self.first, last=factor * self.last)


Weight = float | Ramp


def weights_at(weights: Sequence[Weight], epoch: int, step: int) -> tuple[float, ...]:
    """The weights of one step."""
    return tuple(w.at(epoch=epoch, step=step) if isinstance(w, Ramp) else w for w in weights)


@dataclass(frozen=True, eq=False)
class WeightTable:
    """The weights of a run: ``rows`` [distinct, terms] float64, and ``which`` [steps] of them a step has (None: the only one)."""

    rows: Tensor
    which: Tensor | None

    @classmethod
    def of(cls, weights: Sequence[Weight], steps: int, steps_per_epoch: int) -> WeightTable:
        """All weights of a run, made before its first step."""
        if not any(isinstance(w, Ramp) for w in weights):
            return cls(torch.tensor([weights_at(weights, 0, 0)], dtype=torch.float64), None)
        known: dict[tuple[float, ...], int] = {}
        which = [known.setdefault(weights_at(weights, s // steps_per_epoch, s), len(known)) for s in range(steps)]
        return cls(torch.tensor(list(known), dtype=torch.float64), torch.tensor(which, dtype=torch.int32))

    def __getitem__(self, step: int) -> list[float]:
        """One weight a term."""
        row: list[float] = self.rows[0 if self.which is None else int(self.which[step])].tolist()
        return row
