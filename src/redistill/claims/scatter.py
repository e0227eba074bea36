"""Which cells share a spread, and what a run of one cell scatters by.

Three seeds know their own spread badly, so that cells of one regime lend each other theirs. A loan is safe where it is
honest about three things: cells that scatter more than the others (they are judged by their own spread), cells that go
together because their runs share seeds (a two-way layout tells how many degrees of freedom there really are), and cells
whose seeds do nothing (they lend no certainty).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redistill.claims.model import Pool, Published
from redistill.stats import NOTHING, STEP, Spread, VarianceComponent, alike, bartlett, pooled_sd, seed_blocks

KEEP = 0.01
"""The widest cells leave a pool until Bartlett's p-value of those that stay reaches this. A stricter look (0.2) would drop
cells that are wide by chance, and leave a spread that is too small: 1 to 2 points of level at three seeds."""

APART = 1.2
"""A cell whose variance is more than this times that of the others is judged by its own. With 1.2 a cell three times as wide
is judged falsely 5.0 % of the time at three seeds; with 2 it is 6.0 %, without the look 15 % (``docs/verdicts.md``)."""

MANY = 2
"""From so many cells on that leave, a table has no common spread, and every cell is judged by its own."""

TOGETHER = 0.6
"""Correlation between the runs of one seed where no layout can tell it (seeds differ; printed spreads). Measured in the only
tables published seed by seed: 0.43, 0.49, 0.93, 0.97 where cells share a start or a teacher, none elsewhere."""

GRAIN = STEP / math.sqrt(12)
"""Spread of a cell whose seeds all gave the same number: accuracies on 10,000 images come in steps of 0.01."""

Values = Mapping[int, float]


def own_spread(values: Sequence[float]) -> Spread:
    """Of one cell, never nothing."""
    return _something(Spread(float(np.std(values, ddof=1)), len(values) - 1))


def _something(spread: Spread) -> Spread:
    """Numbers that come in steps never show that nothing scatters."""
    return spread if spread.sd > NOTHING else Spread(GRAIN, spread.df)


def pooled(cells: Mapping[str, Values]) -> Pool | None:
    """The spread of cells that are of one regime; None where none has two seeds."""
    known = {name: values for name, values in cells.items() if len(values) > 1}
    if not known:
        return None
    spreads = {name: Spread(float(np.std(list(v.values()), ddof=1)), len(v) - 1) for name, v in known.items()}
    still = frozenset(name for name, spread in spreads.items() if spread.sd <= NOTHING)
    moving = [name for name in known if name not in still]
    if not moving:
        return Pool(Spread(GRAIN, float(sum(s.df for s in spreads.values()))), None, still=still)
    stays = alike([spreads[name] for name in moving], KEEP)
    kept = [name for name, stay in zip(moving, stays, strict=True) if stay]
    left = frozenset(moving) - frozenset(kept)
    if len(left) >= MANY:
        left = frozenset(moving)
    whole = pooled_sd([list(known[name].values()) for name in kept])
    apart = frozenset(_apart({name: spreads[name] for name in kept}))
    p = bartlett([spreads[name] for name in moving])
    return Pool(whole, p, _parts([known[name] for name in kept], whole), left, apart, still)


def _apart(spreads: Mapping[str, Spread]) -> list[str]:
    """Cells with a variance more than :data:`APART` times that of the others, which two cells of three seeds often have by chance."""
    squares = sum(s.df * s.sd**2 for s in spreads.values())
    df = sum(s.df for s in spreads.values())
    found = []
    for name, own in spreads.items():
        others = (squares - own.df * own.sd**2) / (df - own.df) if df > own.df else math.inf
        if own.sd**2 > APART * others:
            found.append(name)
    return found


def _parts(cells: Sequence[Values], whole: Spread) -> tuple[VarianceComponent, ...]:
    """Variance of a run from cells that may go together by seed."""
    if len(cells) == 1:
        return (VarianceComponent(whole.sd**2, whole.df),)
    seeds = sorted(cells[0])
    if all(sorted(cell) == seeds for cell in cells):
        between, rest = seed_blocks([[cell[seed] for seed in seeds] for cell in cells])
        k = len(cells)
        return (VarianceComponent(between.sd**2 / k, between.df), VarianceComponent(rest.sd**2 * (k - 1) / k, rest.df))
    return (VarianceComponent(whole.sd**2, charged(whole.df, len(cells))),)


def charged(df: float, cells: int) -> float:
    """Degrees of freedom of a spread pooled over ``cells`` whose runs correlate by the stated 0.6.

    >>> charged(12, 1), round(charged(12, 6), 2)
    (12.0, 4.29)
    """
    return df / (1 + (cells - 1) * TOGETHER**2)


Print = tuple[str, Published]
"""A printed number and the cell that it is of."""


def printed(numbers: Sequence[Print]) -> dict[Print, VarianceComponent]:
    """Variance of one run of the paper's, for every number that prints its spread, pooled over those of like cells.

    The widest leave, and those wider than the others keep their own, as with ours.
    """
    known = {one: spread for one in numbers if (spread := one[1].spread) is not None}
    names = list(known)
    floor = [Spread(max(known[one].sd, math.sqrt(one[1].rounding)), known[one].df) for one in names]
    made = {one: VarianceComponent(s.sd**2, s.df) for one, s in zip(names, floor, strict=True)}
    stays = alike(floor, KEEP) if names else []
    kept = {str(i): s for i, (s, stay) in enumerate(zip(floor, stays, strict=True)) if stay}
    if len(names) - len(kept) >= MANY or len(kept) < 2:
        return made
    df = sum(s.df for s in kept.values())
    mean = sum(s.df * s.sd**2 for s in kept.values()) / df
    whole = VarianceComponent(mean, max(charged(df, len(kept)), min(s.df for s in kept.values())))
    apart = _apart(kept)
    return made | {names[int(i)]: whole for i in kept if i not in apart}


# ---------------------------------------------------------------------------------------------------------------------
# Differences of two cells, with the seed as a block
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Blocks:
    """What is left of the runs of a table when cells and seeds have had their share.

    Attributes:
        rest: spread common to the cells. own: of those that scatter more (or left the pool), by themselves.
        cells: how many stand behind ``rest``. seeds: which all of them have.
    """

    rest: Spread
    own: Mapping[str, Spread]
    cells: int
    seeds: tuple[int, ...]

    def of(self, cell: str) -> tuple[str, Spread]:
        return (f"rest of {cell}", self.own[cell]) if cell in self.own else ("rest", self.rest)


def blocks(cells: Mapping[str, Values], seeds: Sequence[int]) -> Blocks | None:
    """The layout of the cells that have all of ``seeds``; None with fewer than three of them, or fewer than two seeds."""
    if len(seeds) < 2:
        return None
    whole = {name: np.array([v[s] for s in seeds]) for name, v in cells.items() if set(seeds) <= set(v)}
    whole = {name: x - x.mean() for name, x in whole.items() if x.std() > NOTHING}
    if len(whole) < 3:
        return None
    n, names = len(seeds), list(whole)
    stays = alike([Spread(float(whole[c].std(ddof=1)), n - 1) for c in names], KEEP)
    kept = [c for c, stay in zip(names, stays, strict=True) if stay]
    if len(kept) < 3:
        return None
    x = np.array([whole[c] for c in kept])
    _, rest = seed_blocks([list(row) for row in x])
    own: dict[str, Spread] = {}
    for c, mine in whole.items():
        others = np.array([whole[o] for o in kept if o != c])
        _, among = seed_blocks([list(row) for row in others])
        # a cell minus the mean of k others scatters by its own residual and a k-th of theirs
        variance = float(((mine - others.mean(axis=0)) ** 2).sum()) / (n - 1) / (1 + 1 / len(others))
        if c not in kept or variance > APART * among.sd**2 + NOTHING**2:
            own[c] = _something(Spread(math.sqrt(variance), n - 1))
    return Blocks(_something(rest), own, len(kept), tuple(seeds))
