"""From which share of a run on the best evaluation is looked for, and networks of the best evaluation as teachers and starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.experiments import interrupted
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import file_digest
from redistill.launch.materials import BuiltObjects
from redistill.metrics import accuracy
from redistill.runs.export import export
from redistill.runs.record import best_of
from redistill.runs.store import Run, Store, stale
from redistill.sealed import BEST, WEIGHTS

# a rate that rises far beyond what learns: the best epoch is an early one
HIGH = {"epochs": 6, "lr": 0.05, "warmup": 6, "schedule": {"kind": "constant"}, "batch_size": 50}
ALONE: dict[str, Any] = {
    "student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits", "per_class": 10},
    "evaluate": {"test": "digits:test", "every": 1}, "recipe": HIGH,
}  # fmt: skip


def of(settings: dict[str, Any], **evaluate: Any) -> Experiment:
    return Experiment.of({**settings, "evaluate": {**settings["evaluate"], **evaluate}}, device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With the run of ALONE, seed 0, whose best epoch is not its last."""
    place = Store(tmp_path_factory.mktemp("best"))
    for lr in (0.05, 0.5, 2.0, 8.0):
        one = Experiment.of({**ALONE, "recipe": {**HIGH, "lr": lr}}, device="cpu")
        run = one.run(place)
        if run.record["accuracy"]["test"]["best_step"] < run.record["steps"]:
            break
    return place


def early(store: Store) -> Run:
    found = [run for run in store.finished() if run.record["accuracy"]["test"]["best_step"] < run.record["steps"]]
    assert found, "no rate makes an early epoch the best"
    return found[0]


def test_a_window_is_part_of_an_experiment_only_where_it_is_given() -> None:
    plain, windowed = of(ALONE), of(ALONE, **{"from": 0.8})
    assert "from" not in plain.written()["evaluate"] and windowed.written()["evaluate"]["from"] == 0.8
    assert plain.cell != windowed.cell and Experiment.of(windowed.written(), device="cpu") == windowed
    unsaid = Experiment.of({**ALONE, "evaluate": {"from": 0.5}, "source": {"data": "digits:train"}}, device="cpu")
    assert unsaid.evaluate.sets == {"test": "digits:test"} and unsaid.evaluate.since == 0.5
    for wrong in (0, 1, "late", True, -0.5):
        with pytest.raises(RedistillError, match="must be a share of the run between 0 and 1"):
            of(ALONE, **{"from": wrong})


def test_the_best_is_looked_for_from_a_share_of_the_run_on() -> None:
    curve = [(10, 80.0), (20, 90.0), (30, 70.0), (40, 75.0), (50, 75.0), (60, 60.0)]
    assert best_of(curve, 0.0) == (20, 90.0, 6)
    assert best_of(curve, of(ALONE, **{"from": 0.5}).evaluate.first_step(60)) == (40, 75.0, 4)  # step 30 counts
    assert best_of(curve, of(ALONE, **{"from": 0.6}).evaluate.first_step(60)) == (40, 75.0, 3)
    assert best_of(curve, 0.99 * 60) == (60, 60.0, 1)
    assert best_of(curve[:2], 30.0) == (20, 90.0, 1)  # stopped before


def test_a_window_moves_the_best_and_nothing_else(store: Store, tmp_path: Path) -> None:
    run = early(store)
    recipe = run.record["experiment"]["recipe"]
    other = Experiment.of({**ALONE, "recipe": recipe, "evaluate": {**ALONE["evaluate"], "from": 0.9}}, device="cpu").run(tmp_path)
    mine, theirs = other.record["accuracy"]["test"], run.record["accuracy"]["test"]
    assert mine["last"] == theirs["last"] == mine["best"] and mine["best"] < theirs["best"]
    assert mine["best_is"] == "the highest of 1 evaluations from 90 % of the run on, chosen on this set itself"
    assert other.record["weights_sha256"] == run.record["weights_sha256"] and other.curves() == run.curves()
    assert other.record["best_network"] == "last" and other.weights("best") == other.weights()


def test_the_network_of_the_best_evaluation_is_kept(store: Store) -> None:
    run = early(store)
    assert run.record["best_network"] == BEST and run.weights("best").name == BEST
    best, last = run.network("best"), run.network()
    images = BuiltObjects([Experiment.of(run.record["experiment"], device="cpu")], store, None).evaluate["test"]
    found = run.record["accuracy"]["test"]
    assert accuracy(best, images) == found["best"] > accuracy(last, images) == found["last"]
    shorter = {**run.record["experiment"]["recipe"], "epochs": None, "steps": found["best_step"]}
    assert shorter["schedule"]["kind"] == "constant"  # the same rates up to there
    again = Experiment.of({**ALONE, "recipe": {k: v for k, v in shorter.items() if v is not None}}, device="cpu").run(store)
    assert all(torch.equal(a, b) for a, b in zip(best.state_dict().values(), again.network().state_dict().values(), strict=True))


def student(run: Run, take: str, role: str) -> Experiment:
    net = {"run": run.record["experiment"], "seed": 0, **({"take": take} if take != "last" else {})}
    settings = {**ALONE, "recipe": {"epochs": 1, "batch_size": 50}, "evaluate": {"test": "digits:test"}}
    if role == "teacher":
        settings |= {"teacher": net, "method": [{"use": "CE"}, {"use": "KD"}]}
    else:
        settings["student"] = net
    return Experiment.of(settings, device="cpu")


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_teacher_or_a_start_may_be_the_best_network(store: Store, role: str) -> None:
    run = early(store)
    plain, chosen = student(run, "last", role), student(run, "best", role)
    assert plain.cell != chosen.cell and "take" not in plain.written()[role] and chosen.written()[role]["take"] == "best"
    assert Experiment.of(chosen.written(), device="cpu") == chosen
    made, other = chosen.run(store), plain.run(store)
    fact, usual = (r.record["teacher" if role == "teacher" else "start"] for r in (made, other))
    assert fact["sha256"] == run.record["files"][BEST] and fact["file"] == BEST and fact["take"] == "best"
    assert usual["sha256"] == run.record["files"][WEIGHTS] and "take" not in usual
    assert made.record["weights_sha256"] != other.record["weights_sha256"]
    assert stale(made, store) is None
    path = run.folder / BEST
    good = path.read_bytes()
    try:
        path.write_bytes((run.folder / WEIGHTS).read_bytes())
        assert "has other weights by now" in str(stale(made, store)), "the file that was taken is looked at, and no other"
    finally:
        path.write_bytes(good)
    if role == "teacher":
        assert fact["accuracy"]["test"] == run.record["accuracy"]["test"]["best"]


def test_what_is_kept_of_a_teacher_is_the_network_that_taught(store: Store, tmp_path: Path) -> None:
    run = early(store)
    made = {take: student(run, take, "teacher").run(store) for take in ("best", "last")}
    for _ in range(2):
        export(store, tmp_path)
        kept = {row.get("take", "last"): row for row in json.loads((tmp_path / "teachers" / "teachers.json").read_text())}
        assert kept.keys() == made.keys()
        for take, row in kept.items():
            assert row["sha256"] == file_digest(tmp_path / "teachers" / row["file"]) == made[take].record["teacher"]["sha256"]


@pytest.mark.parametrize("keeps", [{"ema": 0.99}, {"patience": 3}])
def test_a_run_that_says_itself_which_network_it_keeps_has_no_other(keeps: dict[str, Any]) -> None:
    """Said before the teacher is trained, and not when its student begins."""
    maker = {**ALONE, "source": {**ALONE["source"], "held_out": 0.1}, "recipe": {**HIGH, **keeps}}
    for take, works in (("last", True), ("best", False)):
        asked = {**ALONE, "teacher": {"run": maker, "take": take}, "method": [{"use": "KD"}]}
        if works:
            Experiment.of(asked, device="cpu")
            continue
        by = next(iter(keeps))
        with pytest.raises(RedistillError, match=f"take = \"best\": the experiment in run keeps one network alone, as its {by}"):
            Experiment.of(asked, device="cpu")


def test_a_run_without_a_best_network_is_refused_in_one_sentence(store: Store, tmp_path: Path) -> None:
    run = early(store)
    old = {name: value for name, value in run.record.items() if name != "best_network"}
    old["files"] = {name: sha for name, sha in run.record["files"].items() if name != BEST}
    with pytest.raises(RedistillError, match="kept the network of its last step alone"):
        Run(run.folder, old).weights("best")
    with pytest.raises(RedistillError, match="chooses the network of the experiment in run"):
        Experiment.of({**ALONE, "student": {"model": "wrn-10-1", "take": "best"}}, device="cpu")
    silent = {**ALONE, "evaluate": {}}
    with pytest.raises(RedistillError, match="evaluates nothing, so none of its networks is the best"):
        Experiment.of({**ALONE, "student": {"run": silent, "take": "best"}}, device="cpu")
    with pytest.raises(RedistillError, match="last"):
        Experiment.of({**ALONE, "student": {"run": ALONE, "take": "first"}}, device="cpu")


def test_an_interrupted_run_keeps_the_same_best_network(store: Store, tmp_path: Path) -> None:
    run = early(store)
    one = Experiment.of(run.record["experiment"], device="cpu")
    place = Store(tmp_path)
    interrupted((one,), place, {run.record["accuracy"]["test"]["best_step"] + 1})
    again = place.find(one)
    assert again is not None and len(again.record["sessions"]) == 2
    mine, theirs = again.network("best").state_dict(), run.network("best").state_dict()
    assert again.record["best_network"] == BEST and all(torch.equal(mine[name], theirs[name]) for name in theirs)
