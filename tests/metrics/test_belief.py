"""Transition curves against a loop over single images and classes, as algorithm 2 of the paper writes it."""

from __future__ import annotations

import math
import statistics
from typing import Any, ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill import belief, rng
from redistill.belief import Transition, _picked, adversarial_trajectory, noise_histogram, target_classes, trajectory_images, transitions
from redistill.belief.minibatch import minibatch_transition, relative
from redistill.core import RedistillError
from redistill.data import Images
from redistill.data.subsets import matching_ferles


class Net(nn.Module):
    """Convolution, batch norm, dropout: in train mode every number would differ."""

    def __init__(self, seed: int, classes: int = 4):
        super().__init__()
        with rng.seeded(seed, "init", "belief"):
            self.conv, self.norm, self.drop = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Dropout()
            self.head = nn.Linear(6 * 9, classes)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.tanh(self.norm(self.conv(x))).flatten(1)))


def images(n: int = 40, labelled: bool = True) -> Images:
    x = torch.randint(256, (n, 1, 5, 5), generator=rng.stream(0, "belief images"), dtype=torch.int64).to(torch.uint8)
    return Images(x, torch.arange(n) % 4 if labelled else None, 4 if labelled else None, "made", "half")


def slow(a: nn.Module, b: nn.Module, data: Images, count: int, K: int, rate: float, true: bool) -> tuple[list[Any], list[Any], list[int]]:
    """Image by image, class by class, step by step."""
    a.eval(), b.eval()
    p_a, p_b = [], []
    used: list[int] = []
    xs = data.normalised(dtype=torch.float64)
    for n, x0 in enumerate(xs):
        i = int(a(x0[None]).argmax())
        if i != int(b(x0[None]).argmax()) or len(used) == count:
            continue
        used.append(n)
        assert data.y is not None
        start = [(int(data.y[n]) + c + 1) % 4 for c in range(3)] if true else [j for j in range(4) if j != i]
        rows_a, rows_b = [], []
        for j in start:
            x, one, two = x0[None].clone(), [], []
            for _ in range(K):
                x = x.detach().requires_grad_()
                logits = a(x)
                one.append(float(F.softmax(logits, 1)[0, j].detach()))
                two.append(float(F.softmax(b(x), 1)[0, j].detach()))
                F.cross_entropy(logits, torch.tensor([j])).backward()
                assert x.grad is not None
                x = x.detach() - rate * x.grad
            rows_a.append(one), rows_b.append(two)
        p_a.append(rows_a), p_b.append(rows_b)
    return p_a, p_b, used


@pytest.mark.parametrize("aim", ["predicted", "true"])
def test_every_ordered_pair_as_one_image_at_a_time(aim: belief.Aim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belief.trajectory, "AT_ONCE_CPU", 7)  # batches that split images and classes anywhere
    nets = {"a": Net(1), "b": Net(2), "c": Net(3)}
    data = images()
    for net in nets.values():
        net.train()
    before = [v.clone() for net in nets.values() for v in net.state_dict().values()]
    found = transitions(nets, data, count=5, K=6, rate=0.7, aim=aim)
    assert set(found) == {(x, y) for x in nets for y in nets if x != y}
    assert all(net.training and net.drop.training for net in nets.values())
    assert all(torch.equal(x, y) for x, y in zip(before, (v for n in nets.values() for v in n.state_dict().values()), strict=True))
    for (one, two), t in found.items():
        p_a, p_b, used = slow(nets[one], nets[two], data, 5, 6, 0.7, aim == "true")
        assert t.index.tolist() == used
        torch.testing.assert_close(t.p_attacked, torch.tensor(p_a, dtype=torch.float64), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(t.p_other, torch.tensor(p_b, dtype=torch.float64), rtol=1e-12, atol=1e-14)
        slow_mte = sum(abs(x - y) for ra, rb in zip(p_a, p_b, strict=True) for ca, cb in zip(ra, rb, strict=True)
                       for x, y in zip(ca, cb, strict=True)) / (len(used) * 3 * 6)
        assert t.mte == pytest.approx(slow_mte, rel=1e-12)


def test_summaries_by_hand() -> None:
    p_a = torch.tensor([[[0.0, 0.4], [0.2, 0.6]], [[0.2, 0.8], [0.4, 1.0]]], dtype=torch.float64)  # 2 images, 2 classes, 2 steps
    p_b = p_a / 2
    t = Transition("a", "b", p_a, p_b, torch.zeros(2, 2), torch.arange(2), 1.0)
    assert t.mte == pytest.approx(0.225)
    assert t.relative_mte == pytest.approx(0.5)
    assert t.curve("attacked").tolist() == pytest.approx([0.2, 0.7])
    # class 1: .1, .6; class 2: .3, .8; prefixes: mean of the first, and of the mean of both
    assert t.curve("attacked", prefixes=True).tolist() == pytest.approx([(0.1 + 0.2) / 2, (0.6 + 0.7) / 2])
    # by image: (.1, .3) and (.5, .9); standard deviation |difference| / sqrt 2, divided by sqrt 2
    assert t.standard_error("attacked").tolist() == pytest.approx([0.1, 0.2])
    assert t.mte_standard_error == pytest.approx(abs((0.05 + 0.25) / 2 - (0.15 + 0.45) / 2) / 2)
    second = {"step": 1.0, "attacked": 0.7, "attacked_standard_error": 0.2, "other": 0.35, "other_standard_error": 0.1}
    assert t.rows()[1] == pytest.approx(second)
    alone = Transition("a", "b", p_a[:1], p_b[:1], torch.zeros(1, 2), torch.arange(1), 1.0)
    assert math.isnan(alone.mte_standard_error)
    same = Transition("a", "b", p_a, p_a, torch.zeros(2, 2), torch.arange(2), 1.0)
    assert (same.mte, same.relative_mte) == (0.0, 0.0)


def test_curves_and_their_errors_are_their_formulas() -> None:
    """Five images on their way to three classes in four steps: no two of the numbers can stand for each other."""
    n, aims, steps = 5, 3, 4
    p, q = torch.rand(2, n, aims, steps, generator=rng.stream(0, "test"), dtype=torch.float64)
    t = Transition("a", "b", p, q, torch.zeros(n, aims), torch.arange(n), 1.0)
    for which, given in (("attacked", p.tolist()), ("other", q.tolist())):
        for k in range(steps):
            of_image = [[given[i][j][k] for j in range(aims)] for i in range(n)]
            prefixes = [sum(sum(row[:m]) / m for m in range(1, aims + 1)) / aims for row in of_image]
            assert float(t.curve(which, prefixes=True)[k]) == pytest.approx(sum(prefixes) / n)  # type: ignore[arg-type]
            assert float(t.standard_error(which, prefixes=True)[k]) == pytest.approx(statistics.stdev(prefixes) / math.sqrt(n))  # type: ignore[arg-type]
            every = [value for row in of_image for value in row]
            rows = t.standard_error(which, over="rows")  # type: ignore[arg-type]
            assert float(rows[k]) == pytest.approx(statistics.pstdev(every) / math.sqrt(len(every)))
            assert t.rows(over="rows")[k][f"{which}_standard_error"] == float(rows[k])
    with pytest.raises(RedistillError, match="over='columns': known are 'images'"):
        t.standard_error("other", over="columns")  # type: ignore[arg-type]
    with pytest.raises(RedistillError, match="over='rows' belongs to the plain mean"):
        t.rows(prefixes=True, over="rows")


def test_a_network_agrees_with_itself_and_the_attack_succeeds() -> None:
    net = Net(1)
    t = transitions({"a": net, "copy": net}, images(), count=8, K=60, rate=4.0)["a", "copy"]
    assert t.mte == 0.0
    assert float(t.curve("attacked")[-1]) > 0.7 > 0.4 > float(t.curve("attacked")[0])


def test_one_network_beside_all_others_gives_the_same_curves_and_tells_how_far_it_is() -> None:
    nets = {"a": Net(1), "b": Net(2), "teacher": Net(3)}
    shares: list[float] = []
    found = transitions(nets, images(), count=5, K=4, beside=["teacher"], tell=shares.append)
    assert set(found) == {("a", "teacher"), ("b", "teacher")}
    for (name, other), t in found.items():
        alone = transitions({name: nets[name], other: nets[other]}, images(), count=5, K=4, attack=[name])[name, other]
        assert t.index.tolist() == alone.index.tolist()
        torch.testing.assert_close(t.p_attacked, alone.p_attacked, rtol=1e-12, atol=0)
        torch.testing.assert_close(t.p_other, alone.p_other, rtol=1e-12, atol=0)
    assert shares == pytest.approx([i / 8 for i in range(1, 9)])  # two networks, four steps each, as many images


def test_another_normalisation_is_looked_through() -> None:
    plain, shifted = Net(1), Net(1)
    shifted.normalisation = "none"  # takes the pixels themselves: (x - (-1)) / 2 of what the stream gives
    looks = Net(1)
    looks.register_forward_pre_hook(lambda module, args: (args[0] * 0.5 + 0.5,))
    one = transitions({"a": shifted, "b": plain}, images(), count=4, K=3)["a", "b"]
    two = transitions({"a": looks, "b": plain}, images(), count=4, K=3)["a", "b"]
    assert one.index.tolist() == two.index.tolist()
    torch.testing.assert_close(one.p_attacked, two.p_attacked, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.p_other, two.p_other, rtol=1e-12, atol=0)


def test_journey_ends_where_the_walk_does() -> None:
    net = Net(1)
    x = images().normalised(dtype=torch.float64)[:3]
    net.eval()
    targets = target_classes(net(x).argmax(1), 4)[:, :1]
    trail = trajectory_images(net, x, targets[:, 0], [0, 2, 5], rate=0.5)
    assert trail.shape == (3, 3, 1, 5, 5) and torch.equal(trail[:, 0], x)
    p = adversarial_trajectory(net, [], x, targets, K=6, rate=0.5)[0, :, 0]
    with torch.no_grad():
        for place, k in enumerate((0, 2, 5)):
            predicted = net(trail[:, place]).softmax(1).gather(1, targets)[:, 0]
            torch.testing.assert_close(predicted, p[:, k], rtol=1e-12, atol=0)


def test_noise_histogram() -> None:
    net = Net(1).float()
    counts = noise_histogram(net, (1, 5, 5), count=30, seed=2)
    x = torch.rand(30, 1, 5, 5, generator=rng.stream(2, "uniform noise"))
    assert counts == torch.bincount(net.eval()(x).argmax(1), minlength=4).tolist() and sum(counts) == 30
    net.normalisation = "half"
    assert noise_histogram(net, (1, 5, 5), count=30, seed=2) == torch.bincount(net(2 * x - 1).argmax(1), minlength=4).tolist()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda a, b: transitions({"a": a, "b": b}, images(), K=0), "K=0: the walk needs a whole number of steps"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), K=2.5), "K=2.5"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), rate=0.0), "xi=0.0: the rate of the walk must be a finite number above 0"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), rate=math.inf), "xi=inf"),
        (lambda a, b: transitions({"a": a}, images()), "two networks or more, got 1"),
        (lambda a, b: transitions({"a": a, "b": Net(2, classes=5)}, images()), "unlike numbers of classes apart .*'b': 5"),
        (lambda a, b: transitions({"a": a, "b": b}, images(labelled=False), aim="true"), "this set has none: use aim='predicted'"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), aim="best"), "aim='best': known are"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), count=0), "count=0"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), attack=["c"]), r"attack=\['c'\]: 'c' is none of .* which are a, b"),
        (lambda a, b: transitions({"a": a, "b": b}, images(), beside=["a", "d"]), "'d' is none of the networks"),
        (lambda a, b: transitions({"a": a, "b": b}, images(1), count=3), "predict the same class on none of the 1 images"),
        (lambda a, b: trajectory_images(a, torch.zeros(1, 1, 5, 5).double(), torch.tensor([0]), [3, 1]), "must rise from 0"),
        (lambda a, b: noise_histogram(a, (1, 5, 5), count=0), "count=0"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        make(Net(1), Net(2))


def test_images_are_the_first_random_ones_or_those_of_the_reports_code() -> None:
    agree = torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.6
    there = agree.nonzero()[:, 0].tolist()
    first, drawn, ferles = (_picked(agree, 50, pick, 3).tolist() for pick in ("first", "random", "ferles"))  # type: ignore[arg-type]
    assert first == there[:50]
    assert drawn == sorted(set(drawn)) and len(drawn) == 50 and set(drawn) <= set(there) and drawn != first
    assert drawn == _picked(agree, 50, "random", 3).tolist() != _picked(agree, 50, "random", 4).tolist()
    # positions in a shuffled order taken for indices: some of them are images on which the networks do not agree
    assert len(ferles) == len(set(ferles)) == 50 and not set(ferles) <= set(there)
    assert torch.equal(torch.tensor(ferles), matching_ferles(agree, 50, 3).sort().values)
    assert _picked(agree, 1000, "random", 0).tolist() == there  # all there are


@pytest.mark.parametrize("code", [True, False])
def test_the_relative_error_of_the_reproduction_is_its_code_written_out(code: bool) -> None:
    student, teacher, data, M = Net(1), Net(2), images(80), 6
    with torch.no_grad():
        student.head.weight *= 40  # so sure that some probabilities lie below Keras' epsilon
    which: Literal["code", "report"] = "code" if code else "report"
    found = minibatch_transition(student, teacher, data, per_class=M, K=5, rate=0.7, pick=which, gradient=which, seed=3)

    assert data.y is not None
    look = torch.rand(80, generator=rng.stream(3, "belief", "minibatch")) < (1 + 1e-4) / 4
    quota, sample = {c: M for c in range(4)}, []
    for at in range(80):
        if look[at] and quota[int(data.y[at])]:
            quota[int(data.y[at])] -= 1
            sample.append(at)
    xs = data.normalised(dtype=torch.float64)[sample]
    student.eval(), teacher.eval()
    rows = []
    for begin in range(0, len(xs), M):
        for within, x in enumerate(xs[begin : begin + M]):
            called = int(student(x[None]).argmax())
            if called == int(teacher(x[None]).argmax()):
                rows.append((called, within if code else begin + within))
    rows.sort(key=lambda row: row[0])
    rows = rows[:-1] if code else rows
    curves: list[list[tuple[float, float]]] = [[] for _ in range(5)]
    stuck = 0
    for called, at in rows:
        for j in (c for c in range(4) if c != called):
            x = xs[at][None].clone()
            for k in range(5):
                x = x.detach().requires_grad_()
                p = student(x).softmax(1)[0, j]
                curves[k].append((float(p.detach()), float(teacher(x).detach().softmax(1)[0, j])))
                stuck += bool(p.detach() < 1e-7)
                (step,) = torch.autograd.grad(-(p.clamp(1e-7, 1 - 1e-7) if code else p).log(), x)
                x = x - 0.7 * step
    means = torch.tensor([[sum(v) / len(v) for v in zip(*one, strict=True)] for one in curves], dtype=torch.float64)
    expected = float((means[:, 0] - means[:, 1]).abs().mean() / means.max())
    assert found.targets.shape == (len(rows), 3) and (stuck > 0 or not code)
    torch.testing.assert_close(torch.stack([found.curve("attacked"), found.curve("other")], 1), means, rtol=1e-9, atol=1e-12)
    assert relative(found) == pytest.approx(expected, rel=1e-9) and 0 < relative(found) <= 1


def test_a_sample_of_the_reproduction_needs_labels_and_an_image() -> None:
    with pytest.raises(RedistillError, match="this set has no labels"):
        minibatch_transition(Net(1), Net(2), images(labelled=False))
    with pytest.raises(RedistillError, match="the sample of 0 images a class"):
        minibatch_transition(Net(1), Net(2), images(), per_class=0)


class Listening(Net):
    """Tells in what fp32 is computed where it is called."""

    heard: ClassVar[list[str]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(torch.get_float32_matmul_precision())
        return super().forward(x)


def test_beliefs_are_computed_in_what_fp32_promises() -> None:
    """Outside of a run nobody else sees to it; a CUDA device would convolve in TF32."""
    a, b = Listening(1).float(), Listening(2).float()
    torch.set_float32_matmul_precision("medium")
    try:
        for work in (
            lambda: transitions({"a": a, "b": b}, images(), count=4, K=2),
            lambda: minibatch_transition(a, b, images(200), per_class=8, K=2),
            lambda: trajectory_images(a.eval(), images().normalised()[:2], torch.tensor([0, 1]), [0, 2]),
            lambda: noise_histogram(a, (1, 5, 5), count=5),
        ):
            Listening.heard.clear()
            work()
            assert set(Listening.heard) == {"highest"}
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("first", ["double", "single"])
def test_networks_of_two_precisions_are_compared(first: str) -> None:
    """A run in double precision keeps its weights so; the teacher beside it has single ones."""
    pair = [("double", Net(1)), ("single", Net(2).float())]
    nets = dict(pair if first == "double" else pair[::-1])
    found = transitions(nets, images(), count=5, K=4)
    want = transitions({"double": Net(1), "single": Net(2)}, images(), count=5, K=4)
    assert found.keys() == want.keys()
    for one, t in want.items():
        torch.testing.assert_close(found[one].p_attacked, t.p_attacked, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found[one].p_other, t.p_other, rtol=1e-4, atol=1e-6)
