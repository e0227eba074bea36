"""The TensorFlow reproduction's rows of ahn2019 against its branch's formulas, entry by entry in plain Python."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from redistill import models, papers
from redistill.core import Batch, Context, Method, Output
from redistill.experiment.method import made_method
from redistill.experiment.value import Experiment
from redistill.papers.cells import filled
from redistill.settings.change import put_over
from redistill.train.optimise import clip, parameter_groups

PAPER = papers.load("ahn2019")
IMAGES, CLASSES, SIDE = 3, 10, 2
WIDTHS = {"stage1": (2, 4), "stage2": (3, 6), "stage3": (2, 4)}


def experiment(cell: str) -> Experiment:
    return Experiment.of(PAPER.settings(PAPER.cell(cell)), device="cpu")


@pytest.fixture(scope="module")
def outputs() -> tuple[Output, Output, Batch]:
    """Logits and maps of a student and its teacher, in double precision."""
    draw = torch.Generator().manual_seed(3)

    def one(whose: int) -> Output:
        maps = {n: torch.randn(IMAGES, w[whose], SIDE, SIDE, generator=draw, dtype=torch.float64) for n, w in WIDTHS.items()}
        return Output(2 * torch.randn(IMAGES, CLASSES, generator=draw, dtype=torch.float64), maps)

    return one(0), one(1), Batch(torch.zeros(IMAGES, 3, SIDE, SIDE), torch.tensor([1, 0, 7]))


def prepared(method: Method, outputs: tuple[Output, Output, Batch]) -> Method:
    student, teacher = ({name: tuple(t.shape) for name, t in out.taps.items()} for out in outputs[:2])
    method.setup(Context(nn.Identity(), nn.Identity(), student, teacher, tuple(WIDTHS), tuple(WIDTHS), CLASSES, count=IMAGES))
    return method.double().train()


def weighted(method: Method, losses: list[Tensor]) -> float:
    return sum(float(w) * x.item() for w, x in zip(method.weights, losses, strict=True))  # type: ignore[arg-type, misc]


def total(cell: str, outputs: tuple[Output, Output, Batch], first: bool = False) -> tuple[float, Method]:
    one = experiment(cell)
    if first:
        assert one.student.run is not None
        one = one.student.run
    method = prepared(made_method(one.method), outputs)
    losses = method(*outputs)
    return weighted(method, losses), method


# -- the branch's formulas --------------------------------------------------------------------------------------------
def softmax(row: list[float], T: float) -> list[float]:
    powers = [math.exp(z / T) for z in row]
    return [p / sum(powers) for p in powers]


def cross_entropy(out: Output, labels: Tensor) -> float:
    rows = out.logits.tolist()
    return sum(-math.log(softmax(row, 1.0)[y]) for row, y in zip(rows, labels.tolist(), strict=True)) / IMAGES


def kd(student: Output, teacher: Output) -> float:
    """Mean over images of sum p log(p / q) at T = 4, without T^2."""
    found = 0.0
    for s, t in zip(student.logits.tolist(), teacher.logits.tolist(), strict=True):
        q, p = softmax(s, 4.0), softmax(t, 4.0)
        found += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return found / IMAGES


def attention(student: Output, teacher: Output) -> float:
    """Mean over images and positions of the squared difference of the normalised mean squares, times 1000 / 2, a group."""
    found = 0.0
    for name in WIDTHS:
        squared = 0.0
        for image in range(IMAGES):
            maps = []
            for out in (student, teacher):
                channels = out[name][image].tolist()
                plane = [sum(c[y][x] ** 2 for c in channels) / len(channels) for y, x in product(range(SIDE), range(SIDE))]
                length = math.sqrt(sum(v * v for v in plane))
                maps.append([v / length for v in plane])
            squared += sum((a - b) ** 2 for a, b in zip(*maps, strict=True))
        found += squared / (IMAGES * SIDE * SIDE) * 1000 / 2
    return found


def guided(student: Output, teacher: Output, weights: dict[str, Tensor]) -> float:
    """Mean over all entries of (s - W t)^2, three groups."""
    found = 0.0
    for name, (mine, theirs) in WIDTHS.items():
        squared = 0.0
        for image, y, x in product(range(IMAGES), range(SIDE), range(SIDE)):
            t = teacher[name][image, :, y, x].tolist()
            for c in range(mine):
                mapped = sum(float(weights[name][c, k]) * t[k] for k in range(theirs))
                squared += (float(student[name][image, c, y, x]) - mapped) ** 2
        found += squared / (IMAGES * mine * SIDE * SIDE)
    return found


def normalised(columns: list[list[float]], shift: list[float]) -> list[list[float]]:
    """Batch norm of [entries][channels] without gain: epsilon 1e-3."""
    made = []
    for c, column in enumerate(zip(*columns, strict=True)):
        mean = sum(column) / len(column)
        variance = sum((v - mean) ** 2 for v in column) / len(column)
        made.append([(v - mean) / math.sqrt(variance + 1e-3) + shift[c] for v in column])
    return [list(row) for row in zip(*made, strict=True)]


def variational(student: Output, teacher: Output, parameters: dict[str, list[Tensor]], scales: dict[str, Tensor]) -> float:
    """Mean over all entries of (log var + (t - s)^2 / var) / 2, var = softplus(a) + 1, three groups."""
    found = 0.0
    for name, (mine, theirs) in WIDTHS.items():
        places = list(product(range(IMAGES), range(SIDE), range(SIDE)))
        rows = [[float(student[name][b, c, y, x]) for c in range(mine)] for b, y, x in places]
        kernels, shifts = parameters[name][0::2], parameters[name][1::2]
        assert [len(kernel) for kernel in kernels] == [2 * theirs, 2 * theirs, theirs]
        for layer, (kernel, shift) in enumerate(zip(kernels, shifts, strict=True)):
            rows = [[sum(float(w) * v for w, v in zip(k.flatten(), row, strict=True)) for k in kernel] for row in rows]
            rows = normalised(rows, shift.tolist())
            if layer < 2:
                rows = [[max(v, 0.0) for v in row] for row in rows]
        entries = 0.0
        for (b, y, x), row in zip(places, rows, strict=True):
            for c in range(theirs):
                variance = math.log(1.0 + math.exp(float(scales[name][c]))) + 1.0
                entries += math.log(variance) + (float(teacher[name][b, c, y, x]) - row[c]) ** 2 / variance
        found += entries / (len(places) * theirs) / 2
    return found


# -- the four losses --------------------------------------------------------------------------------------------------
def test_kd_has_no_T2(outputs: tuple[Output, Output, Batch]) -> None:
    student, teacher, batch = outputs
    assert batch.labels is not None
    wanted = 0.7 * cross_entropy(student, batch.labels) + 0.3 * kd(student, teacher)
    assert total("tf:KD:100 %", outputs)[0] == pytest.approx(wanted, rel=1e-12)


def test_at_weighs_500(outputs: tuple[Output, Output, Batch]) -> None:
    student, teacher, batch = outputs
    assert batch.labels is not None
    wanted = cross_entropy(student, batch.labels) + attention(student, teacher)
    assert total("tf:AT:2 %", outputs)[0] == pytest.approx(wanted, rel=1e-12)


def test_fitnet_is_a_mean_square_on_three_groups_and_then_cross_entropy(outputs: tuple[Output, Output, Batch]) -> None:
    student, teacher, batch = outputs
    found, method = total("tf:FitNet:10 %", outputs, first=True)
    regressors = method.terms[0].regressors
    assert all(not isinstance(m, nn.BatchNorm2d | nn.ReLU) for m in method.modules())
    kernels = {name: dict(r.named_parameters()) for name, r in zip(WIDTHS, regressors, strict=True)}
    assert all(list(k) == ["conv.weight"] and k["conv.weight"].shape[2:] == (1, 1) for k in kernels.values())
    weights = {name: k["conv.weight"].detach().flatten(1) for name, k in kernels.items()}
    assert found == pytest.approx(guided(student, teacher, weights), rel=1e-12)
    assert batch.labels is not None
    assert total("tf:FitNet:10 %", outputs)[0] == pytest.approx(cross_entropy(student, batch.labels), rel=1e-12)


def test_vid_has_floor_1_and_no_relu_last(outputs: tuple[Output, Output, Batch]) -> None:
    student, teacher, batch = outputs
    method = prepared(made_method(experiment("tf-vid:VID:2 %").method), outputs)
    draw = torch.Generator().manual_seed(8)
    heads = method.terms[1].heads
    for parameter in heads.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    assert batch.labels is not None
    parameters = {name: [p.detach() for p in head.regressor.parameters()] for name, head in zip(WIDTHS, heads, strict=True)}
    scales = {name: head.log_scale.detach() for name, head in zip(WIDTHS, heads, strict=True)}
    wanted = 0.1 * cross_entropy(student, batch.labels) + variational(student, teacher, parameters, scales)
    found = weighted(method, method(*outputs))
    assert found == pytest.approx(wanted, rel=1e-12)
    fresh = prepared(made_method(experiment("tf-vid:VID:2 %").method), outputs).terms[1].heads[0]
    assert fresh.log_scale.tolist() == [5.0] * 4


# -- the rest of the recipe -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("share", "epochs", "hint"), [("100 %", 200, 40), ("20 %", 1000, 200), ("10 %", 2000, 400), ("2 %", 10_000, 2000)])
def test_200_epochs_divided_by_the_share(share: str, epochs: int, hint: int) -> None:
    for cell in (f"tf:Student:{share}", f"tf:KD:{share}", f"tf:FitNet:{share}", f"tf:AT:{share}", f"tf-vid:VID:{share}"):
        one = experiment(cell)
        assert one.recipe.epochs == epochs and epochs / one.evaluate.every == 20, cell  # type: ignore[operator]
        images = {"100 %": 50_000, "20 %": 10_000, "10 %": 5_000, "2 %": 1_000}[share]
        assert 78_000 <= one.recipe.total_steps(-(-images // 128)) <= 80_000
        assert one.source.written().get("first_per_class", 5000) == images / 10
        if one.teacher is not None and one.teacher.run is not None:
            assert (one.teacher.run.recipe.epochs, one.teacher.run.source.written().get("first_per_class")) == (200, None)
    before = experiment(f"tf:FitNet:{share}").student.run
    assert before is not None and before.recipe.epochs == hint and before.recipe.schedule.kind == "constant"


def test_the_plots_length_is_a_departure() -> None:
    for cell, epochs in (("tf:AT:2 %", 10_000), ("tf:KD:10 %", 2000)):
        one = PAPER.cell(cell)
        [plots] = [d for d in PAPER.departs(one) if d.name == "tf-plots"]
        other = Experiment.of(put_over(PAPER.settings(one), filled(plots.change, one.facts)), device="cpu")
        assert (experiment(cell).recipe.epochs, other.recipe.epochs) == (epochs, 1000)
    assert not [d for d in PAPER.departs(PAPER.cell("tf:AT:20 %")) if d.name == "tf-plots"]


def test_every_switch_of_a_tf_departure_is_another_experiment() -> None:
    for cell in ("tf:KD:2 %", "tf:FitNet:2 %", "tf-vid:VID:2 %"):
        one = PAPER.cell(cell)
        switches = [d for d in PAPER.departs(one) if d.change]
        cells = {Experiment.of(put_over(PAPER.settings(one), filled(d.change, one.facts)), device="cpu").cell for d in switches}
        assert len(cells - {experiment(cell).cell}) == len(switches) >= 3, cell


def test_kernels_alone_decay_and_the_network_has_neither_gain_nor_bias() -> None:
    one = experiment("tf:Student:100 %")
    net = models.build(one.student.model, **(one.student.args or {}))
    names = [name for name, _ in net.named_parameters()]
    assert "fc.bias" not in names and not [n for n in names if ".bn" in n and n.endswith("weight")]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.001)}
    decayed, spared = parameter_groups([net], one.recipe)
    assert {p.dim() for p in decayed["params"]} == {2, 4} and {p.dim() for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0.0)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_vid_decays_a_tenth_and_no_variance(outputs: tuple[Output, Output, Batch]) -> None:
    one = experiment("tf-vid:VID:100 %")
    method = prepared(made_method(one.method), outputs)
    decayed, spared = parameter_groups([method], one.recipe)
    assert decayed["weight_decay"] == 5e-5 and {p.dim() for p in decayed["params"]} == {4}
    assert any(p is method.terms[1].heads[0].log_scale for p in spared["params"])


def test_each_gradient_tensor_is_clipped_by_itself(outputs: tuple[Output, Output, Batch]) -> None:
    recipe = experiment("tf-vid:VID:100 %").recipe
    assert (recipe.clip, recipe.clip_per) == (100.0, "tensor")
    net, adapter = nn.Linear(4, 4), nn.Linear(3, 1)
    sizes = {net.weight: 30.0, net.bias: 400.0, adapter.weight: 1000.0, adapter.bias: 99.0}
    for parameter, size in sizes.items():
        parameter.grad = torch.full_like(parameter, size / math.sqrt(parameter.numel()))
    assert float(clip(net, adapter, recipe)) == pytest.approx(1000.0)
    assert [float(p.grad.norm()) for p in sizes] == pytest.approx([30.0, 100.0, 100.0, 99.0], rel=1e-6)  # type: ignore[union-attr]


def test_table_1_is_untouched() -> None:
    """Runs of the 2 % column under these names exist already."""
    settings = PAPER.settings(PAPER.cell("1:VID:2 %"))
    assert settings["recipe"]["epochs"] == 1000 and settings["student"] == {"model": "wrn-16-1"}
    written = experiment("1:VID:2 %").written()
    assert "clip_per" not in written["recipe"] and written["source"]["augment"] == "crop-flip"
    fitnet = experiment("1:FitNet:2 %").written()["method"][1]
    assert list(fitnet) == ["use", "weight", "at", "norm", "relu", "reduction", "factor"]
