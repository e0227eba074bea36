"""``redistill compare``: runs that are there, and methods that are trained first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.finished_runs import finished
from redistill import models, papers
from redistill.cli.compare import _part, compare
from redistill.core import RedistillError
from redistill.papers.plan import make, select
from redistill.runs.store import Store


def test_methods_are_trained_compared_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "teacher.safetensors"
    models.save(models.wrn(10, 2, 10, channels=1, image_size=8, seed=3), file, normalisation="digits")
    given = {"methods": "KD,FSP,AB,SimKD,BAN", "teacher": str(file), "out": tmp_path / "runs", "seeds": "2", "epochs": 1, "device": "cpu"}
    compare(**given, dry_run=True)  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:2] == ["CE: 1 * CE, seeds 0, 1", "KD: 0.1 * CE + 0.9 * KD, seeds 0, 1"]
    with pytest.raises(RedistillError, match=r"--set 'method.DKD.T=2': unknown term 'DKD': did you mean KD"):
        compare(**given, dry_run=True, change=["method.DKD.T=2"])  # type: ignore[arg-type]
    compare(**given, dry_run=True, change=["method.KD.weight=0.5"])  # type: ignore[arg-type]  # the row of CE has no KD
    assert capsys.readouterr().out.splitlines()[:2] == ["CE: 1 * CE, seeds 0, 1", "KD: 0.1 * CE + 0.5 * KD, seeds 0, 1"]
    compare(**given, dry_run=True, as_json=True)  # type: ignore[arg-type]
    plan = json.loads(capsys.readouterr().out)
    assert plan["methods"][1]["method"] == "KD" and plan["methods"][1]["seeds"] == [0, 1] and list(plan["left_out"]) == ["FSP"]
    assert [(term["use"], term.get("weight", 1.0)) for term in plan["methods"][1]["terms"]] == [("CE", 0.1), ("KD", 0.9)]
    assert "left out: FSP: FSP needs maps of equal width" in printed.err and not (tmp_path / "runs").exists()

    compare(**given, no_cache=True)  # type: ignore[arg-type]
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("record.json")]
    said = [record["sessions"][-1].get("teacher_answers") for record in records if record.get("teacher") is not None]
    assert said and all(one == {"off": "--no-cache"} for one in said)
    printed = capsys.readouterr()
    table = printed.out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["CE", "KD", "AB", "SimKD", "BAN"]
    place = tmp_path / "runs" / "comparisons"
    saved = json.loads((place / "digits-wrn-10-1.json").read_text())
    assert [row["n"] for row in saved["rows"]] == [2] * 5 and "FSP" in saved["left_out"] and saved["diverged"] == []
    assert (place / "digits-wrn-10-1.md").read_text().startswith(table)
    assert len((place / "digits-wrn-10-1.csv").read_text().splitlines()) == 6

    compare(**given, as_json=True)  # type: ignore[arg-type]  # asked again, it only reads
    again = json.loads(capsys.readouterr().out)
    assert again == saved["rows"]


def test_what_does_not_go_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="unknown method 'KDD': did you mean KD"):
        compare(methods="KDD", out=tmp_path)
    with pytest.raises(RedistillError, match="'one' is a run, and --methods trains new ones"):
        compare(names=["one"], methods="KD", out=tmp_path)
    with pytest.raises(RedistillError, match="name the runs to compare"):
        compare(out=tmp_path)
    with pytest.raises(RedistillError, match="--student says how methods are trained: name them with --methods"):
        compare(names=["one"], student="wrn-10-1", out=tmp_path)
    assert _part({"use": "KD", "weight": {"start": 0, "end": 9, "first": 1.0, "last": 5.0}}) == "(1 to 5) * KD"  # it said 0 to 5
    with pytest.raises(RedistillError, match="say who is compared on cifar10"):
        compare(methods="KD", data="cifar10", out=tmp_path)


def test_a_method_that_died_with_every_seed_takes_no_table_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of thirty trained methods nothing was shown or saved where one had diverged three times."""
    ahn, store = papers.load("ahn2019"), Store(tmp_path)
    plan = make(ahn, select(ahn, ["1"], columns=["2 %"], only=["alone", "KD", "VID"]), device="cpu")
    student, kd, vid = (p.experiment.label for p in plan.cells if p.experiment is not None)
    for one, *values in zip([p.experiment for p in plan.cells], (55.0, 60.0, 20.0), (56.0, 61.5, 30.0), strict=True):
        for seed, value in enumerate(values):
            assert one is not None
            finished(store, one.with_seed(seed), value, "VID became nan at step 5 of 9" if value < 50 else None)
    compare(names=[vid, student, kd], out=tmp_path)
    told = capsys.readouterr()
    assert [line.split("|")[1].strip() for line in told.out.splitlines()[2:]] == [student, kd] and "+5.25" in told.out
    assert f"every run of {vid!r} diverged: the others are compared with {student!r}" in told.err
    assert f"left out because they diverged: {vid}, seed 0; {vid}, seed 1" in told.err
    compare(names=[student, kd, vid], out=tmp_path, baseline=kd)
    assert "-5.25" in capsys.readouterr().out
    with pytest.raises(RedistillError, match=r"every run of the baseline '.*VID.*' diverged: name another one"):
        compare(names=[student, vid], out=tmp_path, baseline=vid)
    with pytest.raises(RedistillError, match=r"every run of '.*VID.*' diverged: there is no accuracy to compare"):
        compare(names=[vid], out=tmp_path)
