"""Schedules against PyTorch's own schedulers and against the published off-by-one forms, written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
import torch

from redistill.errors import RedistillError
from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step


def torch_rates(make: Callable[[Any], Any], lr: float, n: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def per_epoch(recipe: Recipe) -> list[float]:
    return recipe.rates(3)[::3]


SCHEDULERS = torch.optim.lr_scheduler


def test_schedules_equal_torch() -> None:
    pairs = [
        (Recipe(epochs=30, lr=0.1, schedule=Step(every=7, gamma=0.5)), lambda o: SCHEDULERS.StepLR(o, 7, 0.5)),
        (Recipe(epochs=30, lr=0.1, schedule=MultiStep(at=(9, 18, 24), gamma=0.2)),
         lambda o: SCHEDULERS.MultiStepLR(o, [9, 18, 24], 0.2)),
        (Recipe(epochs=30, lr=0.1, schedule=Cosine(eta_min=0.001)), lambda o: SCHEDULERS.CosineAnnealingLR(o, 30, 0.001)),
        (Recipe(epochs=30, lr=0.1, schedule=Cosine(T_max=20)), lambda o: SCHEDULERS.CosineAnnealingLR(o, 20)),
        (Recipe(epochs=30, lr=0.1, schedule=Cosine(T_max=4, T_mult=2, restarts=True, eta_min=0.01)),
         lambda o: SCHEDULERS.CosineAnnealingWarmRestarts(o, 4, 2, eta_min=0.01)),
        (Recipe(epochs=30, lr=0.1), lambda o: SCHEDULERS.LambdaLR(o, lambda e: 1.0)),
    ]
    for recipe, make in pairs:
        assert per_epoch(recipe) == pytest.approx(torch_rates(make, 0.1, 30), rel=1e-12, abs=1e-15)


def test_cosine_per_step() -> None:
    recipe = Recipe(steps=50, lr=0.002, optimizer="adam", per="step", schedule=Cosine(unit="step"))
    want = [0.002 * (1 + math.cos(math.pi * s / 50)) / 2 for s in range(50)]
    assert recipe.rates(7) == pytest.approx(want, rel=1e-12)


def test_published_off_by_one_forms() -> None:
    drops = lambda r: [e for e in range(1, 240) if r.rates(1)[e] != r.rates(1)[e - 1]]  # noqa: E731
    # RepDistiller counts epochs from 1 and ReviewKD from 0, both first use the new rate in 0-based epoch 150 / 151
    assert drops(Recipe(epochs=240, schedule=MultiStep(at=(150, 180, 210)))) == [150, 180, 210]
    assert drops(Recipe(epochs=240, schedule=MultiStep(at=(150, 180, 210), late=1))) == [151, 181, 211]


def test_fractions_are_exact() -> None:
    drops = [s for s in range(1, 600) if (r := Recipe(
        steps=600, per="step", schedule=MultiStep(at=(0.6, 0.8), unit="fraction")).rates(10))[s] != r[s - 1]]
    assert drops == [360, 480]
    r = Recipe(epochs=200, schedule=MultiStep(at=(0.3, 0.6, 0.8), unit="fraction", gamma=0.2)).rates(1)
    assert [e for e in range(1, 200) if r[e] != r[e - 1]] == [60, 120, 160]


def test_warmup_rises_linearly_then_hands_over() -> None:
    rates = Recipe(epochs=10, lr=0.4, warmup=2, per="step", schedule=Cosine()).rates(4)
    assert rates[:8] == pytest.approx([0.05 * (i + 1) for i in range(8)])
    assert rates[8] == pytest.approx(0.4) and rates[-1] > 0
    assert rates[8:] == sorted(rates[8:], reverse=True)


def test_momentum_resets_at_each_drop() -> None:
    schedule = MultiStep(at=(2, 4), reset_momentum=True)
    assert Recipe(epochs=6, schedule=schedule).momentum_resets(3) == {6, 12}
    assert Recipe(epochs=6, schedule=MultiStep(at=(2, 4))).momentum_resets(3) == set()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give the length once"),
        ({"epochs": 3, "steps": 5}, "give the length once"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epochs": 3, "lr": float("nan")}, "finite number"),
        ({"epochs": 3, "learning_rate": 0.1}, "Recipe: unknown setting 'learning_rate': here it is called lr"),
        ({"epochs": 3, "schedule": MultiStep(at=(1,)), "optimizer": "adam", "nesterov": True}, "nesterov needs"),
        ({"epochs": 3, "compile": True}, "allowed with precision='fast' only"),
        ({"epochs": 3, "schedule": {"kind": "cosin"}}, "must be 'constant', 'step', 'multistep', 'cosine'"),
        ({"epochs": 3, "schedule": {"kind": "multistep", "at": [5, 3]}}, "milestones must rise"),
        ({"epochs": 3, "schedule": {"kind": "multistep", "at": [5, 30], "unit": "fraction"}}, "between 0 and 1"),
    ],
)
def test_impossible_recipes_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        Recipe(**given)


def test_settings_round_trip() -> None:
    recipe = Recipe(epochs=5, schedule=Cosine(eta_min=0.01), no_decay=("bias",))
    assert Recipe.model_validate(recipe.settings()) == recipe
    assert Constant().factor(1, 2) == 1.0


def test_a_switch_that_came_later_is_written_only_where_it_is_used() -> None:
    assert "clip_per" not in Recipe(epochs=1, clip=5.0).settings()
    whole = Recipe(epochs=1, clip=5.0, clip_per="tensor")
    assert whole.settings()["clip_per"] == "tensor" and Recipe.model_validate(whole.settings()) == whole
    with pytest.raises(ValueError, match="clip names no norm: add clip"):
        Recipe(epochs=1, clip_per="tensor")
# ---------------------------------------------------------------------------------------------------------------------
# Long runs
# ---------------------------------------------------------------------------------------------------------------------
def test_a_long_schedule_asks_for_no_memory() -> None:
    recipe = Recipe(steps=10**9, lr=1.0, schedule=MultiStep(at=(0.5,), unit="fraction", reset_momentum=True), per="step")
    rates = recipe.rates(1000)
    assert len(rates) == 10**9 and (rates[0], rates[-1]) == (1.0, 0.1)
    assert rates[:: 5 * 10**8] == [1.0, 0.1]
    assert recipe.momentum_resets(1000) == {5 * 10**8}


def test_momentum_resets_are_where_the_rate_drops() -> None:
    """Found by halving; here against the walk over every step. A rate that rises in a warm-up is no drop."""
    for recipe in (
        Recipe(epochs=30, schedule=MultiStep(at=(4, 9.5, 20), reset_momentum=True)),
        Recipe(epochs=30, warmup=3, schedule=MultiStep(at=(2, 10, 29), reset_momentum=True, late=1)),
        Recipe(
            steps=100,
            warmup=7.5,
            warmup_unit="step",
            per="step",
            schedule=MultiStep(at=(0.2, 0.21), unit="fraction", reset_momentum=True),
        ),
        Recipe(steps=3, warmup=50, warmup_unit="step", schedule=MultiStep(at=(1,), reset_momentum=True)),
        Recipe(steps=1, schedule=MultiStep(at=(1,), reset_momentum=True)),
    ):
        rates = list(recipe.rates(5))
        assert recipe.momentum_resets(5) == {s for s in range(1, len(rates)) if rates[s] < rates[s - 1]}


def test_momentum_resets_at_milestones_that_leave_the_rate() -> None:
    assert Recipe(epochs=6, schedule=MultiStep(at=(2, 4), gamma=1.0, reset_momentum=True)).momentum_resets(3) == {6, 12}


def test_periods_of_parts_of_an_epoch_are_passed_where_they_end() -> None:
    drops = Recipe(epochs=3, per="step", schedule=Step(every=0.1, gamma=0.9)).rates(10)
    assert list(drops) == pytest.approx([0.1 * 0.9**step for step in range(30)])
    again = Recipe(epochs=3, per="step", schedule=Cosine(T_max=0.1, restarts=True)).rates(10)
    assert list(again) == pytest.approx([0.1] * 30)
    assert Recipe(epochs=3, schedule=Step(every=0.1)).numerics() == {"recipe:parts": 2}
    assert Recipe(epochs=3, schedule=Step(every=30.0)).numerics() == Recipe(epochs=3, schedule=Cosine(T_max=0.5)).numerics() == {}


def test_a_recipe_whose_resets_were_others_once_says_so_in_its_identity() -> None:
    plain, reset = MultiStep(at=(2,)), MultiStep(at=(2,), reset_momentum=True)
    assert Recipe(epochs=3, warmup=1, schedule=plain).numerics() == Recipe(epochs=3, schedule=reset).numerics() == {}
    assert Recipe(epochs=3, warmup=1, schedule=reset).numerics() == {"recipe:resets": 2}


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"epochs": 10**8}, "epochs=100000000: of 100 steps each they make 10,000,000,000, more than the 1,000,000,000"),
        ({"epochs": 100, "schedule": Cosine(T_max=1e-9, restarts=True)}, "restart more than 10,000 times in this run"),
        ({"epochs": 100, "schedule": Cosine(T_max=1e-9, restarts=True, T_mult=1.0000001)}, "restart more than 10,000 times"),
        ({"epochs": 100, "schedule": Step(every=1e-3, gamma=3.0)}, "the learning rate at the end of the run is no number"),
        ({"epochs": 100, "schedule": MultiStep(at=(1, 2), gamma=1e200)}, "the learning rate at the end of the run is"),
    ],
)
def test_a_schedule_without_an_end_is_refused_before_the_run(recipe: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        Recipe(**recipe).rates(100)


def test_a_value_made_by_hand_says_one_sentence() -> None:
    with pytest.raises(RedistillError) as caught:
        Recipe(epochs=3, lr=-1, learning_rate=4)  # type: ignore[call-arg]
    assert str(caught.value) == (
        "Recipe: lr=-1 input should be greater than or equal to 0; Recipe: unknown setting 'learning_rate': here it is called lr"
    )
    with pytest.raises(RedistillError, match=r"^Recipe: batch_size=True must be a number, not true or false$"):
        Recipe(epochs=3, batch_size=True)
    with pytest.raises(RedistillError, match=r"^Cosine: T_max=-1 input should be greater than 0$"):
        Cosine(T_max=-1)
    with pytest.raises(pydantic.ValidationError):  # whoever collects the mistakes of a file gets them one by one
        Recipe.model_validate({"epochs": 3, "lr": -1})
