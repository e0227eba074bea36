"""Small experiments, their networks and files: ``HERE / "teacher.toml"``, and ``make`` for students of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redistill.experiment.value import Experiment
from redistill.launch.cohort import CohortRun
from redistill.launch.stop import Interrupted, Stop
from redistill.runs.store import Run, Store

HERE = Path(__file__).parent
Make = Callable[..., Experiment]


@pytest.fixture
def make() -> Make:
    """``make(recipe={...}, method=[...])``: a small student of the teacher in ``teacher.toml``."""

    def of(seed: int = 0, **sections: Any) -> Experiment:
        settings = {
            "teacher": {"run": "teacher.toml"},
            "student": {"model": "./nets.py:Small"},
            "method": [{"use": "CE"}, {"use": "KD", "weight": {"start": 0, "end": 2}}],
            "source": {"data": "digits", "per_class": 10, "augment": "crop-flip:1"},
            "evaluate": {"test": "digits:test", "every": 1},
            **sections,
            "recipe": {"epochs": 3, "batch_size": 32, "lr": 0.05, **sections.get("recipe", {})},
        }
        found = Experiment.of({k: v for k, v in settings.items() if v is not None}, folder=HERE, seed=seed, device="cpu")
        return found

    return of


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the teacher of seed 0 already."""
    root = tmp_path_factory.mktemp("taught")
    Experiment.load(HERE / "teacher.toml", device="cpu").run(root)
    return root


def interrupted(ones: tuple[Experiment, ...], place: Store, at: set[int]) -> list[Run]:
    """The runs of a cohort that was stopped after each of the steps ``at`` and begun anew as if by another process."""
    while True:
        stop = Stop()
        work = CohortRun(ones, place, stop=stop)
        assert work.take()
        try:
            for progress in work:
                if progress.step + 1 in at:
                    at.discard(progress.step + 1)
                    stop.deadline = 0.0
            return work.runs
        except Interrupted:
            pass
        finally:
            work.release()
