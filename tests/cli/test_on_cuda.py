"""Commands on a CUDA device, as a user runs them: what they leave is there, repeats bit for bit, and agrees with the CPU.

Skipped where there is none. ``scripts/on_device`` runs this file beside tests/train/test_on_cuda.py, without conftest.py.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ASKED = os.environ.get("REDISTILL_TEST_DEVICE")
"""``cpu`` walks these tests where no such device is."""
pytestmark = pytest.mark.skipif(ASKED is None and not torch.cuda.is_available(), reason="no CUDA device here")
ROOT = Path(__file__).resolve().parents[2]
ON = ("--device", ASKED or "cuda")
DIGITS = """
name = "digits on a device"
[teacher]
run = "teacher.toml"
[student]
model = "wrn-10-1"
[[method]]
use = "CE"
weight = 0.1
[[method]]
use = "KD"
T = 4
weight = { start = 0, end = 2, last = 0.9 }
[source]
data = "digits"
augment = "crop-flip:1"
held_out = 100
[recipe]
epochs = 4
lr = 0.05
batch_size = 32
schedule = { kind = "cosine" }
[evaluate]
test = "digits:test"
every = 1
"""
TEACHER = """
[student]
model = "wrn-10-2"
[[method]]
use = "CE"
[source]
data = "digits"
[recipe]
epochs = 2
lr = 0.1
batch_size = 64
"""


def ended(*words: object) -> subprocess.CompletedProcess[str]:
    """A command. The package is the one beside these tests; what it needs may be on the path already (wheels that were brought)."""
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "REDISTILL_CACHE": "/tmp/redistill-on-cuda"}
    return subprocess.run(
        [sys.executable, "-m", "redistill", *map(str, words)], cwd=ROOT, capture_output=True, text=True, env=env, timeout=300, check=False
    )


def redistill(*words: object, replayed: bool = True) -> str:
    """Standard output of a command that ends well; ``replayed``: its steps are, each of them that can be."""
    done = ended(*words)
    assert done.returncode == 0 and "Traceback" not in done.stderr, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert not replayed or "taken one call at a time" not in done.stderr, done.stderr[-3000:]
    return done.stdout


def files(folder: Path, text: str = DIGITS) -> Path:
    (folder / "teacher.toml").write_text(TEACHER)
    (folder / "student.toml").write_text(text)
    return folder / "student.toml"


def only(runs: Path, label: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Record and weights of the one run with this label."""
    [folder] = [f.parent for f in runs.rglob("record.json") if json.loads(f.read_text())["label"] == label]
    return json.loads((folder / "record.json").read_text()), load_file(folder / "weights.safetensors")


def test_a_run_repeats_bit_for_bit_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    """One store in one go, another in two: the checkpoint of a step in the middle is the same run's."""
    file = files(tmp_path)
    ends = []
    for name, budgets in (("whole", ()), ("stopped", ("3s", "8s"))):
        for budget in budgets:
            ended("run", file, "--runs", tmp_path / name, *ON, "--time-budget", budget)
        redistill("run", file, "--runs", tmp_path / name, *ON)
        ends.append(only(tmp_path / name, "digits on a device"))
    (one, first), (other, second) = ends
    assert one["accuracy"] == other["accuracy"]
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_device_and_the_cpu_come_to_about_the_same(tmp_path: Path) -> None:
    """Without a teacher: one of two epochs is another network on another device, and so is what learns from it."""
    head, _, tail = DIGITS.partition("[student]")
    parts = (head.partition("[teacher]")[0], "[student]", tail.partition("weight = 0.1")[0], "[source]", tail.partition("[source]")[2])
    file = files(tmp_path, "".join(parts))
    accuracy = {}
    for device in (ON[1], "cpu"):
        redistill("run", file, "--runs", tmp_path / device, "--device", device)
        accuracy[device] = only(tmp_path / device, "digits on a device")[0]["accuracy"]["test"]["last"]
    assert min(accuracy.values()) > 80 and abs(accuracy[ON[1]] - accuracy["cpu"]) < 4, accuracy


@pytest.mark.parametrize("precision", ["strict", "fast"])
def test_methods_and_seeds_side_by_side(tmp_path: Path, precision: str) -> None:
    methods = "".join(f'[[methods.{n}]]\nuse = "CE"\n[[methods.{n}]]\nuse = "{n}"\n' for n in ("KD", "AT", "VID", "DKD", "CRD", "Review"))
    head, _, tail = DIGITS.partition("[[method]]")
    rest = tail.partition("[source]")[2].replace("[recipe]", f'[recipe]\nprecision = "{precision}"')
    file = files(tmp_path, f"{head}{methods}[source]{rest}")
    words = ["run", file, "--runs", tmp_path / "runs", *ON, "--seeds", "2", "--jobs", "3", "--json"]
    rows = json.loads(redistill(*words, replayed=False))["runs"]  # CRD counts its steps
    assert len(rows) == 12 and all(row["accuracy"]["test"] > 25 for row in rows), rows


@pytest.mark.parametrize("preset", ["authors", "paper"])
def test_zero_shot_and_what_is_looked_at_afterwards(tmp_path: Path, preset: str) -> None:
    """Samples of its generator, and the beliefs of student and teacher, which count in IEEE fp32 on any device."""
    text = (ROOT / "examples" / "zero_shot.toml").read_text().replace("blocks = 400", "blocks = 60").replace('"authors"', f'"{preset}"')
    file, runs = files(tmp_path, text), tmp_path / "runs"
    redistill("run", file, "--runs", runs, *ON)
    record, _ = only(runs, "zero-shot digits")
    assert record["diverged"] is None and record["accuracy"]["test"]
    redistill("samples", "zero-shot digits", "--runs", runs, "--to", tmp_path / "samples")
    folders = [f.parent for f in runs.rglob("record.json")]
    student, teacher = sorted(folders, key=lambda folder: json.loads((folder / "record.json").read_text())["label"] != "zero-shot digits")
    few = ("--count", "5", "-K", "10", "--noise", "20")
    tables = []
    for device in (ON[1], "cpu"):
        to = tmp_path / f"belief-{device}"
        redistill("belief", f"S={student}", f"T={teacher}", "--data", "digits:test", "--to", to, "--device", device, *few)
        tables.append([row for f in sorted(to.rglob("*.csv")) for row in csv.DictReader(f.read_text().splitlines())])
    for here, there in zip(*tables, strict=True):
        assert here["step"] == there["step"] and abs(float(here["attacked"]) - float(there["attacked"])) < 0.02, (here, there)


def test_an_engineer_compresses_a_network(tmp_path: Path) -> None:
    out = tmp_path / "distilled"
    subprocess.run([sys.executable, "examples/shapes.py", str(tmp_path / "shapes")], cwd=ROOT, check=True)
    teacher = ("--teacher", "examples/shapes.py:Teacher", "--train-teacher", "2")
    where = ("--out", out, "--runs", tmp_path / "runs", *ON)
    redistill("distill", "--data", tmp_path / "shapes", *teacher, "--student", "quarter", "--epochs", "3", *where)
    folder = out / "student"
    assert {f.name for f in folder.iterdir()} >= {"use.py", "README.md"}
    words = ["evaluate", folder, "--data", f"folder:{tmp_path / 'shapes' / 'val'}", "--trust-code", "--json"]
    first, second = (json.loads(redistill(*words, "--device", device)) for device in (ON[1], "cpu"))
    assert abs(first["accuracy"] - second["accuracy"]) < 1

