"""Four places where curves are watched, each behind the same three calls; their packages are extras and imported when they are used.

What a package needs of its own (an address, a key) it takes from its own environment: ``MLFLOW_TRACKING_URI``, ``WANDB_MODE`` ...
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from redistill.errors import RedistillError, cut

PROJECT = "redistill"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""Trackers by name, and the module that each needs."""


@dataclass(frozen=True)
class Tracked:
    """One run as trackers are told of it.

    Attributes:
        name: for people. id: the same for the same run, whenever it goes on. folder: where its files go; None: the current one.
        settings: what was asked.
    """

    name: str
    id: str
    folder: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """Where the points of one run go. ``id``: by which it finds the run again when it goes on; None where it needs none."""

    id: str | None

    def log(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def names_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """The trackers that somebody asked for, each once.

    >>> names_of("tensorboard,mlflow"), names_of(["wandb", "wandb"])
    (('tensorboard', 'mlflow'), ('wandb',))

    Raises:
        RedistillError: a name that is none, with those that there are.
    """
    words = [given] if isinstance(given, str) else list(given)
    found = [name.strip().lower() for word in words for name in word.split(",") if name.strip()]
    for name in found:
        if name not in PACKAGES:
            raise RedistillError(f"unknown tracker {cut(name)!r}: known are {', '.join(PACKAGES)}")
    return tuple(dict.fromkeys(found))


def missing(name: str) -> str | None:
    """What to install, where the package of a tracker is not there."""
    if importlib.util.find_spec(PACKAGES[name]) is not None:
        return None
    return f"{name} is not installed, so nothing is sent there: pip install 'redistill[{name}]'"


class TensorBoard:
    """Event files in ``tensorboard/`` of the run's folder: ``tensorboard --logdir runs``."""

    id: str | None = None

    def __init__(self, run: Tracked, id: str | None, sent: int):
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        place = (run.folder if run.folder is not None else Path()) / "tensorboard" / re.sub(r"[^\w.+=-]+", "-", run.name).strip("-")
        # what an earlier process wrote beyond `sent` and did not live to note is not shown twice
        self._writer = writer(str(place), purge_step=sent + 1 if sent else None)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run of the project ``redistill``, with the run's own id, so that it goes on as the same one."""

    def __init__(self, run: Tracked, id: str | None, sent: int):
        wandb = importlib.import_module("wandb")
        self.id: str | None = id if id is not None else run.id
        self._run = wandb.init(
            project=PROJECT, id=self.id, name=run.name, config=dict(run.settings), resume="allow", reinit="create_new",
            dir=None if run.folder is None else str(run.folder), settings=wandb.Settings(silent=True),
        )  # fmt: skip

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def flush(self) -> None:
        return None  # its own process sends

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of the experiment ``redistill``, by the client alone: nothing of a program that uses mlflow itself is moved."""

    def __init__(self, run: Tracked, id: str | None, sent: int):
        self._client = importlib.import_module("mlflow").MlflowClient()
        if id is None:
            known = self._client.get_experiment_by_name(PROJECT)
            home = known.experiment_id if known is not None else self._client.create_experiment(PROJECT)
            id = str(self._client.create_run(home, run_name=run.name, tags={"redistill.id": run.id}).info.run_id)
        self.id: str | None = id

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            # its store of files would need "loss" to be a file and a folder for "loss/CE"
            self._client.log_metric(self.id, re.sub(r"[^\w\-. ]", "_", name.replace("/", ".")), value, step=step)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self._client.set_terminated(self.id)


class Trackio:
    """A run of the project ``redistill``, found again by its name."""

    def __init__(self, run: Tracked, id: str | None, sent: int):
        trackio = importlib.import_module("trackio")
        self.id: str | None = id if id is not None else f"{run.name} {run.id[:8]}"
        self._run = trackio.init(project=PROJECT, name=self.id, config=dict(run.settings), resume="allow", embed=False)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self._run.finish()


OPEN: dict[str, Callable[[Tracked, str | None, int], Tracker]] = {
    "tensorboard": TensorBoard, "wandb": Wandb, "mlflow": MLflow, "trackio": Trackio,
}  # fmt: skip
"""``OPEN[name](run, id, sent)``: ``id`` as the tracker gave it before, None the first time; ``sent``: the last step it has."""
