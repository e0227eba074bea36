"""What ``redistill runs --keep`` copies beside records: the rules by which claims were to be judged."""

from __future__ import annotations

from pathlib import Path

from redistill.runs.export import export
from redistill.runs.store import Store


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
