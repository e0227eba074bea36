"""Eighteen runs as one plan: what is run is what was checked, and its slope is the difference of two lengths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from redistill.bench import gate, plan, rows, run
from redistill.bench.plan import Line, Planned, Timed
from redistill.bench.rows import SIX
from redistill.core import RedistillError
from redistill.experiment.value import Experiment
from redistill.launch.carry_out import Resources, carry_out
from redistill.launch.local import shared_out
from redistill.launch.queue import plan as planned_of
from redistill.report.benchmarks import page
from redistill.runs.measured import begin, keep
from redistill.runs.store import Store


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "TEACHER", "wrn-10-2")
    monkeypatch.setattr(rows, "STUDENT", "wrn-10-1")


def written(folder: Path, seeds: Sequence[int] = (0, 1, 2)) -> list[Experiment]:
    file = plan.write_plan(folder, "strict", 4)
    return [one for seed in seeds for one in Experiment.load_all(file, seed=seed, device="cpu")]


def test_the_plan_is_the_six_methods_in_three_cohorts_of_which_the_last_is_cut(tmp_path: Path) -> None:
    wanted = written(tmp_path)
    assert len(wanted) == 18 and {one.evaluate.written().get("test") for one in wanted} == {None}
    whole = planned_of(wanted)
    assert [[one.seed for one in group] for group in whole] == [[seed] * 6 for seed in range(3)]
    assert [len(part) for part in shared_out(whole, plan.PROCESSES)] == [6, 6, 3, 3]
    for one, row in zip(wanted, SIX.values(), strict=False):
        assert [(part.use, part.weight) for part in one.method] == [(part["use"], part["weight"]) for part in row.method().settings()]
        assert repr(plan_method(one)) == repr(row.method())  # the very method that passed the gate
        assert (one.recipe.lr, one.recipe.momentum, one.recipe.weight_decay) == (plan.RATE, 0.9, 5e-4)


def plan_method(one: Experiment) -> object:
    from redistill.launch.materials import method_of

    return method_of(one, Store("nowhere"))


def test_records_say_what_the_loops_took_and_that_nothing_was_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SEEDS", 1)
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "500KB")
    wanted = written(tmp_path, [0])
    assert carry_out(wanted, Store(tmp_path / "runs"), Resources(threads=1)).problems == []
    found = plan.told(tmp_path / "runs", 2, 9.0, 5.0)
    assert (found.steps, found.cpu, found.wall, len(found.cohorts)) == (2, 9.0, 5.0, 1) and "may be remembered" in found.why
    assert found.cohorts == ((0, Store(tmp_path / "runs").finished()[0].record["time"]["cpu"]),)
    with pytest.raises(RedistillError, match="the plan has 6 runs of 18"):
        monkeypatch.setattr(plan, "SEEDS", 3)
        plan.told(tmp_path / "runs", 2, 9.0, 5.0)


def test_answers_that_are_looked_up_have_no_slope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"teacher": {}, "seed": 0, "cohort": ["a"], "time": {"cpu": 1.0}, "sessions": [{"teacher_answers": {"looked_up": 3}}]}
    monkeypatch.setattr(Store, "finished", lambda self: [type("R", (), {"record": record})] * 18)
    with pytest.raises(RedistillError, match="54 answers of the teacher were looked up"):
        plan.told(tmp_path, 2, 9.0, 5.0)


def test_a_plain_run_is_timed_after_its_first_step() -> None:
    found = plan.timed("AT", 1, 2, 4, imported=3.0)
    assert (found.method, found.seed, len(found.cpu), len(found.wall)) == ("AT", 1, 2, 2)
    assert found.setup > 3.0 and min(found.cpu) > 0


def canned(kind: str = "strict") -> dict[str, Any]:
    """Set-up 20 s of CPU and 10 s on the wall; a step of the seeds 2, 2 and 3 s, 4 s on the wall; plain steps of 1 s, alone 0.9 s."""
    short = Planned(2, 20.0 + 2 * 7, 10.0 + 2 * 4, ((0, 4.0), (1, 4.0), (2, 2.0), (2, 4.0)), "too many")
    long = Planned(12, 20.0 + 12 * 7, 10.0 + 12 * 4, ((0, 24.0), (1, 24.0), (2, 12.0), (2, 24.0)), "too many")
    plain = [Timed(name, seed, [1.0, 0.9, 5.0], [1.0, 1.0, 1.0], 2.0) for seed in range(3) for name in SIX]
    alone = [Timed(name, 0, [0.9], [0.9], 2.0) for name in SIX]
    return plan.row_of(kind, short, long, plain, alone, gate=1e-6, work={"plain": 2500.0, "teacher": 300.0, "students": 600.0}, batch=128)


def test_a_line_of_the_result_is_the_slope_of_two_lengths() -> None:
    row = canned()
    assert (row["plan_cpu_ms"], row["plain_cpu_ms"], row["cpu_faster"]) == (7000.0, 18000.0, round(18 / 7, 3))
    assert (row["cpu_faster_least"], row["cpu_faster_median"], row["cpu_faster_most"]) == (2.0, 3.0, 3.0)
    assert (row["plan_busier_ms"], row["plain_busier_ms"], row["busier_faster"]) == (4000.0, 9000.0, 2.25)  # 2 + 2 and 2 + 1
    assert (row["plan_wall_ms"], row["plain_wall_ms"], row["wall_faster"]) == (4000.0, 9000.0, 2.25)  # 18 s in two processes
    assert (row["one_by_one_wall_ms"], row["wall_faster_than_one_by_one"]) == (16200.0, 4.05)
    assert (row["plan_setup_cpu_s"], row["plan_setup_wall_s"], row["plain_setup_cpu_s"]) == (20.0, 10.0, 36.0)
    assert (row["plain_macs"], row["plan_macs"], row["macs_fewer"]) == (7500.0, 4 * 300 + 3 * 600, 2.5)
    assert row["long_steps"] == 200 * 391
    assert row["plan_long_cpu_h"] == round((20 + 78200 * 7) / 3600, 2) and row["plain_long_wall_h"] == round((18 + 78200 * 9) / 3600, 2)
    assert not any(isinstance(value, dict | list) for value in row.values())
    assert Line.through((1, 3.0), (2, 5.0)).hours(3600) == pytest.approx(2 + 1 / 3600)


def test_it_runs_where_it_is_named_and_stands_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def made(kinds: Sequence[str], rounds: int, batch: int, say: object) -> list[dict[str, Any]]:
        asked.append((list(kinds), rounds, batch))
        return [canned(kind) for kind in kinds]

    monkeypatch.setattr(plan, "measured", made)
    said: list[str] = []
    found = run.bench(["plan"], rounds=4, say=said.append)
    assert "plan" not in run.NAMES and asked == [([row["contender"] for row in found["plan"]], 4, 128)]
    assert found["same_step"] == found["memory"] == [] and json.loads(json.dumps(found)) == found
    assert "2.57 times faster than plain runs (CPU of a step; seeds 2.00 to 3.00)" in said[-1]
    (tmp_path / "measured" / "benchmarks").mkdir(parents=True)
    keep(tmp_path / "measured" / "benchmarks" / "plan.json", found, begin())
    text = page(tmp_path)
    assert "| CPU of a step, s | 18.00 | 7.00 | 2.57 (by seed 2.00, 3.00, 3.00) |" in text
    assert "was busy" not in text and "| wall of a step, 2 processes each, s | 9.00 | 4.00 | 2.25 |" in text
    for row in found["plan"]:  # one or two, as the processor has bf16 units
        row |= {"plan_wall_ms": 5000.0}  # of 4 s of CPU
    keep(tmp_path / "measured" / "benchmarks" / "plan.json", found, begin())
    assert "The machine was busy" in page(tmp_path) and "| wall" not in page(tmp_path)
    assert ".svg" not in text and "200 epochs of 50,000 images" in text and "(too many)" in text


def test_the_sixth_method_does_the_work_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BATCH", 4)
    assert gate.checked(SIX["AT"], ["strict"])["double"] < 1e-12
    assert plan.counted(4)["teacher"] > 0
