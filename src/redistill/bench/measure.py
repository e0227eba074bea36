"""How contenders are compared: they take turns in one process, and each is compared with the plain loop turn by turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from redistill import machine
from redistill.precision import has_bf16_matrix_units


@dataclass(frozen=True)
class Turns:
    """Seconds of every turn of one contender: of the process's CPU, and of the clock on the wall."""

    cpu: list[float]
    wall: list[float]


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Turns]:
    """Every contender once a round. A round before the first warms up and is not counted."""
    turns = {name: Turns([], []) for name in contenders}
    for number in range(rounds + 1):
        for name, once in contenders.items():
            cpu, wall = time.process_time(), time.perf_counter()
            once()
            if number:
                turns[name].cpu.append(time.process_time() - cpu)
                turns[name].wall.append(time.perf_counter() - wall)
    return turns


def times_faster(plain: Sequence[float], mine: Sequence[float]) -> dict[str, float]:
    """Median, least and most of how many times ``mine`` is faster, over the turns that stood side by side.

    >>> times_faster([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])
    {'median': 3.0, 'least': 2.0, 'most': 4.0}
    """
    ratios = [a / b for a, b in zip(plain, mine, strict=True)]
    return {"median": round(statistics.median(ratios), 3), "least": round(min(ratios), 3), "most": round(max(ratios), 3)}


def row(work: str, contender: str, plain: Turns, mine: Turns, gate: float | None, **more: Any) -> dict[str, Any]:
    """One flat line of the result."""
    cpu, wall = times_faster(plain.cpu, mine.cpu), times_faster(plain.wall, mine.wall)
    return {
        "work": work,
        "contender": contender,
        "gate": gate,
        "cpu_ms": round(1e3 * statistics.median(mine.cpu), 1),
        "wall_ms": round(1e3 * statistics.median(mine.wall), 1),
        **{f"cpu_faster_{name}": value for name, value in cpu.items()},
        **{f"wall_faster_{name}": value for name, value in wall.items()},
        **more,
    }


def where() -> dict[str, Any]:
    """The machine, and how busy it was."""
    cpu = torch.device("cpu")
    facts = machine.hardware(cpu)
    return {
        "processor": facts["processor"],
        "capability": facts["capability"],
        "amx_tiles": bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()),
        "bf16_matrix_units": has_bf16_matrix_units(cpu),
        "threads": facts["threads"],
        "load": round(os.getloadavg()[0], 1),
        "torch": facts["torch"],
        "versions": machine.versions(),
        "git": machine.git(),
    }
