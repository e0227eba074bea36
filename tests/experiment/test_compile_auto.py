"""``compile = "auto"`` is decided before an experiment has its id, and stays off where it would not pay back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from redistill import models, precision
from redistill.data import Images
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.recipe import Recipe
from redistill.terms import CE, KD
from redistill.train import loop
from redistill.train.loop import Loop


def experiment(compile: bool | str, epochs: int = 200, precision: str = "fast", **more: Any) -> Experiment:
    return Experiment.of(
        {
            "student": {"model": "wrn-40-2"},
            "method": [{"use": "CE"}],
            "source": {"data": "cifar10", **more},
            "recipe": {"epochs": epochs, "precision": precision, "compile": compile},
        },
        device="cpu",
    )


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_matrix_units", lambda device: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)


def test_long_runs_on_tiles_are_compiled_and_short_ones_are_not(tiles: None) -> None:
    """A step of batch 128 is 126 G multiply-accumulates, and 103 T are the least that pays: three epochs of 391 steps, not two."""
    for epochs, wanted in ((200, True), (3, True), (2, False)):
        auto = experiment("auto", epochs)
        assert auto.recipe.compile is wanted and auto.arithmetic.compile is wanted
        assert auto.id == experiment(wanted, epochs).id  # decided before the id was made: nothing of the word is left
        assert Experiment.of(auto.written(), device="cpu").id == auto.id
    assert experiment("auto", 6, per_class=10).recipe.compile is False
    assert experiment("auto", 2, augment="crop-flip+strong").recipe.compile is True  # two views of every image are twice the work


def test_without_tiles_or_in_strict_precision_it_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert experiment("auto").recipe.compile is False
    assert experiment("auto", precision="strict").recipe.compile is False
    with pytest.raises(RedistillError, match="precision='fast' only"):
        experiment(True, precision="strict")
    with pytest.raises(RedistillError, match="compile"):
        experiment("always")


def test_the_loop_decides_by_the_networks_it_is_given(tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda call: call)
    images = Images(torch.zeros(8, 3, 8, 8, dtype=torch.uint8), torch.arange(8) % 2, 2, "none", "none")
    for steps, wanted in ((10**9, True), (4, False)):
        recipe = Recipe(steps=steps, batch_size=4, precision="fast", compile="auto")
        loop = Loop([(models.wrn(10, 1, classes=2, seed=0), CE())], None, images, recipe, seed=0, device="cpu")
        assert loop.recipe.compile is wanted


def test_what_a_table_would_hold_is_not_counted_again(tiles: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten epochs with a teacher of four times the work: it is asked anew for every crop, and once for an image that is never cropped."""
    file = tmp_path / "teacher.safetensors"
    models.save(models.wrn(40, 2, 10, seed=0), file, normalisation="cifar10-kuangliu")
    for augment, wanted in (("crop-flip", True), ("none", False)):
        one = Experiment.of(
            {
                "teacher": {"model": "wrn-40-2", "from": str(file)}, "student": {"model": "wrn-16-1"}, "method": [{"use": "KD"}],
                "source": {"data": "cifar10", "augment": augment}, "recipe": {"epochs": 10, "precision": "fast", "compile": "auto"},
            },
            device="cpu",
        )  # fmt: skip
        assert one.recipe.compile is wanted

    seen: list[float] = []
    monkeypatch.setattr(loop, "compiling_pays", lambda macs: bool(seen.append(macs)))
    images = Images(torch.arange(8 * 192, dtype=torch.float32).view(8, 3, 8, 8).to(torch.uint8), torch.arange(8) % 2, 2, "noise", "none")
    for cache in (False, tmp_path):
        recipe = Recipe(steps=10, batch_size=4, precision="fast", compile="auto")
        teacher, student = (models.wrn(10, 1, classes=2, seed=seed) for seed in range(2))
        Loop([(student, KD())], teacher, images, recipe, seed=0, device="cpu", cache=cache)
    assert seen[0] / seen[1] == pytest.approx((3 * 40 + 40) / (3 * 40 + 8))
