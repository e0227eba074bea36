"""Where features are read, by name, and which of two networks' places go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from redistill.core.batch import Shape
from redistill.errors import RedistillError, nearest


@dataclass(frozen=True)
class Place:
    """Where a feature is read: the output (or the input) of a module, named by its path in the network.

    ``call``: which call of it in one forward, from 1, for a module that is used several times; None: its only (or last) one.
    Written ``relu@2``. ``turned``: the module gives [B, H, W, C]; it is read as [B, C, H, W]. ``grid``: it gives tokens [B, N, D], of
    which those after the first are patches in rows, (tokens in front, height, width); it is read as [B, D, height, width]. ``token``: of
    its tokens this one alone is read, [B, D].

    ``again``: the published code obtains this feature by calling the module a second time, which shows only in a teacher
    left in train mode, whose running statistics then move twice a step (``Recipe.teacher_mode = "train"``).
    """

    module: str
    side: Literal["out", "in"] = "out"
    again: bool = False
    call: int | None = None
    turned: bool = False
    grid: tuple[int, int, int] | None = None
    token: int | None = None

    def view(self, tensor: Tensor) -> Tensor:
        """What is read of what the module gave."""
        if self.grid is not None:
            front, height, width = self.grid
            # in a block of its own: an image's numbers lie side by side wherever they are kept
            return tensor[:, front:].transpose(1, 2).reshape(len(tensor), -1, height, width).contiguous()
        if self.token is not None:
            return tensor[:, self.token]
        return tensor.permute(0, 3, 1, 2) if self.turned else tensor

    def shape(self, given: Shape) -> Shape:
        """The shape of that, of the shape of what the module gave."""
        if self.grid is not None:
            return (given[0], given[2], *self.grid[1:])
        if self.token is not None:
            return (given[0], given[2])
        return (given[0], given[3], *given[1:3]) if self.turned and len(given) == 4 else given

    @classmethod
    def at(cls, name: str) -> Place:
        """The output of a module by its path, ``layer1.0``, or of one of its calls, ``relu@2``.

        >>> place = Place.at("relu@2")
        >>> place.module, place.call
        ('relu', 2)
        """
        path, sign, number = name.rpartition("@")
        if sign and number.isdecimal() and int(number) > 0:
            return cls(path, call=int(number))
        return cls(name)


# ---------------------------------------------------------------------------------------------------------------------
# Terms
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Context:
    """What a term may look at, once, before the first step.

    Attributes:
        student, teacher: the two networks (teacher None: ordinary training).
        student_places, teacher_places: every place a network offers by name, with the shape [B, ...] of its tensor.
        student_stages, teacher_stages: names of the stages, shallowest first, a subset of the places.
        student_unsure, teacher_unsure: why a network's stages cannot be told, with the places to choose from, or None.
        classes: number of classes. count: images in the data set, or None where the source has no end.
        labels: [count] int64 labels of the data set, or None.
        calls: how often a term will be called in an epoch, where the loop says it: once a step, more often where a batch is computed in
            parts.
        seed: the run's seed; draw only through ``redistill.rng.stream(ctx.seed, "term", ...)`` or ``seeded``.
        adapt: makes of images of the stream what the teacher is to be called with; None: they are that already.
        read: makes of what a network returned, and the network, its logits [B, classes]; None: it returned them.
    """

    student: nn.Module
    teacher: nn.Module | None
    student_places: Mapping[str, Shape]
    teacher_places: Mapping[str, Shape]
    student_stages: tuple[str, ...]
    teacher_stages: tuple[str, ...]
    classes: int
    count: int | None = None
    labels: Tensor | None = None
    seed: int = 0
    student_unsure: str | None = None
    teacher_unsure: str | None = None
    adapt: Callable[[Tensor], Tensor] | None = None
    read: Callable[[object, nn.Module], Tensor] | None = None
    calls: int | None = None

    def shape(self, whose: Literal["student", "teacher"], place: str) -> Shape:
        """Shape of one place, or a sentence with the nearest names."""
        places = self.student_places if whose == "student" else self.teacher_places
        if place not in places:
            raise RedistillError(f"{nearest(place, places, f'place of the {whose}')} (shapes: {describe_places(places)})")
        return places[place]


def describe_places(places: Mapping[str, Shape]) -> str:
    """``stage1 16x32x32, stage2 ...`` for messages."""
    return ", ".join(f"{name} {'x'.join(map(str, shape[1:]))}" for name, shape in places.items()) or "none"


Pair = tuple[str, str]
At = str | Sequence[str | Sequence[str]] | None


def pairs_of(at: At) -> tuple[Pair, ...] | None:
    """The written form of ``at=`` as (student place, teacher place) pairs; None stands for the term's own default.

    A name alone means the same place in both networks.

    >>> pairs_of(["stage1", ("stage2", "layer3")])
    (('stage1', 'stage1'), ('stage2', 'layer3'))
    """
    if at is None:
        return None
    if not isinstance(at, str | list | tuple):  # of a dictionary the teacher's places would be lost, a set has no order
        raise RedistillError(
            f"at={at!r}: a {type(at).__name__} names no places; give a place ('stage2') or a list of places and of pairs "
            f"(student place, teacher place)"
        )
    entries = [at] if isinstance(at, str) else list(at)
    pairs: list[Pair] = []
    for entry in entries:
        pair = (entry, entry) if isinstance(entry, str) else tuple(entry) if isinstance(entry, list | tuple) else ()
        if len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise RedistillError(
                f"at={at!r}: every entry is a place ('stage2') or a pair (student place, teacher place), got {entry!r}"
            )
        pairs.append((pair[0], pair[1]))
    if not pairs:
        raise RedistillError("at=[] names no place: leave it out for the default, or name at least one")
    return tuple(pairs)


def named_places(at: At) -> tuple[str, ...]:
    """Places of one network alone as a tuple; empty where something else was written.

    >>> named_places("stage1"), named_places(["stage1", "stage2"]), named_places([("stage1", "layer1")])
    (('stage1',), ('stage1', 'stage2'), ())
    """
    entries = [at] if isinstance(at, str) else list(at) if isinstance(at, list | tuple) else []
    names = tuple(entry for entry in entries if isinstance(entry, str))
    return names if len(names) == len(entries) else ()
