"""The claims of a plan as lines of text, before anything runs: rule, chance of a verdict, seeds that would settle it."""

from __future__ import annotations

from typing import Any

from redistill.claims import Claim
from redistill.claims.view import deciding
from redistill.claims.words import EPOCH
from redistill.errors import counted
from redistill.papers.plan import Plan
from redistill.verdicts.claims import Table, tables_of


def row(table: Table, claim: Claim, seeds: int) -> dict[str, Any]:
    """One claim as numbers. ``chance``: of *reproduced*, were the printed number exactly true; ``settled_by``: seeds for 4 of 5."""
    made: dict[str, Any] = {
        "claim": claim.id, "kind": claim.kind, "printed": claim.claimed, "tolerance": claim.tolerance, "seeds": claim.seeds,
        "looks": list(claim.looks), "epoch": claim.compare or (claim.published.which if claim.published else None),
        "decides": claim.decides, "level": deciding(claim), "chance": None, "settled_by": None, "reach": claim.reach,
    }  # fmt: skip
    if (power := table.power(claim)) is not None:
        made["chance"] = round(power.power_of(claim.looks[0] if claim.looks else seeds), 3)
        made["settled_by"] = power.settled()
        made["leaves"] = None if claim.kind == "order" or seeds < 2 else round(power.within(claim.looks[-1] if claim.looks else seeds), 2)
        made["spread"], made["because"] = round(power.spread.sd, 3), power.spread.because
    return made


def rows(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    return {table.name: [row(table, claim, len(plan.seeds)) for claim in table.claims] for table in tables_of(plan)}


def lines(plan: Plan) -> list[str]:
    """The rules of a plan, table by table."""
    out = []
    for name, claims in rows(plan).items():
        out.append(f"table {name}: {len(claims)} claims; chance: of the verdict reproduced, were the printed number exactly true")
        out += [f"  {_sentence(claim)}" for claim in claims]
    return out


def _sentence(claim: dict[str, Any]) -> str:
    if claim["kind"] == "checkpoint":
        return f"{claim['claim']}: the printed digits or not"
    looks = f"looks at {', '.join(map(str, claim['looks']))} seeds" if claim["looks"] else counted(claim["seeds"], "seed")
    epoch = EPOCH[claim["epoch"]] if claim["epoch"] is not None else ""
    what = ", ".join(part for part in (looks, epoch, claim["decides"]) if part)
    words = f"{claim['claim']}: within \u00b1{claim['tolerance']:g} of {claim['printed']:.6g}; {what}"
    if claim["kind"] == "order":
        words = f"{claim['claim']}: sign of the difference at 5 % after Holm; {what}"
    if claim["chance"] is None:
        return words
    settled = claim["settled_by"]
    end = "no number of seeds settles it" if settled is None else f"{counted(settled, 'seed')} settle{'s' if settled == 1 else ''} it"
    if claim["kind"] != "order" and not claim["reach"]:
        x = "x" if claim["leaves"] is None else f"about {claim['leaves']:.2g}"
        end = f"{end}: compatible, \u00b1 {x}, unless it is wholly outside"
    return f"{words}; chance {100 * claim['chance']:.0f} %, {end} (spread {claim['spread']:g}, {claim['because']})"
