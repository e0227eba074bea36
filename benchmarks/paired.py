"""What the benchmarks share: contenders take turns in one process, and are compared turn by turn in process CPU time."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from redistill import machine as facts
from redistill.precision import has_bf16_matrix_units
from redistill.runs.measured import keep


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int, first: Callable[[str], object] = lambda name: None
) -> dict[str, list[float]]:
    """Seconds of every turn by contender. A round before the first warms up; ``first(name)`` looks at what it left."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, once in contenders.items():
            began = time.process_time()
            once()
            if round_:
                times[name].append(time.process_time() - began)
            else:
                first(name)
    return times


def ratio(over: Sequence[float], under: Sequence[float], digits: int) -> dict[str, float]:
    """Median, smallest and largest of the ratios of turns that stood side by side."""
    found = [a / b for a, b in zip(over, under, strict=True)]
    return {
        "median": round(statistics.median(found), digits),
        "min": round(min(found), digits),
        "max": round(max(found), digits),
    }


def machine() -> dict[str, Any]:
    """Where it ran, and how busy that place was."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "machine": platform.processor() or platform.machine(),
        "cpu": cpu,
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_matrix_units": has_bf16_matrix_units(torch.device("cpu")),
        "git": facts.git(),
    }


def report(row: Mapping[str, Any], path: Path | None, begun: Mapping[str, Any]) -> None:
    """Print a record, and write it where a path is given."""
    print(json.dumps(row, indent=1))
    if path:
        keep(path, row, begun)
