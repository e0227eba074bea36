"""A store of ours as evidence: each finished run under the names that papers use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.evidence.files import Stated, runs_of
from redistill.evidence.model import Evidence, Source
from redistill.evidence.names import NAMES


def is_store(path: Path) -> bool:
    return any(path.glob("*/seed-*/record.json"))


def read_store(path: Path, stated: Stated) -> Evidence:
    """Every finished run of a store that was tested, or diverged before it could be.

    Raises:
        RedistillError: none is there.
    """
    from redistill.runs.fall import fall
    from redistill.runs.store import Damaged, Run, Store
    from redistill.verdicts.diverged import counts, counts_for, why

    rows: list[dict[str, Any]] = []
    places: list[str] = []
    problems: list[str] = []
    unhealthy: list[str] = []
    commits: set[str] = set()
    for run in Store(path).runs():
        if isinstance(run, Damaged):
            problems.append(run.why)
        if not isinstance(run, Run) or not counts(run):
            continue
        last, best = counts_for(run)
        rows.append({**_row(run.record), "last": last, "best": best})
        if run.diverged is not None:
            reached = "" if best == last else f" (the best that it reached, {best:.2f} %, where the best epoch is compared)"
            unhealthy.append(f"run {run.id} (seed {run.seed}) diverged and counts as guessing, {last:g} %{reached}: {why(run)}")
        if (fell := fall(run)) is not None:
            unhealthy.append(f"run {run.id} (seed {run.seed}) {fell} and counts as it ended")
        places.append(f"run {run.id}")
        if (git := run.record.get("git") or {}).get("commit"):
            commits.add(str(git["commit"]))
    if not rows:
        raise RedistillError(f"{path}: this store holds no finished run with a test accuracy")
    runs, notes = runs_of(rows, places, str(path), stated)
    commit = ", ".join(sorted(one[:10] for one in commits)) or None
    ours = Source(f"the store {path}", commit, "records of redistill runs")
    source = stated.origin(path, "store of redistill") if stated.source else ours
    return Evidence(path.name, "a store of ours", source, runs, notes=(*notes, *unhealthy), problems=tuple(problems), store=path)


def _row(record: dict[str, Any]) -> dict[str, Any]:
    from redistill.sources.variants import KINDS

    asked = record["experiment"]
    train = asked.get("source") or {}
    generated = train.get("kind", "images") in KINDS
    data = str(asked["evaluate"]["test"]).partition(":")[0]
    terms = [str(term["use"]) for term in asked["method"]]
    others = "+".join(sorted(use for use in terms if use != "CE"))
    teacher = asked.get("teacher") or {}
    student = asked.get("student") or {}
    settings: dict[str, Any] = {"cell": record["cell"]}
    for name in ("per_class", "first_per_class", "per_class_ferles", "fraction"):
        if train.get(name) is not None:
            settings["images_per_class" if name != "fraction" else "share_of_images"] = train[name]
    return {
        "dataset": NAMES.get(data, data),
        "teacher": _network(teacher) if teacher else None,
        "student": _network(student) or "?",
        "method": "zero-shot" if generated else others or "student (no distillation)",
        "settings": settings,
        "seed": record["seed"],
        "epochs": (asked.get("recipe") or {}).get("epochs"),
        "best_on": "test",
        "extra": {"name": record.get("label", "")},
    }


def _network(section: dict[str, Any]) -> str | None:
    if section.get("model") is not None:
        return str(section["model"])
    inner = section.get("run")
    return _network(inner.get("student") or {}) if isinstance(inner, dict) else None
