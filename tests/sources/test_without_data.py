"""DAFL, DFAD, DeepInversion and CMI: every loss written again slowly, whole runs written out, resuming, presets and bad settings."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill import models, rng
from redistill.core import Batch, Context, Method, Output, RedistillError, Source
from redistill.data import normalisation
from redistill.experiment.value import Experiment
from redistill.launch.fit import fit
from redistill.published.without_data import PRESETS
from redistill.recipe import Constant, Recipe
from redistill.sources import CMI, DAFL, DFAD, DeepInversion, Rounds, pulls
from redistill.sources.contrast import contrast_loss, global_view, local_view, shifted
from redistill.sources.generated import dafl_variant, dfad_variant
from redistill.sources.losses import (
    ActivationNorm,
    BatchNormStatistics,
    ImageNorm,
    InformationEntropy,
    OneHot,
    TotalVariation,
)
from redistill.sources.memory import FeatureMemory, ImageMemory
from redistill.terms import KD, Consistency, Diversity, FitNet, LogitDistance, StudentEntropy, TeacherEntropy
from redistill.testing import check_term
from redistill.train.loop import Loop

BATCH, Z, SHAPE = 6, 5, (3, 8, 8)
SPACE = "cifar10-kuangliu"


class Net(nn.Module):
    """Two convolutions with batch norm; running statistics that differ from 0 and 1."""

    def __init__(self, seed: int, width: int = 4, classes: int = 5):
        super().__init__()
        with rng.seeded(seed, "init", width):
            self.a, self.n = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
            self.b, self.m = nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(width)
            self.head = nn.Linear(width, classes)
            for norm in (self.n, self.m):
                norm.running_mean.normal_(0, 0.3)
                norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.whole(x)[0]

    def whole(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits, the vector before the classifier, and what each batch norm is given."""
        one = self.a(x)
        two = self.b(F.relu(self.n(one)))
        vector = F.relu(self.m(two)).mean((2, 3))
        return self.head(vector), vector, [one, two]


class Gan(nn.Module):
    z, image_shape = Z, SHAPE

    def __init__(self, pixels: bool = False, seed: int = 0):
        super().__init__()
        self.pixels = pixels
        with rng.seeded(seed, "init", "gan"):
            self.l, self.n = nn.Linear(Z, 4 * 64), nn.BatchNorm2d(4)
            self.c = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        out = self.c(F.relu(self.n(self.l(z).view(-1, 4, 8, 8))))
        return torch.sigmoid(out) if self.pixels else torch.tanh(out)


def teacher() -> Net:
    return Net(1).double().eval().requires_grad_(False)


def taken(net: Net, images: Tensor) -> Output:
    """What a source's method is told of a teacher."""
    logits, vector, before = net.whole(images)
    return Output(logits, {"pooled": vector, "n:in": before[0], "m:in": before[1]})


def draws(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- the losses, written again slowly -----------------------------------------------------------------------------------
def slow_softmax(row: list[float]) -> list[float]:
    top = max(row)
    raised = [math.exp(v - top) for v in row]
    return [v / sum(raised) for v in raised]


def test_the_losses_that_ask_the_teacher_are_their_formulas() -> None:
    net, x, labels = teacher(), draws(BATCH, *SHAPE), torch.arange(BATCH) % 5
    out, batch = taken(net, x), Batch(x, labels)
    rows = [slow_softmax(row) for row in out.logits.tolist()]
    own = sum(-math.log(max(row)) for row in rows) / BATCH
    asked = sum(-math.log(row[int(y)]) for row, y in zip(rows, labels, strict=True)) / BATCH
    assert float(OneHot()(out, out, batch)) == pytest.approx(own, rel=1e-12)
    assert float(OneHot(target="label")(out, out, batch)) == pytest.approx(asked, rel=1e-12)
    share = [sum(row[c] for row in rows) / BATCH for c in range(5)]
    entropy = sum(p * math.log(p) for p in share)
    assert float(InformationEntropy()(out, out, batch)) == pytest.approx(entropy, rel=1e-12)
    assert float(InformationEntropy(base="10")(out, out, batch)) == pytest.approx(entropy / math.log(10), rel=1e-12)
    term = ActivationNorm()
    term.setup(Context(net, net, {}, {"pooled": (BATCH, 4)}, (), (), 5))
    vector = [abs(v) for row in out["pooled"].tolist() for v in row]
    assert float(term(out, out, batch)) == pytest.approx(-sum(vector) / len(vector), rel=1e-12)


def test_a_class_that_no_image_shows_has_an_entropy_and_a_gradient() -> None:
    """exp(-250) is 0 in fp32: 0 times the infinite gradient of its logarithm made every image NaN."""
    logits = torch.tensor([[0.0, 1.0, -250.0], [2.0, 0.5, -300.0]])
    found = []
    for dtype in (torch.float32, torch.float64):
        z = logits.to(dtype).requires_grad_()
        value = InformationEntropy()(Output(z), Output(z), Batch(torch.zeros(2, 1, 1, 1)))
        found.append((value.detach().double(), torch.autograd.grad(value, z)[0].double()))
    assert (torch.softmax(logits, 1)[:, 2] == 0).all() and bool(torch.isfinite(found[0][1]).all())
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-7)
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plain = -torch.special.entr(torch.softmax(z, 1).mean(0)).sum()
    value = InformationEntropy()(Output(z), Output(z), Batch(z))
    assert torch.equal(value, plain) and torch.equal(*(torch.autograd.grad(one, z)[0] for one in (value, plain)))


def test_batch_norm_statistics_are_their_formula() -> None:
    net, x = teacher(), draws(BATCH, *SHAPE)
    term = BatchNormStatistics()
    term.setup(Context(net, net, {}, {}, (), (), 5))
    assert term.pairs == (("logits", "n:in"), ("logits", "m:in"))
    out = taken(net, x)
    want = 0.0
    for given, norm in ((out["n:in"], net.n), (out["m:in"], net.m)):
        means, variances = [], []
        for c in range(given.shape[1]):
            values = given[:, c].flatten().tolist()
            mean = sum(values) / len(values)
            means.append(mean - float(norm.running_mean[c]))
            variances.append(sum((v - mean) ** 2 for v in values) / len(values) - float(norm.running_var[c]))
        want += math.sqrt(sum(d * d for d in means)) + math.sqrt(sum(d * d for d in variances))
    assert float(term(out, out, Batch(x))) == pytest.approx(want, rel=1e-10)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(RedistillError, match="the teacher Sequential has none"):
        BatchNormStatistics().setup(Context(plain, plain, {}, {}, (), (), 5))


def test_smoothness_and_length_are_their_formulas() -> None:
    x = draws(2, 3, 4, 5)
    pixels = x.tolist()
    sums = [0.0] * 4
    for image in pixels:
        for plane in image:
            for i in range(4):
                for j in range(5):
                    right, below = j + 1 < 5, i + 1 < 4
                    sums[0] += (plane[i][j] - plane[i][j + 1]) ** 2 if right else 0
                    sums[1] += (plane[i][j] - plane[i + 1][j]) ** 2 if below else 0
                    sums[2] += (plane[i + 1][j] - plane[i][j + 1]) ** 2 if right and below else 0
                    sums[3] += (plane[i][j] - plane[i + 1][j + 1]) ** 2 if right and below else 0
    out = Output(torch.zeros(2, 5))
    assert float(TotalVariation()(out, None, Batch(x))) == pytest.approx(sum(math.sqrt(s) for s in sums), rel=1e-12)
    length = math.sqrt(sum(v * v for v in x.flatten().tolist()))
    assert float(ImageNorm()(out, None, Batch(x))) == pytest.approx(length, rel=1e-12)


def test_the_distances_of_logits_are_their_formulas() -> None:
    s, t = draws(BATCH, 5, seed=1), draws(BATCH, 5, seed=2)
    s[0] = t[0] + 0.1 * s[0]  # one image at least on which both say the same class
    batch = Batch(s)
    pairs = list(zip(s.tolist(), t.tolist(), strict=True))
    l1 = sum(abs(a - b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True)) / (BATCH * 5)
    assert float(LogitDistance()(Output(s), Output(t), batch)) == pytest.approx(l1, rel=1e-12)
    js = agreed = 0.0
    for mine, theirs in pairs:
        p, q = (slow_softmax([v / 3 for v in row]) for row in (mine, theirs))
        for a, b in zip(p, q, strict=True):
            middle, a, b = (min(max(v, 0.01), 0.99) for v in ((a + b) / 2, a, b))
            js += 0.5 * middle * (math.log(middle / a) + math.log(middle / b)) / BATCH
        if mine.index(max(mine)) == theirs.index(max(theirs)):
            p, q = slow_softmax(mine), slow_softmax(theirs)
            agreed += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)) / BATCH
    assert float(LogitDistance(form="js", T=3.0)(Output(s), Output(t), batch)) == pytest.approx(js, rel=1e-12)
    assert agreed > 0
    assert float(LogitDistance(form="agreed")(Output(s), Output(t), batch)) == pytest.approx(agreed, rel=1e-12)
    leaf = (50 * s).requires_grad_()
    bounded = LogitDistance(form="js", most=0.1)(Output(leaf), Output(t), batch)
    assert float(bounded.detach()) == pytest.approx(0.1) and not torch.autograd.grad(bounded, leaf)[0].any()


@pytest.mark.parametrize("make", [
    OneHot, InformationEntropy, ActivationNorm, lambda: OneHot(target="teacher"), lambda: InformationEntropy("10"),
    TotalVariation, ImageNorm, LogitDistance, lambda: LogitDistance(form="js", T=3.0),
], ids=["one hot", "entropy", "activation", "own class", "base 10", "variation", "norm", "l1", "js"])  # fmt: skip
def test_what_pulls_at_images_keeps_the_promises_of_a_term(make: Callable[[], Any]) -> None:
    if make is ActivationNorm:
        make = lambda: ActivationNorm(at="stage3")  # noqa: E731  # the bench's networks declare no vector
    assert check_term(make, generated=True)


def test_contrast_is_its_formula() -> None:
    local, whole = (F.normalize(draws(9, 4, seed=s), dim=1) for s in (1, 2))
    images, T = 4, 0.1
    each = []
    for i in range(9):
        scores = [sum(a * b for a, b in zip(local[i].tolist(), whole[j].tolist(), strict=True)) / T for j in range(9)]
        each.append(-math.log(slow_softmax(scores)[i]))
    want = sum(each[:images]) / images + sum(each[images:]) / 5
    assert float(contrast_loss(local, whole, images, T)) == pytest.approx(want, rel=1e-10)
    alone = contrast_loss(local[:4], whole[:4].requires_grad_(), 4, T)
    assert not alone.requires_grad, "no gradient runs into the global view"


def test_views_are_windows_of_the_image() -> None:
    x = torch.rand(16, 3, 8, 8, dtype=torch.float64)
    whole = global_view(x, torch.Generator().manual_seed(1))
    padded = F.pad(x, (4, 4, 4, 4))
    for image, around in zip(whole, padded, strict=True):
        windows = [around[:, i : i + 8, j : j + 8] for i in range(9) for j in range(9)]
        assert any(torch.equal(image, w) or torch.equal(image, w.flip(2)) for w in windows)
    near = local_view(x, torch.Generator().manual_seed(1))
    assert near.shape == x.shape and float(near.min()) >= float(x.min()) and float(near.max()) <= float(x.max())
    constant = torch.ones(4, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(local_view(constant, torch.Generator()), constant)
    rolled = shifted(x, 2, False, torch.Generator().manual_seed(2))
    assert any(torch.equal(rolled, x.roll((i, j), (2, 3))) for i in range(-2, 3) for j in range(-2, 3))


# -- whole runs written out ---------------------------------------------------------------------------------------------
def recipe(steps: int) -> Recipe:
    return Recipe(
        steps=steps, lr=0.05, batch_size=BATCH, optimizer="sgd", momentum=0.9, nesterov=False, weight_decay=0.0, schedule=Constant(),
        precision="double",
    )  # fmt: skip


def sgd(net: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, *parameters: Tensor) -> None:
    wanted = [p for group in optimizer.param_groups for p in group["params"]]
    for p, g in zip(wanted, torch.autograd.grad(loss, wanted), strict=True):
        p.grad = g
    optimizer.step()


def noise(seed: int, k: int) -> Tensor:
    return torch.randn(BATCH, Z, generator=rng.stream(seed, "noise", k)).double()


def same(mine: nn.Module, theirs: nn.Module) -> None:
    for (name, a), b in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-9, atol=1e-10, msg=name)


def test_dafl_is_its_loop() -> None:
    t, s, g = teacher(), Net(2).double().train(), Gan().double().train()
    of_g, of_s = torch.optim.Adam(g.parameters(), lr=0.02), sgd(s)
    for k in range(4):
        x = g(noise(7, k))
        z, vector, _ = t.whole(x)
        p = z.softmax(1).mean(0)
        loss = F.cross_entropy(z, z.detach().argmax(1)) - 0.1 * vector.abs().mean() + 5 * (p * p.log10()).sum()
        seen = x.detach()
        step(of_g, loss)  # DAFL-train.py runs the student once, on the images without their graph
        kd = F.kl_div(s(seen).log_softmax(1), z.detach().softmax(1), reduction="batchmean")
        step(of_s, kd)
    mine, gen = Net(2).double(), Gan().double()
    fit(mine, teacher(), KD(T=1.0, scale_T2=False), DAFL(gen, SPACE, dafl_variant(), blocks=4), recipe(4), seed=7, device="cpu")
    same(mine, s)
    same(gen, g)


def test_a_generator_that_asks_the_teacher_alone_leaves_the_student_as_it_is() -> None:
    def moved(method: Method) -> bool:
        net = Net(2)
        loop = Loop([(net, KD(T=1.0))], Net(1).eval(), DAFL(Gan(), SPACE, dafl_variant(), method, blocks=4),
                    recipe(4).model_copy(update={"precision": "strict"}), seed=7, device="cpu")  # fmt: skip
        before = net.n.running_mean.clone()
        loop.stream.batch(0)
        assert {"student_confidence", "agreement"} <= loop.stream.log().keys()
        return not torch.equal(before, net.n.running_mean)

    alone = [pulls(one_hot=1, entropy=5, batch_norm=1), pulls(one_hot=1) + 0.1 * TeacherEntropy() + 0.1 * Consistency() + 0.1 * Diversity()]
    assert [moved(method) for method in alone] == [False, False]
    assert moved(pulls(one_hot=1, adversarial=1)) and moved(pulls(one_hot=1) + 0.1 * StudentEntropy())
    versions = [experiment(kind="dafl", preset=name).numerics.get("source:unasked") for name in ("chen2019", "fang2021", "fang2021-dfq")]
    assert versions == [2, 2, None]
    assert "source:unasked" not in experiment(kind="dfad", preset="fang2019").numerics


def test_dfad_is_its_loop() -> None:
    t, s, g = teacher(), Net(2).double().train(), Gan().double().train()
    of_g, of_s = torch.optim.Adam(g.parameters(), lr=1e-3), sgd(s)
    used = iter(range(1, 100))  # number 0 of a block is the generator's; its first block has no such step
    for iteration in range(3):
        for _ in range(2):
            with torch.no_grad():
                x = g(noise(7, next(used)))
            step(of_s, (s(x) - t(x)).abs().mean())
        if iteration < 2:
            x = g(noise(7, next(used)))
            for group in of_g.param_groups:
                group["lr"] = 1e-3 if iteration + 1 < 2 else 1e-4
            step(of_g, -(s(x) - t(x)).abs().mean())
    mine, gen = Net(2).double(), Gan().double()
    variant = dfad_variant(n_S=2, decay="multistep", milestones=(2,))
    fit(mine, teacher(), LogitDistance(), DFAD(gen, SPACE, variant, blocks=3), recipe(6), seed=7, device="cpu")
    same(mine, s)
    same(gen, g)


def quantised(images: Tensor) -> Tensor:
    """Pixels 0 to 255 of images in the space of the stream, and back."""
    space = normalisation(SPACE)
    mean, std = (torch.tensor(v, dtype=images.dtype).view(1, 3, 1, 1) for v in (space.mean, space.std))
    pixels = torch.floor((images * std + mean).clamp(0, 1) * 255).float() / 255
    return ((pixels - mean.float()) / std.float()).double()


def test_deep_inversion_is_its_loop() -> None:
    t, s = teacher(), Net(2).double()
    of_s, kept = sgd(s), torch.zeros(0, *SHAPE, dtype=torch.float64)
    for block in range(2):
        x = torch.randn(10, *SHAPE, generator=rng.stream(7, "noise", block)).double().requires_grad_()
        y = torch.arange(10) % 5
        adam = torch.optim.Adam([x], lr=0.1)
        s.eval()
        for i in range(3):
            seen = shifted(x, 2, False, rng.stream(7, "views", block, i))
            z, _, before = t.whole(seen)
            stats = sum(
                (b.mean((0, 2, 3)) - n.running_mean).norm() + (b.var((0, 2, 3), correction=0) - n.running_var).norm()
                for b, n in zip(before, (t.n, t.m), strict=True)
            )
            across, down = seen[..., :-1] - seen[..., 1:], seen[..., :-1, :] - seen[..., 1:, :]
            one, two = seen[..., 1:, :-1] - seen[..., :-1, 1:], seen[..., :-1, :-1] - seen[..., 1:, 1:]
            tv = across.norm() + down.norm() + one.norm() + two.norm()
            away = LogitDistance(form="js", T=3.0)(Output(s(seen)), Output(z), Batch(seen))
            step(adam, F.cross_entropy(z, y) + 10 * stats - away + 0.01 * tv)
        kept = torch.cat([kept, quantised(x.detach())])
        s.train()
        for k in range(2):
            turns, at = divmod(k, math.ceil(len(kept) / BATCH))
            order = torch.randperm(len(kept), generator=rng.stream(7, "memory", block, turns))
            batch = kept[order[at * BATCH : (at + 1) * BATCH]]
            step(of_s, F.kl_div(s(batch).log_softmax(1), t(batch).softmax(1), reduction="batchmean"))
    mine = Net(2).double()
    source = DeepInversion(
        SPACE, SHAPE, Rounds(images=10, iterations=3, n_S=2, lr=0.1, classes="balanced", augment="none"),
        pulls(one_hot=1.0, target="label", batch_norm=10.0, variation=0.01, adversarial=1.0, form="js", T=3.0), blocks=2,
    )  # fmt: skip
    fit(mine, teacher(), KD(T=1.0), source, recipe(4), seed=7, device="cpu")
    same(mine, s)


def test_cmi_is_its_loop() -> None:
    """The views and the memory's draws are the source's own (tested above); the rest is written out."""
    t, s, g = teacher(), Net(2).double(), Gan(pixels=True).double().train()
    space = normalisation(SPACE)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (space.mean, space.std))
    with rng.seeded(7, "head"):
        head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    of_head, of_s = torch.optim.Adam(head.parameters(), lr=0.01), sgd(s)
    bank, kept = torch.zeros(0, 16), torch.zeros(0, *SHAPE, dtype=torch.float64)
    for block in range(2):
        with rng.seeded(7, "restart", block), torch.no_grad():
            for m in g.modules():
                if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
                    m.weight.copy_(torch.empty(m.weight.shape).normal_(1.0 if isinstance(m, nn.BatchNorm2d) else 0.0, 0.02))
                    m.bias.zero_()
        z = torch.randn(10, Z, generator=rng.stream(7, "noise", block)).double().requires_grad_()
        y = torch.randint(5, (10,), generator=rng.stream(7, "classes", block)).sort().values
        adam = torch.optim.Adam([*g.parameters(), z], lr=0.01, betas=(0.5, 0.999))
        best = math.inf
        s.eval()
        for i in range(3):
            draw = rng.stream(7, "views", block, i)
            pixels = g(z)
            seen = (global_view(pixels, draw) - mean) / std
            logits, _, before = t.whole(seen)
            stats = sum(
                (b.mean((0, 2, 3)) - n.running_mean).norm() + (b.var((0, 2, 3), correction=0) - n.running_var).norm()
                for b, n in zip(before, (t.n, t.m), strict=True)
            )
            mine = s(seen)
            agree = (mine.argmax(1) == logits.argmax(1)).double()
            away = (F.kl_div(mine.log_softmax(1), logits.softmax(1), reduction="none").sum(1) * agree).mean()
            near = t.whole((local_view(pixels, draw) - mean) / std)[2]
            local, whole = (torch.cat([b.mean((2, 3)) for b in found], 1) for found in (near, before))
            old = bank[torch.randperm(len(bank), generator=draw)[:4]].double()
            h_l = F.normalize(head(torch.cat([local, old[:, :8]])), dim=1)
            h_w = F.normalize(head(torch.cat([whole, old[:, 8:]])), dim=1).detach()
            each = F.cross_entropy(h_l @ h_w.T / 0.1, torch.arange(len(h_l)), reduction="none")
            contrast = each[:10].mean() + (each[10:].mean() if len(bank) else 0.0)
            loss = F.cross_entropy(logits, y) + stats - 0.5 * away + 0.8 * contrast
            if float(loss.detach()) < best:
                best, images, features = float(loss.detach()), pixels.detach().clone(), torch.cat([local, whole], 1).detach()
            wanted = [*g.parameters(), z, *head.parameters()]
            for p, grad in zip(wanted, torch.autograd.grad(loss, wanted), strict=True):
                p.grad = grad
            adam.step()
            of_head.step()
        kept = torch.cat([kept, quantised((images - mean) / std)])
        bank = torch.cat([bank, features.float()])
        s.train()
        for k in range(2):
            turns, at = divmod(k, math.ceil(len(kept) / BATCH))
            order = torch.randperm(len(kept), generator=rng.stream(7, "memory", block, turns))
            batch = kept[order[at * BATCH : (at + 1) * BATCH]]
            step(of_s, F.kl_div(s(batch).log_softmax(1), t(batch).softmax(1), reduction="batchmean"))
    mine_s, gen = Net(2).double(), Gan(pixels=True).double()
    source = CMI(
        SPACE, SHAPE, blocks=2, generator=gen,
        rounds=Rounds(
            images=10, iterations=3, n_S=2, lr=0.01, betas=(0.5, 0.999), keep="best", augment="none", contrast=0.8, head=3, negatives=4
        ),
    )  # fmt: skip
    fit(mine_s, teacher(), KD(T=1.0), source, recipe(4), seed=7, device="cpu")
    same(mine_s, s)


# -- resuming, and what is left on the teacher ----------------------------------------------------------------------------
def sources() -> dict[str, Source]:
    few = {"images": 8, "iterations": 2, "n_S": 3, "augment": "crop-flip:1"}
    return {
        "dafl": DAFL(Gan(), SPACE, dafl_variant(lr=1e-3), pulls(one_hot=1, activation=0.1, entropy=5, batch_norm=1), blocks=6),
        "dfad": DFAD(Gan(pixels=True), SPACE, dfad_variant(n_S=3), blocks=2),
        "deep-inversion": DeepInversion(
            SPACE, SHAPE, Rounds(**few, flip=True, clamp=True, memory=12),
            pulls(one_hot=1, target="label", batch_norm=10, adversarial=1, form="js", T=3.0, norm=1e-3), blocks=2,
        ),
        "cmi": CMI(
            SPACE, SHAPE, blocks=2, generator=Gan(pixels=True), rounds=Rounds(**few, keep="best", contrast=0.8, head=3, negatives=4)
        ),
    }  # fmt: skip


class Wavering(Net):
    """Says something else of the same images whenever it is asked."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.3))


@pytest.mark.parametrize("kind", [*sources(), "dafl, of a teacher that draws"])
def test_a_run_goes_on_bit_for_bit_from_any_step(kind: str) -> None:
    draws = kind.endswith("draws")

    def loop() -> Loop:
        run = recipe(6).model_copy(update={"precision": "strict"})
        source = DAFL(Gan(), SPACE, dafl_variant(lr=1e-3, n_S=3), pulls(one_hot=1), blocks=6) if draws else sources()[kind]
        return Loop([(Net(2), KD(T=4.0))], (Wavering if draws else Net)(1).eval(), source, run, seed=3, device="cpu")

    whole = loop()
    for _ in whole:
        pass
    for at in range(1, 6):
        torch.manual_seed(at)
        first = loop()
        for _ in range(at):
            next(first)
        buffer = io.BytesIO()
        torch.save(first.state(), buffer)
        buffer.seek(0)
        second = loop()
        second.load_state(torch.load(buffer, weights_only=False))
        for _ in second:
            pass
        for a, b in zip(whole.students[0].net.state_dict().values(), second.students[0].net.state_dict().values(), strict=True):
            assert torch.equal(a, b), at
        assert whole.results()[0].losses == second.results()[0].losses
        assert whole.results()[0].source_log == second.results()[0].source_log


class Broken(Net):
    """Its logits are infinite."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


@pytest.mark.parametrize("kind", list(sources()))
def test_a_teacher_that_says_nan_is_named_whoever_makes_the_images(kind: str) -> None:
    with pytest.raises(RedistillError, match=r"teacher Broken are not finite .* the teacher is at fault, not the learning rate"):
        fit(Net(2), Broken(1).eval(), KD(), sources()[kind], recipe(6), seed=0, device="cpu", quiet=True)


def test_a_teacher_that_gives_probabilities_is_refused_where_images_are_made_too() -> None:
    soft = nn.Sequential(Net(1), nn.Softmax(1)).eval()
    with pytest.raises(RedistillError, match="the teacher Sequential gives probabilities"):
        Loop([(Net(2), KD())], soft, DFAD(Gan(pixels=True), SPACE, dfad_variant(n_S=3), blocks=2), recipe(6), seed=0, device="cpu")


@pytest.mark.parametrize("kind", list(sources()))
def test_the_teacher_is_left_as_it_was_and_the_record_is_whole(kind: str) -> None:
    given, source = Net(1).eval(), sources()[kind]
    before = copy.deepcopy(given.state_dict())
    loop = Loop([(Net(2), KD())], given, source, recipe(3), seed=0, device="cpu")
    inside = loop.teacher.net if loop.teacher is not None else given
    for _ in loop:
        for net in (given, inside):
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    for net in (given, inside):
        assert all(torch.equal(v.double(), net.state_dict()[k].double()) for k, v in before.items())
        assert all(p.grad is None for p in net.parameters())
    settings = source.settings()
    assert settings["kind"] == kind and settings["method"] and settings["numerics"] == (2 if kind == "dafl" else 1)
    kept = loop.stream.artifacts()  # type: ignore[attr-defined]
    assert all(isinstance(t, Tensor) for table in kept.values() for t in table.values())


def test_memories_are_rings() -> None:
    memory = ImageMemory(normalisation("none"), "none", 5, torch.device("cpu"), torch.float64)
    for value in range(4):
        memory.add(torch.full((2, 1, 1, 1), value / 255 + 1e-3))
    assert memory.pixels.flatten().tolist() == [1, 2, 2, 3, 3] and memory.added == 8
    seen = [int(v * 255 + 0.5) for k in range(3) for v in memory.draw(0, 0, k, 2)[0].flatten()]
    assert sorted(seen) == [1, 2, 2, 3, 3], "a pass shows every image once, its last batch is smaller"
    bank = FeatureMemory(3)
    for value in range(5):
        bank.add(torch.full((1, 2), float(value)))
    assert bank.features[:, 0].tolist() == [2.0, 3.0, 4.0]


# -- presets and settings ---------------------------------------------------------------------------------------------------
def experiment(**source: Any) -> Experiment:
    teaches = {"run": {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "cifar10"}, "recipe": {"epochs": 1}}}
    return Experiment.of({"teacher": teaches, "student": {"model": "wrn-10-1"}, "source": source}, device="cpu")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in PRESETS.items() for name in names])
def test_a_preset_is_written_out_whole(kind: str, name: str) -> None:
    one = experiment(kind=kind, preset=name)
    published = PRESETS[kind][name]
    written = one.written()
    assert {k: written["source"][k] for k in published["source"]} == published["source"]
    assert one.recipe.steps == written["source"]["blocks"] * written["source"]["n_S"]
    assert "preset" not in str(written["source"]) and Experiment.of(written, device="cpu").id == one.id
    shorter = experiment(kind=kind, preset=name, blocks=10)
    assert shorter.recipe.steps == 10 * written["source"]["n_S"] and shorter.cell != one.cell
    if "milestones" in written["source"]:
        drops = [part * 10 for part in written["recipe"]["schedule"]["at"]]  # the student's, in blocks
        assert shorter.written()["source"]["milestones"] == [round(at) for at in drops] == [2, 4]
        assert experiment(kind=kind, preset=name, blocks=1).written()["source"]["milestones"] == [1]
        assert experiment(kind=kind, preset=name, blocks=10, milestones=[3]).written()["source"]["milestones"] == [3]
    source = one.source.build(0, None).source
    assert source.settings()["kind"] == kind and source.image_shape == (3, 32, 32)


def test_every_switch_moves_the_identity() -> None:
    plain = experiment(kind="deep-inversion", preset="yin2020").cell
    changes = {"images": 64, "iterations": 5, "lr": 0.2, "betas": [0.5, 0.9], "classes": "random", "jitter": 0, "flip": True, "clamp": True,
               "keep": "best", "memory": 999, "augment": "none", "one_hot": 2.0, "batch_norm": 1.0, "variation": 0.0, "norm": 0.1,
               "adversarial": 1.0, "normalise": "cifar10"}  # fmt: skip
    cells = {experiment(kind="deep-inversion", preset="yin2020", **{name: value}).cell for name, value in changes.items()}
    assert len(cells | {plain}) == len(changes) + 1
    plain = experiment(kind="dafl", preset="chen2019").cell
    rows = {"one_hot": 2.0, "activation": 0.0, "entropy": 1.0, "entropy_base": "e", "batch_norm": 1.0, "adversarial": 1.0, "variation": 1.0,
            "generator": "dfad-generator", "z": 7, "n_S": 2, "lr": 1e-3}  # fmt: skip
    cells = {experiment(kind="dafl", preset="chen2019", **{name: value}).cell for name, value in rows.items()}
    assert len(cells | {plain}) == len(rows) + 1


@pytest.mark.parametrize(("source", "message"), [
    ({"kind": "dafl", "preset": "chen2020"}, "unknown preset of dafl 'chen2020': did you mean chen2019"),
    ({"kind": "dafl", "preset": "chen2019", "onehot": 1}, "did you mean one_hot"),
    ({"kind": "dfad", "preset": "fang2019", "adversarial": 0}, "nothing pulls at the images"),
    ({"kind": "dfad", "preset": "fang2019", "most": 1.0, "form": "kl"}, "only the forms of LogitDistance"),
    ({"kind": "dfad", "preset": "fang2019", "milestones": [9, 3]}, "milestones are blocks above 0 that rise"),
    ({"kind": "dafl", "preset": "chen2019", "first": "student"}, "needs images='after'"),
    ({"kind": "cmi", "preset": "fang2021", "generator": ""}, "cmi-generator"),
    ({"kind": "cmi", "preset": "fang2021", "generator": "cmi-generatr"}, "did you mean cmi-generator"),
    ({"kind": "deep-inversion", "preset": "yin2020", "contrast": 1}, "belongs to kind = \"cmi\""),
    ({"kind": "deep-inversion", "preset": "yin2020", "memory": 8}, "cannot hold the 256 images"),
    ({"kind": "deep-inversion", "preset": "yin2020", "augment": "crop"}, "unknown augmentation"),
    ({"kind": "deep-inversion", "preset": "yin2020", "augment": "crop-flip+strong"}, "has one view and its own crop"),
    ({"kind": "cmi", "preset": "fang2021", "augment": "crop-flip-reflect-batch"}, "has one view and its own crop"),
    ({"kind": "deep-inversoin", "preset": "yin2020"}, "did you mean deep-inversion"),
])  # fmt: skip
def test_bad_settings_are_one_sentence(source: dict[str, Any], message: str) -> None:
    with pytest.raises(RedistillError) as found:
        experiment(**source)
    assert message in str(found.value)


def test_a_student_that_needs_labels_and_a_missing_teacher_are_refused() -> None:
    with pytest.raises(RedistillError, match="CE needs labels"):
        source = {"kind": "cmi", "preset": "fang2021"}
        Experiment.of({"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": source}, device="cpu")
    with pytest.raises(RedistillError, match="give a teacher"):
        fit(Net(2), None, StudentEntropy(), sources()["cmi"], recipe(1), seed=0, device="cpu")
    with pytest.raises(RedistillError, match="has none"):
        plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        fit(Net(2), plain, KD(), sources()["deep-inversion"], recipe(1), seed=0, device="cpu")
    with pytest.raises(RedistillError, match="makes its images by a generator"):
        CMI(SPACE, SHAPE)
    with pytest.raises(RedistillError, match="pixels = True"):
        CMI(SPACE, SHAPE, generator=Gan())


def test_images_that_no_network_knows_and_terms_that_nothing_trains_are_refused() -> None:
    """As by the sources with a generator: convolutions would take images of any size, and adapters stay at their first weights."""
    few = Rounds(images=6, iterations=1, n_S=2, augment="none")
    with pytest.raises(RedistillError, match=r"the source makes images of 24x24, the student wrn-10-1 is made for 32x32"):
        source = DeepInversion(SPACE, (3, 24, 24), few, blocks=1)
        fit(models.wrn(10, 1, 10), models.wrn(10, 1, 10), KD(), source, recipe(2), seed=0, device="cpu")
    with pytest.raises(RedistillError, match="a term of the source has parameters"):
        source = DeepInversion(SPACE, SHAPE, few, pulls(one_hot=1.0, target="label") + FitNet(at=[("n", "n")]), blocks=1)
        fit(Net(2), teacher(), KD(), source, recipe(2), seed=0, device="cpu")

    class Narrow(Gan):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z)[..., :4]

    with pytest.raises(RedistillError, match=r"makes images of shape \[3, 8, 4\] but says image_shape=\[3, 8, 8\]"):
        cmi = CMI(SPACE, SHAPE, blocks=1, generator=Narrow(pixels=True), rounds=few.model_copy(update={"contrast": 0.8}))
        fit(Net(2), teacher(), KD(), cmi, recipe(2), seed=0, device="cpu")


def test_a_term_that_reads_the_student_alone_is_told_of_the_student() -> None:
    def made(student: int, method: Method) -> Tensor:
        source = DeepInversion(SPACE, SHAPE, Rounds(images=6, iterations=2, n_S=1, lr=0.1, augment="none"), method, blocks=1)
        loop = Loop([(Net(student), KD())], teacher(), source, recipe(1), seed=0, device="cpu")
        next(loop)
        return loop.stream.memory.pixels  # type: ignore[attr-defined, no-any-return]

    alone = pulls(one_hot=1.0, target="label")
    assert torch.equal(made(2, alone), made(3, alone))
    assert not torch.equal(made(2, alone + StudentEntropy()), made(3, alone + StudentEntropy()))


def test_generators_are_those_of_their_papers() -> None:
    sizes = {"dafl-generator": 8_423_939, "dfad-generator": 2_329_091, "cmi-generator": 2_328_899}
    for name, parameters in sizes.items():
        net: Any = models.build(name, seed=0)
        assert sum(p.numel() for p in net.parameters()) == parameters, name
        images = net(torch.randn(4, net.z))
        assert images.shape == (4, 3, 32, 32)
        if net.pixels:
            assert 0 <= float(images.min().detach()) and float(images.max().detach()) <= 1
        else:
            torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    assert [m.eps for m in models.build("dafl-generator").modules() if isinstance(m, nn.BatchNorm2d)] == [1e-5, 0.8, 0.8, 1e-5]
