"""Two stages: the student goes from run to run, and with it what a term has learned (factor transfer's paraphraser)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import redistill as rd
from redistill import data, models
from redistill.core import RedistillError
from redistill.experiment.value import Experiment
from redistill.launch.cohort import CohortRun
from redistill.launch.materials import method_of
from redistill.launch.stop import Interrupted, Stop
from redistill.runs.compare import differences
from redistill.runs.store import Store
from redistill.terms import FT

RECIPE = {"steps": 3, "batch_size": 4, "lr": 0.05, "weight_decay": 0.1}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    file = tmp_path / "teacher.safetensors"
    models.save(models.wrn(10, 2, 3, image_size=8, seed=3), file, normalisation="half")
    return file


@pytest.fixture
def images(tmp_path: Path) -> str:
    x = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", x=x, y=np.arange(12) % 3)
    return f"arrays:{tmp_path / 'few.npz'}"


def experiment(teacher: Path, images: str, method: list[dict[str, Any]], **sections: Any) -> Experiment:
    settings = {
        "teacher": {"from": str(teacher)},
        "student": {"model": "wrn-10-1"},
        "method": method,
        "source": {"data": images, "normalise": "half", "augment": "none"},
        **sections,
        "recipe": {**RECIPE, **sections.get("recipe", {})},
    }
    return Experiment.of(settings, device="cpu", trust_code=False)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_paraphraser_goes_from_the_first_stage_to_the_second(tmp_path: Path, teacher: Path, images: str) -> None:
    store = Store(tmp_path / "runs")
    first = experiment(teacher, images, [{"use": "FT", "learns": "paraphraser"}], recipe={"student_mode": "eval"})
    run = first.run(store.root)
    fresh = models.build("wrn-10-1", 3, image_size=8, seed=first.seed)
    assert equal(run.network().state_dict(), fresh.state_dict()), "the first stage leaves the student as it was, to the bit"
    trained = run.kept("learned")
    assert {key.split(".")[1] for key in trained} == {"paraphraser"}

    settings = first.written()
    then = experiment(teacher, images, [{"use": "CE"}, {"use": "FT", "weight": 200, "learns": "translator"}], student={"run": settings})
    assert method_of(first, store)._before is None and method_of(then, store)._before is not None
    second = then.run(store.root)
    assert equal(trained, second.kept("learned")), "and the second leaves the paraphraser as it came"
    shorter = experiment(teacher, images, [{"use": "FT", "learns": "paraphraser"}], recipe={"student_mode": "eval", "steps": 1})
    assert not equal(trained, shorter.run(store.root).kept("learned")), "which was trained"
    losses = second.curves()["losses"]["FT"]
    assert losses and all(value > 0 for value in losses)


def test_a_second_stage_goes_on_where_the_first_was_kept_without_its_weights(tmp_path: Path, teacher: Path, images: str) -> None:
    first = experiment(teacher, images, [{"use": "FitNet", "at": ["stage2"]}], recipe={"lr": 0.01})
    then = experiment(
        teacher, images, [{"use": "KD"}], student={"run": first.written()},
        source={"data": images, "normalise": "cifar10", "augment": "none"},
    )  # fmt: skip
    whole, moved = Store(tmp_path / "whole"), Store(tmp_path / "moved")
    first.run(whole.root)
    shutil.copytree(whole.root, moved.root)
    expected = then.run(whole.root)
    assert expected.record["start"]["sha256"] == first.run(whole.root).record["files"]["weights.safetensors"]

    stop = Stop()
    work = CohortRun((then,), moved, stop=stop)
    assert work.take()
    with pytest.raises(Interrupted):
        for _ in work:
            stop.deadline = 0.0
    work.release()
    gone = moved.folder(first) / "weights.safetensors"
    gone.unlink()
    resumed = then.run(moved.root)
    assert len(resumed.record["sessions"]) == 2 and [one for one in differences(expected, resumed) if one.matters] == []
    assert resumed.record["start"] == expected.record["start"]
    assert resumed.weights().read_bytes() == expected.weights().read_bytes(), "the normalisation in its header too"

    other = experiment(teacher, images, [{"use": "CE"}], student={"run": first.written()})
    with pytest.raises(RedistillError, match=r"weights\.safetensors is gone: the run was kept without its weights .*delete the folder"):
        other.run(moved.root)


def test_in_python_the_method_begins_with_what_a_stage_learned() -> None:
    few = data.Images(torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8), torch.arange(8) % 2, 2, "few", "half", "none")
    net, teaches = models.wrn(10, 1, 2, image_size=8), models.wrn(10, 2, 2, image_size=8, seed=1)
    recipe = rd.Recipe(steps=2, batch_size=4, lr=0.01)
    stage = rd.fit(net, teacher=teaches, method=FT(learns="paraphraser"), source=few, recipe=recipe, seed=0, device="cpu", quiet=True)
    goes_on = rd.CE() + 200 * FT(learns="translator")
    with pytest.raises(RedistillError, match=r"goes on with the paraphraser that a stage before it has trained.*beginning_with"):
        rd.fit(net, teacher=teaches, method=goes_on, source=few, recipe=recipe, seed=0, device="cpu", quiet=True)
    with pytest.raises(RedistillError, match="goes on with the paraphraser of the stage before, and it trained none"):
        rd.fit(net, teacher=teaches, method=goes_on.beginning_with({}), source=few, recipe=recipe, seed=0, device="cpu", quiet=True)
    wide = models.wrn(10, 4, 2, image_size=8)
    with pytest.raises(RedistillError, match="whose sizes are others"):
        method = goes_on.beginning_with(stage.method.learned())
        rd.fit(net, teacher=wide, method=method, source=few, recipe=recipe, seed=0, device="cpu", quiet=True)
    second = goes_on.beginning_with(stage.method.learned())
    whole = rd.fit(net, teacher=teaches, method=second, source=few, recipe=recipe, seed=0, device="cpu", quiet=True)
    assert equal(whole.method.learned(), stage.method.learned())


def test_a_second_stage_without_the_first_is_refused_where_the_file_is_read(teacher: Path, images: str) -> None:
    second = [{"use": "CE"}, {"use": "FT", "learns": "translator"}]
    with pytest.raises(RedistillError, match=r"goes on with the paraphraser of the stage before: let \[student\] run name"):
        experiment(teacher, images, second)
    alone = experiment(teacher, images, [{"use": "CE"}])
    with pytest.raises(RedistillError, match="whose method has FT, which trains it"):
        experiment(teacher, images, second, student={"run": alone.written()})
    with pytest.raises(RedistillError, match="R has weight 1 in the first of two stages"):
        FT(learns="paraphraser", reconstruction=0.5)
    with pytest.raises(RedistillError, match="known are 'both', 'paraphraser' and 'translator'"):
        FT(learns="all")  # type: ignore[arg-type]


def test_what_an_initial_stage_does_not_read_keeps_its_first_weights(teacher: Path, images: str, tmp_path: Path) -> None:
    """AB's stage: no gradient reaches the classifier, and without one there is no weight decay either, as in the published code."""
    run = experiment(teacher, images, [{"use": "AB", "factor": 1.0}]).run(tmp_path / "runs")
    before, after = models.build("wrn-10-1", 3, image_size=8, seed=0), run.network()
    assert torch.equal(before.get_parameter("fc.weight"), after.get_parameter("fc.weight"))
    assert not torch.equal(before.get_parameter("conv1.weight"), after.get_parameter("conv1.weight"))
