"""What README, RESULTS.md and docs/distill.md say of distillations is what the records say."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from redistill import stats
from redistill.report import distilled
from redistill.runs.measured import begin, keep

ROOT = Path(__file__).resolve().parents[2]
TABLE = """\
|            |  Big | Small plain | Small KD |
|------------|-----:|------------:|---------:|
| accuracy % | 90.0 |       80.00 |    81.00 |
| NLL, nats  |  0.3 |         0.5 |      0.6 |

Small KD: +1.00 points beside the plain student.

Latencies are medians.
"""


@pytest.mark.parametrize("name", list(distilled.ABOUT))
def test_a_records_table_is_that_of_its_numbers(name: str) -> None:
    one = distilled.record(ROOT / "results", name)
    assert one is not None
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in one["table"].splitlines() if "|" in line]
    rows = {name: values for name, *values in cells}
    means = [statistics.fmean(seed["accuracy"] for seed in row["seeds"].values()) for row in one["rows"]]
    assert [float(cell) for cell in rows["accuracy %"]] == pytest.approx(means, abs=0.005)
    assert [len(row["seeds"]) for row in one["rows"]] == [1, 3, 3]
    plain, student = one["rows"][1:]
    gain = statistics.fmean(student["seeds"][s]["accuracy"] - plain["seeds"][s]["accuracy"] for s in "012")
    assert float(rows["distilled minus plain"][-1]) == pytest.approx(gain, abs=0.005) and student["gain"]["value"] == pytest.approx(gain)


@pytest.mark.parametrize("name", list(distilled.WAYS))
def test_what_helps_is_told_in_the_numbers_of_the_records(name: str) -> None:
    one = distilled.record(ROOT / "results", name)
    assert one is not None
    plain, *students = (row for row in one["rows"] if row["kind"] != "teacher")
    lines = [line for line in distilled.ways(ROOT / "results").splitlines() if line.startswith(f"| {distilled.WAYS[name]} ")]
    assert len(lines) == len(students) > 0
    for line, row in zip(lines, students, strict=True):
        by_seed = [(row["seeds"][s]["accuracy"], plain["seeds"][s]["accuracy"]) for s in "012"]
        told = stats.paired_difference(*zip(*by_seed, strict=True))
        *_, alone, distilled_, gain, span = (cell.strip() for cell in line.split("|")[1:-1])
        taught, untaught = (statistics.fmean(column) for column in zip(*by_seed, strict=True))
        assert (float(alone), float(distilled_)) == pytest.approx((untaught, taught), abs=0.005)
        assert [float(number) for number in (gain, *span.split(" to "))] == pytest.approx([told.value, told.low, told.high], abs=0.005)


def test_pages_take_the_rows_that_they_have_room_for(tmp_path: Path) -> None:
    folder = tmp_path / "measured" / "distill"
    keep(folder / "shapes.json", {"command": "redistill distill", "cpu_seconds": 60.0, "table": TABLE, "rows": [{"runs": ["a"]}]}, begin())
    page = "before\n<!-- shapes: written by scripts/make_docs.py from results/measured/distill -->\nold\n<!-- end of shapes -->\nafter\n"
    made = distilled.on_page(page, tmp_path)
    assert "old" not in made and made.startswith("before") and made.endswith("after\n") and distilled.on_page(made, tmp_path) == made
    assert "| accuracy % |" in made and "NLL" not in made and "+1.00 points" in made and "Latencies" not in made
    assert "1 trainings, 1.0 minutes" in made and "(1 of its 2 rows;" in made
    assert "### CIFAR-10" not in distilled.section(tmp_path) and "NLL" in distilled.section(tmp_path)
    changed = json.loads((folder / "shapes.json").read_text())
    (folder / "shapes.json").write_text(json.dumps({**changed, "cpu_seconds": 1.0}))
    with pytest.raises(ValueError, match="was changed after it was written"):
        distilled.section(tmp_path)
    assert distilled.section(tmp_path / "nothing") == ""
