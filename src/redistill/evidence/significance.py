"""Significance that a source reports, done again from its runs: their test, then ours after Holm, both shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redistill.evidence import names
from redistill.evidence.model import Evidence, Trained, arms
from redistill.evidence.settled import agrees
from redistill.stats import NOTHING, Interval, holm, past_edge, welch


@dataclass(frozen=True)
class Tested:
    """One reported comparison.

    Attributes:
        of: in words. reported: the printed difference and whether it is called significant. gain: from the runs, with its
            interval; None where no two groups of runs give the printed difference. theirs: p of their test (Welch). ours: after
            Holm over the whole family. note: what a reader must know.
    """

    of: str
    difference: float | None
    significant: bool | None
    gain: Interval | None
    theirs: float | None
    ours: float | None
    note: str = ""

    @property
    def sentence(self) -> str:
        called = "" if self.significant is None else f", called {'significant' if self.significant else 'not significant'}"
        head = f"{self.of}: reported {self.difference:+.2f}{called}" if self.difference is not None else f"{self.of}: reported{called}"
        if self.gain is None or self.theirs is None or self.ours is None:
            return f"{head}; {self.note}."
        word = {True: "below 0.05", False: "not below 0.05"}
        return (
            f"{head}; from the runs {self.recomputed}, their test p = {p_words(self.theirs)} ({word[self.theirs < 0.05]}), after Holm "
            f"p = {p_words(self.ours)} ({word[self.ours < 0.05]}){f'; {self.note}' if self.note else ''}."
        )

    @property
    def recomputed(self) -> str:
        """The gain from the runs with its interval, whose ends show on which side of 0 they lie."""
        assert self.gain is not None
        return f"{self.gain.value:+.3f} [{', '.join(past_edge(end, 0.0, 0.0) for end in (self.gain.low, self.gain.high))}]"


def p_words(p: float) -> str:
    """A p-value with three decimals, and with more where these would put it on the other side of 0.05.

    >>> p_words(0.0214), p_words(0.0497), p_words(0.0503)
    ('0.021', '0.0497', '0.050')
    """
    digits = next((n for n in range(3, 7) if (float(f"{p:.{n}f}") < 0.05) == (p < 0.05)), 7)
    return f"{p:.{digits}f}"


def tested(evidence: Evidence) -> list[Tested]:
    """Every reported comparison of a method with the plain student, recomputed."""
    if not evidence.claims:
        return []
    known = [runs for runs in arms(evidence.runs).values() if len(runs) > 1]
    made: list[tuple[Mapping[str, Any], Interval | None, str]] = []
    for claim in evidence.claims:
        if not {"method", "student"} <= set(claim):
            continue  # of something else than a method against the plain student
        made.append((claim, *_of(claim, known)))
    family = [gain.p for _, gain, _ in made if gain is not None]
    adjusted = iter(holm(family)) if family else iter(())
    out = []
    for claim, gain, note in made:
        of = f"{claim.get('method')}, {claim.get('teacher')} -> {claim.get('student')}, minus the student alone"
        significant = claim.get("significant")
        out.append(
            Tested(
                of, claim.get("gain"), significant if isinstance(significant, bool) else None, gain, None if gain is None else gain.p,
                None if gain is None else next(adjusted), note,
            )
        )  # fmt: skip
    return out


def _of(claim: Mapping[str, Any], known: list[list[Trained]]) -> tuple[Interval | None, str]:
    method, student = names.method(str(claim.get("method", ""))), names.network(str(claim.get("student", "")))
    teacher = names.network(str(claim["teacher"])) if claim.get("teacher") else ""
    treated = [runs for runs in known if runs[0].cell[1:] == (teacher, student, method)]
    plain = [runs for runs in known if runs[0].cell[1:] == ("", student, names.STUDENT)]
    last = "last" in str(claim.get("kind", "")).split("mean")[0]
    printed = claim.get("gain")
    pairs = []
    for a in treated:
        for b in plain:
            x, y = _values(a, last), _values(b, last)
            if x is None or y is None:
                continue
            gain = welch(x, y)
            if printed is None or agrees(float(printed), round(gain.value, 6), 2) or abs(gain.value - float(printed)) < 0.0101:
                off = 0.0 if printed is None else abs(gain.value - float(printed))
                pairs.append((-min(len(a), len(b)), off, gain, a, b))
    if not pairs:
        if not treated or not plain:
            return None, "no several runs of both are here, so it cannot be recomputed"
        return None, f"none of {len(treated)} x {len(plain)} groups of several runs gives that difference"
    pairs.sort(key=lambda one: one[:2])  # of equals the groups that stand first
    _, _, gain, a, b = pairs[0]
    if gain.error < NOTHING:
        return None, f"the runs give {gain.value:+.2f}, but all {len(a)} and all {len(b)} gave one number each: no spread, so no test"
    note = f"{len(a)} runs against {len(b)}"
    if len(pairs) > 1:
        give = "fit" if printed is None else "give it"
        note += f" ({len(pairs)} pairs of groups {give}; of those with most runs the {'first' if printed is None else 'nearest'} is taken)"
    return gain, note


def _values(runs: list[Trained], last: bool) -> list[float] | None:
    values = [run.last if last else run.best for run in runs]
    return None if any(value is None for value in values) else [float(value) for value in values if value is not None]
