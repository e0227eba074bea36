"""Every file in examples/ runs: the cheap ones to their end, the others with their recipe cut short (``make examples`` for the rest)."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.examples import CHEAP, at_its_end, require_reached
from redistill.experiment.value import Experiment
from redistill.launch.queue import Queue, plan
from redistill.runs.store import Store

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


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_example_reaches_what_it_should(name: str, tmp_path: Path) -> None:
    require_reached(name, at_its_end(name, Store(tmp_path)))


@pytest.mark.parametrize("file", [path for path in EXAMPLES if path.stem not in CHEAP], ids=lambda p: p.stem)
def test_examples_run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Store(tmp_path_factory.getbasetemp() / "examples")
    one = short(Experiment.load(file, device="cpu"))
    for work in Queue(plan([one]), place):
        for _ in work:
            pass
    run = place.find(one)
    assert run is not None and run.diverged is None and 0 <= run.accuracy("test") <= 100


def test_what_is_kept_names_files_without_their_places(tmp_path: Path) -> None:
    """Code, weights and data of one's own: the name stays, the folder goes, and the experiment is the same one."""
    import json
    import shutil

    import numpy as np

    from redistill.identity import identity
    from redistill.runs.export import placeless

    shutil.copy(EXAMPLES[0].parent / "own.py", tmp_path)
    np.savez(tmp_path / "few.npz", x=np.ones((6, 1, 8, 8), dtype=np.uint8), y=np.arange(6) % 3)
    data = "arrays:few.npz"
    made = {
        "student": {"model": "own.py:Tiny"},
        "method": [{"use": "CE"}],
        "source": {"data": data, "normalise": "half"},
        "recipe": {"epochs": 1},
        "evaluate": {"test": data},
    }
    written = json.loads(json.dumps(Experiment.of(made, folder=tmp_path, device="cpu").written()))
    assert str(tmp_path) in json.dumps(written)
    kept = placeless(written)
    assert str(tmp_path) not in json.dumps(kept) and identity(kept) == identity(written)
    assert (kept["student"]["file"], kept["source"]["data"]) == ("own.py", data)
    assert placeless(["hf:owner/name", "cifar10:train"]) == ["hf:owner/name", "cifar10:train"], "no files of this machine"


def test_a_record_says_which_stage_met_which(tmp_path: Path) -> None:
    from redistill.launch.queue import run_one

    asked = short(Experiment.load(EXAMPLES[0].parent / "assisted.toml", device="cpu")).written()
    asked["method"] = [{"use": "CE"}, {"use": "AT", "weight": 62.5}]
    run = run_one(Experiment.of(asked, device="cpu"), Store(tmp_path))
    assert run.record["experiment"]["method"][1]["at"] is None, "the file leaves it to the term"
    assert run.record["pairs"] == {"CE": [], "AT": [["stage1", "stage1"], ["stage2", "stage2"], ["stage3", "stage3"]]}


def test_finished_runs_are_kept_with_the_weights_of_teachers(tmp_path: Path) -> None:
    """``redistill runs --keep``: records as they are but for places on this machine, weights of who taught, nothing twice."""
    import json
    import subprocess
    import sys

    import safetensors.torch

    from redistill import models

    models.save(models.wrn(10, 1, classes=10, channels=1, seed=0), tmp_path / "start.safetensors", normalisation="digits")
    written = short(Experiment.load(EXAMPLES[0].parent / "few_images.toml", device="cpu")).written()
    written["student"] = {"model": "wrn-10-1", "from": str(tmp_path / "start.safetensors")}
    one, store = Experiment.of(written, device="cpu"), Store(tmp_path / "made")
    for work in Queue(plan([one]), store):
        for _ in work:
            pass
    script = [sys.executable, "-m", "redistill", "runs", "--out", str(store.root), "--keep", str(tmp_path / "kept")]
    for _ in range(2):
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout.startswith("2 runs and 1 teacher in"), done.stderr
    done = subprocess.run([*script, "--data", "digits"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--keep copies every finished run" in done.stderr
    mine, kept = store.find(one), Store(tmp_path / "kept" / "runs").find(one)
    assert mine is not None and kept is not None and kept.curves() == mine.curves()
    assert kept.record["experiment"]["student"]["from"]["path"] == "start.safetensors"
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "kept").rglob("*.json"))
    (row,) = json.loads((tmp_path / "kept" / "teachers" / "teachers.json").read_text())
    about = mine.record["teacher"]
    assert row["sha256"] == about["sha256"] and row["accuracy"]["test"]["last"] == about["accuracy"]["test"]
    net = models.load(tmp_path / "kept" / "teachers" / row["file"])
    there = safetensors.torch.load_file(store.root / row["run"] / "weights.safetensors")
    assert all(there[name].equal(value) for name, value in net.state_dict().items())
