"""Which claims of a plan can be settled, and with how many seeds: reckoned before anything runs."""

from __future__ import annotations

from typing import Any

from redistill.claims.view import LIKELY
from redistill.papers.plan import Plan
from redistill.verdicts.claims import tables_of
from redistill.verdicts.expected import Power

SEEDS = (3, 5, 10)
"""Numbers of seeds for which the chance of a verdict is shown."""

HEAD = ("claim", "printed", "within", "spread", *(f"{n} seeds" for n in SEEDS), "settled by", f"{SEEDS[-1]} leave", "spread of")


def powers(plan: Plan) -> dict[str, list[Power]]:
    """Table by table, the claims that seeds of ours can settle; a published file needs none."""
    found = {table.name: [table.power(claim) for claim in table.claims] for table in tables_of(plan)}
    return {name: [one for one in several if one is not None] for name, several in found.items()}


def rows(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """As numbers. ``chance``: of the verdict reproduced by number of seeds; ``settled_by``: seeds for four cases of five;
    ``leaves``: half width of the interval that the most seeds are expected to leave, None for an order."""
    return {
        name: [
            {
                "claim": one.claim.id, "kind": one.claim.kind, "printed": one.claim.claimed,
                "tolerance": None if one.claim.kind == "order" else one.claim.tolerance,
                "spread": round(one.spread.sd, 3), "because": one.spread.because,
                "chance": {str(n): round(one.power_of(n), 3) for n in SEEDS}, "settled_by": one.settled(),
                "leaves": None if one.claim.kind == "order" else round(one.within(SEEDS[-1]), 2),
            }
            for one in several
        ]
        for name, several in powers(plan).items()
    }  # fmt: skip


def totals(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What :func:`rows` amount to, in sentences."""
    every = [row for several in found.values() for row in several]
    if not every:
        return ["No number is printed for these cells, or nobody knows what their runs scatter by: there is nothing to reckon."]
    likely = [f"{sum(row['chance'][str(n)] >= LIKELY for row in every)} with {n} seeds" for n in SEEDS]
    never = sum(row["settled_by"] is None for row in every)
    return [
        f"{len(every)} claims. Likely to be settled, at a chance of {100 * LIKELY:.0f} % or more: {', '.join(likely)}.",
        f"{never} cannot be settled by any number of seeds: what the paper prints is too uncertain itself; their verdict will be "
        f"compatible, ± x, unless ours lies wholly outside.",
        "Chance: of the verdict reproduced, were the printed number (for an order: the printed difference) exactly true. "
        f"Settled by: so many seeds for a chance of 80 %. {SEEDS[-1]} leave: the x that {SEEDS[-1]} seeds are expected to leave.",
    ]


def entries(row: dict[str, Any]) -> tuple[str, ...]:
    """One row under :data:`HEAD`."""
    printed = f"{row['printed']:.6g}" if row["kind"] == "value" else f"{row['printed']:+.4g}"
    within = "sign" if row["kind"] == "order" else f"±{row['tolerance']:g}"
    chances = [f"{100 * row['chance'][str(n)]:.0f} %" for n in SEEDS]
    settled = "never" if row["settled_by"] is None else f"{row['settled_by']} seeds"
    leaves = "" if row["leaves"] is None else f"±{row['leaves']:g}"
    return (row["claim"], printed, within, f"{row['spread']:g}", *chances, settled, leaves, row["because"])
