"""Every term and every variant against the formula written again with loops, and what must hold for any numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import slow
from redistill.core import Batch, Context, Output, RedistillError, Term
from redistill.terms import (
    ABF,
    AT,
    CE,
    KD,
    VID,
    Anchor,
    Cascade,
    DirectFusion,
    FitNet,
    Pyramid,
    Review,
    attention_distance,
    attention_map,
    context_loss,
    hcl,
    softened_kl,
    vid_loss,
)  # fmt: skip

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
    near(KD(reduction="element", factor=2.0)(s, t, batch), KD()(s, t, batch).numpy() * 0.2)  # the [RE] report's KD-AT


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


def made(shapes: tuple[dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {n: randn(*s) for n, s in shapes[0].items()}, {n: randn(*s) for n, s in shapes[1].items()}


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


# -- knowledge review --------------------------------------------------------------------------------------------------
PYRAMIDS = [
    ({}, {}),
    ({"keep": "l<=h", "count": "listed", "denominator": 1.875}, {"at_most": True, "by_place": True, "denominator": 1.875}),
    ({"levels": ("h", 2, 1), "weights": (1.0, 0.5, 0.25)},) * 2,
    ({"levels": ("h", "h/2", "h/4"), "weights": (1.0, 0.5, 0.25)},) * 2,
    ({"levels": ("h", "h-1", "h-2", "h-3")},) * 2,
    ({"weights": (1.0, 1.0, 1.0, 1.0)},) * 2,
    ({"weights": (0.125, 0.25, 0.5, 1.0), "count": "listed"}, {"weights": (0.125, 0.25, 0.5, 1.0), "by_place": True}),
    ({"levels": ("h",), "weights": (1.0,)},) * 2,
]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 9])
@pytest.mark.parametrize(("ours", "theirs"), PYRAMIDS)
def test_hierarchical_context_loss(size: int, ours: Any, theirs: Any) -> None:
    f, g = randn(2, 3, size, size), randn(2, 3, size, size)
    near(context_loss(f, g, Pyramid(**ours)), slow.context(f.numpy(), g.numpy(), **theirs))
    near(hcl([f, g], [g, g], Pyramid(**ours)), slow.context(f.numpy(), g.numpy(), **theirs))


def test_levels_four_and_one_alone() -> None:
    f, g = randn(2, 3, 8, 8), randn(2, 3, 8, 8)
    pyramid = Pyramid(levels=(4, 1), weights=(1.0, 0.5))
    near(context_loss(f, g, pyramid), slow.context(f.numpy(), g.numpy(), (4, 1), (1.0, 0.5)))


def test_the_reproduction_gives_the_pooled_feature_six_tenths() -> None:
    f, g = randn(2, 5, 1, 1), randn(2, 5, 1, 1)
    theirs = Pyramid(keep="l<=h", count="listed", denominator=1.875)
    near(context_loss(f, g, theirs), 0.6 * context_loss(f, g, Pyramid()).numpy())


LEVELS = (
    {"stage1": (3, 2, 4, 4), "stage2": (3, 3, 2, 2), "pooled": (3, 3)},
    {"stage1": (3, 4, 8, 8), "stage2": (3, 3, 3, 3), "pooled": (3, 2)},
)


def as_maps(tensors: dict[str, Tensor]) -> list[Any]:
    return [t.numpy() if t.ndim == 4 else t.numpy()[:, :, None, None] for t in tensors.values()]


@pytest.mark.parametrize("fusion", ["attention", "sum", "figure3a"])
@pytest.mark.parametrize("distance", ["hcl", "mse"])
def test_residual_framework(fusion: Any, distance: Any) -> None:
    student, teacher = made(LEVELS)
    term = Review(fusion=fusion, distance=distance, mid=None if fusion == "figure3a" else 2)
    got = run(term, student, teacher)
    assert term.pairs == (("stage1", "stage1"), ("stage2", "stage2"), ("pooled", "pooled"))
    targets = as_maps(teacher)
    fused = slow.cascade(as_maps(student), [t.shape[2:] for t in targets], numbers(term.cascade), fusion)
    distance_of = slow.context if distance == "hcl" else slow.mse
    near(got, sum(distance_of(f, t) for f, t in zip(fused, targets, strict=True)))


@pytest.mark.parametrize("framework", ["levels", "pairs", "sums"])
@pytest.mark.parametrize("distance", ["hcl", "mse"])
def test_the_other_frameworks_of_the_ablation(framework: Any, distance: Any) -> None:
    student, teacher = made(LEVELS)
    term = Review(framework=framework, distance=distance, trained=False)
    got = run(term, student, teacher)
    features, targets, state = as_maps(student), as_maps(teacher), numbers(term.transforms)
    n, k, want = len(features), 0, 0.0
    distance_of = slow.context if distance == "hcl" else slow.mse
    for j in range(n):
        made_here = []
        for i in range(j, n if framework != "levels" else j + 1):
            own = {name.removeprefix(f"{k}."): v for name, v in state.items() if name.startswith(f"{k}.")}
            made_here.append(slow.nearest(slow.conv_norm(features[i], own, "conv"), *targets[j].shape[2:]))
            k += 1
        if framework == "sums":
            want += distance_of(sum(made_here), targets[j])
        else:
            want += sum(distance_of(one, targets[j]) for one in made_here)
    near(got, want)
    assert k == {"levels": n, "pairs": n * (n + 1) // 2, "sums": n * (n + 1) // 2}[framework]
    assert not any(p.requires_grad for p in term.parameters())


def test_one_stage_against_another_is_table_6() -> None:
    student, teacher = made(LEVELS)
    term = Review(at=[("stage2", "stage1")], framework="levels", distance="mse")
    got = run(term, student, teacher)
    moved = slow.nearest(slow.conv_norm(student["stage2"].numpy(), numbers(term.transforms[0]), "conv"), 8, 8)
    near(got, slow.mse(moved, teacher["stage1"].numpy()))


def test_the_teacher_is_read_before_the_activation_where_it_says_how() -> None:
    student, teacher = made(LEVELS)
    teacher |= {"stage1:pre": randn(3, 4, 8, 8), "stem": randn(3, 4, 8, 8)}
    student["stem"] = randn(3, 2, 4, 4)
    ctx = shapes_only(student, teacher)
    review, levels = Review(), Review(framework="levels")
    review.setup(ctx)
    levels.setup(ctx)
    assert review.pairs == (("stage1", "stage1:pre"), ("stage2", "stage2"), ("pooled", "pooled"))
    assert levels.pairs == (("stem", "stem"), *review.pairs)  # the ablation's first rows start at the stem


def test_the_residual_has_as_many_channels_as_the_authors_give_it() -> None:
    for deepest, mid in ((8, 8), (520, 512)):
        cascade = Cascade([4, deepest], [5, 6])
        assert cascade.abfs[0].conv1[0].weight.shape[:2] == (mid, deepest)
    assert Cascade([4, 8], [5, 6], mid=64).abfs[1].conv1[0].weight.shape[:2] == (64, 4)


def test_fusions_refuse_a_wrong_residual() -> None:
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(RedistillError, match=r"ABF\(fuse=True\) takes the residual of the deeper level, got none"):
        ABF(3, 4, 5, fuse=True)(x)
    with pytest.raises(RedistillError, match=r"DirectFusion\(fuse=False\) takes no residual, got one"):
        DirectFusion(3, None, 5)(x, x)


# -- anchor ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("norm", "reduction"), [*itertools.product(("absolute", "squared"), ("tensor", "sum"))])
def test_anchor(norm: Any, reduction: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    start = {n: p.detach().numpy().copy() for n, p in net.named_parameters()}
    term = Anchor(norm=norm, reduction=reduction)
    term.setup(Context(net, None, {}, {}, (), (), 2))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(randn(*p.shape))
    now = {n: p.detach().numpy() for n, p in net.named_parameters()}
    z = torch.zeros(1, 2, dtype=torch.float64)
    got = term(Output(z), None, Batch(z)).detach()
    near(got, slow.anchor(now, start, squared=norm == "squared", by_tensor=reduction == "tensor"))
    assert sorted(term.state_dict()) == sorted(f"start/{n.replace('.', '/')}" for n in start)


# -- what is refused ---------------------------------------------------------------------------------------------------
def _setup(term: Term, student: dict[str, tuple[int, ...]], teacher: dict[str, tuple[int, ...]]) -> None:
    stages = lambda places: tuple(n for n in places if n.startswith("stage"))  # noqa: E731
    term.setup(Context(nn.Identity(), nn.Identity(), student, teacher, stages(student), stages(teacher), 3))


TWO = {"stage1": (2, 4, 8, 8), "pooled": (2, 4)}
TOKENS = {"words": (2, 5, 4)}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AT(p=0), "exponent must be above 0"),
        (lambda: AT(p=1.5), "a negative activation has no such power; add absolute=True"),
        (lambda: AT(form="l2"), "known are 'mean', 'sum' and 'norm'"),
        (lambda: AT(at=[]), "names no place"),
        (lambda: VID(eps=0.0), "the first variance must exceed its floor"),
        (lambda: VID(mid=0), "at least 1 channel"),
        (lambda: VID(regressor="bn"), "known are 'plain' and 'norm'"),
        (lambda: VID(reduction="sum"), "known are 'element' and 'batch'"),
        (lambda: FitNet(reduction="mean"), "known are 'element', 'position' and 'batch'"),
        (lambda: Review(framework="rm"), "known are 'residual', 'pairs', 'sums' and 'levels'"),
        (lambda: Review(fusion="abf"), "known are 'attention', 'sum' and 'figure3a'"),
        (lambda: Review(distance="l2"), "known are 'hcl' and 'mse'"),
        (lambda: Review(mid=0), "at least 1 channel"),
        (lambda: Review(framework="pairs", fusion="sum"), "fuses nothing"),
        (lambda: Review(levels=("h", 4), weights=(1.0,)), "one weight a level, got 2 levels and 1 weights"),
        (lambda: Review(levels=("h/3", 4), weights=(1.0, 1.0)), "unknown pyramid level 'h/3': did you mean h/4 or h/2"),
        (lambda: Review(levels=(0,), weights=(1.0,)), "a whole number from 1 or one of"),
        (lambda: Review(weights=(1.0, 0.0, 1.0, 1.0)), "pyramid weights must be above 0"),
        (lambda: Review(keep="<"), "known are 'l<h' and 'l<=h'"),
        (lambda: Review(count="all"), "known are 'use' and 'listed'"),
        (lambda: Review(denominator=0.0), "known are 'used' and numbers above 0"),
        (lambda: Anchor(norm="l1"), "known are 'absolute' and 'squared'"),
        (lambda: Anchor(reduction="mean"), "known are 'tensor' and 'sum'"),
        (lambda: _setup(AT(at="pooled"), TWO, TWO), r"AT compares where maps .* but 'pooled' has shape \[2, 4\]"),
        (lambda: _setup(VID(at="stag1"), TWO, TWO), r"unknown place of the student 'stag1': did you mean stage1\?"),
        (lambda: _setup(VID(at="words"), TOKENS, TOKENS), r"'words' of the student has shape \[2, 5, 4\]"),
        (lambda: _setup(FitNet(), {"pooled": (2, 4)}, TWO), "the student has no feature maps to pair .* from: pooled 4"),
        (lambda: hcl([torch.zeros(1, 1, 2, 2)], []), "got 1 of the student and 0 of the teacher"),
        (lambda: hcl([torch.zeros(1, 1, 2, 2)], [torch.zeros(1, 1, 4, 4)]), r"student's map has shape \[1, 1, 2, 2\]"),
        (lambda: context_loss(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), Pyramid((4,), (1.0,))), "add level 'h'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_a_sentence(make: Any, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        make()
