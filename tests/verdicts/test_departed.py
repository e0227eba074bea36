"""What ``explain`` has run stands beside a paper's claims: in its page of the documentation, in a report and on its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.finished_runs import finished
from redistill import papers
from redistill.experiment.value import Experiment
from redistill.papers.explain import variants
from redistill.papers.plan import Plan, make, select
from redistill.report import paper as markdown
from redistill.report import web
from redistill.report.paper_page import beside
from redistill.runs.store import Store
from redistill.verdicts.tables import TableVerdict, judged

AHN = papers.load("ahn2019")
ASKED = "One departure at a time, the others as planned (`redistill explain`)"


def plan(**how: object) -> Plan:
    return make(AHN, select(AHN, ["1"], columns=["2 %"], only=["VID", "KD"]), device="cpu", **how)  # type: ignore[arg-type]


def changed(name: str, teacher: Path | None = None) -> tuple[Experiment, Experiment]:
    """VID with 2 % as planned, and with one departure the other way."""
    files = {} if teacher is None else {"WRN-40-2": teacher}
    plain, other = variants(AHN, AHN.cell("1:VID:2 %"), only=[name], device="cpu", teachers=files)
    return plain.experiment, other.experiment


def fill(store: Store, one: Experiment, values: dict[int, float], dead: tuple[int, ...] = ()) -> None:
    for seed, value in values.items():
        finished(store, one.with_seed(seed), value, diverged="NaN at step 5" if seed in dead else None)


def table_of(store: Store, what: Plan) -> TableVerdict:
    [table] = judged(what, store)
    return table


def test_departures_that_ran_stand_under_their_cell_with_an_interval(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain, floor = changed("floor")
    fill(store, plain, {0: 70.0, 1: 71.0, 2: 72.0})
    fill(store, floor, {0: 61.0, 1: 61.0, 2: 61.0})
    fill(store, changed("decay")[1], {1: 72.5})
    table = table_of(store, plan())
    assert list(table.departed) == ["VID / 2 %"]
    lines = markdown.departed_lines(table)
    assert lines[0].startswith("VID / 2 %, floor: -10.00 [-12.48, -7.52], 3 seeds; the least variance of VID: TensorFlow reproduction: 1")
    assert lines[1].startswith("VID / 2 %, decay: +1.50, of one seed: no interval; what weight decay reaches beside VID: ")
    for text in ("\n".join(beside([table])), markdown.page(plan(), [table])):
        assert ASKED in text and f"* {lines[0]}." in text and f"* {lines[1]}." in text
    assert f"<li>{lines[0]}</li>" in web.paper_page(plan(), [table])


def test_nothing_is_said_where_nothing_was_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store, changed("floor")[0], {0: 70.0})
    table = table_of(store, plan())
    assert table.departed == {} and ASKED not in "\n".join(beside([table])) + markdown.page(plan(), [table])


def test_dead_seeds_have_no_effect_and_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain, floor = changed("floor")
    fill(store, plain, {0: 50.0, 2: 70.9}, dead=(0,))
    fill(store, floor, {0: 60.0, 2: 61.3})
    [line] = markdown.departed_lines(table_of(store, plan()))
    assert line.startswith("VID / 2 %, floor: -9.60, of one seed: no interval")


def test_a_departure_that_kills_is_told_with_what_its_seeds_had_without_it(tmp_path: Path) -> None:
    """It was *not measured*, beside a seed that had been trained and died of it."""
    store = Store(tmp_path)
    plain, start = changed("start")
    fill(store, plain, {0: 50.0, 1: 68.5, 2: 70.9}, dead=(0,))
    fill(store, start, {2: 53.3}, dead=(2,))
    [line] = markdown.departed_lines(table_of(store, plan()))
    assert line.startswith("VID / 2 %, start: no accuracy, seed 2 diverged, which as planned came to 70.90; the first variance of VID")
    fill(store, start, {0: 10.0, 1: 40.0}, dead=(0, 1))
    [line] = markdown.departed_lines(table_of(store, plan()))
    assert "start: no accuracy, seeds 0, 1, 2 diverged, of which seeds 1, 2 as planned came to 68.50, 70.90; " in line


def test_what_learned_from_a_file_is_compared_with_what_learned_from_that_file(tmp_path: Path, files: list[Path]) -> None:
    store = Store(tmp_path / "runs")
    for file, shift in zip(files, (0.0, 5.0), strict=True):
        plain, floor = changed("floor", file)
        fill(store, plain, {0: 70.0, 1: 71.0, 2: 72.0} if not shift else {0: 80.0})
        fill(store, floor, {0: 61.0, 1: 61.0, 2: 62.0} if not shift else {0: 90.0})
    for asked in (plan(), plan(teachers={"WRN-40-2": files[0]})):
        [line] = markdown.departed_lines(table_of(store, asked))
        assert line.startswith("VID / 2 %, floor: -9.67 [")
    [line] = markdown.departed_lines(table_of(store, plan(teachers={"WRN-40-2": files[1]})))
    assert line.startswith("VID / 2 %, floor: +10.00, of one seed")


def test_a_table_of_its_own_with_the_same_experiment_is_the_same_run(tmp_path: Path) -> None:
    """VID on three maps is a table that nobody prints, and a departure of Table 1."""
    store = Store(tmp_path)
    fill(store, changed("maps")[0], {0: 70.0})
    [cell] = make(AHN, select(AHN, ["vid-maps"], rows=["three maps"], columns=["2 %"]), device="cpu").cells
    assert cell.experiment is not None
    fill(store, cell.experiment, {0: 66.0})
    [line] = markdown.departed_lines(table_of(store, plan()))
    assert line.startswith("VID / 2 %, maps: -4.00, of one seed")


def test_a_plan_with_a_teacher_a_seed_has_no_departures_of_the_papers_plan(tmp_path: Path) -> None:
    store, each = Store(tmp_path), plan(teachers_each=True)
    mine = next(p.experiment for p in each.cells if p.cell.facts["method"] == "VID")
    assert mine is not None
    fill(store, mine, {0: 70.0})
    fill(store, changed("floor")[1], {0: 61.0})
    assert table_of(store, each).departed == {}


def test_formulas_that_have_changed_since_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from redistill.terms import VID

    store = Store(tmp_path)
    plain, floor = changed("floor")
    fill(store, plain, {0: 70.0})
    fill(store, floor, {0: 61.0})
    monkeypatch.setattr(VID, "numerics", VID.numerics + 1)
    assert table_of(store, plan()).departed == {}
