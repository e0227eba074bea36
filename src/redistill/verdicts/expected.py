"""What runs are expected to scatter by, before any of ours is there: from print, and where nothing is printed from what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from redistill.claims import Claim
from redistill.claims.model import share
from redistill.claims.scatter import APART
from redistill.claims.view import LIKELY, MOST, level, level_apart
from redistill.stats import Estimate, VarianceComponent, satterthwaite, seeds_needed

FEW = {10: 2.3, 25: 2.0, 50: 1.8, 75: 1.5, 100: 1.5, 200: 0.7, 500: 0.7, 1000: 0.4, 5000: 0.2}
"""Standard deviation over seeds, in points, of a student of so many images a class (CIFAR-10 and SVHN, reports of
ferles2020 seed by seed and figures of micaelli2019)."""

GENERATED = {"svhn": 0.2, "cifar10": 1.0}
"""The same of a student of generated images."""

WHOLE = 0.25
"""The same of a student of a whole data set (tian2020, zagoruyko2017 and ferles2020 print 0.1 to 0.45)."""

MORE = 0.27
"""The same of a generated-image student that goes on with some images a class."""


@dataclass(frozen=True)
class Expected:
    """A spread over seeds before the runs: standard deviation in points, and where it comes from."""

    sd: float
    because: str


def expected(facts: Mapping[str, str], generated: bool, started: bool, printed: Sequence[float]) -> Expected:
    """Of a cell.

    Args:
        facts: its facts. generated: trained on generated images. started: goes on from another cell's student.
        printed: unbiased spreads that the paper prints for cells of its regime.
    """
    if printed:
        like = "a like cell" if len(printed) == 1 else f"{len(printed)} like cells"
        return Expected(math.sqrt(sum(sd**2 for sd in printed) / len(printed)), f"printed for {like}")
    if generated:
        return Expected(GENERATED.get(facts.get("data", ""), 1.0), "students of generated images")
    if started:
        return Expected(MORE, "students that go on with some images a class")
    if (m := facts.get("M", "")).isdigit() and int(m) in FEW:
        return Expected(FEW[int(m)], f"students of {m} images a class")
    return Expected(WHOLE, "students of a whole data set")


def power_of(claim: Claim, spread: Expected, seeds: int, cells: int = 1) -> float:
    """How often a value or gain that is exactly true would be called reproduced with ``seeds`` seeds.

    ``cells``: how many of its regime lend each other their spread. One that scatters visibly more than the others by chance is
    judged by its own spread: that share of the tables is reckoned with the spread that brought it there.
    """
    lent = _power(claim, spread.sd**2, _lent(seeds, cells), seeds)
    if cells < 2:
        return lent
    rest = (cells - 1) * (seeds - 1)
    apart = float(special.fdtrc(seeds - 1, rest, APART))
    typical = float(special.fdtri(seeds - 1, rest, 1 - apart / 2))
    return (1 - apart) * lent + apart * _power(claim, spread.sd**2, ((typical, seeds - 1),), seeds)


VarianceShares = tuple[tuple[float, float], ...]
"""A run's variance as a sum of independently estimated ones: share of it, degrees of freedom."""


def _lent(seeds: int, cells: int) -> VarianceShares:
    """Of cells that lend each other their spread: what the seeds share, and the rest."""
    return ((1 / cells, seeds - 1), *(((1 - 1 / cells, (cells - 1) * (seeds - 1)),) if cells > 1 else ()))


def _power(claim: Claim, variance: float, seen: VarianceShares, seeds: int) -> float:
    exact, moves = _exact(claim, variance, seen, seeds)
    return exact.power_of(claim.tolerance, moves, level(claim))


def _exact(claim: Claim, variance: float, seen: VarianceShares, seeds: int) -> tuple[Estimate, float]:
    """Ours minus the paper's where they are equal, and the standard error of what both draw anew."""
    assert claim.published is not None
    median, runs = claim.published.aggregate == "median", len(claim.cells)
    theirs = claim.published.spread
    both = share(seeds, median) + (0.0 if theirs is not None else claim.published.share)
    known = runs * (claim.published.rounding + 2 * claim.allowance**2)
    parts = [*(VarianceComponent(runs * part * variance * both, df) for part, df in seen), VarianceComponent(known, math.inf)]
    moves = known + runs * variance * both
    if theirs is not None:
        print_variance = runs * theirs.sd**2 * claim.published.share
        parts.append(VarianceComponent(print_variance, theirs.df))
        moves += print_variance
    return Estimate(0.0, tuple(parts)), math.sqrt(moves)


@dataclass(frozen=True)
class Power:
    """What seeds can do for one claim, were the printed number (the printed difference) exactly true.

    Attributes:
        spreads: of its cells, as expected. cells: how many of its regime lend each other their spread. family: how many claims
            of its table share the level of the tests for a difference.
    """

    claim: Claim
    spreads: tuple[Expected, ...]
    cells: int
    family: int

    @property
    def spread(self) -> Expected:
        """The widest of its cells'."""
        return max(self.spreads, key=lambda one: one.sd)

    def power_of(self, seeds: int) -> float:
        """How often it would be called reproduced with so many seeds."""
        if seeds < 2:
            return 0.0
        size = 1.0 if self.claim.kind == "order" else power_of(self.claim, self.spreads[0], seeds, self.cells)
        shown = self._apart(seeds) if self.claim.kind == "order" or (self.claim.kind == "gain" and self.claim.claimed) else 1.0
        return min(size, shown)

    def within(self, seeds: int) -> float:
        """Half width, in points, of the interval that so many seeds are expected to leave around a size."""
        exact, _ = _exact(self.claim, self.spreads[0].sd ** 2, _lent(seeds, self.cells), seeds)
        return exact.critical(level(self.claim)) * exact.error

    def _apart(self, seeds: int) -> float:
        """How often the printed difference would be shown to be one; cells that go together are not counted on."""
        df = max(1, self.cells - 1) * (seeds - 1)
        difference = satterthwaite([VarianceComponent(one.sd**2 / seeds, df) for one in self.spreads])
        return Estimate(self.claim.claimed or 0.0, (difference,)).chance_apart(level_apart(self.claim) / self.family)

    def settled(self) -> int | None:
        """Seeds with which it is called so in four of five cases; None: 1000 do not."""
        more = seeds_needed(lambda extra: self.power_of(1 + extra))
        return None if more is None else 1 + more


def within_reach(claim: Claim, spread: Expected, cells: int) -> bool:
    """Whether an affordable number of seeds is likely to settle it, as far as can be known before the runs."""
    return power_of(claim, spread, MOST, cells) >= LIKELY
