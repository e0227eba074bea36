"""Runs that learned from a file of weights are found beside a paper's claims, and the table says which file taught."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.finished_runs import begun, finished
from redistill import papers
from redistill.papers.plan import Plan, make, select
from redistill.report.paper_page import beside
from redistill.runs.lookup import Found
from redistill.runs.store import Store
from redistill.verdicts.tables import TableVerdict, judged
from redistill.verdicts.taught import Substitutes

MICAELLI = papers.load("micaelli2019")


def plan(file: Path | None = None) -> Plan:
    cells = select(MICAELLI, ["1"], rows=["WRN-40-2, WRN-16-2"], only=["KD+AT", "zero-shot"])
    return make(MICAELLI, cells, device="cpu", teachers={} if file is None else {"WRN-40-2": file})


def fill(store: Store, of: Plan, values: tuple[float, ...], cell: int = 0) -> None:
    one = of.cells[cell].experiment
    assert one is not None
    for seed, value in enumerate(values):
        finished(store, one.with_seed(seed), value)


def table_of(store: Store, of: Plan) -> TableVerdict:
    [table] = judged(of, store)
    return table


def test_a_report_finds_them_without_being_told_the_file(tmp_path: Path, files: list[Path]) -> None:
    store = Store(tmp_path / "runs")
    fill(store, plan(files[0]), (86.3, 86.4, 86.5))
    for path in files:
        path.unlink()  # the record names it by its SHA-256, wherever it is now
    found = table_of(store, plan()).findings[0]
    assert found.ours is not None and found.ours.n == 3 and found.ours.value == pytest.approx(86.4)


def test_it_is_the_same_verdict_as_with_the_file(tmp_path: Path, files: list[Path]) -> None:
    store = Store(tmp_path / "runs")
    fill(store, plan(files[0]), (86.3, 86.4, 86.5))
    told, untold = (table_of(store, one).findings for one in (plan(files[0]), plan()))
    assert told[0].ours is not None and told == untold


def test_students_of_the_trained_teacher_come_first(tmp_path: Path, files: list[Path]) -> None:
    store = Store(tmp_path / "runs")
    fill(store, plan(files[0]), (80.0, 80.1, 80.2))
    fill(store, plan(), (86.3, 86.4, 86.5))
    found = table_of(store, plan()).findings[0]
    assert found.ours is not None and found.ours.value == pytest.approx(86.4)
    assert "seeds 0, 1, 2 learned from another teacher, good.safetensors (SHA-256 " in found.note
    assert found.note.endswith("): not counted here, --teacher wrn-40-2=FILE judges them")


def test_one_begun_student_of_the_trained_teacher_is_enough(tmp_path: Path, files: list[Path]) -> None:
    """A table is not about one teacher in one cell and about another one in the next."""
    store, trained = Store(tmp_path / "runs"), plan()
    fill(store, plan(files[0]), (80.0, 80.1, 80.2))
    one = trained.cells[1].experiment
    assert one is not None
    begun(store, one)
    first, second = table_of(store, trained).findings[:2]
    assert first.ours is None and "seeds 0, 1, 2 learned from another teacher" in first.note
    assert second.verdict == "not attempted" and "seed 0 was begun" in second.note


def test_of_two_files_the_one_of_most_runs_counts_everywhere(tmp_path: Path, files: list[Path]) -> None:
    store = Store(tmp_path / "runs")
    fill(store, plan(files[0]), (80.0, 80.1, 80.2))
    fill(store, plan(files[1]), (86.3, 86.4, 86.5))
    fill(store, plan(files[1]), (83.0, 83.2, 83.4), cell=1)
    first, second = table_of(store, plan()).findings[:2]
    assert first.ours is not None and first.ours.value == pytest.approx(86.4)
    assert second.ours is not None and second.ours.value == pytest.approx(83.2)
    assert "seeds 0, 1, 2 learned from another teacher, good.safetensors" in first.note and "learned" not in second.note
    told = table_of(store, plan(files[0])).findings[0]
    assert told.ours is not None and told.ours.value == pytest.approx(80.1) and "other.safetensors" in told.note


def test_where_nothing_was_taught_by_a_file_the_plan_stays(tmp_path: Path) -> None:
    store, trained = Store(tmp_path / "runs"), plan()
    fill(store, trained, (86.3, 86.4, 86.5))
    assert Substitutes(Found(store)).plan(trained) is trained


def test_the_teacher_of_what_a_student_goes_on_from_counts_too(tmp_path: Path, files: list[Path]) -> None:
    """The hint's second stage has no teacher of its own: its first has."""
    ahn = papers.load("ahn2019")
    cells = select(ahn, ["tf"], rows=["FitNet"], columns=["2 %"])
    store = Store(tmp_path / "runs")
    fill(store, make(ahn, cells, device="cpu", teachers={"WRN-40-2": files[0]}), (56.0, 56.5, 57.0))
    found = table_of(store, make(ahn, cells, device="cpu")).findings[0]
    assert found.ours is not None and found.ours.value == pytest.approx(56.5)


def test_a_page_shows_what_waits_for_seeds_and_what_no_paper_prints(tmp_path: Path, files: list[Path]) -> None:
    store, ahn = Store(tmp_path / "runs"), papers.load("ahn2019")
    cells = select(ahn, ["1", "vid-maps"], columns=["2 %"], only=["VID", "VID, three maps"])
    taught = make(ahn, cells, device="cpu", teachers={"WRN-40-2": files[0]})
    for cell in (0, 1):
        fill(store, taught, (70.0,), cell)
    text = "\n".join(beside(judged(make(ahn, cells, device="cpu"), store)))
    assert "0 of 1 claim judged." in text and "| VID / 2 % | 81.59 | 70.00 (0) |  |  | pending |" in text
    assert "* VID / 2 % is pending: 1 of 3 seeds so far (the paper's 81.59)." in text
    assert "### vid-maps, which no paper prints" in text and "| three maps / 2 % | 70.00 (0) |" in text
