"""Intervals, spreads and decisions: against formulas written out slowly, scipy, and numbers from the literature."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from redistill.errors import RedistillError
from redistill.stats import (
    Estimate,
    Spread,
    VarianceComponent,
    binomial_interval,
    equal_spreads,
    holm,
    mean_interval,
    median_factor,
    median_interval,
    paired_difference,
    percent_difference,
    percent_interval,
    pooled_sd,
    seeds_needed,
    tost,
    welch,
)

# Cushny and Peebles 1905, hours of additional sleep: the data of Student 1908
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

numbers = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=8).filter(lambda x: np.ptp(x) > 1e-3)


def test_statistics_do_not_wait_for_torch() -> None:
    code = "import sys, redistill.stats, redistill.claims; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_equal_accuracies_are_as_uncertain_as_one_image() -> None:
    """"KD is better: +0.28 points, 95 % interval +0.28 to +0.28 (3 seeds)", of 360 images."""
    step, t = 100 / 360, scipy.stats.t.ppf(0.975, 2)
    for value in (93.4, 70.12):  # the mean of three of the second is another number
        found = percent_interval([value] * 3, step=step)
        half = t * step / math.sqrt(12) / math.sqrt(3)
        assert (found.low, found.high) == pytest.approx((value - half, value + half))
    gain = percent_difference([80.3, 81.3, 82.3], [80.1, 81.1, 82.1], step=step)
    half = t * step * math.sqrt(2 / 12) / math.sqrt(3)
    assert (gain.low, gain.high) == pytest.approx((0.2 - half, 0.2 + half)) and gain.low < 0 < gain.p
    assert percent_interval([80.0, 80.1], step=step) == mean_interval([80.0, 80.1])  # a spread that is there counts as it is
    assert percent_interval([100.0] * 3).high == 100.0


# ---------------------------------------------------------------------------------------------------------------------
# Intervals
# ---------------------------------------------------------------------------------------------------------------------
@given(numbers, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=50, deadline=None)
def test_mean_interval_is_student_t(values: list[float], level: float) -> None:
    n, mean = len(values), sum(values) / len(values)
    sd = math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1))
    half = scipy.stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n)
    found = mean_interval(values, level)
    assert found.n == n and found.df == n - 1 and found.level == level
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - half, mean + half), rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue, rel=1e-8, abs=1e-12)


def test_paired_difference_gives_the_known_numbers_of_students_data() -> None:
    found = paired_difference(FIRST, SECOND)
    assert found.value == pytest.approx(-1.58)
    assert found.value / found.error == pytest.approx(-4.0621, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert found.p == pytest.approx(0.002833, abs=5e-7)


def test_welch_gives_the_known_numbers_of_the_same_data() -> None:
    found = welch(FIRST, SECOND)
    assert found.value / found.error == pytest.approx(-1.8608, abs=5e-5)
    assert found.df == pytest.approx(17.776, abs=5e-4)
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=5e-8)
    assert found.p == pytest.approx(0.07939, abs=5e-6)


@given(numbers, numbers)
@settings(max_examples=50, deadline=None)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False)
    found, interval = welch(a, b, 0.9), theirs.confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-8, abs=1e-8)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-7, abs=1e-12)


# Newcombe 1998, table I, method 3
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_binomial_interval_gives_newcombes_numbers(hits: int, n: int, low: float, high: float) -> None:
    assert binomial_interval(hits, n) == pytest.approx((low, high), abs=5e-5)
    theirs = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert binomial_interval(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Medians
# ---------------------------------------------------------------------------------------------------------------------
def test_median_factor_is_the_integral_over_order_statistics() -> None:
    assert median_factor(1) == pytest.approx(1, rel=1e-12) and median_factor(2) == pytest.approx(math.sqrt(0.5), rel=1e-12)
    for n in (3, 5, 7, 21):
        middle = (n - 1) // 2
        density = scipy.stats.beta(middle + 1, middle + 1)
        variance = scipy.integrate.quad(
            lambda x, d=density: x * x * d.pdf(scipy.stats.norm.cdf(x)) * scipy.stats.norm.pdf(x), -9, 9, epsabs=1e-12
        )[0]
        assert median_factor(n) == pytest.approx(math.sqrt(variance), rel=1e-9)
    # known variances of the median of n standard normal values
    even = scipy.integrate.dblquad(  # the mean of the middle two of four, over both
        lambda y, x: ((x + y) / 2) ** 2 * 24 * np.exp(scipy.stats.norm.logcdf(x) + scipy.stats.norm.logsf(y))
        * math.exp(-(x * x + y * y) / 2) / (2 * math.pi), -8, 8, lambda x: x, 8, epsabs=1e-7,
    )[0]  # fmt: skip
    assert median_factor(4) == pytest.approx(math.sqrt(even), rel=1e-6)
    assert [round(median_factor(n) ** 2, 4) for n in (3, 4, 5, 7)] == [0.4487, 0.2982, 0.2868, 0.2104]
    assert median_factor(2001) == pytest.approx(math.sqrt(math.pi / (2 * 2001)), rel=2e-3)
    assert median_factor(2000) == pytest.approx(median_factor(2001), rel=2e-3)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_median_intervals_cover_what_they_say(n: int) -> None:
    rng = np.random.default_rng(n)
    x, pooled = rng.normal(size=(6000, n)), np.sqrt(rng.chisquare(12, 6000) / 12)
    own = [median_interval(list(row), 0.9) for row in x]
    given_spread = [median_interval(list(row), 0.9, Spread(float(sd), 12)) for row, sd in zip(x, pooled, strict=True)]
    assert np.mean([i.low <= 0 <= i.high for i in given_spread]) == pytest.approx(0.9, abs=0.012)
    assert 0.9 < np.mean([i.low <= 0 <= i.high for i in own]) < 0.93


def test_the_bootstrap_of_three_values_does_not_cover() -> None:
    """The exact one (Maritz and Jarrett 1978): the chance of each order statistic to be the median of a resample."""
    x = np.sort(np.random.default_rng(3).normal(size=(20_000, 3)), axis=1)
    weights = np.diff(scipy.stats.beta.cdf(np.arange(4) / 3, 2, 2))
    resamples = [sorted(r)[1] for r in itertools.product(range(3), repeat=3)]
    assert weights == pytest.approx([resamples.count(i) / 27 for i in range(3)])
    error = np.sqrt((weights * x**2).sum(1) - (weights * x).sum(1) ** 2)
    assert np.mean(np.abs(x[:, 1]) <= scipy.stats.norm.ppf(0.95) * error) == pytest.approx(0.806, abs=0.01)


def test_median_interval_uses_the_spread_it_is_given() -> None:
    found = median_interval([80.0, 81.0, 85.0], 0.9, Spread(0.5, 12))
    half = scipy.stats.t.ppf(0.95, 12) * 0.5 * median_factor(3)
    assert (found.value, found.low, found.high, found.df) == pytest.approx((81, 81 - half, 81 + half, 12))


# ---------------------------------------------------------------------------------------------------------------------
# Spreads
# ---------------------------------------------------------------------------------------------------------------------
def test_pooled_sd_is_the_mean_square_within_groups() -> None:
    groups = [[1.0, 2.0, 4.0], [10.0, 10.5], [3.0], [7.0, 7.0, 9.0, 8.0]]
    squares = sum((x - sum(g) / len(g)) ** 2 for g in groups for x in g)
    assert pooled_sd(groups) == Spread(pytest.approx(math.sqrt(squares / 6)), 6)
    used = [g for g in groups if len(g) > 1]
    overall = sum(itertools.chain(*used)) / sum(map(len, used))
    between = sum(len(g) * (sum(g) / len(g) - overall) ** 2 for g in used) / (len(used) - 1)
    assert between / pooled_sd(used).sd ** 2 == pytest.approx(scipy.stats.f_oneway(*used).statistic)  # analysis of variance


@given(st.lists(numbers, min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_equal_spreads_is_bartletts_test(groups: list[list[float]]) -> None:
    want = float(scipy.stats.bartlett(*groups).pvalue)
    if math.isnan(want):  # equal spreads, where rounding made scipy's statistic negative
        want = 1.0
    assert equal_spreads(groups) == pytest.approx(want, rel=1e-7, abs=1e-10)


def test_equal_spreads_at_the_edges() -> None:
    assert equal_spreads([[1.0, 2.0], [5.0]]) is None
    assert equal_spreads([[1.0, 1.0], [2.0, 2.0]]) == 1.0
    assert equal_spreads([[1.0, 1.0], [2.0, 3.0]]) == 0.0


def test_at_three_seeds_bartlett_keeps_its_level_and_brown_forsythe_sees_nothing() -> None:
    rng = np.random.default_rng(0)
    for scale, bartlett_rejects, brown_forsythe_rejects in ((1.0, (0.03, 0.06), (0.0, 0.01)), (3.0, (0.22, 0.4), (0.0, 0.06))):
        x = rng.normal(size=(1500, 6, 3))
        x[:, 0] *= scale
        bartlett = np.mean([(equal_spreads(list(table)) or 0.0) < 0.05 for table in x])
        brown_forsythe = np.mean(scipy.stats.levene(*x.transpose(1, 0, 2), center="median", axis=1).pvalue < 0.05)
        assert bartlett_rejects[0] < bartlett < bartlett_rejects[1], (scale, bartlett)
        assert brown_forsythe_rejects[0] <= brown_forsythe < brown_forsythe_rejects[1], (scale, brown_forsythe)


# ---------------------------------------------------------------------------------------------------------------------
# Estimates with several estimated variances
# ---------------------------------------------------------------------------------------------------------------------
TWO = Estimate(0.7, (VarianceComponent(0.02, 12), VarianceComponent(0.05, 2)))


def test_the_quantile_is_cochrans_weighted_one() -> None:
    t12, t2 = scipy.stats.t.ppf(0.95, 12), scipy.stats.t.ppf(0.95, 2)
    assert TWO.critical(0.05) == pytest.approx((0.02 * t12 + 0.05 * t2) / 0.07)
    low, high = TWO.interval(0.9)
    assert (low + high) / 2 == pytest.approx(0.7) and (high - low) / 2 == pytest.approx(TWO.critical(0.05) * math.sqrt(0.07))


@given(st.floats(-3, 3), st.floats(-2, 2), st.lists(st.tuples(st.floats(1e-3, 2), st.integers(1, 30)), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_p_values_turn_the_interval_round(value: float, bound: float, parts: list[tuple[float, int]]) -> None:
    estimate = Estimate(value, tuple(VarianceComponent(v, df) for v, df in parts))
    p = estimate.p(bound)
    if 1e-6 < p < 0.999:
        low, high = estimate.interval(1 - p)
        assert min(abs(low - bound), abs(high - bound)) < 1e-6 * (1 + abs(high - low))
    assert estimate.p_above(bound) + estimate.p_below(bound) == pytest.approx(1, abs=1e-9)


def test_cochrans_quantile_keeps_the_level_that_satterthwaites_breaks() -> None:
    """Our spread pooled (12 degrees of freedom), the paper's from three runs that scatter three times as much."""
    rng, n = np.random.default_rng(0), 100_000
    a, b = rng.chisquare(12, n) / 12 / 3, 9 * rng.chisquare(2, n) / 2 / 3
    t = rng.normal(size=n) * math.sqrt(1 / 3 + 9 / 3) / np.sqrt(a + b)
    cochran = (a * scipy.stats.t.ppf(0.95, 12) + b * scipy.stats.t.ppf(0.95, 2)) / (a + b)
    satterthwaite = scipy.stats.t.ppf(0.95, (a + b) ** 2 / (a**2 / 12 + b**2 / 2))
    assert np.mean(t > cochran) < 0.05
    assert np.mean(t > satterthwaite) == pytest.approx(0.060, abs=0.002)


def test_the_price_of_cochrans_quantile_is_what_the_class_says() -> None:
    def price(df: float) -> float:
        prices = []
        for share in np.linspace(0, 1, 201):
            satterthwaite = 1 / ((1 - share) ** 2 / df + share**2 / 2)
            cochran = Estimate(0.0, (VarianceComponent(1 - share, df), VarianceComponent(share, 2))).critical(0.05)
            prices.append(cochran / scipy.stats.t.ppf(0.95, satterthwaite))
        return max(prices)

    assert price(12) == pytest.approx(1.24, abs=0.005) and price(1e6) < 1.25
    assert price(2) == pytest.approx(1.37, abs=0.005)


def test_without_any_spread_the_value_itself_decides() -> None:
    exact = Estimate(0.3, (VarianceComponent(0.0, 2),))
    assert exact.interval() == (0.3, 0.3)
    assert (exact.side(0.5), exact.side(0.3), exact.side(0.2)) == ("inside", "inside", "above")
    assert (exact.p(), exact.p(0.3), exact.p_above(0.2), exact.power_of(0.5, 0.0), exact.chance_apart(0.05)) == (0, 1, 0, 1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Decisions
# ---------------------------------------------------------------------------------------------------------------------
@given(numbers, st.floats(0.05, 3))
@settings(max_examples=50, deadline=None)
def test_tost_is_two_t_tests(values: list[float], tolerance: float) -> None:
    found = mean_interval(values)
    estimate = Estimate(found.value, (VarianceComponent(found.error**2, len(values) - 1),))
    low = scipy.stats.ttest_1samp(values, -tolerance, alternative="greater").pvalue
    high = scipy.stats.ttest_1samp(values, tolerance, alternative="less").pvalue
    assert tost(estimate, tolerance) == pytest.approx(max(low, high), rel=1e-6, abs=1e-9)
    if abs(tost(estimate, tolerance) - 0.05) > 1e-9:
        assert (estimate.side(tolerance) == "inside") == (tost(estimate, tolerance) <= 0.05)
    if estimate.side(tolerance) == "above":
        assert estimate.p_above(tolerance) < 0.05
    if estimate.side(tolerance) == "below":
        assert estimate.p_below(-tolerance) < 0.05


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 6):
        p = list(rng.uniform(0, 0.3, size))
        slow = []
        for i in range(size):
            others = [j for j in range(size) if j != i]
            families = [(i, *rest) for k in range(size) for rest in itertools.combinations(others, k)]
            slow.append(max(min(1.0, len(family) * min(p[j] for j in family)) for family in families))
        assert holm(p) == pytest.approx(slow)
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([]) == []


def test_chance_is_how_often_a_repetition_is_decided() -> None:
    """Our part is drawn anew, the printed number is not."""
    rng = np.random.default_rng(0)
    for value in (0.0, 0.3, 0.9):
        estimate = Estimate(value, (VarianceComponent(0.01, 400), VarianceComponent(0.005, 400)))
        sides = [Estimate(value + 0.1 * z, estimate.parts).side(0.5) for z in rng.normal(size=2000)]
        right = "inside" if value < 0.5 else "above"
        assert estimate.power_of(0.5, moves=0.1) == pytest.approx(sides.count(right) / 2000, abs=0.03)
    assert Estimate(0.5, (VarianceComponent(0.01, 9),)).power_of(0.5, 0.1) == 0
    apart = Estimate(0.4, (VarianceComponent(0.04, 400),))
    assert apart.chance_apart(0.05) == pytest.approx(scipy.stats.norm.cdf(2 - scipy.stats.t.ppf(0.975, 400)))


def test_seeds_needed_is_the_first_that_reaches_the_power() -> None:
    for need in (1, 2, 3, 7, 8, 9, 100, 999, 1000):
        assert seeds_needed(lambda m, need=need: 0.8 if m >= need else 0.1) == need  # type: ignore[misc]
    assert seeds_needed(lambda m: 0.79) is None
    assert seeds_needed(lambda m: 1 - 1 / m, power=0.9) == 10


# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([81.0]), "mean_interval needs at least 2 values to know a spread, got 1: run more seeds"),
        (lambda: mean_interval([81.0, math.nan]), "mean_interval was given nan: every value must be finite"),
        (lambda: mean_interval([[1.0, 2.0]]), "flat list of numbers"),  # type: ignore[list-item]
        (lambda: mean_interval([1.0, 2.0], 95), "level of an interval is a fraction such as 0.95, got 95"),
        (lambda: paired_difference([1.0, 2.0, 3.0], [1.0, 2.0]), "3 and 2 values: give one value of each for every seed"),
        (lambda: binomial_interval(11, 10), "hits must lie between 0 and the number of images"),
        (lambda: pooled_sd([[1.0], [2.0]]), "no group holds two values"),
        (lambda: median_factor(0), "a median needs at least one value"),
        (lambda: tost(TWO, 0.0), "the tolerance must be above 0, got 0.0"),
    ],
)
def test_errors_say_what_to_do(call: object, words: str) -> None:
    with pytest.raises(RedistillError, match=words.replace("(", r"\(")):
        call()  # type: ignore[operator]
