"""Every term and every variant against the formula written again with loops, and what must hold for any numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import slow
from helpers.from_shapes import made, near, numbers, randn, run, shapes_only
from redistill.core import Batch, Output, RedistillError
from redistill.terms import AT, CE, KD, VID, FitNet, attention_distance, attention_map, softened_kl, vid_loss


# -- logits ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing: float) -> None:
    z, y = randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    near(CE(smoothing)(Output(z), None, Batch(z, labels=y)), slow.ce(z.numpy(), y.numpy(), smoothing))


@pytest.mark.parametrize("reduction", ["batch", "element"])
@pytest.mark.parametrize("scale_T2", [True, False])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_kd(reduction: Any, scale_T2: bool, factor: float) -> None:
    s, t, T = randn(6, 5), randn(6, 5), 3.0
    total = slow.kl(s.numpy(), t.numpy(), T) / (6 if reduction == "batch" else 30)
    got = KD(T=T, reduction=reduction, scale_T2=scale_T2, factor=factor)(Output(s), Output(t), Batch(s))
    near(got, factor * (9.0 if scale_T2 else 1.0) * total)


def test_fitnets_cross_entropy_is_kl_plus_the_teachers_entropy() -> None:
    s, t = randn(4, 3), randn(4, 3)
    p = torch.softmax(t / 3, 1)
    got = KD(T=3.0, target="cross-entropy", scale_T2=False)(Output(s), Output(t), Batch(s))
    near(got, slow.kl(s.numpy(), t.numpy(), 3.0) / 4 - float((p * p.log()).sum()) / 4)


def test_ten_classes_make_the_zero_shot_codes_weigh_a_tenth() -> None:
    s, t = Output(randn(7, 10)), Output(randn(7, 10))
    batch = Batch(s.logits)
    near(KD(T=1.0, reduction="element")(s, t, batch), KD(T=1.0)(s, t, batch).numpy() / 10)
    near(KD(reduction="element", factor=2.0)(s, t, batch), KD()(s, t, batch).numpy() * 0.2)  # the reproducibility report's KD-AT


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6), st.floats(0.3, 20))
def test_kl_is_a_divergence_for_any_logits(values: list[float], T: float) -> None:
    z = torch.tensor(values, dtype=torch.float64).view(2, 3)
    other = z.flip(1)
    assert (softened_kl(z, other, T) >= -1e-12).all()
    assert softened_kl(z, z, T).abs().max() == 0
    shifted = softened_kl(z + 100.0, other - 3.0, T)
    torch.testing.assert_close(shifted, softened_kl(z, other, T), rtol=1e-8, atol=1e-9)


def test_the_gradient_of_kd_nears_logit_matching_at_high_temperature() -> None:
    """Hinton et al. eq. 4: T² ∂KL/∂z → (z - v) / N for logits of mean zero."""
    z, v = randn(3, 8), randn(3, 8)
    z, v = (z - z.mean(1, keepdim=True)).requires_grad_(), v - v.mean(1, keepdim=True)
    KD(T=1e4)(Output(z), Output(v), Batch(z)).backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad * 3, (z.detach() - v) / 8, rtol=1e-3, atol=1e-4)


# -- attention transfer ------------------------------------------------------------------------------------------------
MAPS = ({"stage1": (3, 4, 8, 8), "stage2": (3, 5, 4, 4)}, {"stage1": (3, 6, 8, 8), "stage2": (3, 7, 4, 4)})
UNLIKE = ({"stage1": (3, 4, 8, 8), "stage2": (3, 5, 3, 5)}, {"stage1": (3, 6, 4, 4), "stage2": (3, 7, 5, 2)})


@pytest.mark.parametrize("shapes", [MAPS, UNLIKE])
@pytest.mark.parametrize("form", ["mean", "sum", "norm"])
@pytest.mark.parametrize(("p", "absolute", "normalise"), [(2, False, True), (1, False, True), (3, True, True), (2, False, False)])
def test_attention_transfer(shapes: Any, form: Any, p: float, absolute: bool, normalise: bool) -> None:
    student, teacher = made(shapes)
    term = AT(at=["stage1", "stage2"], p=p, form=form, absolute=absolute, normalise=normalise, factor=0.5)
    want = sum(slow.at(student[n].numpy(), teacher[n].numpy(), p, form, absolute, normalise) for n in student)
    near(run(term, student, teacher), 0.5 * want)


def test_paper_and_code_of_attention_transfer_differ_as_documented() -> None:
    """(1000/HW)·‖ΔQ‖² in every code against (β/2)·‖ΔQ‖ in the paper."""
    student, teacher = made(({"stage1": (1, 4, 8, 8)}, {"stage1": (1, 6, 8, 8)}))
    length = float(run(AT(form="norm"), student, teacher))
    near(1000 * run(AT(), student, teacher), 1000 / 64 * length**2)
    near(run(AT(form="norm", factor=0.5), student, teacher), 0.5 * length)


def test_equal_attention_has_gradient_zero_and_not_nan_in_the_norm_form() -> None:
    f = randn(2, 3, 4, 4).requires_grad_()
    out = Output(torch.zeros(2, 3, dtype=torch.float64), {"stage1": f})
    AT(at="stage1", form="norm")(out, Output(out.logits, {"stage1": f.detach()}), Batch(f)).backward()
    assert f.grad is not None and f.grad.abs().max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.integers(1, 4), st.integers(0, 2**31))
def test_attention_ignores_scale_and_channels(scale: float, p: int, seed: int) -> None:
    f = torch.rand(2, 3, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    q = attention_map(f, p)
    torch.testing.assert_close(q.square().sum(1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(attention_map(scale * f.flip(1), p), q)
    assert float(attention_distance(q, q)) == 0.0


# -- VID ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shapes", [MAPS, UNLIKE])
@pytest.mark.parametrize(
    ("reduction", "constant", "trained"), [("element", False, True), ("batch", True, True), ("element", False, False)]
)
def test_vid(shapes: Any, reduction: Any, constant: bool, trained: bool) -> None:
    student, teacher = made(shapes)
    term = VID(at=["stage1", "stage2"], mid=3, eps=1e-3, reduction=reduction, constant=constant, train_variance=trained)
    got = run(term, student, teacher)
    want = 0.0
    for head, name in zip(term.heads, student, strict=True):
        state = numbers(head)
        f_s, f_t = slow.smaller(student[name].numpy(), teacher[name].numpy())
        mean = slow.vid_head(f_s, [state[f"regressor.{k}.weight"] for k in (0, 2, 4)])
        want += slow.vid(mean, state["log_scale"], 1e-3, f_t, reduction, constant)
    near(got, want)


def test_vid_of_the_tensorflow_port() -> None:
    student, teacher = made(({"stage1": (3, 2, 4, 4)}, {"stage1": (3, 3, 4, 4)}))
    term = VID(regressor="norm", eps=1e-3, init_log_scale=5.0)
    got = run(term, student, teacher)
    (head,) = term.heads
    state = numbers(head)
    weights = [state[f"regressor.{k}.weight"] for k in (0, 3, 6)]
    assert [w.shape[:2] for w in weights] == [(6, 2), (6, 6), (3, 6)]  # widths 2C, 2C, C
    norms = [(state[f"regressor.{k}.weight"], state[f"regressor.{k}.bias"]) for k in (1, 4, 7)]
    mean = slow.vid_head(student["stage1"].numpy(), weights, norms)
    near(got, slow.vid(mean, np.full(3, 5.0), 1e-3, teacher["stage1"].numpy()))
    assert round(float(head.variance()[0].detach()), 3) == 5.008


def test_vid_starts_at_the_variance_asked_for_and_knows_which_variances_are_trained() -> None:
    student, teacher = made(MAPS)
    for trained in (True, False):
        term = VID(init_pred_var=2.5, train_variance=trained)
        run(term, student, teacher)
        assert all(torch.allclose(h.variance(), torch.tensor(2.5, dtype=torch.float64), atol=1e-6) for h in term.heads)
        assert ("heads.0.log_scale" in dict(term.named_parameters())) is trained
        assert list(term.state_dict())[:2] == ["heads.0.log_scale", "heads.0.regressor.0.weight"]


def test_the_best_variance_is_the_mean_squared_error() -> None:
    mean, target = randn(4, 2, 3, 3), randn(4, 2, 3, 3)
    best = (mean - target).square().mean((0, 2, 3)).requires_grad_()
    vid_loss(mean, best, target).backward()
    assert best.grad is not None and best.grad.abs().max() < 1e-12


def _vid_by_autograd(mean: Tensor, variance: Tensor, target: Tensor, reduction: str, constant: bool) -> Tensor:
    spread = variance[:, None, None]
    entries = 0.5 * ((mean - target).square() / spread + spread.log())
    if constant:
        entries = entries + 0.5 * math.log(2.0 * math.pi)
    return entries.sum() / (entries.numel() if reduction == "element" else entries.shape[0])


LAYOUTS = (torch.channels_last, torch.contiguous_format)


@pytest.mark.parametrize("shape", [(128, 32, 16, 16), (40, 64, 8, 8), (33, 7, 5, 3), (5, 3, 1, 1), (7, 1, 9, 9), (3, 130, 13, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_vid_are_those_of_autograd_bit_for_bit_and_stay_in_the_layout_of_the_maps(shape: Any, dtype: torch.dtype) -> None:
    mean, target, variance = (randn(*size).to(dtype) for size in (shape, shape, shape[1:2]))
    for mine, theirs in itertools.product(LAYOUTS, repeat=2):
        for reduction, constant, weight in (("element", False, 1.0), ("batch", True, 0.37)):
            found: list[list[Tensor]] = []
            layouts: list[bool] = []
            for loss in (_vid_by_autograd, vid_loss):
                leaves = [mean.contiguous(memory_format=mine).requires_grad_(), (variance.abs() + 0.1).requires_grad_(),
                          target.contiguous(memory_format=theirs).requires_grad_()]  # fmt: skip
                inside = leaves[0] * 1.0
                inside.register_hook(lambda g, layouts=layouts, mine=mine: layouts.append(g.is_contiguous(memory_format=mine)))
                total = loss(inside, leaves[1], leaves[2], reduction, constant)  # type: ignore[arg-type]
                found.append([total.detach(), *torch.autograd.grad(weight * total, leaves)])
            assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
            assert layouts[1]


@pytest.mark.parametrize("reduction", ["element", "batch"])
def test_second_derivatives_of_vid_are_those_of_autograd(reduction: Any) -> None:
    """A graph of the gradient itself: it was taken for a constant, and no error said so."""
    shape = (3, 4, 5, 2)
    values = [randn(*shape), randn(4).abs() + 0.1, randn(*shape)]
    ways = [randn(*value.shape) for value in values]
    found = []
    for loss in (_vid_by_autograd, vid_loss):
        leaves = [value.clone().requires_grad_() for value in values]
        total = loss(leaves[0].square(), leaves[1], leaves[2], reduction, False)  # type: ignore[arg-type]
        first = torch.autograd.grad(0.3 * total, leaves, create_graph=True)
        along = sum((grad * way).sum() for grad, way in zip(first, ways, strict=True))
        assert isinstance(along, Tensor)
        found.append(torch.autograd.grad(along, leaves))
    for mine, theirs in zip(*found, strict=True):
        assert float(mine.abs().max()) > 0 and torch.allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_huge_scales_stay_exact() -> None:
    head = VID(at="s")
    run(head, {"s": randn(2, 1, 2, 2)}, {"s": randn(2, 1, 2, 2)})
    with torch.no_grad():
        head.heads[0].log_scale.fill_(25.0)
    near(head.heads[0].variance().detach(), np.log1p(np.exp(-25.0)) + 25.0 + 1e-5)


# -- FitNet ------------------------------------------------------------------------------------------------------------
SIZES = [((4, 4), (4, 4)), ((8, 8), (4, 4)), ((4, 4), (8, 8)), ((7, 7), (4, 4)), ((3, 3), (7, 7)), ((6, 3), (4, 5))]


@pytest.mark.parametrize(("student", "teacher"), SIZES)
@pytest.mark.parametrize(
    ("norm", "relu", "reduction"), [(True, True, "element"), (False, False, "batch"), (True, False, "position")]
)
def test_fitnet(student: tuple[int, int], teacher: tuple[int, int], norm: bool, relu: bool, reduction: Any) -> None:
    f_s, f_t = randn(3, 2, *student), randn(3, 4, *teacher)
    term = FitNet(norm=norm, relu=relu, reduction=reduction, factor=0.5)
    got = run(term, {"stage1": f_s}, {"stage1": f_t})
    r = slow.regressed(f_s.numpy(), teacher, numbers(term.regressors[0]), norm, relu)
    near(got, 0.5 * slow.hint(r, f_t.numpy(), reduction))


def test_the_hint_is_the_middle_pair() -> None:
    for count, middle in ((1, "stage1"), (2, "stage1"), (3, "stage2"), (4, "stage2"), (5, "stage3")):
        maps = {f"stage{i + 1}": randn(2, 2, 2 ** (5 - i), 2 ** (5 - i)) for i in range(count)}
        term = FitNet()
        term.setup(shapes_only(maps, maps))
        assert term.pairs == ((middle, middle),)


def test_attention_maps_may_share_one_length() -> None:
    """``over="batch"``: the squared difference of all maps over all entries, each network's maps divided by one length."""
    draw = torch.Generator().manual_seed(2)
    s, t = (torch.randn(4, c, 3, 3, generator=draw, dtype=torch.float64) for c in (2, 5))
    q_s, q_t = (f.square().mean(1).flatten(1) for f in (s, t))
    wanted = ((q_s / q_s.square().sum().sqrt() - q_t / q_t.square().sum().sqrt()) ** 2).mean()
    outs = [Output(torch.zeros(4, 2, dtype=torch.float64), {"stage1": f}) for f in (s, t)]
    found = AT(at="stage1", over="batch")(*outs, Batch(s))
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)
    assert float(AT(at="stage1")(*outs, Batch(s))) > 2 * float(found)
    assert "over" not in AT().settings() and AT(over="batch").settings()["over"] == "batch"
    with pytest.raises(RedistillError, match="over='all'"):
        AT(over="all")  # type: ignore[arg-type]
