"""Runs of a student alone are evidence of no method whose last stage merely looks like one."""

from __future__ import annotations

from redistill.evidence.matching import alone, from_labels
from redistill.papers.load import load


def test_a_second_stage_on_labels_is_no_student_alone() -> None:
    paper = load("tian2020")
    of = {cell.facts.get("method"): cell for cell in paper.cells if "trains" not in cell.facts}
    assert alone(paper, of["alone"]) and from_labels(paper, of["alone"])
    for method in ("AB", "FSP"):  # they begin with what the teacher taught them
        assert [term["use"] for term in paper.file.method[method]] == ["CE"]
        assert not alone(paper, of[method]) and not from_labels(paper, of[method])
