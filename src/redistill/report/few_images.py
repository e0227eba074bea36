"""CIFAR-10, the first 100 images of each class: six methods, and two of them beside an independent code."""

from __future__ import annotations

import statistics
from pathlib import Path

from redistill.report.records import costs, earlier, finished
from redistill.report.table import bars, comparison, markdown
from redistill.runs.measured import every
from redistill.runs.store import Run
from redistill.stats import Estimate, VarianceComponent

PROTOCOL = ", first 100 images a class of CIFAR-10, 600 steps"
"""How labels of ``experiments/real/m100`` end."""

THEIRS = {"AT": (57.8, 1.1, 3), "FitNet": (40.0, 1.9, 3)}
"""Mean, standard deviation and seeds of RepDistiller's own networks and losses under this protocol. Their single results are not known
to us; of CE, KD and VID it is known that they agreed with ours within a point."""

MORE = 1.0
"""Points: a difference of more than this is to be excluded, or found."""


def cifar10_few(results: Path) -> str:
    records = list(every(results / "measured" / "cifar10-m100"))
    if not records:
        return ""
    about = records[0]
    lines = [
        "## CIFAR-10, the first 100 images of each class\n",
        "`redistill run experiments/real/m100/*.toml --seeds 0,1,2 --data-dir D`, and again with the other teacher, asks for the same; "
        "measured before there were experiment files, one record a cohort in `results/measured/cifar10-m100/`. Students WRN-16-1, "
        f"{about['recipe']['steps']} steps of batch {about['recipe']['batch_size']}, strict fp32, accuracy on the 10,000 test images "
        f"after the last step, in percent. "
        f"Teachers are the published files of Ferles et al. 2020. Differences are paired by seed.\n",
    ]
    for teacher in sorted({r["teacher"]["model"] for r in records}):
        mine = [r for r in records if r["teacher"]["model"] == teacher]
        accuracies: dict[str, dict[int, float]] = {}
        seconds: dict[str, float] = {}
        for record in mine:
            for name, student in record["students"].items():
                accuracies.setdefault(name, {})[record["seed"]] = student["accuracy"]["test"]["last"]
                seconds[name] = seconds.get(name, 0.0) + student["own_seconds"] / len(mine)
        seeds = ", ".join(str(r["seed"]) for r in mine)
        lines.append(f"### Teacher {teacher} ({mine[0]['teacher']['accuracy']:.2f} %), seeds {seeds}\n")
        lines.append(markdown(comparison(accuracies, "CE", seconds), "CE"))
    if note := earlier([record["numerics"] for record in records]):
        lines.append(f"{note}\n")
    return "\n".join(lines)


def of_m100(run: Run) -> bool:
    """Whether a run is of one of the files of ``experiments/real/m100``."""
    return run.label.endswith(PROTOCOL)


def beside_repdistiller(results: Path) -> str:
    """AT and the hint with more seeds, beside what another code reached under the same protocol; "" while there are none."""
    runs = [run for run in finished(results) if of_m100(run)]
    accuracies: dict[str, dict[int, float]] = {}
    for run in runs:
        accuracies.setdefault(run.label.removesuffix(PROTOCOL).replace("CE alone", "CE"), {})[run.seed] = run.accuracy()
    if "CE" not in accuracies or len(accuracies["CE"]) < 2:
        return ""
    seeds = ", ".join(map(str, sorted(accuracies["CE"])))
    lines = [
        "### AT and the hint beside an independent code\n",
        "RepDistiller's own networks and losses ran under the protocol above (teacher wrn-16-2); of them only means and spreads are "
        f"known, and they differed from the first three seeds of ours, which stand above. To ask whether that is chance, other seeds were "
        f"taken: {seeds}, "
        f"`redistill run {' '.join(f'experiments/real/m100/{one}.toml' for one in ('ce', 'at', 'fitnet'))} "
        f"--seeds {seeds.replace(' ', '')} --data-dir D`; records in "
        f"`results/runs/` ({costs(runs[0])}).\n",
        markdown(comparison({name: accuracies[name] for name in ("CE", *THEIRS) if name in accuracies}, "CE"), "CE"),
        "| method | RepDistiller | ours | ours - theirs | 95 % interval | a difference of more than a point |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for name, (mean, sd, n) in THEIRS.items():
        if len(values := list(accuracies.get(name, {}).values())) > 1:
            lines.append(bars((name, f"{mean:.1f} ± {sd:.1f} ({n})", *_apart(values, mean, sd, n))))
    alone = ", ".join(f"±{_alone(sd, n):.1f} for {name}" for name, (_, sd, n) in THEIRS.items())
    lines.append(
        f"\nTheir three runs alone leave {alone}, however many of ours there are: only more of theirs can exclude a point."
    )
    return "\n".join(lines) + "\n"


def _alone(sd: float, n: int) -> float:
    """Half of the 95 % interval of the mean of ``n`` results of that standard deviation."""
    return Estimate(0.0, (VarianceComponent(sd**2 / n, n - 1),)).interval(0.95)[1]


def _apart(values: list[float], mean: float, sd: float, n: int) -> tuple[str, str, str, str]:
    """Ours, the difference to theirs, its 95 % interval, and what that says of :data:`MORE` points."""
    mine = VarianceComponent(statistics.variance(values) / len(values), len(values) - 1)
    found = Estimate(statistics.fmean(values) - mean, (mine, VarianceComponent(sd**2 / n, n - 1)))
    low, high = found.interval(0.95)
    says = {"inside": "excluded", "open": "neither shown nor excluded"}.get(found.side(MORE, 0.025), "there")
    ours = f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f} ({len(values)})"
    return ours, f"{found.value:+.2f}", f"{low:+.2f} to {high:+.2f}", says
