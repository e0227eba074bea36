"""What a finished training puts on record: results each named for what it is, curves, times, and how exact it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from redistill.core import Keeper, Stream
from redistill.experiment import checkpoint
from redistill.experiment.store import FORMAT
from redistill.experiment.value import Experiment
from redistill.measured import Result


def kept_by(stream: Stream, one: Experiment) -> dict[str, bytes]:
    """Files of what the stream wants kept beside the weights."""
    if not isinstance(stream, Keeper):
        return {}
    metadata = {"redistill": "kept", "run": one.id}
    return {f"{name}.safetensors": checkpoint.pack(tensors, metadata) for name, tensors in stream.keepsakes().items()}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def differing(before: dict[str, Any], here: dict[str, Any]) -> str | None:
    """In what two machines differ, in words, or None where bit-identity is promised."""
    keys = [key for key in here if key != "cores" and before.get(key) != here[key]]
    return ", ".join(f"{key} {before.get(key)} (here {here[key]})" for key in keys) or None


def exactness(sessions: list[dict[str, Any]]) -> str:
    """Whether the run is promised to be bit-identical to an uninterrupted one on its machine, and if not, why."""
    others = [other for one in sessions[1:] if (other := differing(sessions[0]["hardware"], one["hardware"]))]
    return f"no: continued on another machine: {others[0]}" if others else "yes"


def times(result: Result, device: str) -> dict[str, float | None]:
    """Seconds: ``wall`` and ``cpu`` of the cohort's steps and evaluations, ``own`` wall time of this student's steps.

    ``device`` is the wall time during which an accelerator was in use (every step is on it), None on a CPU.
    """
    return {
        "wall": result.seconds,
        "cpu": result.cpu_seconds,
        "device": None if device == "cpu" else result.seconds,
        "own": result.own_seconds,
    }


def best_of(curve: Sequence[tuple[int, float]], first: float) -> tuple[int, float, int]:
    """(step, accuracy, evaluations looked at) of the best from step ``first`` on, the earliest of equals; the last one of a
    run that stopped before."""
    looked = [point for point in curve if point[0] >= first] or [curve[-1]]
    step, value = max(looked, key=lambda point: (point[1], -point[0]))
    return step, value, len(looked)


def record_of(one: Experiment, result: Result, steps: int) -> dict[str, Any]:
    """What was asked and what came out, each accuracy named for what it is. ``steps``: of the whole run."""
    accuracy = {}
    for name, found in result.accuracy.items():
        step, best, looked = best_of(found.curve, one.evaluate.first_step(steps))
        since = "" if one.evaluate.since is None else f" from {100 * one.evaluate.since:g} % of the run on"
        accuracy[name] = {
            "data": one.evaluate.sets.get(name, "the held-out part of the training images"),
            "last": found.last,
            "best": best,
            "best_step": step,
            "best_is": f"the highest of {looked} evaluations{since}, chosen on this set itself",
        }
    return {
        "format": FORMAT,
        "id": one.id,
        "cell": one.cell,
        "seed": one.seed,
        "name": one.name,
        "label": one.label,
        "experiment": one.written(),
        "accuracy": accuracy,
        "diverged": result.diverged,
        "steps": result.steps,
    }


def curves_of(result: Result) -> dict[str, Any]:
    """``accuracy``: (step, percent) by set; ``losses``: mean of each epoch by term; ``rates``: first of each epoch;

    ``source``: (step, numbers of the source's own); ``gradient_norms``: mean of each epoch before clipping, if it clips.
    """
    return {
        "accuracy": {name: [list(point) for point in found.curve] for name, found in result.accuracy.items()},
        "losses": {name: list(values) for name, values in result.losses.items()},
        "rates": list(result.rates),
        "source": [[step, numbers] for step, numbers in result.source_log],
        "gradient_norms": list(result.gradient_norms),
    }
