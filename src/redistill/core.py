"""The types that everything else speaks: batch, output, place, term, method, source.

Floor 0: this module knows no formula, no network and no data set.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError as RedistillError
from redistill.errors import nearest as nearest
from redistill.ramp import Ramp as Ramp
from redistill.ramp import Weight as Weight

Shape = tuple[int, ...]


# ---------------------------------------------------------------------------------------------------------------------
# What flows through one step
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Batch:
    """One batch of the stream, the same for every student of a cohort.

    Attributes:
        images: [B, C, H, W], normalised in the space of the stream, on the device and in the precision of the run.
        labels: [B] int64, or None where the data has none.
        index: [B] int64, position of each image in its data set (-1 for generated images).
        variant: [B] int64, which augmentation of the image this is (0 for none).
        number: which batch of its stream this is, where the same images serve several steps: a teacher that draws draws by it.
        teacher: what the teacher said of these images, kept as long as they are, with every place that some student's method
            reads. The loop writes it; a source that has asked already may (:meth:`answered`).
    """

    images: Tensor
    labels: Tensor | None = None
    index: Tensor | None = None
    variant: Tensor | None = None
    number: int | None = None
    teacher: Output | None = field(default=None, init=False, repr=False, compare=False)

    def answered(self, teacher_output: Output) -> Batch:
        """This batch, with what the teacher said of it."""
        object.__setattr__(self, "teacher", teacher_output)  # a cache beside the value, which stays what it is
        return self

    def labels_for(self, who: Any) -> Tensor:
        """The labels, or a sentence that says which term needed them."""
        if self.labels is None:
            name = who if isinstance(who, str) else type(who).__name__
            raise RedistillError(
                f"{name} needs labels, but this batch has none (label-free images or generated ones): "
                f"remove {name} from the method or give a labelled source"
            )
        return self.labels


@dataclass(frozen=True)
class Output:
    """What a network said about one batch: ``logits`` [B, classes] and the features some term asked for, by place."""

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, place: str) -> Tensor:
        if place not in self.taps:
            raise RedistillError(f"place {place!r} was not tapped: this output holds {sorted(self.taps) or 'logits only'}")
        return self.taps[place]


@dataclass(frozen=True)
class Place:
    """Where a feature is read: the output (or the input) of a module, named by its path in the network.

    ``call``: which call of it in one forward, from 1, for a module that is used several times; None: its only (or last) one.
    Written ``relu@2``. ``turned``: the module gives [B, H, W, C]; it is read as [B, C, H, W].

    ``again``: the published code obtains this feature by calling the module a second time, which shows only in a teacher
    left in train mode, whose running statistics then move twice a step (``Recipe.teacher_mode = "train"``).
    """

    module: str
    side: Literal["out", "in"] = "out"
    again: bool = False
    call: int | None = None
    turned: bool = False

    @classmethod
    def at(cls, name: str) -> Place:
        """The output of a module by its path, ``layer1.0``, or of one of its calls, ``relu@2``.

        >>> Place.at("relu@2")
        Place(module='relu', side='out', again=False, call=2, turned=False)
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
        seed: the run's seed; draw only through ``redistill.rng.stream(ctx.seed, "term", ...)`` or ``seeded``.
        adapt: makes of images of the stream what the teacher is to be called with; None: they are that already.
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
    entries = [at] if isinstance(at, str) else list(at)
    pairs: list[Pair] = []
    for entry in entries:
        pair = (entry, entry) if isinstance(entry, str) else tuple(entry)
        if len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise RedistillError(
                f"at={at!r}: every entry is a place ('stage2') or a pair (student place, teacher place), got {entry!r}"
            )
        pairs.append((pair[0], pair[1]))
    if not pairs:
        raise RedistillError("at=[] names no place: leave it out for the default, or name at least one")
    return tuple(pairs)


class Term(nn.Module):
    """One formula of one paper, without a weight.

    A subclass is a dataclass whose fields are the formula's settings (``@dataclass(eq=False, repr=False)``), beside each
    default its origin. It is final: nothing implemented is overridden. It declares

    * ``needs_labels`` / ``needs_teacher``: what it cannot do without,
    * ``theorems``: names of the properties that ``redistill.testing.check_term`` proves for it,
    * ``numerics``: a whole number, raised whenever a change can move a result,
    * ``later``: names of settings that came after the first release. They are written down only where they differ from their
      default, so that an experiment that knew nothing of them keeps its id,
    * optionally ``compares_logits``: whether it needs a teacher of the same classes; None: it has a teacher and reads no places,
    * optionally ``setup(ctx)``: called once; sees shapes and builds adapters, anchors, banks as parameters and buffers,
    * ``forward(student, teacher, batch) -> scalar``. A term never reads the epoch.

    Feature terms have a field ``at`` and set ``self.pairs`` in ``setup``.
    """

    needs_labels: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ()
    numerics: ClassVar[int] = 1
    later: ClassVar[tuple[str, ...]] = ()
    compares_logits: ClassVar[bool | None] = None

    pairs: tuple[Pair, ...] = ()
    ready: bool = True

    def __post_init__(self) -> None:
        super().__init__()
        self.check()

    def check(self) -> None:
        """Refuse settings that cannot work; called once on construction. Default: accepts everything."""

    def setup(self, ctx: Context) -> None:
        """Look at the networks once; default: nothing to prepare."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no forward")

    # -- as a value ---------------------------------------------------------------------------------------------------
    def settings(self) -> dict[str, Any]:
        """Every setting, defaults written out (but for those of ``later``): what a record and an experiment file hold."""
        every = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, (value, usual) in every.items() if name not in self.later or value != usual}

    def fresh(self) -> Term:
        """The same formula with the same settings and no state."""
        return type(self)(**copy.deepcopy(self.settings()))

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self.settings().items())

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        shown = [f"{k}={v!r}" for k, v in self.settings().items() if v != defaults[k]]
        return f"{type(self).__name__}({', '.join(shown)})"

    # -- arithmetic: 0.1 * CE() + 0.9 * KD(T=4) -----------------------------------------------------------------------
    def __rmul__(self, weight: float | Ramp) -> Method:
        return Method(((weight, self),))

    __mul__ = __rmul__

    def __add__(self, other: Term | Method) -> Method:
        return 1.0 * self + other

    def __radd__(self, other: Any) -> Method:
        if other == 0:  # so that sum([...]) works
            return 1.0 * self
        return NotImplemented


def require_ready(term: Term) -> None:
    """For terms that look at the networks first: a sentence instead of an attribute error when ``setup`` was forgotten."""
    if not term.ready:
        name = type(term).__name__
        raise RedistillError(
            f"{name} has not seen the networks yet, whose places and sizes it needs: call {name.lower()}.setup("
            f"redistill.context(student, teacher, images)) once before the first step (redistill.fit does it for you)"
        )


def reads_logits(term: Term) -> bool:
    """Whether a term compares the logits of student and teacher, class by class. Known after ``setup``."""
    return term.needs_teacher and not term.pairs if term.compares_logits is None else term.compares_logits


def require_common_classes(ctx: Context, who: str) -> None:
    """Refuse a teacher of other classes, and networks of one class, for a term that compares logits."""
    if "logits" not in ctx.student_places or "logits" not in ctx.teacher_places:
        return
    mine, theirs = ctx.student_places["logits"][1], ctx.teacher_places["logits"][1]
    if mine != theirs:
        raise RedistillError(
            f"the teacher tells {theirs} classes apart, the student {mine}: they must agree, because {who} compares their logits; "
            f"terms that compare features (AT, FitNet, VID, Review) do without"
        )
    if mine < 2:
        raise RedistillError(one_class(who))


def one_class(who: str) -> str:
    """Why one logit an image teaches nothing."""
    return (
        f"{who}: the networks give one logit an image, whose softmax is 1 whatever they say, so that nothing can be learned: give "
        f"two logits, [0, z] for a sigmoid's z"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Methods
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class WeightTable:
    """The weights of a run: ``rows`` [distinct, terms] float64, and ``which`` [steps] of them a step has (None: the only one)."""

    rows: Tensor
    which: Tensor | None

    def __getitem__(self, step: int) -> list[float]:
        """One weight a term."""
        row: list[float] = self.rows[0 if self.which is None else int(self.which[step])].tolist()
        return row


class Method(nn.Module):
    """A weighted sum of terms: ``0.1 * CE() + 0.9 * KD(T=4) + 1000 * AT()``. A value until ``setup``.

    A weight is a number or a :class:`Ramp`. ``fit`` works on a fresh copy, so one method can serve many runs.
    """

    def __init__(self, parts: Iterable[tuple[Weight, Term]]):
        super().__init__()
        weights: list[Weight] = []
        terms: list[Term] = []
        for weight, term in parts:
            if not isinstance(term, Term):
                raise RedistillError(f"a method is made of terms, got {term!r} ({type(term).__name__})")
            if isinstance(weight, bool) or not isinstance(weight, int | float | Ramp):
                raise RedistillError(f"the weight of {term!r} must be a number or a Ramp, got {weight!r}")
            if not isinstance(weight, Ramp):
                weight = float(weight)
                if not math.isfinite(weight):
                    raise RedistillError(f"the weight of {term!r} must be finite, got {weight}")
            weights.append(weight)
            terms.append(term)
        if not terms:
            raise RedistillError("a method needs at least one term, for example 1.0 * redistill.CE()")
        self.weights: tuple[Weight, ...] = tuple(weights)
        self.terms = nn.ModuleList(terms)

    @classmethod
    def of(cls, what: Method | Term) -> Method:
        """A bare term has weight 1."""
        if isinstance(what, Method):
            return what
        if isinstance(what, Term):
            return cls(((1.0, what),))
        raise RedistillError(f"expected a method such as 0.1 * CE() + 0.9 * KD(T=4), got {what!r}")

    def parts(self) -> Iterator[tuple[Weight, Term]]:
        for weight, term in zip(self.weights, self.terms, strict=True):
            assert isinstance(term, Term)
            yield weight, term

    @property
    def names(self) -> tuple[str, ...]:
        """One name a term, numbered where a formula occurs twice (``AT``, ``AT.2``)."""
        seen: dict[str, int] = {}
        names = []
        for _, term in self.parts():
            name = type(term).__name__
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
        return tuple(names)

    @property
    def needs_teacher(self) -> bool:
        return any(term.needs_teacher for _, term in self.parts())

    def fresh(self) -> Method:
        return Method((weight, term.fresh()) for weight, term in self.parts())

    def setup(self, ctx: Context) -> None:
        for _, term in self.parts():
            term.setup(ctx)
            if reads_logits(term):
                require_common_classes(ctx, type(term).__name__)

    def places(self, whose: Literal["student", "teacher"]) -> tuple[str, ...]:
        """Every place that some term reads, in a fixed order. Known after ``setup``."""
        which = 0 if whose == "student" else 1
        return tuple(dict.fromkeys(pair[which] for _, term in self.parts() for pair in term.pairs))

    def weights_at(self, epoch: int, step: int) -> tuple[float, ...]:
        """The weights of one step."""
        return tuple(w.at(epoch=epoch, step=step) if isinstance(w, Ramp) else w for w in self.weights)

    def weight_table(self, steps: int, steps_per_epoch: int) -> WeightTable:
        """All weights of a run, made before its first step."""
        if not any(isinstance(w, Ramp) for w in self.weights):
            return WeightTable(torch.tensor([self.weights_at(0, 0)], dtype=torch.float64), None)
        known: dict[tuple[float, ...], int] = {}
        which = [known.setdefault(self.weights_at(s // steps_per_epoch, s), len(known)) for s in range(steps)]
        return WeightTable(torch.tensor(list(known), dtype=torch.float64), torch.tensor(which, dtype=torch.int32))

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> tuple[Tensor, ...]:
        """The unweighted terms, in order. The loop multiplies and adds; in your own loop use :meth:`loss`."""
        missing = [type(t).__name__ for _, t in self.parts() if t.needs_teacher] if teacher is None else []
        if missing:
            raise RedistillError(f"{missing[0]} compares with a teacher, but there is none: give a teacher or remove it")
        return tuple(term(student, teacher, batch) for _, term in self.parts())

    def loss(self, student: Output, teacher: Output | None, batch: Batch, *, epoch: int = 0, step: int = 0) -> Tensor:
        """The weighted sum, for your own loop."""
        return weighted_sum(self.weights_at(epoch, step), self(student, teacher, batch))

    def settings(self) -> list[dict[str, Any]]:
        """One table a term, as in an experiment file: ``use``, ``weight``, and every setting."""
        rows = []
        for weight, term in self.parts():
            written = dataclasses.asdict(weight) if isinstance(weight, Ramp) else weight
            rows.append({"use": type(term).__name__, "weight": written, **term.settings()})
        return rows

    # nn.Module defines == by identity already; a method prints as it was written
    def __repr__(self) -> str:
        return " + ".join(repr(t) if w == 1.0 else f"{w!r} * {t!r}" for w, t in self.parts())

    def __add__(self, other: Method | Term) -> Method:
        if not isinstance(other, Method | Term):
            return NotImplemented
        return Method([*self.parts(), *Method.of(other).parts()])

    def __radd__(self, other: Any) -> Method:
        if other == 0:
            return self
        return NotImplemented

    def __rmul__(self, factor: float) -> Method:
        return Method((factor * weight, term) for weight, term in self.parts())

    __mul__ = __rmul__


def weighted_sum(weights: Sequence[float | Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Σ w·l in the order of the terms; a weight of exactly 1 is not multiplied."""
    total: Tensor | None = None
    for weight, loss in zip(weights, losses, strict=True):
        part = loss if isinstance(weight, float) and weight == 1.0 else weight * loss
        total = part if total is None else total + part
    assert total is not None
    return total


# ---------------------------------------------------------------------------------------------------------------------
# Sources
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Room:
    """What a source is given when a run starts.

    Attributes:
        seed: the run's seed. batch_size: images a batch. device, dtype: where and in what the images are wanted.
        teacher: the frozen teacher, or None. students: the networks being trained (a source that depends on the student
            gets exactly one). autocast: context factory under which the run computes its forwards.
        steps: how many steps the run will take.
        teacher_places: features of the teacher that the students' methods read.
        adapt: of one of the networks here: a function that makes of images of the stream what it is to be called with.
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
class Culprit(Protocol):
    """A stream that can be the reason why a student's loss is not finite: images of a generator that diverged."""

    def blame(self, step: int) -> str | None:
        """A sentence if the images of ``step`` were not finite themselves, None where the student alone is to blame."""
        ...


@runtime_checkable
class Keeper(Protocol):
    """A stream with something worth keeping beside the student: a trained generator, samples."""

    def keepsakes(self) -> dict[str, dict[str, Tensor]]:
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

    def start(self, room: Room) -> Stream: ...

    def settings(self) -> dict[str, Any]: ...
