"""Small readers of other people's training logs: RepDistiller's output, mdistiller's worklog.txt, torchdistill's log.

Each gives the test accuracy epoch by epoch. A log says little about its run: pair and method stand in the name of its file or
folder where the projects put them, else they must be told (``--is``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.evidence import names
from redistill.evidence.files import Stated, content_of, runs_of, whole
from redistill.evidence.model import Evidence

PLANNED = 240
"""Epochs of RepDistiller and mdistiller on CIFAR-100 unless told otherwise; a log that ends earlier, and without its closing
line, was cut short."""

DATA = r"cifar-?100|cifar-?10|tiny[-_]?imagenet|imagenet"
"""Data sets in names of folders."""

ALIKE = 5
"""So many unlike accuracies, the same in every epoch, are one run."""

CLOSING = {"RepDistiller": "best accuracy:", "mdistiller": "best_acc", "torchdistill": "closing test"}
READERS = tuple(CLOSING)
REPDISTILLER = {"hint": "FitNet", "attention": "AT", "similarity": "SP", "correlation": "CC", "abound": "AB", "factor": "FT"}


@dataclass(frozen=True)
class Curve:
    """One run of a log.

    Attributes:
        accuracy: epoch -> top-1 on the test images, epochs from 1. stated_best: what the log itself calls its best.
        closed: whether the closing line is there. closing: of a closing test of the kept weights. whole: nothing is cut inside.
        teacher: its accuracy where the log tests it.
    """

    accuracy: dict[int, float]
    stated_best: float | None = None
    closed: bool = False
    closing: float | None = None
    whole: bool = True
    teacher: float | None = None


def recognised(text: str) -> str | None:
    """Whose log a text is, or None."""
    if re.search(r"^epoch \d+, total time ", text, re.M) and "Acc@1" in text:
        return "RepDistiller"
    if re.search(r"^epoch: \d+\s*$", text, re.M) and re.search(r"^test_acc:", text, re.M):
        return "mdistiller"
    if "torchdistill" in text and re.search(r"Epoch: \[\d+\]", text):
        return "torchdistill"
    return None


def curves(text: str, reader: str) -> list[Curve]:
    """The runs of a log, one after the other."""
    return {"RepDistiller": _repdistiller, "mdistiller": _mdistiller, "torchdistill": _torchdistill}[reader](text)


def _split(points: Sequence[tuple[int, float]]) -> list[tuple[dict[int, float], int]]:
    """Runs from points in file order, each with how many points came before its end: a new one starts where the epoch counter does."""
    runs: list[tuple[dict[int, float], int]] = []
    for number, (epoch, value) in enumerate(points, 1):
        run: dict[int, float] = runs[-1][0] if runs else {}
        if runs and epoch <= max(run):
            # a run that went on from a checkpoint repeats some epochs
            run = {e: v for e, v in run.items() if e < epoch} if epoch > 1 else {}
            if run:
                runs.pop()
        elif runs:
            runs.pop()
        runs.append(({**run, epoch: value}, number))
    return runs


def _curves(points: Sequence[tuple[int, float]], best: Mapping[int, float], whole: bool, teacher: float | None = None) -> list[Curve]:
    """The runs of a log; best: what its closing lines state, by how many points came before them. whole: its end is no epoch's middle."""
    runs = _split(points)
    return [Curve(run, best.get(end), end in best, whole=whole or end < len(points), teacher=teacher) for run, end in runs]


def _repdistiller(text: str) -> list[Curve]:
    points: list[tuple[int, float]] = []
    best: dict[int, float] = {}
    epoch, teacher, open_ = None, None, False
    for line in text.splitlines():
        if found := re.match(r"epoch (\d+), total time ", line):
            epoch, open_ = int(found[1]), True
        elif (found := re.match(r" \* Acc@1 ([\d.]+|nan)", line)) and epoch is not None:
            points.append((epoch, float(found[1])))
            epoch, open_ = None, False
        elif found := re.match(r"teacher accuracy:\s+(?:tensor\()?([\d.]+)", line):
            teacher = float(found[1])
        elif found := re.match(r"best accuracy:\s+(?:tensor\()?([\d.]+)", line):
            best[len(points)] = float(found[1])
        elif line.startswith("==> loading teacher"):
            epoch, open_ = None, False  # a new call: what is validated next is the teacher
    return _curves(points, best, not open_, teacher)


def _mdistiller(text: str) -> list[Curve]:
    points: list[tuple[int, float]] = []
    best: dict[int, float] = {}
    epoch, whole = None, True
    for line in text.splitlines():
        if found := re.match(r"epoch: (\d+)\s*$", line):
            epoch, whole = int(found[1]), False
        elif (found := re.match(r"test_acc: ([\d.]+|nan)\s*$", line)) and epoch is not None:
            points.append((epoch, float(found[1])))
            epoch, whole = None, True
        elif found := re.match(r"-*best_acc\s+([\d.]+)", line):
            best[len(points)] = float(found[1])
    return _curves(points, best, whole)


def _torchdistill(text: str) -> list[Curve]:
    points: list[tuple[int, float]] = []
    epoch, context, who = None, "", ""
    tests: dict[int, dict[str, float]] = {}
    for line in text.splitlines():
        if found := re.search(r"Epoch: \[(\d+)\]", line):
            epoch, context = int(found[1]) + 1, "validation"
        elif "Test:" in line and context != "validation":
            context = "test"
        elif found := re.search(r"\[(Teacher|Student): ", line):
            who, context, epoch = found[1].lower(), "test", None
        elif found := re.search(r" \* Acc@1 ([\d.]+|nan)", line):
            if context == "validation" and epoch is not None:
                points.append((epoch, float(found[1])))
                epoch = None
            else:
                # without headings the closing tests are the teacher's, then the student's
                tested = tests.setdefault(len(points), {})
                tested[who or str(len(tested))] = float(found[1])
                who = ""
    made = []
    for run, end in _split(points):
        tested = tests.get(end, {})
        student = tested.get("student", list(tested.values())[-1] if tested else None)
        teacher = tested.get("teacher", next(iter(tested.values())) if len(tested) > 1 else None)
        made.append(Curve(run, None, student is not None, student, epoch is None or end < len(points), teacher))
    return made


# ---------------------------------------------------------------------------------------------------------------------
# What a name says
# ---------------------------------------------------------------------------------------------------------------------
def sizes_of(path: Path) -> dict[str, Any]:
    """What the name of a log, or of its folder, says of its run.

    >>> sizes_of(Path("S:resnet8x4_T:resnet32x4_cifar100_kd_r:0.1_a:0.9_b:0.0_2/log.txt"))["teacher"]
    'resnet32x4'
    >>> sizes_of(Path("logs/KD/kd,vgg13,vgg8,3,9.txt"))["student"]
    'vgg8'
    >>> sizes_of(Path("kd-resnet18_from_resnet34.log"))["method"]
    'KD'
    """
    for text in (path.stem, path.parent.name):
        if found := re.search(
            r"S[:_](.+?)_T[:_](.+?)_(cifar100|cifar10|imagenet)_([a-z]+)_r[:_]([\d.]+)_a[:_]([\d.]+)_b[:_]([\d.]+)_(\d+)", text
        ):
            student, teacher, data, method, r, a, b, trial = found.groups()
            settings = {"ce_weight": float(r), "kd_weight": float(a), "method_weight": float(b)}
            name = REPDISTILLER.get(method, method.upper())
            if method != "kd" and float(a) > 0:
                name += "+KD"
            return {"student": student, "teacher": teacher, "dataset": data, "method": name, "settings": settings, "seed": int(trial)}
        if found := re.fullmatch(r"(\w+),([\w.]+),([\w.]+)((?:,[\d.]+)*)", text):
            method, teacher, student, rest = found.groups()
            numbers = [float(x) for x in rest.split(",") if x]
            settings = {f"number {i} of the name": x for i, x in enumerate(numbers, 1)}
            facts = {"student": student, "teacher": teacher, "method": method.upper(), "settings": settings}
            # mdistiller's projects are folders: cifar100_baselines, imagenet_baselines, dot_tinyimagenet
            above = next((m for one in (path.parent, path.parent.parent) if (m := re.search(DATA, one.name, re.I))), None)
            return facts if above is None else {**facts, "dataset": names.NAMES.get(names.data(above[0]), above[0])}
        if found := re.fullmatch(r"(\w+)-([\w.]+)_from_([\w.]+?)(?:-final_run|-hyperparameter_tuning)?", text):
            pair = {"student": found[2], "teacher": found[3]}
            if (data := names.data(found[1])) in names.DATA:  # as torchdistill calls its experiments, which names no method
                return {**pair, "dataset": names.NAMES[data]}
            return {"method": found[1].upper(), "student": found[2], "teacher": found[3], "dataset": "ImageNet"}
    return {}


def read_logs(paths: Sequence[Path], stated: Stated, reader: str, folder: Path | None = None) -> Evidence:
    """Logs of one project: each run of each log that is whole.

    Raises:
        RedistillError: no log is whole; the sentence says what is wrong with the first.
    """
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    notes: list[str] = []
    problems: list[str] = []
    seen: dict[tuple[float, ...], str] = {}
    planned = whole(stated.fact("epochs"), "epochs", "--is") or PLANNED
    for path in paths:
        name = str(path.relative_to(folder)) if folder is not None else path.name
        found = curves(content_of(path), reader)
        for number, curve in enumerate(found, 1):
            place = name if len(found) == 1 else f"{name}, run {number} of {len(found)}"
            if (wrong := _wrong(curve, reader, planned)) is not None:
                problems.append(f"{place}: {wrong}")
                continue
            facts = sizes_of(path)
            epochs, last = max(curve.accuracy), curve.accuracy[max(curve.accuracy)]
            best = max(curve.accuracy.values())
            extra: dict[str, Any] = {"log": name, "best_epoch": next(e for e, v in curve.accuracy.items() if v == best)}
            # accuracies of so many epochs are those of no two runs; a network that guesses has one number
            shape = tuple(curve.accuracy.values())
            if len(set(shape)) >= ALIKE and (first := seen.setdefault(shape, place)) != place:
                extra["same_run_as"] = first
                notes.append(f"{place}: has the accuracies of {first} in every epoch: one run under two names, which counts once")
            if len(found) > 1:
                extra["part"] = f"{number} of {len(found)}"
                facts |= {"seed": None}  # the one in the name cannot be that of all
            for key, value in (
                ("best_acc_stated_in_log", curve.stated_best),
                ("final_test_top1", curve.closing),
                ("teacher_top1_in_log", curve.teacher),
            ):
                if value is not None:
                    extra[key] = value
            row = {"settings": {}, **facts, "epochs": epochs, "last": last, "best": best, "best_on": "test", "extra": extra}
            rows.append({key: value for key, value in row.items() if stated.fact(key) is None or key in ("epochs",)})
            places.append(place)
            if curve.stated_best is not None and abs(curve.stated_best - best) > 0.0051:
                notes.append(f"{place}: the log states a best of {curve.stated_best:g}, the largest of its epochs is {best:g}")
    if not rows:
        raise RedistillError("; ".join(problems) if problems else f"{paths[0]}: holds no finished epoch")
    if reader != "torchdistill" and not stated.fact("dataset") and any("dataset" not in row for row in rows):
        notes.append(f"the names of these {reader} logs name no data set: taken as CIFAR-100, which is what {reader} trains on unless told")
        rows = [{"dataset": "CIFAR-100", **row} for row in rows]
    where = str(folder or paths[0])
    # all three print percent, so that 0.10 is a network that guesses on ImageNet, and no tenth
    runs, unit = runs_of(rows, places, where, stated, "percent" if stated.unit is None else None)
    source = stated.origin(folder or paths[0], f"log of {reader}: test accuracy of every epoch; last = last epoch, best = largest")
    caveat = f"A log of {reader}: the largest of its epochs is a best on the test images, because that is what the log evaluates."
    name = names.plain((folder or paths[0]).stem)
    return Evidence(name, f"log of {reader}", source, runs, caveats=(caveat,), notes=(*notes, *unit), problems=tuple(problems))


def _wrong(curve: Curve, reader: str, planned: int) -> str | None:
    """What is wrong with one run of a log, or None."""
    epochs = sorted(curve.accuracy)
    if any(value != value for value in curve.accuracy.values()):
        bad = next(epoch for epoch, value in curve.accuracy.items() if value != value)
        return f"the accuracy of epoch {bad} is nan: this run is left out"
    if epochs != list(range(epochs[0], epochs[-1] + 1)) or epochs[0] != 1:
        return (
            f"its epochs do not count from 1 without a gap (they are {epochs[0]} to {epochs[-1]}, {len(epochs)} of them): this "
            f"run is left out"
        )
    if not curve.whole:
        return f"was cut short in the epoch after {epochs[-1]}: there is no last epoch, this run is left out"
    if not curve.closed and (reader == "torchdistill" or epochs[-1] < planned):
        of = "" if reader == "torchdistill" else f" of {planned}"
        return (
            f"was cut short: it ends after epoch {epochs[-1]}{of} without its closing line ({CLOSING[reader]}); this run is left out "
            f"(if so many epochs were planned, say --is epochs={epochs[-1]})"
        )
    return None
