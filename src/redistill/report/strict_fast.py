"""Does ``precision = "fast"`` change results? What scripts/strict_fast.py measured, for RESULTS.md."""

from __future__ import annotations

from pathlib import Path

from redistill.runs.measured import measured


def strict_fast(results: Path) -> str:
    """Paired differences, fast - strict, with their intervals; "" while there is no summary."""
    path = results / "measured" / "strict-fast" / "summary.json"
    if not path.exists():
        return ""
    found = measured(path)
    within, tolerance = all(row["within_tolerance"] for row in found["methods"].values()), found["tolerance"]
    lines = [
        "## Strict and fast\n",
        "`python scripts/strict_fast.py --data-dir D`; records in `results/measured/strict-fast/`. Students WRN-16-1 from the published "
        f"WRN-16-2 of Ferles et al. 2020 on the first 100 images of each class of CIFAR-10, 600 steps of batch 100, "
        f"{len(found['seeds'])} seeds. First weights, order and crops of a seed are the same in both, so differences are paired. "
        f"Measured on {', '.join(found['processors'])}.",
    ]
    if found["emulated"]:
        lines.append(
            "That processor has no bf16 matrix units: in the fast runs bf16 was **emulated**. Convolutions and matrix products took "
            "operands rounded to bf16, added up in fp32 and rounded their result, forwards and gradients, which is what such units do but "
            "for the order of the sums."
        )
    head = f"| method | strict % | fast % | fast - strict, points | 95 % interval | within ±{tolerance:g} |"
    lines += ["", head, "|---|--:|--:|--:|--:|---|"]
    for name, row in found["methods"].items():
        strict, fast = (sum(row[kind]) / len(row[kind]) for kind in ("strict", "fast"))
        low, high = row["interval"]
        yes = "yes" if row["within_tolerance"] else "no"
        lines.append(f"| {name} | {strict:.2f} | {fast:.2f} | {row['difference']:+.2f} | {low:+.2f} to {high:+.2f} | {yes} |")
    end = (
        f"Every interval lies within ±{tolerance:g} points: fast may stand for strict."
        if within
        else f"Not every interval lies within ±{tolerance:g} points, so strict stays the default for published numbers."
    )
    return "\n".join([*lines, "", end]) + "\n"
