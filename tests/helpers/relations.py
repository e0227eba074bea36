"""A term's loss and gradient beside its slow formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.slow import A, derivative
from redistill.core import Batch, Output, Term

Y = np.array([1, 0, 4, 2])


def drawn(*shape: int, seed: int) -> A:
    return np.random.default_rng(seed).standard_normal(shape)


def equal(term: Term, student: A, teacher: A, want: Callable[[A], Any], read: Callable[[Tensor], Output]) -> None:
    """Loss and gradient of the student's tensor, against the slow formula and its complex-step derivative."""
    x = torch.tensor(student, requires_grad=True)
    loss = term(read(x), read(torch.tensor(teacher)), Batch(x, labels=torch.tensor(Y[: len(student)])))
    (grad,) = torch.autograd.grad(loss, x)
    assert float(loss.detach()) == pytest.approx(float(np.real(want(student))), rel=1e-11, abs=1e-13)
    np.testing.assert_allclose(grad.numpy(), derivative(want, student), rtol=1e-8, atol=1e-11)


def place(x: Tensor) -> Output:
    return Output(x.new_zeros(len(x), 2), {"place": x})
