"""docs/proof.md: every golden case and what became of it, from the record of redistill verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from redistill.report.table import bars
from redistill.runs.measured import measured

FERLES = "NIPS_2019_Reproducibilty_Challenge_Zero-shot_Knowledge_Transfer_via_Adversarial_Belief_Matching"


def proof(results: Path) -> str:
    """docs/proof.md: every golden case and what became of it."""
    path = results / "measured" / "verify" / "shared-golden.json"
    if not path.exists():
        return "# Proof\n\nNothing recorded yet: run `redistill verify DIR --to results/measured/verify/shared-golden.json`.\n"
    record = measured(path)
    totals = ", ".join(f"{count} {outcome}" for outcome, count in record["totals"].items())
    head = json.loads(path.read_bytes())["head"]
    versions = ", ".join(f"{name} {head['versions'][name]}" for name in ("redistill", "torch", "python"))
    if head["git"] is not None:
        versions += f", commit {head['git']['commit'][:10]}"
    lines = [
        "# Proof: the package's pieces against the authors' own numbers\n",
        f"`{record['command']}` in double precision; {versions}. Totals: {totals}. The error is the one nearest to its tolerance "
        f"among all arrays of a case: max |got - want| / max |want|.{_cpu(record)} Recorded in "
        f"`results/measured/verify/shared-golden.json` by the option `--to`; this page is generated from it.\n",
        "| case | source | error | tolerance | verdict |",
        "|---|---|--:|--:|---|",
    ]
    for row in record["rows"]:
        error = f"{row['error']:.1e}" if row["error"] is not None else row["reason"]
        tolerance = f"{row['tolerance']:g}" if row["tolerance"] is not None else ""
        source = row["source"].replace(FERLES, "Ferles et al.")
        lines.append(bars((row["case"], source, error, tolerance, row["outcome"])))
    return "\n".join(lines) + "\n"


def _cpu(record: dict[str, Any]) -> str:
    """How long it took, where the record says it."""
    took = sorted((row["seconds"] for row in record["rows"] if "seconds" in row), reverse=True)
    if not took:
        return ""
    return f" {sum(took):.0f} CPU seconds of one core, {sum(took[:8]):.0f} of them for the eight longest cases."
