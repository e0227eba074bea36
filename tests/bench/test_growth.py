"""The page of growth is what its record says, and its exponents are slopes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from redistill.runs.measured import measured

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def growth() -> ModuleType:
    spec = importlib.util.spec_from_file_location("growth", ROOT / "scripts" / "growth.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_exponent_is_the_slope_between_logarithms(growth: ModuleType) -> None:
    assert growth.exponent([1, 2, 8], [5, 20, 320]) == pytest.approx(2.0)
    assert growth.exponent([1, 10, 100], [7, 7, 7]) == pytest.approx(0.0)
    assert growth.exponent([1, 2, 4], [2, 3, 8]) == pytest.approx(1.0)  # through the middle: log 2, log 3, log 8 against 0, 1, 2


def test_the_page_and_the_exponents_are_those_of_the_record(growth: ModuleType) -> None:
    if not growth.RECORD.exists():
        pytest.skip("growth was not measured yet: python scripts/growth.py")
    record = measured(growth.RECORD)
    assert "``" not in growth.text(record) and "e+" not in growth.text(record)  # what is said of the script, and computer's digits
    assert growth.PAGE.read_text(encoding="utf-8") == growth.text(record), "run python scripts/growth.py --draw"
    for axis, found in record["axes"].items():
        xs = [row[axis] for row in found["rows"]]
        assert found["time_exponent"] == round(growth.exponent(xs, [row[found["time"]] for row in found["rows"]]), 2)
        assert found["memory_exponent"] == round(growth.exponent(xs, [row["memory"] for row in found["rows"]]), 2)


def test_a_point_is_measured(growth: ModuleType) -> None:
    found = growth.measured({**growth.BASE, "batch": 2, "images": 20})
    assert found["step"] > 0 and found["whole"] >= found["step"] and found["memory"] > 0
