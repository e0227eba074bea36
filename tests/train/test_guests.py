"""What a loop does with networks that are not its own: nothing is left on them, nothing of them is lost."""

from __future__ import annotations

import copy
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune as prune
from safetensors.torch import save_file
from torch import Tensor, nn

import redistill as rd
from helpers.bits import bits, same
from redistill.core import RedistillError
from redistill.features.modes import mode, set_mode
from redistill.features.normalised import normalisation_of, normalised
from redistill.launch.fit import fit
from redistill.launch.threads import work_of
from redistill.recipe import Recipe
from redistill.terms import AT, CE, KD, VID, Review
from redistill.train.loop import Loop
from redistill.train.teacher import Teacher

TRAIN, TEST = rd.data.digits()
FEW = TRAIN.fraction(65 / len(TRAIN), seed=0)
STEPS = Recipe(steps=3, batch_size=32, lr=0.05)


def wrn(seed: int = 0, **more: Any) -> nn.Module:
    return rd.models.wrn(10, 1, seed=seed, channels=1, image_size=8, **more)


def plain(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 10),
    )  # fmt: skip


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


class Stop(Exception):
    pass


def break_at_two(student: nn.Module) -> None:
    for progress in Loop([(student, CE() + AT())], wrn(1), FEW, STEPS, seed=0):
        assert hooks(student) == 0
        if progress.step == 2:
            break


def error_in_a_step(student: nn.Module) -> None:
    loop = Loop([(student, CE())], None, FEW, STEPS, seed=0)
    next(loop)
    loop.stream.batch = lambda step: (_ for _ in ()).throw(Stop())  # type: ignore[method-assign]
    with pytest.raises(Stop):
        next(loop)
    assert not student.training


def refusal(student: nn.Module) -> None:
    other = rd.data.Images(FEW.x[:8], FEW.y[:8], 12, "other", "digits")
    before = [(p.dtype, p.stride(), m.training) for m in student.modules() for p in m.parameters(recurse=False)]
    with pytest.raises(RedistillError, match="has 12 classes"):
        fit(student, None, CE(), FEW, STEPS.model_copy(update={"precision": "double"}), seed=0, evaluate={"other": other})
    assert before == [(p.dtype, p.stride(), m.training) for m in student.modules() for p in m.parameters(recurse=False)]


@pytest.mark.parametrize("end", [break_at_two, error_in_a_step, refusal])
def test_nothing_is_left_on_a_student(end: Callable[[nn.Module], None]) -> None:
    student = wrn()
    student.normalisation = "half"
    end(student)
    assert hooks(student) == 0 and student.normalisation == "half"
    assert all(v.is_contiguous() for v in student.state_dict().values())


def test_a_student_of_another_normalisation_is_evaluated_rightly_between_two_steps() -> None:
    data, shown = (rd.data.Images(d.x * 15, d.y, 10, "made", "mnist") for d in (FEW, TEST))
    student = wrn()
    student.normalisation = "half"
    loop = Loop([(student, CE())], None, data, STEPS, seed=0, evaluate={"test": shown}, every=1)
    for _ in loop:
        by_hand = normalised(student.eval(), "mnist")
        x = next(iter(shown.batches(200, torch.device("cpu"), torch.float32))).images
        with torch.no_grad():
            here = by_hand(x)
        assert torch.allclose(rd.predict(student, shown)[:200], here, atol=1e-4)
    assert loop.results()[0].accuracy["test"].curve[-1] == (loop.step, rd.accuracy(student, shown))


def test_a_mode_left_behind_by_a_look_does_not_change_the_training() -> None:
    looked, alone = wrn(dropout=0.3), wrn(dropout=0.3)
    for _ in Loop([(looked, CE())], None, FEW, STEPS, seed=0):
        looked.eval()
    fit(alone, None, CE(), FEW, STEPS, seed=0)
    assert same(bits(looked), bits(alone))


def test_a_trained_student_can_be_written(tmp_path: Any) -> None:
    student = plain()
    fit(student, None, CE(), FEW, STEPS, seed=0)
    save_file(student.state_dict(), str(tmp_path / "a.safetensors"))
    rd.models.save(student, tmp_path / "b.safetensors")
    rd.models.save(wrn(), tmp_path / "c.safetensors")
    assert (tmp_path / "b.safetensors").exists()


# -- frozen parts -----------------------------------------------------------------------------------------------------
def by_gradient(net: nn.Sequential) -> None:
    net[:3].requires_grad_(False)


def by_mode(net: nn.Sequential) -> None:
    net[1].eval()


@pytest.mark.parametrize("freeze", [by_gradient, by_mode])
def test_frozen_parts_keep_statistics_and_mode(freeze: Callable[[nn.Sequential], None]) -> None:
    student = plain()
    freeze(student)
    before = bits(student[1])
    for _ in Loop([(student, CE())], None, FEW, STEPS, seed=0, evaluate={"test": TEST}):
        assert student.training and not student[1].training
    after = bits(student[1])
    kept = ("running_mean", "running_var", "num_batches_tracked")
    assert all(torch.equal(before[n], after[n]) for n in kept)
    assert torch.equal(before["weight"], after["weight"]) == (freeze is by_gradient)


@pytest.mark.parametrize(("freeze", "wakes"), [(by_gradient, False), (by_gradient, True), (by_mode, False)])
def test_frozen_parts_stay_so_when_somebody_looks_between_two_steps(freeze: Callable[[nn.Sequential], None], wakes: bool) -> None:
    """``net.eval()`` for a look, and perhaps ``net.train()`` after it, as in every loop."""
    looked, alone = plain(), plain()
    for student in (looked, alone):
        freeze(student)
        for _ in Loop([(student, CE())], None, FEW, STEPS, seed=0):
            if student is looked:
                student.eval()
                student(torch.zeros(2, 1, 8, 8))
                student.train(wakes)
    assert same(bits(looked), bits(alone))


def test_a_loaded_network_in_a_new_wrapper_trains_as_a_whole() -> None:
    wrapped, bare = nn.Sequential(plain().eval()), plain()
    fit(wrapped, None, CE(), FEW, STEPS, seed=0)
    fit(bare, None, CE(), FEW, STEPS, seed=0)
    assert same(bits(wrapped[0]), bits(bare))
    net = plain()
    set_mode(net.eval().requires_grad_(False), True)
    assert all(m.training for m in net.modules())  # a teacher in train mode is in train mode as a whole


def test_a_mode_for_a_while_goes_through_the_networks_own_train() -> None:
    class Merging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.merged = nn.Linear(2, 2), False

        def train(self, mode: bool = True) -> Merging:
            self.merged = not mode
            return super().train(mode)

    net = Merging()
    with mode(net, False):
        assert net.merged
    assert not net.merged and net.training


# -- wrappers ---------------------------------------------------------------------------------------------------------
WRAP: dict[str, Callable[[nn.Module], nn.Module]] = {
    "sequential": lambda net: nn.Sequential(net),
    "data parallel": lambda net: nn.DataParallel(net),
    "compiled": lambda net: torch.compile(net, backend="eager"),  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("how", WRAP)
def test_a_wrapper_keeps_the_normalisation(how: str) -> None:
    losses, weights = [], []
    for wrap in (lambda net: net, WRAP[how]):
        teacher, student = wrn(1), wrn(0)
        teacher.normalisation = student.normalisation = "half"
        losses.append(fit(wrap(student), wrap(teacher), KD(), FEW, STEPS, seed=0).losses)
        weights.append(bits(student))
        assert normalisation_of(wrap(student)) == "half"
        assert rd.accuracy(wrap(student), TEST) == rd.accuracy(student, TEST)
    assert losses[0] == losses[1] and same(*weights)


def test_a_wrapper_that_says_nothing_around_a_network_that_does_is_refused() -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = wrn(1), wrn(2)
            self.one.normalisation = "half"

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.two(x)

    with pytest.raises(RedistillError, match=r"holds a network \(one\) made for images normalised as 'half'"):
        fit(wrn(), Ensemble(), KD(), FEW, STEPS, seed=0)


class View(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.fc = nn.Conv2d(1, 8, 3, 2, 1), nn.Linear(128, 10)
        self.flat: Callable[[Tensor], Tensor] = lambda x: x.view(x.size(0), -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flat(self.conv(x).relu()))


def test_flattening_with_view_gives_what_flattening_gives() -> None:
    view, flat = View(), View()
    flat.flat = lambda x: x.flatten(1)
    losses = [fit(net, wrn(1), CE() + KD(), FEW, STEPS, seed=0, evaluate={"test": TEST}).losses for net in (view, flat)]
    assert losses[0]["KD"] == pytest.approx(losses[1]["KD"], rel=1e-4)
    fit(wrn(), View(), KD(), FEW, STEPS, seed=0)


class InPlace(nn.Module):
    """Normalises in place, as torchvision's ``normalize(x, ..., inplace=True)`` does."""

    def __init__(self, copies: bool = False) -> None:
        super().__init__()
        self.inner, self.copies = plain(3), copies

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x.clone() if self.copies else x).sub_(0.3).div_(0.5))


@pytest.mark.parametrize("teacher", [False, True])
def test_a_network_that_writes_into_its_images_changes_nobody_elses(teacher: bool) -> None:
    ends = []
    for copies in (True, False):
        net, other = InPlace(copies), plain()
        students = [(other, CE() + KD())] if teacher else [(net, CE() + KD()), (other, CE() + KD())]
        rd.fit_cohort(students, net if teacher else wrn(1), FEW, Recipe(steps=3, batch_size=64, lr=0.05), seed=0, quiet=True)
        ends.append(bits(other) | {f"in place: {name}": value for name, value in bits(net).items()})
    assert same(*ends)
    images = TEST.normalised(slice(4))
    before = images.clone()
    rd.context(InPlace(), InPlace(), images)
    assert images.equal(before)


@pytest.mark.parametrize(("channels", "kernel", "stride", "plain"), [(4, 1, 2, True), (8, 1, 2, False), (4, 3, 2, False), (4, 1, 1, False)])
def test_a_convolution_that_spoils_memory_in_channels_last_is_kept_out_of_it(channels: int, kernel: int, stride: int, plain: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, channels, 3, 1, 1), nn.Conv2d(channels, 16, kernel, stride), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )
    (student,) = Loop([(net, CE())], None, FEW, Recipe(steps=1, batch_size=32), seed=0).students
    assert student.sight.contiguous == plain
    if plain:
        images = student.sight(torch.zeros(2, 1, 8, 8).to(memory_format=torch.channels_last))
        assert images.stride() == torch.zeros(2, 1, 8, 8).stride() and all(p.is_contiguous() for p in net.parameters())



# -- teachers ---------------------------------------------------------------------------------------------------------
DRESS: dict[str, Callable[[nn.Module], object]] = {
    "weight norm": nn.utils.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "a result kept": lambda layer: setattr(layer, "_cache", {"last": [layer.weight * 2]}),
    "a lock": lambda layer: setattr(layer, "lock", threading.Lock()),
}


@pytest.mark.parametrize("name", DRESS)
def test_a_teacher_that_cannot_be_copied_teaches_what_it_says(name: str) -> None:
    teacher = plain(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        DRESS[name](teacher[3])
    teacher(torch.randn(4, 1, 8, 8)).sum().backward()
    before, modes = bits(teacher), [m.training for m in teacher.modules()]
    # "cpu:0" says no more than "cpu", as "cuda" says no more than "cuda:0"
    loop = Loop([(wrn(), KD())], teacher, FEW, STEPS, seed=0, device="cpu:0" if name == "a lock" else "cpu")
    assert isinstance(loop.teacher, Teacher) and loop.teacher.borrowed == (name == "a lock")
    batch = loop.stream.batch(0)
    teacher_output = loop.teacher(batch, 0).logits
    with mode(teacher, False), torch.no_grad():
        assert torch.allclose(teacher_output, teacher(batch.images), atol=1e-5)
    list(loop)
    assert same(before, bits(teacher)) and modes == [m.training for m in teacher.modules()]
    assert all(p.requires_grad for p in teacher.parameters() if p.is_leaf)


class Drawing(nn.Module):
    """Draws in evaluation mode too: as torch does, or whole layers away by numpy or Python, as home-made stochastic depth does."""

    def __init__(self, kind: str = "torch", seed: int = 5) -> None:
        super().__init__()
        self.net, self.kind = wrn(seed), kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "torch":
            return self.net(F.dropout(x, 0.3))
        return self.net(x) * (np.random.rand() if self.kind == "numpy" else random.random())


class Adapted(KD):
    """A term of one's own whose adapter is drawn from the global generator."""

    def setup(self, ctx: Any) -> None:
        self.adapter = nn.Linear(10, 10)

    def forward(self, student: Any, teacher: Any, batch: Any) -> Tensor:
        return super().forward(type(student)(self.adapter(student.logits)), teacher, batch)


@pytest.mark.parametrize("kind", ["torch", "numpy", "python", "train", "term"])
def test_whatever_draws_draws_from_a_named_stream(kind: str) -> None:
    found = []
    for outside in (0, 1):
        torch.manual_seed(outside), np.random.seed(outside), random.seed(outside)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[union-attr]
        student, teacher = wrn(), wrn(5, dropout=0.3) if kind in ("train", "term") else Drawing(kind)
        recipe = STEPS.model_copy(update={"teacher_mode": "train" if kind == "train" else "eval"})
        method: KD = Adapted() if kind == "term" else KD()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says is not remembered
            found.append(fit(student, teacher, method, FEW, recipe, seed=0, quiet=True, evaluate={"test": TEST}).losses)
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[union-attr]
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["torch", "numpy", "python"])
def test_an_evaluation_draws_from_a_stream_of_its_own(kind: str) -> None:
    net, state = Drawing(kind), torch.get_rng_state()
    assert rd.evaluate(net, TEST, teacher=wrn()) == rd.evaluate(net, TEST, teacher=wrn())
    assert torch.equal(state, torch.get_rng_state())


def test_a_teacher_that_says_nan_is_named() -> None:
    bad = True

    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = wrn(5)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) / (not bad)

    with pytest.raises(RedistillError, match="the teacher Bad gives NaN or infinite logits for 65 of 65 images"):
        rd.fit_cohort([(wrn(), CE() + KD())], Bad(), FEW, STEPS, seed=0)

    # one that is right when it is looked at before the first step, and not afterwards
    bad = False
    loop = Loop([(wrn(), CE() + KD())], Bad(), FEW, STEPS, seed=0)
    bad = True
    for _ in loop:
        pass
    (result,) = loop.results()
    assert result.diverged is not None and "logits of the teacher Bad are not finite at step 0" in result.diverged
    assert "lower the rate" not in str(result.diverged)
    teacher = wrn(1)
    with torch.no_grad():
        next(teacher.parameters())[0] = float("nan")
    with pytest.raises(RedistillError, match="has weights that are no numbers"):
        fit(wrn(), teacher, KD(), FEW, STEPS, seed=0)


# -- ends -------------------------------------------------------------------------------------------------------------
RUINS: dict[str, Any] = {"lr": 1e38, "weight_decay": 1e6}
MADE = rd.sources.Adversarial(rd.models.generator(seed=0, z=4, channels=1, image_size=8), "digits", rd.sources.Variant(n_S=1), blocks=1)


@pytest.mark.parametrize(
    ("source", "recipe"),
    [
        (FEW, Recipe(steps=1, batch_size=32, **RUINS)),
        (FEW, Recipe(epochs=1, batch_size=65, **RUINS)),
        (TRAIN.first_per_class(2), Recipe(epochs=1, batch_size=65, **RUINS)),
        (MADE, Recipe(steps=1, batch_size=8, **RUINS)),
    ],
    ids=["steps", "epochs", "few", "made"],
)
def test_a_last_step_that_ruins_the_weights_has_diverged(source: Any, recipe: Recipe) -> None:
    result = rd.fit_cohort([(wrn(), KD())], wrn(1), source, recipe, seed=0, evaluate={"test": TEST}, quiet=True)[0]
    assert result.diverged is not None and "is not finite after step 1 of 1" in result.diverged and not result.accuracy
    with pytest.raises(rd.Diverged, match="is not finite after step 1 of 1"):
        rd.fit(wrn(), wrn(1), KD(), source, recipe, seed=0, quiet=True)


def test_of_a_cohort_only_the_student_whose_last_step_ruined_it_has_diverged() -> None:
    recipe = Recipe(steps=1, batch_size=32, lr=10.0)
    ruined, whole = rd.fit_cohort([(wrn(), 1e38 * CE()), (wrn(), CE())], None, FEW, recipe, seed=0, evaluate={"test": TEST}, quiet=True)
    assert ruined.diverged is not None and not ruined.accuracy
    assert whole.diverged is None and whole.accuracy["test"].curve


def test_a_term_whose_parameters_are_ruined_by_the_last_step_has_diverged() -> None:
    class Ruined(KD):
        def setup(self, ctx: Any) -> None:
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, student: Any, teacher: Any, batch: Any) -> Tensor:
            return super().forward(student, teacher, batch) + 1e30 * (self.scale - 1)  # 0, whose gradient is beyond fp32 when squared

    recipe = Recipe(steps=1, batch_size=32, lr=1e10)
    result = rd.fit_cohort([(wrn(), 1e-9 * Ruined())], wrn(1), FEW, recipe.model_copy(update={"optimizer": "sgd"}), seed=0, quiet=True)[0]
    assert result.diverged is None  # 1e31 is a number yet
    result = rd.fit_cohort([(wrn(), 1e-9 * Ruined())], wrn(1), FEW, recipe.model_copy(update={"lr": 1e20}), seed=0, quiet=True)[0]
    assert result.diverged is not None and "scale of the method is not finite after step 1 of 1" in result.diverged


def test_logits_that_are_no_numbers_have_no_accuracy() -> None:
    net = wrn()
    with torch.no_grad():
        list(net.parameters())[-1][0] = float("inf")
    with pytest.raises(RedistillError, match="gives NaN or infinite logits for 450 of 450 images, so an accuracy cannot be told"):
        rd.accuracy(net, TEST)


@pytest.mark.parametrize("term", [Review(), VID(regressor="norm", at=[("pooled", "pooled")])])
def test_a_last_batch_of_one_is_found_before_the_first_step(term: Any) -> None:
    few, student = TRAIN.fraction(33 / len(TRAIN), seed=0), wrn()
    before = bits(student)
    message = r"(of 33 images in batches of 32 one batch has|a batch of this run holds) one image.*choose another batch_size, or drop_last"
    with pytest.raises(RedistillError, match=message):
        Loop([(student, CE() + term)], wrn(1), few, Recipe(epochs=1, batch_size=32), seed=0)
    assert same(before, bits(student))
    fit(student, wrn(1), CE() + term, few, Recipe(epochs=1, batch_size=32, drop_last=True), seed=0)
    fit(wrn(), wrn(1), CE() + KD(), few, Recipe(epochs=1, batch_size=32), seed=0)


class Counting(nn.Module):
    """A buffer that no state dict holds, and a plain number that its forward changes."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls = wrn(), 0
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.seen += 0.1
        return self.net(x) * (1 + 0.1 * self.calls + self.seen)


def test_looks_before_the_first_step_leave_what_a_network_counts() -> None:
    """Its places, what it gives for one image, the size of its work."""
    few, student = TRAIN.fraction(33 / len(TRAIN), seed=0), Counting()
    loop = Loop([(student, CE())], None, few, Recipe(epochs=1, batch_size=32), seed=0)
    assert loop.smallest == 1 and (student.calls, float(student.seen)) == (0, 0.0)
    assert work_of(student.train(), (1, 8, 8)) is not None and (student.calls, float(student.seen)) == (0, 0.0)


def test_what_no_state_dict_holds_is_saved_too() -> None:
    whole = Counting()
    list(Loop([(whole, CE())], None, FEW, STEPS, seed=0))
    first = Loop([(Counting(), CE())], None, FEW, STEPS, seed=0)
    next(first)
    saved, again = copy.deepcopy(first.state()), Counting()
    second = Loop([(again, CE())], None, FEW, STEPS, seed=0)
    second.load_state(saved)
    list(second)
    assert same(bits(whole), bits(again)) and (whole.calls, float(whole.seen)) == (again.calls, float(again.seen))


def test_rows_give_the_losses_step_by_step() -> None:
    loop = Loop([(wrn(), 2.0 * CE() + KD())], wrn(1), FEW, Recipe(epochs=2, batch_size=32, clip=1.0), seed=0)
    own, seen = loop.students[0], []
    for progress in loop:
        rows = own.rows(progress.step - 1)
        assert rows.norms is not None and len(rows.losses) == len(rows.totals) == len(rows.norms) == 1
        assert rows.totals[0] == 2.0 * float(rows.losses[0, 0]) + float(rows.losses[0, 1])
        seen.append(rows.losses[0])
        if progress.step == 3:
            assert torch.equal(own.rows(0).losses, torch.stack(seen))
    assert torch.stack(seen[:3]).mean(0).tolist() == pytest.approx(own.losses[0])
    with pytest.raises(RedistillError, match="the losses of step 0 are not kept"):
        own.rows(0)
