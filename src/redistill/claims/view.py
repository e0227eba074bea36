"""One way of looking at a claim: which of our numbers, which spread, which design, which printed value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redistill.claims.model import Claim, Design, Published, Reading, Verdict, share
from redistill.stats import Estimate, Part, Spread, seeds_needed

ALPHA = 0.05
"""Level of each decision: how often, at most, a claim at the edge of its tolerance gets a verdict that is false."""

_VERDICT: dict[str, Verdict] = {"inside": "reproduced", "above": "above", "below": "below", "open": "unclear"}


@dataclass(frozen=True)
class View:
    """A claim with the numbers it is judged on.

    Attributes:
        numbers: cell -> seed -> percent, at least two seeds a cell.
        common: the spread of the whole table, or None: every cell has its own.
        design: of a gain or an order; paired uses the spread of the differences within a seed, never pooled.
        published: the printed number compared with (the claim's, or one that contradicts it).
    """

    claim: Claim
    numbers: Mapping[str, Mapping[int, float]]
    common: Spread | None
    design: Design | None
    published: Published | None

    def columns(self) -> list[NDArray[np.float64]]:
        return [np.array(list(self.numbers[cell].values())) for cell in self.claim.cells]

    def pairs(self) -> NDArray[np.float64]:
        """First cell minus second, of the seeds that both have."""
        first, second = (self.numbers[cell] for cell in self.claim.cells)
        return np.array([first[seed] - second[seed] for seed in first if seed in second])

    def n(self) -> int:
        """How many runs, or pairs, stand behind our number."""
        return len(self.pairs()) if self.design == "paired" else min(map(len, self.columns()))

    def estimates(self, extra: int = 0) -> tuple[Estimate, Estimate | None]:
        """Ours, and ours minus the paper's (None where nothing is printed), as ``extra`` more seeds a cell would make them.

        A variance is a sum of shares of spreads. The paper's number brings its own spread where one is printed, else the
        spread of our cell, so that one estimate of a spread may serve several numbers: its shares are added first.
        """
        claim, median = self.claim, self.published is not None and self.published.aggregate == "median"
        shares: dict[str, float] = {}
        spreads: dict[str, Spread] = {}

        def add(coefficient: float, name: str, spread: Spread) -> None:
            shares[name] = shares.get(name, 0.0) + coefficient
            spreads[name] = spread

        columns = dict(zip(claim.cells, self.columns(), strict=True))

        def add_cell(coefficient: float, cell: str) -> None:
            if self.common is not None:
                add(coefficient, "pool", Spread(self.common.sd, self.common.df + extra * len(columns)))
            else:
                add(coefficient, f"cell {cell}", _spread(columns[cell], extra))

        def parts() -> tuple[Part, ...]:
            return tuple(Part(shares[name] * spread.sd**2, spread.df) for name, spread in spreads.items())

        if self.design == "paired":
            pairs = self.pairs()
            value = float(pairs.mean())
            add(1 / (len(pairs) + extra), "pairs", _spread(pairs, extra))
        else:
            middles = [float(np.median(x) if median else x.mean()) for x in columns.values()]
            value = middles[0] if len(middles) == 1 else middles[0] - middles[1]
            for cell, x in columns.items():
                add_cell(share(len(x) + extra, median), cell)
        ours = Estimate(value, parts())

        theirs, baseline = self.published, claim.published_baseline
        if theirs is None or (claim.kind == "order" and baseline is None):
            return ours, None
        # a gain printed as one number is as uncertain as the two it was made of
        sources = [(theirs, claim.cells)] if baseline is None else [(theirs, claim.cells[:1]), (baseline, claim.cells[1:])]
        for number, cells in sources:
            if number.spread is not None:
                add(number.share, f"paper's {cells}", number.spread)
            else:
                for cell in cells:
                    add_cell(number.share, cell)
        printed = theirs.value - (baseline.value if baseline is not None else 0.0)
        return ours, Estimate(value - printed, parts())

    def half_width(self, extra: int = 0) -> float:
        """Of the interval that decides, with ``extra`` more seeds a cell."""
        ours, difference = self.estimates(extra)
        low, high = (difference or ours).interval(1 - 2 * ALPHA)
        return (high - low) / 2

    def reading(self, what: str) -> Reading:
        """As a value, tested alone."""
        ours, difference = self.estimates()
        p = ours.p() if self.design else None
        return Reading(
            what=what,
            ours=ours.describe(0.95, self.n()),
            difference=difference.value if difference else None,
            interval=difference.interval(1 - 2 * ALPHA) if difference else None,
            p=p,
            verdict=self.verdict(p),
        )

    def verdict(self, p: float | None) -> Verdict:
        """The rule. ``p``: of our difference being zero, adjusted where there are other claims."""
        ours, difference = self.estimates()
        if self.claim.kind == "order":
            assert p is not None
            return "unclear" if p > ALPHA else "reproduced" if ours.value > 0 else "below"
        assert difference is not None
        verdict = _VERDICT[difference.side(self.claim.tolerance, ALPHA)]
        if verdict == "reproduced" and self._needs_gain():
            assert p is not None
            if p > ALPHA or np.sign(ours.value) != np.sign(self.claim.claimed or 0.0):
                return "unclear"  # the size agrees, but that there is a gain at all is not shown
        return verdict

    def more_seeds(self, family: int) -> int | None:
        """How many more seeds settle it in four of five cases, were the truth as it looks now; None: 1000 do not.

        ``family``: how many claims share the level of the test for a difference.
        """

        def chance(extra: int) -> float:
            ours, difference = self.estimates(extra)
            if difference is None or self.claim.kind == "order":
                return ours.chance_apart(ALPHA / family)
            settled = difference.chance(self.claim.tolerance, ours.error, ALPHA)
            inside = abs(difference.value) < self.claim.tolerance
            if inside and self._needs_gain():
                settled = min(settled, ours.chance_apart(ALPHA / family))
            return settled

        return seeds_needed(chance)

    def _needs_gain(self) -> bool:
        """A gain that was printed as more, or less, than nothing must also be shown to be one."""
        return self.claim.kind == "gain" and self.claim.claimed != 0


def _spread(x: NDArray[np.float64], extra: int) -> Spread:
    return Spread(float(x.std(ddof=1)), len(x) - 1 + extra)
