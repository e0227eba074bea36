"""``--method``: every name is trained as its row of ``redistill compare`` is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from redistill import terms
from redistill.core import RedistillError
from redistill.distill.methods import asked, of_few_images
from redistill.published.methods import METHODS, listed
from redistill.report import distilled
from redistill.report.distilled import WAYS

RESULTS = Path(__file__).resolve().parents[2] / "results"


def rows(text: str, labelled: bool = True, epochs: int = 240) -> list[dict[str, object]]:
    [one] = asked(text, labelled, epochs)
    return list(one.rows)


@pytest.mark.parametrize("name", ["KD", "DKD", "DIST", "CTKD", "AT", "CRD", "Review", "SRRL", "OFA"])
def test_a_name_is_its_row_of_the_comparison(name: str) -> None:
    assert rows(name) == listed(name, epochs=240, image_size=32)[1]


def test_a_weight_that_its_authors_raise_grows_over_its_share_of_the_run() -> None:
    assert rows("DKD")[1]["weight"] == {"start": -1.0, "end": 19.0, "last": 1.0}
    assert rows("Review", epochs=48)[1]["weight"] == {"start": -1.0, "end": 3.0, "last": 5.0}
    assert rows("KD+DKD", epochs=24)[2]["weight"] == {"start": -1.0, "end": 1.0, "last": 1.0}


def test_a_sum_has_each_term_once_and_the_least_cross_entropy() -> None:
    half = [{"use": "CE", "weight": 0.1}, {"use": "KD", "T": 4.0, "weight": 0.9}]
    at = {"use": "AT", "weight": 1000.0}
    assert rows("KD+AT") == [*half, at] and rows("AT+KD") == [half[0], at, half[1]]
    assert rows("AT+SP") == [{"use": "CE"}, at, {"use": "SP", "weight": 3000.0}]
    assert [row["use"] for row in rows("KD+SRRL")] == ["CE", "KD", "SRRL"] and rows("KD+SRRL")[1] == half[1]
    assert rows("KD+AT", labelled=False) == [{**half[1], "weight": 1.0}, at]


def test_a_plan_by_kd_alone_on_few_images_says_what_was_measured_there() -> None:
    said = of_few_images(["KD"], 100.0, False)
    assert said is not None and said.startswith("few images: ") and "--choose tries them" in said and "--unlabelled" in said
    assert "--unlabelled" not in (of_few_images(["KD"], 100.0, True) or "--unlabelled")
    assert all(of_few_images(names, each, False) is None for names, each in ((["KD"], 500.0), (["KD", "KD+AT"], 100.0), (["KD"], math.inf)))
    # and it is what the records say: a sentence about numbers does not outlive them
    interval = {}
    for name in WAYS:
        record = distilled.record(RESULTS, name)
        assert record is not None
        for row in (row for row in record["rows"] if row["kind"] == "distilled"):
            interval[name, row["name"].rpartition(" ")[2]] = row["gain"]["over_seeds"]
    low, high = interval["cifar10-methods", "KD"]
    assert low < 0 < high
    assert all(interval["cifar10-methods", name][0] > 0 for name in ("KD+AT", "KD+SP")) and interval["cifar10-unlabelled", "KD"][0] > 0


def test_what_takes_more_than_one_training_is_refused_with_what_makes_it() -> None:
    for name, why in (
        ("FSP", "learns in two stages"), ("AB", "learns in two stages"), ("MLKD", "needs two views of every image"),
        ("SimKD", "puts the teacher's classifier on the student"),
    ):  # fmt: skip
        with pytest.raises(RedistillError, match=f"--method {name} {why}, .*: redistill compare --methods {name} does"):
            rows(name)
    with pytest.raises(RedistillError, match=r"--method ('Anchor'|Anchor): no usual weight is known"):
        rows("Anchor")


def test_every_other_term_that_a_table_lists_has_its_weight() -> None:
    """FT learns with both its networks at once."""
    for name in METHODS:
        if hasattr(terms, name) and name not in ("FSP", "AB", "MLKD", "SimKD"):
            assert any(row["use"] == name for row in rows(name)), name
