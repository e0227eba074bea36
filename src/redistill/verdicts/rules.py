"""The rule of a claim, written into the store when the first run of its cells starts; later verdicts use that one."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redistill import __version__
from redistill.claims import Claim
from redistill.errors import RedistillError, counted
from redistill.files import digest
from redistill.papers.plan import Plan
from redistill.runs.lookup import Found
from redistill.runs.store import Store
from redistill.verdicts.claims import Table, key, tables_of

RULED = ("tolerance", "seeds", "looks", "compare", "decides", "reach", "allowance", "side")
"""What of a claim is its rule; the printed numbers are the paper file's."""

BEFORE = {"side": 0.05}
"""What a rule says that was written before there was a choice."""


def place(paper: str, table: str, claim: Claim) -> str:
    return f"rules/{paper}/{table}/{digest(claim.id)[:16]}.json"


@dataclass(frozen=True)
class Ruled:
    """A claim with the rule that counts. ``written``: when that was written, None where no rule stands in the store.

    ``late``: seeds that were begun or finished before it was written. ``printed``: the number that the claim had then, where that
    stands in the store.
    """

    claim: Claim
    written: str | None
    late: tuple[int, ...] = ()
    printed: float | None = None

    @property
    def moved(self) -> bool:
        """Whether the paper file prints another number than when the rule was written."""
        return self.printed is not None and self.printed != self.claim.claimed


def ruled(plan: Plan, table: Table, found: Found) -> list[Ruled]:
    """The claims of a table with their stored rules, where such stand, and every seed that must be there; its company's last."""
    made = []
    for claim in (*table.claims, *table.company):
        if claim.kind == "checkpoint":
            made.append(Ruled(claim, None))
            continue
        stored = found.store.written_rule(place(plan.paper.name, table.name, claim))
        planned, late, written, printed = plan.seeds, tuple[int, ...](), None, None
        if stored is not None:
            printed = stored.get("printed")
            claim, planned, late, written = _as_written(claim, stored)
        needs = tuple(sorted({*(() if claim.looks else planned), *_unfinished(table, claim, found)}))
        made.append(Ruled(replace(claim, needs=needs), written, late, printed))
    return made


def _as_written(claim: Claim, stored: Mapping[str, Any]) -> tuple[Claim, tuple[int, ...], tuple[int, ...], str]:
    """The claim with its stored rule, the seeds that were planned and those that were late, and when it was written."""
    try:
        known = {**BEFORE, **stored["rule"]}
        rule = {name: known[name] for name in RULED}
        planned, late = (tuple(int(seed) for seed in stored[name]) for name in ("planned", "late"))
        return replace(claim, **{**rule, "looks": tuple(rule["looks"])}), planned, late, str(stored["written"])
    except (KeyError, TypeError, ValueError) as error:
        raise RedistillError(f"the stored rule of claim {claim.id!r} is incomplete ({error}): restore its file, or delete it") from error


def write_rules(plan: Plan, store: Store) -> int:
    """Write the rule of every claim of a plan that has none in the store yet; how many were written.

    To be called before the runs of the plan start. A rule that is written while runs of its cells are there says so.
    """
    found, written = Found(store), 0
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for table in tables_of(plan):
        for claim in table.claims:
            where = place(plan.paper.name, table.name, claim)
            if claim.kind == "checkpoint" or not _runs(table, claim) or store.written_rule(where) is not None:
                continue
            late = sorted({*_unfinished(table, claim, found), *_finished(table, claim, found)})
            rule = {
                "claim": claim.id, "paper": plan.paper.name, "version": plan.paper.file.paper.version, "table": table.name,
                "rule": {name: getattr(claim, name) for name in RULED}, "planned": list(plan.seeds), "late": late,
                "printed": claim.claimed, "teachers": "one a seed" if plan.teachers_each else "as the paper has them",
                "written": now, "redistill": __version__,
            }  # fmt: skip
            store.rule(where, rule)
            written += 1
    return written


def _runs(table: Table, claim: Claim) -> bool:
    return all(cell in table.home.values() for cell in claim.cells)


def _finished(table: Table, claim: Claim, found: Found) -> list[int]:
    return [s for p in table.cells if p.experiment and table.home[key(p)] in claim.cells for s in found.seeds(p.experiment)]


def _unfinished(table: Table, claim: Claim, found: Found) -> list[int]:
    return [s for p in table.cells if p.experiment and table.home[key(p)] in claim.cells for s in found.unfinished(p.experiment)]


def sentences(rules: Sequence[Ruled]) -> list[str]:
    """How old the rules of a table are, in sentences."""
    judged = [r for r in rules if r.claim.kind != "checkpoint"]
    none = sum(r.written is None for r in judged)
    late = sum(bool(r.late) for r in judged)
    lines = []
    if (written := [r.written for r in judged if r.written is not None and not r.late]):
        whose = "The rule of 1 claim was" if len(written) == 1 else f"The rules of {len(written)} claims were"
        lines.append(f"{whose} written before {'its' if len(written) == 1 else 'their'} first run, from {min(written)} on.")
    if late:
        lines.append(f"Of {counted(late, 'claim')} the rule was written when some runs were there already.")
    for one in judged:
        if one.moved:
            now = "none" if one.claim.claimed is None else f"{one.claim.claimed:.6g}"
            lines.append(
                f"The rule of {one.claim.id} was written for the printed number {one.printed:.6g}, the paper file has {now} now: another "
                f"edition of the file, or another file of its name."
            )
    if none:
        lines.append(f"For {counted(none, 'claim')} no rule stands in the store: the paper file's of today is used.")
    return lines
