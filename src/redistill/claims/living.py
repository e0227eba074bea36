"""Cells of which some seeds diverged: what those that lived can show, and what accuracies can be."""

from __future__ import annotations

from dataclasses import replace

from redistill.claims.model import Claim, Finding, Reading, Verdict
from redistill.stats import Interval


def may_be(claim: Claim, hurt: frozenset[str]) -> frozenset[Verdict]:
    """The verdicts that fewer dead networks could not turn round, where some of these cells' diverged."""
    if hurt == {claim.cell}:
        return frozenset({"below"})
    return frozenset({"above" if claim.kind == "gain" else "reproduced"}) if hurt == {claim.baseline} else frozenset()


def possible(found: Finding) -> Reading:
    """A reading whose interval holds nothing that accuracies cannot be: two heaps of numbers are no normal sample."""
    reading, claim = found.reading, found.claim
    assert reading is not None
    low, high = (0.0, 100.0) if claim.kind == "value" else (-100.0, 100.0)
    if reading.interval is None or claim.claimed is None:
        return reading
    return replace(reading, interval=(max(low - claim.claimed, reading.interval[0]), min(high - claim.claimed, reading.interval[1])))


def in_words(ours: Interval) -> str:
    return f"{ours.value:.2f} [{ours.low:.2f}, {ours.high:.2f}], {ours.n} seeds"
