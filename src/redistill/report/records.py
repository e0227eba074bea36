"""What the pages of our own results read: the finished runs of a folder, and what is said of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redistill.errors import counted
from redistill.runs.store import Run
from redistill.versions import ALWAYS, version


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def finished(results: Path) -> list[Run]:
    from redistill.runs.store import Store

    known = Store(results / "runs").finished()
    return sorted(known, key=lambda run: (run.label, run.record["experiment"]["recipe"]["precision"], run.seed))


def generated(run: Run) -> bool:
    return bool(run.record["experiment"]["source"]["kind"] == "adversarial")


def ended(run: Run) -> str:
    """What a run came to after its last step, set by set."""
    if run.diverged is not None:
        return "diverged"
    return ", ".join(f"{found['last']:.2f} ({name})" for name, found in run.record["accuracy"].items())


def of_features(run: Run) -> bool:
    """Whether its method matches features alone, as the first stage of a hint does: nobody teaches the classifier, and what accuracy it
    has says nothing."""
    pairs = run.record.get("pairs", {})
    return bool(pairs) and all(pairs.values()) and not any("logits" in pair for found in pairs.values() for pair in found)


def costs(run: Run) -> str:
    """Precision, and what the whole cohort cost on which machine."""
    where = run.record["sessions"][-1]["hardware"]
    together = f", {len(run.record['cohort'])} in a cohort" if len(run.record["cohort"]) > 1 else ""
    recipe = run.record["experiment"]["recipe"]
    return f"{recipe['precision']}, {run.record['time']['cpu'] / 60:.0f} CPU min{together}, {where['device']}"


def earlier(numerics: Sequence[Mapping[str, int]]) -> str:
    """A sentence on records whose random streams, loop or evaluation have another version today; "" where there is none.

    >>> now = {"rng": version("rng")}
    >>> earlier([now, now])
    ''
    >>> print(earlier([{"rng": 0}, now]).partition(":")[0])
    1 record of 2 was made by earlier versions (rng 0 -> 2)
    """
    today = {name: version(module) for name, module in ALWAYS.items()}
    old = [one for one in numerics if any(one.get(name, now) != now for name, now in today.items())]
    if not old:
        return ""
    moved = [f"{n} {min(o[n] for o in old if n in o)} -> {now}" for n, now in today.items() if any(o.get(n, now) != now for o in old)]
    return (
        f"{counted(len(old), 'record')} of {len(numerics)} {'was' if len(old) == 1 else 'were'} made by earlier versions "
        f"({', '.join(moved)}): facts of those, and the same command trains anew, because orders and subsets are others today "
        f"(CHANGELOG.md, Numbers)."
    )
