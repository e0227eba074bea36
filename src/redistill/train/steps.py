"""How a run's steps are taken: as they are written, or, on a device that can, recorded once and replayed.

A batch that is looked up in tables on the device (images in memory) is part of what is recorded. Any other batch is made on the
host and copied to where the recorded step reads it; what the teacher said of it is kept there for as long as the source gives the
same batch again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from redistill.core import Batch, Output, Stream, Tabled
from redistill.core.batch import ROWS
from redistill.replay import Replayed
from redistill.train.clock import Clock, Moment

Step = Callable[[Batch, Moment], Output | None]
"""The teacher once, then every student; returns what the teacher said."""


def as_written(stream: Stream, clock: Clock, step: int, take: Step) -> None:
    """One step, one call after the other."""
    clock.begin()
    take(stream.batch(step), clock.at(step))
    clock.pass_on()


class Replays:
    """Steps of a run that are replayed. ``students``: of a step, by number; a step of others is another recording."""

    def __init__(self, stream: Stream, clock: Clock, replayed: Replayed):
        self.stream, self.clock, self.replayed = stream, clock, replayed
        self._held: dict[object, Held] = {}
        self._last: Batch | None = None

    def take(self, step: int, students: tuple[int, ...], take: Step) -> bool:
        """One step; whether it was replayed."""
        if self.replayed.reason is not None:
            as_written(self.stream, self.clock, step, take)
            return False
        if isinstance(self.stream, Tabled):
            return self._looked_up(self.stream, step, students, take)
        return self._given(self.stream.batch(step), step, students, take)

    def forget(self) -> None:
        """The run goes on from elsewhere."""
        self.replayed.forget()
        self._last = None

    def _looked_up(self, stream: Tabled, step: int, students: tuple[int, ...], take: Step) -> bool:
        stream.upload(step)
        rows = stream.rows(step)

        def work(number: int | None) -> None:
            self.clock.begin()
            take(stream.looked_up(self.clock.counter, rows), self._now(number))
            self.clock.pass_on()

        return self.replayed(("looked up", rows, students), work, step)

    def _given(self, batch: Batch, step: int, students: tuple[int, ...], take: Step) -> bool:
        shape = tuple(None if tensor is None else tuple(tensor.shape) for tensor in tensors_of(batch))
        if shape not in self._held:
            self._held[shape] = Held.like(batch, again=getattr(self.stream, "block_steps", 1) > 1)
        held = self._held[shape]
        if batch is not self._last:
            held.lay(batch)
            self._last = batch
        answered = held.answered

        def work(number: int | None) -> None:
            self.clock.begin()
            now = held.batch(batch if number is not None else None)
            said = take(now if held.answer is None or not answered else now.answered(held.answer), self._now(number))
            if not answered:
                held.keep(said)
            self.clock.pass_on()

        replayed = self.replayed((shape, answered, students), work, step)
        held.answered = held.again and held.answer is not None
        return replayed

    def _now(self, number: int | None) -> Moment:
        return self.clock.any() if number is None else self.clock.at(number)


def tensors_of(batch: Batch) -> tuple[Tensor | None, ...]:
    """What of a batch lies on the device."""
    return tuple(getattr(batch, name) for name in ROWS)


@dataclass
class Held:
    """A batch, and what the teacher said of it, in tensors that stay where they are.

    Attributes:
        tensors: of the batch. again: the source gives a batch several times, so that answers are worth keeping.
        answer: what the teacher said; None until it has said something. answered: of the batch that is held now.
    """

    tensors: tuple[Tensor | None, ...]
    again: bool
    answer: Output | None = None
    answered: bool = False

    @classmethod
    def like(cls, batch: Batch, *, again: bool) -> Held:
        """Empty tensors of a batch's shapes and layouts."""
        return cls(tuple(None if tensor is None else torch.empty_like(tensor) for tensor in tensors_of(batch)), again)

    def lay(self, batch: Batch) -> None:
        """Another batch, with what its source knows of the teacher's answer."""
        for here, tensor in zip(self.tensors, tensors_of(batch), strict=True):
            if here is not None and tensor is not None:
                here.copy_(tensor)
        self.answered = batch.teacher is not None
        if batch.teacher is not None:
            self._lay_answer(batch.teacher)

    def batch(self, of: Batch | None) -> Batch:
        """The batch, as a new value. ``of``: what it was made from, for what the host knows of it."""
        images, labels, index, variant, second, share = self.tensors
        assert images is not None
        number, positions, partly = (None, None, False) if of is None else (of.number, of.positions, of.partly)
        return Batch(images, labels, index, variant, number=number, positions=positions, second=second, share=share, partly=partly)

    def keep(self, said: Output | None) -> None:
        """What the teacher says of the batch, where the batch comes again."""
        if self.again and said is not None:
            self._lay_answer(said)

    def _lay_answer(self, said: Output) -> None:
        if self.answer is None or self.answer.taps.keys() != said.taps.keys():
            self.answer = Output(said.logits.detach().clone(), {place: tap.detach().clone() for place, tap in said.taps.items()})
            return
        self.answer.logits.copy_(said.logits)
        for place, tap in said.taps.items():
            self.answer.taps[place].copy_(tap)
