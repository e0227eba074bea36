"""``docs/benchmarks.md`` and its figures: what ``redistill bench`` wrote into ``results/measured/benchmarks``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redistill.report.style import ACCENT, INK, MUTED, heading, panels, save
from redistill.runs.measured import measured

INTRO = """# How fast

`redistill bench` compares this package's loop with a plain PyTorch loop on the same work: a `DataLoader`, Pillow's transforms
image by image, fp32, forward hooks, losses from `torch.nn.functional`, SGD, meters that read loss and accuracies at each step
([src/redistill/bench/plain.py](../src/redistill/bench/plain.py)); for zero-shot, the authors' loop with all of its work. WRN-40-2
teaches WRN-16-1.

**Same work or no ratio.** Before anything is timed the pixels must equal Pillow's, and loss and every gradient of the first step
the plain loop's: to 1e-9 in double precision, 1e-5 in fp32 and the same memory layout. In another layout, and in bf16,
it may be as far from the exact step as four times the plain loop (under `torch.autocast` in bf16) is. Then contenders take turns
in one process; each is compared with the plain loop turn by turn, by the CPU time of the process, which other work moves less
than the clock on the wall. Median (range).

Where `pip install "redistill[bench]"` has brought it, torchdistill's own loop takes its turns too (KD; its first step must equal the
plain loop's).

*The same step*: a live teacher. *The same table*: what the teacher says is known ([speed.md](speed.md)), or several students
share it.

```
redistill bench                                    # all rows, a few minutes on one core
redistill bench KD Review --rounds 15 --compile    # some of them, longer; the compiled fast step too
redistill bench --json --to bench.json
redistill bench plan                               # six methods and three seeds as one plan: about six minutes of two quiet cores
```
"""

PLAN = """
**{work} as one plan.** {methods}: `redistill run plan.toml --seeds 3 --jobs {processes} --threads 1` against a plain run of each method and
seed, batch {batch}. A step is one step of all eighteen students. The plan ran for {steps_short} and for {steps_long} steps, and what it
takes for a step is the difference: CPU time of its loops, time on the wall of the whole command, which other work on the machine moves
(the CPU time of the busier process is what the wall would show without it). The plain runs were timed step by step
({plain_steps} each, after one that warms up), two processes at once between the two lengths of the plan, then one alone. Teacher's answers
were not looked up ({teacher_asked_because}), as they are not with 50,000 images where a student reads features, so that a step costs the
same from the first epoch to the last. The three seeds ask {teacher_passes} teachers, because the third seed's cohort is cut in two, lest a
process stand idle. *Measured*: the step and the set-up. *Extrapolated*: {long_epochs} epochs of {long_images:,} images,
set-up and {long_steps:,} steps. In neither: evaluations, and the plan's checkpoints, one a minute.

| {contender} | eighteen plain runs | the plan | times faster |
|---|--:|--:|--:|
| CPU of a step, s | {plain_cpu:.2f} | {plan_cpu:.2f} | {cpu_faster:.2f} (by seed {seeds}) |
| CPU of a step, the busier of {processes} processes, s | {plain_busier:.2f} | {plan_busier:.2f} | {busier_faster:.2f} |
| wall of a step, {processes} processes each, s | {plain_wall:.2f} | {plan_wall:.2f} | {wall_faster:.2f} |
| wall of a step, plain runs one after the other, s | {one_by_one_wall:.2f} | {plan_wall:.2f} | {wall_faster_than_one_by_one:.2f} |
| multiply-accumulates of a step, millions an image | {plain_macs:,.0f} | {plan_macs:,.0f} | {macs_fewer:.2f} fewer |
| set-up, CPU s | {plain_setup_cpu_s} | {plan_setup_cpu_s} | |
| {long_epochs} epochs, CPU hours | {plain_long_cpu_h:.0f} | {plan_long_cpu_h:.0f} | {long_cpu_faster:.2f} |
| {long_epochs} epochs, wall hours, {processes} processes each | {plain_long_wall_h:.0f} | {plan_long_wall_h:.0f} | {long_wall_faster:.2f} |

CPU time of the plan outside of its loops: {plan_outside_short_cpu_s} s in the short run and {plan_outside_long_cpu_s} s in the long one.
"""
BUSY = """
**The machine was busy with other work.** A step took more time on the wall than CPU time of the busier process: times on the wall are left
out, CPU time is worth no more than its range, and {macs_fewer:.2f} times fewer multiply-accumulates are the better estimate. The same
command on a quiet machine says more.
"""
APART = 1.15
"""Largest ratio of time on the wall to CPU time of the busier process: on a quiet machine they are one, but for starting and saving."""


def records(results: Path) -> dict[str, dict[str, Any]]:
    """By name of the file, those that ``redistill bench`` wrote."""
    found = {path.stem: measured(path) for path in sorted((results / "measured" / "benchmarks").glob("*.json"))}
    return {name: one for name, one in found.items() if "same_step" in one}


def page(results: Path) -> str:
    parts = ["<!-- made from results/measured/benchmarks by scripts/make_docs.py; do not edit -->\n" + INTRO]
    for name, one in records(results).items():
        units = "AMX tiles" if one["amx_tiles"] else "AVX512-BF16" if one["bf16_matrix_units"] else "no bf16 units, so that fast is fp32"
        contenders = {row["contender"] for row in one["same_step"]}
        plans = one.get("plan", [])
        beside = ", with torchdistill's loop" if "torchdistill" in contenders else ""
        beside += f", {plans[0]['work']}" if plans and not contenders else ""
        beside += ", zero-shot alone" if contenders and all(row["work"].startswith("zero-shot") for row in one["same_step"]) else ""
        parts.append(
            f"\n## {one['processor']}, {one['capability']}{beside}\n\n{units[0].upper()}{units[1:]}; {one['threads']} thread, torch "
            f"{one['torch']}, batch {one['batch']}, {one['rounds']} rounds, load {one['load']} when it began.\n"
        )
        if contenders:
            parts.append(f"\n![Times faster than the plain loop](../results/figures/{name}.svg)\n")
        for part, title in (("same_step", "The same step"), ("same_table", "The same table")):
            if one[part]:
                parts.append(_table(title, one[part]))
        if one["memory"]:
            parts.append("\n| peak memory of a process | plain, MB | strict, MB |\n|---|--:|--:|\n")
            peaks = {(row["work"], row["contender"]): row["peak_bytes"] / 1e6 for row in one["memory"]}
            for work in dict.fromkeys(work for work, _ in peaks):
                cells = " | ".join(f"{peaks[work, who]:.0f}" if (work, who) in peaks else "" for who in ("plain", "strict"))
                parts.append(f"| {work} | {cells} |\n")
        parts += [_plan(row, one["batch"]) for row in plans]
        parts.extend(f"\n{note}\n" for note in one.get("notes", ()))
    return "".join(parts)


def _plan(row: Mapping[str, Any], batch: int) -> str:
    seconds = {key.removesuffix("_ms"): value / 1000 for key, value in row.items() if key.endswith("_ms")}
    seeds = ", ".join(f"{row[f'cpu_faster_{which}']:.2f}" for which in ("least", "median", "most"))
    busy = any(row[f"{who}_wall_ms"] > APART * row[f"{who}_busier_ms"] for who in ("plain", "plan"))
    lines = [line for line in PLAN.splitlines(keepends=True) if not (busy and line.startswith("|") and "wall" in line)]
    return "".join([*lines, BUSY if busy else ""]).format(batch=batch, seeds=seeds, **row, **seconds)


def _table(title: str, rows: list[Mapping[str, Any]]) -> str:
    head = f"\n| {title} | | times faster, CPU | times faster, wall | CPU ms a step | CPU s of the run that filled it |"
    lines = [head, "|---|---|--:|--:|--:|--:|"]
    for row in rows:
        cpu, wall = (
            f"{row[f'{clock}_faster_median']:.2f} ({row[f'{clock}_faster_least']:.2f} to {row[f'{clock}_faster_most']:.2f})"
            for clock in ("cpu", "wall")
        )
        lines.append(f"| {row['work']} | {row['contender']} | {cpu} | {wall} | {row['cpu_ms']:.0f} | {row.get('fill_s', '')} |")
    return "\n".join(lines) + "\n"


def figures(results: Path, to: Path) -> list[Path]:
    """One a record: bars of medians with their ranges, the plain loop as the line at 1."""
    made = []
    for name, one in records(results).items():
        if not (rows := [*one["same_step"], *one["same_table"]]):
            continue  # a plan alone: a table
        figure, (axes,) = panels(height=0.34 * len(rows) + 1.4)
        axes.grid(visible=False, axis="y")
        for y, row in enumerate(reversed(rows)):
            low, middle, high = (row[f"cpu_faster_{what}"] for what in ("least", "median", "most"))
            axes.barh(y, middle, color=ACCENT if row["contender"] != "strict" else MUTED, height=0.7)
            axes.plot([low, high], [y, y], color=INK, linewidth=1.2)
        labels = [f"{row['work'].replace('cohort of ', 'cohort: ')}, {row['contender']}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), labels, fontsize=8)
        axes.axvline(1.0, color=INK, linewidth=1, linestyle=":")
        axes.set_xlabel("times faster than the plain loop, CPU time (bar: median; line: range)")
        title = f"Times faster than a plain loop: {one['processor']}, one thread"
        heading(figure, title)
        ratios = "; ".join(f"{label} {row['cpu_faster_median']:.2f}" for label, row in zip(labels, reversed(rows), strict=True))
        made.append(save(figure, to / f"{name}.svg", title, f"{ratios}."))
    return made
