"""One way of looking at a claim: which of our numbers, which spread, which design, which printed value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from redistill.claims.model import Claim, Design, Pool, Published, Reading, Verdict, share
from redistill.claims.scatter import Blocks, Print, own_spread
from redistill.stats import NOTHING, Estimate, Spread, VarianceComponent, pocock, satterthwaite, seeds_needed

ALPHA = 0.05
"""What is promised: how often, at most, a claim at the edge of its tolerance gets a verdict that is false; and the level at which a
difference is tested against nothing (orders, and whether a gain is one)."""

MOST = 10
"""So many seeds of a cell are affordable: a number that they do not settle is out of reach."""

LIKELY = 0.5
"""A claim is within reach when, were ours exactly the paper's, so many of the repetitions with ``MOST`` seeds would say so."""

_VERDICT: dict[str, Verdict] = {"inside": "reproduced", "above": "above", "below": "below", "open": "unclear"}


def level(claim: Claim) -> float:
    """The level of one look at a size: the claim's, or less where several looks were fixed before."""
    return pocock(claim.looks, claim.side) if claim.looks else claim.side


def level_apart(claim: Claim) -> float:
    """The same of a difference that is tested against nothing: 5 %, or less."""
    return pocock(claim.looks, ALPHA) if claim.looks else ALPHA


def deciding(claim: Claim) -> float:
    """The level of the test that decides a claim of its kind."""
    return level_apart(claim) if claim.kind == "order" else level(claim)


@dataclass(frozen=True)
class View:
    """A claim with the numbers it is judged on.

    Attributes:
        numbers: cell -> seed -> percent, at least two seeds a cell.
        pools: cell -> the spread of its regime; a cell that is not there has its own.
        design: of a gain or an order; paired uses the spread of the differences within a seed, blocked the residual of
            ``blocks``, which it needs.
        published: the printed number compared with (the claim's, or one that contradicts it).
        theirs: variance of one of the paper's runs, for printed numbers whose spread is pooled over those of like cells.
        dead: cells of which every run diverged: their numbers are equal because they guess, and not because seeds do nothing.
    """

    claim: Claim
    numbers: Mapping[str, Mapping[int, float]]
    pools: Mapping[str, Pool]
    design: Design | None
    published: Published | None
    blocks: Blocks | None = None
    theirs: Mapping[Print, VarianceComponent] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    _made: dict[int, tuple[Estimate, Estimate | None]] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def side(self) -> float:
        return level(self.claim)

    @property
    def alpha(self) -> float:
        return level_apart(self.claim)

    def columns(self) -> list[NDArray[np.float64]]:
        return [np.array(list(self.numbers[cell].values())) for cell in self.claim.cells]

    def pairs(self) -> NDArray[np.float64]:
        """First cell minus second, of the seeds that both have."""
        first, second = (self.numbers[cell] for cell in self.claim.cells)
        return np.array([first[seed] - second[seed] for seed in first if seed in second])

    def n(self) -> int:
        """How many runs, or pairs, stand behind our number."""
        return len(self.pairs()) if self.design in ("paired", "blocked") else min(map(len, self.columns()))

    def own(self, cell: str) -> bool:
        """Whether a cell is judged by its own spread."""
        pool = self.pools.get(cell)
        return pool is None or cell in pool.left or cell in pool.apart

    def lent(self) -> View:
        """With the pooled spread wherever there is one, for what a spread is expected to be."""
        return replace(self, pools={cell: replace(pool, apart=frozenset()) for cell, pool in self.pools.items()})

    def scatter(self, cell: str, extra: int = 0) -> list[tuple[str, Spread]]:
        """The variance of one run as a sum of estimated ones, under names that are equal where the estimates are."""
        values, pool = list(self.numbers[cell].values()), self.pools.get(cell)
        if pool is None or self.own(cell):
            mine = own_spread(values)
            return [(f"cell {cell}", Spread(mine.sd, mine.df + extra))]
        more = (len(values) - 1 + extra) / (len(values) - 1)
        parts = pool.parts or (VarianceComponent(pool.spread.sd**2, pool.spread.df),)
        return [(f"pool {pool.spread} {i}", Spread(math.sqrt(p.variance), p.df * more)) for i, p in enumerate(parts)]

    def estimates(self, extra: int = 0) -> tuple[Estimate, Estimate | None]:
        """Ours, and ours minus the paper's (None where nothing is printed), as ``extra`` more seeds a cell would make them.

        A variance is a sum of shares of spreads. The paper's number brings its own spread where one is printed, else the
        spread of our cell, so that one estimate of a spread may serve several numbers: its shares are added first.
        """
        if extra not in self._made:
            self._made[extra] = self._estimates(extra)
        return self._made[extra]

    def _estimates(self, extra: int) -> tuple[Estimate, Estimate | None]:
        claim, median = self.claim, self.published is not None and self.published.aggregate == "median"
        shares: dict[str, float] = {}
        spreads: dict[str, Spread] = {}

        def add(coefficient: float, name: str, spread: Spread) -> None:
            shares[name] = shares.get(name, 0.0) + coefficient
            spreads[name] = spread

        def add_cell(coefficient: float, cell: str) -> None:
            for name, spread in self.scatter(cell, extra):
                add(coefficient, name, spread)

        def parts() -> tuple[VarianceComponent, ...]:
            return tuple(VarianceComponent(shares[name] * spread.sd**2, spread.df) for name, spread in spreads.items())

        columns = dict(zip(claim.cells, self.columns(), strict=True))
        if self.design in ("paired", "blocked"):
            pairs = self.pairs()
            value = float(pairs.mean())
            if self.design == "paired":
                mine = own_spread(list(pairs))
                add(1 / (len(pairs) + extra), "pairs", Spread(mine.sd, mine.df + extra))
            else:
                assert self.blocks is not None
                for name, spread in map(self.blocks.of, claim.cells):
                    more = (len(pairs) - 1 + extra) / (len(pairs) - 1)
                    add(1 / (len(pairs) + extra), name, Spread(spread.sd, spread.df * more))
        else:
            middles = [float(np.median(x) if median else x.mean()) for x in columns.values()]
            value = middles[0] if len(middles) == 1 else middles[0] - middles[1]
            for cell, x in columns.items():
                add_cell(share(len(x) + extra, median), cell)
        if claim.allowance:
            add(len(columns), "teacher", Spread(claim.allowance, math.inf))
        ours = Estimate(value, parts())

        theirs, baseline = self.published, claim.published_baseline
        if theirs is None or (claim.kind == "order" and baseline is None):
            return ours, None
        # a gain printed as one number is as uncertain as the two it was made of
        sources = [(theirs, claim.cells)]
        if baseline is not None:
            sources = [(theirs, claim.cells[:1]), (baseline, claim.cells[1:])]
        for number, cells in sources:
            if number.spread is not None:
                one = self.theirs.get((cells[0], number), VarianceComponent(number.spread.sd**2, number.spread.df))
                name = f"paper's {one}" if (cells[0], number) in self.theirs else f"paper's {cells}"
                add(number.share, name, Spread(math.sqrt(one.variance), one.df))
            else:
                for cell in cells:
                    add_cell(number.share, cell)
            add(len(cells), f"print of {cells}", Spread(math.sqrt(number.rounding), math.inf))
        if claim.allowance:
            add(len(columns), "teacher", Spread(claim.allowance, math.inf))
        printed = theirs.value - (baseline.value if baseline is not None else 0.0)
        return ours, Estimate(value - printed, parts())

    def apart(self, extra: int = 0) -> Estimate:
        """Ours as it is tested against zero: a family of tests looks far out, where Cochran's quantile is needlessly wide."""
        ours, _ = self.estimates(extra)
        return Estimate(ours.value, (satterthwaite(ours.parts),))

    def half_width(self, extra: int = 0) -> float:
        """Of the interval that decides, with ``extra`` more seeds a cell."""
        ours, difference = self.estimates(extra)
        low, high = (difference or ours).interval(1 - 2 * self.side)
        return (high - low) / 2

    def reading(self, what: str, adjusted: float | None = None) -> Reading:
        """As a value, tested alone; ``adjusted``: the p-value by which its verdict is given instead, where there is one."""
        ours, difference = self.estimates()
        p = self.apart().p() if self.design else None
        shown = ours.describe(0.95, self.n())
        least, most = (0.0, 100.0) if self.claim.kind == "value" else (-100.0, 100.0)  # what accuracies, and differences of them, can be
        return Reading(
            what=what,
            ours=replace(shown, low=max(least, shown.low), high=min(most, shown.high)),
            difference=difference.value if difference else None,
            interval=difference.interval(1 - 2 * self.side) if difference else None,
            p=p,
            verdict=self.verdict(p if adjusted is None else adjusted),
            level=1 - 2 * self.side,
        )

    def verdict(self, p: float | None) -> Verdict:
        """The rule. ``p``: of our difference being zero, adjusted where there are other claims."""
        ours, difference = self.estimates()
        if self.still():
            return "unclear"
        if self.claim.kind == "order":
            assert p is not None
            return "unclear" if p > self.alpha else "reproduced" if ours.value > 0 else "below"
        assert difference is not None
        verdict = _VERDICT[difference.side(self.claim.tolerance, self.side)]
        if verdict == "reproduced" and self._needs_gain():
            assert p is not None
            if p > self.alpha or np.sign(ours.value) != np.sign(self.claim.claimed or 0.0):
                return "unclear"  # the size agrees, but that there is a gain at all is not shown
        if verdict == "unclear" and not self.reach():
            return "compatible"
        return verdict

    def still(self) -> bool:
        """Whether it would be judged by seeds that did nothing: a spread of zero earns no certainty."""
        if self.design == "paired":
            return float(np.ptp(self.pairs())) < NOTHING
        if self.design == "blocked":
            return False
        nothing = [c for c, x in zip(self.claim.cells, self.columns(), strict=True) if np.ptp(x) < NOTHING and c not in self.dead]
        return any(self.own(cell) or not self.pools[cell].parts for cell in nothing)

    def reach(self) -> bool:
        """Whether an affordable number of seeds settles it: as it was reckoned before, else as the spreads look now."""
        if self.claim.reach is not None:
            return self.claim.reach
        _, difference = self.lent().estimates(max(0, MOST - self.n()))
        if difference is None:
            return True
        return Estimate(0.0, difference.parts).power_of(self.claim.tolerance, difference.error, self.side) >= LIKELY

    def more_seeds(self, family: int) -> int | None:
        """How many more seeds settle it in four of five cases, were the truth as it looks now; None: 1000 do not.

        ``family``: how many claims share the level of the test for a difference.
        """

        def power_of(extra: int) -> float:
            ours, difference = self.estimates(extra)
            if difference is None or self.claim.kind == "order":
                return self.apart(extra).chance_apart(self.alpha / family)
            settled = difference.power_of(self.claim.tolerance, ours.error, self.side)
            inside = abs(difference.value) < self.claim.tolerance
            if inside and self._needs_gain():
                settled = min(settled, self.apart(extra).chance_apart(self.alpha / family))
            return settled

        return seeds_needed(power_of)

    def _needs_gain(self) -> bool:
        """A gain that was printed as more, or less, than nothing must also be shown to be one."""
        return self.claim.kind == "gain" and self.claim.claimed != 0
