"""The rules of a verdict once more, on whole arrays: tables [t, cells, n] of runs, and what is printed of them.

``now`` is the rule of the package, which judges the first tables of every setting too (``verdict_rates.py``); ``before`` is
the rule of version 0.1.0 at e6d5775, kept here so that the page can show both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from redistill.claims.model import SIDE
from redistill.claims.scatter import APART, KEEP, MANY, TOGETHER
from redistill.stats import median_factor

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LOOK = 0.2
"""Before: where Bartlett's p was below this, the wider of own and pooled decided."""


@dataclass(frozen=True)
class ReportedValues:
    """What a paper prints of its runs: value, std (ddof 0) or None [t, cells]; the share of one run's variance; its runs."""

    value: Array
    std: Array | None
    share: float
    runs: int


def quantile(df: Any, alpha: float) -> Any:
    return -special.stdtrit(df, alpha)


def bartlett(variances: Array, df: float, mask: Mask) -> Array:
    """p-value over the cells of ``mask``, [t]."""
    k = mask.sum(axis=1)
    pooled = (variances * mask).sum(axis=1) / k
    log = (np.log(variances) * mask).sum(axis=1) / k
    statistic = k * df * (np.log(pooled) - log) / (1 + (k + 1) / (3 * k * df))
    return np.where(k > 1, special.chdtrc(np.maximum(k - 1, 1), np.maximum(statistic, 0)), 1.0)


def kept(variances: Array, df: float) -> Mask:
    """Which cells stay when the widest leave until Bartlett's p reaches ``KEEP``."""
    mask = np.ones(variances.shape, dtype=bool)
    for _ in range(variances.shape[1] - 1):
        out = bartlett(variances, df, mask) < KEEP
        if not out.any():
            break
        widest = np.where(mask, variances, -1.0).argmax(axis=1)
        mask[np.flatnonzero(out), widest[out]] = False
    return mask


def apart(variances: Array, mask: Mask) -> Mask:
    """Kept cells that scatter visibly more than the other kept ones."""
    k, total = mask.sum(axis=1, keepdims=True), (variances * mask).sum(axis=1, keepdims=True)
    others = np.where(k > 1, (total - variances) / np.maximum(k - 1, 1), np.inf)
    found: Mask = mask & (variances > APART * others)
    return found


@dataclass(frozen=True)
class Scatter:
    """Variance of one run of each cell as two estimated parts: variances [t, cells], degrees of freedom [t, cells]."""

    first: Array
    first_df: Array
    rest: Array
    rest_df: Array


def scatter(runs: Array) -> Scatter:
    """By the rule of the package."""
    n = runs.shape[2]
    df, within = n - 1, runs - runs.mean(axis=2, keepdims=True)
    own = (within**2).sum(axis=2) / df
    stays = kept(own, df)
    k = stays.sum(axis=1)
    pool = (own * stays).sum(axis=1) / k
    seeds = (within * stays[:, :, None]).sum(axis=1) / k[:, None]
    between = (seeds**2).sum(axis=1) / df
    rest_df = np.maximum((k - 1) * df, 1)
    rest = np.where(k > 1, np.maximum(pool - between, 0.0), 0.0)
    alone = ((own.shape[1] - k) >= MANY)[:, None] | ~stays | apart(own, stays)
    shape = own.shape

    def wide(x: Any) -> Array:
        return np.broadcast_to(np.asarray(x, dtype=float).reshape(-1, 1), shape)

    return Scatter(
        np.where(alone, own, wide(between)), np.full(shape, float(df)), np.where(alone, 0.0, wide(rest)), wide(rest_df)
    )


def theirs(printed: ReportedValues) -> tuple[Array, Array]:
    """Variance of one of the paper's runs where it prints a spread, and degrees of freedom, [t, cells]."""
    assert printed.std is not None
    df = printed.runs - 1.0
    own = np.maximum(printed.std**2 * printed.runs / df, 0.01**2 / 12)
    stays = kept(own, df)
    k = stays.sum(axis=1, keepdims=True)
    whole = (own * stays).sum(axis=1, keepdims=True) / k
    charged = np.maximum(k * df / (1 + (k - 1) * TOGETHER**2), df)
    alone = (own.shape[1] - k >= MANY) | (k < 2) | ~stays | apart(own, stays)
    return np.where(alone, own, whole), np.where(alone, df, charged)


def now(runs: Array, printed: ReportedValues, alpha: float = SIDE, allowance: float = 0.0, median: bool = False) -> tuple[Array, Array]:
    """Ours minus the paper's at truth 0, and half of the interval that decides, [t, cells]."""
    n, s = runs.shape[2], scatter(runs)
    share = median_factor(n) ** 2 if median else 1 / n
    both = share + (printed.share if printed.std is None else 0.0)
    parts = [(s.first * both, quantile(s.first_df, alpha)), (s.rest * both, quantile(s.rest_df, alpha))]
    if printed.std is not None:
        variance, df = theirs(printed)
        parts.append((variance * printed.share, quantile(df, alpha)))
    known = np.full(s.first.shape, 0.01**2 / 12 + 2 * allowance**2)
    parts.append((known, np.full(known.shape, -special.ndtri(alpha))))
    total = sum(v for v, _ in parts)
    half = sum(v * t for v, t in parts) / np.sqrt(total)
    return _middle(runs, median) - printed.value, half


def before(runs: Array, printed: ReportedValues, alpha: float = 0.05, median: bool = False) -> tuple[Array, Array]:
    """The same by the rule of e6d5775."""
    n, own = runs.shape[2], runs.var(axis=2, ddof=1)
    df, cells = n - 1, own.shape[1]
    common = np.broadcast_to(own.mean(axis=1, keepdims=True), own.shape)
    share = median_factor(n) ** 2 if median else 1 / n

    def half(variance: Array, df: float) -> Array:
        if printed.std is None:
            return np.asarray(quantile(df, alpha) * np.sqrt(variance * (share + printed.share)))
        a, b = variance * share, printed.std**2 * printed.runs / (printed.runs - 1) * printed.share
        t = (a * quantile(df, alpha) + b * quantile(printed.runs - 1, alpha)) / (a + b)
        return np.asarray(t * np.sqrt(a + b))

    differ = (bartlett(own, df, np.ones(own.shape, dtype=bool)) < LOOK)[:, None]
    pooled = half(common, cells * df)
    return _middle(runs, median) - printed.value, np.where(differ, np.maximum(half(own, df), pooled), pooled)


def _middle(runs: Array, median: bool) -> Array:
    return np.asarray(np.median(runs, axis=2) if median else runs.mean(axis=2))


# ---------------------------------------------------------------------------------------------------------------------
# Orders: every cell against the first
# ---------------------------------------------------------------------------------------------------------------------
def blocked(runs: Array) -> tuple[Array, Array]:
    """Standard error and Satterthwaite's degrees of freedom of each cell minus the first, with the seed as a block."""
    t, cells, n = runs.shape
    within = runs - runs.mean(axis=2, keepdims=True)
    stays = kept((within**2).sum(axis=2) / (n - 1), n - 1)
    usable = stays.sum(axis=1) >= 3
    variance, df = np.empty((t, cells)), np.empty((t, cells))
    rest, rest_df = _residual(within, stays)
    for c in range(cells):
        others = stays.copy()
        others[:, c] = False
        among, _ = _residual(within, others)
        k = np.maximum(others.sum(axis=1), 1)
        mean = (within * others[:, :, None]).sum(axis=1) / k[:, None]
        mine = ((within[:, c] - mean) ** 2).sum(axis=1) / (n - 1) / (1 + 1 / k)
        alone = ~stays[:, c] | (mine > APART * among)
        variance[:, c], df[:, c] = np.where(alone, mine, rest), np.where(alone, n - 1, rest_df)
    a, b = variance[:, 1:], variance[:, :1]
    shared = (df[:, 1:] == rest_df[:, None]) & (df[:, :1] == rest_df[:, None])
    merged = np.where(shared, df[:, 1:], (a + b) ** 2 / (a**2 / df[:, 1:] + b**2 / df[:, :1]))
    # where fewer than three cells keep a common spread (one table in thousands) nothing is found here
    return np.where(usable[:, None], np.sqrt((a + b) / n), np.inf), merged


def _residual(within: Array, mask: Mask) -> tuple[Array, Array]:
    n, k = within.shape[2], np.maximum(mask.sum(axis=1), 1)
    seeds = (within * mask[:, :, None]).sum(axis=1) / k[:, None]
    left = ((within - seeds[:, None]) * mask[:, :, None]) ** 2
    df = (k - 1.0) * (n - 1)
    return left.sum(axis=(1, 2)) / np.maximum(df, 1), df


def unpaired_before(runs: Array) -> tuple[Array, Array]:
    """The same, unpaired, by the rule of e6d5775: the larger of pooled and own p-value is taken by the wider error."""
    cells, n = runs.shape[1:]
    own = runs.var(axis=2, ddof=1)
    df = n - 1
    mine = np.sqrt((own[:, 1:] + own[:, :1]) / n)
    pool = np.broadcast_to(np.sqrt(2 * own.mean(axis=1, keepdims=True) / n), mine.shape)
    differ = (bartlett(own, df, np.ones(own.shape, dtype=bool)) < LOOK)[:, None]
    alone = differ & (mine * quantile(df, 0.05) > pool * quantile(cells * df, 0.05))
    return np.where(alone, mine, pool), np.where(alone, float(df), float(cells * df))


def paired_before(runs: Array) -> tuple[Array, Array]:
    n = runs.shape[2]
    error = (runs[:, 1:] - runs[:, :1]).std(axis=2, ddof=1) / n**0.5
    return error, np.full(error.shape, float(n - 1))


def holm(p: Array) -> Array:
    order = np.argsort(p, axis=1)
    steps = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(np.minimum(steps, 1.0), axis=1), axis=1)
    return adjusted
