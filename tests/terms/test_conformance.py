"""The public conformance check on every term and every published form, and on terms that break each promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from redistill import models, rng
from redistill.core import Batch, Context, Output, Term, require_ready
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
    KD,
    MLKD,
    NKD,
    OFA,
    OFD,
    PKT,
    RKD,
    VID,
    Anchor,
    Consistency,
    Diversity,
    FitNet,
    Review,
    SimKD,
    StudentEntropy,
    TeacherEntropy,
)
from redistill.testing import PROMISES, THEOREMS, NotConformant, check_term

FOR_GENERATORS: tuple[type[Term], ...] = (TeacherEntropy, StudentEntropy, Consistency, Diversity)
"""Losses that pull at the images."""

FORMS: dict[str, tuple[Callable[[], Term], tuple[str, ...] | None]] = {
    **{cls.__name__: (cls, None) for cls in ALL if cls not in (*FOR_GENERATORS, FSP, OFD, FT, CTKD, MLKD, SimKD)},
    **{f"generator: {cls.__name__}": (cls, None) for cls in FOR_GENERATORS},
    "generator: KD": (lambda: KD(T=1.0, reduction="element", scale_T2=False), None),
    "CE, smoothed": (lambda: CE(0.1), None),
    "KD, zero-shot codes": (lambda: KD(T=1.0, reduction="element", scale_T2=False), None),
    "KD, few-shot codes": (lambda: KD(reduction="element", factor=2.0), None),
    # the teacher's entropy is added: not 0 at a match
    "KD, FitNets": (
        lambda: KD(T=3.0, target="cross-entropy", scale_T2=False),
        ("logit shift", "class permutation", "batch permutation", "non-negative"),
    ),
    "KD, standardised": (lambda: KD(T=2.0, standardise=True), None),
    "DKD, standardised": (lambda: DKD(T=2.0, standardise=True), None),
    "DIST, CIFAR-100": (lambda: DIST(beta=2.0, gamma=2.0, T=4.0), None),
    "RKD, of maps": (lambda: RKD(at=["stage2", "stage3"]), None),
    "PKT, paper": (lambda: PKT(reduction="row"), None),
    "CRD, of the class": (lambda: CRD(dim=4, K=3, positive="class"), None),
    "CC, of maps": (lambda: CC(at="stage3", dim=8), None),
    "AT, paper": (lambda: AT(form="norm", factor=0.5), None),
    "AT, sum": (lambda: AT(form="sum"), None),
    "AT, p = 1": (lambda: AT(p=1), None),
    "AT, |A|³": (lambda: AT(p=3, absolute=True), None),
    # without the normalisation the scale counts
    "AT, unnormalised": (
        lambda: AT(normalise=False), ("zero at match", "non-negative", "batch permutation", "channel permutation")
    ),
    "AT, named": (lambda: AT(at=["stage1", ("stage2", "stage3")]), None),
    "VID, paper": (lambda: VID(reduction="batch", constant=True), None),
    "VID, mdistiller": (lambda: VID(train_variance=False), None),
    "VID, vidtf": (lambda: VID(regressor="norm", eps=1e-3, init_log_scale=5.0), None),
    "VID, vectors": (lambda: VID(at="pooled"), None),
    "FitNet, paper": (lambda: FitNet(reduction="batch", factor=0.5, norm=False, relu=False), None),
    "FitNet, authors": (lambda: FitNet(reduction="position", factor=0.5, norm=False, relu=False), None),
    "FitNet, two hints": (lambda: FitNet(at=[("stage1", "stage2"), ("stage3", "stage1")]), None),
    "FitNet, vectors": (lambda: FitNet(at="pooled"), None),
    "Review, none": (lambda: Review(framework="levels", distance="mse"), None),
    "Review, RM": (lambda: Review(framework="pairs", distance="mse"), None),
    "Review, RM of the reproduction": (lambda: Review(framework="sums", distance="mse", trained=False), None),
    "Review, RM + RLF": (lambda: Review(fusion="sum", distance="mse"), None),
    "Review, RM + RLF + ABF": (lambda: Review(distance="mse"), None),
    "Review, RM + RLF + HCL": (lambda: Review(fusion="sum"), None),
    "Review, reproduction": (lambda: Review(mid=3, keep="l<=h", count="listed", denominator=1.875), None),
    "Review, Figure 3a": (lambda: Review(fusion="figure3a"), None),
    "Review, Table 6": (lambda: Review(at=[("stage3", "stage1")], framework="levels", distance="mse"), None),
    "NKD, whole softmax": (lambda: NKD(T=2.0, target_left_out=False), None),
    "CTKD, descending": (lambda: CTKD(reversal=-1.0, loops=0), None),
    "CTKD, standardised": (lambda: CTKD(reversal=-1.0, loops=0, standardise=True), None),
    "MLKD, one view": (lambda: MLKD(views=1), None),
    "CATKD, normalised": (lambda: CATKD(normalise=True), None),
    "OFA, eps": (lambda: OFA(eps=1.3, T=2.0), None),
    "KD, wrong classes": (lambda: KD(shift=2), ("logit shift", "batch permutation", "non-negative")),
    "AB, paper": (lambda: AB(factor=1.0), None),
    "AB, vectors": (lambda: AB(at="pooled"), None),
    "FT, frozen": (lambda: FT(reconstruction=0.0), None),
    "FT, squared": (lambda: FT(at="stage2", p2=2, reconstruction=0.0), None),
    "Anchor, L2-SP": (lambda: Anchor(norm="squared", reduction="sum"), None),
}


def test_ofd_keeps_its_promises_with_a_teacher_that_has_batch_norms() -> None:
    teacher = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 256, 5))
    make = lambda: OFD(at=[("stage1", "1")])  # noqa: E731
    assert len(check_term(make, teacher=teacher)) == len(PROMISES) + 2


def test_simkd_keeps_its_promises_with_a_student_that_has_a_projector() -> None:
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    student = models.build("simkd", 5, image_size=8, body="wrn-10-1", head="wrn-10-2", factor=16)
    proven = check_term(SimKD, student=student, teacher=models.wrn(10, 2, 5, image_size=8), images=images)
    assert len(proven) == len(PROMISES) + len(SimKD.theorems)


@pytest.mark.parametrize("form", FORMS)
def test_every_term_keeps_its_promises(form: str) -> None:
    make, theorems = FORMS[form]
    declared = make().theorems if theorems is None else theorems
    proven = check_term(make, theorems=theorems, generated=form.startswith("generator: "))
    assert proven == tuple(check.__doc__ for check in (*PROMISES, *(THEOREMS[name] for name in declared)))


class Block(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1, stride=2 if before != after else 1, bias=False)
        self.norm, self.act = nn.BatchNorm2d(after), nn.ReLU(inplace=True)
        self.skip = nn.Conv2d(before, after, 1, stride=2) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)) + self.skip(x))


class ResNet(nn.Module):
    """A residual network that knows nothing of this package."""

    def __init__(self, widths: tuple[int, ...] = (4, 8, 12)):
        super().__init__()
        self.first = nn.Conv2d(3, widths[0], 3, padding=1)
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.layers = nn.ModuleList(nn.Sequential(Block(a, b), Block(b, b)) for a, b in pairs)
        self.fc = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class Plain(nn.Sequential):
    """Convolutions, poolings, and a flattened map before the linear layer; 24x24 halves to 12, 6 and not further."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 7, 3, padding=1), nn.ReLU(),
            nn.AvgPool2d(2), nn.Conv2d(7, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4),
        )  # fmt: skip


FEATURE_TERMS: dict[str, Callable[[], Term]] = {
    "AT": AT, "VID": VID, "FitNet": FitNet, "Review": Review, "Review, RM": lambda: Review(framework="pairs"),
}  # fmt: skip
NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "ResNet, wider ResNet": (ResNet, lambda: ResNet((6, 8, 16))),
    "ResNet, deeper ResNet": (ResNet, lambda: ResNet((6, 8, 16, 10))),
    "Plain, ResNet": (Plain, ResNet),
    "ResNet, Plain": (ResNet, Plain),
}


@pytest.mark.parametrize("nets", NETS)
@pytest.mark.parametrize("term", FEATURE_TERMS)
def test_feature_terms_work_between_any_two_convolutional_networks(term: str, nets: str) -> None:
    with rng.seeded(0, nets):
        student, teacher = (make() for make in NETS[nets])
    images = torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    check_term(FEATURE_TERMS[term], student=student, teacher=teacher, images=images)


# -- terms that break a promise ----------------------------------------------------------------------------------------
@dataclass(eq=False, repr=False)
class Vector(Term):
    """One number an image instead of a scalar."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().sum(1)


@dataclass(eq=False, repr=False)
class Half(Term):
    """Comes back in single precision."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).float().square().sum()


@dataclass(eq=False, repr=False)
class Noisy(Term):
    """Draws from the global generator."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().sum() + torch.rand(()).to(student.logits) * 0


@dataclass(eq=False, repr=False)
class Writer(Term):
    """Overwrites the teacher's logits, with what they were."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        loss = (student.logits - teacher.logits).square().sum()
        with torch.no_grad():
            teacher.logits.mul_(1.0)
        return loss


@dataclass(eq=False, repr=False)
class Hidden(Term):
    """Keeps its adapters in a plain list, as one published port keeps its variances."""

    ready = False

    def setup(self, ctx: Context) -> None:
        self.scales = [torch.ones(5, requires_grad=True)]
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        return (student.logits * self.scales[0].to(student.logits.dtype) - teacher.logits).square().sum()


@dataclass(eq=False, repr=False)
class Idle(Term):
    """Has a parameter that it does not use."""

    ready = False

    def setup(self, ctx: Context) -> None:
        self.unused = nn.Parameter(torch.ones(3))
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        return (student.logits - teacher.logits).square().sum()


@dataclass(eq=False, repr=False)
class Blind(Term):
    """Looks at the teacher only."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return teacher.logits.square().sum()


@dataclass(eq=False, repr=False)
class Wrong(Term):
    """Its gradient is half of its derivative."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        z = student.logits
        return (0.5 * z + 0.5 * z.detach() - teacher.logits).square().sum()


@dataclass(eq=False, repr=False)
class Forgetful(Term):
    """Changes a setting on the way in."""

    T: float = 4.0

    def check(self) -> None:
        self.T = self.T + 1

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().sum() / self.T


@dataclass(eq=False, repr=False)
class Unready(Term):
    """Answers before it was set up."""

    ready = False

    def setup(self, ctx: Context) -> None:
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().sum()


@dataclass(eq=False, repr=False)
class Liar(Term):
    """Says that it needs labels and uses none."""

    needs_labels: ClassVar[bool] = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().sum()


@dataclass(eq=False, repr=False)
class Unlike(Term):
    """Its adapters differ from set-up to set-up."""

    ready = False

    def setup(self, ctx: Context) -> None:
        self.scale = nn.Parameter(torch.rand(5, generator=Unlike.stream))
        self.ready = True

    stream: ClassVar[torch.Generator] = torch.Generator().manual_seed(0)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        return (student.logits * self.scale - teacher.logits).square().sum()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (Vector, r"the loss must be a scalar, it has shape \[5\]"),
        (Half, "networks in torch.float64 got a loss in torch.float32"),
        (Noisy, "drew from a global random generator"),
        (Writer, "the term wrote into the teacher logits"),
        (Hidden, r"a trained tensor of shape \[5\] is not in term.parameters\(\)"),
        (Idle, r"\[\"the term's unused\"\] gets no gradient"),
        (Blind, "the loss depends on nothing that is trained"),
        (Wrong, "the gradient says .* a small step measures"),
        (Forgetful, "come back as"),
        (Unready, "used before setup it must raise RedistillError"),
        (Liar, "needs_labels is True, yet a batch without labels was accepted"),
        (Unlike, "two set-ups under one seed start scale differently"),
    ],
)
def test_a_broken_promise_is_named(broken: Any, says: str) -> None:
    with pytest.raises(NotConformant, match=says):
        check_term(broken)


@pytest.mark.parametrize(
    ("make", "theorem", "says"),
    [
        (lambda: KD(T=3.0, target="cross-entropy"), "zero at match", "student equal to teacher gives"),
        (lambda: AT(normalise=False), "feature scale", "scaling the student's features changes the loss"),
        (VID, "channel permutation", "another order of the student's channels changes the loss"),
        (VID, "non-negative", "below 0"),
        (Vector, "anything", "known theorems are zero at match"),
        (KD, "zero at start", "an unmoved student gives"),
    ],
)
def test_a_false_theorem_is_refuted(make: Any, theorem: str, says: str) -> None:
    if make is VID and theorem == "non-negative":
        make = lambda: VID(init_pred_var=0.01)  # noqa: E731  log σ² far below 0 ...
        images = 1e-3 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))  # ... and nothing to predict
        with pytest.raises(NotConformant, match=says):
            check_term(make, theorems=[theorem], images=images)
        return
    with pytest.raises(NotConformant, match=says):
        check_term(make, theorems=[theorem])
