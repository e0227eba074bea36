"""Plans: which cells, which experiments, each once, at a part of the length, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from redistill import papers
from redistill.errors import RedistillError
from redistill.experiment import length
from redistill.experiment.value import Experiment
from redistill.launch import rates
from redistill.launch.cohort import Cohort
from redistill.papers import cost
from redistill.papers.explain import variants
from redistill.papers.plan import Plan, make, scaled, select
from redistill.runs.store import Store

MICAELLI = papers.load("micaelli2019")


def plan(*args: str, paper: papers.Paper = MICAELLI, seeds: int = 3, **filters: list[str]) -> Plan:
    return make(paper, select(paper, list(args), **filters), seeds=range(seeds), device="cpu")


def test_table_1_needs_each_network_and_each_teacher_once() -> None:
    made = plan("1")
    assert len(made.cells) == 16
    # 4 networks alone + 6 pairs x 2 methods, three seeds; the three teachers are networks alone of seed 0
    assert len(made.wanted) == 48 and len(made.runs) == 48 and len(made.teachers) == 3
    assert {one.student.model for one in made.teachers} == {"wrn-16-2", "wrn-40-1", "wrn-40-2"}
    assert {one.seed for one in made.teachers} == {0}
    assert made.last_line(3600.0 * 5) == "cells 16 experiments 48 teachers 3 hours 5.0"


def test_teachers_that_are_not_asked_for_are_planned_before_their_students() -> None:
    made = plan("1", only=["KD+AT"], rows=["WRN-40-2, WRN-16-1"])
    assert [one.student.model for one in made.runs] == ["wrn-40-2", "wrn-16-1", "wrn-16-1", "wrn-16-1"]
    assert [one.seed for one in made.runs] == [0, 0, 1, 2]
    assert len(made.wanted) == 3 and len(made.teachers) == 1


def test_a_teacher_a_seed_where_the_paper_says_so() -> None:
    made = plan("11", paper=papers.load("ferles2020"), rows=["WRN-40-2, WRN-16-1"])
    assert len(made.cells) == 3  # three published seeds of one experiment
    assert sorted((one.student.model, one.seed) for one in made.runs) == [
        ("wrn-16-1", 0), ("wrn-16-1", 1), ("wrn-16-1", 2), ("wrn-40-2", 0), ("wrn-40-2", 1), ("wrn-40-2", 2),
    ]  # fmt: skip


def test_a_student_that_starts_from_another_student() -> None:
    made = plan("14", paper=papers.load("ferles2020"), rows=["50"], seeds=1)
    assert [one.source.label.split(" ")[0] for one in made.runs] == ["cifar10:train", "zero-shot", "cifar10:train,"]
    fine = made.wanted[0]
    assert fine.student.run is not None and fine.student.run.student.model == "wrn-16-1"
    assert fine.recipe.student_mode == "eval" and [part.use for part in fine.method] == ["CE", "KD", "Anchor"]
    assert [one.student.model for one in made.teachers] == ["wrn-40-2"]


def test_cells_at_named_steps_are_read_off_the_longest_run() -> None:
    made = plan("curve-cifar10", rows=["800", "1600", "4000"], seeds=1)
    assert [one.recipe.steps for one in made.wanted] == [40_000]
    assert [[e.recipe.steps for e in cell.elsewhere] for cell in made.cells] == [[40_000, 16_000], [40_000], []]
    whole = plan("1", "curve-cifar10", only=["zero-shot"], rows=["WRN-40-2, WRN-16-1", "800"], seeds=1)
    assert [one.recipe.steps for one in whole.wanted] == [800_000]


def test_cohorts_share_teacher_and_images() -> None:
    made = plan("1", paper=papers.load("chen2021"), only=["KD", "FitNet", "AT", "VID"], rows=["KD", "FitNet", "AT", "VID"], seeds=1)
    sizes = {group[0].teacher.model + " " + group[0].student.model: len(group) for group in made.groups if group[0].teacher}
    # two students of one teacher see the same images too: WRN-16-2 and WRN-40-1 learn in one cohort
    assert sorted(sizes.values()) == [4, 4, 4, 4, 8]


def test_filters_that_cannot_be() -> None:
    for filters, says in (
        ({"tables": ["3"]}, "unknown table of micaelli2019 '3'"),
        ({"only": ["zeroshot"]}, "unknown method 'zeroshot': did you mean zero-shot"),
        ({"tables": ["1"], "rows": ["WRN-16-3"]}, "unknown row 'WRN-16-3': did you mean"),
        ({"tables": ["2"], "only": ["scratch"]}, "unknown method 'scratch': known are KD+AT, zero-shot"),
        ({"columns": ["M = 20"]}, "unknown column 'M = 20': did you mean"),
    ):
        with pytest.raises(RedistillError) as error:
            select(MICAELLI, **filters)
        assert says in str(error.value)
    with pytest.raises(RedistillError, match="--scale 2: a part of the published length"):
        make(MICAELLI, select(MICAELLI, ["1"]), scale=2.0)
    with pytest.raises(RedistillError, match="--teacher: unknown teacher of the chosen cells 'wrn-16-1'"):
        make(MICAELLI, select(MICAELLI, ["1"]), device="cpu", teachers={"wrn-16-1": Path("x.safetensors")})
    ahn = papers.load("ahn2019")
    with pytest.raises(RedistillError, match=r"^--teacher wrn-40-2: no network teaches the chosen cells \(ahn2019:1:.* \.\.\.\): leave"):
        make(ahn, select(ahn, ["1"], rows=["Student"]), device="cpu", teachers={"wrn-40-2": Path("x.safetensors")})
    for cell, file, says in (
        ("1:Student:2 %", "wrn-40-2", r"no network teaches the chosen cells \(ahn2019:1:Student:2 %\): leave the option out"),
        ("1:VID:2 %", "wrn-40-9", "unknown teacher of the chosen cells 'wrn-40-9': did you mean wrn-40-2"),  # it was left out in silence
    ):
        with pytest.raises(RedistillError, match=says):
            variants(ahn, ahn.cell(cell), device="cpu", teachers={file: Path("x.safetensors")})


def test_tables_by_the_names_people_give_them() -> None:
    assert select(MICAELLI, ["Table 1"]) == select(MICAELLI, ["table1"]) == select(MICAELLI, ["1"])


def test_a_cell_without_experiment_is_counted_and_not_planned() -> None:
    made = plan("figure2-cifar10", only=["zero-shot"], seeds=1)
    assert len(made.cells) == 6 and sum(cell.experiment is not None for cell in made.cells) == 1
    assert "fine-tuned" in made.cells[1].cell.unknown


def test_a_scaled_plan_is_other_experiments_that_say_so() -> None:
    cells = select(MICAELLI, ["1"], rows=["WRN-40-2, WRN-16-1"])
    whole, part = (make(MICAELLI, cells, seeds=[0], device="cpu", scale=scale) for scale in (1.0, 0.05))
    assert {one.id for one in whole.runs}.isdisjoint(one.id for one in part.runs)
    assert all("scale 0.05" in one.name and "scale 0.05" in one.notes for one in part.wanted)
    zero_shot = next(one for one in part.wanted if one.recipe.optimizer == "adam")
    assert zero_shot.recipe.steps == 40_000 and zero_shot.source.blocks == 4_000
    assert zero_shot.recipe.schedule.T_max == 40_000 and zero_shot.recipe.schedule.hold == 10
    assert {one.recipe.epochs for one in part.wanted} == {10, 250, None}
    assert estimate(part.groups, 1.0) == pytest.approx(0.05 * estimate(whole.groups, 1.0), rel=0.05)


def test_milestones_and_ramps_shrink_with_the_run() -> None:
    chen = papers.load("chen2021")
    written = Experiment.of(chen.settings(chen.cell("1:ReviewKD:ResNet56 -> ResNet20")), device="cpu").written()
    made = scaled(written, 0.1)
    assert made["recipe"]["epochs"] == 24 and made["recipe"]["schedule"]["at"] == [15.0, 18.0, 21.0]
    assert made["method"][1]["weight"] == {"start": 0.0, "end": 2.0, "first": 0.0, "last": 0.6, "unit": "epoch"}
    assert made["teacher"]["run"]["recipe"]["epochs"] == 24


def test_a_scaled_run_spends_the_same_part_of_its_time_on_looking() -> None:
    """200 looks at the test set in 100,000 epochs are 2 in 1,000: else they would cost a hundred times the training."""
    ferles = papers.load("ferles2020")
    cells = select(ferles, ["6"], rows=["10"])
    whole, part = (make(ferles, cells, seeds=[0], device="cpu", scale=scale) for scale in (1.0, 0.01))
    assert [one.evaluate.every for one in part.wanted] == [one.evaluate.every for one in whole.wanted] == [500]
    assert estimate(part.groups, 1.0) == pytest.approx(0.01 * estimate(whole.groups, 1.0), rel=1e-3)


def test_teachers_from_files(tmp_path: Path) -> None:
    from redistill import models

    file = tmp_path / "wrn-40-2.safetensors"
    models.save(models.wrn(40, 2, classes=10, seed=0), file, normalisation="cifar10-kuangliu")
    cells = select(MICAELLI, ["1"], only=["KD+AT", "zero-shot"], rows=["WRN-40-2, WRN-16-1"])
    made = make(MICAELLI, cells, seeds=[0], device="cpu", teachers={"WRN-40-2": file})
    assert len(made.runs) == 2 and not made.teachers
    assert all(one.teacher is not None and one.teacher.weights is not None for one in made.runs)


def test_what_is_there_is_not_missing(tmp_path: Path) -> None:
    made = plan("1", only=["scratch"], seeds=1)
    assert made.missing(Store(tmp_path)) == list(made.groups)


# ---------------------------------------------------------------------------------------------------------------------
# Cost
# ---------------------------------------------------------------------------------------------------------------------
def experiment(table: str, row: str, column: str) -> Experiment:
    return Experiment.of(MICAELLI.settings(MICAELLI.cell(f"{table}:{row}:{column}")), device="cpu")


def test_cost_of_a_distillation_by_hand() -> None:
    one = experiment("1", "WRN-40-2, WRN-16-1", "KD+AT")
    teacher, student = 327_599_000, 26_657_000  # multiply-accumulates of one image, to a thousand
    assert length.macs_of(one.student, "cifar10") == pytest.approx(student, rel=1e-4)
    steps, epoch = length.steps_of(one)
    assert (steps, epoch) == (5_000 * 16, 16)  # 2000 images in batches of 128
    images = 5_000 * 2_000
    tests = 20 * 10_000 * student + 10_000 * teacher
    assert cost.cost([one]) == pytest.approx(images * (teacher + 3 * student) + tests, rel=1e-3)


def estimate(groups: Iterable[Cohort], rate: float) -> float:
    return sum(cost.cost(group) for group in groups) / rate


def test_hours_know_what_will_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 epochs of 2,000 images ask for 10 million answers; 162 variants of each are 324,000, and the rest is looked up."""
    monkeypatch.setattr(cost, "rate", lambda device, precision: {"strict": 1.0, "fast": 2.0}[precision])
    both = experiment("1", "WRN-40-2, WRN-16-1", "KD+AT")
    kd = both.model_copy(update={"method": tuple(term for term in both.method if term.use != "AT")})
    teacher = length.macs_of(kd.teacher, "cifar10")
    saved = (5_000 - 162) * 2_000 * teacher
    assert cost.seconds([kd], "cpu") == pytest.approx(cost.cost([kd]) - saved)
    assert cost.seconds([kd], "cpu", remembers=False) == cost.cost([kd])
    hint = Experiment.of({**kd.written(), "method": [{"use": "CE"}, {"use": "FitNet"}]}, device="cpu")
    assert cost.seconds([hint], "cpu") == cost.cost([hint])  # 75 GB of features
    assert cost.seconds([kd, hint], "cpu") == cost.cost([kd, hint]) and cost.seconds([both, hint], "cpu") == cost.cost([both, hint])
    assert cost.summary_bytes(both) == 2_000 * 162 * 4 * (32 * 32 + 16 * 16 + 8 * 8)  # 1.7 GB of sums over channels
    assert cost.seconds([both], "cpu") == pytest.approx(cost.cost([both]) - saved)
    whole = Experiment.of({**both.written(), "source": {"kind": "images", "data": "cifar10"}}, device="cpu")
    assert cost.seconds([whole], "cpu") == cost.cost([whole])  # 44 GB
    named = Experiment.of({**both.written(), "method": [{"use": "AT", "at": ["stage3"]}]}, device="cpu")
    assert cost.summary_bytes(named) == 2_000 * 162 * 4 * 32 * 32 and cost.summary_bytes(kd) == 0
    settled = Experiment.of({**kd.written(), "method": [{"use": "SRRL"}]}, device="cpu")
    assert not any("at" in term.settings for term in settled.method) and cost.reads_features(settled) and not cost.reads_features(kd)
    fast = kd.model_copy(update={"recipe": kd.recipe.model_copy(update={"precision": "fast"})})
    assert cost.seconds([fast], "cpu") == cost.seconds([kd], "cpu") / 2
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "0")
    assert cost.seconds([kd], "cpu") == cost.cost([kd])


def test_cost_of_a_zero_shot_block_by_hand() -> None:
    one = experiment("1", "WRN-40-2, WRN-16-1", "zero-shot")
    t, s, g = 327_599_000, 26_657_000, 115_835_000
    block = 128 * (3 * g + 2 * s + 2 * t + g + t + 10 * 3 * s)
    assert length.steps_of(one) == (800_000, 8_000)
    assert cost.cost([one]) == pytest.approx(80_000 * block + 100 * 10_000 * s + 10_000 * t, rel=1e-3)


def test_a_cohort_pays_its_teacher_once() -> None:
    chen = papers.load("chen2021")
    made = plan("1", paper=chen, only=["KD", "FitNet", "AT", "VID"], seeds=1)
    alone = sum(cost.cost([one]) for group in made.groups for one in group)
    assert cost.cost(made.groups[-1]) > 0 and estimate(made.groups, 1.0) < 0.8 * alone


def test_the_rate_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(rates, "measured", lambda device, precision: asked.append(device) or 7e9)
    assert rates.rate("cpu") == rates.rate("cpu") == 7e9 and asked == ["cpu"]
    assert list(json.loads((tmp_path / "rates.json").read_text(encoding="utf-8")).values()) == [7e9]
    (tmp_path / "rates.json").write_text("{", encoding="utf-8")
    assert rates.rate("cpu") == 7e9 and asked == ["cpu", "cpu"]


def test_rates_that_two_processes_measure_at_once_are_both_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path))

    def meanwhile(device: str, precision: str) -> float:
        if precision == "strict":  # another process, which began with the same empty file
            rates.rate("cpu", "fast")
        return {"strict": 7e9, "fast": 9e9}[precision]

    monkeypatch.setattr(rates, "measured", meanwhile)
    assert rates.rate("cpu", "strict") == 7e9
    assert sorted(json.loads((tmp_path / "rates.json").read_text(encoding="utf-8")).values()) == [7e9, 9e9]
