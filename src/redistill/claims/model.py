"""What a paper printed, what we measured, and what came of comparing them: values without behaviour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, get_args

from redistill.errors import RedistillError, nearest
from redistill.stats import Interval, Spread, VarianceComponent, median_factor

Kind = Literal["value", "gain", "order", "checkpoint"]

Which = Literal["last", "best_on_test", "best_on_validation", "at_step", "unknown", "none"]
"""Which epoch a number was taken at; ``at_step``: a named step, ``none``: training has no part in it."""

SIDE = 0.03
"""Level of each of the two one-sided tests of a size. At 3 % a verdict at the edge of the tolerance is false at most 5 % of the time
where results are skewed, one cell scatters three times as much, or cells go together too; at 5 % it would be 6.8 % (skewed, ten
seeds against a printed mean of three) and 5.6 % (the wide cell, three seeds)."""

MOST_SPREAD = 1e4
"""No standard deviation of accuracies in percent, and no variance, is larger."""

Epoch = Literal["last", "best_on_test"]
Aggregate = Literal["mean", "median", "single", "unknown"]

Design = Literal["paired", "unpaired", "blocked"]
"""How two cells are compared: within each seed; by their means; with the seed as a block over all cells of the table."""

Verdict = Literal["reproduced", "above", "below", "unclear", "compatible", "not attempted", "pending", "stale", "disputed"]


def _known(name: str, names: Any, what: str) -> None:
    if name not in get_args(names):
        raise RedistillError(nearest(str(name), get_args(names), what))


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def share(n: int, median: bool) -> float:
    """Variance of the mean (or median) of ``n`` runs, in variances of one run."""
    return median_factor(n) ** 2 if median else 1 / n


# ---------------------------------------------------------------------------------------------------------------------
# What was printed, what was measured
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Published:
    """One printed number.

    Attributes:
        value: as printed. decimals: how many were printed.
        std: the printed standard deviation (a variance or a standard error is converted where the paper is read).
        seeds: how many runs stand behind it, None where the paper does not say.
        ddof: of ``std``; None where unknown, then read as 0, which is numpy's default and the wider reading.
        which, aggregate: the epoch and the statistic it reports.
        approximate: read off a figure.
        teachers: how many teachers stand behind it, where that is fewer than runs and ours have one a seed; then it counts as
            so many runs, because a printed spread over students of one teacher does not hold what the teacher adds.
    """

    value: float
    std: float | None = None
    seeds: int | None = None
    ddof: Literal[0, 1] | None = None
    which: Which = "unknown"
    aggregate: Aggregate = "unknown"
    decimals: int = 2
    approximate: bool = False
    variance: bool = False
    """What stands in ``std`` is a variance, as printed; ``spread`` takes its root."""
    teachers: int | None = None

    def __post_init__(self) -> None:
        _known(self.which, Which, "epoch of a published number")
        _known(self.aggregate, Aggregate, "statistic of a published number")
        if not math.isfinite(self.value):
            raise RedistillError(f"published value {self.value}: leave out a claim whose number is not printed")
        if self.seeds is not None and (not _is_whole(self.seeds) or self.seeds < 1):
            raise RedistillError(f"published seeds = {self.seeds}: give the number of runs, or None where it is not known")
        if not _is_whole(self.decimals) or not 0 <= self.decimals <= 15:
            raise RedistillError(f"published decimals = {self.decimals}: give how many digits stand after the point, 0 to 15")
        if self.aggregate == "single" and self.seeds not in (None, 1):
            raise RedistillError(f"a single published run cannot have {self.seeds} seeds: say mean or median")
        if self.std is not None and not (0 <= self.std <= MOST_SPREAD and self.seeds is not None and self.seeds >= 2):
            raise RedistillError(
                f"published std = {self.std} of {self.seeds} seeds: a spread in percent must be >= 0 (and at most 10,000) and needs "
                f"the number of its runs, 2 or more; leave std out where that is not known"
            )
        if self.ddof not in (None, 0, 1):
            raise RedistillError(f"published ddof = {self.ddof}: must be 0, 1 or None (unknown)")
        if self.teachers is not None and self.teachers < 1:
            raise RedistillError(f"published teachers = {self.teachers}: give how many, or None where every run has its own")

    @property
    def rounding(self) -> float:
        """Variance of what rounding took away: uniform over one unit of the last digit."""
        return float(100.0**-self.decimals / 12)

    @property
    def spread(self) -> Spread | None:
        """The printed spread as an unbiased one (ddof 1), or None."""
        if self.std is None or self.seeds is None or self._few_teachers:
            return None
        sd = math.sqrt(self.std) if self.variance else self.std
        return Spread(sd if self.ddof == 1 else sd * math.sqrt(self.seeds / (self.seeds - 1)), self.seeds - 1)

    @property
    def share(self) -> float:
        """Variance of the printed number, in variances of one run: 1/k for a mean of k, 1 where k is not known."""
        return share((self.teachers if self._few_teachers else self.seeds) or 1, self.aggregate == "median")

    @property
    def _few_teachers(self) -> bool:
        return self.teachers is not None and self.teachers < (self.seeds or 1)


@dataclass(frozen=True)
class Measured:
    """One run of ours: accuracies in percent at the last epoch and at the best one on the test set.

    ``stale``: made before something changed that moves its numbers; never judged. ``diverged``: its last network guesses, and so
    it counts.
    """

    seed: int
    last: float
    best_on_test: float | None = None
    stale: bool = False
    diverged: bool = False

    def __post_init__(self) -> None:
        for name, value in (("last", self.last), ("best_on_test", self.best_on_test)):
            if value is not None and not math.isfinite(value):
                raise RedistillError(f"seed {self.seed}: {name} is {value}: a diverged run has an accuracy too, give it")


@dataclass(frozen=True)
class Claim:
    """One number, gain or order of a paper with the rule by which it is judged.

    Attributes:
        cell: the runs it is about. baseline: for a gain what is subtracted, for an order what the paper puts lower.
        published: the paper's number for ``cell``; for an order it may be missing. published_baseline: the one for
            ``baseline``; without it a gain's ``published`` is the printed gain itself.
        decides: which comparison decides a gain or an order; the other ones are shown.
        tolerance: half width of what counts as equal, in points (0.5: about the gap between last and best epoch).
        seeds: how many are planned; no verdict before they are there. 3: what most of the papers ran.
        compare: which of our numbers stands against the paper's; None: the like one, else the last.
        contradicting: other values printed for the same thing; where a verdict against one of them differs, the claim is
            disputed.
        needs: seeds that must be there whatever their number, those of the plan and every other one that was begun.
        looks: numbers of seeds at which it is judged, fixed before; () is one look, at ``seeds``. With several looks each has
            a stricter level, so that all of them together keep it.
        reach: whether an affordable number of seeds can settle it, as reckoned before any ran; None: seen when it is judged.
        allowance: what one teacher may add, a standard deviation in points: for ours and for the paper's.
        side: level of each of the two one-sided tests of its size (value and gain), over all looks together.
    """

    id: str
    kind: Kind
    cell: str
    published: Published | None = None
    baseline: str | None = None
    published_baseline: Published | None = None
    decides: Design | None = None
    tolerance: float = 0.5
    seeds: int = 3
    compare: Epoch | None = None
    contradicting: tuple[Published, ...] = ()
    needs: tuple[int, ...] = ()
    looks: tuple[int, ...] = ()
    reach: bool | None = None
    allowance: float = 0.0
    side: float = SIDE

    def __post_init__(self) -> None:
        _known(self.kind, Kind, f"kind of claim {self.id!r}")
        if self.compare is not None:
            _known(self.compare, Epoch, f"epoch compared in claim {self.id!r}")
        differs = self.kind in ("gain", "order")
        if differs != (self.baseline is not None) or differs != (self.decides is not None):
            raise RedistillError(
                f"claim {self.id!r} is a claim of {self.kind}: baseline and decides ('paired', 'unpaired', 'blocked') are "
                f"{'needed' if differs else 'for gains and orders only'}, got {self.baseline!r} and {self.decides!r}"
            )
        if self.decides is not None:
            _known(self.decides, Design, f"design that decides claim {self.id!r}")
        if self.published is None and (self.kind != "order" or self.published_baseline is not None or self.contradicting):
            raise RedistillError(f"claim {self.id!r}: give the published number of {self.cell!r}")
        if differs and self.cell == self.baseline:
            raise RedistillError(f"claim {self.id!r} compares {self.cell!r} with itself: name another cell as baseline")
        if not (0 < self.tolerance < math.inf and _is_whole(self.seeds) and self.seeds >= 1):
            raise RedistillError(
                f"claim {self.id!r}: tolerance must be above 0 and seeds at least 1, got {self.tolerance} and {self.seeds}"
            )
        if self.published and self.published.aggregate == "median" and self.decides in ("paired", "blocked"):
            raise RedistillError(
                f"claim {self.id!r} compares medians, and a difference of medians has no {self.decides} error: decides = 'unpaired'"
            )
        if self.looks and (list(self.looks) != sorted(set(self.looks)) or self.looks[0] < 2):
            raise RedistillError(f"claim {self.id!r}: looks are rising numbers of seeds, 2 at least, got {self.looks}")
        if not 0 <= self.allowance < math.inf:
            raise RedistillError(f"claim {self.id!r}: allowance for a teacher must be at least 0, got {self.allowance}")
        if not 0 < self.side < 0.5:
            raise RedistillError(f"claim {self.id!r}: side, the level of a one-sided test, lies between 0 and 0.5, got {self.side}")
        if self.kind == "order" and self.claimed is not None and not self.claimed > 0:
            raise RedistillError(
                f"claim {self.id!r} puts {self.cell!r} above {self.baseline!r}, but the published difference is "
                f"{self.claimed:+g}: exchange the two"
            )

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells whose runs it needs."""
        return (self.cell,) if self.baseline is None else (self.cell, self.baseline)

    @property
    def claimed(self) -> float | None:
        """The published number, or the published difference for a gain or an order."""
        if self.published is None:
            return None
        if self.published_baseline is not None:
            return self.published.value - self.published_baseline.value
        return self.published.value if self.kind != "order" else None


# ---------------------------------------------------------------------------------------------------------------------
# What was found
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Reading:
    """The claim looked at in one way.

    Attributes:
        what: spread and design (and what else is different), in words.
        ours: our mean, median or difference of two, with its 95 % interval and n; no end lies where no accuracy can be.
        difference, interval: ours minus the paper's, with the interval that decides, at ``level`` (0.94 = 94 %); None where
            nothing is printed.
        p: two-sided p-value of "our difference is zero" (gain and order; as tested alone), else None.
    """

    what: str
    ours: Interval
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    verdict: Verdict
    level: float = 1 - 2 * SIDE


@dataclass(frozen=True)
class Finding:
    """A claim beside our runs.

    Attributes:
        reading: the way of looking that decides. others: the same claim with the other spread, design, epoch or printed
            value. epoch: of our numbers (of other people's it may be any). All None or empty where there is nothing to judge.
        p: adjusted by Holm in a table. more_seeds: for *unclear*, how many more seeds of ours settle it in four of five
            cases, were the truth what we see now; None: a thousand do not.
        bound: for *compatible*, the smallest tolerance at which it would be reproduced.
        mismatch: where unlike is compared with unlike, in words. note: whatever else a reader must know.
        measured: of a checkpoint, what the evaluation gave.
    """

    claim: Claim
    verdict: Verdict
    reading: Reading | None = None
    others: tuple[Reading, ...] = ()
    epoch: Which | None = None
    p: float | None = None
    more_seeds: int | None = None
    bound: float | None = None
    mismatch: str = ""
    note: str = ""
    measured: float | None = None

    @property
    def ours(self) -> Interval | None:
        return self.reading.ours if self.reading else None

    @property
    def difference(self) -> float | None:
        if self.measured is not None and self.claim.published is not None:
            return self.measured - self.claim.published.value
        return self.reading.difference if self.reading else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return self.reading.interval if self.reading else None


@dataclass(frozen=True)
class Pool:
    """The spread common to cells of a table, and the p-value of "all cells scatter equally" (None: one cell).

    Attributes:
        parts: the variance of one run as a sum of independently estimated ones; (): that of ``spread`` alone.
        left: cells whose spread is another one (the widest, by Bartlett's test): judged by their own.
        apart: cells that stay but scatter more than the others, be it by chance: judged by their own too.
        still: cells whose seeds all gave the same number; they say nothing about a spread.
    """

    spread: Spread
    p: float | None
    parts: tuple[VarianceComponent, ...] = ()
    left: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    still: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Summary:
    """A table in a few numbers.

    Attributes:
        counts: findings by verdict. judged: verdicts of size (value and gain), each false with at most 5 %.
        expected_false: 5 % of ``judged``: at most so many of them are expected to be false, *unclear* never being false.
        holm: adjusted p-value of each claim of gain and order. pools: of all cells, by the epoch at which some claim was looked at.
        regimes: the pools that decide, by such epochs and regime; one for all cells where no regimes are told.
    """

    counts: Mapping[Verdict, int]
    judged: int
    expected_false: float
    holm: Mapping[str, float]
    pools: Mapping[Epoch, Pool]
    regimes: Mapping[tuple[Which, str], Pool] = field(default_factory=dict)
