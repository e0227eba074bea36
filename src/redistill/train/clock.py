"""Where a run stands, on the host and on the device: what a step reads that is not the same at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redistill.train.schedule import SharedSchedule


@dataclass(frozen=True)
class Moment:
    """One step.

    Attributes:
        number: which, counted from 0; None in a step that is recorded and stands for any.
        counter: int64 [1], the same on the device. row: int64 [1], of the buffers that are read at the end of a block.
        rate: of learning; a tensor [] on the device where steps may be replayed.
    """

    number: int | None
    counter: Tensor
    row: Tensor
    rate: float | Tensor


class Clock:
    """Makes the moments of a run. ``tabled``: rates and numbers of a block lie on the device, where replayed steps read them.

    On a CUDA device rates are single precision, which is what its optimisers take from a tensor; elsewhere double.
    """

    def __init__(self, schedule: SharedSchedule, *, tabled: bool):
        self.schedule, self.tabled = schedule, tabled
        device = schedule.means.device
        self._device = device
        self._expected = -1
        if tabled:
            kind = torch.float32 if device.type == "cuda" else torch.float64
            self.counter, self.row = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
            self.rates = torch.zeros(schedule.block, dtype=kind, device=device)
            self.rate = torch.zeros((), dtype=kind, device=device)

    def at(self, step: int) -> Moment:
        """The moment of a step."""
        if self.tabled:
            return Moment(step, self.counter, self.row, self.rate)
        counter, row = (torch.tensor([number], device=self._device) for number in (step, self.schedule.row(step)))
        return Moment(step, counter, row, self.schedule.rates[step])

    def any(self) -> Moment:
        """Any moment: what is recorded reads it on the device."""
        return Moment(None, self.counter, self.row, self.rate)

    def turn(self, step: int) -> bool:
        """Before a step: lay its block's numbers in place. Whether a block begins here, or the run goes on from elsewhere."""
        row, begins = self.schedule.row(step), step != self._expected or self.schedule.row(step) == 0
        if self.tabled and begins:
            self.counter.fill_(step)
            self.row.fill_(row)
            self._lay(self.rates, self.schedule.rates[step - row : min(step - row + self.schedule.block, self.schedule.steps)])
        self._expected = step + 1
        return begins

    def begin(self) -> None:
        """On the device, as a step's first work."""
        if self.tabled:
            self.rate.copy_(self.rates.index_select(0, self.row)[0])

    def pass_on(self) -> None:
        """On the device, as a step's last work."""
        if self.tabled:
            self.counter.add_(1)
            self.row.add_(1)

    def _lay(self, table: Tensor, rows: Sequence[float]) -> None:
        table[: len(rows)].copy_(torch.tensor(list(rows), dtype=torch.float64))
