"""What was measured and is no run: one head, and a change after it was written is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from redistill import machine
from redistill.errors import RedistillError
from redistill.runs.measured import begin, every, keep, measured

RESULTS = Path(__file__).resolve().parents[2] / "results"
FOUND = sorted((RESULTS / "measured").rglob("*.json"))


@pytest.mark.parametrize("path", FOUND, ids=[str(path.relative_to(RESULTS)) for path in FOUND])
def test_every_measurement_has_the_one_head_and_is_as_it_was_written(path: Path) -> None:
    assert measured(path)
    head = json.loads(path.read_bytes())["head"]
    assert list(head) == ["format", "kind", "origin", "versions", "git", "finished", "sha256"]


def test_results_have_three_layouts_and_documents() -> None:
    """``runs`` with the teachers they need, ``measured``, ``figures``; the documents: ``audit``, ``articles`` and the front page.

    And, as long as there are such, ``unfinished``: checkpoints of runs that go on another day. None outlives its record.
    """
    unfinished = RESULTS / "unfinished"
    begun = {str(path.parent.relative_to(unfinished)) for path in unfinished.glob("*/*/experiment.json")}
    documents = {"figures", "audit", "articles", "index.html", *({"unfinished"} if begun else ())}
    assert {path.name for path in RESULTS.iterdir()} == {"runs", "teachers", "measured", *documents}
    assert [run for run in begun if (RESULTS / "runs" / run / "record.json").exists()] == []
    text = (unfinished / "README.md").read_text(encoding="utf-8") if begun else ""
    for run in begun:
        files = {path.name for path in (unfinished / run).iterdir()}
        assert files == {"checkpoint.safetensors", "curves.json", "experiment.json"} and Path(run).parts[0] in text


def test_what_was_kept_comes_back_and_a_changed_digit_does_not(tmp_path: Path) -> None:
    path = tmp_path / "speed" / "one.json"
    keep(path, {"seconds": 1.5}, begin())
    assert measured(path) == {"seconds": 1.5} and list(every(path.parent)) == [{"seconds": 1.5}]
    head = json.loads(path.read_bytes())["head"]
    assert head["kind"] == "speed" and head["versions"]["torch"] and head["origin"]["threads"] and head["finished"]
    path.write_text(path.read_text().replace("1.5", "1.4"))
    with pytest.raises(RedistillError, match=r"one\.json was changed after it was written"):
        measured(path)


def test_a_record_names_the_code_that_began_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, commit = begin(), machine.git()
    monkeypatch.setattr(machine, "git", lambda: {"commit": "of another day", "dirty": False})
    monkeypatch.setattr(machine, "versions", lambda: {"torch": "of another day"})
    keep(tmp_path / "speed" / "one.json", {"seconds": 1.5}, begun)
    head = json.loads((tmp_path / "speed" / "one.json").read_bytes())["head"]
    assert head["git"] == commit and head["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("text", "says"),
    [("[1]", "no measurement of ours"), ("{}", "no measurement of ours"), ("{", "no measurement of ours"),
     ('{"head": {"kind": "other", "sha256": ""}}', "is of kind 'other' and stands among others: move it to the folder other")],
)  # fmt: skip
def test_what_is_none_is_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RedistillError, match=says):
        measured(tmp_path / "x.json")
