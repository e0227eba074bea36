"""Every file in examples/ runs (its recipe cut short)."""

from __future__ import annotations

from pathlib import Path

import pytest

from redistill.experiment.run import Queue, plan
from redistill.experiment.store import Store
from redistill.experiment.value import Experiment

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


def short(one: Experiment) -> Experiment:
    """The same experiment, and those it needs, with one epoch of training."""
    nets = {
        role: net.model_copy(update={"run": short(net.run)} if net.run is not None else {})
        for role in ("teacher", "student")
        if (net := getattr(one, role)) is not None
    }
    written = one.model_copy(update=nets).written()
    written["recipe"] |= {"epochs": 1, "steps": None}
    return Experiment.of(written, device="cpu")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda p: p.stem)
def test_examples_run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Store(tmp_path_factory.getbasetemp() / "examples")
    one = short(Experiment.load(file, device="cpu"))
    for work in Queue(plan([one]), place):
        for _ in work:
            pass
    run = place.find(one)
    assert run is not None and run.diverged is None and 0 <= run.accuracy("test") <= 100
