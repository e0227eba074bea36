"""Where inputs come from: the protocols of sources and their streams."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from redistill._moved import old_names
from redistill.core.batch import Batch, Shape


# ---------------------------------------------------------------------------------------------------------------------
# Sources
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class StreamContext:
    """What a source is given when a run starts.

    Attributes:
        seed: the run's seed. batch_size: images a batch. device, dtype: where and in what the images are wanted.
        teacher: the frozen teacher, or None. students: the networks being trained (a source that depends on the student
            gets exactly one). autocast: context factory under which the run computes its forwards.
        steps: how many steps the run will take.
        teacher_places: features of the teacher that the students' methods read.
        adapt: of one of the networks here: a function that makes of images of the stream what it is to be called with.
        replays: records work on the device and replays it; None: all work is done as it is written.
    """

    seed: int
    batch_size: int
    device: torch.device
    dtype: torch.dtype
    steps: int
    teacher: nn.Module | None = None
    students: tuple[nn.Module, ...] = ()
    drop_last: bool = False
    channels_last: bool = False
    autocast: Any = None
    teacher_places: tuple[str, ...] = ()
    adapt: Callable[[nn.Module], Callable[[Tensor], Tensor]] | None = None
    replays: Replays | None = None


class Replays(Protocol):
    """Does work of several kinds, each the same at every step; see :class:`redistill.replay.Replayed`."""

    reason: str | None

    def __call__(self, kind: Hashable, work: Callable[[int | None], None], step: int) -> bool: ...

    def give_up(self, reason: str) -> None: ...

    def watch(self, net: nn.Module) -> None: ...

    def forget(self) -> None: ...


@runtime_checkable
class Stream(Protocol):
    """A source at work in one run. ``batch(step)`` returns the *same object* for as long as the images are the same, so
    that the loop does not ask the teacher twice. A stream that works in blocks of several steps may say so as ``block_steps``:
    its numbers are then told at ends of blocks."""

    def batch(self, step: int) -> Batch: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def log(self) -> dict[str, float]:
        """Numbers about the source itself since the last call, for the curves, at every 1 % of the run (empty for images)."""
        ...


@runtime_checkable
class Tabled(Protocol):
    """A stream that is looked up in tables on the device: what an epoch needs lies there before its first step, and which step it
    is may be told by a number on the device. ``looked_up(step, rows)`` gives the images and labels that ``batch(step)`` gives."""

    def upload(self, step: int) -> None:
        """Lay the tables of the step's epoch in place; nothing where they lie there."""
        ...

    def rows(self, step: int) -> int:
        """Images of the step's batch."""
        ...

    def looked_up(self, step: Tensor, rows: int) -> Batch:
        """The batch of a step [1] int64 of the epoch that was uploaded."""
        ...


@runtime_checkable
class ExplainsNonfinite(Protocol):
    """A stream that can be the reason why a student's loss is not finite: images of a generator that diverged."""

    def explains_nonfinite(self, step: int) -> str | None:
        """A sentence if the images of ``step`` were not finite themselves, None where the student alone is to blame."""
        ...


@runtime_checkable
class LeavesArtifacts(Protocol):
    """A stream with something worth keeping beside the student: a trained generator, samples."""

    def artifacts(self) -> dict[str, dict[str, Tensor]]:
        """Tensors by file name (without ending) and name."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where inputs come from: images, a generator that trains against the student, a mixture."""

    @property
    def depends_on_student(self) -> bool: ...

    @property
    def labelled(self) -> bool: ...

    @property
    def classes(self) -> int | None: ...

    @property
    def image_shape(self) -> Shape:
        """[C, H, W]."""
        ...

    @property
    def count(self) -> int | None: ...

    @property
    def all_labels(self) -> Tensor | None: ...

    @property
    def normalisation(self) -> str:
        """Name of the set in which the stream is normalised; a network that expects another one is adapted."""
        ...

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int: ...

    def start(self, room: StreamContext) -> Stream: ...

    def settings(self) -> dict[str, Any]: ...

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
