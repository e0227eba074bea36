"""Runs are evidence of exactly the cells that are of them: of no cell that merely looks alike."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from redistill.evidence import names
from redistill.evidence.matching import from_labels, key_of, regime_of
from redistill.evidence.registry import _paper_files
from redistill.papers.load import load, parse
from redistill.papers.load import names as papers
from redistill.verdicts.claims import kind_of

SMALL = (Path(__file__).parents[1] / "helpers" / "small.toml").read_text()


def test_a_second_stage_on_labels_is_no_student_alone() -> None:
    paper = load("tian2020")
    of = {cell.facts.get("method"): cell for cell in paper.cells if "trains" not in cell.facts}
    assert from_labels(paper, of["alone"])
    for method in ("AB", "FSP"):  # they begin with what the teacher taught them
        assert [term["use"] for term in paper.file.method[method]] == ["CE"]
        assert not from_labels(paper, of[method])


def test_a_teacher_that_is_itself_distilled_is_not_taken_for_its_student() -> None:
    text = SMALL.replace('KD = { method = "KD" }', 'KD = { method = "KD", trains = "teacher" }')
    paper = parse(text.encode(), "small.toml", "small")
    keys = {cell.facts["method"]: key_of(paper, cell) for cell in paper.cells if cell.facts["M"] == "10"}
    assert keys == {"alone": ("digits", "", "lenet", names.STUDENT, "10"), "KD": ("digits", "big", "big", "kd", "10")}


def test_cells_of_one_regime_are_those_of_our_own_verdicts() -> None:
    for name in papers():
        paper = load(name)
        for cell in paper.cells:
            if (kind := kind_of(paper, cell)) is not None:
                assert regime_of(paper, cell) == kind.regime, cell.id
    fang = load("fang2021")
    regimes = {cell.facts["method"]: regime_of(fang, cell) for cell in fang.cells if cell.table == "cifar100"}
    assert regimes["DAFL"] == regimes["CMI"] == "generated cifar100" and regimes["alone"] == "real cifar100"


def test_printed_numbers_that_differ_in_two_facts_are_of_two_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SMALL.replace('facts = ["M"]', 'facts = ["M", "by"]').replace('student = "LeNet" }', 'student = "LeNet", by = "others" }')
    paper = parse(text.encode(), "small.toml", "small")
    module = importlib.import_module("redistill.papers.load")
    monkeypatch.setattr(module, "names", lambda: ["small"])
    monkeypatch.setattr(module, "load", lambda name: paper)
    found = {(number.key[3], number.value): number.key[4] for number in _paper_files(set())}
    assert found == {
        (names.STUDENT, 50.0): "M=10, by others", ("kd", 60.0): "M=10, by others", (names.STUDENT, 55.0): "M=20, by others",
    }  # fmt: skip
