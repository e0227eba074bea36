"""The shapes in signatures are checked under test, where they are promised, and nowhere else."""

from __future__ import annotations

import inspect
import subprocess
import sys

import jaxtyping
import pytest
import torch
from torch import nn

from redistill import metrics, terms
from redistill.features.normalised import Normalised
from redistill.terms import attention_distance, cross_entropy, flow, softened_kl


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: softened_kl(torch.zeros(2, 3), torch.zeros(2, 4)),  # other classes would be broadcast or refused far below
        lambda: softened_kl(torch.zeros(1, 3), torch.zeros(2, 3)),  # one image against two: broadcast without a word
        lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(2)),  # labels are whole numbers
        lambda: attention_distance(torch.zeros(1, 4), torch.zeros(2, 4)),
        lambda: flow(torch.zeros(2, 3), torch.zeros(2, 3, 4, 4)),
        lambda: metrics.evaluation(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), teacher=torch.zeros(2, 4)),
        # who adapts a normalisation changes no shape
        lambda: Normalised(nn.Identity(), "none", nn.Flatten()).adapted(torch.zeros(2, 3, 4, 4)),  # type: ignore[arg-type]
        lambda: metrics.hits(torch.zeros(2, 3), torch.zeros(1, dtype=torch.long)),
    ],
)
def test_a_wrong_shape_is_caught(wrong: object) -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        wrong()  # type: ignore[operator]


def test_every_public_formula_says_its_shapes() -> None:
    functions = [f for name in terms.__all__ if inspect.isfunction(f := getattr(terms, name)) and name != "by_name"]
    bare = [f.__name__ for f in functions if "[Tensor, " not in str(f.__annotations__) or "Tensor" in f.__annotations__.values()]
    assert len(functions) > 20 and bare == []


def test_outside_the_tests_nothing_is_checked() -> None:
    code = "import torch; from redistill.terms import softened_kl as f; print(f(torch.zeros(1, 3), torch.zeros(2, 3)).shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.Size([2])"
