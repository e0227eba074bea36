"""What a finished training puts on record: results each named for what it is, curves, times, and how exact it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from redistill.errors import RedistillError
from redistill.sealed import FORMAT

if TYPE_CHECKING:
    from redistill.core import Stream
    from redistill.experiment.value import Experiment
    from redistill.train.result import Result


class _Fact(BaseModel):
    """A part of a record: frozen, of the types that were written, with room for what later versions add."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, populate_by_name=True)


class Measured(_Fact):
    """Accuracies on one evaluation set in percent; ``best_is`` says what ``best`` was chosen from, and on what."""

    data: str
    last: float
    best: float
    best_step: int
    best_is: str


class Origin(_Fact):
    """Where the weights of a teacher or of a beginning come from.

    Attributes:
        sha256: of the file. weights_sha256: of the tensors (not in the first records). run, folder: which run made them, and
            where in the store. take: ``best``, where it is not the network of the run's last step; file: of that network in the
            folder. path: the file, where no run made it. accuracy: of a teacher, by evaluation set.
    """

    model: str
    sha256: str
    weights_sha256: str | None = None
    run: str | None = None
    folder: str | None = None
    take: str | None = None
    file: str | None = None
    path: str | None = None
    accuracy: dict[str, float] = Field(default_factory=dict)


class Times(_Fact):
    """Seconds, see :func:`times`."""

    wall: float
    cpu: float
    device: float | None
    own: float


class Git(_Fact):
    """The commit of the package, and whether its files were changed."""

    commit: str
    changed: bool


class Record(_Fact):
    """What was asked and what came out of one finished run; :meth:`written` gives the JSON that it was read from.

    Attributes:
        format: of the record. id, cell, seed, name, label, experiment: what was asked. accuracy: by evaluation set. diverged:
            why, in a sentence. steps: taken. data: what was trained and evaluated on. teacher, start: None where there is
            none. parameters: how many. pairs: by term, which stage met which. cohort: ids trained together. sessions: one a
            process that worked on it. exact: whether bit-identity is promised. best_network: file of the network of the best
            evaluation, ``last`` where that is the last one, None where it was not kept. kept: which network the weights are, where the
            recipe leaves that open (:class:`redistill.train.kept.Kept`). files: SHA-256 by name. sha256: of all this.
    """

    format: int
    id: str
    cell: str
    seed: int
    name: str
    label: str
    experiment: dict[str, Any]
    accuracy: dict[str, Measured]
    diverged: str | None
    steps: int
    data: dict[str, dict[str, Any]]
    teacher: Origin | None = None
    start: Origin | None
    parameters: int
    weights_sha256: str
    method_sha256: str
    pairs: dict[str, list[list[str]]] = Field(default_factory=dict)
    cohort: list[str]
    time: Times
    sessions: list[dict[str, Any]] = Field(min_length=1)
    exact: str
    versions: dict[str, str]
    git: Git | None
    finished: str
    best_network: str | None = None
    kept: dict[str, Any] | None = None
    files: dict[str, str]
    sha256: str

    @field_validator("experiment")
    @classmethod
    def _asked(cls, written: dict[str, Any]) -> dict[str, Any]:
        """The keys by which every command finds its runs; the rest is read by who reads experiments."""
        shape = {"student": dict, "method": list, "source": dict, "recipe": dict, "evaluate": dict, "numerics": dict}
        for section, kind in shape.items():
            if not isinstance(written.get(section), kind):
                raise ValueError(f"{section} is missing or no {'list' if kind is list else 'table'}")
        uses = [row.get("use") if isinstance(row, dict) else None for row in written["method"]]
        if not all(isinstance(word, str) for word in (written["student"].get("model"), written["source"].get("kind"), *uses)):
            raise ValueError("it names no network, no kind of source, or a term without a name")
        return written

    @field_validator("data")
    @classmethod
    def _trained_on(cls, data: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if "train" not in data:
            raise ValueError("it does not say what was trained on")
        return data

    @field_validator("sessions")
    @classmethod
    def _worked(cls, sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        machines = [one.get("hardware") for one in sessions]
        if not all(isinstance(one, dict) and {"device", "threads"} <= one.keys() for one in machines):
            raise ValueError("a session does not say on which machine")
        return sessions

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Record:
        """The typed record.

        Raises:
            RedistillError: it lacks something, or something has another type than this version writes.
        """
        try:
            return cls.model_validate(dict(record))
        except ValidationError as error:
            first = error.errors()[0]
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            where = ".".join(map(str, first["loc"]))
            raise RedistillError(f"{where}: {first['msg'].removeprefix('Value error, ')}{more}") from error

    @property
    def network(self) -> str:
        """Of which network its accuracies are: that after the last step, where the recipe says nothing else (``ema``, ``patience``)."""
        return "after the last step" if self.kept is None else f"of {self.kept['why'].partition(',')[0]}"

    def written(self) -> dict[str, Any]:
        """The record as JSON values, key by key in the order in which records are written."""
        return self.model_dump(exclude_unset=True)


def kept_by(stream: Stream, one: Experiment) -> dict[str, bytes]:
    """Files of what the stream wants kept beside the weights."""
    from redistill.core import LeavesArtifacts
    from redistill.tensor_files import packed

    if not isinstance(stream, LeavesArtifacts):
        return {}
    metadata = {"redistill": "kept", "run": one.id}
    return {f"{name}.safetensors": packed(tensors, metadata) for name, tensors in stream.artifacts().items()}


def networks_of(records: Iterable[Record]) -> str:
    """Of which networks the accuracies of some records are, in words that may stand behind "accuracy"; those of runs that diverged are
    of none."""
    lived = dict.fromkeys(one.network for one in records if one.diverged is None)
    return " or ".join(lived) or "after the last step"


def parts_of(source: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A source, as it was asked for or as a record tells what was trained on: itself, or of a mixture its halves.

    >>> [one["data"] for one in parts_of({"kind": "mixed", "first": {"data": "a"}, "second": {"data": "b"}, "take": [1, 1]})]
    ['a', 'b']
    """
    names = ("first", "second") if source.get("kind") == "mixed" else ()
    return [one for name in names if isinstance(half := source.get(name), Mapping) for one in parts_of(half)] or [source]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def differing(before: dict[str, Any], here: dict[str, Any]) -> str | None:
    """In what two machines differ, in words, or None where bit-identity is promised."""
    keys = [key for key in here if key != "cores" and before.get(key) != here[key]]
    return ", ".join(f"{key} {before.get(key)} (here {here[key]})" for key in keys) or None


def learned_otherwise(before: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Which network a session learned or began from that had other weights in the one ``before``; None where none, or it was not said."""
    roles = {"teacher": "teacher", "start": "starting point"}
    return next((words for key, words in roles.items() if key in before and key in here and before[key] != here[key]), None)


def exactness(sessions: list[dict[str, Any]]) -> str:
    """Whether the run is promised to be bit-identical to an uninterrupted one on its machine, and if not, why."""
    for one in sessions[1:]:
        if other := differing(sessions[0]["hardware"], one["hardware"]):
            return f"no: continued on another machine: {other}"
        if role := learned_otherwise(sessions[0], one):
            return f"no: continued after its {role} had been trained again, to other weights"
    return "yes"


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
        **({} if result.kept is None else {"kept": result.kept.written()}),
    }


def curves_of(result: Result) -> dict[str, Any]:
    """``accuracy``: (step, percent) by set; ``losses``: mean of each epoch by term; ``rates``: first of each epoch;

    ``source``: (step, numbers of the source's own), where all of them are finite; ``gradient_norms``: mean of each epoch before
    clipping, if it clips, None where that is not finite (a student that diverged with the last step of an epoch).
    """
    return {
        "accuracy": {name: [list(point) for point in found.curve] for name, found in result.accuracy.items()},
        "losses": {name: list(values) for name, values in result.losses.items()},
        "rates": list(result.rates),
        "source": [[step, numbers] for step, numbers in result.source_log if all(map(math.isfinite, numbers.values()))],
        "gradient_norms": [norm if math.isfinite(norm) else None for norm in result.gradient_norms],
    }
