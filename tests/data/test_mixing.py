"""Mixup and CutMix: the formulas, what is drawn, and that teacher and student see the same images and labels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

import redistill as rd
from redistill import rng
from redistill.core import Batch, Output, RedistillError, StreamContext
from redistill.data.mixing import Mixing, cut_box
from redistill.terms.ce import balanced_weights

PIXELS = torch.randint(0, 256, (14, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 0, 1, 2, 1, 0, 0, 2, 0, 1, 0])


def images(augment: str, labels: bool = True) -> rd.data.Images:
    return rd.data.Images(PIXELS, LABELS if labels else None, 3, "few", "half", augment)


def room(seed: int = 0, batch: int = 6, last: bool = False) -> StreamContext:
    cpu = torch.device("cpu")
    return StreamContext(seed=seed, batch_size=batch, device=cpu, dtype=torch.float64, steps=30, channels_last=last)


@pytest.mark.parametrize("last", [False, True])
def test_a_mixed_batch_is_two_plain_ones(last: bool) -> None:
    ways = set()
    for step in range(12):
        plain = images("crop-flip:1").start(room(7, last=last)).batch(step)
        mixed = images("crop-flip:1+mixup:0.4+cutmix").start(room(7, last=last)).batch(step)
        assert mixed.share is not None and mixed.second is not None and plain.labels is not None
        assert torch.equal(mixed.labels, plain.labels) and torch.equal(mixed.second, plain.labels.roll(1))  # type: ignore[arg-type]
        assert torch.equal(mixed.index, plain.index) and mixed.images.is_contiguous(memory_format=torch.channels_last) is last  # type: ignore[arg-type]
        share, x, y = float(mixed.share[0]), plain.images, plain.images.roll(1, 0)
        assert (mixed.share == share).all() and 0 <= share <= 1
        if torch.allclose(mixed.images, share * x + (1 - share) * y, atol=1e-12):
            ways.add("mixup")
        else:
            ways.add("cutmix")
            first, second = (mixed.images == x).all(1), (mixed.images == y).all(1)
            assert (first | second).all()
            box = (~first).any(0)  # where some image is its partner's
            rows, columns = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
            area = (int(rows.max() - rows.min()) + 1) * (int(columns.max() - columns.min()) + 1) if len(rows) else 0
            assert math.isclose(share, 1 - area / 64, abs_tol=1e-9)
    assert ways == {"mixup", "cutmix"}


def test_shares_are_drawn_as_published() -> None:
    for alpha in (0.2, 1.0):
        shares = [Mixing(mixup=alpha).drawn(1, step, 8, 8).share for step in range(1500)]
        assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    both = [Mixing(0.2, 1.0).drawn(0, step, 32, 32).box is None for step in range(1500)]
    assert 0.46 < sum(both) / 1500 < 0.54
    assert Mixing(mixup=0.2).drawn(3, 5, 8, 8) == Mixing(mixup=0.2).drawn(3, 5, 8, 8) != Mixing(mixup=0.2).drawn(3, 6, 8, 8)
    assert cut_box(0.0, 8, 8, 0.5, 0.5) == (0, 8, 0, 8) and cut_box(1.0, 8, 8, 0.5, 0.5) == (4, 4, 4, 4)
    assert cut_box(0.75, 10, 20, 0.99, 0.0) == (7, 10, 0, 5)


def test_boxes_are_torchvisions() -> None:
    """Yun et al.'s box from the same λ and the same middle, by the formula of ``torchvision.transforms.v2.CutMix``."""
    for step in range(50):
        share, down, across = torch.rand(3, generator=rng.stream(0, "box", step), dtype=torch.float64).tolist()
        h, w = 24, 32
        r = 0.5 * math.sqrt(1.0 - share)
        r_x, r_y = int(across * w), int(down * h)
        x1, y1 = max(r_x - int(r * w), 0), max(r_y - int(r * h), 0)
        x2, y2 = min(r_x + int(r * w), w), min(r_y + int(r * h), h)
        assert cut_box(share, h, w, down, across) == (y1, y2, x1, x2)


# -- labels --------------------------------------------------------------------------------------------------------------
def soft(batch: Batch, classes: int = 3) -> torch.Tensor:
    assert batch.labels is not None and batch.second is not None and batch.share is not None
    share = batch.share[:, None]
    return share * F.one_hot(batch.labels, classes) + (1 - share) * F.one_hot(batch.second, classes)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_mixed_images_is_that_of_soft_labels(smoothing: float) -> None:
    batch = images("mixup:1").start(room()).batch(1)
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    loss = rd.CE(smoothing)(Output(z), None, batch)
    expected = F.cross_entropy(z, soft(batch), label_smoothing=smoothing)
    assert torch.allclose(loss, expected, rtol=1e-12)
    mine, theirs = (torch.autograd.grad(value, z)[0] for value in (loss, expected))
    assert torch.allclose(mine, theirs, rtol=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_pytorchs(smoothing: float) -> None:
    z = torch.randn(14, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    counted = torch.bincount(LABELS).double()
    weights = 14 / (3 * counted)
    assert torch.allclose(balanced_weights(LABELS, 3), weights, rtol=1e-14)
    zero = torch.zeros(2, 3, 8, 8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    ctx = rd.context(net, None, zero, count=14, labels=LABELS)
    for given in ("balanced", tuple(weights.tolist())):
        term = rd.CE(smoothing, class_weights=given)  # type: ignore[arg-type]
        term.setup(ctx)
        expected = F.cross_entropy(z, LABELS, weight=weights, label_smoothing=smoothing)
        assert torch.allclose(term(Output(z), None, Batch(z, LABELS)), expected, rtol=1e-12)
    half = torch.full((14,), 0.5, dtype=torch.float64)
    mixed = Batch(z, LABELS, second=LABELS, share=half)
    assert torch.allclose(term(Output(z), None, mixed), expected, rtol=1e-12)  # mixed with its own class
    assert "class_weights" not in rd.CE().settings() and rd.CE(class_weights="balanced").settings()["class_weights"] == "balanced"
    for wrong, says in (("even", "known are 'none' and 'balanced'"), ((1.0, -1.0, 1.0), "one number for each class"), ((), "one number")):
        with pytest.raises(RedistillError, match=says):
            rd.CE(class_weights=wrong)  # type: ignore[arg-type]
    with pytest.raises(RedistillError, match="CE has 2 class weights, and there are 3 classes"):
        rd.CE(class_weights=(1.0, 2.0)).setup(ctx)
    with pytest.raises(RedistillError, match="has not seen the networks yet"):
        rd.CE(class_weights="balanced")(Output(z), None, Batch(z, LABELS))


# -- in a run ------------------------------------------------------------------------------------------------------------
class Seen(nn.Module):
    """Remembers what it was shown while it learned or taught."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []
        with rng.seeded(seed, "init"):
            self.head = nn.Linear(192, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x.detach().clone())
        return self.head(x.flatten(1))


def test_teacher_and_student_see_the_same_mixed_images() -> None:
    net, teacher = Seen(0), Seen(1)
    source = images("resized-crop:0.5+randaugment+mixup:1+cutmix")
    recipe = rd.Recipe(steps=3, batch_size=6, lr=0.1, channels_last=False)
    loop = rd.Loop([(net, 0.5 * rd.CE() + rd.KD())], teacher, source, recipe, seed=1, device="cpu")
    net.shown.clear()
    theirs: nn.Module = loop.teacher.net  # type: ignore[union-attr]
    theirs.shown.clear()  # type: ignore[operator, union-attr]
    for _ in loop:
        pass
    for step, x in enumerate(net.shown[:3]):
        expected = source.start(StreamContext(seed=1, batch_size=6, device=torch.device("cpu"), dtype=torch.float32, steps=3)).batch(step)
        assert torch.equal(x, expected.images) and torch.equal(theirs.shown[step][: len(x)], x)  # type: ignore[index]


def test_terms_that_need_one_class_refuse() -> None:
    source, recipe = images("mixup"), rd.Recipe(steps=2, batch_size=6)
    for term in (rd.DKD(), rd.NKD()):
        with pytest.raises(RedistillError, match=r"needs the one class of an image, and images that are mixed of two \(mixup, cutmix\)"):
            rd.fit(Seen(0), Seen(1), rd.CE() + term, source, recipe, seed=0)
        with pytest.raises(RedistillError, match="needs the one class of an image"):
            term(Output(torch.zeros(6, 3)), Output(torch.zeros(6, 3)), source.start(room()).batch(0))
    result = rd.fit(Seen(0), Seen(1), rd.KD(), images("mixup", labels=False), recipe, seed=0, quiet=True)
    assert result.losses["KD"][0] > 0
