"""What somebody's logs settle by themselves, before any claim is judged."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from scipy import special

from redistill.errors import counted
from redistill.evidence import names
from redistill.evidence.model import Evidence, Trained, arm_of, arms
from redistill.evidence.registry import decimals_of
from redistill.stats import paired_accuracy, past_edge
from redistill.verdicts.expected import FEW, WHOLE

GRID = 4
"""From so many settings of one cell with one seed on, they are looked at as a grid."""


@dataclass(frozen=True)
class Fact:
    """One thing that is settled.

    Attributes:
        about: its kind, a short name. text: a sentence. rows: what stands behind it, one a mapping.
    """

    about: str
    text: str
    rows: tuple[Mapping[str, Any], ...] = field(default=())


NAMED = {"neither": "neither its last nor its best", "closing test": "its closing test"}

SINGULAR = {"are": "is", "have": "has", "stand": "stands", "hold": "holds"}


def _are(n: int, what: str, verb: str = "are") -> str:
    """``2 logs are``, ``1 log is``."""
    return f"{counted(n, what)} {SINGULAR[verb] if n == 1 else verb}"


def settled(evidence: Evidence) -> list[Fact]:
    """Everything that the runs of one source settle."""
    found: list[Fact] = []
    for part in (_published, _means, _best_minus_last, _epochs, _two_in_one, _copies, _grids, _measured, _of_teacher_outputs, _pairs):
        found += part(evidence)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Published against last and best
# ---------------------------------------------------------------------------------------------------------------------
def agrees(published: float, value: float, decimals: int) -> str | None:
    """How a printed number comes of a value: "rounded", "cut" where rounding gives others, or None.

    >>> agrees(70.93, 70.9386, 2), agrees(71.37, 71.3726, 2), agrees(70.9, 70.5566, 2)
    ('cut', 'rounded', None)
    """
    unit = Decimal(1).scaleb(-decimals)
    printed, ours = Decimal(str(published)).quantize(unit), Decimal(str(value))
    if printed in {ours.quantize(unit, rounding=rule) for rule in (ROUND_HALF_UP, ROUND_HALF_EVEN)}:
        return "rounded"
    return "cut" if printed == ours.quantize(unit, rounding=ROUND_DOWN) else None


def came_of(published: float, run: Trained, decimals: int) -> tuple[str, str]:
    """Which number of a run a printed one is (the last epoch, the best, both, a closing test, neither), and how it was rounded."""
    on = {"test": "best on the test images", "validation": "best on validation images"}.get(run.best_on or "", "best")
    values = {"last": run.last, on: run.best, "closing test": run.extra.get("final_test_top1")}
    fits = {
        name: how for name, value in values.items() if value is not None and (how := agrees(published, float(value), decimals)) is not None
    }
    if not fits:
        return "neither", ""
    if "last" in fits and on in fits:
        return "last and best, which are equal", fits["last"]
    name = next((name for name, how in fits.items() if how == "rounded"), next(iter(fits)))
    return name, fits[name]


def _published(evidence: Evidence) -> list[Fact]:
    pairs: list[tuple[float, Trained]] = []
    for run in evidence.runs:
        if isinstance(value := run.extra.get("published"), int | float):
            pairs.append((float(value), run))
    for row in evidence.published:
        value, log, folder = row.get("value"), row.get("log"), row.get("folder_with_this_best")
        for run in evidence.runs:
            here = (log is not None and run.extra.get("log") == log) or (folder is not None and run.extra.get("folder") == folder)
            if here and isinstance(value, int | float) and run.extra.get("published") is None:
                pairs.append((float(value), run))
    if not pairs:
        return []
    rows = []
    for value, run in pairs:
        which, how = came_of(value, run, max(2, decimals_of([value])))
        rows.append(
            {
                "run": run.place, "of": run.words, "published": value, "last": run.last, "best": run.best, "epochs": run.epochs,
                "is": which,
                "how": how, "part": run.extra.get("part"), "where": run.extra.get("log") or run.extra.get("folder"),
            }
        )  # fmt: skip
    counts = Counter(str(row["is"]) for row in rows)
    text = (
        f"{_are(len(rows), 'published number', 'stand')} beside a run: "
        + ", ".join(f"{count} {'is' if count == 1 else 'are'} {NAMED.get(which, which)}" for which, count in counts.most_common())
        + "."
    )
    gaps = [
        (float(str(row["published"])) - run.best)
        for row, (_, run) in zip(rows, pairs, strict=True)
        if row["is"] == "neither" and run.best is not None
    ]
    if gaps:
        above = sum(gap > 0 for gap in gaps)
        are = "is" if above == 1 else "are"
        text += (
            f" Of those that are neither, {above} {are} above the best of their run and {len(gaps) - above} below it "
            f"({min(gaps):+.2f} to {max(gaps):+.2f})."
        )
    facts = [Fact("published", text, tuple(rows))]
    cut = [row for row in rows if row["how"] == "cut"]
    if cut:
        listed = ", ".join(f"{row['published']:g} ({row['of']})" for row in cut)
        text = f"{_are(len(cut), 'published number')} the run's number cut off instead of rounded: {listed}."
        facts.append(Fact("cut", text, tuple(cut)))
    once = {str(row["where"]): row for row in rows}
    claimed = next((m for caveat in evidence.caveats if (m := re.search(r"averages? (?:over|of) (\w+) (trials|runs|seeds)", caveat))), None)
    if claimed is not None:
        text = f"Averages over {claimed[1]} {claimed[2]} are spoken of (see the caveats); behind each of these {len(once)} numbers "
        facts.append(Fact("one run", text + "stands one log here."))
    lost = [
        row
        for row in evidence.published
        if row.get("log", "") is None or ("folder_with_this_best" in row and row["folder_with_this_best"] is None)
    ]
    if lost:
        listed = "; ".join(f"{row.get('method')} {row.get('teacher')} -> {row.get('student')} {row.get('value')}" for row in lost)
        facts.append(Fact("without a run", f"{_are(len(lost), 'published number', 'have')} no run here: {listed}.", tuple(lost)))
    return facts


def _means(evidence: Evidence) -> list[Fact]:
    """Published means and standard deviations recomputed from the runs."""
    rows = []
    groups: dict[Any, list[Trained]] = {}
    for run in evidence.runs:  # a mean that was printed counts copies too
        groups.setdefault(arm_of(run), []).append(run)
    known = list(groups.values())
    for row in evidence.published:
        n = row.get("n")
        targets = [(which, mean, std) for which, mean, std in _printed_means(row) if mean is not None]
        if not isinstance(n, int) or not targets:
            continue
        for which, mean, std in targets:
            fits = []
            for runs in known:
                if len(runs) != n or not _of_row(runs[0], row):
                    continue
                values = [run.last if which == "last" else run.best for run in runs]
                if any(value is None for value in values):
                    continue
                x = np.array(values, dtype=float)
                decimals = decimals_of([mean])
                ok = agrees(mean, round(float(x.mean()), 6), max(2, decimals)) is not None
                spread, by_n = (float(x.std(ddof=1)), float(x.std())) if n > 1 else (0.0, 0.0)
                ok_std = std is None or agrees(std, round(spread, 6), max(2, decimals_of([std]))) is not None
                # numpy's default divides by n
                small = not ok_std and std is not None and agrees(std, round(by_n, 6), max(2, decimals_of([std]))) is not None
                fits.append((ok and (ok_std or small), float(x.mean()), by_n if small else spread, small))
            good = [fit for fit in fits if fit[0]]
            best = good or fits
            rows.append(
                {
                    "of": f"{row.get('method')}, {row.get('teacher')} -> {row.get('student')}", "where": row.get("where"),
                    "which": which, "n": n,
                    "published": mean, "published_std": std, "recomputed": best[0][1] if best else None,
                    "recomputed_std": best[0][2] if best else None,
                    "agrees": bool(good) if fits else None, **({"divisor": "n"} if good and good[0][3] else {}),
                }
            )  # fmt: skip
    if not rows:
        return []
    good_rows = sum(row["agrees"] is True for row in rows)
    none = sum(row["agrees"] is None for row in rows)
    fewer = sum("divisor" in row for row in rows)
    divisor = f"divisor n - 1{f', of {fewer} of them n' if fewer else ''}"
    end = f"; {none} {'has' if none == 1 else 'have'} no group of so many runs here" if none else ""
    text = (
        f"{good_rows} of {len(rows)} published means of several runs (with their standard deviations, {divisor}) come out of "
        f"the runs to the digit{end}."
    )
    return [Fact("means", text, tuple(rows))]


def _printed_means(row: Mapping[str, Any]) -> list[tuple[str, float | None, float | None]]:
    if "mean" in row:
        return [("best" if row.get("which") == "best" else "last", row["mean"], row.get("std"))]
    return [(which, row.get(name), row.get(f"{name}_std")) for which, name in (("last", "test_last"), ("best", "test_at_best_val"))]


def _of_row(run: Trained, row: Mapping[str, Any]) -> bool:
    same = names.method(run.method) == names.method(str(row.get("method", "")))
    for name, here in (("teacher", run.teacher), ("student", run.student)):
        if row.get(name) is not None:
            same &= here is not None and names.network(here) == names.network(str(row[name]))
    setting = row.get("setting")
    if setting is not None:
        same &= setting in run.settings.values()
    for name in ("alpha", "temperature", "stem"):
        if row.get(name) is not None and name in run.settings:
            same &= run.settings[name] == row[name]
    return same


# ---------------------------------------------------------------------------------------------------------------------
# Epochs
# ---------------------------------------------------------------------------------------------------------------------
def _best_minus_last(evidence: Evidence) -> list[Fact]:
    found = []
    for on in ("test", "validation"):
        gaps = [round(r.best - r.last, 6) for r in evidence.runs if r.best is not None and r.last is not None and r.best_on == on]
        if gaps:
            where = "the test images themselves" if on == "test" else "held-out training images"
            largest = max(gaps)
            text = (
                f"Best minus last, the best chosen on {where}: {np.mean(gaps):+.2f} points on average over {counted(len(gaps), 'run')} "
                f"({min(gaps):+.2f} to {largest:+.2f})."
            )
            row = {"on": on, "runs": len(gaps), "mean": float(np.mean(gaps)), "min": min(gaps), "max": largest}
            found.append(Fact("best minus last", text, (row,)))
    unknown = [run for run in evidence.runs if run.best is not None and run.best_on is None]
    if unknown:
        text = f"Of {counted(len(unknown), 'run')} it is not known at which epoch, or by what, the number was taken."
        found.append(Fact("epoch not known", text))
    return found


def _epochs(evidence: Evidence) -> list[Fact]:
    by_cell: dict[tuple[str, str], dict[int, set[str]]] = {}
    for run in evidence.runs:
        if run.epochs is not None:
            by_cell.setdefault((names.data(run.dataset), "whole"), {}).setdefault(run.epochs, set()).add(run.method)
    found = []
    for (data, _), epochs in by_cell.items():
        if len(epochs) > 1:
            parts = [f"{count} ({', '.join(sorted(methods))})" for count, methods in sorted(epochs.items())]
            found.append(
                Fact(
                    "unequal epochs", f"Runs on {names.NAMES.get(data, data)} were not trained for equally many epochs: {'; '.join(parts)}."
                )
            )
    return found


def _two_in_one(evidence: Evidence) -> list[Fact]:
    logs: dict[str, list[Trained]] = {}
    for run in evidence.runs:
        if run.extra.get("part") and run.extra.get("log"):
            logs.setdefault(str(run.extra["log"]), []).append(run)
    rows = []
    for log, runs in logs.items():
        for run in runs:
            rows.append(
                {"log": log, "part": run.extra["part"], "last": run.last, "best": run.best, "published": run.extra.get("published")}
            )
    if not rows:
        return []
    listed = "; ".join(f"{log}: best {' and '.join(f'{run.best:g}' for run in runs if run.best is not None)}" for log, runs in logs.items())
    return [Fact("two runs in one log", f"{_are(len(logs), 'log', 'hold')} more than one run: {listed}.", tuple(rows))]


def _copies(evidence: Evidence) -> list[Fact]:
    same = [run for run in evidence.runs if run.extra.get("same_run_as")]
    if not same:
        return []
    rows = tuple({"run": run.place, "same as": run.extra["same_run_as"]} for run in same)
    other = "is another run" if len(same) == 1 else "are other runs"
    text = f"{len(same)} of {counted(len(evidence.runs), 'run')} {other} under a second name; each counts once."
    return [Fact("copies", text, rows)]


# ---------------------------------------------------------------------------------------------------------------------
# The largest of a grid
# ---------------------------------------------------------------------------------------------------------------------
def expected_maximum(k: int) -> float:
    """Mean of the largest of ``k`` independent normal numbers, in standard deviations.

    >>> [round(expected_maximum(k), 3) for k in (1, 2, 5, 40)]
    [0.0, 0.564, 1.163, 2.161]
    """
    x = np.linspace(-9.0, 9.0, 4001)
    density = k * np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * special.ndtr(x) ** (k - 1)
    return float((x * density).sum() * (x[1] - x[0])) + 0.0


def _grids(evidence: Evidence) -> list[Fact]:
    groups: dict[tuple[str, ...], list[Trained]] = {}
    for runs in arms(evidence.runs).values():
        if len(runs) == 1:
            run = runs[0]
            groups.setdefault((*run.cell, run.origin, str(run.extra.get("grid", ""))), []).append(run)
    several = [[run.last for run in runs if run.last is not None] for runs in arms(evidence.runs).values()]
    spreads = [float(np.std(values, ddof=1)) for values in several if len(values) > 2]
    found = []
    for key, runs in groups.items():
        distinct = len({repr(sorted((k, repr(v)) for k, v in run.settings.items())) for run in runs})
        if distinct < GRID or len({run.seed for run in runs}) > 1:
            continue
        use_best = all(run.best is not None for run in runs)
        if not use_best and any(run.last is None for run in runs):
            continue  # numbers of unlike epochs have no largest
        values = np.array([run.best if use_best else run.last for run in runs], dtype=float)
        on = runs[0].best_on if use_best else "test"
        k, largest = len(values), float(values.max())
        mean, sd = float(values.mean()), float(values.std(ddof=1))
        seed, whence = (float(np.sqrt(np.mean(np.square(spreads)))), "measured over seeds here") if spreads else _elsewhere(runs[0])
        expect = expected_maximum(k)
        chosen = "the test images" if on != "validation" else "validation images; the numbers are of the test images"
        top = runs[int(values.argmax())]
        grid = f" {key[-1]}" if key[-1] else ""
        alike = "a run each, seeds not stated" if runs[0].seed is None else "one seed"
        text = (
            f"A grid{grid} of {k} settings of {runs[0].words}, {alike}, evaluated on {chosen}: the largest is {largest:.2f}, "
            f"{largest - mean:+.2f} from "
            f"their mean {mean:.2f}. Were all {k} settings equally good, a maximum {expect:.2f} spreads above the mean would be "
            f"expected by chance: "
            f"{expect * seed:.2f} points with a spread over seeds of {seed:.2f} ({whence}); the settings themselves scatter by {sd:.2f}."
        )
        row = {
            "of": runs[0].words, "grid": key[-1], "settings": k, "max": largest, "mean": mean, "sd": sd, "expected_in_spreads": expect,
            "seed_spread": seed, "expected_points": expect * seed, "best_on": on, "run": top.place, "at": dict(top.settings),
        }  # fmt: skip
        found.append(Fact("largest of a grid", text, (row,)))
    return found


def _elsewhere(run: Trained) -> tuple[float, str]:
    """A spread over seeds where none is known here."""
    share = run.settings.get("subset")
    if isinstance(share, int | float) and 0 < share < 1 and names.data(run.dataset) in ("cifar10", "cifar100"):
        many = share * (5000 if names.data(run.dataset) == "cifar10" else 500)
        near = min(FEW, key=lambda m: abs(math.log(m / many)))
        return FEW[near], f"of students of {near} images a class elsewhere, none is known here"
    return WHOLE, "of students of a whole data set elsewhere, none is known here"


# ---------------------------------------------------------------------------------------------------------------------
# What else is on file
# ---------------------------------------------------------------------------------------------------------------------
def _measured(evidence: Evidence) -> list[Fact]:
    """Numbers printed for weights that somebody evaluated again."""
    rows = []
    for run in evidence.runs:
        keys = [key for key in run.extra if key.startswith("measured") and isinstance(run.extra[key], int | float)]
        if not keys or run.last is None:
            continue
        again = {key: float(run.extra[key]) for key in keys}
        equal = any(agrees(run.last, value, 2) for value in again.values())
        rows.append({"run": run.place, "of": run.words, "printed": run.last, "equal": equal, **again})
    if not rows:
        return []
    other = [row for row in rows if not row["equal"]]
    alike = len(rows) - len(other)
    give = "gives" if alike == 1 else "give"
    text = f"Of {counted(len(rows), 'network')} the weights were evaluated again: {alike} {give} the printed number"
    listed = "; ".join(
        f"{row['of']} {row['printed']:g} printed, {next(v for k, v in row.items() if k.startswith('measured')):g} measured" for row in other
    )
    return [Fact("weights", f"{text}{f', {len(other)} another: {listed}' if other else ''}.", tuple(rows))]


def _of_teacher_outputs(evidence: Evidence) -> list[Fact]:
    """How the logs say that the teacher's answers were made, where they do."""
    outputs = Counter(str(run.extra["teacher_outputs"]) for run in evidence.runs if run.extra.get("teacher_outputs"))
    if not outputs:
        return []
    listed = ", ".join(f"{counted(count, 'log')} {'says' if count == 1 else 'say'} {words!r}" for words, count in outputs.most_common())
    return [Fact("teacher's answers", f"About the teacher's answers {listed}; what that meant stands in the caveats.")]


def _pairs(evidence: Evidence) -> list[Fact]:
    """Two networks on the same images."""
    found = []
    for pair in evidence.pairs:
        if any(pair.get(name) is None for name in ("float_correct", "int8_correct", "only_float_correct", "only_int8_correct")):
            continue
        n, b, c = int(pair.get("images") or 10_000), int(pair["only_float_correct"]), int(pair["only_int8_correct"])
        difference, low, high = (100 * one for one in paired_accuracy(b, c, n))
        text = (
            f"Size {pair.get('size')}: the float file is right on {pair['float_correct']} and the int8 file on "
            f"{pair['int8_correct']} of {n} images, "
            f"{difference:+.2f} points for float (95 % interval of the images {past_edge(low, 0.0, 0.0)} to {past_edge(high, 0.0, 0.0)}, "
            f"from {b} and {c} "
            f"images that only one of them has right)."
        )
        found.append(Fact("float and int8", text, (dict(pair),)))
    return found


def sentences(facts: Sequence[Fact]) -> list[str]:
    return [fact.text for fact in facts]
