"""A run that was at guessing on its way did not diverge, and has an accuracy that says little of its method: it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.finished_runs import finished
from redistill import papers
from redistill.cli.look import _tell
from redistill.evidence.files import Stated
from redistill.evidence.stored import read_store
from redistill.experiment.value import Experiment
from redistill.papers.explain import effects, rows, sentences, variants
from redistill.papers.plan import make, select
from redistill.runs.fall import Fall, fall
from redistill.runs.lookup import Found
from redistill.runs.store import Run, Store
from redistill.verdicts.tables import judged

AHN = papers.load("ahn2019")
CELL = AHN.cell("1:VID:2 %")
CURVE = [(400, 47.28), (800, 46.45), (1200, 50.46), (1600, 10.0), (2000, 40.1), (8000, 52.0)]
WORDS = "seed 2 fell to guessing on its way (10.00 % at step 1,600, after 50.46 % at step 1,200)"


def one(name: str = "size", seed: int = 2) -> Experiment:
    return variants(AHN, CELL, only=[name], device="cpu")[1].experiment.with_seed(seed)


def run(folder: Path, curve: list[tuple[int, float]], diverged: str | None = None, images: int | None = 10_000) -> Run:
    """A finished run on the ten classes of CIFAR-10 with these evaluations."""
    store, asked = Store(folder), one()
    finished(store, asked, curve[-1][1], diverged, curve=curve, images=images)
    found = store.find(asked)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (CURVE, Fall(1200, 50.46, 1600, 10.0)),
        ([(1, 50.0), (2, 10.0), (3, 10.0)], Fall(1, 50.0, 2, 10.0)),  # and stayed there
        ([(1, 50.0), (2, 10.9), (3, 60.0)], Fall(1, 50.0, 2, 10.9)),  # three standard errors of 10,000 images: 10.9
        ([(1, 50.0), (2, 10.91), (3, 60.0)], None),
        ([(1, 43.42), (2, 23.97), (3, 59.94)], None),  # a high rate, KD with 2 %
        ([(1, 10.0), (2, 10.0), (3, 60.0)], None),  # it had not begun
        ([(1, 25.0), (2, 10.0), (3, 60.0)], None),  # less than half of what it came to: a beginning
        ([(1, 21.0), (2, 10.0), (3, 21.5)], None),  # less than twice guessing
        ([(1, 21.9), (2, 10.0), (3, 21.5)], Fall(1, 21.9, 2, 10.0)),
        ([], None),
    ],
)  # fmt: skip
def test_a_fall_is_an_evaluation_at_guessing_after_half_of_the_best(
    tmp_path: Path, curve: list[tuple[int, float]], expected: Fall | None
) -> None:
    assert fall(run(tmp_path, curve or [(1, 10.0)])) == expected


def test_what_cannot_be_known_is_not_told(tmp_path: Path) -> None:
    assert fall(run(tmp_path / "a", CURVE, diverged="CE became nan at step 5")) is None  # it counts as guessing anyway
    assert fall(run(tmp_path / "b", CURVE, images=None)) is None
    assert fall(run(tmp_path / "c", CURVE), "other") is None
    gone = run(tmp_path / "d", CURVE)
    (gone.folder / "curves.json").unlink()
    assert fall(gone) is None


def test_it_stands_where_the_run_is_judged_explained_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "runs")
    plain, changed = variants(AHN, CELL, only=["size"], device="cpu")
    finished(store, plain.experiment.with_seed(2), 70.94, curve=[(400, 40.0), (8000, 70.94)], images=10_000)
    finished(store, changed.experiment.with_seed(2), 52.0, curve=CURVE, images=10_000)

    found = effects([plain, changed], Found(store), [2])
    head, line = sentences(found, AHN, CELL)
    assert "fell" not in head and f"size: -18.94, of one seed: no interval, {WORDS}; " in line
    departure = rows(found, AHN, CELL)["departures"][0]
    assert departure["fell_to_guessing"] == {"2": {"step": 1600, "to": 10.0, "from": 50.46}}

    finished(store, plain.experiment.with_seed(0), 52.0, curve=CURVE, images=10_000)
    asked = make(AHN, select(AHN, ["1"], columns=["2 %"], only=["VID"]), device="cpu")
    [table] = judged(asked, store)
    note = next(f.note for f in table.findings if f.claim.cells == ("VID / 2 %",))
    assert WORDS.replace("seed 2", "seed 0") in note and "seed 2 fell" not in note

    fallen = WORDS.replace("seed 2", f"run {changed.experiment.with_seed(2).id} (seed 2)") + " and counts as it ended"
    assert fallen in read_store(store.root, Stated()).notes

    shown = store.find(changed.experiment.with_seed(2))
    assert shown is not None
    _tell(shown, None)
    assert f"  FALLEN: it {WORDS.removeprefix('seed 2 ')}\n" in capsys.readouterr().out
