"""What ``redistill runs --keep`` copies beside records: the rules by which claims were to be judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from redistill.runs import store as stores
from redistill.runs.export import export, teacher
from redistill.runs.store import Run, Store


def test_rules_go_with_the_runs_and_are_never_written_over(tmp_path: Path) -> None:
    store, place = Store(tmp_path / "store"), "rules/ahn2019/1/abc.json"
    store.rule(place, {"rule": {"tolerance": 0.5}, "written": "2026-11-27"})
    assert export(store, tmp_path / "results") == (0, 0)
    kept = Store(tmp_path / "results" / "runs")
    assert kept.written_rule(place) == {"rule": {"tolerance": 0.5}, "written": "2026-11-27"}
    other = Store(tmp_path / "other")
    other.rule(place, {"rule": {"tolerance": 9.0}, "written": "later"})
    export(other, tmp_path / "results")
    assert kept.written_rule(place) == store.written_rule(place)


def test_of_two_processes_that_write_a_rule_at_once_the_first_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, place = Store(tmp_path), Store(tmp_path), "rules/ahn2019/1/abc.json"
    mine = first.rule(place, {"rule": {"seeds": 3}})
    looks = iter([False])  # the second looked before the first had written
    monkeypatch.setattr(stores, "there", lambda path: next(looks, True))
    assert second.rule(place, {"rule": {"seeds": 5}}) == mine == {"rule": {"seeds": 3}}
    assert [path.name for path in (tmp_path / place).parent.iterdir()] == ["abc.json"]


def test_a_teacher_of_ones_own_or_without_data_is_kept_inside_its_folder(teacher_file: Path, tmp_path: Path) -> None:
    [run] = Store(teacher_file).finished()
    asked = run.record["experiment"]
    other = {**asked, "student": {**asked["student"], "model": "../sub/mine.py:Net"}, "source": {"kind": "zero-shot"}}
    row = teacher(Run(run.folder, {**run.record, "experiment": other}), tmp_path / "here" / "teachers")
    assert row["file"] == f"sub-mine.py-Net-zero-shot-{run.cell[:8]}-seed-{run.seed}.safetensors"
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")] == [f"here/teachers/{row['file']}"]
