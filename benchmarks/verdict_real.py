"""Real tables, their real protocols, our claims of them: how often would a true recipe be called so, by the package itself?

Spreads are those that a plan expects (``redistill.verdicts.expected``); our runs and the paper's numbers are drawn anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from redistill.claims import Claim, Measured, Published, judge_table
from redistill.papers.load import load
from redistill.papers.plan import make
from redistill.verdicts.claims import Table, tables_of

PAPERS = ("micaelli2019", "ferles2020", "chen2021", "ahn2019", "tian2020", "zagoruyko2017")
BEFORE = {3: 0.786, 5: 0.725, 10: 0.667}
"""*Unclear* by the rule of e6d5775, 552 claims, 60 repetitions (a referee's simulation of the same tables)."""


def real_tables(repetitions: int) -> list[dict[str, Any]]:
    rows = []
    for n in (3, 5, 10):
        whole: dict[str, Counter[str]] = {"0": Counter(), "0.5": Counter()}
        for name in PAPERS:
            for table in _tables(name, n):
                rng = np.random.default_rng([n, *name.encode(), *table.name.encode()])
                for truth, count in whole.items():
                    for _ in range(repetitions):
                        count.update(_judged(table, n, float(truth), rng))
        for truth, count in whole.items():
            total = sum(count.values())
            shares = {v: round(count[v] / total, 4) for v in ("reproduced", "compatible", "unclear", "above", "below")}
            rows.append({"n": n, "truth": float(truth), "claims": total // repetitions, "repetitions": repetitions, **shares})
    return rows


def _tables(name: str, n: int) -> list[Table]:
    paper = load(name)
    names = [t for t in paper.file.table if paper.table(t).metric != "mte" and paper.protocol(t).which != "at_step"]
    cells = [c for t in names for c in paper.cells_of(t) if c.printed is not None and not c.unknown]
    return tables_of(make(paper, cells, seeds=range(n), device="cpu"))


def _judged(table: Table, n: int, truth: float, rng: np.random.Generator) -> list[str]:
    spreads = {cell: spread.sd for cell, spread in table.spreads.items()}
    ours = {c: 80 + truth + s * rng.normal(size=n) for c, s in spreads.items()}
    runs = {c: [Measured(seed, float(x)) for seed, x in enumerate(np.round(values, 2))] for c, values in ours.items()}
    claims = [_drawn(claim, spreads[claim.cell], rng) for claim in table.claims if claim.kind == "value"]
    return [finding.verdict for finding in judge_table(claims, runs, table.regimes)[0]]


def _drawn(claim: Claim, spread: float, rng: np.random.Generator) -> Claim:
    number = claim.published
    assert number is not None
    runs = 80 + spread * rng.normal(size=number.seeds or 1)
    value = np.median(runs) if number.aggregate == "median" else runs.mean()
    std = None if number.std is None else float(runs.std(ddof=1 if number.ddof == 1 else 0))
    drawn: Published = replace(number, value=round(float(value), number.decimals), std=std, which="last")
    return replace(claim, published=drawn, contradicting=())
