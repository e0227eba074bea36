"""Which network of a run is kept: the last one, an average of all, or the best on a held-out part of the training images.

The student itself trains on untouched: its average is beside it, and is put in its place for the length of an evaluation, and at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

HELD_OUT = "held_out"
"""The evaluation set on which a run with patience decides: images set apart from those that are trained on."""


@dataclass(frozen=True)
class Kept:
    """step: of the network that is kept. average: its decay, None where it is no average. accuracy: of it in percent, by evaluation
    set. why: a sentence."""

    step: int
    average: float | None
    accuracy: dict[str, float]
    why: str

    def written(self) -> dict[str, Any]:
        """For a record."""
        return {"step": self.step, "average": self.average, "why": self.why}


class Average:
    """An exponential moving average of everything in a network that is no whole number; those are copied, and what is infinite from
    the beginning, as a mask is.

    Args:
        decay: d of :class:`redistill.recipe.Recipe`.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.net, self.decay = net, decay
        self.values = {name: value.detach().clone() for name, value in tensors_of(net).items()}
        floating = {name: value for name, value in self.values.items() if value.is_floating_point()}
        averaged = (name for name, value in floating.items() if value.is_meta or bool(value.isfinite().all()))
        self._averaged = dict.fromkeys(averaged)

    @torch.no_grad()
    def update(self, taken: int) -> None:
        """After a step; ``taken``: steps so far, this one among them."""
        keep = min(self.decay, (1 + taken) / (10 + taken))
        now = tensors_of(self.net)
        moving = list(self._averaged)
        torch._foreach_lerp_([self.values[n] for n in moving], [now[n].detach() for n in moving], 1.0 - keep)
        for name, value in now.items():
            if name not in self._averaged:
                self.values[name].copy_(value)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """The network is its average for a while, and afterwards itself again, bit for bit."""
        own = {name: value.detach().clone() for name, value in tensors_of(self.net).items()}
        lay(self.net, self.values)
        try:
            yield
        finally:
            lay(self.net, own)


class Patience:
    """Waits for a better evaluation of the held-out part, and holds the network of the best so far, the earliest of equals."""

    def __init__(self, many: int):
        self.many, self.waited = many, 0
        self.best: tuple[int, dict[str, float]] | None = None  # step, and accuracies in percent by evaluation set
        self.values: dict[str, Tensor] = {}

    def look(self, net: nn.Module, step: int, accuracies: dict[str, float]) -> None:
        """After an evaluation: of ``net`` as it was evaluated."""
        if self.best is None or accuracies[HELD_OUT] > self.best[1][HELD_OUT]:
            self.best, self.waited = (step, dict(accuracies)), 0
            self.values = {name: value.detach().clone() for name, value in tensors_of(net).items()}
        else:
            self.waited += 1

    @property
    def exhausted(self) -> bool:
        return self.waited >= self.many

    def state(self) -> dict[str, Any]:
        """To be saved with the rest of a run."""
        return {"waited": self.waited, "best": None if self.best is None else list(self.best), "values": dict(self.values)}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Go on where :meth:`state` was taken."""
        self.waited = int(saved["waited"])
        best = saved["best"]
        self.best = None if best is None else (int(best[0]), {name: float(value) for name, value in best[1].items()})
        self.values = dict(saved["values"])


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those that stand in no state dict among them; each once."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


@torch.no_grad()
def lay(net: nn.Module, values: dict[str, Tensor]) -> None:
    """Values into a network, where its own lie."""
    for name, value in tensors_of(net).items():
        value.copy_(values[name])
