"""Trackers: what they are told, once each whatever happens to the run, and that none of them can stop it."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
import torch

import redistill as rd
from helpers import small_fit
from helpers.small_fit import DATA, net
from redistill.experiment.value import Experiment
from redistill.launch import trackers, tracking
from redistill.launch.carry_out import Resources, carry_out
from redistill.launch.stop import Interrupted
from redistill.launch.trackers import OPEN, Tracked, names_of
from redistill.launch.tracking import TrackWarning, points
from redistill.runs import checkpoint
from redistill.runs.store import Store

trained = functools.partial(small_fit.trained, epochs=6)


class Fake:
    """A tracker that remembers what it is told, and fails or hangs at will."""

    received: list[tuple[str, int, dict[str, float]]]
    fails: set[int]
    hangs: threading.Event | None = None

    def __init__(self, run: Tracked, id: str | None, sent: int):
        self.id: str | None = id or "theirs"
        self.name = run.name
        type(self).opened.append((run.name, id, sent))

    opened: list[tuple[str, str | None, int]]

    def log(self, step: int, numbers: Any) -> None:
        if self.hangs is not None:
            self.hangs.wait(20)
        if step in self.fails:
            raise OSError(5, "the network is down")
        self.received.append((self.name, step, dict(numbers)))

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    Fake.received, Fake.fails, Fake.hangs, Fake.opened = [], set(), None, []
    monkeypatch.setitem(OPEN, "wandb", Fake)
    monkeypatch.setattr(tracking, "missing", lambda name: None)
    return Fake


def test_every_epochs_numbers_are_told_and_move_no_bit(fake: type[Fake]) -> None:
    plain = trained(alone := net())
    found = trained(student := net(), track="wandb")
    assert found.losses == plain.losses and all(map(torch.equal, student.state_dict().values(), alone.state_dict().values()))
    assert [step for _, step, _ in fake.received] == [3, 6, 9, 12, 15, 18]
    for epoch, (_, _, numbers) in enumerate(fake.received):
        ce, kd = (found.losses[name][epoch] for name in ("CE", "KD"))
        assert numbers == {"loss": ce + 0.5 * kd, "loss/CE": ce, "loss/KD": kd, "rate": 0.05,
                           "accuracy/test": found.accuracy["test"].curve[epoch][1]}  # fmt: skip


def test_a_run_that_goes_on_tells_no_point_twice(fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is of step 5; the tracker has heard of steps 6 and 9 when the run is stopped at 11."""
    save = checkpoint.save
    kept: list[object] = []

    def once(folder: Path, state: dict[str, Any], facts: dict[str, Any]) -> None:
        if not kept:
            kept.append(save(folder, state, facts))
            return
        if state["step"] == 11:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", lambda f, s, i: None if s["step"] < 5 else once(f, s, i))
        with pytest.raises(Interrupted):
            trained(net(), out=tmp_path / "run", checkpoint_every=0.0, track="wandb")
    assert [step for _, step, _ in fake.received] == [3, 6, 9] or [step for _, step, _ in fake.received] == [3, 6, 9, 12]
    before = len(fake.received)
    trained(net(), out=tmp_path / "run", track="wandb")
    assert [step for _, step, _ in fake.received] == [3, 6, 9, 12, 15, 18]
    assert fake.opened[1][1:] == ("theirs", fake.received[before - 1][1])
    trained(net(), out=tmp_path / "run", track="wandb")  # done: only read
    assert len(fake.received) == 6 and len(fake.opened) == 2


def test_a_tracker_that_fails_is_a_warning_and_hears_the_rest_from_the_next_process(fake: type[Fake], tmp_path: Path) -> None:
    fake.fails = {9}
    with pytest.warns(TrackWarning, match="wandb does not work .*the network is down"):
        found = trained(net(), out=tmp_path / "run", track=["wandb"])
    assert found.losses == trained(net()).losses and [step for _, step, _ in fake.received] == [3, 6]
    assert json.loads((tmp_path / "run" / "tracked-wandb.json").read_text()) == {"id": "theirs", "step": 6}
    fake.fails = set()
    tracked = tracking.Tracking(["wandb"], [Tracked("again", "id", tmp_path / "run")])
    loop = rd.Loop([(net(), rd.CE())], None, DATA, rd.Recipe(epochs=6, batch_size=8), seed=0)
    for _ in loop:
        tracked.look(loop)
    tracked.close()
    assert [step for _, step, _ in fake.received] == [3, 6, 9, 12, 15, 18]
    assert set(points(loop, 0, since=15)) == {18}


def test_a_tracker_that_hangs_is_left(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.05)
    monkeypatch.setattr(tracking, "_IN_VAIN", set())
    fake.hangs = threading.Event()
    with pytest.warns(TrackWarning, match=r"wandb did not take all points within 0.05 s: it is left"):
        assert trained(net(), track="wandb").steps == 18
    fake.hangs.set()


def test_a_mistake_in_the_tracking_itself_stops_nothing(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "points", lambda *given: 1 / 0)
    with pytest.warns(TrackWarning, match="nothing more is tracked .*ZeroDivisionError"):
        assert trained(net(), track="wandb").steps == 18


def test_a_missing_package_is_a_warning_and_an_unknown_name_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trackers.PACKAGES, "mlflow", "no_such_module")
    with pytest.warns(TrackWarning, match=r"mlflow is not installed.*pip install 'redistill\[mlflow\]'"):
        trained(net(), track="mlflow")
    with pytest.raises(rd.RedistillError, match=r"unknown tracker .wandbb.: known are tensorboard, wandb, mlflow, trackio"):
        trained(net(), track="wandbb")
    assert names_of(["TensorBoard, wandb", "wandb"]) == ("tensorboard", "wandb")


def test_runs_of_a_store_are_tracked_each_under_its_own_name(fake: type[Fake], tmp_path: Path) -> None:
    def one(lr: float) -> Experiment:
        settings = {"name": f"lr {lr}", "student": {"model": "mlp", "args": {"inputs": 64}}, "method": [{"use": "CE"}],
                    "source": {"data": "digits", "per_class": 10}, "recipe": {"epochs": 2, "lr": lr}, "evaluate": {}}  # fmt: skip
        return Experiment.of(settings, device="cpu")

    pytest.importorskip("sklearn")
    store = Store(tmp_path)
    wanted = [one(0.1), one(0.2)]
    assert carry_out(wanted, store, Resources(track=("wandb",))).status == 0
    assert {(name, step) for name, step, _ in fake.received} == {(f"lr {lr}, seed 0", s) for lr in (0.1, 0.2) for s in (1, 2)}
    again = carry_out(wanted, store, Resources(track=("wandb",)))
    assert len(again.found) == 2 and len(fake.received) == 4


# -- the packages ---------------------------------------------------------------------------------------------------------
def sent(name: str, run: Tracked, id: str | None = None) -> trackers.Tracker:
    tracker = OPEN[name](run, id, 0)
    tracker.log(3, {"loss": 1.5, "loss/./mine.py:T": 2.0})
    tracker.flush()
    tracker.close()
    return tracker


RUN = Tracked("KD, seed 0", "0123456789abcdef", None, {"seed": 0})


def test_wandb_is_called_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of the three calls that are used; the package itself is not on the machines that test."""
    calls: list[Any] = []
    handle = types.SimpleNamespace(log=lambda row, step: calls.append((row, step)), finish=lambda: calls.append("finish"))
    module = types.SimpleNamespace(init=lambda **given: calls.append(given) or handle, Settings=lambda **given: given)
    monkeypatch.setitem(sys.modules, "wandb", module)
    assert sent("wandb", RUN).id == RUN.id
    assert calls[0]["id"] == RUN.id and calls[0]["resume"] == "allow" and calls[0]["project"] == "redistill"
    assert calls[1:] == [({"loss": 1.5, "loss/./mine.py:T": 2.0}, 3), "finish"]


def test_mlflow_is_called_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Client:
        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str) -> str:
            return "7"

        def create_run(self, home: str, **given: Any) -> Any:
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"run of {home}"))

        def log_metric(self, *given: Any, step: int) -> None:
            calls.append((*given, step))

        def set_terminated(self, run: str) -> None:
            calls.append(run)

    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(MlflowClient=Client))
    assert sent("mlflow", RUN).id == "run of 7"
    assert calls == [("run of 7", "loss", 1.5, 3), ("run of 7", "loss...mine.py_T", 2.0, 3), "run of 7"]
    assert sent("mlflow", RUN, "there before").id == "there before"


def test_trackio_is_called_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    handle = types.SimpleNamespace(log=lambda row, step: calls.append((row, step)), finish=lambda: calls.append("finish"))
    monkeypatch.setitem(sys.modules, "trackio", types.SimpleNamespace(init=lambda **given: calls.append(given) or handle))
    assert sent("trackio", RUN).id == "KD, seed 0 01234567"
    assert calls[0]["resume"] == "allow" and calls[1] == ({"loss": 1.5, "loss/./mine.py:T": 2.0}, 3) and calls[2] == "finish"


def test_tensorboard_holds_every_point_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra: pip install 'redistill[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = trained(net(), out=tmp_path / "run", track="tensorboard")
    [place] = (tmp_path / "run" / "tensorboard").iterdir()
    received = EventAccumulator(str(place)).Reload()
    assert [(e.step, round(e.value, 4)) for e in received.Scalars("accuracy/test")] == [
        (step, round(value, 4)) for step, value in found.accuracy["test"].curve
    ]
    assert set(received.Tags()["scalars"]) == {"loss", "loss/CE", "loss/KD", "rate", "accuracy/test"}
