"""Intervals and equivalence for a handful of seeds.

Knows numbers only. Everything assumes that the results of one cell (equal settings, different seeds) scatter
normally; what happens where spreads differ is measured in ``docs/verdicts.md``.

References: Student 1908 (t); Welch 1947 and Satterthwaite 1946 (unequal spreads); Cochran and Cox 1950
(weighted t quantile); Fisher 1925 (two-way layout: cells and seeds); Wilson 1927 (one proportion); Schuirmann 1987 (two
one-sided tests); Bartlett 1937 (equality of spreads); Pocock 1977 (looks fixed before); Holm 1979 (many claims).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from redistill._moved import old_names
from redistill.errors import RedistillError

Side = Literal["inside", "above", "below", "open"]

NOTHING = 1e-9
"""A spread below it is what sums of floating point numbers leave of none, for numbers in percent."""


# ---------------------------------------------------------------------------------------------------------------------
# Intervals
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Interval:
    """A number with its uncertainty.

    Attributes:
        value: the mean, median or difference. low, high: the two-sided interval at ``level`` (0.95 = 95 %).
        n: how many values, or pairs, stand behind it (for two groups: the smaller).
        error: standard error. df: its degrees of freedom, None where several estimated spreads enter.
        p: two-sided p-value of "the truth is zero".
    """

    value: float
    low: float
    high: float
    level: float
    n: int
    error: float
    df: float | None
    p: float


@dataclass(frozen=True)
class Spread:
    """A standard deviation (ddof 1) and the degrees of freedom it was estimated with."""

    sd: float
    df: float


@dataclass(frozen=True)
class VarianceComponent:
    """One estimated variance inside the variance of a difference, and its degrees of freedom (infinite: known, not estimated)."""

    variance: float
    df: float


def satterthwaite(parts: Sequence[VarianceComponent]) -> VarianceComponent:
    """The sum of independently estimated variances as one, with Satterthwaite's degrees of freedom.

    >>> satterthwaite([VarianceComponent(1.0, 2), VarianceComponent(1.0, 2)])
    VarianceComponent(variance=2.0, df=4.0)
    """
    total = sum(part.variance for part in parts)
    squares = sum(part.variance**2 / part.df for part in parts)
    return VarianceComponent(total, total**2 / squares if squares > 0 else math.inf)


@dataclass(frozen=True)
class Estimate:
    """A number whose variance is a sum of independently estimated ``parts``.

    With one part this is Student's t. With several the statistic is Welch's, and its quantile is Cochran's: the t quantiles
    of the parts, weighted by their variances. Welch and Satterthwaite's degrees of freedom are not used here because they
    break their level where many degrees of freedom meet two (a spread pooled over a table against the printed spread of
    three seeds: 6.0 % for 5 %), which Cochran's quantile was never seen to do (``docs/verdicts.md``). Its price is a wider
    interval: by a quarter at most with a pooled spread, by 37 % with two spreads of three values.
    """

    value: float
    parts: tuple[VarianceComponent, ...]

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(sum(part.variance for part in self.parts))

    def critical(self, alpha: float) -> float:
        """The one-sided quantile at ``alpha``, in standard errors."""
        total = sum(part.variance for part in self.parts)
        if total == 0:
            return 0.0
        return sum(part.variance * _quantile(part.df, alpha) for part in self.parts) / total

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval at ``level``."""
        half = self.critical((1 - _level(level)) / 2) * self.error
        return self.value - half, self.value + half

    def describe(self, level: float, n: int) -> Interval:
        """The interval at ``level`` with all that is known about it; ``n`` values stand behind the number."""
        low, high = self.interval(level)
        df = self.parts[0].df if len(self.parts) == 1 else None
        return Interval(self.value, low, high, level, n, self.error, df, self.p())

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the truth is at most ``bound``": small means that it is above."""
        if self.error == 0:
            return 0.0 if self.value > bound else 1.0
        t = (self.value - bound) / self.error
        return self._tail(t) if t >= 0 else 1 - self._tail(-t)

    def p_below(self, bound: float) -> float:
        """The same of "the truth is at least ``bound``"."""
        return Estimate(-self.value, self.parts).p_above(-bound)

    def p(self, null: float = 0.0) -> float:
        """Two-sided p-value of "the truth is ``null``"."""
        return min(1.0, 2 * min(self.p_above(null), self.p_below(null)))

    def side(self, tolerance: float, alpha: float = 0.05) -> Side:
        """Where the truth lies, as far as the interval at level 1 - 2 ``alpha`` shows.

        ``inside``: the interval lies within plus or minus ``tolerance`` (this is the two one-sided tests at ``alpha``);
        ``above``, ``below``: wholly outside; ``open``: otherwise.
        """
        low, high = self.interval(1 - 2 * alpha)
        if -tolerance <= low and high <= tolerance:
            return "inside"
        return "above" if low > tolerance else "below" if high < -tolerance else "open"

    def power_of(self, tolerance: float, moves: float, alpha: float = 0.05) -> float:
        """How often a repetition would be decided on the side where the value now is, were it the truth.

        ``moves``: standard error of what a repetition draws anew. A printed number is uncertain, but is never drawn again,
        so this is the error of our part alone. Normal approximation; zero at the tolerance itself.
        """
        half, gap = self.critical(alpha) * self.error, tolerance - abs(self.value)
        if gap < 0:
            return _normal(-gap - half, moves)
        return max(0.0, _normal(gap - half, moves) - _normal(half - tolerance - abs(self.value), moves)) if gap else 0.0

    def chance(self, tolerance: float, moves: float, alpha: float = 0.05) -> float:  # an old name
        """:meth:`power_of` under its old name, for one release."""
        warnings.warn("Estimate.chance is now called power_of", DeprecationWarning, stacklevel=2)
        return self.power_of(tolerance, moves, alpha)

    def chance_apart(self, alpha: float) -> float:
        """How often a repetition would be called different from zero (two-sided at ``alpha``) with the sign it has now."""
        return _normal(abs(self.value) - self.critical(alpha / 2) * self.error, self.error) if self.value else 0.0

    def _tail(self, t: float) -> float:
        """The alpha at which ``critical`` equals t >= 0."""
        if len(self.parts) == 1:
            return float(special.ndtr(-t) if math.isinf(self.parts[0].df) else special.stdtr(self.parts[0].df, -t))
        low, high = -300.0, math.log10(0.5)  # in powers of ten, so that small tails keep their digits
        for _ in range(60):
            middle = (low + high) / 2
            if self.critical(10**middle) > t:
                low = middle
            else:
                high = middle
        return float(10 ** ((low + high) / 2))


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean with its t interval.

    >>> i = mean_interval([80.0, 82.0, 84.0])
    >>> i.value, round(i.low, 2), round(i.high, 2)
    (82.0, 77.03, 86.97)
    """
    x = _values(values, 2, "mean_interval")
    spread = Spread(float(x.std(ddof=1)), len(x) - 1)
    return Estimate(float(x.mean()), (VarianceComponent(spread.sd**2 / len(x), spread.df),)).describe(level, len(x))


STEP = 0.01
"""In percent: the step in which accuracies on 10,000 images come."""


def percent_interval(values: Sequence[float], level: float = 0.95, step: float = STEP) -> Interval:
    """:func:`mean_interval` of accuracies in percent: no end lies outside 0 to 100, where none can be.

    Args:
        step: in which these accuracies come, 100 / images. Equal ones do not show that nothing scatters, but that it is hidden in one
            step; their spread is taken to be that of rounding to it.

    >>> percent_interval([93.0, 99.0]).high
    100.0
    >>> i = percent_interval([93.4, 93.4, 93.4], step=100 / 360)
    >>> round(i.low, 2), round(i.high, 2)
    (93.2, 93.6)
    """
    found = _in_steps(mean_interval(values, level), step)
    return replace(found, low=max(0.0, found.low), high=min(100.0, found.high))


def median_interval(values: Sequence[float], level: float = 0.95, spread: Spread | None = None) -> Interval:
    """The median with its own standard error: the spread times :func:`median_factor`, exact for normal results.

    Args:
        spread: a pooled spread where there is one; else the standard deviation of ``values``.

    A 90 % interval covers in 90 % of cases with a pooled spread, in 91 to 92 % with that of three to seven values. The
    bootstrap knows three gaps of three values and finds hardly any error where two of them happen to be small: 81 %.
    """
    x = _values(values, 2, "median_interval")
    spread = spread or Spread(float(x.std(ddof=1)), len(x) - 1)
    part = VarianceComponent((spread.sd * median_factor(len(x))) ** 2, spread.df)
    return Estimate(float(np.median(x)), (part,)).describe(level, len(x))


def paired_difference(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of a - b, value by value (equal seeds), with its t interval and p-value.

    >>> d = paired_difference([83.0, 84.0, 85.5], [80.0, 82.0, 82.5])
    >>> round(d.value, 3), round(d.low, 3), round(d.high, 3)
    (2.667, 1.232, 4.101)
    """
    x, y = _values(a, 2, "paired_difference"), _values(b, 2, "paired_difference")
    if len(x) != len(y):
        raise RedistillError(
            f"paired_difference was given {len(x)} and {len(y)} values: give one value of each for every seed, "
            f"or use welch for groups that are not paired"
        )
    return mean_interval(list(x - y), level)


def _in_steps(found: Interval, step: float, numbers: int = 1) -> Interval:
    """A mean of equal values as what it can be, where each is made of so many ``numbers`` that come in steps; any other as it is."""
    if found.error > NOTHING:
        return found
    part = VarianceComponent(numbers * step**2 / 12 / found.n, found.n - 1)
    return Estimate(found.value, (part,)).describe(found.level, found.n)


def percent_difference(a: Sequence[float], b: Sequence[float], level: float = 0.95, step: float = STEP) -> Interval:
    """:func:`paired_difference` of accuracies in percent: no end lies outside -100 to 100, where none can be.

    ``step``: as for :func:`percent_interval`; equal differences show no more than equal accuracies do.

    >>> percent_difference([93.0, 60.0], [50.0, 51.0]).high
    100.0
    """
    found = _in_steps(paired_difference(a, b, level), step, 2)
    return replace(found, low=max(-100.0, found.low), high=min(100.0, found.high))


def welch(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of a minus mean of b, unpaired, with Welch's interval (Satterthwaite's degrees of freedom) and p-value.

    Verdicts use :class:`Estimate` instead, which says why.
    """
    x, y = _values(a, 2, "welch"), _values(b, 2, "welch")
    u, v = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
    df = (u + v) ** 2 / (u**2 / (len(x) - 1) + v**2 / (len(y) - 1)) if u + v > 0 else float(len(x) + len(y) - 2)
    return Estimate(float(x.mean() - y.mean()), (VarianceComponent(u + v, df),)).describe(level, min(len(x), len(y)))


def binomial_interval(hits: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for the accuracy of one network: what ``n`` test images leave open. Fractions of 1.

    ``hits``: how many of them it was right on; the mean of several networks may be a fraction.

    >>> low, high = binomial_interval(8315, 10000)
    >>> round(low, 4), round(high, 4)
    (0.824, 0.8387)
    """
    if not (n >= 1 and 0 <= hits <= n):
        raise RedistillError(f"binomial_interval({hits}, {n}): hits must lie between 0 and the number of images (>= 1)")
    z = float(special.ndtri((1 + _level(level)) / 2))
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_accuracy(only_a: int, only_b: int, n: int, level: float = 0.95) -> tuple[float, float, float]:
    """Accuracy of a minus accuracy of b on the same ``n`` images, with its interval: (value, low, high), fractions of 1.

    ``only_a``, ``only_b``: images on which a alone, and b alone, is right. The interval is Bonett and Price's (2012, Journal of
    Educational and Behavioral Statistics 37, adjusted Wald): one image is added to each of the two counts and two to all.

    >>> value, low, high = paired_accuracy(30, 12, 600)
    >>> round(value, 4), round(low, 4), round(high, 4)
    (0.03, 0.0084, 0.0514)
    """
    if not (n >= 1 and only_a >= 0 and only_b >= 0 and only_a + only_b <= n):
        raise RedistillError(f"paired_accuracy({only_a}, {only_b}, {n}): the two counts, and their sum, lie between 0 and the images")
    z = float(special.ndtri((1 + _level(level)) / 2))
    a, b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = z * math.sqrt((a + b - (a - b) ** 2) / (n + 2))
    return (only_a - only_b) / n, max(-1.0, a - b - half), min(1.0, a - b + half)


# ---------------------------------------------------------------------------------------------------------------------
# Spreads
# ---------------------------------------------------------------------------------------------------------------------
def pooled_sd(groups: Sequence[Sequence[float]]) -> Spread:
    """The common standard deviation of groups with means of their own; groups of one value say nothing and are left out.

    >>> pooled_sd([[1.0, 3.0], [10.0, 10.0, 10.0]])
    Spread(sd=0.816496580927726, df=3.0)
    """
    used = [x for x in (_values(group, 0, "pooled_sd") for group in groups) if len(x) > 1]
    if not used:
        raise RedistillError("pooled_sd: no group holds two values, so there is no spread to pool: run more seeds")
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in used)
    df = float(sum(len(x) - 1 for x in used))
    return Spread(math.sqrt(squares / df), df)


def equal_spreads(groups: Sequence[Sequence[float]]) -> float | None:
    """p-value of "all groups scatter equally" (Bartlett's test); None with fewer than two groups of two values.

    Bartlett and not Brown and Forsythe: of three seeds one always is the median, and Brown and Forsythe's test then rejects
    almost never, neither equal spreads nor threefold ones. Bartlett's keeps its level at n = 3 and sees the most among
    normal results. It also answers to long tails, which errs on the side of a warning.
    """
    used = [x for x in (_values(group, 0, "equal_spreads") for group in groups) if len(x) > 1]
    return bartlett([Spread(float(x.std(ddof=1)), len(x) - 1) for x in used])


def bartlett(spreads: Sequence[Spread]) -> float | None:
    """p-value of "these estimated spreads are one"; None with fewer than two.

    >>> round(bartlett([Spread(0.1, 2), Spread(0.2, 2), Spread(0.9, 2)]), 3)
    0.03
    """
    if len(spreads) < 2:
        return None
    df = np.array([spread.df for spread in spreads], dtype=float)
    variances = np.array([spread.sd**2 for spread in spreads])
    if not variances.any():
        return 1.0
    if not variances.all():
        return 0.0
    pooled = float((df * variances).sum() / df.sum())
    statistic = df.sum() * math.log(pooled) - float((df * np.log(variances)).sum())
    correction = 1 + (float((1 / df).sum()) - 1 / df.sum()) / (3 * (len(spreads) - 1))
    return float(special.chdtrc(len(spreads) - 1, max(0.0, statistic / correction)))


def alike(spreads: Sequence[Spread], p: float) -> list[bool]:
    """Which spreads stay together when the widest leave, one after the other, until Bartlett's p-value reaches ``p``.

    >>> alike([Spread(0.2, 2), Spread(9.0, 2), Spread(0.3, 2), Spread(0.1, 2)], 0.01)
    [True, False, True, True]
    """
    order = sorted(range(len(spreads)), key=lambda i: spreads[i].sd)
    while len(order) > 1 and (bartlett([spreads[i] for i in order]) or 0.0) < p:
        order.pop()
    return [i in order for i in range(len(spreads))]


def seed_blocks(groups: Sequence[Sequence[float]]) -> tuple[Spread, Spread]:
    """Cells by seeds, [k, n], as a two-way layout: spread between the seeds' means, times sqrt(k), and of what is left.

    Where cells do not go together both estimate the spread of a run. Of the mean square within cells, which is the variance
    of a run whatever goes together, the first makes 1/k, the second the rest, and the two are independent: so a pooled
    spread of cells that share their seeds is honest when it enters as these two parts.

    >>> between, left = seed_blocks([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]])
    >>> round(between.sd, 3), left.sd, between.df, left.df
    (1.414, 0.0, 2, 2)
    """
    x = np.array([_values(group, 2, "seed_blocks") for group in groups])
    cells, n = x.shape
    within = x - x.mean(axis=1, keepdims=True)
    between = within.mean(axis=0)
    left = within - between
    df = (cells - 1) * (n - 1)
    rest = math.sqrt(float((left**2).sum()) / df) if df else 0.0
    return Spread(math.sqrt(cells * float((between**2).sum()) / (n - 1)), n - 1), Spread(rest, df)


@functools.lru_cache(maxsize=4096)
def median_factor(n: int) -> float:
    """Standard error of the median of ``n`` normal values, in standard deviations; tends to sqrt(pi / 2n).

    The density of the middle order statistic (odd n), or of the mean of the middle two (even n), integrated.

    >>> [round(median_factor(n), 4) for n in (1, 2, 3, 5)]
    [1.0, 0.7071, 0.6698, 0.5356]
    """
    if n < 1:
        raise RedistillError(f"median_factor({n}): a median needs at least one value")
    m = np.linspace(-9.0, 9.0, 201) * min(1.0, 1.25 / math.sqrt(n))
    if n % 2:
        k = (n - 1) // 2
        log = k * (special.log_ndtr(m) + special.log_ndtr(-m)) - m * m / 2
        density = np.exp(log - log.max())
    else:  # the middle two are m - h and m + h; over h from 0 by Simpson's rule
        k, h = n // 2 - 1, np.linspace(0.0, min(9.0, 60.0 / n), 201)[:, None]
        log = k * (special.log_ndtr(m - h) + special.log_ndtr(-m - h)) - m * m - h * h
        simpson = np.where(np.arange(201) % 2, 4.0, 2.0)
        simpson[[0, -1]] = 1.0
        density = simpson @ np.exp(log - log.max())
    return math.sqrt(float((density * m * m).sum() / density.sum()))


# ---------------------------------------------------------------------------------------------------------------------
# Decisions
# ---------------------------------------------------------------------------------------------------------------------
def tost(difference: Estimate, tolerance: float) -> float:
    """p-value of the two one-sided tests: small means that the truth lies within plus or minus ``tolerance``."""
    if not tolerance > 0:
        raise RedistillError(f"tost: the tolerance must be above 0, got {tolerance}")
    return max(difference.p_above(-tolerance), difference.p_below(tolerance))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: at most 5 % to say anything false below 0.05, whatever depends on what.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = _values(p_values, 0, "holm")
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, (len(p) - rank) * float(p[index])))
        adjusted[int(index)] = largest
    return adjusted


@functools.lru_cache(maxsize=64)
def pocock(looks: tuple[int, ...], alpha: float = 0.05) -> float:
    """The one-sided level of each look, so that any of them is false with at most ``alpha`` (Pocock's equal levels).

    ``looks``: how many seeds are there at each, rising. The noise of a printed number is the same at every look, which makes
    the looks more alike than is reckoned here: the level then is below ``alpha``.

    >>> pocock((3, 5, 10)), pocock((3,))
    (0.0225, 0.05)
    """
    if list(looks) != sorted(set(looks)) or not looks or looks[0] < 2:
        raise RedistillError(f"looks {looks}: rising numbers of seeds, 2 at least")
    if len(looks) == 1:
        return alpha
    from scipy import optimize, stats  # slow to import, and only plans with several looks need them

    n = np.array(looks, dtype=float)
    together = stats.multivariate_normal(cov=np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n)), seed=0)

    def passed(z: float) -> float:
        return 1 - float(together.cdf(np.full(len(looks), z))) - alpha

    z = optimize.brentq(passed, _quantile(math.inf, alpha), _quantile(math.inf, alpha / len(looks)), xtol=1e-5)
    return math.floor(float(special.ndtr(-z)) * 10_000) / 10_000


def seeds_needed(power_of: Callable[[int], float], power: float = 0.8, most: int = 1000) -> int | None:
    """The fewest additional seeds m >= 1 from which on ``power_of(m) >= power``; None where ``most`` do not reach it.

    ``power_of`` may only rise once it is above one half.
    """
    if power_of(most) < power:
        return None
    low, high = 0, 1
    while high < most and power_of(high) < power:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def past_edge(number: float, low: float, high: float, decimals: int = 2) -> str:
    """A number with its sign; with more decimals where rounding would hide that it lies below ``low`` or above ``high``.

    >>> past_edge(0.41, -0.5, 0.5), past_edge(0.504, -0.5, 0.5), past_edge(0.496, -0.5, 0.5), past_edge(-0.0004, 0.0, 0.0)
    ('+0.41', '+0.504', '+0.50', '-0.0004')
    """

    def beyond(x: float) -> tuple[bool, bool]:
        return x < low, x > high

    enough = (n for n in range(decimals, decimals + 4) if beyond(float(f"{number:.{n}f}")) == beyond(number))
    return f"{number:+.{next(enough, decimals)}f}"


def _values(values: Sequence[float], least: int, who: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise RedistillError(f"{who} takes a flat list of numbers, got an array of shape {x.shape}")
    if len(x) < least:
        raise RedistillError(f"{who} needs at least {least} values to know a spread, got {len(x)}: run more seeds")
    if not np.isfinite(x).all():
        raise RedistillError(f"{who} was given {x[~np.isfinite(x)][0]}: every value must be finite")
    return x


def _quantile(df: float, alpha: float) -> float:
    """The one-sided quantile of t, or of a normal number where ``df`` is infinite."""
    return -float(special.ndtri(alpha) if math.isinf(df) else special.stdtrit(df, alpha))


def _normal(x: float, sd: float) -> float:
    """Distribution function of a normal number around 0; of 0 itself where ``sd`` is 0."""
    return float(special.ndtr(x / sd)) if sd > 0 else float(x >= 0)


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise RedistillError(f"the level of an interval is a fraction such as 0.95, got {level}")
    return level

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
