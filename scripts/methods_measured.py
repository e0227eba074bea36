"""Write results/measured/digits-methods: every method that digits allow, beside each other.

    python scripts/methods_measured.py [FOLDER]

``FOLDER`` holds the runs, and what is there is only read; the times are of what was trained anew.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from redistill.runs.measured import begin, keep
from redistill.runs.store import Store

TARGET = Path(__file__).resolve().parents[1] / "results" / "measured" / "digits-methods" / "table.json"
WORDS = "compare --methods all --data digits --seeds 3 --runs runs --threads 1"


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # as the command's; the head says so
    begun, since = begin(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "redistill", *WORDS.split()], cwd=folder, check=True)
    wall = time.perf_counter() - since
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    [table] = (folder / "runs" / "comparisons").glob("digits-*.json")
    found, runs = json.loads(table.read_text(encoding="utf-8")), Store(folder / "runs").finished()
    times = {"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "wall_seconds": round(wall, 1)}
    keep(TARGET, {"command": f"redistill {WORDS}", "runs": len(runs), **times, **found}, begun)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
