"""From runs to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import get_args

from redistill.claims.model import Claim, Design, Epoch, Finding, Measured, Pool, Reading, Summary, Verdict
from redistill.claims.view import ALPHA, View
from redistill.claims.words import p_words
from redistill.errors import RedistillError
from redistill.stats import equal_spreads, holm, pooled_sd

POOL = 0.2
"""Where equality of spreads has a p-value below this, a cell is judged by the wider of its own and the pooled interval."""

Runs = Mapping[str, Sequence[Measured]]


def judge(claim: Claim, runs: Runs, pool: Pool | None = None) -> Finding:
    """One claim alone: with its own spread (or ``pool``), its p-value not adjusted.

    Args:
        runs: cell -> its runs. A cell that is not there is *not attempted*; one with fewer runs than planned *pending*.
    """
    seen = _look(claim, runs, pool)
    return _decide(seen, seen.p, 1)


def judge_table(claims: Sequence[Claim], runs: Runs) -> tuple[list[Finding], Summary]:
    """All claims of a table: spread pooled over its cells, Holm over its claims of gain and order.

    Claims of gain and order that wait for runs count in Holm's family with p = 1, so that a verdict given early is not
    taken back when the others come in.
    """
    twice = [name for name, count in Counter(claim.id for claim in claims).items() if count > 1]
    if twice:
        raise RedistillError(f"two claims of the table are named {twice[0]!r}: a finding is known by its claim's id")
    pools = {epoch: made for epoch in get_args(Epoch) if (made := pool(runs, epoch)) is not None}
    seen = [_look(claim, runs, pools.get(_epoch(claim, runs))) for claim in claims]
    family = [s for s in seen if s.finding.claim.kind in ("gain", "order") and s.finding.verdict != "not attempted"]
    p = holm([1.0 if s.p is None else s.p for s in family])
    adjusted = {s.finding.claim.id: value for s, value in zip(family, p, strict=True)}
    findings = [_decide(s, adjusted.get(s.finding.claim.id), max(1, len(family))) for s in seen]
    sized = sum(
        found.claim.kind in ("value", "gain") and found.reading is not None and found.verdict != "disputed" for found in findings
    )
    return findings, Summary(
        counts=Counter(found.verdict for found in findings),
        judged=sized,
        expected_false=ALPHA * sized,
        holm={found.claim.id: found.p for found in findings if found.p is not None},
        pools=pools,
    )


def pool(runs: Runs, epoch: Epoch = "last") -> Pool | None:
    """The spread common to all cells, from runs that are not stale; None where no cell has two."""
    groups = [list(values.values()) for cell, measured in runs.items() if (values := _values(cell, measured, epoch))]
    groups = [group for group in groups if len(group) > 1]
    return Pool(pooled_sd(groups), equal_spreads(groups)) if groups else None


# ---------------------------------------------------------------------------------------------------------------------
# Is there something to judge, and which numbers
# ---------------------------------------------------------------------------------------------------------------------
def _values(cell: str, measured: Sequence[Measured], epoch: Epoch) -> dict[int, float] | None:
    """seed -> percent of the runs that are not stale; None where some have no such number."""
    fresh = [run for run in measured if not run.stale]
    twice = [seed for seed, count in Counter(run.seed for run in fresh).items() if count > 1]
    if twice:
        raise RedistillError(f"cell {cell!r} holds seed {twice[0]} twice: give one run a seed")
    if epoch == "last":
        return {run.seed: run.last for run in fresh}
    best = {run.seed: run.best_on_test for run in fresh if run.best_on_test is not None}
    return best if len(best) == len(fresh) else None


def _numbers(claim: Claim, runs: Runs, epoch: Epoch) -> dict[str, dict[int, float]] | None:
    numbers = {cell: _values(cell, runs.get(cell, ()), epoch) for cell in claim.cells}
    known = {cell: values for cell, values in numbers.items() if values is not None}
    return known if len(known) == len(numbers) else None


def _epoch(claim: Claim, runs: Runs) -> Epoch:
    """The epoch of our numbers: like the paper's where that is known and measured, else the last."""
    like = claim.compare or ("best_on_test" if claim.published and claim.published.which == "best_on_test" else "last")
    return "last" if like == "last" or _numbers(claim, runs, like) is None else "best_on_test"


def _waiting(claim: Claim, runs: Runs) -> tuple[Verdict, str] | None:
    """Why there is nothing to judge yet, or None."""
    missing = [cell for cell in claim.cells if cell not in runs]
    if missing:
        return "not attempted", f"no runs of {missing[0]}"
    need = 1 if claim.kind == "checkpoint" else claim.seeds
    fresh = [set(_values(cell, runs[cell], "last") or ()) for cell in claim.cells]
    count = len(set.intersection(*fresh)) if claim.decides == "paired" else min(map(len, fresh))
    if count >= need:
        return None
    stale = sum(run.stale for cell in claim.cells for run in runs[cell])
    if stale:
        return "stale", f"{stale} of its runs from before something changed that moves the numbers: run again"
    return "pending", f"{count} of {need} seeds{' in both cells' if claim.decides == 'paired' else ''} so far"


def _mismatch(claim: Claim, epoch: Epoch) -> str:
    words = {
        "last": "the last epoch",
        "best_on_test": "the best epoch on the test set",
        "best_on_validation": "an epoch chosen on validation images",
        "at_step": "a step that it names",
        "unknown": "an epoch that it does not name",
    }
    printed = [p.which for p in (claim.published, claim.published_baseline) if p is not None and p.which != "none"]
    theirs = " and ".join(words[which] for which in dict.fromkeys(printed))
    return f"the paper reports {theirs}, ours is {words[epoch]}" if any(which != epoch for which in printed) else ""


# ---------------------------------------------------------------------------------------------------------------------
# Judging
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Seen:
    """A claim looked at, before the other claims of its table have their say."""

    finding: Finding
    view: View | None = None

    @property
    def p(self) -> float | None:
        return self.finding.reading.p if self.finding.reading else None


def _look(claim: Claim, runs: Runs, pool: Pool | None) -> _Seen:
    waiting = _waiting(claim, runs)
    if waiting is not None:
        return _Seen(Finding(claim, waiting[0], note=waiting[1]))
    if claim.kind == "checkpoint":
        return _Seen(_checkpoint(claim, runs[claim.cell]))
    epoch = _epoch(claim, runs)
    mismatch = _mismatch(claim, epoch)
    numbers = _numbers(claim, runs, epoch)
    assert numbers is not None
    n = min(map(len, numbers.values()))
    if n < 2:
        note = "no verdict from one seed"
        return _Seen(Finding(claim, "unclear", epoch=epoch, more_seeds=2, mismatch=mismatch, note=note))
    own = View(claim, numbers, None, claim.decides, claim.published)
    view, notes = _widest(own, pool), []
    if pool is not None and pool.p is not None and view is own:
        notes.append(f"spreads differ within the table ({p_words(pool.p)}): its own, wider one decides")
    if n > claim.seeds:
        notes.append(f"{n} seeds instead of the {claim.seeds} planned")
    reading = view.reading(_name(view))
    others = _others(view, own, pool, _numbers(claim, runs, "best_on_test") if epoch == "last" else None)
    return _Seen(Finding(claim, reading.verdict, reading, others, epoch, mismatch=mismatch, note="; ".join(notes)), view)


def _widest(own: View, pool: Pool | None) -> View:
    """The pooled spread decides; where the spreads of the table differ, the wider of pooled and own.

    The wider of the two can only turn a verdict into *unclear*, so that this look at the spreads costs no level.
    """
    if pool is None:
        return own
    pooled = replace(own, common=pool.spread)
    differ = pool.p is not None and pool.p < POOL
    return own if differ and own.half_width() > pooled.half_width() else pooled


def _name(view: View) -> str:
    return ", ".join(["own spread" if view.common is None else "pooled spread", *([view.design] if view.design else [])])


def _others(view: View, own: View, pool: Pool | None, best: Mapping[str, Mapping[int, float]] | None) -> tuple[Reading, ...]:
    """The same claim with the other spread, the other design, our best epoch where the paper names none, other prints."""
    claim, published, others = view.claim, view.claim.published, []
    if pool is not None:
        others.append(replace(own, common=pool.spread) if view.common is None else own)
    if claim.decides is not None and not (published and published.aggregate == "median"):
        turned: Design = "unpaired" if claim.decides == "paired" else "paired"
        if len(view.pairs()) > 1:
            others.append(replace(view, design=turned))
    readings = [other.reading(_name(other)) for other in others]
    if published is not None and published.which not in get_args(Epoch) and best is not None:
        other = replace(own, numbers=best)
        readings.append(other.reading(f"{_name(other)}, our best epoch on the test set"))
    for number in claim.contradicting:
        readings.append(replace(view, published=number).reading(f"against {number.value:.{number.decimals}f}"))
    return tuple(readings)


def _decide(seen: _Seen, p: float | None, family: int) -> Finding:
    """The verdict with the adjusted p-value of its difference."""
    found, view = seen.finding, seen.view
    if view is None:
        return found
    verdict, more, notes = view.verdict(p), None, [found.note] if found.note else []
    if found.claim.contradicting:
        verdict = "disputed"
    elif verdict == "unclear":
        more = view.more_seeds(family)
        if more is None:
            notes.append(f"not even 1000 more seeds of ours would settle it: ±{view.half_width(1000):.2f} stays open")
    return replace(found, verdict=verdict, p=p, more_seeds=more, note="; ".join(notes))


def _checkpoint(claim: Claim, measured: Sequence[Measured]) -> Finding:
    """A published file evaluated: no seeds, no interval."""
    fresh = [run for run in measured if not run.stale]
    if len(fresh) != 1:
        raise RedistillError(
            f"claim {claim.id!r} is about one published file, but {claim.cell!r} holds {len(fresh)} evaluations: give one"
        )
    assert claim.published is not None
    ours, unit = Decimal(str(fresh[0].last)), Decimal(1).scaleb(-claim.published.decimals)
    printed = Decimal(str(claim.published.value)).quantize(unit)
    rounded = {ours.quantize(unit, rounding=rule) for rule in (ROUND_HALF_UP, ROUND_HALF_EVEN)}
    note = ""
    if printed in rounded:
        verdict: Verdict = "reproduced"
    elif printed == ours.quantize(unit, rounding=ROUND_DOWN):
        verdict, note = "reproduced", "the paper cuts digits off instead of rounding"
    else:
        verdict = "above" if ours > printed else "below"
    if claim.contradicting:
        verdict = "disputed"
    return Finding(claim, verdict, measured=fresh[0].last, note=note)
