"""Switches of recipe and source that engineers use: each beside a loop by hand, each interrupted and gone on with, each replayed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import redistill as rd
from helpers.bits import bits, same
from helpers.standing_in import Again
from redistill import rng
from redistill.core import RedistillError
from redistill.recipe import Cosine, Recipe
from redistill.runs import checkpoint
from redistill.testing.resume import first_difference, watched
from redistill.train.loop import Loop
from redistill.train.remembered import variants_of
from redistill.train.trial import NotRemembered


def noise(count: int = 44, augment: str = "crop-flip", seed: int = 0) -> rd.data.Images:
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    x = torch.randint(0, 120, (count, 3, 8, 8), generator=g, dtype=torch.uint8) + (30 * y).to(torch.uint8)[:, None, None, None]
    return rd.data.Images(x, y, 4, "noise", "half", augment)


def net(width: int = 1, seed: int = 0, norm: bool = True) -> nn.Module:
    c = 4 * width
    with rng.seeded(seed, "init", width):
        return nn.Sequential(
            nn.Conv2d(3, c, 3, padding=1), nn.BatchNorm2d(c) if norm else nn.Identity(), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(4 * c, 4),
        )  # fmt: skip


ADAMW = {"optimizer": "adamw", "lr": 0.005, "weight_decay": 0.05, "schedule": Cosine(), "per": "step", "warmup": 1.0, "no_decay": ("norm",)}
RECIPES: dict[str, dict[str, Any]] = {
    "adamw, cosine, warm-up": ADAMW,
    "an average": {**ADAMW, "ema": 0.9},
    "in parts": {"lr": 0.05, "accumulate": 3},
    "patience": {**ADAMW, "patience": 1},
    "all": {**ADAMW, "ema": 0.9, "accumulate": 2, "patience": 2, "clip": 1.0},
}
AUGMENTS = ("resized-crop:0.5", "crop-flip:2+colour-jitter:0.4,0.4,0.4,0.1", "flip+randaugment:2,9", "crop-flip+mixup", "cutmix",
            "resized-crop+randaugment+mixup:1+cutmix")  # fmt: skip
WAYS = [("crop-flip", name) for name in RECIPES] + [(augment, "adamw, cosine, warm-up") for augment in AUGMENTS] + [(AUGMENTS[-1], "all")]


def loop(augment: str, recipe: str, replay: Any = True, epochs: int = 4) -> Loop:
    train, held = noise().held_out(12, seed=0)
    method = rd.CE(0.1, class_weights="balanced") + rd.KD() if recipe == "all" else 0.5 * rd.CE() + rd.KD()
    made = Recipe(epochs=epochs, batch_size=12, **RECIPES[recipe])
    return Loop(
        [(net(), method)], net(2, 1), train.with_(augment=augment), made, seed=3, evaluate={"held_out": held, "test": noise(20, seed=1)},
        device="cpu", replay=replay,
    )  # fmt: skip


def drained(made: Loop) -> Loop:
    for _ in made:
        pass
    return made


@pytest.mark.parametrize(("augment", "recipe"), WAYS)
def test_interrupted_and_gone_on_with_a_run_is_the_same(augment: str, recipe: str, tmp_path: Path) -> None:
    whole = drained(watched(loop(augment, recipe)))
    for at in (1, 5, whole.step - 1):  # in the first epoch, after a better evaluation, before the last step
        first = loop(augment, recipe)
        for _ in range(at):
            next(first)
        checkpoint.save(tmp_path, first.state(), {})
        second = watched(loop(augment, recipe))
        second.load_state(checkpoint.load(tmp_path / checkpoint.NAME)[0])
        assert first_difference(whole, drained(second)) is None
    assert whole.results()[0].accuracy == second.results()[0].accuracy


@pytest.mark.parametrize(("augment", "recipe"), WAYS)
def test_replayed_steps_are_the_ordinary_ones(augment: str, recipe: str) -> None:
    again = Again()
    ordinary, replayed = drained(loop(augment, recipe, epochs=6)), drained(loop(augment, recipe, again, epochs=6))
    assert ordinary.students[0].losses == replayed.students[0].losses and ordinary.students[0].curves == replayed.students[0].curves
    assert same(bits(ordinary.students[0].net), bits(replayed.students[0].net))
    assert again.replayed > 0 and replayed.replays is not None and replayed.replays.replayed.reason is None


# -- one by one ---------------------------------------------------------------------------------------------------------
def test_a_batch_in_parts_is_the_batch() -> None:
    """In double precision, without batch statistics: CE, KD and the gradient's norm are means over images."""
    results = {}
    for parts in (1, 2, 5, 12):
        student = net(norm=False)
        recipe = Recipe(epochs=2, batch_size=12, lr=0.1, precision="double", accumulate=parts, clip=1.0)
        result = rd.fit(student, net(2, 1), 0.3 * rd.CE() + rd.KD(), noise(), recipe, seed=0, device="cpu", quiet=True)
        results[parts] = (bits(student), result)
    for parts in (2, 5, 12):
        for name, value in results[1][0].items():
            assert torch.allclose(value, results[parts][0][name], rtol=1e-10, atol=1e-12), (parts, name)
        for name, losses in results[1][1].losses.items():
            assert losses == pytest.approx(results[parts][1].losses[name], rel=1e-10)
        assert results[1][1].gradient_norms == pytest.approx(results[parts][1].gradient_norms, rel=1e-9)
    assert not same(results[1][0], results[5][0])


def test_the_teacher_is_asked_once_for_a_batch_in_parts() -> None:
    teacher, asked = net(2, 1), 0
    made = Loop([(net(), rd.KD())], teacher, noise(), Recipe(steps=2, batch_size=12, accumulate=4), seed=0, device="cpu")
    assert made.teacher is not None
    say = made.teacher.live

    def counted(images: Tensor) -> Any:
        nonlocal asked
        asked += 1
        return say(images)

    made.teacher.live = counted  # type: ignore[method-assign]
    drained(made)
    assert asked == 2


def test_the_average_is_the_formula_and_is_what_is_evaluated_and_kept() -> None:
    train, test = noise(), noise(20, seed=1)
    plain, averaged = net(), net()
    recipe = Recipe(steps=9, batch_size=12, lr=0.1)
    raw = Loop([(plain, rd.CE())], None, train, recipe, seed=0, device="cpu")
    expected = {name: value.clone() for name, value in plain.state_dict().items()}
    for progress in raw:
        n = progress.step
        keep = min(0.8, (1 + n) / (10 + n))
        for name, value in plain.state_dict().items():
            if value.is_floating_point():
                expected[name] = keep * expected[name] + (1 - keep) * value
            else:
                expected[name] = value.clone()
    made = Loop([(averaged, rd.CE())], None, train, recipe.model_copy(update={"ema": 0.8}), seed=0, evaluate={"test": test}, every=1,
                device="cpu")  # fmt: skip
    for progress in made:
        if progress.step == 4:  # after an evaluation of the average the student itself trains on
            assert len(made.students[0].curves["test"]) == 1 and made.students[0].kept is None
    for name, value in averaged.state_dict().items():
        assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-7), name
    (result,) = made.results()
    assert result.kept is not None and result.kept.average == 0.8 and result.kept.why == "the average (decay 0.8) of the weights"
    assert result.accuracy["test"].last == rd.accuracy(averaged, test)
    assert (1 + 9) / (10 + 9) < 0.8 and not same(bits(plain), bits(averaged))
    assert made.students[0].losses == raw.students[0].losses


class Scripted:
    """Accuracies of the held-out part as they are wanted."""

    def __init__(self, values: list[float]):
        self.values, self.asked = values, 0

    def __call__(self, view: Any, images: Any, **more: Any) -> float:
        if images.name == "held":
            self.asked += 1
            return self.values[self.asked - 1]
        return 50.0 + self.asked


@pytest.mark.parametrize(
    ("values", "stops", "kept"),
    [([10, 30, 20, 30, 90, 90], 4, 2), ([10, 20, 30, 40, 50, 60], 6, 6), ([10, 30, 20, 40, 40, 40], 6, 4), ([50, 1, 2, 90, 90, 90], 3, 1)],
)
def test_patience_stops_by_the_held_out_part_and_keeps_its_best(
    values: list[float], stops: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redistill.train import loop as module

    held = replace(noise(20, seed=2), name="held")
    monkeypatch.setattr(module, "accuracy", Scripted(values))
    student = net()
    recipe = Recipe(epochs=6, batch_size=11, lr=0.05, patience=2)
    made = Loop([(student, rd.CE())], None, noise(), recipe, seed=0, evaluate={"held_out": held, "test": noise(8)}, every=1, device="cpu")
    states = {}
    for progress in made:
        states[progress.step] = {name: value.clone() for name, value in student.state_dict().items()}
    (result,) = made.results()
    assert result.steps == 4 * stops and len(result.accuracy["held_out"].curve) == stops
    assert result.kept is not None and result.kept.step == 4 * kept and result.kept.average is None
    assert ("stopped after 2 evaluations" in result.kept.why) is (stops < 6 or kept == 4)
    assert result.accuracy["held_out"].last == values[kept - 1] and result.accuracy["test"].last == 50.0 + kept
    # the last state that was seen is that after it had settled; the one of the best step before
    assert same(bits(student), states[4 * kept] if kept < stops else bits(student))


def test_in_a_cohort_each_stops_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from redistill.train import loop as module

    asked = [0]

    def bent(view: Any, images: Any, **more: Any) -> float:
        """Better from time to time for one student, worse for the other."""
        asked[0] += 1
        return 50.0 + (asked[0] if view.net.rises else -asked[0])

    monkeypatch.setattr(module, "accuracy", bent)
    train, held = noise().held_out(12, seed=0)
    recipe = Recipe(epochs=5, batch_size=8, lr=0.0001, patience=2)

    def student(rises: bool) -> nn.Module:
        made = net()
        made.rises = rises  # type: ignore[assignment]
        return made

    methods = {True: rd.Method.of(rd.CE()), False: 0.1 * rd.CE() + rd.KD()}
    together = [(student(rises), method) for rises, method in methods.items()]
    results = rd.fit_cohort(together, net(2, 1), train, recipe, seed=0, evaluate={"held_out": held}, device="cpu", quiet=True)
    assert [result.steps for result in results] == [20, 12]
    assert [result.kept.step for result in results] == [20, 4]  # type: ignore[union-attr]
    for (mine, method), result in zip(together, results, strict=True):
        alone = student(bool(mine.rises))
        asked[0] = 0
        one = rd.fit(alone, net(2, 1), method, train, recipe, seed=0, evaluate={"held_out": held}, device="cpu", quiet=True)
        assert (one.steps, one.kept.step) == (result.steps, result.kept.step)  # type: ignore[union-attr]
        assert one.losses == result.losses and same(bits(alone), bits(mine))


def test_a_run_that_stopped_early_is_only_read_when_it_is_asked_for_again(tmp_path: Path) -> None:
    train, held = noise().held_out(12, seed=0)

    def asked() -> tuple[nn.Module, Any]:
        student = net()
        recipe = Recipe(epochs=30, batch_size=8, lr=0.02, patience=1, ema=0.5)
        return student, rd.fit(
            student, None, rd.CE(), train, recipe, seed=0, evaluate={"held_out": held}, device="cpu", out=tmp_path / "run", quiet=True
        )

    (one, first), (two, second) = asked(), asked()
    assert first.steps < 30 * 4 and same(bits(one), bits(two))
    assert first.accuracy == second.accuracy and first.kept == second.kept and second.seconds == first.seconds


def test_class_weights_weigh_rare_classes_in_a_run() -> None:
    y = torch.tensor([0] * 30 + [1] * 6)
    x = torch.randint(0, 255, (36, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = rd.data.Images(x, y, 2, "rare", "half")
    losses = {}
    for weights in ("none", "balanced"):
        with rng.seeded(0, "init"):
            student = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        before = copy.deepcopy(student)
        recipe = Recipe(steps=1, batch_size=36, lr=0.1)
        term = rd.CE(class_weights=weights)  # type: ignore[arg-type]
        losses[weights] = rd.fit(student, None, term, images, recipe, seed=0, device="cpu", quiet=True).losses["CE"][0]
        w = None if weights == "none" else torch.tensor([36 / 60, 36 / 12])
        assert losses[weights] == pytest.approx(F.cross_entropy(before(images.normalised()), y, weight=w).item(), rel=1e-5)


# -- what is refused, and what is not remembered ---------------------------------------------------------------------------
def test_what_no_image_shows_twice_is_not_remembered() -> None:
    assert variants_of(noise()) == 162
    for augment in AUGMENTS:
        with pytest.raises(NotRemembered, match="shows no image twice in the same way"):
            variants_of(noise(augment=augment))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"patience": 3}, "patience=3 stops by the accuracy on a held-out part of the training images, and there is none"),
        ({"accumulate": 2, "augment": "crop-flip+strong"}, "accumulate > 1 would part the two views of a batch"),
    ],
)
def test_runs_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    augment = settings.pop("augment", "none")
    with pytest.raises(RedistillError, match=says):
        rd.fit(net(), None, rd.CE(), noise(augment=augment), Recipe(epochs=1, batch_size=8, **settings), seed=0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ema": 1.0}, "Recipe: ema=1.0"),
        ({"ema": True}, "must be a number, not true or false"),
        ({"patience": 0}, "Recipe: patience=0"),
        ({"accumulate": 9}, "accumulate=9 parts of a batch of 8: a part needs an image"),
        ({"accumulate": 0}, "Recipe: accumulate=0"),
    ],
)
def test_recipes_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        Recipe(epochs=1, batch_size=8, **settings)


def test_switches_that_are_off_are_not_written() -> None:
    written = Recipe(epochs=1).settings()
    assert not {"ema", "patience", "accumulate"} & written.keys()
    assert Recipe(epochs=1, ema=0.99, patience=2, accumulate=4).settings().items() >= {"ema": 0.99, "patience": 2, "accumulate": 4}.items()
