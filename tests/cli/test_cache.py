"""Runs that remember what their teacher said: the record says so, the identity does not, and ``redistill cache`` lists and clears."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from helpers.experiments import HERE
from redistill import cli
from redistill.answers import folder as answers
from redistill.distill import preflight
from redistill.errors import RedistillError
from redistill.launch.carry_out import Resources
from redistill.runs.store import Run, Store

STUDENT = HERE / "student.toml"


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path / "cache"))


def redistill(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["redistill", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def student_of(store: Path) -> Run:
    found = [run for run in Store(store).runs() if isinstance(run, Run) and run.entry.teacher is not None]
    assert len(found) == 1
    return found[0]


def numbers(run: Run) -> dict[str, Any]:
    return dict(run.record["sessions"][-1]["teacher_answers"])


def test_the_second_store_looks_up_and_has_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in (("one", ()), ("two", ()), ("three", ("--no-cache",)), ("four", ("--jobs", "2", "--no-cache"))):
        assert redistill(monkeypatch, "run", STUDENT, "--runs", tmp_path / name, *more) == 0
    one, two, three, four = (student_of(tmp_path / name) for name in ("one", "two", "three", "four"))
    assert numbers(one) == {"looked_up": 400, "computed": 200} and numbers(two) == {"looked_up": 600, "computed": 0}
    assert numbers(three) == numbers(four) == {"off": "--no-cache"}
    assert len({run.id for run in (one, two, three, four)}) == 1
    assert len({run.record["weights_sha256"] for run in (one, two, three, four)}) == 1
    assert one.record["teacher"]["accuracy"] == two.record["teacher"]["accuracy"] == three.record["teacher"]["accuracy"]
    capsys.readouterr()
    assert redistill(monkeypatch, "diff", one.folder, three.folder, "--assert-equal") == 0


def test_it_is_listed_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert redistill(monkeypatch, "cache") == 0
    assert capsys.readouterr().out.startswith("0 files, 0 B when full of 4.29 GB")
    redistill(monkeypatch, "run", STUDENT, "--runs", tmp_path / "runs")
    capsys.readouterr()
    assert redistill(monkeypatch, "cache", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["kept"]
    assert sorted(row["about"].partition(" of ")[0] for row in rows) == ["accuracy", "accuracy", "logits"]
    assert all(row["damaged"] is None for row in rows)
    where = answers.default_folder()
    assert where is not None
    (where / "00spoilt.table").write_bytes(b"nothing")
    redistill(monkeypatch, "cache")
    out = capsys.readouterr().out
    assert "of no use" in out and "logits of Small on digits:train, digits, none: 200 images x 1" in out
    name = next(row["name"] for row in rows if row["about"].startswith("logits"))
    assert redistill(monkeypatch, "cache", "--clear", name[:12]) == 0 and len(answers.listed(where)) == 3
    assert redistill(monkeypatch, "cache", "--clear") == 0 and answers.listed(where) == []
    for words, says in (
        (("cache", "--clear", "nobody"), "begins with 'nobody'"), (("cache", "some"), "names are for --clear"),
    ):  # fmt: skip
        assert redistill(monkeypatch, *words) == 1 and says in capsys.readouterr().err
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "4 apples")
    assert redistill(monkeypatch, "cache") == 1 and "write 500MB, 4GB or 0" in capsys.readouterr().err
    # before the teacher is trained, and not when its answers are to be remembered
    assert redistill(monkeypatch, "run", STUDENT, "--runs", tmp_path / "none") == 1 and not (tmp_path / "none").exists()
    assert "REDISTILL_CACHE_LIMIT: a size in bytes was expected, got '4 apples'" in capsys.readouterr().err


def test_a_cache_folder_that_cannot_be_made_is_a_sentence_in_the_record_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path / "file"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own; here they are errors
        assert redistill(monkeypatch, "run", STUDENT, "--runs", tmp_path / "runs") == 0
    assert "note: what the teacher says is not remembered" in capsys.readouterr().err
    assert "a part of the path is a file" in numbers(student_of(tmp_path / "runs"))["off"]


def test_distill_does_without_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def planned(*args: Any, resources: Resources, **more: Any) -> None:
        asked.append(resources.cache)
        raise RedistillError("looked at")

    monkeypatch.setattr(preflight, "plan", planned)
    for more in ((), ("--no-cache",)):
        assert redistill(monkeypatch, "distill", "--data", tmp_path, "--teacher", "wrn-10-2", "--student", "half", *more) == 1
    assert asked == [True, False] and "looked at" in capsys.readouterr().err
