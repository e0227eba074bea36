"""What a term does where data are at their worst: one function an edge, as in ``promises``. A number that is finite, gradient and
all, or one sentence (:class:`redistill.RedistillError`), and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from redistill.core import Output, RedistillError
from redistill.testing.bench import Fixture, SmallNet, TermCase, require

NORM_OF_ONE = "Expected more than 1 value per channel"
"""How torch begins when a batch norm is given one vector; it is a sentence too."""


def _leaf(out: Output, change: Callable[[Tensor], Tensor]) -> Output:
    """The same output, changed, whose tensors collect gradients."""
    return Output(
        change(out.logits.detach()).requires_grad_(), {n: change(v.detach()).requires_grad_() for n, v in out.taps.items()}
    )


def _finite(bench: Fixture, student: Output, teacher: Output, where: str) -> float:
    """The loss, after it and its gradients were found finite."""
    loss = bench.loss(student, teacher)
    value = float(loss.detach())
    require(bool(torch.isfinite(loss.detach())), f"{where} the loss is {value}")
    leaves = {"the student's logits": student.logits, **{f"the student's {n}": v for n, v in student.taps.items()}}
    leaves |= {f"the term's {n}": p for n, p in bench.term.named_parameters() if p.requires_grad}
    wanted = {n: v for n, v in leaves.items() if v.requires_grad}
    if not loss.requires_grad or not wanted:
        return value
    for (name, _), grad in zip(wanted.items(), torch.autograd.grad(loss, list(wanted.values()), allow_unused=True), strict=True):
        require(grad is None or bool(torch.isfinite(grad).all()), f"{where} the gradient of {name} is not finite")
    return value


def _same(x: Tensor) -> Tensor:
    return x.clone()


def _match(trial: TermCase) -> None:
    """a student that says what the teacher says has a finite loss and gradient"""
    bench = trial.bench()
    copied = Output(bench.teacher_output.logits, {mine: bench.teacher_output[theirs] for mine, theirs in bench.term.pairs})
    unlike = any(copied[mine].shape != tap.shape for mine, tap in bench.student_output().taps.items())
    if unlike and "zero at match" not in bench.term.theorems:
        return  # adapters, or a classifier, of the student's width take nothing else
    _finite(bench, _leaf(copied, _same), bench.teacher_output, "at a perfect match")


def _two_classes(trial: TermCase) -> None:
    """two classes are enough, or refused in a sentence"""
    if not isinstance(trial.student, SmallNet) or not isinstance(trial.teacher, SmallNet):
        return  # networks of somebody's own have the classes that they have
    two = TermCase(trial.make, SmallNet((4, 6, 8), 2, seed=1), SmallNet((6, 8, 10), 2, seed=2), trial.images, trial.generated)
    try:
        bench = two.bench()
        _finite(bench, _leaf(bench.student_output(), _same), bench.teacher_output, "with two classes")
    except RedistillError:
        return


def _one_image(trial: TermCase) -> None:
    """a batch of one image has a finite loss, or is refused in a sentence"""
    bench = trial.bench()
    both = (bench.student_output(), bench.teacher_output)
    student, teacher = (Output(o.logits[:1].detach(), {n: v[:1].detach() for n, v in o.taps.items()}) for o in both)
    fields = {name: getattr(bench.batch, name) for name in ("images", "labels", "index", "variant")}
    bench.batch = replace(bench.batch, **{name: v[:1] for name, v in fields.items() if v is not None})
    try:
        _finite(bench, _leaf(student, _same), teacher, "with one image")
    except RedistillError:
        return
    except ValueError as error:
        require(str(error).startswith(NORM_OF_ONE), f"with one image it raises ValueError ({error}): raise RedistillError with what to do")


def _dead(trial: TermCase) -> None:
    """features that are 0 everywhere have a finite loss and gradient"""
    bench = trial.bench()
    student_output, teacher_output = bench.student_output(), bench.teacher_output
    none = Output(student_output.logits.detach(), {n: torch.zeros_like(v) for n, v in student_output.taps.items()})
    nothing = Output(teacher_output.logits, {n: torch.zeros_like(v) for n, v in teacher_output.taps.items()})
    _finite(bench, _leaf(none, _same), teacher_output, "where the student's features are 0")
    _finite(bench, _leaf(student_output, _same), nothing, "where the teacher's features are 0")
    _finite(bench, _leaf(none, _same), nothing, "where all features are 0")


def _huge(trial: TermCase) -> None:
    """logits of ten thousand have a finite loss and gradient"""
    for dtype in (torch.float64, torch.float32):
        bench = trial.bench(dtype=dtype)
        student_output, teacher_output = bench.student_output(), bench.teacher_output
        for by, to in ((1e4, 1.0), (1.0, 1e4), (1e4, -1e4)):
            mine = Output(by * student_output.logits.detach(), student_output.taps)
            theirs = Output(to * teacher_output.logits, teacher_output.taps)
            _finite(bench, _leaf(mine, _same), theirs, f"with logits times {max(by, abs(to)):g} in {dtype}")


def _bfloat(trial: TermCase) -> None:
    """outputs in bfloat16 give the loss of the same numbers in single precision, to two digits"""
    if trial.generated:
        return  # images that are trained are never of half precision
    bench = trial.bench(dtype=torch.float32)
    student_output, teacher_output = bench.student_output(), bench.teacher_output
    rough = [_leaf(o, lambda x: x.to(torch.bfloat16)) for o in (student_output, teacher_output)]
    state = {name: buffer.clone() for name, buffer in bench.term.named_buffers()}
    teacher = Output(rough[1].logits.detach(), {n: v.detach() for n, v in rough[1].taps.items()})
    try:
        got = _finite(bench, rough[0], teacher, "in bfloat16")
    except RuntimeError as error:
        reason = f"outputs in bfloat16 meet what the term keeps in float32 ({error}): make them wide first, .float()"
        require("dtype" not in str(error), reason)
        raise
    with torch.no_grad():  # not .data: who remembers on the host what a buffer holds must be able to see that it was changed
        for name, buffer in bench.term.named_buffers():
            buffer.copy_(state[name])
    wide = [Output(o.logits.detach().float(), {n: v.detach().float() for n, v in o.taps.items()}) for o in rough]
    want = bench.value(wide[0], wide[1])
    require(abs(got - want) <= 0.02 * abs(want) + 1e-6, f"in bfloat16 the loss is {got}, of the same numbers in float32 {want}")


EDGES: tuple[Callable[[TermCase], None], ...] = (_match, _two_classes, _one_image, _dead, _huge, _bfloat)
