"""Findings as plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from redistill.claims.model import Claim, Finding, Published, Reading, Summary
from redistill.claims.view import ALPHA, level_apart
from redistill.errors import counted
from redistill.stats import past_edge

EPOCH = {
    "last": "last epoch",
    "best_on_test": "best epoch on the test set",
    "best_on_validation": "epoch chosen on validation images",
    "at_step": "at a named step",
    "unknown": "epoch not stated",
    "none": "",
}

LIVED = "the seeds that lived"
"""What a reading is called that leaves out the seeds that diverged."""


def sentence(finding: Finding) -> str:
    """One finding in one sentence: verdict, ours, the paper's, the difference, and what to mind."""
    claim, reading = finding.claim, finding.reading
    if finding.measured is not None:
        body = _checkpoint(finding)
    elif reading is None:
        printed = f" (the paper's {_number(claim, claim.claimed)})" if claim.claimed is not None else ""
        body = f"{finding.note}{printed}"
    else:
        body = {"value": _size, "gain": _size, "order": _order}[claim.kind](finding, reading)
    ends = [body]
    if finding.verdict == "disputed":
        ends.append(_disputed(finding))
    if finding.more_seeds is not None:
        seeds = f"{finding.more_seeds} more {'seed' if finding.more_seeds == 1 else 'seeds'}"
        ends.append(f"{seeds} would probably settle it" if reading else f"run {seeds}")
    if finding.note and body != finding.note and (reading is not None or finding.measured is not None):
        ends.append(finding.note)
    if finding.mismatch:
        ends.append(f"mind that {finding.mismatch}")
    return f"{claim.id} is {verdict_words(finding)}: {'; '.join(ends)}."


def sentences(findings: Sequence[Finding]) -> list[str]:
    """A sentence a finding (:func:`sentence`); what is to be minded of every one alike is said once, at the end."""
    shared = {finding.mismatch for finding in findings}
    if len(findings) < 2 or len(shared) > 1 or not any(shared):
        return [sentence(finding) for finding in findings]
    return [*(sentence(replace(finding, mismatch="")) for finding in findings), f"Mind of all of these that {shared.pop()}."]


def verdict_words(finding: Finding) -> str:
    """The verdict as a table shows it: *compatible* never stands without its bound."""
    return finding.verdict if finding.bound is None else f"{finding.verdict}, ± {_number(finding.claim, finding.bound)}"


def summary_sentences(summary: Summary, unit: str = " points") -> list[str]:
    """A table in a few sentences: counts, how many verdicts are expected to be false, spreads, Holm. unit: of its numbers."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary.counts.items())
    lines = [f"Of {counted(sum(summary.counts.values()), 'claim')}: {counts}."]
    if summary.judged:
        lines.append(
            f"{counted(summary.judged, 'claim')} of value or gain {'was' if summary.judged == 1 else 'were'} judged, each by itself, false "
            f"at most {100 * ALPHA:.0f} % of the time: at most {summary.expected_false:.2f} false verdicts are to be expected among them."
        )
    if summary.holm:
        lines.append(
            f"The differences behind {counted(len(summary.holm), 'claim')} of gain or order are tested together (Holm): the chance of "
            f"any false one is at most {100 * ALPHA:.0f} %."
        )
    for (epoch, regime), pool in (summary.regimes or {(e, ""): p for e, p in summary.pools.items()}).items():
        test = "one cell with seeds only" if pool.p is None else f"equality of the cells' spreads: {p_words(pool.p)}"
        if pool.left:
            test += f"; by their own: {', '.join(sorted(pool.left))}"
        of = f" of {regime}" if regime else ""
        lines.append(
            f"Spread over seeds{of}, {EPOCH[epoch]}: {pool.spread.sd:.2f}{unit} "
            f"({counted(round(pool.spread.df), 'degree')} of freedom; {test})."
        )
    return lines


def p_words(p: float, edge: float = ALPHA) -> str:
    """A p-value as a reader wants it; with more digits where two would put one above ``edge`` at it.

    >>> p_words(0.0214), p_words(1e-7), p_words(0.0503)
    ('p = 0.021', 'p < 0.001', 'p = 0.0503')
    """
    if p < 0.001:
        return "p < 0.001"
    digits = next((n for n in range(2, 6) if (float(f"{p:.{n}g}") > edge) == (p > edge)), 6)
    return f"p = {p:.{digits}g}"


def end_words(claim: Claim, end: float) -> str:
    """An end of the interval that decides; with more digits where two would hide that it lies outside of the tolerance.

    >>> claim = Claim("c", "value", "A", Published(90.0), tolerance=0.5)
    >>> end_words(claim, 0.41), end_words(claim, 0.504), end_words(claim, -0.4996)
    ('+0.41', '+0.504', '-0.50')
    """
    return past_edge(end, -claim.tolerance, claim.tolerance, _decimals(claim))


def widest(interval: tuple[float, float]) -> float:
    """The smallest tolerance that an interval around a difference lies within."""
    return max(map(abs, interval))


def _size(finding: Finding, reading: Reading) -> str:
    claim, published = finding.claim, finding.claim.published
    assert published is not None and reading.interval is not None and reading.difference is not None
    low, high = (end_words(claim, x) for x in reading.interval)
    edge = f"{claim.tolerance:g}"
    side = {
        "reproduced": f"inside ±{edge}",
        "above": f"wholly above +{edge}",
        "below": f"wholly below -{edge}",
        "unclear": f"which leaves open whether it is within ±{edge}",
        "compatible": "",
    }
    verdict = reading.verdict if finding.verdict == "disputed" else finding.verdict
    says = side[verdict]
    if verdict == "compatible":
        says = (
            f"inside ±{_number(claim, widest(reading.interval))}, the smallest tolerance at which it would be reproduced; no affordable "
            f"number of seeds can place it within ±{edge}"
        )
    if (verdict == "below" and reading.interval[1] > -claim.tolerance) or (verdict == "above" and reading.interval[0] < claim.tolerance):
        says = f"and the seeds that lived lie {side[verdict]} by themselves"
    below, above = (end > claim.tolerance for end in (-reading.interval[0], reading.interval[1]))
    outside = reading.interval[1] < -claim.tolerance or reading.interval[0] > claim.tolerance
    if verdict == "unclear" and not (below or above) and claim.kind == "gain":
        says = f"inside ±{edge}, but that there is a gain at all is not shown"
    elif verdict == "unclear" and (outside or not (below or above)):  # by seeds that do nothing, or guess: the note says so
        says = f"{'wholly outside' if outside else 'inside'} ±{edge}, of which nothing follows"
    return (
        f"{_ours(finding, reading)}, the paper's {_number(claim, claim.claimed, sign=claim.kind == 'gain')} "
        f"({_source(published)}); the difference {_number(claim, reading.difference, sign=True)} has the "
        f"{100 * reading.level:.4g} % interval [{low}, {high}], {says}"
    )


def _order(finding: Finding, reading: Reading) -> str:
    claim = finding.claim
    says = {
        "reproduced": "as the paper has it",
        "below": "the other way round than the paper has it",
        "unclear": "which does not show whose is higher",
    }
    printed = "" if claim.claimed is None else f" ({_number(claim, claim.claimed, sign=True)})"
    return f"{_ours(finding, reading)}, {says[finding.verdict]}{printed}"


def _ours(finding: Finding, reading: Reading) -> str:
    claim, ours = finding.claim, reading.ours
    differs = claim.baseline is not None
    value, low, high = (_number(claim, x, sign=differs) for x in (ours.value, ours.low, ours.high))
    median = claim.published is not None and claim.published.aggregate == "median"
    what = f"{'median' if median else 'mean'} of {ours.n} seeds"
    if finding.epoch:
        what += f", {EPOCH[finding.epoch]}"
    if not differs:
        return f"ours {value} [{low}, {high}] ({what})"
    p = ""
    if finding.p is not None:
        shown = lived if (lived := next((r for r in finding.others if r.what == LIVED), None)) is not None else reading
        whose = " by the seeds that lived" if shown is lived else ""
        p = f", {p_words(finding.p, level_apart(claim))}{whose}{' after Holm' if finding.p != shown.p else ''}"
    assert finding.reading is not None
    design = finding.reading.what.rpartition(", ")[2]
    return f"{claim.cell} minus {claim.baseline} is {value} [{low}, {high}] ({design}, {what}{p})"


def _checkpoint(finding: Finding) -> str:
    claim = finding.claim
    printed, measured = _number(claim, claim.claimed), _number(claim, finding.measured)
    if finding.verdict == "reproduced":
        return f"the published file reaches {measured}, the paper prints {printed}"
    difference = _number(claim, finding.difference, sign=True)
    return f"the published file reaches {measured}, {difference} from the printed {printed}"


def _disputed(finding: Finding) -> str:
    claim = finding.claim
    if finding.reading is None:
        return "printed too: " + ", ".join(f"{p.value:.{p.decimals}f}" for p in claim.contradicting)
    against = [r for r in finding.others if r.what.startswith("against ")]
    seen = [f"{finding.reading.verdict} against {_number(claim, claim.claimed)}", *(f"{r.verdict} {r.what}" for r in against)]
    return "published values contradict each other: " + ", ".join(seen)


def _source(published: Published) -> str:
    runs = "number of runs not stated" if published.seeds is None else counted(published.seeds, "seed")
    words = {
        "mean": f"mean of {runs}" if published.seeds else f"mean, {runs}",
        "median": f"median of {runs}" if published.seeds else f"median, {runs}",
        "single": "one run",
        "unknown": runs,
    }
    spread = "" if published.std is not None else ", no spread printed"
    figure = ", read off a figure" if published.approximate else ""
    return ", ".join(part for part in (words[published.aggregate], EPOCH[published.which]) if part) + spread + figure


def _number(claim: Claim, x: float | None, sign: bool = False) -> str:
    assert x is not None
    return f"{x:+.{_decimals(claim)}f}" if sign else f"{x:.{_decimals(claim)}f}"


def _decimals(claim: Claim) -> int:
    return max(2, claim.published.decimals) if claim.published else 2
