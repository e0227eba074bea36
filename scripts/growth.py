"""How time and memory grow with batch, images, width, students of a cohort, seeds and processes: one run of this script, one page.

    python scripts/growth.py [--draw]

Every point is a process of its own: KD steps of a small teacher and student (WRN-10-2 to WRN-10-1, batch 64, 1,000 images of noise,
crop and flip, strict, one thread), one quantity changed at a time. CPU seconds of a step are the median of its steps after the first;
memory is the peak of the process above that of the same process after a run of two images a batch. The exponent of each
is the slope of a line through the logarithms. Written to results/measured/growth/growth.json with docs/growth.md and its figure;
``--draw`` makes these two anew from the record.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE, FIGURE = ROOT / "results/measured/growth/growth.json", ROOT / "docs/growth.md", ROOT / "results/figures/growth.svg"
BASE = {"batch": 64, "images": 1000, "width": 1, "students": 1, "seeds": 1, "processes": 1}
AXES = {
    "batch": [16, 32, 64, 128],
    "images": [1000, 8000, 50000],
    "width": [1, 2, 4],
    "students": [1, 2, 4],
    "seeds": [1, 2, 4],
    "processes": [1, 2],
}
STEPS = 8
EXPECTED = {
    "batch": "a step is proportional to its images; activations too",
    "images": "a step does not see how many images there are; each takes 3 KB of memory, once",
    "width": "convolutions go with the square of the width where both sides widen, activations with the width",
    "students": "every student has a step of its own; data and teacher are shared",
    "seeds": "one after the other: time adds up, memory does not",
    "processes": "CPU time of one of several processes at work at once; memory is that of each",
}


def point(settings: dict[str, int]) -> dict[str, float]:
    """Measured in this process."""
    import warnings

    import torch

    from redistill import machine

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    trained({**BASE, "batch": 2, "images": 20})
    cpu = torch.device("cpu")
    before, began = machine.peak_memory(cpu)["process"], time.process_time()
    seconds = trained(settings)
    whole, peak = time.process_time() - began, machine.peak_memory(cpu)["process"]
    return {"step": statistics.median(seconds), "whole": whole, "memory": float(max(peak - before, 1024))}


def trained(settings: dict[str, int]) -> list[float]:
    """CPU seconds of every step but the first of each run."""
    import torch

    import redistill as rd

    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (settings["images"], 3, 32, 32), generator=g, dtype=torch.uint8)
    y = torch.arange(settings["images"]) % 10
    images = rd.data.Images(x, y, 10, "noise", "cifar10-kuangliu", "crop-flip")
    recipe = rd.Recipe(steps=STEPS + 1, batch_size=settings["batch"], lr=0.01)
    seconds: list[float] = []
    for seed in range(settings["seeds"]):
        method = 0.1 * rd.CE() + 0.9 * rd.KD(T=4)
        cohort = [(rd.models.wrn(10, settings["width"], classes=10, seed=seed), method) for _ in range(settings["students"])]
        loop = rd.Loop(cohort, rd.models.wrn(10, 2 * settings["width"], classes=10, seed=9), images, recipe, seed=seed, device="cpu")
        last = time.process_time()
        for _ in loop:
            now = time.process_time()
            seconds.append(now - last)
            last = now
        seconds.pop(-STEPS - 1)  # the first step warms up
    return seconds


def measured(settings: dict[str, int]) -> dict[str, float]:
    """In processes of their own; of several at once the mean."""
    words = [sys.executable, str(Path(__file__)), "--point", json.dumps(settings)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(settings["processes"])]
    found = [json.loads(one.communicate()[0]) for one in started]
    return {name: statistics.mean(one[name] for one in found) for name in found[0]}


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Slope of the least-squares line through (log x, log y).

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    a, b = [math.log(x) for x in xs], [math.log(y) for y in ys]
    middle, centre = statistics.mean(a), statistics.mean(b)
    return sum((p - middle) * (q - centre) for p, q in zip(a, b, strict=True)) / sum((p - middle) ** 2 for p in a)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(json.loads(args.point))))
        return
    if not args.draw:
        measure()
    from redistill.runs.measured import measured as kept

    draw(kept(RECORD))


def measure() -> None:
    import torch

    from redistill import machine
    from redistill.runs.measured import begin, keep

    found: dict[str, Any] = {"base": BASE, "steps": STEPS, **machine.origin(torch.device("cpu")), "axes": {}}
    begun, known = begin(), dict[str, dict[str, float]]()
    for axis, values in AXES.items():
        rows = []
        for value in values:
            settings = {**BASE, axis: value}
            key = json.dumps(settings)
            if key not in known:
                known[key] = measured(settings)
            rows.append({axis: value, **known[key]})
        timed = "whole" if axis == "seeds" else "step"
        found["axes"][axis] = {
            "rows": rows,
            "time": timed,
            "time_exponent": round(exponent(values, [row[timed] for row in rows]), 2),
            "memory_exponent": round(exponent(values, [row["memory"] for row in rows]), 2),
        }
        row = found["axes"][axis]
        print(f"{axis}: time ~ {axis}^{row['time_exponent']}, memory ~ {axis}^{row['memory_exponent']}", flush=True)
    keep(RECORD, found, begun)


def draw(record: dict[str, Any]) -> None:
    import io

    import matplotlib

    from redistill.files import write

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "redistill", "font.size": 9})
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, len(AXES), figsize=(13, 4.6), layout="constrained")
    for column, (axis, measured) in enumerate(record["axes"].items()):
        xs = [row[axis] for row in measured["rows"]]
        for panel, name, label, unit in (
            (panels[0][column], measured["time"], "time_exponent", "CPU s"), (panels[1][column], "memory", "memory_exponent", "bytes"),
        ):  # fmt: skip
            panel.loglog(xs, [row[name] for row in measured["rows"]], "o-", color="#0b6e99", markersize=4)
            panel.set_title(f"{axis}^{measured[label]:g}", fontsize=9)
            panel.set_xlabel(axis)
            panel.grid(color="#e3e6ea", linewidth=0.6)
            panel.minorticks_off()
            panel.set_xticks(xs, [f"{x:,}" for x in xs], fontsize=7)
            if column == 0:
                panel.set_ylabel(unit)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": "redistill"})
    write(FIGURE, drawn.getvalue())
    write(PAGE, text(record).encode())


def text(record: dict[str, Any]) -> str:
    lines = [
        "<!-- written by scripts/growth.py from results/measured/growth/growth.json; do not edit -->",
        "# How time and memory grow",
        "",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        "",
        f"Measured on {record['hardware']['device']}, torch {record['hardware']['torch']}, beside other work: CPU time, not wall time. "
        "Memory below 100 MB does not grow steadily (see the columns): no power is to be read from it there.",
        "",
        "![Time and memory against each quantity, both axes logarithmic](../results/figures/growth.svg)",
        "",
        "| against | time grows with its power | memory with its power | why |",
        "|---|--:|--:|---|",
    ]
    for axis, measured in record["axes"].items():
        lines.append(f"| {axis} | {measured['time_exponent']:.2f} | {measured['memory_exponent']:.2f} | {EXPECTED[axis]} |")
    for axis, measured in record["axes"].items():
        unit = "CPU seconds of all runs" if measured["time"] == "whole" else "CPU ms a step"
        factor = 1 if measured["time"] == "whole" else 1000
        lines += ["", f"| {axis} | {unit} | memory, MB |", "|--:|--:|--:|"]
        lines += [f"| {row[axis]:,} | {factor * row[measured['time']]:.3g} | {row['memory'] / 1e6:.0f} |" for row in measured["rows"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
