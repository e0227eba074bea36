"""What ``redistill distill`` measured (``results/measured/distill``), for RESULTS.md, README.md and docs/distill.md."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redistill.report.marked import block, filled, marked
from redistill.report.table import bars
from redistill.runs.measured import measured

ABOUT = {
    "shapes": (
        "Six kinds of drawn photographs",
        "600 drawn photographs of six kinds at 64 pixels for training, 240 to evaluate on (`examples/shapes.py`); the teacher is trained "
        "here first, and the student is its own class with less of `width`.",
    ),
    "cifar10": (
        "CIFAR-10 as a folder of pictures",
        "The first 100 images of each class for training and the first 100 of each for evaluation, as PNG in class folders. The teacher is "
        "a published WRN-16-1 (Ferles et al. 2020) that saw all 50,000 training images; the student is an ordinary network in a file of "
        "its own (`examples/small_cnn.py`). 800 steps a student: what is published for as many images a class (ferles2020, tables 6 and 8) "
        "is of a hundred times as many.",
    ),
}
WAYS = {
    "cifar10-methods": "the thousand images",
    "cifar10-choose": "the thousand images, by the method that was right most often on a tenth of them (`--choose`)",
    "cifar10-mixed": "the thousand images, mixed evenly (`--augment crop-flip:4+mixup:1`)",
    "cifar10-unlabelled": "these and 9,000 without labels (`--unlabelled`), as many steps",
}
"""The same folder of CIFAR-10, teacher and student in other ways, by record."""
FEW = ("accuracy %", "95 % interval", "distilled minus plain", "95 % over seeds", "parameters", "MACs an image", "file")


def record(results: Path, name: str) -> dict[str, Any] | None:
    """One measurement, None where it was not made."""
    path = results / "measured" / "distill" / f"{name}.json"
    return measured(path) if path.exists() else None


def section(results: Path) -> str:
    """The part of RESULTS.md."""
    found = [(name, one) for name in ABOUT if (one := record(results, name)) is not None]
    if not found:
        return ""
    parts = [
        "## Distilled from a folder: what the teacher was worth\n\n`python scripts/distill_measured.py NAME`; records in "
        "`results/measured/distill/`. Each distilled student stands beside the same network trained without a teacher on the same images, "
        "epochs and seeds. The teacher's interval, of one network, is over images. Latencies are left out: other work ran on the machine.\n"
    ]
    for name, one in found:
        origin = json.loads((results / "measured" / "distill" / f"{name}.json").read_bytes())["head"]["origin"]
        title, about = ABOUT[name]
        parts.append(f"### {title}\n\n{about}\n\n`{one['command']}`: {length(one)} ({origin['processor']}, torch {origin['torch']}).\n\n"
                     f"{_without_latencies(one['table'])}\n")  # fmt: skip
    if (table := ways(results)):
        parts.append(
            "### What helps a small network with a hundred images a class\n\nThe folder, teacher and student of the part before, three "
            "seeds each; `python scripts/distill_measured.py NAME` for NAME in "
            f"{', '.join(f'`{name}`' for name in WAYS)}. Differences are paired by seed with the plain student of the same images. "
            f"Every row that was run is here, and among several one looks good by chance.\n\n{table}\n"
        )
    return "\n".join(parts)


def ways(results: Path) -> str:
    """Plain and distilled students of every record of :data:`WAYS`, a line each; empty without records."""
    rows = []
    for name, what in WAYS.items():
        if (one := record(results, name)) is None:
            continue
        plain = next(row for row in one["rows"] if row["kind"] == "plain")
        for row in (row for row in one["rows"] if row["kind"] == "distilled"):
            gain, (low, high) = row["gain"]["value"], row["gain"]["over_seeds"]
            rows.append((
                what, row["name"].rpartition(" ")[2], f"{_mean(plain):.2f}", f"{_mean(row):.2f}", f"{gain:+.2f}",
                f"{low:+.2f} to {high:+.2f}",
            ))  # fmt: skip
    if not rows:
        return ""
    head = ("learned from", "method", "plain %", "distilled %", "difference", "95 % over seeds")
    return "\n".join([bars(head), "|---|---|--:|--:|--:|--:|", *map(bars, rows)])


def _mean(row: Mapping[str, Any]) -> float:
    return statistics.fmean(seed["accuracy"] for seed in row["seeds"].values())


def _without_latencies(table: str) -> str:
    lines = [line for line in table.strip().splitlines() if not re.match(r"\| \d+ images?, ms|Latencies", line)]
    if any(line.startswith("| 95 % over seeds") for line in lines):  # earlier records do not say that it is the first seed's alone
        lines = [line.replace("| 95 % over images     ", "| 95 % images, 1st seed") for line in lines]
    return re.sub(r", 1/[\d.]+ of the time for 32 images", "", "\n".join(lines)).strip()


def length(one: dict[str, Any]) -> str:
    """How many trainings, and their processor time.

    >>> length({"rows": [{"runs": ["a"]}, {"runs": ["b", "c"]}], "cpu_seconds": 95.0})
    '3 trainings, 1.6 minutes of processor time'
    """
    count = sum(len(row["runs"]) for row in one["rows"])
    return f"{count} trainings, {one['cpu_seconds'] / 60:.1f} minutes of processor time"


def few_rows(one: dict[str, Any]) -> str:
    """The rows of a table that a page has room for, and what they show."""
    table, *sentences = _without_latencies(one["table"]).split("\n\n")
    head, rule, *rows = table.splitlines()
    kept = [row for row in rows if row.split("|")[1].strip().startswith(FEW)]
    every = one["table"].count("\n|") - 1
    about = f"{len(kept)} of its {every} rows; {length(one)}; the teacher's interval is over images"
    return "\n".join([head, rule, *kept]) + f"\n\n({about}.) {' '.join(sentences)}"


def on_page(now: str, results: Path) -> str:
    """README.md or docs/distill.md with the tables that it has marks for."""
    if "ways" in marked(now):
        now = filled(now, {"ways": block(ways(results))})
    for name in ABOUT:
        one = record(results, name)
        if name in marked(now):
            now = filled(now, {name: block(few_rows(one) if one is not None else "")})
    return now
