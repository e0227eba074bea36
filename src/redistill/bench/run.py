"""The benchmark as a whole: each row checked and timed, the same step and the same table apart, and peak memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from redistill import machine
from redistill.bench import plan, zero_shot
from redistill.bench.gate import checked, library_checked
from redistill.bench.library import NAME as LIBRARY
from redistill.bench.library import NotThere
from redistill.bench.measure import interleaved, row, where
from redistill.bench.plain import Pictures
from redistill.bench.rows import ROWS, library_loop, noise, package_loop, plain_loop
from redistill.core import RedistillError, nearest
from redistill.launch.local import environment
from redistill.train.loop import Loop

ZERO_SHOT = "zero-shot"
NAMES = (*ROWS, ZERO_SHOT)
PLAN = "plan"
ALL = (*NAMES, PLAN)
"""``plan`` takes minutes more and runs where it is named."""
Say = Callable[[str], None]


def bench(
    names: Iterable[str] = NAMES,
    *,
    rounds: int = 5,
    batch: int = 128,
    compiled: bool = False,
    memory: bool = True,
    say: Say = print,
    keep: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Measure; ``say`` is told each line as it is known, ``keep`` is given all that is known by then.

    Raises:
        RedistillError: no such row. OtherWork: a loop does not do the work of the plain one.
    """
    chosen = list(dict.fromkeys(names))
    if odd := [name for name in chosen if name not in ALL]:
        raise RedistillError(nearest(odd[0], ALL, "row of the benchmark"))
    kinds = ["strict", "fast", *(["fast compiled"] if compiled else [])]
    methods = [name for name in chosen if name in ROWS]
    found: dict[str, Any] = {
        "format": 1, **where(), "batch": batch, "rounds": rounds, "same_step": [], "same_table": [], "memory": [], "plan": [],
        "notes": [],
    }  # fmt: skip
    library = None
    if "KD" in chosen:
        try:
            library = library_checked()
        except NotThere as reason:
            found["notes"].append(f"{LIBRARY} is no contender: {reason}")
            say(found["notes"][-1])

    def lines() -> Iterator[tuple[str, dict[str, Any]]]:
        for name in methods:
            yield from (("same_step", line) for line in _step(name, rounds, batch, kinds, library if name == "KD" else None))
            if name == "KD":
                yield from (("same_table", line) for line in _table(rounds, batch, kinds[:2]))
        if ZERO_SHOT in chosen:
            yield from (("same_step", line) for line in zero_shot.step(rounds, batch, kinds))
        if len(methods) > 1:
            yield from (("same_table", line) for line in _cohort(methods, rounds, batch, kinds[:2]))
        for name in methods if memory else ():
            for contender in ("plain", "strict"):
                yield "memory", {"work": name, "contender": contender, "peak_bytes": _peak(name, contender, batch)}

        if PLAN in chosen:
            # where fast is fp32 too, it is strict once more
            for line in plan.measured(kinds[: 1 + found["bf16_matrix_units"]], rounds, batch, say):
                yield PLAN, line

    for part, line in lines():
        found[part].append(line)
        keep(found)
        say(line_of(line))
    return found


def line_of(line: dict[str, Any]) -> str:
    """One line for people."""
    if "peak_bytes" in line:
        return f"{line['work']}, {line['contender']}: at most {line['peak_bytes'] / 1e6:.0f} MB of memory"
    if "plain_macs" in line:
        return (
            f"plan of {line['work']}, {line['contender']}: {line['cpu_faster']:.2f} times faster than plain runs (CPU of a step; seeds "
            f"{line['cpu_faster_least']:.2f} to {line['cpu_faster_most']:.2f}); wall, {line['processes']} processes each, "
            f"{line['wall_faster']:.2f}x; against plain runs one after the other {line['wall_faster_than_one_by_one']:.2f}x"
        )
    more = f", {line['fill_s']:.1f} s of CPU for the run before, which filled the table" if "fill_s" in line else ""
    return (
        f"{line['work']}, {line['contender']}: {line['cpu_faster_median']:.2f} times faster than the plain loop "
        f"({line['cpu_faster_least']:.2f} to {line['cpu_faster_most']:.2f}; {line['cpu_ms']:.0f} ms of CPU, wall "
        f"{line['wall_faster_median']:.2f}x{more})"
    )


def _forward(loop: Loop) -> Callable[[], object]:
    return lambda: next(loop)


def _step(name: str, rounds: int, batch: int, kinds: list[str], library: float | None) -> Iterator[dict[str, Any]]:
    """The same step: a live teacher. library: what the gate said of torchdistill's loop, None where it is no contender."""
    one = ROWS[name]
    gates = checked(one, kinds)
    images, steps = noise(), rounds + 1
    loops = {kind: package_loop([one.method()], images, kind=kind, batch=batch, steps=steps) for kind in kinds}
    contenders: dict[str, Callable[[], object]] = {"plain": plain_loop(one, loops["strict"], images, Pictures(images))}
    if library is not None:
        gates[LIBRARY], contenders[LIBRARY] = library, library_loop(loops["strict"], images, Pictures(images), batch)
    turns = interleaved(contenders | {kind: _forward(loop) for kind, loop in loops.items()}, rounds)
    for kind in [*kinds, *([LIBRARY] if library is not None else [])]:
        yield row(name, kind, turns["plain"], turns[kind], gates[kind])


def _table(rounds: int, batch: int, kinds: list[str]) -> Iterator[dict[str, Any]]:
    """The same table: what the teacher says is known, and the CPU seconds of the same run before, which filled it."""
    one, images, steps = ROWS["KD"], noise(), rounds + 1
    with tempfile.TemporaryDirectory() as folder:
        fill, loops = {}, {}
        for kind in kinds:
            began = time.process_time()
            for _ in package_loop([one.method()], images, kind=kind, batch=batch, steps=steps, cache=Path(folder)):
                pass
            fill[kind] = round(time.process_time() - began, 1)
            loops[kind] = package_loop([one.method()], images, kind=kind, batch=batch, steps=steps, cache=Path(folder))
        by_hand = plain_loop(one, loops["strict"], images, Pictures(images))
        turns = interleaved({"plain": by_hand, **{kind: _forward(loop) for kind, loop in loops.items()}}, rounds)
        for kind, loop in loops.items():
            assert loop.teacher is not None
            if loop.teacher.answered.computed:
                raise RedistillError(f"{loop.teacher.answered.computed} answers were not in the table that was just filled")
            yield row("KD, table filled", kind, turns["plain"], turns[kind], None, fill_s=fill[kind])


def _cohort(names: list[str], rounds: int, batch: int, kinds: list[str]) -> Iterator[dict[str, Any]]:
    """One cohort against a plain run of each of its methods."""
    images, steps = noise(), rounds + 1
    loops = {kind: package_loop([ROWS[n].method() for n in names], images, kind=kind, batch=batch, steps=steps) for kind in kinds}
    pictures = Pictures(images)
    plains = [
        plain_loop(ROWS[n], package_loop([ROWS[n].method()], images, kind="strict", batch=batch, steps=steps), images, pictures)
        for n in names
    ]

    def all_of_them() -> None:
        for one in plains:
            one()

    turns = interleaved({"plain": all_of_them, **{kind: _forward(loop) for kind, loop in loops.items()}}, rounds)
    for kind in kinds:
        yield row(f"cohort of {', '.join(names)}", kind, turns["plain"], turns[kind], None)


def _peak(name: str, contender: str, batch: int) -> int:
    """Peak memory of three steps of one contender in a process of its own."""
    words = [sys.executable, "-P", "-c", "from redistill.bench.run import _alone; _alone()", name, contender, str(batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(1))
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise RedistillError(f"{name}, {contender} could not be measured alone: {why}")
    return int(done.stdout.split()[-1])


def _alone() -> None:
    """What :func:`_peak` starts."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, contender, batch = sys.argv[1:4]
    images = noise()
    loop = package_loop([ROWS[name].method()], images, kind="strict", batch=int(batch), steps=3)
    once = plain_loop(ROWS[name], loop, images, Pictures(images)) if contender == "plain" else _forward(loop)
    for _ in range(3):
        once()
    print(machine.peak_memory(torch.device("cpu"))["process"])
