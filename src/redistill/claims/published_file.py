"""Claims about a published file: it has no seeds and no interval, it gives the printed digits or it does not."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from redistill.claims.model import Claim, Finding, Measured, Published, Verdict
from redistill.errors import RedistillError


def judge_file(claim: Claim, measured: Sequence[Measured]) -> Finding:
    """A published file evaluated: no seeds, no interval."""
    fresh = [run for run in measured if not run.stale]
    if len(fresh) != 1:
        raise RedistillError(
            f"claim {claim.id!r} is about one published file, but {claim.cell!r} holds {len(fresh)} evaluations: give one"
        )
    assert claim.published is not None
    ours = Decimal(str(fresh[0].last))
    verdict = _digits(ours, claim.published)
    note = "the paper cuts digits off instead of rounding" if verdict == "reproduced" and _cut(ours, claim.published) else ""
    for number in claim.contradicting:
        also = _digits(ours, number)
        if also != verdict:
            return Finding(claim, "disputed", measured=fresh[0].last, note=note)
    return Finding(claim, verdict, measured=fresh[0].last, note=note)


def _digits(ours: Decimal, number: Published) -> Verdict:
    """Whether an evaluation gives the printed digits, rounded or cut off."""
    if _cut(ours, number):
        return "reproduced"
    unit = Decimal(1).scaleb(-number.decimals)
    value = Decimal(str(number.value)).quantize(unit)
    rounded = {ours.quantize(unit, rounding=rule) for rule in (ROUND_HALF_UP, ROUND_HALF_EVEN)}
    return "reproduced" if value in rounded else "above" if ours > value else "below"


def _cut(ours: Decimal, number: Published) -> bool:
    """Whether the printed digits are ours cut off, where rounding would give others."""
    unit = Decimal(1).scaleb(-number.decimals)
    value = Decimal(str(number.value)).quantize(unit)
    rounded = {ours.quantize(unit, rounding=rule) for rule in (ROUND_HALF_UP, ROUND_HALF_EVEN)}
    return value not in rounded and value == ours.quantize(unit, rounding=ROUND_DOWN)
