"""Verdicts: every word by hand, what each part of the rule changes, and how often they are false."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.stats

from redistill.claims import (
    Claim,
    Finding,
    Measured,
    Published,
    judge,
    judge_table,
    pool,
    sentence,
    sentences,
    summary_sentences,
    verdict_words,
)
from redistill.claims.model import Aggregate, Which
from redistill.errors import RedistillError
from redistill.report.marked import block, filled
from redistill.runs.measured import measured
from redistill.stats import Spread, median_factor

ROOT = Path(__file__).resolve().parents[2]


def runs(*values: float, best: float | None = None) -> list[Measured]:
    return [Measured(seed, x, None if best is None else x + best) for seed, x in enumerate(values)]


def mean_of_3(value: float, std: float | None = None, **other: Any) -> Published:
    return Published(value, std, 3, other.pop("ddof", 0 if std is not None else None), which="last", aggregate="mean", **other)


def value(published: Published, **other: Any) -> Claim:
    return Claim("c", "value", "A", published, **other)


OURS = [82.1, 82.5, 82.3]  # mean 82.3, standard deviation 0.2
T2 = scipy.stats.t.ppf(0.97, 2)
PRINT = 0.01**2 / 12  # variance of what rounding to two decimals takes away


def half_width(*parts: tuple[float, float], prints: int = 1) -> float:
    """Of a 94 % interval, from (variance, degrees of freedom) and the rounding of so many printed numbers."""
    known = [*((v, scipy.stats.t.ppf(0.97, df)) for v, df in parts), (prints * PRINT, scipy.stats.norm.ppf(0.97))]
    total = sum(v for v, _ in known)
    return sum(v * t for v, t in known) / total * math.sqrt(total)


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------
def test_a_mean_without_a_spread_gets_ours() -> None:
    found = judge(value(mean_of_3(82.44)), {"A": runs(*OURS)})
    half = half_width((0.2**2 * (1 / 3 + 1 / 3), 2))
    assert found.difference == pytest.approx(-0.14)
    assert found.interval == pytest.approx((-0.14 - half, -0.14 + half))
    assert found.verdict == "unclear" and found.epoch == "last" and found.ours is not None and found.ours.n == 3
    ours = scipy.stats.t.ppf(0.975, 2) * 0.2 / math.sqrt(3)
    assert (found.ours.low, found.ours.high) == pytest.approx((82.3 - ours, 82.3 + ours))


@pytest.mark.parametrize(("ddof", "factor"), [(0, 1.5), (None, 1.5), (1, 1.0)])
def test_the_papers_spread_enters_with_its_own_seeds_and_ddof(ddof: Any, factor: float) -> None:
    found = judge(value(mean_of_3(82.44, 0.1, ddof=ddof)), {"A": runs(*OURS)})
    half = half_width((0.2**2 / 3 + 0.1**2 * factor / 3, 2))  # both parts have two degrees of freedom
    assert found.interval == pytest.approx((-0.14 - half, -0.14 + half))


def test_a_number_of_unknown_origin_counts_as_one_run() -> None:
    found = judge(value(Published(82.44)), {"A": runs(*OURS)})
    half = half_width((0.2**2 * (1 / 3 + 1), 2))
    assert found.interval == pytest.approx((-0.14 - half, -0.14 + half))


def test_a_median_is_compared_with_our_median_and_its_own_error() -> None:
    claim = value(Published(82.44, None, 5, None, "last", "median"))
    found = judge(claim, {"A": runs(82.0, 82.5, 82.1)})
    sd = float(np.std([82.0, 82.5, 82.1], ddof=1))
    half = half_width((sd**2 * (median_factor(3) ** 2 + median_factor(5) ** 2), 2))
    assert found.difference == pytest.approx(82.1 - 82.44)
    assert found.interval == pytest.approx((82.1 - 82.44 - half, 82.1 - 82.44 + half))


def test_the_four_verdicts() -> None:
    exact = {"A": runs(82.29, 82.30, 82.31)}
    for printed, verdict in ((82.44, "reproduced"), (81.0, "above"), (83.0, "below"), (82.8, "unclear")):
        assert judge(value(mean_of_3(printed)), exact).verdict == verdict
    assert judge(value(mean_of_3(83.0), tolerance=1.0), exact).verdict == "reproduced"


def test_unclear_says_how_many_more_seeds_and_they_do_settle_it() -> None:
    claim = value(mean_of_3(82.44))
    found = judge(claim, {"A": runs(*OURS)})
    assert found.more_seeds is not None and 1 <= found.more_seeds <= 10
    rng = np.random.default_rng(0)
    settled = 0
    for _ in range(300):
        more = OURS + list(rng.normal(82.3, 0.2, found.more_seeds))
        settled += judge(claim, {"A": runs(*more)}).verdict == "reproduced"
    assert settled / 300 > 0.7  # four of five, were mean and spread exactly what three seeds show



def test_a_print_that_no_affordable_number_of_seeds_settles_is_compatible_within_a_bound() -> None:
    claim = value(mean_of_3(82.44, 0.4))  # the paper's three seeds alone leave ±0.83
    found = judge(claim, {"A": runs(*OURS)})
    assert found.verdict == "compatible" and found.more_seeds is None and found.interval is not None
    assert found.bound == pytest.approx(max(-found.interval[0], found.interval[1]))
    assert f"compatible, ± {found.bound:.2f}" in sentence(found) and "not even 10 seeds of ours would settle ±0.5" in found.note
    # at that tolerance it would be reproduced, and one that is shown to be elsewhere is never called compatible
    assert judge(dataclasses.replace(claim, tolerance=found.bound + 1e-9), {"A": runs(*OURS)}).verdict == "reproduced"
    assert judge(value(mean_of_3(87.0, 0.4)), {"A": runs(*OURS)}).verdict == "below"
    # what the plan said before the runs stands, whatever the spreads look like now
    assert judge(dataclasses.replace(claim, reach=True), {"A": runs(*OURS)}).verdict == "unclear"
    assert judge(value(mean_of_3(82.44), reach=False), {"A": runs(*OURS)}).verdict == "compatible"


def test_what_is_to_be_minded_of_every_claim_alike_is_said_once() -> None:
    said = Published(80.0, None, None, None, "unknown", "unknown")
    found = judge_table([Claim(cell, "value", cell, said) for cell in "AB"], {"A": runs(*OURS), "B": runs(*OURS)})[0]
    unlike = "the paper reports an epoch that it does not name, ours is the last epoch"
    assert all(finding.mismatch == unlike for finding in found)
    *each, last = sentences(found)
    assert last == f"Mind of all of these that {unlike}." and len(each) == 2 and not any("mind that" in one for one in each)
    # a single one says it itself, and so does each where they differ
    assert sentences(found[:1]) == [sentence(found[0])] and unlike in sentence(found[0])
    differing = [found[0], dataclasses.replace(found[1], mismatch="")]
    assert sentences(differing) == [sentence(one) for one in differing]


def test_a_compatible_names_the_other_printed_numbers_that_it_would_be_said_of() -> None:
    ours = {"hint": runs(54.1, 61.4, 58.2), "alone": runs(54.8, 55.9, 57.8), "far": runs(70.0, 70.5, 71.0)}
    print_of = {"hint": 68.9, "alone": 58.84, "far": 98.0}
    numbers = {cell: Published(x, None, None, None, "unknown", "unknown") for cell, x in print_of.items()}

    def table(said: Published) -> list[Claim]:
        values = [Claim(cell, "value", cell, said if cell == "hint" else number, reach=False) for cell, number in numbers.items()]
        order = Claim("order", "order", "far", numbers["far"], "hint", said, "unpaired")
        return [*values, Claim("gain", "gain", "hint", said, "alone", numbers["alone"], "unpaired", reach=False), order]

    hint, _, _, gain, _ = judge_table(table(numbers["hint"]), ours)[0]
    assert hint.verdict == "compatible" and "had the paper printed 58.84 (alone), that would be compatible too" in sentence(hint)
    assert "far" not in hint.note  # it is compared with it too, and too far off to be taken for it
    assert gain.verdict == "compatible" and "had the paper printed no gain, that would be compatible too" in sentence(gain)
    # and so it is, if they are printed there, where it would have been said of the other number in turn
    for said in (58.84, 97.0):
        turned, *_ = judge_table(table(dataclasses.replace(numbers["hint"], value=said)), ours)[0]
        assert turned.verdict == ("compatible" if said == 58.84 else "below")
    # nothing is said of a number that nothing is compared with, and of other verdicts
    assert "had the paper" not in judge_table([table(numbers["hint"])[0]], ours)[0][0].note
    assert "had the paper" not in judge_table([dataclasses.replace(c, reach=True) for c in table(numbers["hint"])], ours)[0][0].note


def test_one_seed_gives_no_verdict() -> None:
    found = judge(value(mean_of_3(82.3), seeds=1), {"A": runs(82.3)})
    assert (found.verdict, found.more_seeds, found.note) == ("unclear", 2, "no verdict from one seed")
    assert found.reading is None


# ---------------------------------------------------------------------------------------------------------------------
# Nothing to judge
# ---------------------------------------------------------------------------------------------------------------------
def test_what_is_missing_is_said() -> None:
    claim = value(mean_of_3(82.44))
    assert judge(claim, {}).verdict == "not attempted"
    pending = judge(claim, {"A": runs(82.1, 82.3)})
    assert (pending.verdict, pending.note) == ("pending", "2 of 3 seeds so far")
    assert judge(claim, {"A": []}).verdict == "pending"
    old = [dataclasses.replace(run, stale=run.seed == 1) for run in runs(*OURS)]
    assert judge(claim, {"A": old}).verdict == "stale"
    renewed = [*old, Measured(3, 82.5)]
    found = judge(claim, {"A": renewed})  # three that are not stale: 82.1, 82.3, 82.5
    assert found.verdict == "unclear" and found.ours is not None and found.ours.value == pytest.approx(82.3)


def test_a_pair_needs_the_seeds_that_both_have() -> None:
    claim = Claim("g", "gain", "A", mean_of_3(2.0), "B", decides="paired")
    other = [Measured(seed, 80 + 0.1 * seed) for seed in (1, 2, 3)]
    found = judge(claim, {"A": runs(*OURS), "B": other})
    assert (found.verdict, found.note) == ("pending", "2 of 3 seeds in both cells so far")
    assert judge(dataclasses.replace(claim, decides="unpaired"), {"A": runs(*OURS), "B": other}).reading is not None


def test_one_pair_is_one_seed_and_cells_without_a_common_seed_are_compared_without_a_warning() -> None:
    """Of one pair the interval was NaN; and numpy warned of empty slices, as `audit` of runs whose seeds differ did."""
    cells = {"A": runs(82.0, 82.2), "B": [Measured(0, 80.0), Measured(2, 80.2)]}
    claim = Claim("g", "gain", "A", mean_of_3(82.0), "B", mean_of_3(80.0), "paired", seeds=1)
    found = judge(claim, cells)
    assert (found.verdict, found.note, found.more_seeds) == ("unclear", "no verdict from one seed", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apart = {"A": cells["A"], "B": [Measured(seed + 5, 80 + seed / 10) for seed in range(2)]}
        [found], _ = judge_table([dataclasses.replace(claim, decides="unpaired")], apart)
    assert found.reading is not None and found.difference == pytest.approx(0.05)


def test_every_seed_of_the_plan_counts_whatever_the_others_say() -> None:
    claim = value(mean_of_3(82.3), needs=(0, 1, 2))
    found = judge(claim, {"A": [Measured(1, 82.3), Measured(2, 82.31), Measured(3, 82.29)]})
    assert (found.verdict, found.note) == (
        "pending", "seed 0 planned or begun and not there: every one counts, whatever the others say",
    )  # fmt: skip


def test_looks_are_fixed_before_and_each_is_stricter() -> None:
    claim = value(mean_of_3(82.3), looks=(3, 5, 10))
    exact = [82.2, 82.4, 82.3, 82.25, 82.35]
    first, last = judge(claim, {"A": runs(*exact[:3])}), judge(claim, {"A": runs(*exact)})
    between = judge(claim, {"A": runs(*exact[:4])})
    assert (between.verdict, between.note) == ("pending", "4 of 5 seeds so far")
    plain = judge(value(mean_of_3(82.3)), {"A": runs(*exact[:3])})
    assert first.interval is not None and plain.interval is not None and first.interval[1] > plain.interval[1]
    assert last.note == "look at 5 of 3, 5, 10 seeds, each at 1.30 %" and last.verdict == "reproduced"


def test_an_allowance_for_the_teacher_widens_by_two_teachers() -> None:
    found = judge(value(mean_of_3(82.44), allowance=0.3), {"A": runs(*OURS)})
    assert found.interval is not None
    mine, known, t = 0.2**2 * 2 / 3, 2 * 0.3**2 + PRINT, scipy.stats.norm.ppf(0.97)
    half = (mine * T2 + known * t) / math.sqrt(mine + known)
    assert found.interval == pytest.approx((-0.14 - half, -0.14 + half))


def test_a_print_of_one_teacher_counts_as_one_run_where_ours_have_one_each() -> None:
    one = judge(value(mean_of_3(82.44, teachers=1)), {"A": runs(*OURS)})
    half = half_width((0.2**2 * (1 / 3 + 1), 2))
    assert one.interval == pytest.approx((-0.14 - half, -0.14 + half))
    assert judge(value(mean_of_3(82.44, 0.01, teachers=1)), {"A": runs(*OURS)}).interval == pytest.approx(one.interval)


def test_whole_points_are_as_uncertain_as_whole_points() -> None:
    found = judge(value(Published(82.0, None, 3, None, "last", "mean", 0)), {"A": runs(*OURS)})
    mine, rounded = 0.2**2 * 2 / 3, 1 / 12
    half = (mine * T2 + rounded * scipy.stats.norm.ppf(0.97)) / math.sqrt(mine + rounded)
    assert found.interval == pytest.approx((0.3 - half, 0.3 + half))


def test_contradicting_values_make_a_claim_disputed_and_each_is_judged() -> None:
    claim = value(mean_of_3(94.06), contradicting=(mean_of_3(94.37), mean_of_3(95.5)))
    found = judge(claim, {"A": runs(94.05, 94.06, 94.07)})
    alike = judge(dataclasses.replace(claim, contradicting=claim.contradicting[:1]), {"A": runs(94.05, 94.06, 94.07)})
    assert alike.verdict == "reproduced" and alike.note == "printed otherwise too (94.37): the same verdict"
    assert found.verdict == "disputed"
    assert found.reading is not None and found.reading.verdict == "reproduced"
    assert {r.what: r.verdict for r in found.others} == {"against 94.37": "reproduced", "against 95.50": "below"}
    assert "reproduced against 94.06, reproduced against 94.37, below against 95.50" in sentence(found)


def test_a_disputed_claim_that_is_out_of_reach_is_a_sentence() -> None:
    found = judge(value(Published(80.0, None, 1), contradicting=(Published(95.0, None, 1),)), {"A": runs(80.0, 82.0, 84.0)})
    assert found.verdict == "disputed" and found.reading is not None and found.reading.interval is not None
    assert f"inside ±{max(map(abs, found.reading.interval)):.2f}" in sentence(found)
    assert "compatible against 80.00, below against 95.00" in sentence(found) and "(1 seed, " in sentence(found)


def test_values_printed_otherwise_are_judged_after_holm_too() -> None:
    """A gain that is shown alone and not beside others is unclear against every print: there is nothing to dispute."""
    gain = Claim("g", "gain", "A", mean_of_3(2.0), "B", decides="unpaired", tolerance=9.0, contradicting=(mean_of_3(2.1),))
    of = {"A": runs(82.0, 83.0, 82.4), "B": runs(81.0, 80.0, 80.5), "C": runs(81.0, 80.1, 80.4)}
    [alone], _ = judge_table([gain], of)
    others = [Claim(f"o{i}", "order", "B", baseline="C", decides="unpaired") for i in range(30)]
    [among, *_], _ = judge_table([gain, *others], of)
    assert (alone.verdict, among.verdict) == ("reproduced", "unclear")
    assert [r.verdict for r in among.others if r.what == "against 2.10"] == ["unclear"]


def test_seeds_beyond_the_plan_are_said() -> None:
    found = judge(value(mean_of_3(82.4)), {"A": runs(*OURS, 82.2, 82.4)})
    assert found.note.startswith("5 seeds instead of the 3 planned")


# ---------------------------------------------------------------------------------------------------------------------
# Like with like
# ---------------------------------------------------------------------------------------------------------------------
def test_last_is_compared_with_last_and_best_with_best() -> None:
    ours = {"A": runs(*OURS, best=0.4)}
    best = Published(82.7, None, 3, None, "best_on_test", "mean")
    found = judge(value(best), ours)
    assert found.difference == pytest.approx(0.0) and found.epoch == "best_on_test" and found.mismatch == ""
    found = judge(value(mean_of_3(82.3)), ours)
    assert found.difference == pytest.approx(0.0) and found.epoch == "last" and found.mismatch == ""


def test_a_mismatch_is_flagged() -> None:
    best = Published(82.7, None, 3, None, "best_on_test", "mean")
    found = judge(value(best), {"A": runs(*OURS)})  # we have no best epoch
    assert found.epoch == "last" and found.difference == pytest.approx(-0.4)
    assert found.mismatch == "the paper reports the best epoch on the test set, ours is the last epoch"
    forced = judge(value(best, compare="last"), {"A": runs(*OURS, best=0.4)})
    assert forced.mismatch == found.mismatch and found.mismatch in sentence(forced)
    unnamed = judge(value(Published(82.7, None, 3, None, "unknown", "mean")), {"A": runs(*OURS, best=0.4)})
    assert unnamed.mismatch == "the paper reports an epoch that it does not name, ours is the last epoch"
    (other,) = unnamed.others  # and our best epoch is shown beside it
    assert other.what == "own spread, our best epoch on the test set" and other.difference == pytest.approx(0.0)
    mixed = Claim("g", "gain", "A", best, "B", mean_of_3(80.0), "unpaired")
    both = judge(mixed, {"A": runs(*OURS, best=0.4), "B": runs(80.0, 80.1, 80.2, best=0.3)})
    assert both.mismatch.startswith("the paper reports the best epoch on the test set and the last epoch, ours is")


# ---------------------------------------------------------------------------------------------------------------------
# Gains, orders, checkpoints
# ---------------------------------------------------------------------------------------------------------------------
A, B = [82.1, 82.5, 82.3], [80.0, 80.5, 80.1]


@pytest.mark.parametrize("decides", ["paired", "unpaired"])
def test_a_gain_shows_both_designs_and_the_claim_names_the_one_that_decides(decides: Any) -> None:
    claim = Claim("g", "gain", "A", mean_of_3(82.2), "B", mean_of_3(80.0), decides)
    found = judge(claim, {"A": runs(*A), "B": runs(*B)})
    by_name = {r.what.split(", ")[-1]: r for r in (found.reading, *found.others) if r is not None}
    assert found.reading is by_name[decides] and set(by_name) == {"paired", "unpaired"}
    paired, unpaired = scipy.stats.ttest_rel(A, B), scipy.stats.ttest_ind(A, B)
    assert by_name["paired"].p == pytest.approx(paired.pvalue)
    welch = scipy.stats.ttest_ind(A, B, equal_var=False)  # own spreads, Satterthwaite's degrees
    assert by_name["unpaired"].p == pytest.approx(welch.pvalue) and welch.pvalue > unpaired.pvalue
    assert found.difference == pytest.approx(2.1 - 2.2)
    pairs = [a - b for a, b in zip(A, B, strict=True)]
    own = (np.var(A, ddof=1) + np.var(B, ddof=1)) / 3  # the paper's two numbers get our two spreads
    mine = np.var(pairs, ddof=1) / 3 if decides == "paired" else own
    half = half_width((mine + own, 2), prints=2)
    assert found.interval == pytest.approx((-0.1 - half, -0.1 + half))


def test_a_gain_of_the_right_size_that_is_not_shown_to_be_one_stays_unclear() -> None:
    a, b = runs(80.1, 80.2, 80.0), runs(80.0, 80.1, 80.05)
    claim = Claim("g", "gain", "A", mean_of_3(0.1), "B", decides="unpaired", tolerance=2.0)
    found = judge(claim, {"A": a, "B": b})
    assert found.interval is not None and -2 < found.interval[0] < found.interval[1] < 2
    assert found.p is not None and found.p > 0.05 and found.verdict == "unclear"
    assert "but that there is a gain at all is not shown" in sentence(found)
    nothing = dataclasses.replace(claim, published=mean_of_3(0.0))
    assert judge(nothing, {"A": a, "B": b}).verdict == "reproduced"


def test_a_gain_printed_as_one_number_is_as_uncertain_as_two() -> None:
    one = Claim("g", "gain", "A", mean_of_3(2.2), "B", decides="unpaired")
    two = Claim("g", "gain", "A", mean_of_3(82.2), "B", mean_of_3(80.0), "unpaired")
    ours = {"A": runs(*A), "B": runs(*B)}
    assert judge(one, ours).interval == pytest.approx(judge(two, ours).interval)


def test_an_order_is_reproduced_reversed_or_unclear() -> None:
    claim = Claim("o", "order", "A", baseline="B", decides="paired")
    assert judge(claim, {"A": runs(*A), "B": runs(*B)}).verdict == "reproduced"
    assert judge(claim, {"A": runs(*B), "B": runs(*A)}).verdict == "below"
    found = judge(claim, {"A": runs(82.1, 82.5, 82.3), "B": runs(82.0, 82.6, 82.2)})
    assert found.verdict == "unclear" and found.difference is None and found.interval is None


def test_holm_stands_over_gains_and_orders_and_those_that_wait_count() -> None:
    ours = {"A": runs(*A), "B": runs(*B), "C": runs(81.2, 82.6, 81.7)}
    orders = [Claim(c, "order", c, baseline="B", decides="paired") for c in "AC"]
    alone = [judge(claim, ours) for claim in orders]
    p = [f.p for f in alone]
    assert p[0] is not None and p[1] is not None and 2 * p[0] < p[1] < 0.05
    findings, summary = judge_table(orders, ours)
    assert [f.p for f in findings] == pytest.approx([2 * p[0], max(2 * p[0], p[1])])
    # an interval beside it is of this difference alone: it may leave out a zero that the p-value, of all of them, does not
    assert " after Holm)" in sentence(findings[0]) and "Holm" not in sentence(alone[0])
    assert summary.holm == {"A": findings[0].p, "C": findings[1].p}
    waiting = [*orders, Claim("D", "order", "D", baseline="B", decides="paired")]
    assert judge_table(waiting, ours)[1].holm["A"] == pytest.approx(2 * p[0])  # not attempted: not in the family
    late = judge_table(waiting, {**ours, "D": runs(82.0)})[0]
    assert [f.p for f in late[:2]] == pytest.approx([3 * p[0], max(3 * p[0], 2 * p[1])])
    assert late[2].verdict == "pending" and late[2].reading is None


@pytest.mark.parametrize(
    ("measured", "printed", "decimals", "verdict"),
    [
        (85.09, 85.09, 2, "reproduced"),
        (85.0912, 85.09, 2, "reproduced"),
        (85.095, 85.10, 2, "reproduced"),
        (85.0978, 85.09, 2, "reproduced"),  # digits cut off, as one report has them
        (85.11, 85.09, 2, "above"),
        (85.08, 85.09, 2, "below"),
        (85.08, 85.1, 1, "reproduced"),
        (100 * 0.8509, 85.09, 2, "reproduced"),
    ],
)
def test_a_checkpoint_equals_its_printed_digits_or_not(measured: float, printed: float, decimals: int, verdict: str) -> None:
    claim = Claim("k", "checkpoint", "A", Published(printed, decimals=decimals))
    found = judge(claim, {"A": [Measured(0, measured)]})
    assert found.verdict == verdict and found.difference == pytest.approx(measured - printed)
    assert ("cuts digits off" in found.note) == (measured == 85.0978)


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------
def test_the_spread_is_pooled_over_the_cells_and_the_own_one_stands_beside_it() -> None:
    cells = {"A": runs(82.1, 82.5, 82.3), "B": runs(80.0, 80.1, 80.4), "C": runs(70.35, 70.1, 70.0), "one": runs(50.0)}
    claims = [Claim(c, "value", c, mean_of_3(cells[c][0].last)) for c in "ABC"]
    findings, summary = judge_table(claims, cells)
    x = np.array([[r.last for r in cells[c]] for c in "ABC"])
    assert summary.pools["last"].spread == Spread(pytest.approx(math.sqrt(x.var(axis=1, ddof=1).mean())), 6)
    assert summary.pools["last"].p == pytest.approx(scipy.stats.bartlett(*x).pvalue)
    assert "best_on_test" not in summary.pools
    # two parts, because the runs of one seed may go together: what seeds share, and the rest
    within = x - x.mean(axis=1, keepdims=True)
    shared = within.mean(axis=0)
    between, rest = (shared**2).sum() / 2, ((within - shared) ** 2).sum() / 4 * 2 / 3
    assert between + rest == pytest.approx(summary.pools["last"].spread.sd ** 2)
    half = half_width((between * 2 / 3, 2), (rest * 2 / 3, 4))
    for found, claim in zip(findings, claims, strict=True):
        assert found.reading is not None and found.reading.what == "pooled spread" and found.difference is not None
        assert found.interval == pytest.approx((found.difference - half, found.difference + half))
        alone = judge(claim, cells)
        ((what, interval),) = [(r.what, r.interval) for r in found.others]
        assert what == "own spread" and interval == pytest.approx(alone.interval)
    assert summary.judged == 3 and summary.expected_false == pytest.approx(0.15)
    assert summary_sentences(summary)[1].endswith("at most 0.15 false verdicts are to be expected among them.")


def test_a_wide_cell_leaves_the_pool_and_does_not_silence_the_others() -> None:
    quiet = {"B": runs(80.0, 80.2, 80.1), "C": runs(70.0, 70.2, 70.15), "D": runs(60.2, 60.0, 60.1)}
    claims = [Claim(c, "value", c, mean_of_3(float(np.mean([r.last for r in quiet[c]])))) for c in quiet]
    diverged = {"A": runs(10.0, 84.0, 82.0), **quiet}
    findings, summary = judge_table([Claim("A", "value", "A", mean_of_3(84.0)), *claims], diverged)
    assert summary.pools["last"].left == {"A"} and summary.pools["last"].p is not None and summary.pools["last"].p < 0.01
    assert [f.verdict for f in findings] == ["compatible", "reproduced", "reproduced", "reproduced"]
    assert [f.interval for f in findings[1:]] == [f.interval for f in judge_table(claims, quiet)[0]]
    assert findings[0].note.startswith("spreads differ among the cells (p < 0.001): A is judged by its own")
    assert "by their own: A)" in summary_sentences(summary)[-1]


def test_a_cell_that_scatters_visibly_more_is_judged_by_its_own_spread() -> None:
    cells = {"A": runs(80.0, 80.4, 80.2), "B": runs(80.0, 80.2, 80.1), "C": runs(70.0, 70.2, 70.15), "D": runs(60.2, 60.0, 60.1)}
    claims = [Claim(c, "value", c, mean_of_3(80.0)) for c in cells]
    findings, summary = judge_table(claims, cells)
    assert summary.pools["last"].left == frozenset() and summary.pools["last"].apart == {"A"}
    assert findings[0].interval == judge(claims[0], cells).interval  # its own
    assert findings[0].note.startswith("A scatters more than the others, be it by chance: its own spread decides")
    assert [f.reading.what for f in findings if f.reading] == ["own spread", *["pooled spread"] * 3]


def test_cells_of_another_regime_lend_nothing() -> None:
    few = {"A": runs(60.0, 64.0, 62.0), "B": runs(55.0, 58.5, 57.0)}
    many = {"C": runs(90.0, 90.2, 90.1), "D": runs(91.0, 91.2, 91.15)}
    regimes = {"A": "M = 10", "B": "M = 10", "C": "all", "D": "all"}
    claims = [Claim(c, "value", c, mean_of_3(90.0)) for c in "ABCD"]
    findings, summary = judge_table(claims, few | many, regimes)
    assert {key: round(p.spread.sd, 2) for key, p in summary.regimes.items()} == {("last", "M = 10"): 1.88, ("last", "all"): 0.1}
    assert [f.interval for f in findings[2:]] == [f.interval for f in judge_table(claims[2:], many)[0]]


def test_seeds_that_do_nothing_earn_no_certainty() -> None:
    for printed, verdict in ((80.0, "unclear"), (80.4, "unclear")):
        found = judge(value(mean_of_3(printed)), {"A": runs(80.51, 80.51, 80.51)})
        assert found.verdict == verdict and found.interval is not None and found.interval[0] < found.interval[1]
        assert found.note == "all 3 seeds of A gave the same number: do they do anything?, so nothing can be said"
    around = {"A": runs(80.51, 80.51, 80.51), "B": runs(80.0, 80.2, 80.1), "C": runs(70.0, 70.2, 70.15)}
    findings, summary = judge_table([Claim("A", "value", "A", mean_of_3(80.5))], around)
    assert summary.pools["last"].still == {"A"} and summary.pools["last"].left == frozenset()
    assert findings[0].verdict == "reproduced" and "do they do anything?" in findings[0].note  # by the others' spread


@pytest.mark.parametrize("same", [0.05, 70.12, 100 / 3, 93.4])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_seeds_that_do_nothing_silence_no_other_cell(same: float, n: int) -> None:
    """The mean of three equal numbers is often not that number: 1,382 of the 10,000 accuracies of two decimals had a spread of 1e-14,
    which all other cells left as too wide."""
    others = {c: runs(*(80 + i + 0.2 * s for s in np.random.default_rng(i).normal(size=n))) for i, c in enumerate("ABCD")}
    claims = [Claim(c, "value", c, mean_of_3(80.0 + i)) for i, c in enumerate("ABCD")]
    orders = [Claim("o", "order", "B", baseline="A", decides="blocked", seeds=n)]
    alone, _ = judge_table([*claims, *orders], others)
    found, summary = judge_table([*claims, *orders], others | {"same": runs(*[same] * n)})
    assert summary.pools["last"].still == {"same"} and summary.pools["last"].left == frozenset()
    assert [(f.verdict, f.reading) for f in found] == [(f.verdict, f.reading) for f in alone]


def test_the_papers_spreads_are_pooled_over_its_like_cells_and_a_wide_one_keeps_its_own() -> None:
    cells = {c: runs(*OURS) for c in "ABC"}
    claims = [Claim(c, "value", c, mean_of_3(82.3 + i, s)) for i, (c, s) in enumerate(zip("ABC", (0.05, 0.07, 0.3), strict=True))]
    wide, alone = judge_table(claims, cells)[0], [judge(claim, cells) for claim in claims]
    width = [f.interval[1] - f.interval[0] for f in wide if f.interval]
    assert width[0] == pytest.approx(width[1]) and width[2] > width[0]
    assert all(f.interval is not None for f in alone)


# ---------------------------------------------------------------------------------------------------------------------
# The seed as a block
# ---------------------------------------------------------------------------------------------------------------------
SHARED = [0.0, 0.5, -0.4]  # what a seed adds to every cell


def test_a_block_takes_out_what_seeds_share() -> None:
    rest = {"A": (0.05, -0.05, 0.0), "B": (0.0, 0.05, -0.05), "C": (-0.05, 0.0, 0.05)}
    cells = {c: runs(*(80 + i + s + e for s, e in zip(SHARED, rest[c], strict=True))) for i, c in enumerate("ABC")}
    orders = [Claim(c, "order", c, baseline="A", decides="blocked") for c in "BC"]
    findings, _ = judge_table(orders, cells)
    x = np.array([[r.last for r in cells[c]] for c in "ABC"])
    residual = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
    error = math.sqrt(2 * (residual**2).sum() / 4 / 3)
    for found, gain in zip(findings, (1.0, 2.0), strict=True):
        assert found.reading is not None and found.reading.what == "pooled spread, blocked"
        assert found.reading.p == pytest.approx(2 * scipy.stats.t.sf(gain / error, 4))
        assert found.verdict == "reproduced"
        assert {r.what.rpartition(", ")[2] for r in found.others} == {"paired", "unpaired"}
    two = judge_table(orders[:1], {c: cells[c] for c in "AB"})[0][0]  # no table, no blocks
    assert two.reading is not None and two.reading.what.endswith("unpaired")


def test_a_noisy_baseline_is_judged_by_its_own_spread() -> None:
    rest = {"A": (0.6, -0.5, 0.0), "B": (0.0, 0.05, -0.05), "C": (-0.05, 0.0, 0.05), "D": (0.05, -0.05, 0.0)}
    cells = {c: runs(*(80 + s + e for s, e in zip(SHARED, rest[c], strict=True))) for c in "ABCD"}
    found = judge_table([Claim("o", "order", "B", baseline="A", decides="blocked")], cells)[0][0]
    assert found.note.startswith("A scatters more than the others, be it by chance: judged by its own spread")
    assert found.reading is not None and found.reading.p is not None and found.reading.p > 0.9


def test_cells_that_move_together_exactly_are_as_uncertain_as_their_last_digit() -> None:
    cells = {c: runs(*(80 + 0.1 * i + s for s in SHARED)) for i, c in enumerate("ABC")}
    found = judge_table([Claim("o", "order", "B", baseline="A", decides="blocked")], cells)[0][0]
    assert "scatters more" not in found.note
    assert found.reading is not None and found.reading.p is not None
    error = 0.01 / math.sqrt(12) * math.sqrt(2 / 3)
    assert found.reading.p == pytest.approx(2 * scipy.stats.t.sf(0.1 / error, 4), rel=1e-6) and found.verdict == "reproduced"
    near = {c: runs(*(80 + 0.002 * i + s for s in SHARED)) for i, c in enumerate("ABC")}
    assert judge_table([Claim("o", "order", "B", baseline="A", decides="blocked")], near)[0][0].verdict == "unclear"


def test_a_table_of_claims_with_one_name_is_refused() -> None:
    claim = value(mean_of_3(82.0))
    with pytest.raises(RedistillError, match="two claims of the table are named 'c'"):
        judge_table([claim, claim], {})
    assert pool({"A": runs(80.0)}) is None


# ---------------------------------------------------------------------------------------------------------------------
# How often verdicts are false
# ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("verdict_rates", ROOT / "benchmarks" / "verdict_rates.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["verdict_rates"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def stored() -> Any:
    return measured(ROOT / "results" / "measured" / "verdict-rates" / "rates.json")


GROUNDS: dict[str, dict[str, Any]] = {
    "independent": {},
    "correlated": {"together": 0.6},
    "wide": {"scale": (3, 1, 1, 1, 1, 1)},
    "teacher a seed": {"teacher": 0.2},
    "skewed": {"skew": True},
}


def drawn(
    rng: np.random.Generator, n: int, together: float = 0.0, scale: tuple[float, ...] = (1,) * 6, teacher: float = 0.0, skew: bool = False
) -> Any:
    """Runs [6, n] of six cells around 0; a teacher of a seed is in all cells."""
    z = math.sqrt(together) * rng.normal(size=(1, n)) + math.sqrt(1 - together) * rng.normal(size=(6, n))
    if skew:
        z = -(rng.gamma(1.5, size=(6, n)) - 1.5) / math.sqrt(1.5)
    return 0.2 * np.array(scale)[:, None] * z + teacher * rng.normal(size=(1, n))


@pytest.mark.parametrize("ground", GROUNDS)
def test_false_verdicts_at_the_edge_stay_below_their_level(ground: str) -> None:
    """The package itself on 150 new tables of three seeds, ours better by the tolerance; every cell that scatters widest alone.

    Standard error of a rate of 5 %: 0.7 points over six cells, 1.8 over one; allowed are three of them.
    """
    rng, tables = np.random.default_rng([7, *ground.encode()]), 150
    counted = range(1) if ground == "wide" else range(6)
    counts = dict.fromkeys(("reproduced", "above", "below"), 0)
    for _ in range(tables):
        ours, theirs = drawn(rng, 3, **GROUNDS[ground]) + 80.5, drawn(rng, 3, **GROUNDS[ground]) + 80
        claims = [Claim(str(c), "value", str(c), mean_of_3(round(float(x.mean()), 2))) for c, x in enumerate(theirs)]
        found = judge_table(claims, {str(c): runs(*map(float, x)) for c, x in enumerate(ours)})[0]
        for c in counted:
            counts[found[c].verdict] = counts.get(found[c].verdict, 0) + 1
    judged = tables * len(counted)
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / judged)
    assert counts["reproduced"] / judged < allowed and counts["above"] / judged < allowed, counts
    assert counts["above"] + counts["reproduced"] > 0 and counts["below"] == 0


def test_a_noisy_student_does_not_break_holm() -> None:
    """Five methods and their student, who scatters 2.5 times as much: any false order in 150 tables (standard error 1.8 points)."""
    rng, false = np.random.default_rng(12), 0
    for _ in range(150):
        ours = drawn(rng, 3, 0.6, (2.5, 1, 1, 1, 1, 1)) + 80
        orders = [Claim(str(c), "order", str(c), baseline="0", decides="blocked") for c in range(1, 6)]
        found = judge_table(orders, {str(c): runs(*map(float, x)) for c, x in enumerate(ours)})[0]
        false += any(f.verdict in ("reproduced", "below") for f in found)
    assert false / 150 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_no_recorded_rate_of_false_verdicts_passes_its_level_without_a_word(simulation: ModuleType, stored: Any) -> None:
    page = simulation.write.__globals__
    page_says = page["reached"](stored)
    for name, group, by in page["settings"](stored):
        for n, row in by.items():
            error = math.sqrt(0.05 * 0.95 / (row["tables"] * (6 if group == "all" else 1)))
            if page["worst"](row, "now", group) > 0.05 + 3 * error:
                assert any(line.startswith(f"* {name}") and f"with {n} seeds" in line for line in page_says), (name, group, n)
    # what is above it is a fact about one teacher, or a lone cell whose tail moves its mean and its spread together
    allowed = ("skewed downwards, one cell of six three times as wide: the wide cell", "one for all seeds")
    assert all(any(word in line for word in allowed) for line in page_says), page_says
    for row in stored["orders"]:
        if row["rule"] == "blocked":
            assert row["any_false"] <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / row["tables"]), row
    assert len({row["name"] for row in stored["sequential"] if row["plan"] == "looks at 3, 5, 10"}) == 5
    for row in stored["sequential"]:
        if row["plan"] == "looks at 3, 5, 10":
            outside = row["above"] + row["below"]
            assert (outside if row["truth"] == 0 else max(row["reproduced"], outside)) <= 0.05, row
    # and the rule before broke it, which is why it is another one
    before = {(r["name"], r["n"]): r for r in stored["values"]}
    assert page["worst"](before["one cell of six three times as wide", 3], "before", "wide") > 0.1
    assert page["worst"](before["runs of a seed correlate by .9", 3], "before", "all") > 0.07


def test_most_true_claims_of_real_tables_are_settled_or_said_to_be_out_of_reach(stored: Any) -> None:
    most = {3: 0.45, 5: 0.30, 10: 0.20}
    rows = {row["n"]: row for row in stored["real"] if row["truth"] == 0}
    assert {n: row["unclear"] <= most[n] for n, row in rows.items()} == dict.fromkeys(most, True)
    assert rows[3]["reproduced"] < rows[5]["reproduced"] < rows[10]["reproduced"]
    for row in stored["real"]:
        false = row["above"] + row["below"] if row["truth"] == 0 else max(row["above"], row["reproduced"], row["below"])
        assert false <= 0.05, row


def test_the_simulation_agrees_with_the_package_on_every_verdict(simulation: ModuleType) -> None:
    by_name = {setting.name: setting for setting in simulation.SETTINGS}
    rule = simulation.now.__globals__["now"]
    for name, n in (("correlate by .6, spread printed", 3), ("spreads 2, 1.8, 1.5, .6, .3, .1", 5), ("median of 5 printed", 3)):
        ours, printed = simulation.draw(by_name[name], n, 20)
        difference, half = rule(ours, printed, median=by_name[name].median)
        assert simulation.check(by_name[name], ours, printed, difference, half) == 120


def test_the_marked_numbers_of_the_page_are_those_of_the_record(simulation: ModuleType, stored: Any) -> None:
    page, now = simulation.write.__globals__["page"], (ROOT / "docs" / "verdicts.md").read_text()
    assert page(now, stored) == now, "run python benchmarks/verdict_rates.py --redraw"
    assert page(now, {**stored, "side": 0.04}).count("4 %<!-- end of side -->") == 3


def test_cells_with_dead_seeds_are_simulated_by_the_package_and_told_from_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    living = importlib.import_module("verdict_living")
    record, page = measured(ROOT / "results" / "measured" / "verdict-living" / "rates.json"), (ROOT / "docs" / "verdicts.md").read_text()
    assert filled(page, {"living": block(living.table(record))}) == page, "run python benchmarks/verdict_living.py --redraw"
    # nothing but below can be shown, and of what lives it is false no more often than promised, unless it is the best that die
    for row in record["rows"]:
        assert set(row["verdicts"]) <= {"below", "unclear"} and row["others_false"] <= 0.05
        if row["truth"] >= -0.5 and row["who"] != "the best":
            assert row["verdicts"].get("below", 0.0) <= 0.05
    again = living.row(3, 1, "any", -2.0, 40)
    assert again["verdicts"].keys() == {"below", "unclear"} and again["verdicts"]["below"] > 0.4


# ---------------------------------------------------------------------------------------------------------------------
# What papers print
# ---------------------------------------------------------------------------------------------------------------------
WHICH: dict[str, Which] = {
    "last": "last",
    "last epoch": "last",
    "best (on the test set)": "best_on_test",
    "best; field last gives the last evaluation": "best_on_test",
    "best (mdistiller trainer reports best_acc over epochs; the paper's choice is not stated in the README)": "best_on_test",
    "early stopping on validation": "best_on_validation",
    "early stopping on validation, not retrained": "best_on_validation",
    "early stopping on validation, no retraining": "best_on_validation",
    "3% hard-target run early-stopped; soft-target run converged": "best_on_validation",
    # stopped once on validation images, then trained again on all of them for that long: the last epoch of that run
    "CIFAR-10: epoch count chosen by early stopping on 10k validation images, then retrained on all 50k": "last",
    "epochs from the CIFAR-10 stopping criterion, trained on all data": "last",
    "at the step named": "at_step",
    "n/a": "none",
    "not stated": "unknown",
    "unknown": "unknown",
    "not known (paper text not available here)": "unknown",
    "not stated (code logs test_acc and best_acc; README does not say which)": "unknown",
}
AGGREGATE: dict[str, Aggregate] = {
    "mean": "mean",
    "median": "median",
    "single": "single",
    "single run": "single",
    "single run (p.8: fixed seed)": "single",
    "single seed value": "single",
    # means over images, classes or steps of one network: one run
    "mean over 1000 images x 9 classes x 100 steps": "single",
    "mean over 1000 test images x 9 classes x K steps": "single",
    "average during training": "single",
    "mean curve": "single",
    "one pair": "single",
    "mean; line thickness = +/-2 SEM": "single",
    "not stated": "unknown",
    "not known": "unknown",
    "unknown": "unknown",
    "single/unknown": "unknown",
    "not stated (probably single runs)": "unknown",
}


def test_every_protocol_on_record_can_be_expressed(shared: Path) -> None:
    read = 0
    for file in sorted((shared / "papers" / "claims").glob("*.json")):
        for table in json.loads(file.read_text())["tables"]:
            protocol = table["protocol"]
            kind = protocol["std_kind"] or ""
            for row in table["rows"]:
                if row["value"] is None:
                    continue
                flipped = "error (%)" in table["metric"]
                published = Published(
                    value=100 - row["value"] if flipped else row["value"],
                    std=None if "ambiguous" in kind else row["std"],
                    seeds=protocol["seeds"],
                    ddof=0 if "ddof=0" in kind else None,
                    which=WHICH[protocol["which"]],
                    aggregate=AGGREGATE[protocol["aggregate"]],
                    approximate=row["approximate"],
                )
                found = judge(value(published), {"A": runs(*(published.value + x for x in (-0.1, 0.0, 0.1)), best=0.2)})
                assert isinstance(found, Finding) and found.difference is not None
                assert found.epoch == ("best_on_test" if published.which == "best_on_test" else "last")
                assert (found.mismatch == "") == (published.which in ("last", "best_on_test", "none"))
                assert sentence(found).startswith("c is ")
                read += 1
    assert read > 1300


# ---------------------------------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------------------------------
def test_sentences_say_what_was_found() -> None:
    ours = {"A": runs(82.29, 82.30, 82.31), "B": runs(80.0, 80.02, 80.01)}
    sentences = {
        value(mean_of_3(82.44)): (
            "c is reproduced: ours 82.30 [82.28, 82.32] (mean of 3 seeds, last epoch), the paper's 82.44 (mean of 3 seeds, "
            "last epoch, no spread printed); the difference -0.14 has the 94 % interval [-0.17, -0.11], inside ±0.5."
        ),
        value(mean_of_3(83.44, 0.01)): (
            "c is below: ours 82.30 [82.28, 82.32] (mean of 3 seeds, last epoch), the paper's 83.44 (mean of 3 seeds, "
            "last epoch); the difference -1.14 has the 94 % interval [-1.18, -1.10], wholly below -0.5."
        ),
        Claim("o", "order", "B", baseline="A", decides="unpaired"): (
            "o is below: B minus A is -2.29 [-2.33, -2.25] (unpaired, mean of 3 seeds, last epoch, p < 0.001), the other way "
            "round than the paper has it."
        ),
        Claim("g", "gain", "A", mean_of_3(2.3), "B", decides="unpaired"): (
            "g is reproduced: A minus B is +2.29 [+2.25, +2.33] (unpaired, mean of 3 seeds, last epoch, p < 0.001), the paper's "
            "+2.30 (mean of 3 seeds, last epoch, no spread printed); the difference -0.01 has the 94 % interval [-0.05, +0.03], "
            "inside ±0.5."
        ),
        Claim("n", "value", "Z", mean_of_3(80.0)): "n is not attempted: no runs of Z (the paper's 80.00).",
        Claim("s", "value", "A", mean_of_3(80.0), seeds=5): "s is pending: 3 of 5 seeds so far (the paper's 80.00).",
    }
    for claim, words in sentences.items():
        assert sentence(judge(claim, ours)) == words
    wide = judge(value(mean_of_3(83.0, 0.6), reach=False), {"A": runs(*OURS)})
    assert wide.bound is not None and verdict_words(wide) == f"compatible, ± {wide.bound:.2f}"
    assert verdict_words(judge(value(mean_of_3(82.44)), ours)) == "reproduced"
    assert sentence(wide).startswith(f"c is compatible, ± {wide.bound:.2f}: ours 82.30 ") and sentence(wide).endswith(
        f"inside ±{wide.bound:.2f}, the smallest tolerance at which it would be reproduced; no affordable number of seeds can place "
        f"it within ±0.5."
    )
    checkpoint = Claim("k", "checkpoint", "F", Published(85.2))
    assert sentence(judge(checkpoint, {"F": [Measured(0, 85.09)]})) == (
        "k is below: the published file reaches 85.09, -0.11 from the printed 85.20."
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Published(82.0, which="lst"), "unknown epoch of a published number 'lst': did you mean last"),
        (lambda: Published(82.0, aggregate="maen"), "unknown statistic of a published number 'maen': did you mean mean"),
        (lambda: Published(math.nan), "leave out a claim whose number is not printed"),
        (lambda: Published(82.0, std=0.1), "needs the number of its runs, 2 or more; leave std out where that is not known"),
        (lambda: Published(82.0, seeds=0), "give the number of runs, or None"),
        (lambda: Published(82.0, seeds=3, aggregate="single"), "a single published run cannot have 3 seeds"),
        (lambda: Published(82.0, ddof=2), "must be 0, 1 or None"),
        (lambda: Claim("c", "gian", "A"), "unknown kind of claim 'c' 'gian': did you mean gain"),
        (lambda: Claim("c", "gain", "A", mean_of_3(1.0), "B"), "baseline and decides .* are needed, got 'B' and None"),
        (lambda: Claim("c", "value", "A", mean_of_3(1.0), "B"), "for gains and orders only, got 'B' and None"),
        (lambda: Claim("c", "value", "A"), "give the published number of 'A'"),
        (lambda: Claim("c", "order", "A", baseline="A", decides="paired"), "compares 'A' with itself: name another cell"),
        (lambda: mean_of_3(80.0, math.inf), "published std = inf of 3 seeds: a spread in percent must be >= 0"),
        (lambda: mean_of_3(80.0, 1e300), r"published std = 1e\+300 of 3 seeds"),  # its square is no floating point number
        (lambda: mean_of_3(80.0, decimals=-1), "published decimals = -1: give how many digits stand after the point"),
        (lambda: Published(80.0, seeds=2.5), "published seeds = 2.5: give the number of runs"),  # type: ignore[arg-type]
        (lambda: value(mean_of_3(80.0), allowance=math.inf), "allowance for a teacher must be at least 0, got inf"),
        (lambda: value(mean_of_3(80.0), tolerance=math.inf), "tolerance must be above 0 and seeds at least 1, got inf and 3"),
        (lambda: value(mean_of_3(80.0), tolerance=0.0), "tolerance must be above 0 and seeds at least 1, got 0.0 and 3"),
        (
            lambda: Claim("c", "gain", "A", Published(1.0, aggregate="median"), "B", decides="paired"),
            "a difference of medians has no paired error: decides = 'unpaired'",
        ),
        (
            lambda: Claim("c", "order", "A", mean_of_3(80.0), "B", mean_of_3(81.0), "paired"),
            "puts 'A' above 'B', but the published difference is -1: exchange the two",
        ),
        (lambda: Measured(4, math.inf), "seed 4: last is inf: a diverged run has an accuracy too"),
        (lambda: judge(value(mean_of_3(80.0)), {"A": [*runs(*OURS), Measured(0, 82.0)]}), "holds seed 0 twice"),
        (
            lambda: judge(Claim("k", "checkpoint", "A", Published(80.0)), {"A": runs(80.0, 80.0)}),
            "is about one published file, but 'A' holds 2 evaluations: give one",
        ),
    ],
)
def test_errors_say_what_to_do(call: Any, words: str) -> None:
    with pytest.raises(RedistillError, match=words):
        call()


def test_fractions_beside_a_printed_percentage_are_refused() -> None:
    claim = Claim("x", "value", "a", Published(73.33, None, 3, None, "last", "mean"))
    with pytest.raises(RedistillError, match=r"Measured takes percent: give 73\.3 for 0\.733"):
        judge(claim, {"a": [Measured(s, 0.733 + s / 1000) for s in range(3)]})
    chance = judge(claim, {"a": [Measured(s, 0.1 + s / 1000) for s in range(3)]})  # a thousand classes: no fraction of 73.33
    assert chance.verdict == "below"
    fractions = Claim("x", "value", "a", Published(0.22, None, 3, None, "last", "mean"))
    judge(fractions, {"a": [Measured(s, 0.22 + s / 1000) for s in range(3)]})
