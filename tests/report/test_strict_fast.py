"""The section of RESULTS.md on strict and fast: there with the record, its numbers the record's, and emulation said where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from redistill.report.results import text
from redistill.report.strict_fast import strict_fast
from redistill.runs.measured import begin, keep


@pytest.mark.parametrize("emulated", [True, False])
@pytest.mark.parametrize("high", [0.15, 0.35])
def test_the_section_says_what_the_record_says(tmp_path: Path, emulated: bool, high: float) -> None:
    assert strict_fast(tmp_path) == ""
    row = {"strict": [80.0, 81.0], "fast": [80.1, 81.1], "difference": 0.1, "interval": [0.05, high], "within_tolerance": high <= 0.2}
    folder = tmp_path / "measured" / "strict-fast"
    folder.mkdir(parents=True)
    about = {"seeds": [0, 1], "tolerance": 0.2, "emulated": emulated, "processors": ["A CPU"]}
    keep(folder / "summary.json", {**about, "methods": {"KD": row}}, begin())
    said = strict_fast(tmp_path)
    assert said in text(tmp_path)
    assert f"| KD | 80.50 | 80.60 | +0.10 | +0.05 to +{high:.2f} | {'yes' if high <= 0.2 else 'no'} |" in said
    assert ("bf16 was **emulated**" in said) == emulated and ("fast may stand for strict" in said) == (high <= 0.2)
    assert "2 seeds" in said and "A CPU" in said
