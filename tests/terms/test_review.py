"""Knowledge review and its ablations, the anchor, and what every term refuses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import slow
from helpers.from_shapes import made, near, numbers, randn, run, shapes_only
from redistill.core import Batch, Context, Method, Output, RedistillError, Term, reads_logits
from redistill.terms import ABF, AT, VID, Anchor, Cascade, DirectFusion, FitNet, Pyramid, Review, context_loss, hcl

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



def test_use_kl_adds_softened_divergence_and_asks_for_common_classes() -> None:
    shapes = {"stage1": (3, 2, 4, 4), "stage2": (3, 3, 2, 2), "logits": (3, 5)}
    other = {**shapes, "logits": (3, 4)}
    student, teacher = (Output(randn(3, 5), {n: randn(*shapes[n]) for n in ("stage1", "stage2")}) for _ in range(2))
    found = []
    for term in (Review(), Review(use_kl=True, kl_weight=0.5, T=2.0)):
        term.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, ("stage1", "stage2"), ("stage1", "stage2"), 5))
        found.append(float(term.double()(student, teacher, Batch(torch.zeros(3, 1))).detach()))
    near(torch.tensor(found[1] - found[0], dtype=torch.float64), 0.5 * 4 * slow.kl(student.logits.numpy(), teacher.logits.numpy(), 2.0) / 3)
    assert reads_logits(Review(use_kl=True)) and set(Review().settings()).isdisjoint({"use_kl", "kl_weight", "T"})
    with pytest.raises(RedistillError, match="they are of the KL that use_kl adds, and it is off"):
        Review(T=2.0)
    unlike = Context(nn.Identity(), nn.Identity(), shapes, other, ("stage1",), ("stage1",), 5)
    with pytest.raises(RedistillError, match="the teacher tells 4 classes apart, the student 5"):
        Method.of(Review(use_kl=True)).setup(unlike)
    Method.of(Review()).setup(unlike)


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
        (lambda: AT(p=0), "exponent must be a number of 1 or more"),
        (lambda: AT(p=0.5, absolute=True), "below 1 the gradient is infinite wherever an activation is exactly 0"),
        (lambda: AT(p=1.5), "a negative activation has no such power; add absolute=True"),
        (lambda: AT(form="l2"), "known are 'mean', 'sum' and 'norm'"),
        (lambda: AT(at=[]), "names no place"),
        (lambda: VID(eps=0.0), "the first variance must exceed its floor"),
        (lambda: VID(mid=0), "at least 1 channel"),
        (lambda: VID(regressor="bn"), "known are 'plain', 'norm' and 'norm-linear'"),
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
        (lambda: _setup(VID(at="words"), TOKENS, {"words": (2, 7, 4)}), r"'words' of the student has shape \[2, 5, 4\], .*as many tokens"),
        (lambda: _setup(Review(at="words"), TOKENS, TOKENS), r"Review compares maps .* but 'words' of the student has shape \[2, 5, 4\]"),
        (lambda: _setup(FitNet(), {"pooled": (2, 4)}, TWO), "the student has no feature maps to pair .* from: pooled 4"),
        (lambda: hcl([torch.zeros(1, 1, 2, 2)], []), "got 1 of the student and 0 of the teacher"),
        (lambda: hcl([torch.zeros(1, 1, 2, 2)], [torch.zeros(1, 1, 4, 4)]), r"student's map has shape \[1, 1, 2, 2\]"),
        (lambda: context_loss(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), Pyramid((4,), (1.0,))), "add level 'h'"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(make: Any, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        make()
