"""The step on the meta device: a tensor left on the CPU, or a value that somebody waits for, raises there.

Nothing is computed on it, so every term, recipe and source can be walked in a moment; what passes here runs on an accelerator
without a synchronisation inside a step. Both ways of taking steps are walked: as they are written, and recorded by a stand-in. What is
recorded is also held against the operations at which a CUDA device alone would be waited for (helpers/waits.py).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from helpers.standing_in import Again
from helpers.waits import Waits, watched
from redistill import models, rng
from redistill.core import Batch, Method, Output, Ramp, Source, Term
from redistill.data import Images, folder
from redistill.features.hidden_state import load_hidden_state
from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step
from redistill.replay import WARM, ReplayWarning
from redistill.sources.adversarial import Adversarial
from redistill.sources.mixed import Mixed
from redistill.sources.variants import Variant
from redistill.terms import (
    ALL,
    AT,
    CC,
    CE,
    CRD,
    DIST,
    DKD,
    FT,
    KD,
    MLKD,
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
from redistill.train.loop import Loop

STEPS = WARM + 3


def network(seed: int = 0, width: int = 4) -> nn.Module:
    """Two stages with batch norms before the places that are read."""
    with rng.seeded(seed, "init", width):
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)), nn.ReLU(),
            nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.BatchNorm2d(2 * width)), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 4),
        )  # fmt: skip


def images(augment: str = "crop-flip", labelled: bool = True, count: int = 400) -> Images:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 8, 8), generator=g, dtype=torch.uint8)
    return Images(x, torch.arange(count) % 4 if labelled else None, 4, "noise", "cifar10-kuangliu", augment)


RECIPE = Recipe(epochs=9, batch_size=8, lr=0.1)


def walked(
    method: Method | Term, source: Source | None = None, recipe: Recipe = RECIPE, *, replay: Any = True, steps: int = STEPS,
    student: nn.Module | None = None, teacher: nn.Module | None = None,
) -> Loop:  # fmt: skip
    """A few steps, none of them the last of a block."""
    loop = Loop(
        [(student or network(), method)], teacher or network(1), source or images(), recipe, seed=0, device="meta", replay=replay
    )
    assert all(p.is_meta for s in loop.students for p in (*s.net.parameters(), *s.method.parameters()))
    for _ in range(steps):
        next(loop)
    return loop


@pytest.fixture(autouse=True)
def rates_of_tensors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's fused optimisers refuse meta tensors, and the others read a rate that is a tensor: one that does neither."""

    def step(optimizer: torch.optim.Optimizer, closure: None = None) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        assert p.grad.is_meta and p.grad.shape == p.shape
                        p.sub_(p.grad * group["lr"])

    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        ordinary = kind.step

        def either(self: Any, closure: None = None, ordinary: Any = ordinary) -> None:
            lr = self.param_groups[0]["lr"]
            (step if isinstance(lr, Tensor) and lr.is_meta else ordinary)(self, closure)

        monkeypatch.setattr(kind, "step", either)
    yield


SMALL: dict[type[Term], dict[str, Any]] = {
    CRD: {"K": 5, "dim": 4}, CC: {"dim": 4}, MLKD: {"views": 1}, FT: {"at": [("2", "2")]}, OFD: {"at": ["0", "2"], "norms": ["0.1", "2.1"]},
}  # fmt: skip
FORMS: dict[str, Callable[[], Term]] = {
    **{cls.__name__: functools.partial(cls, **SMALL.get(cls, {})) for cls in ALL if cls is not SimKD},
    "CE, smoothed": lambda: CE(0.1),
    "KD, standardised": lambda: KD(T=2.0, standardise=True),
    "KD, FitNets": lambda: KD(T=3.0, target="cross-entropy", scale_T2=False),
    "DKD, standardised": lambda: DKD(standardise=True),
    "DIST, CIFAR-100": lambda: DIST(beta=2.0, T=4.0),
    "AT, paper": lambda: AT(form="norm"),
    "AT, of a batch": lambda: AT(over="batch"),
    "AT, absolute": lambda: AT(p=3, absolute=True),
    "RKD, of maps": lambda: RKD(at=["stage1", "stage2"]),
    "PKT, paper": lambda: PKT(reduction="row"),
    "CRD, of the class": lambda: CRD(K=50, dim=4, positive="class"),
    "VID, norm": lambda: VID(regressor="norm"),
    "VID, not trained": lambda: VID(train_variance=False, constant=True, reduction="batch"),
    "FitNet, of the teacher": lambda: FitNet(side="teacher"),
    "Review, pairs": lambda: Review(framework="pairs", distance="mse"),
    "Review, Figure 3a": lambda: Review(fusion="figure3a"),
    "Review, sum": lambda: Review(fusion="sum", keep="l<=h"),
    "Anchor, L2-SP": lambda: Anchor(norm="squared", reduction="sum"),
}


@pytest.mark.parametrize("replay", [True, "recorded"])
@pytest.mark.parametrize("form", FORMS)
def test_no_term_waits_for_the_device_or_leaves_it(form: str, replay: Any) -> None:
    if replay == "recorded" and form.startswith("CRD"):
        pytest.skip("it draws on the host at every step: its steps are taken as they are written")
    loop = walked(CE() + 0.5 * FORMS[form](), replay=Again(watched) if replay == "recorded" else True)
    assert loop.students[0].buffer.is_meta and (replay is True or loop.replays.replayed.reason is None)  # type: ignore[union-attr]


RECIPES = {
    "nesterov, a step": RECIPE.model_copy(update={"nesterov": True, "schedule": Step(every=1), "no_decay": ("norm", "bias")}),
    "no momentum": RECIPE.model_copy(update={"momentum": 0.0, "drop_last": True}),
    "adam, clipped, cosine by step": Recipe(epochs=9, batch_size=8, optimizer="adam", clip=5.0, schedule=Cosine(), per="step", warmup=2),
    "adamw, clipped tensor by tensor": Recipe(epochs=9, batch_size=8, optimizer="adamw", clip=5.0, clip_per="tensor"),
    "momentum forgotten": Recipe(steps=900, batch_size=8, schedule=MultiStep(at=(1, 4), unit="step", reset_momentum=True)),
    "double": RECIPE.model_copy(update={"precision": "double"}),
    "fast": RECIPE.model_copy(update={"precision": "fast", "schedule": Constant()}),
    "contiguous": RECIPE.model_copy(update={"channels_last": False}),
    "channels last": RECIPE.model_copy(update={"channels_last": True}),
    "unfused": RECIPE.model_copy(update={"fused": False}),
    "teacher in train mode": RECIPE.model_copy(update={"teacher_mode": "train"}),
    "student in evaluation mode": RECIPE.model_copy(update={"student_mode": "eval"}),
}
RAMPED = CE() + Ramp(0, 5) * KD() + Ramp(0, 9, unit="step") * AT()


@pytest.mark.filterwarnings("ignore:the steps of this run")
@pytest.mark.parametrize("replay", [True, "recorded"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_does(recipe: str, replay: Any) -> None:
    walked(RAMPED, recipe=RECIPES[recipe], replay=Again(watched) if replay == "recorded" else True)


def generator() -> nn.Module:
    with rng.seeded(0, "init"):
        made = nn.Sequential(nn.Linear(6, 192), nn.Unflatten(1, (3, 8, 8)), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    made.z, made.image_shape = 6, (3, 8, 8)  # type: ignore[assignment]
    return made


def pictures(path: Path, augment: str) -> Source:
    for c in range(4):
        (path / f"class{c}").mkdir(parents=True, exist_ok=True)
        for i in range(60):
            pixels = np.random.default_rng(60 * c + i).integers(0, 256, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"class{c}" / f"{i}.png")
    return folder(path, size=8, memory=0, augment=augment, workers=1)


def made_up(**switches: Any) -> Adversarial:
    method: Any = -1.0 * KD(T=1.0, reduction="element", scale_T2=False) + Ramp(0, 50) * TeacherEntropy()
    method = method + 0.1 * StudentEntropy() + 0.1 * Consistency() + 0.1 * Diversity()
    return Adversarial(generator(), "cifar10-kuangliu", Variant(n_S=2, **switches), method, blocks=50_000)


SOURCES: dict[str, Callable[[Path], Source]] = {
    **{augment: functools.partial(lambda augment, path: images(augment), augment) for augment in
       ("none", "flip", "crop-flip:1", "crop-flip-reflect", "crop-flip-reflect-batch")},
    "a subset without labels": lambda path: images().per_class(60, seed=0).unlabelled(),
    "a folder": lambda path: pictures(path, "crop-flip"),
    "a folder, resized crops": lambda path: pictures(path, "resized-crop"),
    "zero-shot": lambda path: made_up(),
    "zero-shot, images before": lambda path: made_up(images="before", clip=None),
    "zero-shot, fresh noise": lambda path: made_up(noise="fresh", clip_by="value", decay="constant"),
    "zero-shot, two generator steps": lambda path: made_up(n_G=2, generator_noise="fresh", student_mode="eval", generator_mode="eval"),
    "a mixture": lambda path: Mixed(images(labelled=False), made_up(), (1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("replay", [True, "recorded"])
@pytest.mark.parametrize("source", SOURCES)
def test_no_source_does(source: str, replay: Any, tmp_path: Path) -> None:
    again = Again(watched)
    long = RECIPE.model_copy(update={"epochs": None, "steps": 100_000})
    steps = 4 * STEPS if source.startswith(("zero-shot", "a mixture")) else STEPS  # in blocks of two
    walked(KD() + 250.0 * AT(), SOURCES[source](tmp_path), long, replay=again if replay == "recorded" else True, steps=steps)
    assert replay is True or again.replayed


@pytest.mark.parametrize("replay", [True, "recorded"])
def test_no_cohort_does(replay: Any) -> None:
    """Also networks that want another normalisation than the stream has, and students of another width."""
    other = network(2, 6)
    other.normalisation = "imagenet"  # type: ignore[assignment]
    pairs = [(network(), RAMPED), (other, CE() + VID() + FitNet() + Review()), (network(3), CE() + DKD())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        how = Again(watched) if replay == "recorded" else True
        loop = Loop(pairs, other_teacher(), images(), RECIPE, seed=0, device="meta", replay=how)
    for _ in range(STEPS):
        next(loop)


def other_teacher() -> nn.Module:
    net = network(1)
    net.normalisation = "half"  # type: ignore[assignment]
    return net


def test_every_term_and_source_is_walked() -> None:
    """SimKD needs a student of its own, which another test walks."""
    assert {cls.__name__ for cls in ALL} == {form for form in FORMS if form in {cls.__name__ for cls in ALL}} | {"SimKD"}


def test_the_student_that_keeps_the_teachers_classifier_is_walked() -> None:
    student = models.build("simkd", classes=4, image_size=8, body="wrn-10-1", head="wrn-10-2", seed=0)
    walked(Method.of(SimKD()), student=student, teacher=models.wrn(10, 2, classes=4, seed=1))


def test_two_views_are_walked() -> None:
    walked(CE() + MLKD(), images("crop-flip+strong"))


@dataclass(eq=False, repr=False)
class Gathers(Term):
    """Its gradient is a scatter, which in strict precision reads its indices back."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        assert batch.labels is not None
        return -student.logits.log_softmax(1).gather(1, batch.labels[:, None]).mean()


@dataclass(eq=False, repr=False)
class Makes(Term):
    """Copies a number from the host at every step."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return (student.logits * torch.tensor(2.0, device=student.logits.device)).square().mean()


@dataclass(eq=False, repr=False)
class Warms(Term):
    """Its factor is a number on the CPU, which it raises ``by`` so much at every step."""

    by: float = 0.0
    needs_teacher: ClassVar[bool] = False

    def check(self) -> None:
        self.factor = torch.zeros(())

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        self.factor.add_(self.by)
        return student.logits.square().mean() * self.factor


@pytest.mark.parametrize("waits", [Gathers, Makes, Warms])
def test_what_only_a_cuda_device_would_be_waited_for_raises(waits: type[Term]) -> None:
    with pytest.raises(Waits):
        walked(CE() + waits(), replay=Again(watched))


def test_a_number_that_stays_on_the_cpu_and_changes_there_is_noticed_before_anything_is_recorded() -> None:
    """Nothing waits for it, and it is no buffer that went to the device with the rest."""
    with pytest.warns(ReplayWarning, match=r"terms\.1\.factor changes on the host"):
        loop = walked(CE() + Warms(0.1), replay=Again())
    assert loop.replays is not None and loop.replays.replayed.reason is not None


def test_what_a_network_keeps_beside_its_state_comes_back_to_where_it_was() -> None:
    """A checkpoint is read on the CPU."""
    net = network().to("meta")
    net.mean, net.seen = torch.zeros(2, device="meta"), torch.zeros(())  # type: ignore[assignment]
    load_hidden_state(net, {"buffers": {}, "values": {"mean": torch.ones(2), "seen": torch.ones(()), "count": 3}})
    assert net.mean.is_meta and net.seen.item() == 1.0 and net.count == 3  # type: ignore[operator]


# -- what the test is there to find ------------------------------------------------------------------------------------
@dataclass(eq=False, repr=False)
class Reads(Term):
    """Reads a value inside the step."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return student.logits.square().mean() * (2.0 if float(student.logits.mean()) > 0 else 1.0)


@dataclass(eq=False, repr=False)
class Chooses(Term):
    """Its shapes depend on values."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return student.logits[student.logits > 0].sum()


@dataclass(eq=False, repr=False)
class Left(Term):
    """Leaves its classes' weights on the CPU."""

    needs_teacher: ClassVar[bool] = False

    def forward(self, student: Output, teacher: Output | None, batch: Batch) -> Tensor:
        return (student.logits * torch.ones(4)).mean()


@pytest.mark.parametrize("broken", [Reads, Chooses, Left])
def test_what_waits_or_was_left_on_the_cpu_raises(broken: type[Term]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|Meta|device"):
        walked(CE() + broken())
