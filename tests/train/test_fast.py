"""What a fast run does otherwise than a strict one: bf16 weights of the teacher made once, adapters in bf16, fewer passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redistill import models, precision, rng
from redistill.core import Method
from redistill.data import Images
from redistill.recipe import Recipe
from redistill.terms import ABF, AT, CE, KD, VID, FitNet, Review
from redistill.train.loop import Loop
from redistill.train.narrow import LAYERS, narrowed, same_bits


def images(count: int = 40) -> Images:
    g = torch.Generator().manual_seed(0)
    return Images(torch.randint(0, 256, (count, 3, 16, 16), generator=g, dtype=torch.uint8), torch.arange(count) % 4, 4, "noise", "none")


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_matrix_units", lambda device: True)


def loop(method: Method, what: str, teacher: nn.Module | None = None, **more: Any) -> Loop:
    recipe = Recipe(steps=3, batch_size=8, lr=0.05, precision=what, **more)  # type: ignore[arg-type]
    student = models.wrn(10, 1, classes=4, seed=0)
    return Loop([(student, method)], teacher or models.wrn(10, 2, classes=4, seed=1), images(), recipe, seed=0, device="cpu")


def test_the_teachers_bf16_weights_are_made_once_and_say_the_same_bit_for_bit(bf16: None) -> None:
    made = loop(CE() + KD() + AT(), "fast")
    teacher = made.teacher
    assert teacher is not None and teacher.tapped is not None
    narrow = {type(m) for m in teacher.tapped.net.modules() if any(p.dtype == torch.bfloat16 for p in m.parameters(recurse=False))}
    assert narrow and narrow <= set(LAYERS) and all(p.dtype == torch.float32 for p in teacher.net.parameters())
    batch = made.stream.batch(0)
    with torch.no_grad(), made.means.autocast():
        wide = teacher.sight.tapped(list(teacher.tapped.places))(batch.images)
        teacher_output = teacher.tapped(batch.images)
    assert torch.equal(wide.logits, teacher_output.logits) and wide.taps
    assert all(torch.equal(tap, teacher_output.taps[p]) for p, tap in wide.taps.items())


class ByHand(nn.Module):
    """Uses a layer's weight by hand, in single precision: a narrow one would round its penalty."""

    def __init__(self) -> None:
        super().__init__()
        with rng.seeded(0, "init"):
            self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv(x).mean((2, 3)))
        return out.float() * self.conv.weight.float().square().sum()


def test_a_teacher_that_uses_weights_by_hand_keeps_them(bf16: None) -> None:
    made = loop(CE() + KD(), "fast", ByHand())
    assert made.teacher is not None and made.teacher.tapped is not None
    assert all(p.dtype == torch.float32 for p in made.teacher.tapped.net.parameters())


def test_shared_and_hooked_layers_are_left_as_they_are() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    net[2].register_forward_hook(lambda m, args, out: out)
    assert [m.weight.dtype for m in narrowed(net).children()] == [torch.float32, torch.float32, torch.float32, torch.bfloat16]


def test_readers_that_differ_in_a_bit_are_told_apart() -> None:
    from redistill.features.tapped import Tapped

    net, other = models.wrn(10, 1, classes=4, seed=0).eval(), models.wrn(10, 1, classes=4, seed=1).eval()
    like = torch.zeros(2, 3, 16, 16)
    assert same_bits(Tapped(net), Tapped(net), like, torch.no_grad()) and not same_bits(Tapped(net), Tapped(other), like, torch.no_grad())


METHODS: dict[str, Callable[[], Method]] = {
    "VID": lambda: 1.0 * VID(), "FitNet": lambda: 1.0 * FitNet(), "Review": lambda: 1.0 * Review(),
    "Review, pairs": lambda: 1.0 * Review(framework="pairs"), "VID, norm": lambda: 1.0 * VID(regressor="norm"),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_adapters_in_bf16_say_nearly_the_same(method: str, bf16: None) -> None:
    losses = []
    for what in ("strict", "fast"):
        made = loop(METHODS[method](), what)
        next(made)
        losses.append(made.students[0].rows(0).totals[0])
        assert [term.in_bf16 for _, term in made.students[0].method.parts()] == [what == "fast"]
        assert all(p.dtype == torch.float32 for p in made.students[0].method.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[1] != losses[0]


@pytest.mark.parametrize("sizes", [((8, 8), (4, 4), (8, 8)), ((8, 8), (1, 1), (4, 4)), ((8, 8), (8, 8), (8, 8))])
def test_attention_in_two_halves_is_the_attention_of_both(sizes: tuple[tuple[int, int], ...]) -> None:
    own, below, target = sizes
    with rng.seeded(0, "abf"):
        abf = ABF(6, 5, 7, fuse=True).double()
        x, deeper = torch.randn(3, 6, *own, dtype=torch.float64), torch.randn(3, 5, *below, dtype=torch.float64)
    found = []
    for apart in (False, True):
        abf.apart = apart
        a, b = x.clone().requires_grad_(), deeper.clone().requires_grad_()
        out, residual = abf(a, b, target)
        found.append([out, residual, *torch.autograd.grad(out.square().sum() + residual.sum(), [a, b, *abf.parameters()])])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def test_a_strict_run_takes_the_published_way() -> None:
    for what, apart in (("strict", False), ("double", False), ("fast", True)):
        made = loop(1.0 * Review(), what)
        assert {m.apart for m in made.students[0].method.modules() if isinstance(m, ABF)} == {apart}


def test_gradients_are_clipped_as_the_recipe_says() -> None:
    """One step of plain descent at rate 1: every parameter, or all of them together, moves by the bound."""
    for per, whole in (("tensor", False), ("network", True)):
        made = Loop(
            [(models.wrn(10, 1, classes=4, seed=0), CE())], None, images(), seed=0, device="cpu",
            recipe=Recipe(steps=1, batch_size=8, lr=1.0, momentum=0.0, weight_decay=0.0, clip=1e-3, clip_per=per),  # type: ignore[arg-type]
        )  # fmt: skip
        before: dict[str, Tensor] = {n: p.detach().clone() for n, p in made.students[0].net.named_parameters()}
        next(made)
        moved = torch.stack([(p.detach() - before[n]).double().norm() for n, p in made.students[0].net.named_parameters()])
        assert float(moved.norm() if whole else moved.max()) == pytest.approx(1e-3, rel=1e-3)
        assert whole or int((moved > 0.99e-3).sum()) > len(moved) / 2
