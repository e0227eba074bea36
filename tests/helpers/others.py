"""Runs of other people, in our format and as their codes log them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Run = dict[str, Any]
RUN: Run = {"paper": None, "dataset": "CIFAR-100", "teacher": "resnet32x4", "student": "resnet8x4", "method": "KD", "settings": {},
            "seed": 0, "epochs": 240, "last": 73.1, "best": 73.4, "best_on": "test", "extra": {}}  # fmt: skip
SOURCE = {"repository": "someone/runs", "commit": "0123456789abcdef", "how": "by hand"}


def ours(tmp_path: Path, *runs: Run, source: Run | None = None, **more: object) -> Path:
    path = tmp_path / "some.json"
    rows = [{**RUN, **run} for run in runs]
    path.write_text(json.dumps({"source": SOURCE if source is None else source, "caveats": [], "runs": rows, **more}), encoding="utf-8")
    return path


def mdistiller(epochs: int, close: bool = True, start: float = 50.0) -> str:
    line = "-" * 25
    block = line + "\nepoch: {}\nlr: 0.05\ntrain_acc: 13.35\ntest_acc: {:.2f}\ntest_acc_top5: 51.64\n" + line + "\n"
    text = "".join(block.format(epoch, start + 20 - abs(epoch - 18) / 20) for epoch in range(1, epochs + 1))
    return text + (f"best_acc\t{start + 20:.2f}" if close else "")


def run_cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "redistill", *words], capture_output=True, text=True)
