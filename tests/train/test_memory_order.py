"""Weights that lie otherwise in memory, parts that were trained before, and state that a term keeps to itself: the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import redistill as rd
from helpers.bits import bits, same
from helpers.blobs import Blobs
from redistill.core import Batch, Output, RedistillError, Term
from redistill.recipe import Recipe
from redistill.runs import checkpoint
from redistill.terms import CE, KD
from redistill.train.loop import Loop

LAID = {
    "rows": lambda w: w,
    "columns": lambda w: w.t().contiguous().t(),  # as a matrix of TensorFlow is turned
    "a part of a larger one": lambda w: torch.cat([w, torch.full((len(w), 5), 7.0)], 1)[:, : w.shape[1]],  # its first channels
}
RECIPES = {
    "sgd": Recipe(epochs=2, lr=0.05, batch_size=8),
    "adam": Recipe(epochs=2, lr=0.01, batch_size=8, optimizer="adam"),
}


class Net(nn.Module):
    def __init__(self, laid: str = "rows"):
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.body, self.head = nn.Linear(64, 6, bias=False), nn.Linear(6, 3, bias=False)
        self.body.weight = nn.Parameter(LAID[laid](0.2 * torch.randn(6, 64, generator=draw)))
        self.head.weight = nn.Parameter(0.3 * torch.randn(3, 6, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x.flatten(1))))


def loop(net: nn.Module, recipe: Recipe, method: Any = None) -> Loop:
    return Loop([(net, CE() if method is None else method)], None, Blobs(), recipe, seed=3, device="cpu")


def from_a_file(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    checkpoint.save(folder, state, {"id": "this"})
    return checkpoint.load(folder / checkpoint.NAME)[0]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("laid", ["columns", "a part of a larger one"])
def test_where_weights_lie_in_memory_moves_no_number(laid: str, recipe: Recipe, tmp_path: Path) -> None:
    plain, whole, first, second = Net(), Net(laid), Net(laid), Net(laid)
    assert torch.equal(whole.body.weight, plain.body.weight) and whole.body.weight.stride() != plain.body.weight.stride()
    for net in (plain, whole):
        list(loop(net, recipe))
    torch.testing.assert_close(whole.body.weight, plain.body.weight, rtol=0, atol=1e-6)
    half = loop(first, recipe)
    for _ in range(3):
        next(half)
    rest = loop(second, recipe)
    rest.load_state(from_a_file(half.state(), tmp_path))
    list(rest)
    assert same(bits(second), bits(whole))


@pytest.mark.parametrize("per", ["network", "tensor"])
def test_the_gradient_that_is_clipped_is_of_what_learns(per: str) -> None:
    """A part that was trained, and is frozen now, holds the gradient of its last step."""
    nets, norms = [Net(), Net()], []
    nets[1](torch.ones(4, 1, 8, 8)).mul(100).sum().backward()
    left = nets[1].body.weight.grad
    assert left is not None
    before = left.clone()
    for net in nets:
        net.body.requires_grad_(False)
        run = loop(net, Recipe(epochs=2, lr=0.05, batch_size=8, clip=0.2, clip_per=per))
        list(run)
        norms.append(run.results()[0].gradient_norms)
    assert norms[0] == norms[1] and same(bits(nets[0]), bits(nets[1]))
    assert torch.equal(left, before)


class Grows(Term):
    """A term with a count of its own, and a mean that it does not save."""

    needs_teacher, needs_labels = False, True

    def setup(self, ctx: Any) -> None:
        self.seen = 0
        self.mean = nn.Buffer(torch.zeros(3), persistent=False)

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        assert batch.labels is not None
        self.seen += 1
        self.mean.add_(student.logits.detach().mean(0))
        return nn.functional.cross_entropy(student.logits + self.mean, batch.labels) * (1 + 0.1 * self.seen)


def test_what_a_term_keeps_beside_its_state_dict_goes_on_too(tmp_path: Path) -> None:
    whole, first, second = Net(), Net(), Net()
    list(loop(whole, RECIPES["sgd"], Grows()))
    half = loop(first, RECIPES["sgd"], Grows())
    for _ in range(3):
        next(half)
    rest = loop(second, RECIPES["sgd"], Grows())
    rest.load_state(from_a_file(half.state(), tmp_path))
    list(rest)
    assert same(bits(second), bits(whole))


@contextmanager
def left_alone(net: nn.Module) -> Iterator[None]:
    before = copy.deepcopy(bits(net))
    yield
    assert same(bits(net), before)


def test_a_student_does_not_move_its_teacher() -> None:
    """Weights that both have, as one tensor or in one memory, would be trained in the caller's teacher."""
    teacher = Net()
    both, part, frozen, copied = Net(), Net(), Net(), Net()
    both.head = teacher.head
    part.body.weight = nn.Parameter(teacher.body.weight[:6])
    frozen.head = copy.deepcopy(teacher.head)
    frozen.body = teacher.body
    copied.body.weight = nn.Parameter(teacher.body.weight[:6].clone())
    with left_alone(teacher):
        for student, name in ((both, "head.weight"), (part, "body.weight")):
            with pytest.raises(RedistillError, match=rf"shares weights with its teacher \({name}, the teacher's {name}\)"):
                rd.fit(student, teacher, CE() + KD(), Blobs(), RECIPES["sgd"], seed=0, device="cpu", quiet=True)
        rd.fit(copied, teacher, CE() + KD(), Blobs(), RECIPES["sgd"], seed=0, device="cpu", quiet=True)
        teacher.body.requires_grad_(False)
        rd.fit(frozen, teacher, CE() + KD(), Blobs(), RECIPES["sgd"], seed=0, device="cpu", quiet=True)
