"""Half precision in one's own loop: a term is as exact as its inputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, RedistillError, Term
from redistill.terms import (
    AB,
    ALL,
    AT,
    CATKD,
    CC,
    CE,
    CRD,
    CTKD,
    DIST,
    DKD,
    FSP,
    FT,
    ICKD,
    KD,
    MLKD,
    NKD,
    NST,
    OFA,
    OFD,
    PKT,
    RKD,
    SP,
    SRRL,
    VID,
    Anchor,
    Consistency,
    DeiT,
    Diversity,
    FitNet,
    LogitDistance,
    Review,
    SimKD,
    StudentEntropy,
    TeacherEntropy,
)  # fmt: skip

STAGES = {"stage1": (16, 64, 16, 16), "stage2": (16, 128, 8, 8)}
SHAPES = {**STAGES, "projected": (16, 128, 8, 8), "pooled": (16, 128)}
PLACES = {**SHAPES, "logits": (16, 10)}
TERMS: dict[str, Term] = {
    "CE": CE(), "CE smoothed": CE(0.1), "KD": KD(), "KD T=20": KD(T=20.0), "KD T=1 element": KD(T=1.0, reduction="element", scale_T2=False),
    "KD cross-entropy": KD(target="cross-entropy"), "AT": AT(), "AT sum": AT(form="sum"), "AT norm": AT(form="norm"),
    "AT raw": AT(normalise=False), "AT p=4": AT(p=4.0), "AT p=1": AT(p=1.0, absolute=True), "FitNet": FitNet(),
    "FitNet batch": FitNet(reduction="batch", norm=False, relu=False), "VID": VID(), "VID norm": VID(regressor="norm"),
    "VID batch": VID(reduction="batch"), "Review": Review(), "Review pairs": Review(framework="pairs", distance="mse"),
    "Anchor": Anchor(), "Anchor squared": Anchor(norm="squared", reduction="sum"), "TeacherEntropy": TeacherEntropy(),
    "StudentEntropy": StudentEntropy(), "Consistency": Consistency(), "Diversity": Diversity(),
    "DKD": DKD(), "DKD T=1 standardised": DKD(T=1.0, standardise=True), "DIST": DIST(), "DIST T=4": DIST(T=4.0), "SP": SP(), "NST": NST(),
    "FSP": FSP(), "RKD": RKD(), "PKT": PKT(), "PKT row": PKT(reduction="row"), "CC": CC(), "CRD": CRD(K=32),
    "LogitDistance": LogitDistance(), "LogitDistance js": LogitDistance(form="js", T=3.0),
    "LogitDistance agreed": LogitDistance(form="agreed"),
    "AB": AB(), "OFD": OFD(norms=("norm1", "norm2")), "FT": FT(), "FT fixed": FT(reconstruction=0.0),
    "NKD": NKD(), "CTKD": CTKD(reversal=-1.0), "MLKD": MLKD(views=1), "CATKD": CATKD(), "CATKD normalised": CATKD(normalise=True),
    "ICKD": ICKD(), "SRRL": SRRL(), "SimKD": SimKD(), "OFA": OFA(), "DeiT": DeiT(),
}  # fmt: skip


def outputs(near: float = 1.0) -> tuple[Output, Output, Batch]:
    """Ordinary activations, and logits of a student that is ``near`` its teacher."""
    g = torch.Generator().manual_seed(0)
    taps = [{n: torch.randn(shape, generator=g).relu() for n, shape in SHAPES.items()} for _ in range(2)]
    z = 5 * torch.randn(16, 10, generator=g)
    images = torch.randn(16, 3, 8, 8, generator=g)
    mine = z + near * torch.randn(16, 10, generator=g)
    return Output(mine, taps[0]), Output(z, taps[1]), Batch(images, torch.arange(16) % 10, torch.arange(16))


def as_type(out: Output, dtype: torch.dtype) -> Output:
    return Output(out.logits.to(dtype), {n: t.to(dtype) for n, t in out.taps.items()})


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 10)
        self.norm1, self.norm2 = nn.BatchNorm2d(64), nn.BatchNorm2d(128)  # OFD reads gains and biases
        self.head = nn.Linear(128, 10)  # CATKD, SRRL and SimKD read the classifier
        with torch.no_grad():
            self.fc.weight.copy_(torch.randn(10, 192, generator=torch.Generator().manual_seed(4)) / 14)

    def reuse(self, classifier: nn.Linear) -> None:
        self.head = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1).to(self.fc.weight.dtype))


def ready(term: Term) -> Term:
    """Set up between two networks of one kind; the student has moved a little since."""
    torch.manual_seed(0)
    term = term.fresh()
    net = Small()
    term.setup(Context(net, net, PLACES, PLACES, tuple(STAGES), tuple(STAGES), classes=10, count=16, labels=torch.arange(16) % 10))
    with torch.no_grad():
        net.fc.weight.add_(300 * (net.fc.weight > 0) if isinstance(term, Anchor) else 0.0)
    term.kept = net  # type: ignore[assignment]
    return term


def test_every_term_is_tried() -> None:
    assert {type(t) for t in TERMS.values()} == set(ALL)


@pytest.mark.parametrize("whole", [False, True], ids=["adapters fp32", "adapters half"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", TERMS)
def test_a_term_of_half_precision_outputs_has_the_value_and_gradient_of_the_same_numbers_in_fp32(
    name: str, dtype: torch.dtype, whole: bool
) -> None:
    student, teacher, batch = outputs(near=0.05)
    student, teacher, batch = as_type(student, dtype), as_type(teacher, dtype), Batch(batch.images.to(dtype), batch.labels, batch.index)
    full, half = ready(TERMS[name]), ready(TERMS[name])
    if whole:
        half.to(dtype)
    found = []
    for term, to in ((full, torch.float32), (half, dtype)):
        mine = as_type(student, to)
        leaves = [t.detach().requires_grad_() for t in (mine.logits, *mine.taps.values())]
        images = batch.images.to(to).requires_grad_()
        out = Output(leaves[0], dict(zip(mine.taps, leaves[1:], strict=True)))
        loss = term(out, as_type(teacher, to), Batch(images, batch.labels, batch.index))
        if to == dtype:
            assert loss.dtype == torch.float32 or isinstance(term, Anchor | Consistency)
        value = float(loss.detach())
        assert math.isfinite(value)
        grads = torch.autograd.grad(loss, [*leaves, images], allow_unused=True) if loss.requires_grad else []
        found.append((value, [g.float() for g in grads if g is not None]))
    (want, wanted), (got, gotten) = found
    # adapters of their own in bfloat16 have three digits
    within = 0.03 if whole and dtype == torch.bfloat16 else 0.01
    assert got == pytest.approx(want, rel=within, abs=1e-7)
    # CC and FT take absolute values of differences: of n, each that lies at 0 and turns its sign moves the gradient by 2 / sqrt(n) of
    # its norm at most; n is 15 pairs of images x 128 for CC, 16 images x 64 positions for FT, and two may turn
    turned = {CC: 0.065, FT: 0.09}.get(type(full), 0.0) if whole else 0.0
    for a, b in zip(wanted, gotten, strict=True):
        # a gradient handed back in fp16 knows steps of 6e-8
        assert float((a - b).norm()) <= (3 * within + turned) * float(a.norm()) + 6e-8 * a.numel() ** 0.5


@pytest.mark.parametrize("name", TERMS)
def test_a_term_inside_autocast_computes_as_outside(name: str) -> None:
    """Lightning's bf16-mixed and Trainer's bf16 call the loss there; PKT was seventeen times too large."""
    student, teacher, batch = outputs(near=0.05)
    student, teacher = as_type(student, torch.bfloat16), as_type(teacher, torch.bfloat16)
    found = []
    for inside in (False, True):
        term = ready(TERMS[name])
        leaves = [t.detach().requires_grad_() for t in (student.logits, *student.taps.values())]
        out = Output(leaves[0], dict(zip(student.taps, leaves[1:], strict=True)))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            loss = term(out, teacher, batch)
            assert torch.is_autocast_enabled("cpu") == inside  # the caller's is on again
        grads = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else ()
        found.append((loss.detach().float(), [g.float() for g in grads if g is not None]))
    (want, wanted), (got, gotten) = found
    assert float(got) == pytest.approx(float(want), rel=1e-5, abs=1e-7)
    for a, b in zip(wanted, gotten, strict=True):
        assert float((a - b).norm()) <= 1e-2 * float(a.norm()) + 1e-9  # handed back in bf16


def test_products_of_features_do_not_overflow_inside_autocast() -> None:
    student, teacher, batch = outputs()
    large = as_type(Output(student.logits, {n: 300 * t for n, t in student.taps.items()}), torch.float16)
    small = as_type(teacher, torch.float16)
    with torch.autocast("cpu", dtype=torch.float16):
        assert all(math.isfinite(float(ready(term)(large, small, batch).detach())) for term in (SP(), NST(), CC()))


def test_a_term_of_ones_own_with_a_layer_works_inside_autocast() -> None:
    class Mine(Term):
        def setup(self, ctx: Context) -> None:
            self.layer = nn.Linear(128, 128)

        def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
            return (self.layer(student["pooled"]) - teacher["pooled"]).square().mean()

    student, teacher, batch = outputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ready(Mine())(as_type(student, torch.bfloat16), as_type(teacher, torch.bfloat16), batch)
    assert loss.dtype == torch.float32


def test_a_dead_map_and_large_activations_are_finite_in_half_precision() -> None:
    student, teacher, batch = outputs()
    dead = as_type(Output(student.logits, {n: torch.zeros_like(t) for n, t in student.taps.items()}), torch.float16)
    large = as_type(Output(student.logits, {n: 300 * t for n, t in student.taps.items()}), torch.float16)
    teacher_output = as_type(teacher, torch.float16)
    for out in (dead, large):
        want = ready(AT())(as_type(out, torch.float32), as_type(teacher_output, torch.float32), batch)
        assert float(ready(AT())(out, teacher_output, batch)) == pytest.approx(float(want), rel=1e-5)


def test_a_paraphraser_s_loss_of_large_activations_is_finite_in_half_precision() -> None:
    """The squares of what FT's paraphraser misses were summed in fp16: inf for activations of a thousand."""
    student, teacher, batch = outputs()
    large = as_type(Output(teacher.logits, {n: 300 * t for n, t in teacher.taps.items()}), torch.float16)
    for learns in ("both", "paraphraser"):
        want = ready(FT(learns=learns))(as_type(student, torch.float32), as_type(large, torch.float32), batch)
        got = ready(FT(learns=learns)).half()(as_type(student, torch.float16), large, batch)
        assert float(got.detach()) == pytest.approx(float(want.detach()), rel=1e-2) and float(want.detach()) > 100


def test_fp32_and_fp64_are_taken_as_they_are() -> None:
    student, teacher, batch = outputs()
    for dtype in (torch.float32, torch.float64):
        for term in (CE(), KD(), AT()):
            assert ready(term)(as_type(student, dtype), as_type(teacher, dtype), batch).dtype == dtype


@pytest.mark.parametrize("p", [0.0, 0.5, 0.99, -1.0, math.nan, math.inf])
def test_an_exponent_without_a_gradient_at_zero_is_refused(p: float) -> None:
    with pytest.raises(RedistillError, match="1 or more"):
        AT(p=p, absolute=True)
