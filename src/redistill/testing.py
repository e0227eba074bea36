"""Public conformance: what every term promises, proven for one term, yours as well as ours.

    from redistill.testing import check_term
    check_term(lambda: MyTerm(T=4.0))

The term is tried between two small convolutional networks in double precision; with ``student``, ``teacher`` and
``images`` between yours. A broken promise raises :class:`NotConformant` with one sentence.
"""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import Batch, Output, RedistillError, Term
from redistill.taps import Tapped, context, places_of
from redistill.terms import ALL, by_name

Make = Callable[[], Term]


class NotConformant(AssertionError):
    """A term broke one of its promises."""


def _require(kept: bool, sentence: str) -> None:
    if not kept:
        raise NotConformant(sentence)


class SmallNet(nn.Module):
    """Images [B, 3, H, W] to logits: one smooth 3x3 convolution a stage, halving the size, global average, linear."""

    def __init__(self, widths: Sequence[int], classes: int, seed: int):
        super().__init__()
        channels = [3, *widths]
        with rng.seeded(seed, "testing", *widths):
            self.stages = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1), nn.GELU())
                for i, (a, b) in enumerate(zip(channels, widths, strict=False))
            )
            self.head = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        for stage in self.stages:
            images = stage(images)
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


@dataclass
class Bench:
    """A term set up between two networks, with what each said about one batch."""

    term: Term
    student: nn.Module
    teacher: nn.Module
    batch: Batch
    read: Tapped
    taught: Output

    def said(self) -> Output:
        return self.read(self.batch.images)

    def loss(self, student: Output | None = None, teacher: Output | None = None, batch: Batch | None = None) -> Tensor:
        value: Tensor = self.term(student or self.said(), teacher or self.taught, batch or self.batch)
        _require(value.shape == (), f"the loss must be a scalar, it has shape {list(value.shape)}")
        return value

    def value(self, student: Output | None = None, teacher: Output | None = None, batch: Batch | None = None) -> float:
        with torch.no_grad():
            return float(self.loss(student, teacher, batch))


@dataclass(frozen=True)
class _Case:
    """What benches are made from: a term's factory, two networks and images."""

    make: Make
    student: nn.Module
    teacher: nn.Module
    images: Tensor

    def bench(self, seed: int = 0, *, moved: bool = True, dtype: torch.dtype = torch.float64) -> Bench:
        """Everything fresh; ``moved``: the student's weights stand a little away from where ``setup`` saw them."""
        student, teacher = copy.deepcopy(self.student).to(dtype), copy.deepcopy(self.teacher).to(dtype)
        images = self.images.to(dtype)
        student.train()
        teacher.eval()
        with torch.no_grad():
            classes = teacher(images).shape[1]
        labels = torch.arange(len(images)) % classes
        term = self.make()
        term.setup(context(student, teacher, images, count=len(images), labels=labels, seed=seed))
        term.to(dtype)
        term.train()
        if moved:
            noise = rng.stream(0, "testing", "moved")
            with torch.no_grad():
                for parameter in student.parameters():
                    step = torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
                    parameter.add_(0.05 * parameter.abs().mean() * step.to(dtype))
        tables = (places_of(student, images).places, places_of(teacher, images).places)
        mine, theirs = ({pair[which] for pair in term.pairs} for which in (0, 1))
        read = Tapped(student, {name: place for name, place in tables[0].items() if name in mine})
        read.prepare(images)
        with torch.no_grad():
            taught = Tapped(teacher, {name: place for name, place in tables[1].items() if name in theirs})(images)
        batch = Batch(
            images,
            labels=labels if term.needs_labels else None,
            index=torch.arange(len(images)),
            variant=torch.zeros(len(images), dtype=torch.int64),
        )
        return Bench(term, student, teacher, batch, read, taught)


# ---------------------------------------------------------------------------------------------------------------------
# Promises of every term
# ---------------------------------------------------------------------------------------------------------------------
def _scalar(case: _Case) -> None:
    """one finite number in the precision of the networks"""
    double, single = case.bench().loss(), case.bench(dtype=torch.float32).loss()
    for loss, dtype in ((double, torch.float64), (single, torch.float32)):
        _require(loss.dtype == dtype, f"networks in {dtype} got a loss in {loss.dtype}")
        _require(bool(torch.isfinite(loss)), f"the loss is {loss.item()} in {dtype}")
    _require(
        abs(single.item() - double.item()) <= 1e-3 * max(abs(double.item()), 1e-3),
        f"single precision gives {single.item()}, double precision {double.item()}",
    )


def _repeatable(case: _Case) -> None:
    """the same seed gives the same adapters and the same loss, bit for bit"""
    one, two = case.bench(3), case.bench(3)
    for (name, a), b in zip(one.term.state_dict().items(), two.term.state_dict().values(), strict=True):
        _require(torch.equal(a, b), f"two set-ups under one seed start {name} differently")
    first = one.value()
    _require(first == two.value(), "two set-ups under one seed give two losses")
    _require(first == one.value(), "the same batch gives two losses one after the other")


def _global_states() -> tuple[object, ...]:
    return torch.random.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def _own_randomness(case: _Case) -> None:
    """no draw from a global generator"""
    before = _global_states()
    case.bench().loss()
    _require(before == _global_states(), "the term drew from a global random generator: use redistill.rng")


def _inputs_untouched(case: _Case) -> None:
    """logits, features, images and labels stay as they were"""
    bench = case.bench()
    said = bench.said()
    tensors = {"student logits": said.logits, "teacher logits": bench.taught.logits, "images": bench.batch.images}
    tensors |= {f"student {n}": v for n, v in said.taps.items()} | {f"teacher {n}": v for n, v in bench.taught.taps.items()}
    if bench.batch.labels is not None:
        tensors["labels"] = bench.batch.labels
    before = {name: (value.detach().clone(), value._version) for name, value in tensors.items()}
    bench.loss(said).backward()
    for name, value in tensors.items():
        copied, version = before[name]
        _require(torch.equal(copied, value) and version == value._version, f"the term wrote into the {name}")


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Every tensor that collects a gradient when ``loss`` runs backward."""
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), Tensor):
            yield leaf
        nodes.extend(after for after, _ in node.next_functions)


def _parameters(case: _Case) -> None:
    """gradients reach the student and every learnable parameter of the term, and nothing else"""
    bench = case.bench()
    student = {id(p): name for name, p in bench.student.named_parameters()}
    term = {id(p): name for name, p in bench.term.named_parameters() if p.requires_grad}
    teacher = {id(p): name for name, p in bench.teacher.named_parameters()}
    loss = bench.loss()
    _require(loss.requires_grad, "the loss does not depend on the student")
    reached = {id(leaf): leaf for leaf in _leaves(loss)}
    for key, leaf in reached.items():
        _require(key not in teacher, f"the gradient runs into the teacher's {teacher.get(key)}")
        _require(
            key in student or key in term,
            f"a trained tensor of shape {list(leaf.shape)} is not in term.parameters(): the optimiser would never see it",
        )
    unreached = [name for key, name in term.items() if key not in reached]
    _require(not unreached, f"the parameter {unreached[:1]} of the term gets no gradient")
    loss.backward()
    grads = {name: p.grad for name, p in [*bench.student.named_parameters(), *bench.term.named_parameters()]}
    for name, grad in grads.items():
        _require(grad is None or bool(torch.isfinite(grad).all()), f"the gradient of {name} is not finite")
    moved = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in bench.student.parameters()]
    _require(any(moved), "no parameter of the student gets a gradient other than 0")


def _derivative(case: _Case) -> None:
    """the gradient is the derivative of the value"""
    bench = case.bench()
    trained = [p for p in (*bench.student.parameters(), *bench.term.parameters()) if p.requires_grad]
    grads = torch.autograd.grad(bench.loss(), trained, allow_unused=True)
    noise = rng.stream(0, "testing", "direction")
    # a step can cross the kink of some ReLU; a right gradient agrees in most directions, a wrong one in none
    for _ in range(4):
        ways = [torch.randn(p.shape, generator=noise, dtype=torch.float64) for p in trained]
        slope = sum(float((g * way).sum()) for g, way in zip(grads, ways, strict=True) if g is not None)
        measured, value = _measured_slope(bench, trained, ways)
        if abs(measured - slope) <= 1e-5 * max(abs(slope), abs(value), 1e-3):
            return
    raise NotConformant(f"the gradient says {slope}, a small step measures {measured}")


def _measured_slope(bench: Bench, trained: list[nn.Parameter], ways: list[Tensor], step: float = 1e-8) -> tuple[float, float]:
    """Central difference of the loss along ``ways``, and the loss."""
    starts = [p.detach().clone() for p in trained]
    values = []
    with torch.no_grad():
        for sign in (step, -step, 0.0):
            for parameter, start, way in zip(trained, starts, ways, strict=True):
                parameter.copy_(start + sign * way)
            values.append(bench.value())
    return (values[0] - values[1]) / (2 * step), values[2]


def _settings(case: _Case) -> None:
    """every setting survives a file, and the class is found by its name"""
    term = case.make()
    kind: type[Term] = type(term)
    if kind in ALL:
        _require(by_name(kind.__name__) is kind, f"by_name({kind.__name__!r}) finds another class")
    read = kind(**json.loads(json.dumps(term.settings())))
    _require(read.settings() == term.settings(), f"settings {term.settings()} come back as {read.settings()}")


def _fresh(case: _Case) -> None:
    """a fresh copy has the settings and no state"""
    used = case.bench().term
    fresh, new = used.fresh(), case.make()
    _require(fresh.settings() == used.settings(), f"fresh() has other settings: {fresh.settings()}")
    _require(not fresh.state_dict(), f"fresh() still holds {list(fresh.state_dict())[:1]}")
    _require((fresh.ready, fresh.pairs) == (new.ready, new.pairs), "fresh() still knows the networks of the set-up")


def _ready(case: _Case) -> None:
    """used before ``setup``, a term that needs one says so"""
    bench, new = case.bench(), case.make()
    if new.ready:
        return
    try:
        new(bench.said(), bench.taught, bench.batch)
    except RedistillError:
        return
    raise NotConformant("used before setup it must raise RedistillError: call redistill.core.require_ready in forward")


def _saved(case: _Case) -> None:
    """copies and restored states give the same loss"""
    bench, other = case.bench(1), case.bench(2)
    said = bench.said()
    expected = bench.value(said)
    twin = replace(bench, term=copy.deepcopy(bench.term))
    _require(twin.value(said) == expected, "a deep copy gives another loss")
    saved = case.bench(1).term.state_dict()  # before its first batch moved running statistics
    other.term.load_state_dict(saved)
    _require(other.value() == case.bench(1).value(), "a restored state gives another loss")
    again = pickle.loads(pickle.dumps(bench.term)).state_dict()
    for name, value in bench.term.state_dict().items():
        _require(name in again and torch.equal(again[name], value), f"pickling loses {name}")


def _declared(case: _Case) -> None:
    """``needs_labels`` and ``needs_teacher`` are true"""
    bench = case.bench()
    if bench.term.needs_labels:
        try:
            bench.loss(batch=replace(bench.batch, labels=None))
        except RedistillError:
            pass
        else:
            raise NotConformant("needs_labels is True, yet a batch without labels was accepted")
    if not bench.term.needs_teacher:
        with torch.no_grad():
            alone = float(bench.term(bench.said(), None, bench.batch))
        _require(alone == bench.value(), "needs_teacher is False, yet the teacher changes the loss")


PROMISES: tuple[Callable[[_Case], None], ...] = (
    _own_randomness, _repeatable, _scalar, _inputs_untouched, _parameters, _derivative, _settings, _fresh, _ready, _saved,
    _declared,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Theorems a term may declare
# ---------------------------------------------------------------------------------------------------------------------
def _same(a: float, b: float, what: str) -> None:
    _require(abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3), f"{what} changes the loss from {b} to {a}")


def _permuted(out: Output, order: Tensor) -> Output:
    return Output(out.logits[order], {name: tap[order] for name, tap in out.taps.items()})


def _zero_at_match(case: _Case) -> None:
    """the loss of a student that says what the teacher says is 0"""
    bench = case.bench()
    copied = Output(bench.taught.logits, {mine: bench.taught[theirs] for mine, theirs in bench.term.pairs})
    _require(abs(value := bench.value(copied)) <= 1e-12, f"student equal to teacher gives {value}, not 0")


def _zero_at_start(case: _Case) -> None:
    """the loss of a student that has not moved since ``setup`` is 0"""
    _require((value := case.bench(moved=False).value()) == 0.0, f"an unmoved student gives {value}, not 0")


def _non_negative(case: _Case) -> None:
    """the loss is never below 0"""
    bench = case.bench()
    noise = rng.stream(0, "testing", "logits")
    for scale in (0.0, 0.1, 1.0, 10.0):
        said = bench.said()
        away = Output(
            said.logits + scale * torch.randn(said.logits.shape, generator=noise, dtype=torch.float64),
            {n: v + scale * torch.randn(v.shape, generator=noise, dtype=torch.float64) for n, v in said.taps.items()},
        )
        _require((value := bench.value(away)) >= -1e-12, f"the loss is {value}, below 0")


def _logit_shift(case: _Case) -> None:
    """one number added to all logits of an image changes nothing"""
    bench = case.bench()
    said, by = bench.said(), torch.arange(len(bench.batch.images), dtype=torch.float64)[:, None] - 1.5
    _same(bench.value(Output(said.logits + by, said.taps)), bench.value(), "adding a number to all logits of an image")
    if bench.term.needs_teacher:
        taught = Output(bench.taught.logits - by, bench.taught.taps)
        _same(bench.value(teacher=taught), bench.value(), "adding a number to all of the teacher's logits of an image")


def _class_permutation(case: _Case) -> None:
    """other names for the classes change nothing"""
    bench = case.bench()
    said, classes = bench.said(), bench.taught.logits.shape[1]
    order = torch.randperm(classes, generator=rng.stream(0, "testing", "classes"))
    batch = bench.batch
    if batch.labels is not None:
        batch = replace(batch, labels=torch.argsort(order)[batch.labels])
    mine, theirs = Output(said.logits[:, order], said.taps), Output(bench.taught.logits[:, order], bench.taught.taps)
    _same(bench.value(mine, theirs, batch), bench.value(), "renaming the classes")


def _batch_permutation(case: _Case) -> None:
    """the order of the images changes nothing"""
    bench = case.bench()
    order = torch.arange(len(bench.batch.images)).flip(0)
    fields = {name: getattr(bench.batch, name) for name in ("images", "labels", "index", "variant")}
    batch = replace(bench.batch, **{name: v[order] for name, v in fields.items() if v is not None})
    _same(
        bench.value(_permuted(bench.said(), order), _permuted(bench.taught, order), batch), bench.value(), "another order"
    )


def _channel_permutation(case: _Case) -> None:
    """the order of the student's channels changes nothing"""
    bench = case.bench()
    said = bench.said()
    flipped = Output(said.logits, {name: tap.flip(1) for name, tap in said.taps.items()})
    _same(bench.value(flipped), bench.value(said), "another order of the student's channels")


def _feature_scale(case: _Case) -> None:
    """the student's features times a positive number for each image change nothing"""
    bench = case.bench()
    said = bench.said()
    by = 0.5 + torch.arange(len(bench.batch.images), dtype=torch.float64)
    scaled = {name: tap * by.view(-1, *[1] * (tap.ndim - 1)) for name, tap in said.taps.items()}
    _same(bench.value(Output(said.logits, scaled)), bench.value(said), "scaling the student's features")


THEOREMS: dict[str, Callable[[_Case], None]] = {
    "zero at match": _zero_at_match,
    "zero at start": _zero_at_start,
    "non-negative": _non_negative,
    "logit shift": _logit_shift,
    "class permutation": _class_permutation,
    "batch permutation": _batch_permutation,
    "channel permutation": _channel_permutation,
    "feature scale": _feature_scale,
}


def check_term(
    make: Make,
    *,
    theorems: Collection[str] | None = None,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    images: Tensor | None = None,
) -> tuple[str, ...]:
    """Prove the promises of every term, and the theorems that this one declares, for the terms that ``make`` makes.

    Args:
        make: a new term at every call, always with the same settings.
        theorems: which to prove; default: those of the class. A setting may cost one (cross-entropy is not 0 at a match).
        student, teacher: networks from images to logits; default: two small networks of three stages, unlike in width.
        images: [B, C, H, W], B ≥ 3; default: 5 of 3x16x16.

    Returns: what was proven, one sentence each.

    Raises:
        NotConformant: with the sentence that does not hold and the numbers that show it.

    >>> from redistill.terms import KD
    >>> check_term(lambda: KD(T=2.0))[:2]
    ('no draw from a global generator', 'the same seed gives the same adapters and the same loss, bit for bit')
    """
    if images is None:
        images = torch.randn(5, 3, 16, 16, generator=rng.stream(0, "testing", "images"))
    if student is None:
        student = SmallNet((4, 6, 8), 5, seed=1)
    if teacher is None:
        teacher = SmallNet((6, 8, 10), 5, seed=2)
    case = _Case(make, student, teacher, images)
    term = make()
    declared = term.theorems if theorems is None else tuple(theorems)
    if unknown := [name for name in declared if name not in THEOREMS]:
        raise NotConformant(f"{type(term).__name__} declares {unknown[0]!r}: known theorems are {', '.join(THEOREMS)}")
    proven = []
    for check in (*PROMISES, *(THEOREMS[name] for name in declared)):
        try:
            check(case)
        except NotConformant as broken:
            raise NotConformant(f"{term!r}: {broken}") from None
        proven.append(check.__doc__ or check.__name__)
    return tuple(proven)
