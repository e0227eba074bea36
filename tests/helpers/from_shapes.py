"""Terms set up from shapes alone, without networks, and evaluated in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, Term

G = torch.Generator().manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def shapes_only(student: dict[str, Tensor], teacher: dict[str, Tensor], seed: int = 0) -> Context:
    """A set-up from shapes alone, without networks; every map is a stage."""
    mine = {n: tuple(v.shape) for n, v in student.items()}
    theirs = {n: tuple(v.shape) for n, v in teacher.items()}
    stages_of = lambda places: tuple(n for n in places if n.startswith("stage") and ":" not in n)  # noqa: E731
    return Context(nn.Identity(), nn.Identity(), mine, theirs, stages_of(mine), stages_of(theirs), 3, seed=seed)


def run(term: Term, student: dict[str, Tensor], teacher: dict[str, Tensor], seed: int = 0) -> float:
    """Set up for these maps and evaluate, in double precision."""
    term.setup(shapes_only(student, teacher, seed))
    term.double()
    logits = torch.zeros(len(next(iter(student.values()))), 3, dtype=torch.float64)
    return float(term(Output(logits, student), Output(logits, teacher), Batch(logits)).detach())


def numbers(module: nn.Module) -> dict[str, Any]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def near(got: float | Tensor, want: Any) -> None:
    assert np.isrealobj(want)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-12, atol=1e-13)


def made(shapes: tuple[dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {n: randn(*s) for n, s in shapes[0].items()}, {n: randn(*s) for n, s in shapes[1].items()}
