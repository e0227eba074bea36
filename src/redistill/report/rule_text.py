"""The claims of a plan as lines of text, before anything runs: rule, chance of a verdict, seeds that would settle it."""

from __future__ import annotations

from typing import Any

from redistill.claims import Claim
from redistill.claims.view import MOST, level
from redistill.papers.plan import Plan
from redistill.verdicts.claims import Table, tables_of
from redistill.verdicts.expected import power_of, settling


def row(table: Table, claim: Claim, seeds: int) -> dict[str, Any]:
    """One claim as numbers. ``power_of``: of *reproduced*, were the recipe exactly the paper's; ``settled_by``: seeds for 4 of 5."""
    made: dict[str, Any] = {
        "claim": claim.id, "kind": claim.kind, "printed": claim.claimed, "tolerance": claim.tolerance, "seeds": claim.seeds,
        "looks": list(claim.looks), "epoch": claim.compare or (claim.published.which if claim.published else None),
        "decides": claim.decides, "level": level(claim), "chance": None, "settled_by": None, "reach": claim.reach,
    }  # fmt: skip
    spread = table.spreads.get(claim.cell)
    if spread is not None and claim.kind in ("value", "gain") and claim.reach is not None:
        cells = table.lenders(claim)
        made["chance"] = round(power_of(claim, spread, claim.looks[0] if claim.looks else seeds, cells), 3) if seeds > 1 else 0.0
        made["settled_by"] = settling(claim, spread, cells)
        made["spread"], made["because"] = round(spread.sd, 3), spread.because
    return made


def rows(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    return {table.name: [row(table, claim, len(plan.seeds)) for claim in table.claims] for table in tables_of(plan)}


def lines(plan: Plan) -> list[str]:
    """The rules of a plan, table by table."""
    out = []
    for name, claims in rows(plan).items():
        out.append(f"table {name}: {len(claims)} claims; chance: of a verdict, were the recipe exactly the paper's")
        out += [f"  {_told(claim)}" for claim in claims]
    return out


def _told(claim: dict[str, Any]) -> str:
    if claim["kind"] == "checkpoint":
        return f"{claim['claim']}: the printed digits or not"
    looks = f"looks at {', '.join(map(str, claim['looks']))} seeds" if claim["looks"] else f"{claim['seeds']} seeds"
    what = f"{looks}, {claim['epoch']}"
    if claim["decides"] is not None:
        what += f", {claim['decides']}"
    if claim["kind"] == "order":
        return f"{claim['claim']}: sign of the difference at 5 % after Holm; {what}"
    words = f"{claim['claim']}: within \u00b1{claim['tolerance']:g} of {claim['printed']:.6g}; {what}"
    if claim["chance"] is None:
        return words
    settled = claim["settled_by"]
    end = "no number of seeds settles it" if settled is None else f"{settled} seeds settle it"
    if not claim["reach"]:
        end = f"not within {MOST} seeds: will be called compatible, \u00b1 x ({end})"
    return f"{words}; chance {claim['chance']:.0%}, {end} (spread {claim['spread']:g}, {claim['because']})"
