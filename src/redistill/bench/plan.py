"""Six methods x three seeds as one plan of two processes, against eighteen plain runs: what a step takes, apart from setting up.

The plan is what a user gives: a file, and ``redistill run plan.toml --seeds 3 --jobs 2 --threads 1``. It runs in two lengths, and what a
step takes is the difference: on the wall of the whole command, and in CPU time of the loops, which the records of its runs hold; CPU
time of the command outside of loops (processes, imports, looking at networks, records) is told for both lengths. The plain runs are
processes of one thread too, two at once and then one alone, whose steps are timed one by one.

An epoch is short, because few images are enough to work on, but nothing of a long run may be missing or different in it. That is
the teacher's table: its logits and features of 50,000 images x 162 variants are too many to be remembered where a student reads
features, and of 256 images they might not be. The limit of the cache is therefore cut down as the images are, so that here is
remembered what would be there; and if an answer is looked up all the same there is no figure, because the share of answers that are known
grows with the length of a run.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from redistill import models
from redistill.answers.folder import limit
from redistill.bench import rows
from redistill.bench.gate import checked
from redistill.bench.plain import Pictures
from redistill.bench.rows import SIX, noise, package_loop, plain_loop
from redistill.core import RedistillError
from redistill.files import write
from redistill.launch.local import environment
from redistill.published.translated import toml_value
from redistill.runs.store import Run, Store

SEEDS, PROCESSES = 3, 2
EPOCH = 2
"""Steps of an epoch here."""
RATE = 1e-4
"""Of learning, everywhere: on noise a student at 0.1 may diverge, and one that has takes no more steps."""
REAL_IMAGES, REAL_EPOCHS = 50_000, 200
"""What is extrapolated to."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """Seconds against steps: ``step`` for each, ``setup`` for none."""

    step: float
    setup: float

    @classmethod
    def through(cls, short: tuple[int, float], long: tuple[int, float]) -> Line:
        """The line through two (steps, seconds).

        >>> Line.through((2, 7.0), (12, 27.0))
        Line(step=2.0, setup=3.0)
        """
        step = (long[1] - short[1]) / (long[0] - short[0])
        return cls(step, short[1] - step * short[0])

    def hours(self, steps: int) -> float:
        return (self.setup + self.step * steps) / 3600


@dataclass(frozen=True)
class Planned:
    """One run of the plan: seconds of all its processes; ``cohorts``: (seed, CPU seconds of its loop) of every cohort or part of one, in
    the order in which they begin, each of which asks the teacher once a step; ``why``: the reason why it is asked, from the records."""

    steps: int
    cpu: float
    wall: float
    cohorts: tuple[tuple[int, float], ...]
    why: str


@dataclass(frozen=True)
class Timed:
    """One plain run: seconds of its steps after the first; ``setup``: CPU seconds before it, in a process of its own."""

    method: str
    seed: int
    cpu: list[float]
    wall: list[float]
    setup: float


def measured(kinds: Sequence[str], rounds: int, batch: int, say: Say = print) -> Iterator[dict[str, Any]]:
    """A row for each kind (:data:`rows.KINDS`, not compiled). rounds: epochs by which the long plan is longer; steps of a plain run.

    Raises:
        OtherWork: a loop does not do the work of the plain one. RedistillError: a process failed, or an answer was looked up.
    """
    gates = {name: checked(row, list(kinds)) for name, row in SIX.items()}
    work = counted()
    for kind in kinds:
        say(f"plan, {kind}: {len(SIX)} methods x {SEEDS} seeds, {PROCESSES} processes; the plain runs and two lengths of the plan in turns")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_plan(folder, kind, batch)
            plain = plain_runs(0, rounds, batch)
            short = planned(folder, 1, batch)
            plain += plain_runs(1, rounds, batch)
            long = planned(folder, 1 + rounds, batch)
            plain += plain_runs(2, rounds, batch)
            alone = started([[(name, 0) for name in SIX]], rounds, batch)
        gate = max(found[kind] for found in gates.values())
        yield row_of(kind, short, long, plain, alone, gate=gate, work=work, batch=batch)


def plain_runs(seed: int, steps: int, batch: int) -> list[Timed]:
    """A plain run of each method, dealt to :data:`PROCESSES` at once."""
    each = [(name, seed) for name in SIX]
    return started([each[i::PROCESSES] for i in range(PROCESSES)], steps, batch)


def row_of(
    kind: str,
    short: Planned,
    long: Planned,
    plain: Sequence[Timed],
    alone: Sequence[Timed],
    *,
    gate: float,
    work: Mapping[str, float],
    batch: int,
) -> dict[str, Any]:
    """One flat line of the result. Times of a step are of one step of all students.

    plain: a run of each method and seed, :data:`PROCESSES` at once. alone: a run of each method, one after the other.
    work: of :func:`counted`.
    """
    loops = [(seed, Line.through((short.steps, a), (long.steps, b))) for (seed, a), (_, b) in zip(short.cohorts, long.cohorts, strict=True)]
    outside = [one.cpu - sum(seconds for _, seconds in one.cohorts) for one in (short, long)]
    cpu = Line(sum(one.step for _, one in loops), sum(one.setup for _, one in loops) + statistics.mean(outside))
    busier = longest([one.step for _, one in loops], PROCESSES)
    wall = Line.through((short.steps, short.wall), (long.steps, long.wall))
    by_seed = [sum(statistics.median(one.cpu) for one in plain if one.seed == seed) for seed in range(SEEDS)]
    setup = sum(one.setup for one in plain)
    plain_cpu = Line(sum(by_seed), setup)
    plain_wall = Line(sum(statistics.median(one.wall) for one in plain) / PROCESSES, setup / PROCESSES)  # shared out without a rest
    one_by_one = sum(statistics.median(one.wall) for one in alone) * SEEDS
    ratios = sorted(by_seed[seed] / sum(one.step for of, one in loops if of == seed) for seed in range(SEEDS))
    asked = work["teacher"] * len(loops) + work["students"] * SEEDS
    steps = REAL_EPOCHS * math.ceil(REAL_IMAGES / batch)
    return {
        "work": f"{len(SIX)} methods x {SEEDS} seeds",
        "methods": ", ".join(SIX),
        "contender": kind,
        "gate": gate,
        "processes": PROCESSES,
        "steps_short": short.steps,
        "steps_long": long.steps,
        "plain_steps": len(plain[0].cpu),
        "plain_cpu_ms": round(1e3 * plain_cpu.step, 1),
        "plan_cpu_ms": round(1e3 * cpu.step, 1),
        "cpu_faster": round(plain_cpu.step / cpu.step, 3),
        "cpu_faster_least": round(ratios[0], 3),
        "cpu_faster_median": round(statistics.median(ratios), 3),
        "cpu_faster_most": round(ratios[-1], 3),
        "plain_busier_ms": round(1e3 * plain_cpu.step / PROCESSES, 1),
        "plan_busier_ms": round(1e3 * busier, 1),
        "busier_faster": round(plain_cpu.step / PROCESSES / busier, 3),
        "plain_wall_ms": round(1e3 * plain_wall.step, 1),
        "plan_wall_ms": round(1e3 * wall.step, 1),
        "wall_faster": round(plain_wall.step / wall.step, 3),
        "one_by_one_wall_ms": round(1e3 * one_by_one, 1),
        "wall_faster_than_one_by_one": round(one_by_one / wall.step, 3),
        "plain_setup_cpu_s": round(setup, 1),
        "plan_setup_cpu_s": round(cpu.setup, 1),
        "plan_setup_wall_s": round(wall.setup, 1),
        "plan_outside_short_cpu_s": round(outside[0], 1),
        "plan_outside_long_cpu_s": round(outside[1], 1),
        "plain_macs": round(work["plain"] * SEEDS, 1),
        "plan_macs": round(asked, 1),
        "macs_fewer": round(work["plain"] * SEEDS / asked, 3),
        "teacher_passes": len(loops),
        "teacher_asked_because": long.why,
        "long_epochs": REAL_EPOCHS,
        "long_images": REAL_IMAGES,
        "long_steps": steps,
        "plain_long_cpu_h": round(plain_cpu.hours(steps), 2),
        "plan_long_cpu_h": round(cpu.hours(steps), 2),
        "long_cpu_faster": round(plain_cpu.hours(steps) / cpu.hours(steps), 3),
        "plain_long_wall_h": round(plain_wall.hours(steps), 2),
        "plan_long_wall_h": round(wall.hours(steps), 2),
        "long_wall_faster": round(plain_wall.hours(steps) / wall.hours(steps), 3),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The plan
# ---------------------------------------------------------------------------------------------------------------------
def write_plan(folder: Path, kind: str, batch: int) -> Path:
    """The experiment, its images (two batches) and its teacher; returns the file to run."""
    images = noise(EPOCH * batch)
    assert images.y is not None
    np.savez(folder / "images.npz", x=images.x.numpy(), y=images.y.numpy(), classes=10)
    models.save(rows.teacher(), folder / "teacher.safetensors", normalisation=images.normalise)
    recipe = {"epochs": 1, "batch_size": batch, "lr": RATE, "precision": kind, "compile": False}
    sections: dict[str, dict[str, Any]] = {
        "teacher": {"from": "teacher.safetensors"},
        "student": {"model": rows.STUDENT, "args": {"classes": 10}},
        "source": {"data": "arrays:images.npz", "normalise": images.normalise, "augment": images.augment},
        "recipe": recipe,
        "evaluate": {},
        "methods": {json.dumps(name): [_told(part) for part in row.method().settings()] for name, row in SIX.items()},
    }
    lines = []
    for name, section in sections.items():
        lines += [f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in section.items()), ""]
    file = folder / "plan.toml"
    write(file, "\n".join(lines).encode())
    return file


def _told(part: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a term that a file can hold: None, which it cannot, is the default wherever it is one."""
    return {key: value for key, value in part.items() if value is not None}


def planned(folder: Path, epochs: int, batch: int) -> Planned:
    """The plan of that many epochs, run as a user runs it."""
    out = folder / f"runs-{epochs}"
    words = ["run", "plan.toml", "--seeds", SEEDS, "--jobs", PROCESSES, "--threads", 1, "--device", "cpu", "--out", out.name]
    command = [sys.executable, "-P", "-m", "redistill", *map(str, words), "--set", f"recipe.epochs={epochs}"]
    cut = math.floor(limit() * EPOCH * batch / REAL_IMAGES)
    more = {"REDISTILL_CACHE": str(folder / "cache"), "REDISTILL_CACHE_LIMIT": str(cut)}
    cpu, wall = _spent(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env={**environment(1), **more}, capture_output=True, text=True, check=False)
    cpu, wall = _spent() - cpu, time.perf_counter() - wall
    if done.returncode:
        raise RedistillError(f"the plan did not run: {(done.stderr.strip().splitlines() or ['it was killed'])[-1]}")
    return told(out, EPOCH * epochs, cpu, wall)


def told(out: Path, steps: int, cpu: float, wall: float) -> Planned:
    """A finished plan, with what its records say.

    Raises:
        RedistillError: runs are missing, or something was looked up.
    """
    runs = [run for run in Store(out).finished() if run.record["teacher"] is not None]
    if len(runs) != len(SIX) * SEEDS:
        raise RedistillError(f"the plan has {len(runs)} runs of {len(SIX) * SEEDS}")
    answers = [run.record["sessions"][-1]["teacher_answers"] for run in runs]
    if known := sum(one.get("looked_up", 0) for one in answers):
        raise RedistillError(f"{known} answers of the teacher were looked up: a long run would look up another share, so there is no slope")
    members: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        members.setdefault((run.seed, " ".join(run.record["cohort"])), []).append(run)
    named = sorted((ones[0].seed, sorted(run.label for run in ones), ones[0].record["time"]["cpu"]) for ones in members.values())
    return Planned(steps, cpu, wall, tuple((seed, seconds) for seed, _, seconds in named), answers[0].get("off", "").partition(" in ")[0])


def longest(seconds: Sequence[float], processes: int) -> float:
    """How long the busier process works, where each takes the next task as soon as it has ended one.

    >>> longest([4.0, 4.0, 3.0, 2.0], 2)
    7.0
    """
    until = [0.0] * processes
    for each in seconds:
        first = until.index(min(until))
        until[first] += each
    return max(until)


def _spent() -> float:
    """CPU seconds of the processes that this one has started and that have ended, with those that they have started."""
    of = resource.getrusage(resource.RUSAGE_CHILDREN)
    return of.ru_utime + of.ru_stime


def counted(batch: int = 32) -> dict[str, float]:
    """Millions of multiply-accumulates of an image: of a step of the six plain runs, of the teacher alone, and of what the plan's students
    and adapters need."""
    images = noise(batch)

    def of(once: Callable[[], object]) -> float:
        counter = FlopCounterMode(display=False)
        with counter:
            once()
        return counter.get_total_flops() / 2e6 / batch

    together = package_loop([row.method() for row in SIX.values()], images, kind="strict", batch=batch, steps=1)
    plain = 0.0
    for row in SIX.values():
        like = package_loop([row.method()], images, kind="strict", batch=batch, steps=1)
        plain += of(plain_loop(row, like, images, Pictures(images)))
    with torch.no_grad():
        teacher = of(lambda: rows.teacher().eval()(torch.zeros(batch, *images.image_shape)))
    return {"plain": plain, "teacher": teacher, "students": of(lambda: next(together)) - teacher}


# ---------------------------------------------------------------------------------------------------------------------
# The plain runs
# ---------------------------------------------------------------------------------------------------------------------
def started(shares: Sequence[Sequence[tuple[str, int]]], steps: int, batch: int) -> list[Timed]:
    """(method, seed) after (method, seed), a process a share, all at once."""
    begun = []
    for share in shares:
        asked = {"teacher": rows.TEACHER, "student": rows.STUDENT, "runs": list(share), "steps": steps, "batch": batch}
        words = [sys.executable, "-P", "-c", "from redistill.bench.plan import _alone; _alone()", json.dumps(asked)]
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(1)))
    ended = [one.communicate() for one in begun]
    for one, (_, errors) in zip(begun, ended, strict=True):
        if one.returncode:
            raise RedistillError(f"a plain run failed: {(errors.strip().splitlines() or ['it was killed'])[-1]}")
    return [Timed(**found) for out, _ in ended for found in json.loads(out.splitlines()[-1])]


def _alone() -> None:
    """What :func:`started` starts: prints what it has timed."""
    import warnings

    imported = time.process_time()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked = json.loads(sys.argv[1])
    rows.TEACHER, rows.STUDENT = asked["teacher"], asked["student"]
    found = [timed(name, seed, asked["steps"], asked["batch"], imported) for name, seed in asked["runs"]]
    print(json.dumps([vars(one) for one in found]))


def timed(name: str, seed: int, steps: int, batch: int, imported: float = 0.0) -> Timed:
    """A plain run of ``steps`` after one that warms up. imported: CPU seconds of starting Python and of imports."""
    row, images = SIX[name], noise(EPOCH * batch)
    like = package_loop([row.method()], images, kind="strict", batch=batch, steps=1 + steps)  # the plain run is not charged for it
    cpu = time.process_time()
    once = plain_loop(row, like, images, Pictures(images))
    once.optimizer.param_groups[0]["lr"] = RATE
    setup = imported + time.process_time() - cpu
    spent = Timed(name, seed, [], [], round(setup, 3))
    for number in range(1 + steps):
        cpu, wall = time.process_time(), time.perf_counter()
        once()
        if number:
            spent.cpu.append(time.process_time() - cpu)
            spent.wall.append(time.perf_counter() - wall)
    return spent
