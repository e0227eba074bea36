"""The command line: what it prints, where, and with which exit status; real processes that are really killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.experiments import HERE
from redistill.cli import ORDER, program
from redistill.experiment.value import Experiment
from redistill.runs.compare import differences
from redistill.runs.store import Store

WORDS = [sys.executable, "-m", "redistill"]
SOURCE = str(Path(__file__).parents[2] / "src")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": SOURCE}


def redistill(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WORDS, *map(str, words)], capture_output=True, text=True, env=environment(), timeout=120, check=False)


@pytest.fixture
def out(teacher_file: Path, tmp_path: Path) -> Path:
    shutil.copytree(teacher_file, tmp_path / "runs")
    return tmp_path / "runs"


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['redistill', '--help']\n"
        "from redistill.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = sorted({'torch', 'numpy', 'pydantic', 'rich'} & sys.modules.keys()); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert "Run experiments, and whatever they need first." in done.stdout


def test_usage_says_how_often_an_argument_may_stand_once() -> None:
    """It said ``[[RUN...]]...``: the program adds brackets and dots by itself."""
    for name in ORDER:
        done = CliRunner().invoke(program(), [name, "--help"])
        usage = " ".join(done.output.partition("\n\n")[0].split())
        assert done.exit_code == 0 and usage.startswith("Usage:"), done.output
        assert not re.search(r"\[\[\w|\.\.\.[\]}]|\.\.\. *\.\.\.", usage), usage
        arguments = re.findall(r"[\[{]([^\[\]{}]+)[\]}]", usage.partition("[OPTIONS]")[2])
        assert all(one == one.upper() for one in arguments), usage


def test_run_json_is_nothing_but_json(out: Path) -> None:
    done = redistill("run", HERE / "student.toml", "--seeds", "0,", "--out", out, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["runs"]
    assert row["seed"] == 0 and row["label"] == "few digits" and set(row["accuracy"]) == {"test", "held_out"}
    again = redistill("run", row["folder"], "--out", out, "--device", "cpu")  # a record is an experiment
    assert again.returncode == 0 and "was there" in again.stdout and again.stderr == ""


def test_mistakes_end_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[student]\nmodel = "wrn-16-"\n[[method]]\nuse = "CE"\n[source]\ndata = "digits"\n[recipe]\nlr = 1\n')
    done = redistill("run", tmp_path / "a.toml")
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert "line 2, student.model" in done.stderr and "give the length once" in done.stderr
    assert "Traceback" in redistill("run", tmp_path / "a.toml", "--debug").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "x"], "write 3 for the seeds 0, 1, 2"),
        (["--seeds", "20261127"], "write 20261127, with the comma for that one alone"),
        (["--time-budget", "soon"], "is no length of time"),
        (["--device", "gpu"], "unknown device 'gpu': use auto, cpu, cuda"),
        (["--set", "recipe.lrr=1"], "did you mean lr?"),
    ],
)
def test_bad_options(words: list[str], says: str, tmp_path: Path) -> None:
    done = redistill("run", HERE / "teacher.toml", "--out", tmp_path, *words)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


LONG = ["--set", "recipe.epochs=40", "--set", "evaluate.every=20", "--device", "cpu", "--threads", "1"]


def begin(out: Path, *words: str) -> subprocess.Popen[str]:
    """A real process in the middle of its training: it has written a checkpoint of its own."""
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-0/checkpoint.safetensors")}
    process = subprocess.Popen(
        [*WORDS, "run", str(HERE / "student.toml"), "--out", str(out), *LONG, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while {p: p.stat().st_mtime_ns for p in out.glob("*/seed-0/checkpoint.safetensors")} == before and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_stopped_and_killed_at_random_it_ends_the_same(out: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(out, whole)
    changes = [word for word in LONG if word.startswith(("recipe", "evaluate"))]
    one = Experiment.load(HERE / "student.toml", device="cpu", change=changes)
    expected = one.run(whole)
    statuses = []
    for number in (signal.SIGINT, signal.SIGKILL):
        process = begin(out, "--checkpoint-every", "0")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        statuses.append(process.returncode)
        if number != signal.SIGKILL:
            assert f"stopped ({number.name}): step " in errors and "run the same command again to go on" in errors
            assert "Traceback" not in errors
    assert statuses == [130, -9]
    assert Store(out).find(one) is None
    done = redistill("run", HERE / "student.toml", "--out", out, *LONG)
    assert done.returncode == 0, done.stderr
    made = Store(out).find(one)
    assert made is not None and [d for d in differences(expected, made) if d.matters] == []
    assert len(made.record["sessions"]) == 3


def test_the_time_budget_stops_and_says_how_to_go_on(out: Path) -> None:
    done = redistill("run", HERE / "student.toml", "--out", out, *LONG, "--time-budget", "0.001s", "--json")
    assert done.returncode == 75
    assert json.loads(done.stdout)["runs"] == [] and "the time budget is used up" in done.stderr


def test_a_second_process_waits_for_the_first(out: Path) -> None:
    first = begin(out)
    second = redistill("run", HERE / "student.toml", "--out", out, *LONG, "--json")
    assert second.returncode == 0, second.stderr
    first.communicate(timeout=60)
    assert first.returncode == 0
    [row] = json.loads(second.stdout)["runs"]
    assert row["seed"] == 0


def test_jobs_work_side_by_side_and_a_failure_stays_alone(out: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text((HERE / "teacher.toml").read_text().replace("lr = 0.1", "lr = 1e30"))
    (tmp_path / "nets.py").write_bytes((HERE / "nets.py").read_bytes())
    words = ["--out", out, "--device", "cpu", "--jobs", "2"]
    done = redistill("run", tmp_path / "bad.toml", HERE / "student.toml", *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "failed: ./nets.py:Small, CE, digits:train (seed 0)" in done.stderr and "diverged: CE (weight 1) became" in done.stderr
    assert "done: few digits" in done.stderr and "few digits, seed 0: test" in done.stdout
    assert len(list(out.glob("*/*/log.txt"))) == 1  # the failed one keeps its log


def test_jobs_are_stopped_together_and_go_on(out: Path) -> None:
    words = ["--seeds", "2", "--jobs", "2", "--checkpoint-every", "0", "--set", "recipe.epochs=4000"]
    process = begin(out, *words)
    process.send_signal(signal.SIGUSR1)  # what a time budget sends to the workers, and not before one of them has taken a step
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "the rest is saved; run the same command again to go on" in errors
    assert list(out.glob("*/seed-0/checkpoint.safetensors"))


def test_two_files_whose_methods_have_equal_names_are_four_rows(tmp_path: Path) -> None:
    text = (
        '[methods]\nplain = [{ use = "CE" }]\nsmooth = [{ use = "CE", smoothing = 0.1 }]\n'
        '[student]\nmodel = "wrn-10-1"\n[source]\ndata = "digits"\nper_class = 2\n[recipe]\nepochs = 1\nbatch_size = 20\nlr = LR\n'
    )
    for name, lr in (("a", "0.1"), ("b", "0.2")):
        (tmp_path / f"{name}.toml").write_text(text.replace("LR", lr))
    done = redistill("run", tmp_path / "a.toml", tmp_path / "b.toml", "--out", tmp_path / "runs", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    said = [float(line.split("test ")[1].split(" %")[0]) for line in done.stdout.splitlines() if "(written" in line]
    rows = [line.split("|")[1:4] for line in done.stdout.splitlines() if line.startswith(("| plain (", "| smooth ("))]
    assert [float(row[2]) for row in rows] == said and len(said) == 4
    assert len({row[0].strip() for row in rows}) == 4


def test_a_tilde_behind_an_equals_sign_is_the_home_folder_too(out: Path, tmp_path: Path) -> None:
    line = [*WORDS, "runs", "--as=ro-crate", "--runs=~/runs"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env={**environment(), "HOME": str(out.parent)}, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "ro-crate-metadata.json").is_file() and not (tmp_path / "~").exists()
