"""Interrupted anywhere, by anything: the run ends bit-identical to one that was never interrupted."""

from __future__ import annotations

import os
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.experiments import interrupted
from redistill import data, terms
from redistill.core import Method
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.launch.cohort import CohortRun
from redistill.launch.saved import Saved, common_step
from redistill.launch.stop import Interrupted, Stop, seconds
from redistill.metrics import evaluate
from redistill.recipe import Recipe
from redistill.runs import checkpoint
from redistill.runs.compare import difference, differences
from redistill.runs.lookup import elsewhere
from redistill.runs.store import Run, Store
from redistill.terms import CE, KD
from redistill.testing.resume import components, first_difference, watched
from redistill.train.loop import Loop


@pytest.fixture
def place(teacher_file: Path, tmp_path: Path) -> Store:
    shutil.copytree(teacher_file, tmp_path / "runs")
    return Store(tmp_path / "runs")


def whole(ones: tuple[Experiment, ...], root: Path, teacher_file: Path) -> list[Run]:
    shutil.copytree(teacher_file, root)
    work = CohortRun(ones, Store(root))
    assert work.take()
    for _ in work:
        pass
    work.release()
    return work.runs


def resumed(ones: tuple[Experiment, ...], place: Store, at: set[int]) -> list[Run]:
    """Stopped after each of the steps ``at``, which are all before the end."""
    runs = interrupted(ones, place, at)
    assert not at and all(len(run.record["sessions"]) > 1 for run in runs)
    return runs


def assert_same(first: list[Run], second: list[Run]) -> None:
    for a, b in zip(first, second, strict=True):
        assert [d for d in differences(a, b) if d.matters] == []


PLACED = {"student": {"model": "wrn-10-1"}, "source": {"data": "digits", "per_class": 10}}


@pytest.fixture(scope="session")
def wrn_taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Experiment]:
    settings = {
        "student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits", "per_class": 10},
        "recipe": {"epochs": 1, "batch_size": 50},
    }  # fmt: skip
    root = tmp_path_factory.mktemp("wrn")
    teacher = Experiment.of(settings, device="cpu")
    teacher.run(root)
    return root, teacher


@pytest.mark.parametrize("term", [cls.__name__ for cls in terms.ALL])
def test_every_term_resumes_exactly(term: str, wrn_taught: tuple[Path, Experiment], tmp_path: Path, make: Any) -> None:
    root, teacher = wrn_taught
    settings = {"use": term, "weight": 0.5, **({"views": 1} if term == "MLKD" else {})}
    placed = PLACED if term != "SimKD" else {**PLACED, "student": {"model": "simkd", "args": {"body": "wrn-10-1", "head": "wrn-10-1"}}}
    one = make(**placed, teacher={"run": teacher}, method=[{"use": "CE"}, settings], recipe={"epochs": 2, "batch_size": 40})
    expected = whole((one,), tmp_path / "whole", root)
    shutil.copytree(root, tmp_path / "runs")
    assert_same(expected, resumed((one,), Store(tmp_path / "runs"), {2, 5}))


RECIPES: list[dict[str, Any]] = [
    {"nesterov": True, "schedule": {"kind": "cosine"}, "per": "step"},
    {"optimizer": "adam", "lr": 0.001, "schedule": {"kind": "cosine", "T_max": 1, "restarts": True}},
    {"optimizer": "adamw", "lr": 0.001, "warmup": 1, "no_decay": ["norm", "bias"]},
    {"schedule": {"kind": "multistep", "at": [1, 2], "reset_momentum": True}, "clip": 1.0},
    {"schedule": {"kind": "step", "every": 1, "gamma": 0.5}, "teacher_mode": "train"},
    {"precision": "double", "channels_last": False, "epochs": None, "steps": 10},
    {"student_mode": "eval", "drop_last": True},
    {"ema": 0.9, "accumulate": 2, "optimizer": "adamw", "lr": 0.003, "schedule": {"kind": "cosine"}},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: next(iter(r)))
def test_every_kind_of_recipe_resumes_exactly(
    recipe: dict[str, Any], place: Store, teacher_file: Path, tmp_path: Path, make: Any
) -> None:
    one = make(recipe=recipe, seed=0)
    draw = random.Random(str(recipe))
    expected = whole((one,), tmp_path / "whole", teacher_file)
    assert_same(expected, resumed((one,), place, set(draw.sample(range(2, 9, 2), 3))))


ZERO_SHOT = {
    "kind": "adversarial", "blocks": 5, "n_G": 1, "n_S": 3, "channels": 1, "image_size": 8, "normalise": "digits", "z": 10,
}  # fmt: skip
SOURCES: list[dict[str, Any]] = [
    {"data": "digits", "fraction": 0.05, "held_out": 30, "augment": "crop-flip-reflect:2"},
    {"data": "digits", "first_per_class": 7, "unlabelled": True},
    {"data": "digits", "per_class": 10, "augment": "resized-crop:0.5+colour-jitter+randaugment+mixup:1+cutmix"},
    ZERO_SHOT,
    {"kind": "mixed", "first": {"kind": "images", "data": "digits", "per_class": 5}, "second": ZERO_SHOT, "take": [1, 1]},
]


@pytest.mark.parametrize("source", SOURCES, ids=["drawn", "unlabelled", "augmented", "adversarial", "mixed"])
def test_every_source_resumes_exactly(source: dict[str, Any], teacher_file: Path, place: Store, tmp_path: Path, make: Any) -> None:
    recipe = {"epochs": None, "steps": 12, "optimizer": "adam", "lr": 0.002, "batch_size": 16}
    one = make(source=source, recipe=recipe, method=[{"use": "KD"}])
    expected = whole((one,), tmp_path / "whole", teacher_file)
    assert_same(expected, resumed((one,), place, {2, 5, 8}))


def test_a_run_with_patience_resumes_exactly_and_its_record_says_what_was_kept(
    place: Store, teacher_file: Path, tmp_path: Path, make: Any
) -> None:
    source = {"data": "digits", "fraction": 0.1, "held_out": 30}
    one = make(source=source, recipe={"epochs": 12, "lr": 0.1, "patience": 1, "ema": 0.5}, evaluate={"test": "digits:test", "every": 1})
    (expected,) = whole((one,), tmp_path / "whole", teacher_file)
    assert_same([expected], resumed((one,), place, {2, 5}))
    record = expected.record
    assert record["kept"]["average"] == 0.5 and "of the best evaluation of the held-out part" in record["kept"]["why"]
    assert record["kept"]["step"] <= record["steps"] < 12 * 4 and record["best_network"] is None
    curve = dict(map(tuple, expected.curves()["accuracy"]["test"]))  # type: ignore[arg-type]
    assert record["accuracy"]["test"]["last"] == curve[record["kept"]["step"]]
    assert evaluate(expected.network(trust_code=True), data.load("digits:test")).accuracy == record["accuracy"]["test"]["last"]
    assert record["experiment"]["recipe"]["ema"] == 0.5 and one.cell != make(source=source).cell
    with pytest.raises(RedistillError, match=r"never by the test set: add held_out = 0\.1 to \[source\]"):
        make(recipe={"patience": 1})
    with pytest.raises(RedistillError, match="DKD needs the one class of an image"):
        make(source={**source, "augment": "mixup"}, method=[{"use": "CE"}, {"use": "DKD"}])


def test_a_cohort_resumes_exactly_and_can_fall_apart(place: Store, teacher_file: Path, tmp_path: Path, make: Any) -> None:
    ones = (make(), make(method=[{"use": "CE"}, {"use": "./nets.py:Gap"}]))
    expected = whole(ones, tmp_path / "whole", teacher_file)
    # killed after step 3, then between the two checkpoints of step 4: the first is one step ahead of the second
    work = CohortRun(ones, place, every=0)
    assert work.take()
    for _ in range(3):
        next(work)
    second = place.folder(ones[1])
    kept = {name: (second / name).read_bytes() for name in (checkpoint.NAME, checkpoint.PREVIOUS)}
    next(work)
    for name, content in kept.items():
        (second / name).write_bytes(content)
    work.release()
    first = CohortRun((ones[0],), place)  # one goes on alone, from step 4 ...
    assert first.take()
    assert next(first).step == 5
    for _ in first:
        pass
    first.release()
    assert_same([expected[0]], first.runs)
    rest = CohortRun((ones[1],), place)  # ... the other from step 3
    assert rest.take()
    assert next(rest).step == 4
    for _ in rest:
        pass
    rest.release()
    assert_same([expected[1]], rest.runs)


def test_students_of_different_steps_go_back_to_a_common_one(make: Any) -> None:
    def saved(*steps: int) -> Saved:
        return Saved({s: ({}, {}) for s in steps})

    assert common_step([saved(4, 3), saved(3, 2)]) == 3
    assert common_step([saved(4), saved(3)]) == 0


# -- checkpoints ------------------------------------------------------------------------------------------------------
def stopped_at(one: Experiment, place: Store, step: int, every: float = 0) -> Path:
    work = CohortRun((one,), place, every=every)
    assert work.take()
    for progress in work:
        if progress.step == step:
            break
    work.release()
    return place.folder(one)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda b: b[:-100], "is damaged: cut off or altered"),
        (lambda b: b[:5], "is damaged: its header cannot be read"),
        (lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:], "does not match its SHA-256"),
        (lambda b: b.replace(b'"format":"2"', b'"format":"1"'), "does not match its SHA-256"),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    spoil: Any, says: str, place: Store, teacher_file: Path, tmp_path: Path, make: Any
) -> None:
    one = make()
    folder = stopped_at(one, place, 6)
    path = folder / checkpoint.NAME
    path.write_bytes(spoil(path.read_bytes()))
    work = CohortRun((one,), place)
    assert work.take()
    assert next(work).step == 6  # 5 was the one before
    [note] = work.notes
    assert says in note and str(path) in note and note.endswith("going on from step 5")
    for _ in work:
        pass
    work.release()
    assert_same(whole((one,), tmp_path / "whole", teacher_file), work.runs)


def carried_on(one: Any, place: Store) -> CohortRun:
    """Take up what is saved of a run, and end it."""
    work = CohortRun((one,), place)
    assert work.take()
    for _ in work:
        pass
    work.release()
    return work


def test_a_checkpoint_of_another_machine_is_allowed_and_said(place: Store, make: Any) -> None:
    one = make()
    folder = stopped_at(one, place, 6)
    state, facts = checkpoint.load(folder / checkpoint.NAME)
    facts["sessions"][-1]["hardware"]["processor"] = "Another CPU"
    facts["sessions"][-1]["hardware"]["threads"] = 64
    checkpoint.save(folder, state, facts)
    work = carried_on(one, place)
    assert "the checkpoint comes from processor Another CPU" in work.notes[0]
    [run] = work.runs
    assert run.record["exact"].startswith("no: continued on another machine: processor Another CPU")
    assert [s["to"] for s in run.record["sessions"]] == [6, 12]


def test_a_teacher_that_was_trained_again_in_between_is_said(place: Store, make: Any) -> None:
    one = make()
    folder = stopped_at(one, place, 6)
    state, facts = checkpoint.load(folder / checkpoint.NAME)
    [teacher] = one.needs()
    assert facts["sessions"][-1]["teacher"] == place.find(teacher).record["weights_sha256"]  # type: ignore[union-attr]
    facts["sessions"][-1]["teacher"] = "0" * 64
    checkpoint.save(folder, state, facts)
    work = carried_on(one, place)
    assert f"{folder}: its teacher has been trained again since step 6 was saved, to other weights" in work.notes[0]
    [run] = work.runs
    assert run.record["exact"] == "no: continued after its teacher had been trained again, to other weights"
    assert elsewhere(run, run) == f"{folder} was continued after its teacher had been trained again, to other weights"


def test_checkpoints_hold_any_tree_of_plain_values(tmp_path: Path) -> None:
    tied = torch.arange(6.0).view(2, 3)
    tree = {
        "a": tied, "b": tied, "view": tied.t(), "zero": torch.tensor(1), "empty": torch.zeros(0, 3), "half": torch.ones(2).bfloat16(),
        "last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "flag": torch.tensor([True]),
        "state": {0: {"step": 1, "x": (1, 2.5, None)}, 1: []}, "nan": float("nan"), "inf": float("-inf"), "text": "é",
    }  # fmt: skip
    checkpoint.save(tmp_path, tree, {"id": "x"})
    back, facts = checkpoint.load(tmp_path / checkpoint.NAME)
    assert difference(tree, back) is None and facts == {"id": "x"}
    assert back["last"].stride() == tree["last"].stride()  # type: ignore[attr-defined]
    assert isinstance(back["state"][0]["x"], tuple) and isinstance(next(iter(back["state"])), int)
    with pytest.raises(RedistillError, match="holds tensors and plain values; /a is a set"):
        checkpoint.save(tmp_path, {"a": {1, 2}}, {})


def test_the_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    for step in range(3):
        checkpoint.save(tmp_path, {"step": step}, {})
    assert checkpoint.load(tmp_path / checkpoint.NAME)[0] == {"step": 2}
    assert checkpoint.load(tmp_path / checkpoint.PREVIOUS)[0] == {"step": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == [checkpoint.PREVIOUS, checkpoint.NAME]


# -- the checker ------------------------------------------------------------------------------------------------------
def small_loop(make: Any, seed: int = 0) -> Loop:
    from redistill import models

    train = data.load("digits:train").per_class(4, seed=0)
    student, teacher = (models.wrn(10, 1, classes=10, channels=1, image_size=8, seed=s) for s in (0, 1))
    recipe = Recipe(epochs=2, batch_size=16, lr=0.05)
    return watched(Loop([(student, Method.of(CE() + KD()))], teacher, train, recipe, seed=seed, device="cpu"))


def test_equal_loops_are_equal_at_every_step(make: Any) -> None:
    a, b = small_loop(make), small_loop(make)
    for _ in zip(a, b, strict=True):
        assert first_difference(a, b) is None
    assert list(components(a)) == [
        "step", "batches", "rate", "streams", "optimiser", "parameters", "buffers", "terms", "kept", "curves"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda loop: setattr(loop, "seed", 7) or setattr(loop, "stream", small_loop(None, 7).stream), "batches/"),
        (lambda loop: setattr(loop.students[0], "schedule", replace(loop.schedule, rates=[0.3] * loop.steps)), "rate/0/0: "),
        (lambda loop: loop.students[0].optimizer.state_dict()["state"][0]["momentum_buffer"].view(-1)[0].add_(1), "optimiser/0/state/0/"),
        (lambda loop: next(loop.students[0].net.parameters()).data.view(-1)[0].add_(1e-6), "parameters/0/"),
        (lambda loop: next(b for n, b in loop.students[0].net.named_buffers() if "mean" in n)[0].add_(1), "buffers/0/"),
        (lambda loop: loop.students[0].losses.append([1.0, 2.0]), "curves/0/"),
    ],
)  # fmt: skip
def test_the_checker_names_the_component(spoil: Any, says: str, make: Any) -> None:
    a, b = small_loop(make), small_loop(make)
    next(a), next(b)
    if says == "batches/":
        spoil(b)
        next(a), next(b)
    else:
        spoil(b)
    found = first_difference(a, b)
    assert found is not None and found.startswith(says)


def test_bits_are_compared_and_not_values() -> None:
    assert difference(torch.tensor([0.0]), torch.tensor([-0.0])) == ": 1 of 1 numbers differ, by up to 0"
    nan = torch.tensor([float("nan")])
    assert difference(nan, nan.clone()) is None
    assert difference({"a": 1}, {"a": 1.0}) == "a: 1 and 1.0"
    assert difference({"a": 1}, {"b": 1}) == "a: only one of the two has it"


# -- signals, and lengths of time --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_signals_ask_and_are_given_back(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with Stop(listen=True) as stop:
        assert stop.why is None
        os.kill(os.getpid(), number)
        assert stop.why == number.name and stop.status == status
        with pytest.raises(Interrupted, match=f"stopped \\({number.name}\\): so far; run the same command again to go on"):
            stop.check("so far")
    assert signal.getsignal(number) == before


def test_lengths_of_time() -> None:
    assert [seconds(t) for t in ("90", "90s", "30m", "1h30m", "2d", "1.5h")] == [90, 90, 1800, 5400, 172800, 5400]
    for bad in ("", "soon", "3 weeks", "-3", 60 * "1" + "x"):  # the last one would take years to be matched in every way
        with pytest.raises(RedistillError, match="is no length of time"):
            seconds(bad)
