"""One network of a cohort with everything that is its own: method, optimiser, losses, curves, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from redistill.core import Method
from redistill.measured import Accuracy
from redistill.taps import Tapped


@dataclass
class Learner:
    """A student at work. The loop writes into ``buffer`` on the device; it is read once a block, not once a step.

    Attributes:
        net, tapped: the network, and the same network giving its features away. method: its own fresh copy.
        weights: of every term at every step of the run.
        buffer: [block, terms] losses of the steps since the last reading. epoch_sum: [terms] float64, on the CPU.
        norms: [block] norms of the gradient before clipping; stays None where nothing is clipped.
        losses, gradient_norms: means by epoch. curves: (step, accuracy in percent) by evaluation set.
        diverged, stopped_at: why and where this student stopped before the end.
        seconds: spent on this student alone. notes: what was warned of before the first step.
    """

    net: nn.Module
    tapped: Tapped
    method: Method
    optimizer: torch.optim.Optimizer
    weights: list[list[float]]
    buffer: Tensor
    norms: Tensor | None
    curves: dict[str, list[tuple[int, float]]]
    notes: tuple[str, ...] = ()
    epoch_sum: Tensor = field(init=False)
    norm_sum: float = 0.0
    losses: list[list[float]] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    diverged: str | None = None
    stopped_at: int | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.epoch_sum = torch.zeros(self.buffer.shape[1], dtype=torch.float64)

    def read(self, count: int) -> tuple[int, float, int] | None:
        """Add the first ``count`` rows of the buffer to the epoch; or the first loss that is not finite: term, value, row."""
        rows = self.buffer[:count].double().cpu()
        bad = (~torch.isfinite(rows)).nonzero()
        if len(bad):
            row, column = (int(v) for v in bad[0])
            return column, float(rows[row, column]), row
        self.epoch_sum += rows.sum(0)
        if self.norms is not None:
            self.norm_sum += float(self.norms[:count].double().sum())
        return None

    def stop(self, why: str, step: int) -> None:
        """This student learns no more; the others of its cohort go on."""
        self.diverged, self.stopped_at = why, step

    def end_epoch(self, taken: int) -> None:
        """The epoch had ``taken`` steps: keep its means and begin the next."""
        self.losses.append((self.epoch_sum / taken).tolist())
        self.epoch_sum.zero_()
        if self.norms is not None:
            self.gradient_norms.append(self.norm_sum / taken)
            self.norm_sum = 0.0

    def result(self) -> dict[str, Any]:
        """What a :class:`redistill.measured.Result` says of this student alone."""
        return {
            "accuracy": {name: Accuracy.of(points) for name, points in self.curves.items() if points},
            "losses": {name: tuple(row[i] for row in self.losses) for i, name in enumerate(self.method.names)},
            "own_seconds": self.seconds,
            "diverged": self.diverged,
            "method": self.method,
            "gradient_norms": tuple(self.gradient_norms),
        }

    # -- saving and going on ------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """All that the rest of its run depends on, to be saved as it is."""
        return {
            "net": self.net.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "buffer": self.buffer.clone(),
            "epoch_sum": self.epoch_sum.clone(),
            "norms": None if self.norms is None else self.norms.clone(),
            "norm_sum": self.norm_sum,
            "gradient_norms": list(self.gradient_norms),
            "losses": [list(row) for row in self.losses],
            "curves": {name: list(points) for name, points in self.curves.items()},
            "diverged": self.diverged,
            "stopped_at": self.stopped_at,
            "seconds": self.seconds,
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Go on where :meth:`state` was taken."""
        self.net.load_state_dict(saved["net"])
        self.method.load_state_dict(saved["method"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.buffer.copy_(saved["buffer"])
        self.epoch_sum.copy_(saved["epoch_sum"])
        if self.norms is not None:
            self.norms.copy_(saved["norms"])
        self.norm_sum = float(saved["norm_sum"])
        self.gradient_norms = [float(norm) for norm in saved["gradient_norms"]]
        self.losses = [list(row) for row in saved["losses"]]
        self.curves = {name: [(int(s), float(v)) for s, v in points] for name, points in saved["curves"].items()}
        self.diverged = saved["diverged"]
        self.stopped_at = saved["stopped_at"]
        self.seconds = float(saved["seconds"])
