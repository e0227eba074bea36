"""What every term promises. One function a promise; its docstring is the sentence that it proves."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from redistill import rng
from redistill.core import RedistillError, Term
from redistill.terms import ALL, by_name
from redistill.testing.bench import Fixture, NotConformant, TermCase, require
from redistill.testing.edges import EDGES

KEPT = ": what moves from step to step belongs into a buffer, nn.Buffer, and moves only in training with gradients"
"""What a term with a memory of its own lacks, where its loss depends on what is no state."""


def _scalar(trial: TermCase) -> None:
    """one finite number in the precision of the networks"""
    double, single = trial.bench().loss(), trial.bench(dtype=torch.float32).loss()
    for loss, dtype in ((double, torch.float64), (single, torch.float32)):
        require(loss.dtype == dtype, f"networks in {dtype} got a loss in {loss.dtype}")
        require(bool(torch.isfinite(loss)), f"the loss is {loss.item()} in {dtype}")
    require(
        abs(single.item() - double.item()) <= 1e-3 * max(abs(double.item()), 1e-3),
        f"single precision gives {single.item()}, double precision {double.item()}",
    )


def _repeatable(trial: TermCase) -> None:
    """the same seed gives the same adapters and the same loss, bit for bit"""
    one, two = trial.bench(3), trial.bench(3)
    for (name, a), b in zip(one.term.state_dict().items(), two.term.state_dict().values(), strict=True):
        require(torch.equal(a, b), f"two set-ups under one seed start {name} differently")
    first = one.value()
    require(first == two.value(), "two set-ups under one seed give two losses")
    require(first == one.value(), f"the same batch gives two losses one after the other{KEPT}")


def _global_states() -> tuple[object, ...]:
    return torch.random.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def _own_randomness(trial: TermCase) -> None:
    """no draw from a global generator"""
    before = _global_states()
    trial.bench().loss()
    require(before == _global_states(), "the term drew from a global random generator: use redistill.rng")


def _inputs_untouched(trial: TermCase) -> None:
    """logits, features, images and labels stay as they were"""
    bench = trial.bench()
    student_output, teacher_output = bench.student_output(), bench.teacher_output
    tensors = {"student logits": student_output.logits, "teacher logits": teacher_output.logits, "images": bench.batch.images}
    tensors |= {f"student {n}": v for n, v in student_output.taps.items()} | {f"teacher {n}": v for n, v in teacher_output.taps.items()}
    if bench.batch.labels is not None:
        tensors["labels"] = bench.batch.labels
    before = {name: (value.detach().clone(), value._version) for name, value in tensors.items()}
    bench.loss(student_output, teacher_output).backward()
    for name, value in tensors.items():
        copied, version = before[name]
        require(torch.equal(copied, value) and version == value._version, f"the term wrote into the {name}")


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


def _parameters(trial: TermCase) -> None:
    """gradients reach what is trained and every learnable parameter of the term, and nothing else"""
    bench = trial.bench()
    trained = {id(value): name for name, value in bench.trained.items()}
    teacher = {id(p): name for name, p in bench.teacher.named_parameters()}
    loss = bench.loss()
    require(loss.requires_grad, "the loss depends on nothing that is trained")
    reached = {id(leaf): leaf for leaf in _leaves(loss)}
    for key, leaf in reached.items():
        require(key not in teacher, f"the gradient runs into the teacher's {teacher.get(key)}")
        require(
            key in trained,
            f"a trained tensor of shape {list(leaf.shape)} is not in term.parameters(): the optimiser would never see it",
        )
    unreached = [name for key, name in trained.items() if key not in reached and name.startswith("the term's")]
    require(not unreached, f"{unreached[:1]} gets no gradient")
    loss.backward()
    for name, value in bench.trained.items():
        require(value.grad is None or bool(torch.isfinite(value.grad).all()), f"the gradient of {name} is not finite")
    outside = [value for name, value in bench.trained.items() if not name.startswith("the term's")]
    moved = [value.grad is not None and bool(value.grad.abs().max() > 0) for value in outside]
    require(any(moved), "nothing that is trained gets a gradient other than 0")


def _derivative(trial: TermCase) -> None:
    """the gradient is the derivative of the value"""
    bench = trial.bench()
    trained = list(bench.trained.values())
    bench.loss()  # constants that a term takes from its first batch are no part of the derivative
    state = {name: buffer.clone() for name, buffer in bench.term.named_buffers()}
    grads = torch.autograd.grad(bench.loss(), trained, allow_unused=True)
    for name, buffer in bench.term.named_buffers():
        buffer.copy_(state[name])  # a memory that the step moved
    noise = rng.stream(0, "testing", "direction")
    # a step can cross the kink of some ReLU; a right gradient agrees in most directions, a wrong one in none
    for _ in range(4):
        ways = [torch.randn(p.shape, generator=noise, dtype=torch.float64) for p in trained]
        slope = sum(float((g * way).sum()) for g, way in zip(grads, ways, strict=True) if g is not None)
        measured, value = _measured_slope(bench, trained, ways)
        if abs(measured - slope) <= 1e-5 * max(abs(slope), abs(value), 1e-3):
            return
    raise NotConformant(f"the gradient says {slope}, a small step measures {measured}")


def _measured_slope(bench: Fixture, trained: list[Tensor], ways: list[Tensor], step: float = 1e-8) -> tuple[float, float]:
    """Central difference of the loss along ``ways``, and the loss."""
    starts = [p.detach().clone() for p in trained]
    values = []
    with torch.no_grad():
        for sign in (step, -step, 0.0):
            for parameter, start, way in zip(trained, starts, ways, strict=True):
                parameter.copy_(start + sign * way)
            values.append(bench.value())
    return (values[0] - values[1]) / (2 * step), values[2]


def _settings(trial: TermCase) -> None:
    """every setting survives a file, and the class is found by its name"""
    term = trial.make()
    kind: type[Term] = type(term)
    if kind in ALL:
        require(by_name(kind.__name__) is kind, f"by_name({kind.__name__!r}) finds another class")
    read = kind(**json.loads(json.dumps(term.settings())))
    require(read.settings() == term.settings(), f"settings {term.settings()} come back as {read.settings()}")


def _fresh(trial: TermCase) -> None:
    """a fresh copy has the settings and no state"""
    used = trial.bench().term
    fresh, new = used.fresh(), trial.make()
    require(fresh.settings() == used.settings(), f"fresh() has other settings: {fresh.settings()}")
    require(not fresh.state_dict(), f"fresh() still holds {list(fresh.state_dict())[:1]}")
    require((fresh.ready, fresh.pairs) == (new.ready, new.pairs), "fresh() still knows the networks of the set-up")


def _ready(trial: TermCase) -> None:
    """used before ``setup``, a term that needs one says so"""
    bench, new = trial.bench(), trial.make()
    if new.ready:
        return
    try:
        new(bench.student_output(), bench.teacher_output, bench.batch)
    except RedistillError:
        return
    raise NotConformant("used before setup it must raise RedistillError: call redistill.core.method.require_ready in forward")


def _saved(trial: TermCase) -> None:
    """copies and restored states give the same loss"""
    bench, other = trial.bench(1), trial.bench(2)
    student_output = bench.student_output()
    expected = bench.value(student_output)
    twin = replace(bench, term=copy.deepcopy(bench.term))
    require(twin.value(student_output) == expected, f"a deep copy gives another loss{KEPT}")
    saved = trial.bench(1).term.state_dict()  # before its first batch moved running statistics
    other.term.load_state_dict(saved)
    require(other.value() == trial.bench(1).value(), f"a restored state gives another loss{KEPT}")
    again = pickle.loads(pickle.dumps(bench.term)).state_dict()
    for name, value in bench.term.state_dict().items():
        require(name in again and torch.equal(again[name], value), f"pickling loses {name}")


def _declared(trial: TermCase) -> None:
    """``needs_labels`` and ``needs_teacher`` are true"""
    bench = trial.bench()
    if bench.term.needs_labels:
        try:
            bench.loss(batch=replace(bench.batch, labels=None))
        except RedistillError:
            pass
        except (TypeError, AttributeError, RuntimeError, ValueError) as error:
            name = type(bench.term).__name__
            raise NotConformant(
                f"without labels it raises {type(error).__name__}, which says nothing of them: labels = batch.labels_for({name!r}) "
                f"gives them, or the sentence"
            ) from error
        else:
            raise NotConformant("needs_labels is True, yet a batch without labels was accepted")
    if not bench.term.needs_teacher:
        with torch.no_grad():
            alone = float(bench.term(bench.student_output(), None, bench.batch))
        require(alone == bench.value(), "needs_teacher is False, yet the teacher changes the loss")


PROMISES: tuple[Callable[[TermCase], None], ...] = (
    _own_randomness, _repeatable, _scalar, _parameters, _inputs_untouched, _derivative, _settings, _fresh, _ready, _saved,
    _declared, *EDGES,
)  # fmt: skip
