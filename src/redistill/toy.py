"""Figure 1 of the zero-shot paper: fifty free points teach a student the plane of its teacher, without one real point.

Micaelli & Storkey 2019 (arXiv:1905.09768), section 3.3; sizes and rates from their notebook. Three classes in the plane, two
of them with an isolated pocket inside a disc cut out of the third. Teacher and student are multi-layer perceptrons
2-100-500-3. Instead of a generator there are fifty points, x = 6 sigmoid(u) - 3, started around u = (3, 3), the corner of
the square; in each round they take 50 steps uphill on KL(teacher || student), then the student takes 10 steps on them.

The training is the package's own loop and source. What the notebook leaves to chance (first weights, the data's draws)
comes from the named streams of ``seed`` and differs from its numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill import files, machine, models, rng
from redistill.core import Batch, RedistillError, Shape, StreamContext
from redistill.published.zero_shot import points as points_preset
from redistill.recipe import Recipe
from redistill.report.plane import Scene, animation, frame, panels
from redistill.report.progress import watch
from redistill.sources.adversarial import Adversarial
from redistill.terms import CE
from redistill.train.loop import Loop

EXTENT = 3.0
PANELS = (0, 500, 1000, 3000)
GRID = 150


@dataclass(frozen=True, eq=False)
class Cloud:
    """Labelled points of the plane, a source of batches of 50: the teacher's training data. ``x`` [N, 2, 1, 1], ``y`` [N]."""

    x: Tensor
    y: Tensor
    depends_on_student = False
    labelled = True
    classes = 3
    image_shape: Shape = (2, 1, 1)
    normalisation = "none"

    @property
    def count(self) -> int:
        return len(self.x)

    @property
    def all_labels(self) -> Tensor:
        return self.y

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        return max(1, len(self.x) // batch_size)

    def settings(self) -> dict[str, Any]:
        return {"kind": "toy points", "count": self.count}

    def start(self, room: StreamContext) -> CloudStream:
        return CloudStream(self, room)


@dataclass(frozen=True)
class CloudStream:
    """Batches of a fresh order each epoch, the incomplete last one left out."""

    cloud: Cloud
    room: StreamContext

    def batch(self, step: int) -> Batch:
        size = self.room.batch_size
        epoch, within = divmod(step, self.cloud.steps_per_epoch(size, True))
        order = torch.randperm(self.cloud.count, generator=rng.stream(self.room.seed, "order", epoch))
        index = order[within * size : (within + 1) * size]
        return Batch(self.cloud.x[index].to(self.room.dtype), self.cloud.y[index], index)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A batch follows from its step."""

    def log(self) -> dict[str, float]:
        return {}


def plane(seed: int) -> tuple[Cloud, Cloud]:
    """(70 % to train on, 30 % to test on); 1,000 draws a component before the discs of radius 0.3 are cut out."""
    g = rng.stream(seed, "toy", "data")

    def normal(centre: tuple[float, float], spread: tuple[float, float]) -> Tensor:
        return torch.randn(1000, 2, generator=g) * torch.tensor(spread) + torch.tensor(centre)

    def holed(centre: tuple[float, float]) -> Tensor:
        x = normal(centre, (0.3, 0.4))
        return x[(x - torch.tensor(centre)).square().sum(1) >= 0.3**2]

    parts = [
        torch.cat([holed((0.0, 1.0)), holed((0.0, -1.0))]),
        torch.cat([normal((-1.0, 0.0), (0.4, 0.3)), normal((0.0, 1.0), (0.06, 0.06))]),
        torch.cat([normal((1.0, 0.0), (0.4, 0.3)), normal((0.0, -1.0), (0.06, 0.06))]),
    ]
    x = torch.cat(parts)[:, :, None, None]
    y = torch.cat([torch.full((len(part),), c) for c, part in enumerate(parts)])
    order = torch.randperm(len(x), generator=g)
    cut = round(0.7 * len(x))
    return Cloud(x[order[:cut]], y[order[:cut]]), Cloud(x[order[cut:]], y[order[cut:]])


class Points(nn.Module):
    """Fifty free points of the open square (-3, 3)² in place of a generator; the noise is ignored."""

    z = 1
    image_shape = (2, 1, 1)

    def __init__(self, seed: int, count: int = 50):
        super().__init__()
        self.free = nn.Parameter(torch.randn(count, 2, generator=rng.stream(seed, "toy", "points")) + 3.0)

    def forward(self, noise: Tensor) -> Tensor:
        return (2 * EXTENT * torch.sigmoid(self.free[: len(noise)]) - EXTENT)[:, :, None, None]


@dataclass
class Toy:
    """One run of the experiment.

    Attributes:
        agreement: (round, percent of the grid on which student and teacher predict the same class). teacher_accuracy: on the
            test points, percent. student_accuracy: the student's at the end. scenes: by round, those of the panels.
            seconds: wall time of :meth:`run`, teacher included; cpu_seconds: of this process.
    """

    seed: int = 4
    rounds: int = 3000
    agreement: list[tuple[int, float]] = field(default_factory=list)
    teacher_accuracy: float = 0.0
    student_accuracy: float = 0.0
    scenes: dict[int, Scene] = field(default_factory=dict)
    frames: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise RedistillError(f"rounds={self.rounds}: the points and the student need 1 round or more")
        axis = torch.linspace(-EXTENT, EXTENT, GRID)
        self.grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2, 1, 1)

    def run(self) -> None:
        """Train the teacher, then points and student in turn; progress on standard error."""
        self.begun = machine.origin(torch.device("cpu"))
        start, worked = time.perf_counter(), time.process_time()
        train, test = plane(self.seed)
        self.teacher = models.mlp(3, seed=rng.derive(self.seed, "toy", "teacher") % 2**31)
        recipe = Recipe(epochs=30, batch_size=50, lr=1e-3, optimizer="adam", weight_decay=0.0, channels_last=False)
        watch(Loop([(self.teacher, CE())], None, train, recipe, seed=self.seed, device="cpu"), "teacher")
        self.teacher_accuracy = _accuracy(self.teacher, test)
        self.theirs = self._regions(self.teacher)
        self.student = models.mlp(3, seed=self.seed)
        watch(self._rounds(), f"{self.rounds} rounds")
        self.student_accuracy = _accuracy(self.student, test)
        self.train = train
        self.seconds, self.cpu_seconds = time.perf_counter() - start, time.process_time() - worked

    def _rounds(self) -> Rounds:
        points = Points(self.seed)
        preset = points_preset(self.rounds)
        source = Adversarial(points, "none", preset.variant, preset.generator_method, blocks=self.rounds)
        students = [(self.student, preset.method)]
        loop = Loop(students, self.teacher, source, preset.recipe, seed=self.seed, every=self.rounds, device="cpu")
        return Rounds(self, loop, points)

    def _regions(self, net: nn.Module) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            predicted: np.ndarray[Any, Any] = net(self.grid).argmax(1).view(GRID, GRID).numpy()
        return predicted

    def look(self, done: int, points: Points) -> None:
        """Note the agreement after ``done`` rounds, and what is seen."""
        mine = self._regions(self.student)
        agreement = 100.0 * float((mine == self.theirs).mean())
        self.agreement.append((done, agreement))
        with torch.no_grad():
            here = points(torch.empty(len(points.free), 1))
            colours = self.teacher(here).argmax(1).numpy()
        title = f"round {done}: agreement {agreement:.1f} %"
        scene = Scene(title, mine, self.theirs, here[:, :, 0, 0].double().numpy(), colours)
        self.frames.append(frame(scene, EXTENT))
        if done in PANELS or done == self.rounds:
            self.scenes[done] = scene

    def write(self, out: Path) -> list[Path]:
        """Panels, animation, the agreement by rounds and the record, into a folder."""
        files.make_folder(out)
        real = self.train.x[:800, :, 0, 0].double().numpy(), self.train.y[:800].numpy()
        first = Scene(f"teacher {self.teacher_accuracy:.1f} %, real points", self.theirs, None, *real)
        title = "Zero-shot in the plane: student's regions, teacher's borders as lines, points in its classes"
        drawn = panels(out / "panels.svg", [first, *(self.scenes[t] for t in sorted(self.scenes))], EXTENT, title)
        moving = animation(out / "toy.gif", self.frames)
        numbers = out / "agreement.csv"
        lines = ["round,agreement_percent", *(f"{t},{a:.4f}" for t, a in self.agreement)]
        files.write(numbers, ("\n".join(lines) + "\n").encode())
        record = out / "record.json"
        files.write(record, files.pretty(self.record()))
        return [drawn, moving, numbers, record]

    def record(self) -> dict[str, Any]:
        """What was measured, with which versions and where."""
        return {
            "seed": self.seed, "rounds": self.rounds, "agreement": self.agreement[-1][1],
            "teacher_accuracy": self.teacher_accuracy, "student_accuracy": self.student_accuracy,
            "seconds": self.seconds, "cpu_seconds": self.cpu_seconds,
            **self.begun,
        }  # fmt: skip


def moments(rounds: int) -> set[int]:
    """Rounds after which the animation looks: dense at first, then every hundredth part; the panels' always."""
    step = max(1, rounds // 100)
    early = {t for t in (1, 2, 3, 5, 8, 12, 18, 25) if t < step}
    return {t for t in {*early, *range(step, rounds + 1, step), *PANELS, rounds} if 1 <= t <= rounds}


class Rounds:
    """The loop of the student, a round at a time, looking where the animation wants it."""

    def __init__(self, toy: Toy, loop: Loop, points: Points):
        self.toy, self.loop, self.points = toy, loop, points
        self.step, self.steps = 0, toy.rounds
        self.moments = moments(toy.rounds)

    def __iter__(self) -> Iterator[int]:
        self.toy.look(0, self.points)
        for progress in self.loop:
            if progress.step % 10 == 0:
                self.step += 1
                if self.step in self.moments:
                    self.toy.look(self.step, self.points)
                yield self.step


def _accuracy(net: nn.Module, cloud: Cloud) -> float:
    with torch.no_grad():
        return 100.0 * float((net(cloud.x).argmax(1) == cloud.y).double().mean())


def toy(out: Path, *, rounds: int = 3000, seed: int = 4) -> Toy:
    """Run the experiment and write ``panels.svg``, ``toy.gif``, ``agreement.csv`` and ``record.json`` into ``out``.

    Args:
        rounds: 3,000 reach the last panel of the figure. seed: 4, the notebook's number.
    """
    done = Toy(seed=seed, rounds=rounds)
    files.make_folder(out)  # before minutes of work, not after them
    done.run()
    done.write(out)
    return done
