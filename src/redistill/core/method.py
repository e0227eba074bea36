"""What is minimised: terms, their weights (numbers or ramps) and the weighted sum of them."""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core.batch import Batch, Output, in_single, require_handed
from redistill.core.handed import Learned, learned_by, taken_over
from redistill.core.kinds import as_declared, declared, is_number, require_finite
from redistill.core.places import Context, Pair
from redistill.core.ramp import Ramp, Weight, WeightTable, weights_at
from redistill.core.summary import Summary
from redistill.errors import RedistillError, nearest
from redistill.values import WORDS


class Summand(nn.Module, abc.ABC):
    """What is weighed and added: ``0.1 * CE() + 0.9 * KD(T=4)``, also ``CE() / 2`` and ``KD() - 0.5 * CE()``."""

    @abc.abstractmethod
    def as_method(self) -> Method:
        """Itself as a weighted sum of terms; a bare term has weight 1."""

    def __rmul__(self, factor: Any) -> Method:
        if isinstance(factor, Summand):
            raise RedistillError(f"{self!r} and {factor!r} cannot be multiplied: terms are added, and multiplied by numbers")
        return Method((_times(factor, weight, term), term) for weight, term in self.as_method().parts())

    __mul__ = __rmul__

    def __truediv__(self, factor: float) -> Method:
        if is_number(factor) and factor == 0:
            raise RedistillError(f"{self!r} cannot be divided by 0")
        return self * (1.0 / factor if is_number(factor) else factor)

    def __neg__(self) -> Method:
        return -1.0 * self

    def __add__(self, other: Term | Method) -> Method:
        if not isinstance(other, Summand):
            raise RedistillError(f"only terms can be added to {self!r}, got {_shown(other)} ({type(other).__name__})")
        return Method([*self.as_method().parts(), *other.as_method().parts()])

    def __sub__(self, other: Term | Method) -> Method:
        return self + (-other if isinstance(other, Summand) else other)

    def __radd__(self, other: Any) -> Method:
        if isinstance(other, int) and other == 0:  # so that sum([...]) works
            return self.as_method()
        raise RedistillError(f"only terms can be added to {self!r}, got {_shown(other)} ({type(other).__name__})")


def _shown(given: Any) -> str:
    """What was given, in one line: a network prints in hundreds."""
    said = repr(given)
    return f"a {type(given).__name__}" if "\n" in said or len(said) > 200 else said


def _times(factor: Any, weight: Weight, term: Term) -> Weight:
    """``factor`` times a weight; whatever is no number stands alone, for :class:`Method` to take (a Ramp) or to refuse."""
    if is_number(factor):
        return float(factor) * weight
    if isinstance(factor, Ramp) and not isinstance(weight, Ramp):
        return weight * factor
    if isinstance(factor, Ramp):
        raise RedistillError(f"the weight of {term!r} is a Ramp already, and cannot be multiplied by another")
    return factor  # type: ignore[no-any-return]


class Term(Summand):
    """One formula of one paper, without a weight.

    A subclass is a dataclass whose fields are the formula's settings (``@dataclass(eq=False, repr=False)``, which may be left out),
    beside each default its origin. It is final: nothing implemented is overridden. It declares

    * ``needs_labels`` / ``needs_teacher``: what it cannot do without,
    * ``takes_mixed``: it needs labels, and takes images that are mixed of two (:meth:`Batch.mixed_labels_for`),
    * ``needs_pairs``: whether it compares the images of a batch with each other, so that a batch of one teaches nothing,
    * ``theorems``: names of the properties that ``redistill.testing.check_term`` proves for it,
    * ``numerics``: a whole number, raised whenever a change can move a result,
    * ``hands_on``: names of the parts that a finished run keeps, for a run that starts from its student,
    * ``later``: names of settings that came after the first release. They are written down only where they differ from their
      default, so that an experiment that knew nothing of them keeps its id,
    * optionally ``compares_logits``: whether it needs a teacher of the same classes; None: it has a teacher and reads no places,
    * optionally ``quicker(bf16=...)``: called once after ``setup`` in a run of ``precision = "fast"``,
    * optionally ``summaries()``: what it can do with instead of a feature of the teacher, where that is less to remember,
    * optionally ``begins_with()``: which of those parts it takes over from the stage before,
    * optionally ``setup(ctx)``: called once; sees shapes and builds adapters, anchors, banks as parameters and buffers,
    * ``forward(student, teacher, batch) -> scalar``. A term never reads the epoch.

    Feature terms have a field ``at`` and set ``self.pairs`` in ``setup``.
    """

    needs_labels: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    takes_mixed: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = False
    theorems: ClassVar[tuple[str, ...]] = ()
    numerics: ClassVar[int] = 1
    hands_on: ClassVar[tuple[str, ...]] = ()
    later: ClassVar[tuple[str, ...]] = ()
    compares_logits: ClassVar[bool | None] = None

    pairs: tuple[Pair, ...] = ()
    ready: bool = True
    in_bf16: bool = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Term:
        if cls is Term:
            raise RedistillError("a Term is one formula: make one of redistill.terms, KD(T=4), or a class of your own from Term")
        cls.completed()
        names = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]  # every term is a dataclass
        if odd := [name for name in kwargs if name not in names]:
            if WORDS.get(odd[0].lower(), odd[0]) == "weight":
                raise RedistillError(f"{cls.__name__} has no setting {odd[0]!r}: a weight stands before a term, 0.9 * {cls.__name__}()")
            raise RedistillError(f"{cls.__name__}: {nearest(odd[0], names, 'setting', WORDS)}")
        return super().__new__(cls)

    @classmethod
    def completed(cls) -> type[Term]:
        """The class as the dataclass that every term is, where its author left the decorator out.

        Raises:
            RedistillError: it has a constructor of its own, which says nothing of its settings.
        """
        if cls is Term or "__dataclass_fields__" in vars(cls):
            return cls
        if "__init__" in vars(cls):
            raise RedistillError(
                f"{cls.__name__} defines __init__, and a term's settings are its fields: write them in the body of the class, "
                f"T: float = 4.0, and leave __init__ out; what needs the networks is made in setup(ctx), what needs no setting in check()"
            )
        try:
            dataclasses.dataclass(eq=False, repr=False)(cls)
        except (TypeError, ValueError) as error:  # a list as a default, a setting without one after one that has it
            raise RedistillError(f"{cls.__name__} cannot be a term, whose settings are the fields of a dataclass: {error}") from error
        return cls

    def __post_init__(self) -> None:
        super().__init__()
        self.took_over: set[str] = set()  # parts that came from the stage before
        who, kinds = type(self).__name__, declared(type(self))
        known = [f.name for f in dataclasses.fields(self) if f.init and f.name in kinds]  # type: ignore[arg-type]
        for name in known:
            kind, optional, several = kinds[name]
            setattr(self, name, as_declared(who, name, getattr(self, name), kind, optional=optional, several=several))
        self.check()
        for name in known:
            require_finite(who, name, getattr(self, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The loss; what is no output of a network, and no batch, is refused with the way to make one.

        Inside ``torch.autocast`` it computes as outside: in fp32 where outputs are of half precision. There matrix products of features
        would be rounded to 8 bits, or overflow in fp16, and a loss that compares images with each other is little but such products.
        """
        given = {**dict(zip(("student", "teacher", "batch"), args, strict=False)), **kwargs}
        require_handed(type(self).__name__, given, needs_teacher=self.needs_teacher, needs_labels=self.needs_labels)
        device = given["student"].logits.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return super().__call__(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return super().__call__(**{who: in_single(one) if who in ("student", "teacher") else one for who, one in given.items()})

    def check(self) -> None:
        """Refuse settings that cannot work; called once on construction. Default: accepts everything."""

    def setup(self, ctx: Context) -> None:
        """Look at the networks once; default: nothing to prepare."""

    def begins_with(self) -> tuple[str, ...]:
        """Parts that the stage before has trained, which this term goes on with; default: none."""
        return ()

    def summaries(self) -> Mapping[str, Summary]:
        """By place of the teacher, what this term can do with instead of the feature; known after ``setup``. Default: nothing.

        Where no other term needs the feature whole, and what the teacher says is remembered, ``forward`` may find
        ``teacher.taps[summary.at(place)]`` in its stead. A subclass of one's own, which may read more, does not inherit it.
        """
        return {}

    def quicker(self, *, bf16: bool) -> None:
        """The run is ``fast``: what computes the same in fewer passes, with another rounding, may do so. Default: only says whether
        adapters may compute in bf16, as the networks do (``in_bf16``)."""
        self.in_bf16 = bf16

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no forward")

    def as_method(self) -> Method:
        return Method(((1.0, self),))

    # -- as a value ---------------------------------------------------------------------------------------------------
    def settings(self) -> dict[str, Any]:
        """Every setting, defaults written out (but for those of ``later``): what a record and an experiment file hold."""
        every = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, (value, usual) in every.items() if name not in self.later or value != usual}

    def fresh(self) -> Term:
        """The same formula with the same settings and no state."""
        return type(self)(**copy.deepcopy(self.settings()))

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        shown = [f"{k}={v!r}" for k, v in self.settings().items() if v != defaults[k]]
        return f"{type(self).__name__}({', '.join(shown)})"


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
class Method(Summand):
    """A weighted sum of terms: ``0.1 * CE() + 0.9 * KD(T=4) + 1000 * AT()``. A value until ``setup``.

    A weight is a number or a :class:`Ramp`. ``fit`` works on a fresh copy, so one method can serve many runs.
    """

    def __init__(self, parts: Iterable[tuple[Weight, Term]]):
        super().__init__()
        weights: list[Weight] = []
        terms: list[Term] = []
        for weight, term in parts:
            if not isinstance(term, Term):
                raise RedistillError(f"a method is made of terms, got {_shown(term)} ({type(term).__name__})")
            if not (isinstance(weight, Ramp) or is_number(weight)):
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
        self._before: Learned | None = None

    def as_method(self) -> Method:
        return self

    @classmethod
    def of(cls, what: Method | Term) -> Method:
        """A bare term has weight 1."""
        if isinstance(what, Summand):
            return what.as_method()
        raise RedistillError(f"expected a method such as 0.1 * CE() + 0.9 * KD(T=4), got {_shown(what)}")

    def parts(self) -> Iterator[tuple[Weight, Term]]:
        for weight, term in zip(self.weights, self.terms, strict=True):
            assert isinstance(term, Term)
            yield weight, term

    @property
    def names(self) -> tuple[str, ...]:
        """One name a term, numbered where a formula occurs twice (``AT``, ``AT.2``)."""
        return numbered(type(term).__name__ for _, term in self.parts())

    @property
    def needs_teacher(self) -> bool:
        return any(term.needs_teacher for _, term in self.parts())

    def fresh(self) -> Method:
        made = Method((weight, term.fresh()) for weight, term in self.parts())
        made._before = self._before
        return made

    @property
    def before(self) -> Learned | None:
        """What a stage before has handed on (:meth:`beginning_with`); None where nothing was."""
        return self._before

    def named_terms(self) -> list[tuple[str, Term]]:
        """Its terms under their names."""
        return [(name, term) for name, (_, term) in zip(self.names, self.parts(), strict=True)]

    def learned(self) -> dict[str, Tensor]:
        """What its terms hand on to a next stage, after a run: see :meth:`beginning_with`."""
        return learned_by(self.named_terms())

    def beginning_with(self, learned: Learned) -> Method:
        """The same sum, whose terms take over what a stage before has learned: FT's translator the paraphraser that
        ``FT(learns="paraphraser")`` trained. ``learned``: of that stage's method (``result.method.learned()``)."""
        made = self.fresh()
        made._before = dict(learned)
        return made

    def setup(self, ctx: Context) -> None:
        for name, term in self.named_terms():
            with rng.seeded(ctx.seed, "term", "setup", name):  # adapters of a term of one's own, which may know only the global generator
                term.setup(ctx)
            if reads_logits(term):
                require_common_classes(ctx, type(term).__name__)
        if self._before is not None:
            taken_over(self.named_terms(), self._before)

    def places(self, whose: Literal["student", "teacher"]) -> tuple[str, ...]:
        """Every place that some term reads, in a fixed order. Known after ``setup``."""
        which = 0 if whose == "student" else 1
        return tuple(dict.fromkeys(pair[which] for _, term in self.parts() for pair in term.pairs))

    def reading(self) -> list[tuple[tuple[str, ...], Mapping[str, Summary]]]:
        """Of every term the places of the teacher that it reads, and what it can do with instead. Known after ``setup``."""
        return [
            (tuple(theirs for _, theirs in term.pairs), term.summaries() if "summaries" in vars(type(term)) else {})
            for _, term in self.parts()
        ]

    def weights_at(self, epoch: int, step: int) -> tuple[float, ...]:
        """The weights of one step."""
        return weights_at(self.weights, epoch, step)

    def weight_table(self, steps: int, steps_per_epoch: int) -> WeightTable:
        """All weights of a run, made before its first step."""
        return WeightTable.of(self.weights, steps, steps_per_epoch)

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> tuple[Tensor, ...]:
        """The unweighted terms, in order. The loop multiplies and adds; in your own loop use :meth:`loss`."""
        missing = [type(t).__name__ for _, t in self.parts() if t.needs_teacher] if teacher is None else []
        if missing:
            raise RedistillError(f"{missing[0]} compares with a teacher, but there is none: give a teacher or remove it")
        if not batch.partly or batch.labels is None or not any(term.needs_labels for _, term in self.parts()):
            return tuple(term(student, teacher, batch) for _, term in self.parts())
        rows = batch.labelled_rows()
        known = student.rows(rows), None if teacher is None else teacher.rows(rows), batch.rows(rows)
        return tuple(_of_the_labelled(term, *known) if term.needs_labels else term(student, teacher, batch) for _, term in self.parts())

    def loss(
        self, student: Output, teacher: Output | None, batch: Batch, *, epoch: int | None = None, step: int | None = None
    ) -> Tensor:
        """The weighted sum, for your own loop. ``epoch``, ``step``: from 0, for a weight that changes with it (:class:`Ramp`), which
        would stay what it is in the first one if nobody said so."""
        now = {"epoch": epoch, "step": step}
        for weight, term in self.parts():
            if isinstance(weight, Ramp) and now[weight.unit] is None:
                raise RedistillError(
                    f"the weight of {term!r} changes from {weight.unit} to {weight.unit}: method.loss(..., {weight.unit}={weight.unit}), "
                    f"counted from 0"
                )
        return weighted_sum(self.weights_at(epoch or 0, step or 0), self(student, teacher, batch))

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


def _of_the_labelled(term: Term, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
    """A term that needs labels, of the rows that have one: a mean over these. 0 where they are too few to say something."""
    alone = term.needs_pairs or any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in term.modules())
    if len(student.logits) < (2 if alone else 1):
        return student.logits[:0].sum()
    return term(student, teacher, batch)  # type: ignore[no-any-return]


def numbered(names: Iterable[str]) -> tuple[str, ...]:
    """Names of terms as they stand in losses and records: numbered where a formula occurs twice.

    >>> numbered(["CE", "AT", "AT"])
    ('CE', 'AT', 'AT.2')
    """
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return tuple(made)


def weighted_sum(weights: Sequence[float | Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Σ w·l in the order of the terms; a weight of exactly 1 is not multiplied."""
    total: Tensor | None = None
    for weight, loss in zip(weights, losses, strict=True):
        part = loss if isinstance(weight, float) and weight == 1.0 else weight * loss
        total = part if total is None else total + part
    assert total is not None
    return total
