"""What the pages of our own results read: the finished runs of a folder, and what is said of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from redistill.runs.store import Run


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def finished(results: Path) -> list[Run]:
    from redistill.runs.store import Store

    known = Store(results / "runs").finished()
    return sorted(known, key=lambda run: (run.label, run.record["experiment"]["recipe"]["precision"], run.seed))


def generated(run: Run) -> bool:
    return bool(run.record["experiment"]["source"]["kind"] == "adversarial")


def costs(run: Run) -> str:
    """Precision, and what the whole cohort cost on which machine."""
    where = run.record["sessions"][-1]["hardware"]
    together = f", {len(run.record['cohort'])} in a cohort" if len(run.record["cohort"]) > 1 else ""
    recipe = run.record["experiment"]["recipe"]
    return f"{recipe['precision']}, {run.record['time']['cpu'] / 60:.0f} CPU min{together}, {where['device']}"
