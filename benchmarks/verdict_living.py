"""How often is a cell of which some seeds diverged called below, though it is not? Tables with known truth, judged by the package.

As in ``verdict_rates.py`` a table has six cells of n runs with a spread of 0.2 points, the paper prints means of three, and the
truth of ours minus the paper's is the same in every cell. Of the first cell some runs diverge: any of them, or always those that
would have been the best (the worst case for who judges by the others), or the worst.

    python benchmarks/verdict_living.py [--tables 2000] [--out results/measured/verdict-living] [--page docs/verdicts.md]
    python benchmarks/verdict_living.py --redraw     # the page again from the stored numbers
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from redistill.claims import Claim, Measured, Published, judge_table
from redistill.report.marked import block, filled
from redistill.runs.measured import begin, headed, measured

CELLS, SPREAD, TOLERANCE, PRINTED = 6, 0.2, 0.5, 3
DEAD = ((3, 1), (5, 1), (5, 2), (10, 3))
WHO = ("any", "the best", "the worst")
TRUTHS = (0.0, -TOLERANCE, -1.0, -2.0)


def row(seeds: int, dead: int, who: str, truth: float, tables: int) -> dict[str, Any]:
    """Shares of verdicts on the first cell, and of false ones on the others (mean over them)."""
    rng = np.random.default_rng([seeds, dead, WHO.index(who), round(-100 * truth)])
    first: dict[str, int] = {}
    others = 0
    for _ in range(tables):
        ours = np.round(80 + truth + SPREAD * rng.normal(size=(CELLS, seeds)), 2)
        printed = np.round(80 + SPREAD * rng.normal(size=(CELLS, PRINTED)).mean(1), 2)
        order = rng.permutation(seeds) if who == "any" else np.argsort(-ours[0] if who == "the best" else ours[0])
        gone = set(order[:dead].tolist())
        claims = [
            Claim(str(cell), "value", str(cell), number, tolerance=TOLERANCE, seeds=seeds)
            for cell, number in enumerate(Published(float(value), None, PRINTED, None, "last", "mean") for value in printed)
        ]
        runs = {
            str(cell): [
                Measured(seed, 10.0, diverged=True) if cell == 0 and seed in gone else Measured(seed, float(value))
                for seed, value in enumerate(values)
            ]
            for cell, values in enumerate(ours)
        }
        findings, _ = judge_table(claims, runs)
        first[findings[0].verdict] = first.get(findings[0].verdict, 0) + 1
        right = {0.0: ("above", "below"), -TOLERANCE: ("above", "below", "reproduced")}.get(truth, ("above", "reproduced"))
        others += sum(finding.verdict in right for finding in findings[1:])
    return {
        "seeds": seeds, "dead": dead, "who": who, "truth": truth, "tables": tables,
        "verdicts": {name: round(count / tables, 4) for name, count in sorted(first.items())},
        "others_false": round(others / tables / (CELLS - 1), 4),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The page's table: how often *below*, by what is true."""
    rows = {(r["seeds"], r["dead"], r["who"], r["truth"]): r for r in result["rows"]}
    lines = [
        "| seeds | diverged | which | below at 0 | below at -0.5 | at -1 | at -2 | other cells, false at most |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for seeds, dead in DEAD:
        for who in WHO:
            mine = [rows[seeds, dead, who, truth] for truth in TRUTHS]
            below = [f"{100 * r['verdicts'].get('below', 0.0):.1f}" for r in mine]
            others = f"{100 * max(r['others_false'] for r in mine):.1f}"
            lines.append(f"| {seeds} | {dead} | {who} | {' | '.join(below)} | {others} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables a setting")
    parser.add_argument("--out", type=Path, default=Path("results/measured/verdict-living"))
    parser.add_argument("--page", type=Path, default=Path("docs/verdicts.md"))
    parser.add_argument("--redraw", action="store_true", help="do not simulate: the page again from the stored numbers")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    stored = given.out / "rates.json"
    if not given.redraw:
        begun, started = begin(), time.perf_counter()
        rows = [row(*dead, who, truth, given.tables) for dead in DEAD for who in WHO for truth in TRUTHS]
        result = {
            "what": "simulated verdicts on a cell of which some seeds diverged", "spread": SPREAD, "tolerance": TOLERANCE,
            "printed": PRINTED, "rows": rows, "seconds": round(time.perf_counter() - started, 1),
            "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        }  # fmt: skip
        stored.write_text(json.dumps(headed(result, "verdict-living", begun), indent=1) + "\n", encoding="utf-8")
    page = filled(given.page.read_text(encoding="utf-8"), {"living": block(table(measured(stored)))})
    given.page.write_text(page, encoding="utf-8")
    print(f"{stored} and {given.page}")


if __name__ == "__main__":
    main()
