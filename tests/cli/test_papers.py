"""``redistill papers``, ``reproduce`` and ``report`` on a paper that trains in seconds."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import redistill.cli.papers
import redistill.cli.report  # noqa: F401  it adds its command
from helpers.experiments import HERE
from helpers.finished_runs import finished
from redistill import models, papers
from redistill.cli import app
from redistill.experiment.value import Arithmetic
from redistill.launch import rates
from redistill.papers.explain import variants
from redistill.papers.load import load
from redistill.papers.plan import make, select
from redistill.report.paper import departed_lines
from redistill.runs.store import Store
from redistill.verdicts.tables import judged

SMALL = (HERE / "small.toml").read_text(encoding="utf-8")
invoke = CliRunner().invoke


@pytest.fixture(autouse=True)
def _rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CACHE", str(tmp_path / "cache"))  # a made-up rate does not reach the user's own
    monkeypatch.setattr(rates, "measured", lambda device, precision: 1e10)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def reproduce(paper: Path | str, tmp_path: Path, *more: str) -> str:
    result = invoke(app, ["reproduce", str(paper), "--out", str(tmp_path / "runs"), "--device", "cpu", *more])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_a_paper_from_plan_to_report(small: Path, tmp_path: Path) -> None:
    out = reproduce(small, tmp_path, "--seeds", "2", "--dry-run")
    # alone M=10, KD M=10, alone M=20, two seeds; the teacher of each seed
    assert out.splitlines()[-1].startswith("cells 3 experiments 8 teachers 2 hours 0.0")
    assert " h  " not in out and out.count("  run, seed ") == 6  # seconds are told as seconds
    assert not (tmp_path / "runs").exists()
    out = reproduce(small, tmp_path, "--seeds", "2")
    assert out.count("(written: ") == 6 and "10 / alone is " in out
    again = reproduce(small, tmp_path, "--seeds", "2")
    assert again.count("(was there: ") == 6 and "8 of 8 runs are there already" in again
    words = ["-o", str(tmp_path / "report"), "--out", str(tmp_path / "runs"), "--seeds", "2", "--device", "cpu"]
    result = invoke(app, ["report", str(small), *words])
    assert result.exit_code == 0, result.output
    (tmp_path / "plain.txt").write_text("mine", encoding="utf-8")
    told = invoke(app, ["report", str(small), "--checkpoints", str(tmp_path), "-o", str(tmp_path / "plain.txt"), *words[2:]])
    assert "a file of that name is there" in str(told.exception) and not (tmp_path / "runs" / "checkpoints").exists()
    text = (tmp_path / "report" / "small.md").read_text(encoding="utf-8")
    assert "| 10 / alone | value | 50.0 ± 0.3 |" in text and "not attempted" not in text and "6 runs, " in text


def test_seeds_auto_looks_where_it_said_and_no_further(small: Path, tmp_path: Path) -> None:
    small.write_text(SMALL.replace("per_class = \"{M}\"", "per_class = 2").replace("epochs = 2", "epochs = 1"), encoding="utf-8")
    words = ["--seeds", "auto", "--table", "1", "--only", "alone", "--rows", "10"]
    plan = reproduce(small, tmp_path, *words, "--dry-run")
    assert plan.splitlines()[-1].startswith("cells 1 experiments 3 teachers 0 ")
    out = reproduce(small, tmp_path, *words)
    runs = sorted(int(path.parent.name.removeprefix("seed-")) for path in (tmp_path / "runs").glob("*/seed-*/record.json"))
    assert len(runs) in (3, 5, 10) and runs == list(range(len(runs)))
    looked = [look for look in (5, 10) if f"look at {look} seeds: " in out]
    assert looked == [look for look in (5, 10) if look <= len(runs)]
    [rule] = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "runs").glob("rules/small/1/*.json")]
    assert rule["rule"]["looks"] == [3, 5, 10] and rule["planned"] == [0, 1, 2] and rule["late"] == []
    again = reproduce(small, tmp_path, *words)
    assert "(written: " not in again and len(list((tmp_path / "runs").glob("*/seed-*/record.json"))) == len(runs)
    assert [line for line in again.splitlines() if line.startswith("10 / alone ")] == [
        line for line in out.splitlines() if line.startswith("10 / alone ")
    ]


def test_a_part_of_the_length_is_named_everywhere_and_judged_nowhere(small: Path, tmp_path: Path) -> None:
    out = reproduce(small, tmp_path, "--scale", "0.5", "--only", "alone", "--rows", "10", "--seeds", "1")
    assert "scale 0.5: every record says so, and no verdict is given" in out and " is below" not in out
    [record] = (tmp_path / "runs").glob("*/seed-0/record.json")
    found = json.loads(record.read_text(encoding="utf-8"))
    assert "(scale 0.5)" in found["name"] and "scale 0.5" in found["experiment"]["notes"]
    assert found["experiment"]["recipe"]["epochs"] == 1


def test_the_plan_as_json(small: Path, tmp_path: Path) -> None:
    result = invoke(app, ["reproduce", str(small), "--dry-run", "--json", "--out", str(tmp_path), "--device", "cpu", "--seeds", "1"])
    found = json.loads(result.stdout)
    assert (found["cells"], found["experiments"], found["teachers"]) == (3, 4, 1)
    assert sum(len(group["experiments"]) for group in found["groups"]) == 4


def test_a_dry_run_of_a_whole_paper_reads_nothing_and_is_quick(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "redistill", "reproduce", "chen2021", "--dry-run", "--device", "cpu", "--out", str(tmp_path)]
    (tmp_path / "cache").mkdir()
    facts = {"REDISTILL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=facts, check=True)
    assert done.stdout.splitlines()[-1].startswith("cells 198 experiments 512 teachers 12 hours ")


@pytest.mark.parametrize("name", papers.names())
def test_every_command_of_the_files_makes_a_plan(name: str) -> None:
    for command in papers.load(name).file.command:
        words = shlex.split(command.ours.partition(" && ")[0])
        if words[1] == "explain":
            assert words[2].startswith(f"{name}:")
            result = invoke(app, [*words[1:], "--dry-run", "--device", "cpu", "--seeds", "1"])
            assert result.exit_code == 0, f"{command.ours}: {result.output}{result.exception}"
            continue
        assert words[:3] == ["redistill", "reproduce", name]
        result = invoke(app, [*words[1:], "--dry-run", "--device", "cpu", "--seeds", "1"])
        assert result.exit_code == 0, f"{command.ours}: {result.output}{result.exception}"
        assert result.output.splitlines()[-1].startswith("cells "), command.ours


def test_listing_and_checking(small: Path) -> None:
    listed = invoke(app, ["papers"]).output
    assert [text.split()[0] for text in listed.splitlines()] == papers.names()
    result = invoke(app, ["papers", str(small), "--check"])
    assert result.exit_code == 0 and "3 cells" in result.output
    small.write_text(SMALL.replace("T = 4.0", "temperature = 4.0"), encoding="utf-8")
    result = invoke(app, ["papers", str(small), "--check"])
    assert result.exit_code == 1 and "unknown setting of KD 'temperature'" in result.output


def test_teachers_are_named_with_their_file(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--teacher 'Big': write NET=FILE"):
        reproduce(small, tmp_path, "--teacher", "Big")
    with pytest.raises(ValueError, match="there is no file"):
        reproduce(small, tmp_path, "--teacher", f"Big={tmp_path / 'none.safetensors'}")


def test_departures_are_ranked_by_what_they_do(small: Path, tmp_path: Path) -> None:
    words = [f"{small}:1:10:KD", "--out", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "2"]
    first = invoke(app, ["explain", *words, "--dry-run"])
    assert "8 runs are missing" in first.output and "temperature: not measured (0 seeds)" in first.output
    result = invoke(app, ["explain", *words])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()[-3:]
    assert lines[0].startswith("small:1:10:KD: ") and lines[0].endswith("the paper prints 60.00")
    sizes = [abs(float(text.split()[1])) for text in lines[1:]]
    assert sizes == sorted(sizes, reverse=True) and {text.split(":")[0] for text in lines[1:]} == {"temperature", "rate"}


def test_a_run_that_diverged_long_ago_is_a_fact_and_no_failure_of_explain(small: Path, tmp_path: Path) -> None:
    store, paper = Store(tmp_path / "runs"), load(str(small))
    plain, _ = variants(paper, paper.cell("1:10:KD"), only=["rate"], device="cpu")
    finished(store, plain.experiment.with_seed(0), 50.0, diverged="KD (weight 0.9) became nan at step 5 of 9: lower the rate")
    words = ["explain", f"{small}:1:10:KD", "--only", "rate", "--runs", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "1"]
    assert "2 runs are missing" in invoke(app, [*words, "--dry-run"]).stdout  # of the departure, and of its teacher
    result = invoke(app, words)
    assert result.exit_code == 0 and "became nan" not in result.output, result.output
    head, row = result.stdout.splitlines()[-2:]
    assert head.startswith("small:1:10:KD: seed 0 diverged, the paper prints 60.00") and ", alive with seed 0 where " in row
    # what this command has run and diverged is its failure, once
    small.write_text(SMALL.replace("recipe.lr = 0.0", "recipe.lr = 1e30"), encoding="utf-8")
    result = invoke(app, words)
    assert result.exit_code == 1 and "with rate changed (seed 0) diverged: " in result.output, result.output
    assert invoke(app, words).exit_code == 0


def test_effects_as_json(tmp_path: Path) -> None:
    store, paper = Store(tmp_path / "runs"), load("ahn2019")
    plain, floor = variants(paper, paper.cell("1:VID:2 %"), only=["floor"], device="cpu")
    for seed, values in enumerate([(70.0, 61.0), (71.0, 60.0), (72.0, 10.0)]):
        finished(store, plain.experiment.with_seed(seed), values[0])
        finished(store, floor.experiment.with_seed(seed), values[1], diverged="inf at step 5" if seed == 2 else None)
    words = ["explain", "ahn2019:1:VID:2 %", "--only", "floor", "--runs", str(tmp_path / "runs"), "--device", "cpu", "--json"]
    found = json.loads(invoke(app, words).stdout)
    assert (found["cell"], found["printed"]) == ("ahn2019:1:VID:2 %", 81.59)
    assert found["as_planned"] == {"accuracy": {"0": 70.0, "1": 71.0, "2": 72.0}, "diverged": [], "fell_to_guessing": {}}
    [row] = found["departures"]
    assert (row["name"], row["accuracy"], row["diverged"]) == ("floor", {"0": 61.0, "1": 60.0}, [2])
    effect = row["effect"]
    assert (effect["value"], effect["seeds"]) == (-10.0, 2) and effect["low"] < -10.0 < effect["high"]


def test_code_of_ones_own_in_a_paper_is_explained_on_the_users_word(small: Path, tmp_path: Path) -> None:
    """The sentence said to add an option that the command did not have, after the teacher had been trained for nobody."""
    small.write_text(SMALL.replace('LeNet = "wrn-10-1"', 'LeNet = "./nets.py:Small"'), encoding="utf-8")
    (tmp_path / "nets.py").write_text((HERE / "nets.py").read_text(encoding="utf-8") + "\n# of this test\n", encoding="utf-8")
    words = ["explain", f"{small}:1:10:KD", "--only", "rate", "--runs", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "1"]
    refused = invoke(app, words)
    assert refused.exit_code == 1 and "add --trust-code" in refused.stderr and "./nets.py:Small" in refused.stderr
    assert list(Store(tmp_path / "runs").runs()) == []
    assert invoke(app, [*words, "--trust-code"]).exit_code == 0
    assert len(list(Store(tmp_path / "runs").runs())) == 3


def test_runs_of_another_device_count_in_explain_as_in_reports(tmp_path: Path) -> None:
    store, paper = Store(tmp_path / "runs"), load("ahn2019")
    plain, floor = variants(paper, paper.cell("1:VID:2 %"), only=["floor"], device="cpu")
    there = Arithmetic(device="cuda", forward="float32", channels_last=False, compile=False)
    finished(store, plain.experiment.model_copy(update={"arithmetic": there}), 70.0)
    finished(store, floor.experiment, 61.0)
    words = ["explain", "ahn2019:1:VID:2 %", "--only", "floor", "--runs", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "1"]
    said = invoke(app, words).stdout.splitlines()  # nothing is missing, so nothing is run
    assert said[0].startswith("ahn2019:1:VID:2 %: 70.00 (1 seed)") and said[1].startswith("floor: -9.00, of one seed")
    [table] = judged(make(paper, select(paper, ["1"], columns=["2 %"], only=["VID"]), device="cpu"), store)
    [line] = departed_lines(table)
    assert line.partition("floor: ")[2] == said[1].partition("floor: ")[2]


def test_what_no_longer_counts_is_told_where_a_cell_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, paper = Store(tmp_path / "runs"), load("ahn2019")
    plain, floor = variants(paper, paper.cell("1:VID:2 %"), only=["floor"], device="cpu")
    for one, value in ((plain, 70.0), (floor, 61.0)):
        finished(store, one.experiment, value)
    monkeypatch.setattr("redistill.runs.store.stale", lambda run, store: "its teacher t has other weights by now")
    monkeypatch.setattr("redistill.runs.lookup.other_weights", lambda run, store: "its teacher t has other weights by now")
    words = ["explain", "ahn2019:1:VID:2 %", "--only", "floor", "--runs", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "1"]
    result = invoke(app, words)
    assert result.stdout.splitlines()[0].startswith("ahn2019:1:VID:2 %: not run yet")
    assert f"{plain.experiment.label}, seed 0 is stale and not counted: its teacher t has other weights by now" in result.stderr


def test_runs_of_another_teacher_are_told_where_a_cell_is_explained(tmp_path: Path) -> None:
    """Without ``--teacher`` a cell is asked of a trained teacher, and what learned from a file is not there: it says so."""
    store, paper, file = Store(tmp_path / "runs"), load("ahn2019"), tmp_path / "big.safetensors"
    models.save(models.wrn(40, 2, classes=10, seed=0), file, normalisation="cifar10-kuangliu")
    plain, floor = variants(paper, paper.cell("1:VID:2 %"), only=["floor"], device="cpu", teachers={"wrn-40-2": file})
    for one, value in ((plain, 70.0), (floor, 61.0)):
        finished(store, one.experiment.with_seed(0), value)
    words = ["explain", "ahn2019:1:VID:2 %", "--only", "floor", "--runs", str(tmp_path / "runs"), "--device", "cpu", "--dry-run"]
    untold, told = (invoke(app, [*words, *more]).stdout.splitlines() for more in ([], ["--teacher", f"wrn-40-2={file}"]))
    assert untold[-1].startswith("seed 0 learned from another teacher, big.safetensors (SHA-256 ")
    assert untold[-1].endswith("): not counted here, --teacher wrn-40-2=FILE judges them") and "not run yet" in untold[1]
    assert told[-1].startswith("floor: -9.00, of one seed: no interval") and len(told) == len(untold) - 1


def test_what_cannot_be_explained(small: Path) -> None:
    for words, says in (
        (["micaelli2019"], "'micaelli2019' is a paper: name a cell of it"),
        (["micaelli2019:1:WRN-40-2:zero-shot"], "unknown cell '1:WRN-40-2:zero-shot': did you mean"),
        (["micaelli2019:figure2-cifar10:zero-shot:M = 10"], "no experiment can be made of micaelli2019:figure2-cifar10"),
        ([f"{small}:1:10:alone"], "has no departure with a switch"),
        ([f"{small}:1:10:KD", "--only", "temprature"], "unknown departure of small:1:10:KD 'temprature': did you mean temperature"),
    ):
        result = invoke(app, ["explain", *words, "--device", "cpu"])
        assert says in str(result.exception)


MTE = """
[table.mte]
caption = "m"
page = "p. 2"
metric = "mte"
where = { teacher = "Big", student = "LeNet", M = 10 }
protocol = { which = "none", aggregate = "single", seeds = "unknown", tolerance = 0.05 }
header = ["row", "KD", "KD, teacher's gradient"]
rows = [
  ["digits", "0.20", "?"],
]
row = { digits = {} }
[table.mte.column]
KD = { method = "KD" }
"KD, teacher's gradient" = { method = "KD", gradient = "teacher" }
"""


def test_transition_errors_are_measured_once(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from redistill.verdicts import beliefs

    small.write_text(SMALL + MTE, encoding="utf-8")
    reproduce(small, tmp_path, "--table", "mte", "--seeds", "2")
    monkeypatch.setattr(beliefs, "COUNT", 5)
    monkeypatch.setattr(beliefs, "STEPS", 3)
    words = ["report", str(small), "--table", "mte", "-o", str(tmp_path / "r"), "--out", str(tmp_path / "runs"), "--seeds", "2"]
    result = invoke(app, [*words, "--device", "cpu", "--belief"])
    assert result.exit_code == 0, result.output
    assert result.output.count("pushed by the student: MTE 0.") == 2 and result.output.count("pushed by the teacher") == 2
    assert len(list((tmp_path / "runs" / "beliefs").glob("*.json"))) == 4
    again = invoke(app, [*words, "--device", "cpu", "--belief"])
    assert "MTE" not in again.output
    text = (tmp_path / "r" / "small.md").read_text(encoding="utf-8")
    assert "| digits / KD | value | 0.20 | 0." in text


def test_a_plan_that_was_cut_off_goes_on(small: Path, tmp_path: Path) -> None:
    words = ["reproduce", str(small), "--out", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "2"]
    cut = invoke(app, [*words, "--time-budget", "0.2s"])
    assert cut.exit_code == 75, cut.output
    done = len(list((tmp_path / "runs").glob("*/seed-*/record.json")))
    assert done < 8
    assert invoke(app, words).exit_code == 0
    assert len(list((tmp_path / "runs").glob("*/seed-*/record.json"))) == 8


def test_a_plan_tells_the_rate_that_its_hours_are_reckoned_by(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "measured", lambda device, precision: {"strict": 1e10, "fast": 4e10}[precision])
    small.write_text(SMALL.replace("epochs = 2", 'epochs = 2\nprecision = "fast"'), encoding="utf-8")
    assert reproduce(small, tmp_path, "--seeds", "1", "--dry-run").splitlines()[-2] == "at 40.0 GMAC/s"
    case = '[[case]]\nwhere = { method = "KD" }\nset = { recipe.precision = "fast" }\n\n[table.1]'
    small.write_text(SMALL.replace("[table.1]", case), encoding="utf-8")
    assert reproduce(small, tmp_path, "--seeds", "1", "--dry-run").splitlines()[-2] == "at 10.0 GMAC/s in strict and 40.0 GMAC/s in fast"
