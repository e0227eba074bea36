"""What else the runs behind a *compatible* would be compatible with: how little a wide interval says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from redistill.claims.model import Claim, Finding, Published


def told(found: Finding, every: Sequence[Claim]) -> Finding:
    """A finding with a note of the other numbers that its runs are compatible with, where it is *compatible*.

    Of a number, those that the table compares it with: a student that a method would not have improved, say. Of a gain, none at all.
    They are taken as if printed in its place, of as many runs and with the same spread.

    Args:
        every: the claims of the table.
    """
    claim = found.claim
    if found.verdict != "compatible" or found.interval is None or claim.claimed is None:
        return found
    low, high = (end + claim.claimed for end in found.interval)

    def fits(value: float) -> bool:
        return low - claim.tolerance <= value <= high + claim.tolerance

    if claim.kind == "gain":
        words = ["no gain"] if fits(0.0) else []
    else:
        words = [f"{number.value:.{number.decimals}f} ({name})" for name, number in _beside(claim, every) if fits(number.value)]
    if not words:
        return found
    note = f"had the paper printed {' or '.join(words)}, that would be compatible too"
    return replace(found, note="; ".join(filter(None, [found.note, note])))


def _beside(claim: Claim, every: Sequence[Claim]) -> list[tuple[str, Published]]:
    """What is printed of the other cell of every gain and order that this one is a part of, with its name there."""
    pairs = [((one.cell, one.published), (one.baseline, one.published_baseline)) for one in every if one.baseline is not None]
    others = [theirs for pair in pairs for mine, theirs in (pair, pair[::-1]) if mine == (claim.cell, claim.published)]
    values = [(one.id, one.published) for one in every if one.kind == "value" and (one.cell, one.published) in others]
    return [(name, number) for name, number in values if number is not None]
