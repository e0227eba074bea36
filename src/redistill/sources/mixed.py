"""Two sources in turn, whole batch by whole batch: real images and generated ones, for example."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from redistill.core import Batch, ExplainsNonfinite, LeavesArtifacts, RedistillError, Shape, Source, Stream, StreamContext
from redistill.core.batch import UNLABELLED

NUMERICS = 1


@dataclass(frozen=True, eq=False)
class Mixed:
    """``take[0]`` batches of ``first``, then ``take[1]`` of ``second``, and again.

    An epoch is one pass over ``first``. Each source counts its own batches, so either goes through its images and its
    blocks exactly as it would alone.

    Raises:
        RedistillError: the two make images of unlike shape, normalisation or classes.
    """

    first: Source
    second: Source
    take: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if len(self.take) != 2 or min(self.take) < 1:
            raise RedistillError(f"take={self.take}: two numbers of batches, each 1 or more")
        a, b = self.first, self.second
        for what, x, y in (
            ("shape", tuple(a.image_shape), tuple(b.image_shape)),
            ("normalisation", a.normalisation, b.normalisation),
        ):
            if x != y:
                raise RedistillError(f"the two sources make images of unlike {what}, {x} and {y}: make them agree")
        if a.depends_on_student and b.depends_on_student:
            raise RedistillError(
                f"{type(a).__name__} and {type(b).__name__} both make images against the student: one of the two must be images"
            )
        if a.classes is not None and b.classes is not None and a.classes != b.classes:
            raise RedistillError(f"the two sources have {a.classes} and {b.classes} classes: they must agree")

    @property
    def parts(self) -> tuple[Source, ...]:
        """What it is mixed of, to the bottom."""
        return tuple(one for half in (self.first, self.second) for one in (half.parts if isinstance(half, Mixed) else (half,)))

    @property
    def depends_on_student(self) -> bool:
        return self.first.depends_on_student or self.second.depends_on_student

    @property
    def labelled(self) -> bool:
        """Whether one of the two is: terms that need labels are 0 on batches of the other."""
        return self.first.labelled or self.second.labelled

    @property
    def partly_labelled(self) -> bool:
        halves = (self.first, self.second)
        return self.labelled and (not all(h.labelled for h in halves) or any(getattr(h, "partly_labelled", False) for h in halves))

    @property
    def mixes_labels(self) -> bool:
        return any(getattr(half, "mixes_labels", False) for half in (self.first, self.second))

    @property
    def classes(self) -> int | None:
        return self.first.classes if self.first.classes is not None else self.second.classes

    @property
    def image_shape(self) -> Shape:
        return self.first.image_shape

    @property
    def count(self) -> int | None:
        """None: an index of one source means nothing in the other."""
        return None

    @property
    def all_labels(self) -> Tensor | None:
        return None

    @property
    def normalisation(self) -> str:
        return self.first.normalisation

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        turns = -(-self.first.steps_per_epoch(batch_size, drop_last) // self.take[0])
        return turns * sum(self.take)

    def shares(self, steps: int) -> tuple[tuple[Source, int], tuple[Source, int]]:
        """Either source with how many of ``steps`` batches are its own."""
        turns, rest = divmod(steps, sum(self.take))
        ahead = min(rest, self.take[0])
        return (self.first, turns * self.take[0] + ahead), (self.second, turns * self.take[1] + rest - ahead)

    def settings(self) -> dict[str, Any]:
        return {
            "kind": "mixed",
            "first": self.first.settings(),
            "second": self.second.settings(),
            "take": list(self.take),
            "numerics": NUMERICS,
        }

    def start(self, room: StreamContext) -> MixedStream:
        return MixedStream(self, room)


class MixedStream:
    """Two streams, each asked for its own next batch."""

    def __init__(self, source: Mixed, room: StreamContext):
        self.take = source.take
        first, second = (half.start(dataclasses.replace(room, steps=steps)) for half, steps in source.shares(room.steps))
        self.streams: tuple[Stream, Stream] = (first, second)

        self.labelled = source.labelled
        self._last: tuple[Batch, Batch] | None = None

        # turns after which both are at the end of a block of their own
        own = [int(getattr(stream, "block_steps", 1)) for stream in self.streams]
        self.block_steps = sum(self.take) * math.lcm(*(b // math.gcd(b, n) for b, n in zip(own, self.take, strict=True)))

    def _whose(self, step: int) -> tuple[Stream, int]:
        """The stream whose turn it is, and which of its own batches that is."""
        turn, within = divmod(step, sum(self.take))
        which = 0 if within < self.take[0] else 1
        return self.streams[which], turn * self.take[which] + (within if which == 0 else within - self.take[0])

    def batch(self, step: int) -> Batch:
        stream, own = self._whose(step)
        given = stream.batch(own)
        if not self.labelled or given.labels is not None:
            return given
        if self._last is None or self._last[0] is not given:  # the same images are the same object
            nobody = torch.full((len(given.images),), UNLABELLED, device=given.images.device)
            made = dataclasses.replace(given, labels=nobody, partly=True)
            self._last = given, made if given.teacher is None else made.answered(given.teacher)
        return self._last[1]

    def explains_nonfinite(self, step: int) -> str | None:
        stream, own = self._whose(step)
        return stream.explains_nonfinite(own) if isinstance(stream, ExplainsNonfinite) else None

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.streams[0].state_dict(), "second": self.streams[1].state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.streams[0].load_state_dict(state["first"])
        self.streams[1].load_state_dict(state["second"])

    def log(self) -> dict[str, float]:
        return {**self.streams[0].log(), **self.streams[1].log()}

    def artifacts(self) -> dict[str, dict[str, Tensor]]:
        return {name: kept for s in self.streams if isinstance(s, LeavesArtifacts) for name, kept in s.artifacts().items()}
