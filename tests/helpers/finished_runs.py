"""Runs in a store, finished or begun, without training."""

from __future__ import annotations

import json

from helpers.whole_record import REST
from redistill.experiment.value import Experiment
from redistill.runs.store import Store
from redistill.sealed import FORMAT, PENDING


def finished(
    store: Store, one: Experiment, last: float | None, diverged: str | None = None, best: float | None = None,
    curve: list[tuple[int, float]] | None = None, steps: int = 1, images: int | None = None,
) -> None:
    """``last``: its accuracy on ``test``; None: it was never evaluated. ``best``: of its best epoch, where that is another one.
    ``curve``: (step, accuracy), where these are more. ``steps``: that it took. ``images``: that it was
    evaluated on, where the record says so."""
    table = {"data": "x", "last": last, "best": last if best is None else best, "best_step": 1, "best_is": ""}
    record = {
        "format": FORMAT, "id": one.id, "cell": one.cell, "seed": one.seed, "name": one.name, "label": one.label,
        "experiment": one.written(), "accuracy": {} if last is None else {"test": table}, "diverged": diverged, "steps": steps,
        "teacher": None, **REST,
    }  # fmt: skip
    if images is not None:
        record["data"] = {**record["data"], "test": {"data": "x", "count": images}}
    folder = store.root / one.folder
    folder.mkdir(parents=True)
    curve = curve or ([] if last is None else [(1, last)])
    store.finish(folder, record, {"accuracy": {"test": curve}, "losses": {}, "rates": [], "source": []}, b"weights")


def begun(store: Store, one: Experiment) -> None:
    folder = store.root / one.folder
    folder.mkdir(parents=True)
    (folder / PENDING).write_text(json.dumps({"experiment": one.written(), "label": one.label}), encoding="utf-8")
