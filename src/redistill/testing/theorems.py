"""Theorems that a term may declare by name. Each docstring is the sentence that its function proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Output
from redistill.testing.bench import TermCase, require


def _same(a: float, b: float, what: str) -> None:
    require(abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3), f"{what} changes the loss from {b} to {a}")


def _permuted(out: Output, order: Tensor) -> Output:
    return Output(out.logits[order], {name: tap[order] for name, tap in out.taps.items()})


def _zero_at_match(trial: TermCase) -> None:
    """the loss of a student that says what the teacher says is 0"""
    bench = trial.bench()
    copied = Output(bench.teacher_output.logits, {mine: bench.teacher_output[theirs] for mine, theirs in bench.term.pairs})
    require(abs(value := bench.value(copied)) <= 1e-12, f"student equal to teacher gives {value}, not 0")


def _zero_at_start(trial: TermCase) -> None:
    """the loss of a student that has not moved since ``setup`` is 0"""
    require((value := trial.bench(moved=False).value()) == 0.0, f"an unmoved student gives {value}, not 0")


def _non_negative(trial: TermCase) -> None:
    """the loss is never below 0"""
    bench = trial.bench()
    noise = rng.stream(0, "testing", "logits")
    for scale in (0.0, 0.1, 1.0, 10.0):
        student_output = bench.student_output()
        away = Output(
            student_output.logits + scale * torch.randn(student_output.logits.shape, generator=noise, dtype=torch.float64),
            {n: v + scale * torch.randn(v.shape, generator=noise, dtype=torch.float64) for n, v in student_output.taps.items()},
        )
        require((value := bench.value(away)) >= -1e-12, f"the loss is {value}, below 0")


def _logit_shift(trial: TermCase) -> None:
    """one number added to all logits of an image changes nothing"""
    bench = trial.bench()
    student_output, by = bench.student_output(), torch.arange(len(bench.batch.images), dtype=torch.float64)[:, None] - 1.5
    _same(bench.value(Output(student_output.logits + by, student_output.taps)), bench.value(), "adding a number to all logits of an image")
    if bench.term.needs_teacher:
        teacher_output = Output(bench.teacher_output.logits - by, bench.teacher_output.taps)
        _same(bench.value(teacher=teacher_output), bench.value(), "adding a number to all of the teacher's logits of an image")


def _class_permutation(trial: TermCase) -> None:
    """other names for the classes change nothing"""
    bench = trial.bench()
    student_output, teacher_output = bench.student_output(), bench.teacher_output
    classes = teacher_output.logits.shape[1]
    order = torch.randperm(classes, generator=rng.stream(0, "testing", "classes"))
    batch = bench.batch
    if batch.labels is not None:
        batch = replace(batch, labels=torch.argsort(order)[batch.labels])
    mine, theirs = (Output(one.logits[:, order], one.taps) for one in (student_output, teacher_output))
    _same(bench.value(mine, theirs, batch), bench.value(), "renaming the classes")


def _batch_permutation(trial: TermCase) -> None:
    """the order of the images changes nothing"""
    bench = trial.bench()
    order = torch.arange(len(bench.batch.images)).flip(0)
    fields = {name: getattr(bench.batch, name) for name in ("images", "labels", "index", "variant")}
    batch = replace(bench.batch, **{name: v[order] for name, v in fields.items() if v is not None})
    _same(
        bench.value(_permuted(bench.student_output(), order), _permuted(bench.teacher_output, order), batch), bench.value(), "another order"
    )


def _channel_permutation(trial: TermCase) -> None:
    """the order of the student's channels changes nothing"""
    bench = trial.bench()
    student_output = bench.student_output()
    flipped = Output(student_output.logits, {name: tap.flip(1) for name, tap in student_output.taps.items()})
    _same(bench.value(flipped), bench.value(student_output), "another order of the student's channels")


def _feature_scale(trial: TermCase) -> None:
    """the student's features times a positive number for each image change nothing"""
    bench = trial.bench()
    student_output = bench.student_output()
    by = 0.5 + torch.arange(len(bench.batch.images), dtype=torch.float64)
    scaled = {name: tap * by.view(-1, *[1] * (tap.ndim - 1)) for name, tap in student_output.taps.items()}
    _same(bench.value(Output(student_output.logits, scaled)), bench.value(student_output), "scaling the student's features")


def _common_scale(trial: TermCase) -> None:
    """the student's features times one positive number change nothing"""
    bench = trial.bench()
    student_output = bench.student_output()
    scaled = {name: 3.5 * tap for name, tap in student_output.taps.items()}
    _same(bench.value(Output(student_output.logits, scaled)), bench.value(student_output), "scaling all of the student's features")


THEOREMS: dict[str, Callable[[TermCase], None]] = {
    "zero at match": _zero_at_match,
    "zero at start": _zero_at_start,
    "non-negative": _non_negative,
    "logit shift": _logit_shift,
    "class permutation": _class_permutation,
    "batch permutation": _batch_permutation,
    "channel permutation": _channel_permutation,
    "feature scale": _feature_scale,
    "common scale": _common_scale,
}
