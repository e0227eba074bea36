"""How time and memory grow with batch, images, width, students of a cohort, seeds and processes: one run of this script, one page.

    python scripts/growth.py [--draw]

Every point is a process of its own: KD steps of a small teacher and student (WRN-10-2 to WRN-10-1, batch 64, 1,000 images of noise,
crop and flip, strict, one thread), one quantity changed at a time. CPU seconds of a step are the least of its eight after the first,
which other work on the machine disturbed least. Memory is the highest while steps are taken, above what the process held before it had
images and networks; freed memory is given back at once while it is measured, in steps of their own. The exponent of each is the slope
of a line through the logarithms.

Written to results/measured/growth/growth.json with docs/growth.md and its figure; ``--draw`` makes these two anew from the record.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE, FIGURE = ROOT / "results/measured/growth/growth.json", ROOT / "docs/growth.md", ROOT / "results/figures/growth.svg"
BASE = {"batch": 64, "images": 1000, "width": 1, "students": 1, "seeds": 1, "processes": 1}
AXES = {
    "batch": [32, 64, 128, 256],
    "images": [1000, 8000, 50000],
    "width": [1, 2, 4],
    "students": [1, 2, 4],
    "seeds": [1, 2, 4],
    "processes": [1, 2, 4],
}
STEPS = 8
EXPECTED = {
    "batch": "a step is proportional to its images; so are the student's activations, and the teacher's are those of 32 images, its "
    "micro-batch, below which a step would cost it no less",
    "images": "a step does not see how many images there are; each takes 3 KB of memory, once",
    "width": "convolutions go with the square of the width, batch norms and activations with the width",
    "students": "every student has a step of its own, one after the other; data, teacher and the memory of a step are shared",
    "seeds": "one after the other: time adds up, memory does not",
    "processes": "CPU time of one of several processes at work at once, on two cores; memory is that of each",
}


def point(settings: dict[str, int]) -> dict[str, float]:
    """Measured in this process."""
    import warnings

    import torch

    from redistill.allocator import keep_freed_memory

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    trained({**BASE, "batch": 2, "images": 20}, 2)
    memory = of_steps(settings)
    keep_freed_memory()  # as the command line does
    began = time.process_time()
    seconds = trained(settings, STEPS)
    return {"step": min(seconds), "whole": time.process_time() - began, "memory": memory}


def of_steps(settings: dict[str, int]) -> float:
    """Bytes: the highest while steps are taken, above what this process holds now."""
    libc, peaks = ctypes.CDLL(None), [0]
    libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD: what is freed goes back at once, so that only what is in use counts
    gc.collect()
    libc.malloc_trim(0)
    before = status("VmRSS")

    def from_here() -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest so far is what it is now

    trained(settings, 3, begun=from_here, ended=lambda: peaks.append(status("VmHWM") - before))
    return float(max(peaks))


def status(name: str) -> int:
    """Bytes, as Linux says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def trained(
    settings: dict[str, int], steps: int, begun: Callable[[], object] = lambda: None, ended: Callable[[], object] = lambda: None
) -> list[float]:
    """CPU seconds of every step but the first of each run. begun, ended: called after the first step and after the last."""
    import torch

    import redistill as rd

    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (settings["images"], 3, 32, 32), generator=g, dtype=torch.uint8)
    y = torch.arange(settings["images"]) % 10
    images = rd.data.Images(x, y, 10, "noise", "cifar10-kuangliu", "crop-flip")
    recipe = rd.Recipe(steps=steps + 1, batch_size=settings["batch"], lr=0.01)
    seconds: list[float] = []
    for seed in range(settings["seeds"]):
        method = 0.1 * rd.CE() + 0.9 * rd.KD(T=4)
        cohort = [(rd.models.wrn(10, settings["width"], classes=10, seed=seed), method) for _ in range(settings["students"])]
        loop = rd.Loop(cohort, rd.models.wrn(10, 2 * settings["width"], classes=10, seed=9), images, recipe, seed=seed, device="cpu")
        next(loop)  # warms up
        begun()
        last = time.process_time()
        for _ in loop:
            now = time.process_time()
            seconds.append(now - last)
            last = now
        ended()
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


def digits(number: float) -> str:
    """Three of them.

    >>> digits(0.17051), digits(2041.3)
    ('0.171', '2,040')
    """
    return f"{float(f'{number:.3g}'):,g}"


def text(record: dict[str, Any]) -> str:
    lines = [
        "<!-- written by scripts/growth.py from results/measured/growth/growth.json; do not edit -->",
        "# How time and memory grow",
        "",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        "",
        f"Measured on {record['hardware']['device']}, torch {record['hardware']['torch']}, beside other work: CPU time, not wall time.",
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
        lines += [f"| {row[axis]:,} | {digits(factor * row[measured['time']])} | {row['memory'] / 1e6:.0f} |" for row in measured["rows"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
