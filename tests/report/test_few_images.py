"""AT and the hint beside RepDistiller: the interval of a difference to a mean and a spread of which no single result is known."""

from __future__ import annotations

import math
import statistics

import pytest
from scipy import stats as scipy_stats

from redistill.report.few_images import _alone, _apart


def test_the_interval_is_cochrans_of_both_spreads() -> None:
    values, mean, sd, n = [55.0, 56.5, 54.0, 57.0, 55.5, 56.0], 57.8, 1.1, 3
    ours, difference, interval, says = _apart(values, mean, sd, n)
    u, v = statistics.variance(values) / 6, sd**2 / n
    t = (u * scipy_stats.t.ppf(0.975, 5) + v * scipy_stats.t.ppf(0.975, 2)) / (u + v)
    gap, half = statistics.fmean(values) - mean, t * math.sqrt(u + v)
    assert (ours, difference) == ("55.67 ± 1.08 (6)", f"{gap:+.2f}")
    assert _alone(sd, n) == pytest.approx(scipy_stats.t.ppf(0.975, 2) * math.sqrt(v))
    assert interval == f"{gap - half:+.2f} to {gap + half:+.2f}" and says == "neither shown nor excluded"


@pytest.mark.parametrize(
    ("values", "says"),
    [([57.7, 57.8, 57.9], "excluded"), ([52.0, 52.1, 51.9], "there"), ([50.0, 57.0, 64.0], "neither shown nor excluded")],
)
def test_what_the_interval_says_of_one_point(values: list[float], says: str) -> None:
    assert _apart(values, 57.8, 0.1, 3)[3] == says
