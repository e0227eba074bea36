"""The tables of docs/gpu.md: what ``scripts/on_device`` measured on machines with a GPU, from ``results/measured/device``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redistill.report.marked import block, filled
from redistill.runs.measured import headed_files

STEPS = 391
"""Of an epoch of 50,000 images in batches of 128."""
WAYS = ("fast, replayed", "strict, replayed", "fast, as written")


def on_page(now: str, results: Path) -> str:
    """docs/gpu.md with its tables."""
    return filled(now, {"measured on devices": block(section(results))})


def section(results: Path) -> str:
    """One part a machine."""
    found = headed_files(results / "measured" / "device")
    return "\n\n".join(_machine(head, one) for head, one in found) or "Nothing was measured on a device yet."


def _machine(head: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    versions, tests = head["versions"], one["tests"]
    said = [f"{tests[what]} {what}" for what in ("passed", "failed", "skipped") if tests.get(what)]
    here = head["origin"]
    where = f"**{here['device']}**, beside an {here['processor']}, torch {versions['torch']}, {str(head['finished'])[:16]}"
    told = f"Tests of the device: {', '.join(said)}."
    if not one["rows"]:
        return f"{where}. {told}"
    lines = [
        f"{where}, batch {one['batch']}. {told}",
        "",
        f"| seconds an epoch of {STEPS} steps | {' | '.join(WAYS)} |",
        f"|---|{'--:|' * len(WAYS)}",
    ]
    rows = {tuple(re.split(r", (?=fast|strict)", name, maxsplit=1)): row for name, row in one["rows"].items()}
    for work in dict.fromkeys(name[0] for name in rows if name[0] not in ("plain", "zero-shot")):
        lines.append(f"| {work} | {' | '.join(_cell(rows.get((work, way)), 'epoch_s') for way in WAYS)} |")
    if ("plain",) in rows:
        lines.append(f"| KD, a plain loop in single precision without augmentation | | | {_cell(rows['plain',], 'epoch_s')} |")
    blocks = [_cell(rows.get(("zero-shot", way)), "block_ms") for way in WAYS]
    if any(blocks):
        lines.append(f"| zero-shot: *milliseconds a block* of one generator step and ten of the student | {' | '.join(blocks)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None, what: str) -> str:
    if row is None:
        return ""
    if "failed" in row:
        return "failed"
    number = f"{row[what]:.2f}" if what == "epoch_s" else f"{row[what]:.1f}"
    return f"{number}, not replayed" if "not replayed" in row else number
