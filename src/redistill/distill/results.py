"""What a distillation was worth: teacher, plain and distilled students side by side, measured on the same images and machine."""

from __future__ import annotations

import dataclasses
import re
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from redistill.distill import cost
from redistill.distill.choice import Choice
from redistill.errors import RedistillError
from redistill.features.normalised import normalisation_of
from redistill.files import make_folder, pretty, require_free, there, write
from redistill.launch.threads import using, wanted
from redistill.machine import device_name
from redistill.metrics import Evaluation, evaluation, predict
from redistill.models import describe
from redistill.models.folder import ABOUT
from redistill.precision import resolve_device
from redistill.runs.store import Run
from redistill.stats import paired_accuracy, percent_difference, percent_interval
from redistill.tensor_files import packed

if TYPE_CHECKING:
    from redistill.distill.plan import Plan


@dataclass(frozen=True)
class Cost:
    """parameters, macs: of one image. bytes: of its weights as safetensors. milliseconds: by batch size, medians. memory: bytes of
    weights and of the tensors that live at once in a forward of 32."""

    parameters: int
    macs: int
    bytes: int
    milliseconds: dict[int, float]
    memory: int


@dataclass(frozen=True)
class Gain:
    """How much better the distilled student is than the plain one, in percentage points.

    Attributes:
        value: mean over seeds. over_images: 95 % interval over evaluation images of the first seed's pair (Bonett and Price).
        over_seeds: 95 % t interval over seeds, None with one seed. only_distilled, only_plain: images on which one alone is right.
    """

    value: float
    over_images: tuple[float, float]
    over_seeds: tuple[float, float] | None
    only_distilled: int
    only_plain: int


@dataclass(frozen=True)
class Row:
    """One network of the table. outputs: by seed, its logits of the evaluation images [N, classes]; evaluations: by seed."""

    name: str
    kind: str
    cost: Cost
    runs: dict[int, Run] = field(default_factory=dict)
    outputs: dict[int, Tensor] = field(default_factory=dict)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    gain: Gain | None = None
    agreement: float | None = None

    @property
    def said(self) -> dict[int, Tensor]:
        """The old name of ``outputs``, for one release."""
        warnings.warn("Row.said is now called outputs; the old name goes with the next release", DeprecationWarning, stacklevel=2)
        return self.outputs

    def mean(self, what: str) -> float | None:
        """Mean over seeds of a number of :class:`redistill.metrics.Evaluation`."""
        values = [v for one in self.evaluations.values() if (v := getattr(one, what)) is not None]
        return statistics.fmean(values) if values else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, in percent: over evaluation images with one seed (Wilson), over seeds with several (t)."""
        values = [one.accuracy for one in self.evaluations.values()]
        if not values:
            return None
        if len(values) == 1:
            return next(iter(self.evaluations.values())).accuracy_interval
        found = percent_interval(values, step=100 / min(one.images for one in self.evaluations.values()))
        return found.low, found.high


@dataclass(frozen=True)
class Distilled:
    """What came of a plan.

    Attributes:
        rows: teacher, plain student, distilled students. labels, class_names: of the evaluation images. place: the machine.
        choice: of the method, where it was chosen by trials.
    """

    plan: Plan
    rows: tuple[Row, ...]
    labels: Tensor | None
    class_names: tuple[str, ...]
    place: str
    choice: Choice | None = None

    def row(self, kind: str) -> Row | None:
        return next((row for row in self.rows if row.kind == kind), None)

    def table(self) -> str:
        """The comparison as Markdown, with what it does and does not show below."""
        from redistill.distill.table import text

        return text(self)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "machine": self.place,
            "images": None if self.labels is None else len(self.labels),
            **({} if self.choice is None else {"choice": self.choice.as_json()}),
            "rows": [
                {
                    "name": row.name, "kind": row.kind, **dataclasses.asdict(row.cost),
                    "runs": [str(run.folder) for run in row.runs.values()],
                    "seeds": {str(seed): dataclasses.asdict(one) for seed, one in row.evaluations.items()},
                    "gain": None if row.gain is None else dataclasses.asdict(row.gain), "agreement": row.agreement,
                }
                for row in self.rows
            ],
        }  # fmt: skip

    def write(self, to: str | Path) -> list[Path]:
        """Write table, figures and one folder a distilled student (of the first seed); returns what was written."""
        from redistill.distill.figures import lost_figure, size_figure
        from redistill.distill.table import text
        from redistill.export.folder import write_folder
        from redistill.paths import expanded

        folder = expanded(to)
        require_place(folder, self.plan)
        make_folder(folder)
        written = [folder / name for name in FILES]
        write(written[2], (str(self.plan) + "\n").encode())
        write(written[0], text(self).encode())
        write(written[1], pretty(self.as_json()))
        if self.labels is not None:
            written.append(size_figure(folder / FIGURES[0], self))
            written.append(lost_figure(folder / FIGURES[1], self))
        else:  # those of an earlier call would stand beside a table of other networks
            for name in FIGURES:
                (folder / name).unlink(missing_ok=True)
        students = [row for row in self.rows if row.kind == "distilled"]
        for row in students:
            run = next(iter(row.runs.values()))
            place = folder / _student(row.name, len(students))
            title = f"{self.plan.student.model.rpartition(':')[2]}, distilled"
            write_folder(run, place, title=title, table=f"{text(self)}\n", trust_code=True)
            written.append(place)
        return written


FILES = ("table.md", "table.json", "plan.txt")
FIGURES = ("size.svg", "confusion.svg")
"""Where there are labels to measure an accuracy by."""


def _student(way: str, of: int) -> str:
    """The folder of the student of one of several methods; ./sp.py:SP is no part of a path."""
    return "student" if of == 1 else "student-" + re.sub(r"\W+", "-", way.rpartition(" ")[2]).strip("-")


def require_place(folder: Path, plan: Plan) -> None:
    """That the folder is none or a folder, and that nothing of somebody's own would be written over, nor a network that the plan
    begins with.

    Raises:
        RedistillError: it would.
    """
    from redistill.export.folder import WRITTEN

    if there(folder) and not folder.is_dir():
        raise RedistillError(f"--out {folder} is a file, and the results are a folder: give another name")
    require_free(folder, (*FILES, *FIGURES), FILES[2], "--out")
    students = 1 if plan.trials else len(plan.distilled)
    for name in {_student(way, students): None for way in plan.distilled}:
        require_free(folder / name, WRITTEN, ABOUT, "--out")
        place = (folder / name).resolve()
        for role, net in (("teacher", plan.teacher), ("student", plan.student)):
            if net.weights is not None and Path(net.weights).resolve().is_relative_to(place):
                raise RedistillError(
                    f"{net.weights}, the weights of the {role}, lies where the new student goes: give another folder with --out"
                )


def measured(plan: Plan, teaching: Mapping[int, Run], plain: Mapping[int, Run], distilled: Mapping[str, Mapping[int, Run]]) -> Distilled:
    """Evaluate every network on the same images, and time them in turn on this machine."""
    device = resolve_device(plan.resources.device)
    shape = tuple(plan.photos.train.image_shape)  # of which a network knows one side alone
    big = teaching[min(teaching)].network(trust_code=True) if teaching else plan.teacher.made(plan.sizes)
    # small forwards on several cores only wait for each other, and a latency would tell how busy the machine is
    with using(plan.resources.threads or wanted((big,), shape, max(cost.TIMED), device)):
        return _measured(plan, big, shape, device, teaching, plain, distilled)


def _measured(
    plan: Plan, big: nn.Module, shape: tuple[int, ...], device: torch.device, teaching: Mapping[int, Run], plain: Mapping[int, Run],
    distilled: Mapping[str, Mapping[int, Run]],
) -> Distilled:  # fmt: skip
    test, sizes = plan.photos.test, plan.sizes
    nets: dict[str, nn.Module] = {"teacher": big.to(device).eval()}
    if plain:
        nets["plain"] = plain[min(plain)].network(trust_code=True).to(device)
    for name, runs in distilled.items():
        nets[f"distilled {name}"] = runs[min(runs)].network(trust_code=True).to(device)
    times = cost.latencies(nets, shape, device)
    costs = {name: _cost(net, shape, device, times[name].milliseconds) for name, net in nets.items()}
    if normalisation_of(big) is None:
        big.normalisation = plan.photos.train.normalise
    labels = None if test is None else test.all_labels.cpu()
    teacher_output = predict(big, test if test is not None else plan.photos.train)
    rows = [_row(plan.teacher.short, "teacher", costs["teacher"], dict(teaching), {min(teaching, default=0): teacher_output}, labels, None)]
    student = plan.student.short
    groups = [
        ("plain", f"{student} plain", dict(plain)),
        *((f"distilled {n}", f"{student} {n}", dict(runs)) for n, runs in distilled.items()),
    ]
    alone: Row | None = None
    for key, name, runs in groups:
        if not runs:
            continue
        outputs = {
            seed: predict(run.network(trust_code=True).to(device), test if test is not None else plan.photos.train)
            for seed, run in runs.items()
        }
        row = _row(name, key.partition(" ")[0], costs[key], runs, outputs, labels, teacher_output)
        if key == "plain":
            alone = row
        elif alone is not None and labels is not None:
            row = dataclasses.replace(row, gain=gain(row.outputs, alone.outputs, labels))
        rows.append(row)
    names = getattr(test, "class_names", None) or tuple(map(str, range(sizes["classes"])))
    return Distilled(plan, tuple(rows), labels, tuple(names), f"{device_name(device)}, {cost.threads_text()}")


def _row(
    name: str, kind: str, own: Cost, runs: dict[int, Run], outputs: dict[int, Tensor], labels: Tensor | None, teacher: Tensor | None
) -> Row:
    found = {} if labels is None else {seed: evaluation(logits, labels) for seed, logits in outputs.items()}
    alike = None
    if teacher is not None:
        alike = statistics.fmean(100.0 * float((logits.argmax(1) == teacher.argmax(1)).double().mean()) for logits in outputs.values())
    return Row(name, kind, own, runs, outputs, found, None, alike)


def _cost(net: nn.Module, shape: tuple[int, ...], device: torch.device, milliseconds: dict[int, float]) -> Cost:
    info = describe(net, shape)
    stored = len(packed(net.state_dict()))
    return Cost(info.parameters, info.macs, stored, milliseconds, cost.forward_memory(net, cost.zeros(net, 32, shape, device)))


def gain(distilled: Mapping[int, Tensor], plain: Mapping[int, Tensor], labels: Tensor) -> Gain:
    """The paired difference of two students, seed by seed and image by image.

    >>> z = {0: torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    >>> gain(z, {0: -z[0]}, torch.tensor([0, 1])).value
    100.0
    """
    seeds = [seed for seed in distilled if seed in plain]
    if not seeds:
        raise RedistillError("no seed has both a distilled and a plain student: there is no difference to tell")
    right = {seed: (distilled[seed].argmax(1) == labels, plain[seed].argmax(1) == labels) for seed in seeds}
    one, two = right[seeds[0]]
    only_one, only_two = int((one & ~two).sum()), int((two & ~one).sum())
    _, low, high = paired_accuracy(only_one, only_two, len(labels))
    pairs = [[100.0 * float(part.double().mean()) for part in right[seed]] for seed in seeds]
    over_seeds = None
    if len(seeds) > 1:
        found = percent_difference([a for a, _ in pairs], [b for _, b in pairs], step=100 / len(labels))
        over_seeds = (found.low, found.high)
    value = statistics.fmean(a - b for a, b in pairs)
    return Gain(value, (100 * low, 100 * high), over_seeds, only_one, only_two)
