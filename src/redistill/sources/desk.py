"""What a generator's block reads and leaves: noise, rate and weights laid in place before it, images and answers after it.

Where blocks are replayed, all of it lies in tensors that stay where they are; elsewhere every block has tensors of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from redistill.core import Output, Ramp, Replays, StreamContext, Weight
from redistill.features.drawing import OwnStream
from redistill.replay import prime


@dataclass
class Desk:
    """One generator's.

    Attributes:
        layers: of the networks, which may draw; what draws by itself is not replayed.
        replays: None: work is done as it is written, on new tensors. rampant: weights change from block to block.
        block: int64 [], the number of the block. noise: of the generator's steps. fresh: of a step of the student.
        rate, weights: of the generator's steps. images: what was made last. teacher_output: of them, if it is kept.
    """

    layers: OwnStream
    replays: Replays | None
    rampant: bool
    block: Tensor
    rate: float | Tensor = 0.0
    weights: Sequence[float | Tensor] = ()
    noise: list[Tensor] = field(default_factory=list)
    _fresh: Tensor | None = None
    _images: Tensor | None = None
    teacher_output: Output | None = None

    @classmethod
    def of(
        cls, layers: OwnStream, weights: Sequence[Weight], optimizer: torch.optim.Optimizer, room: StreamContext, nets: Sequence[nn.Module]
    ) -> Desk:  # fmt: skip
        """A desk with nothing on it. ``weights``: of the terms that ``optimizer`` minimises. ``nets``: what the work calls beside the
        networks of the run."""
        replays = room.replays
        rampant = any(isinstance(weight, Ramp) for weight in weights)
        made = cls(layers, replays, rampant, torch.tensor(-1, device=room.device))
        if replays is not None or room.device.type == "cuda":
            kind = torch.float32 if room.device.type == "cuda" else torch.float64
            made.rate = torch.zeros((), dtype=kind, device=room.device)
        if replays is not None:
            if rampant:
                made.weights = torch.zeros(len(weights), dtype=room.dtype, device=room.device).unbind()
            prime(optimizer)
            for net in nets:
                replays.watch(net)
        return made

    def do(self, kind: str, work: Callable[[int | None], None], step: int) -> None:
        """Work of a step, recorded and replayed where that can be."""
        if self.replays is None:
            work(step)
            return
        if self.layers.draws and self.replays.reason is None:
            self.replays.give_up(f"{self.layers.draws} draws random numbers of its own at every step")
        self.replays(("generator", kind), work, step)

    def forget(self, optimizer: torch.optim.Optimizer) -> None:
        """The run goes on from elsewhere, with the optimiser's state of there."""
        if self.replays is not None:
            prime(optimizer)
            self.replays.forget()

    # -- laid in place before a block ----------------------------------------------------------------------------------
    def lay_block(self, block: int, rate: float, weights: Sequence[float]) -> None:
        self.block.fill_(block)
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate
        if self.replays is None or not self.rampant:
            self.weights = weights
            return
        for here, weight in zip(self.weights, weights, strict=True):
            assert isinstance(here, Tensor)
            here.fill_(weight)

    def lay_noise(self, drawn: list[Tensor]) -> list[Tensor]:
        """Of the generator's steps; returns them where they lie."""
        if self.replays is None:
            self.noise = drawn
        elif not self.noise:
            self.noise = [there.clone() for there in drawn]
        else:
            for here, there in zip(self.noise, drawn, strict=True):
                here.copy_(there)
        return self.noise

    def lay_fresh(self, drawn: Tensor) -> None:
        """Of one step of the student."""
        self._fresh = self._laid(self._fresh, drawn)

    # -- left by a block -----------------------------------------------------------------------------------------------
    def keep(self, images: Tensor, teacher_output: Output | None = None) -> None:
        """Images, and what the teacher said of them."""
        self._images = self._laid(self._images, images)
        if teacher_output is None:
            return
        if self.replays is None or self.teacher_output is None:
            taps = {place: self._laid(None, tap) for place, tap in teacher_output.taps.items()}
            self.teacher_output = Output(self._laid(None, teacher_output.logits), taps)
            return
        self.teacher_output.logits.copy_(teacher_output.logits.detach())
        for place, tap in teacher_output.taps.items():
            self.teacher_output.taps[place].copy_(tap.detach())

    def _laid(self, here: Tensor | None, there: Tensor) -> Tensor:
        if self.replays is None:
            return there
        if here is None:
            return there.detach().clone()
        return here.copy_(there)

    @property
    def images(self) -> Tensor:
        assert self._images is not None
        return self._images

    @property
    def fresh(self) -> Tensor:
        assert self._fresh is not None
        return self._fresh
