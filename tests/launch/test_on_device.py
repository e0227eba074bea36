"""``scripts/on_device`` rehearsed on the CPU, and what it says to bad input."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "on_device"


@pytest.fixture
def script() -> ModuleType:
    loader = SourceFileLoader("on_device", str(SCRIPT))
    spec = importlib.util.spec_from_loader("on_device", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def called(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_it_is_rehearsed_whole_and_goes_on(tmp_path: Path, script: ModuleType) -> None:
    out = tmp_path / "out"
    done = called("--rehearse", "--out", str(out), "--work", str(tmp_path / "work"), "--time-budget", "1h")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert list(report) == ["rehearsal", "environment", "tests", "timing", "campaign", "kept"]
    found = json.loads((out / "device.json").read_text())
    assert found["head"]["kind"] == "device" and found["tests"]["skipped"] > 30 and found["rows"] == {
        name: row for name, row in report["timing"].items() if isinstance(row, dict)
    }
    assert report["tests"]["status"] == 0 and "skipped" in (out / "tests.txt").read_text().lower()
    assert report["timing"]["KD, strict, replayed"]["epoch_s"] > 0 and report["timing"]["zero-shot, fast, replayed"]["block_ms"] > 0
    assert report["campaign"]["status"] == 0 and report["campaign"]["records"] >= 2 and not report["kept"]["not_kept"]
    assert sum(f.stat().st_size for f in out.iterdir()) < 64 * 2**20 and len(list(out.iterdir())) <= 8
    # a later time finds what this one kept, and trains nothing that is there
    runs = tmp_path / "later" / "runs"
    found = script.unpacked(out, runs)
    assert found["records"] == report["campaign"]["records"]
    words = ["reproduce", "tests/helpers/small.toml", "--seeds", "1", "--device", "cpu", "--out", str(runs)]
    before = {f: f.stat().st_mtime_ns for f in runs.rglob("record.json")}
    again = subprocess.run([sys.executable, "-m", "redistill", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and {f: f.stat().st_mtime_ns for f in runs.rglob("record.json")} == before


def test_what_is_worth_most_is_packed_first_and_what_does_not_fit_is_named(
    tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "PART", 60_000)
    monkeypatch.setattr(script, "PARTS", 2)
    runs, out = tmp_path / "runs", tmp_path / "out"
    for cell in "abc":
        folder = runs / cell / "seed-0"
        folder.mkdir(parents=True)
        (folder / "record.json").write_bytes(b"x" * 1000)
        (folder / "weights.safetensors").write_bytes(b"x" * 20_000)
        (folder / "checkpoint.pt").write_bytes(b"x" * 20_000)
    (runs / "a" / "seed-0" / "samples.safetensors").write_bytes(b"x" * 70_000)
    out.mkdir()
    kept = script.packed(runs, out)
    names = []
    for part in sorted(out.glob("runs-*.tar")):
        with tarfile.open(part) as tar:
            names += tar.getnames()
    assert sum(name.endswith("record.json") for name in names) == 3 and sum("weights" in name for name in names) == 3
    assert kept["parts"] == 2 and kept["not_kept"] == len(kept["left_out"]) and "a/seed-0/samples.safetensors" in kept["left_out"]
    assert all(part.stat().st_size <= 70_000 for part in out.glob("runs-*.tar"))
    script.unpacked(out, tmp_path / "again")
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (runs / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rehearse", "--time-budget", "20s"], "a budget of 20 s is shorter than the set-up: at least 50 s are needed"),
        (["--time-budget", "10m"], "there is no CUDA device here"),
        (["--rehearse", "--earlier", "nowhere"], "nowhere holds no runs-0.tar"),
        (["--stage", "nowhere", "--data-dir", "there"], "nowhere is no folder"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], says: str, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available() and "CUDA" in says:
        pytest.skip("there is a CUDA device here")
    done = called("--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), *words)
    assert done.returncode == 2 and done.stderr.startswith("on_device: ") and says in done.stderr and "Traceback" not in done.stderr


def test_missing_packages_are_named_with_the_line_that_brings_them(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = importlib.util.find_spec
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None if name in ("pydantic", "pooch") else real(name))
    with pytest.raises(script.Refused, match=r"lacks pydantic, pooch: .*pip download .* pydantic pooch; here"):
        script.from_packages(True)


def test_what_was_brought_for_another_python_is_one_sentence(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def other(name: str) -> Any:
        if name == "pydantic":
            raise SystemError("The installed pydantic-core version (2.50.5) is incompatible with the current pydantic version")
        return real(name)

    monkeypatch.setattr(script.importlib, "import_module", other)
    with pytest.raises(script.Refused, match=r"pydantic is here and cannot be imported \(The .*: bring it as wheels for cpython 3"):
        script.from_packages(True)


BARE = """
import importlib.abc, sys

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"beartype", "hypothesis", "h5py", "sklearn", "torchvision"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Bare())
import redistill.launch.carry_out, redistill.cli.campaign
import on_device as timings
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_a_bare_machine_has_what_its_tests_timings_and_runs_need(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what only developers install nothing is there: neither what tests/conftest.py brings, nor what demonstrations read."""
    asked: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr(script, "ran", lambda words, most, **how: (asked.append((words, how)), (0, ""))[1])
    script.tested(["tests/train/test_on_cuda.py"], 120.0)
    (words, how), path = asked[0], [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "benchmarks")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": how["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]}
    bare = [sys.executable, "-c", BARE, *words[words.index("pytest") + 1 :]]
    done = subprocess.run(bare, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and any(f" {end} in " in done.stdout for end in ("skipped", "passed")), done.stdout[-2000:] + done.stderr


def test_what_is_kept_is_packed_while_runs_are_trained(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cut off leaves what there was a moment before."""
    runs, out = tmp_path / "runs", tmp_path / "out"
    runs.mkdir()
    out.mkdir()
    monkeypatch.setattr(script, "MEANWHILE", 0.2)
    write = f"import pathlib, time; pathlib.Path({str(runs / 'record.json')!r}).write_text('done'); time.sleep(60)"
    seen: list[list[str]] = []

    def meanwhile() -> None:
        script.packed(runs, out)
        seen.append(sorted(f.name for f in out.iterdir()))

    status, printed = script.ran([sys.executable, "-c", write], 3.0, meanwhile=meanwhile)
    assert status != 0 and printed.endswith("stopped after 3 s") and seen[-1] == ["runs-0.tar"]
    assert script.unpacked(out, tmp_path / "again")["records"] == 1


def test_tests_that_are_slow_are_not_wrong(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    args = argparse.Namespace(out=tmp_path, rehearse=False)
    for printed, status in (("a::b PASSED\na::c\nstopped after 120 s", 0), ("a::c\nstopped after 120 s", 1),
                            ("a::b PASSED\na::c FAILED\nFAILED a::c - no\nstopped after 120 s", 1)):  # fmt: skip
        monkeypatch.setattr(script, "tested", lambda which, most, printed=printed: (1, printed))
        assert script.device_tests(args, 20.0)["status"] == status


def test_a_command_that_does_not_end_is_told_to_save_first(script: ModuleType, tmp_path: Path) -> None:
    saves = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: (print('saved', flush=True), sys.exit(75))); time.sleep(60)"
    status, printed = script.ran([sys.executable, "-c", saves], 5.0)
    assert status == 75 and printed.split("\n")[0] == "saved" and printed.endswith("stopped after 5 s")


def test_what_failed_is_asked_again_without_the_first_that_did(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, or one timing, that spoils a device spoils all that come after it in its process."""
    import argparse

    args = argparse.Namespace(out=tmp_path, rehearse=False)
    asked: list[list[str]] = []

    def pytest_says(words: list[str], most: float, **how: Any) -> tuple[int, str]:
        asked.append([word for word in words if word.startswith("tests/")])
        first = "FAILED tests/a.py::b - CUDA error\nFAILED tests/a.py::c[x y] - CUDA error\nFAILED tests/a.py::d\n3 failed"
        return (1, first) if len(asked) == 1 else (1, "FAILED tests/a.py::d - no\n1 failed, 1 passed")

    monkeypatch.setattr(script, "ran", pytest_says)
    found = script.device_tests(args, 120.0)
    assert asked[1] == ["tests/a.py::c[x y]", "tests/a.py::d"]
    assert found["status"] == 1 and len(found["failed"]) == 3 and found["failed alone"] == ["tests/a.py::d"]
    assert (tmp_path / "tests.txt").read_text().count("FAILED") == 4
    commands: list[list[str]] = []

    def timings_say(words: list[str], most: float) -> tuple[int, str]:
        commands.append(words)
        if len(commands) == 1:
            rows = {"device": "d", "A": {"epoch_s": 1}, "B": {"failed": "illegal access"}, "C": {"failed": "illegal access"}}
            return 1, f"{json.dumps({'device': 'd'})}\n{json.dumps(rows)}\nit hung\nstopped after 60 s"
        return 0, json.dumps({"device": "d", "C": {"epoch_s": 2}})

    monkeypatch.setattr(script, "ran", timings_say)
    found = script.measured(args, 120.0)
    assert commands[1][-1] == "C" and "B" not in commands[1]
    assert found == {"device": "d", "A": {"epoch_s": 1}, "B": {"failed": "illegal access"}, "C": {"epoch_s": 2},
                     "ended": "stopped after 60 s"}  # fmt: skip


def test_a_step_that_breaks_is_written_down_and_the_rest_goes_on(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse
    import time

    def breaks(*given: Any) -> dict[str, Any]:
        raise RuntimeError("no such device")

    for name in ("environment", "measured", "campaign"):
        monkeypatch.setattr(script, name, breaks)
    monkeypatch.setattr(script, "device_tests", lambda args, most: {"status": 0})
    given = {"out": tmp_path, "work": tmp_path / "work", "earlier": None, "rehearse": True, "data_dir": None}
    args = argparse.Namespace(**given, timing=1.0, regardless=False)
    assert script.visit(args, time.monotonic() + 1000) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["device.json"]["failed"].startswith("KeyError")  # no machine is known, so nothing can be measured on it
    for step in ("environment", "timing", "campaign"):
        assert report[step]["failed"].startswith("RuntimeError: no such device (test_on_device.py:")
    assert report["kept"]["files"] == 0


def test_what_is_kept_fits_what_comes_back(script: ModuleType) -> None:
    assert script.PARTS * script.PART + 4 * 2**20 <= 64 * 2**20 and script.PARTS + 4 <= 8 and script.PART < 16 * 2**20


def test_a_failed_test_of_the_device_trains_nothing(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse
    import time

    monkeypatch.setattr(script, "device_tests", lambda args, most: {"status": 1, "said": "1 failed"})
    monkeypatch.setattr(script, "measured", lambda args, most: {})
    monkeypatch.setattr(script, "environment", lambda args: {})
    given = {"out": tmp_path, "work": tmp_path / "work", "earlier": None, "rehearse": True, "data_dir": None, "timing": 1.0}
    assert script.visit(argparse.Namespace(**given, regardless=False), time.monotonic() + 1000) == 1
    assert "nothing was trained: a test of the device failed" in json.loads((tmp_path / "report.json").read_text())["campaign"]
    monkeypatch.setattr(script, "campaign", lambda args, runs, left: {"records": 3})
    assert script.visit(argparse.Namespace(**given, regardless=True), time.monotonic() + 1000) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["campaign"] == {"records": 3} and report["tests"]["status"] == 1


def test_lines_that_were_asked_for_run_side_by_side_in_place_of_the_campaign(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse
    import threading

    together, asked, packings = threading.Barrier(2, timeout=10), list[list[str]](), list[Path]()
    monkeypatch.setattr(script, "packed", lambda runs, out: (packings.append(runs), {})[1])

    def ran(words: list[str], most: float, **how: Any) -> tuple[int, str]:
        asked.append(words)
        how["meanwhile"]()
        together.wait()  # neither ends before the other has begun
        return (75, "stopped") if "kth2019" in words else (0, "done")

    monkeypatch.setattr(script, "ran", ran)
    given = {"out": tmp_path, "rehearse": False, "data_dir": tmp_path / "data"}  # each packs what there is while it runs
    lines = ["explain 'ahn2019:1:AT:2 %' --only length-fast", "reproduce kth2019"]
    found = script.campaign(argparse.Namespace(**given, run=lines), tmp_path / "runs", 100)
    assert sorted(words[3] for words in asked) == ["explain", "reproduce"] and any("ahn2019:1:AT:2 %" in words for words in asked)
    assert all(words[-2:] == ["--data-dir", str(tmp_path / "data")] and "cuda" in words for words in asked)
    assert found["status"] == 75 and found["said"] == ["done", "stopped"] and packings == [tmp_path / "runs"] * 2


def test_a_later_packing_leaves_nothing_of_an_earlier_one(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second file that is not written any more holds older checkpoints, which would be laid over newer ones."""
    monkeypatch.setattr(script, "PART", 60_000)
    runs, out = tmp_path / "runs", tmp_path / "out"
    for folder in (runs / "a", runs / "b", out):
        folder.mkdir(parents=True)
    for cell in "ab":
        (runs / cell / "checkpoint.safetensors").write_bytes(b"old" * 12_000)
    assert script.packed(runs, out)["parts"] == 2
    (runs / "a" / "checkpoint.safetensors").unlink()
    (runs / "b" / "checkpoint.safetensors").write_bytes(b"new" * 12_000)
    assert script.packed(runs, out)["parts"] == 1 and sorted(f.name for f in out.iterdir()) == ["runs-0.tar"]
    script.unpacked(out, tmp_path / "again")
    assert (tmp_path / "again" / "b" / "checkpoint.safetensors").read_bytes() == b"new" * 12_000
    assert not (tmp_path / "again" / "a").exists()


def test_files_that_go_or_are_replaced_while_they_are_packed_spoil_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    for folder in (runs, out):
        folder.mkdir()
    for name in ("checkpoint.safetensors", "curves.json", ".checkpoint.host-1.partial", "record.json"):
        (runs / name).write_bytes(b"x" * 30_000)
    stat, looks = Path.stat, {"checkpoint.safetensors": 0}

    def moving(self: Path, **how: Any) -> os.stat_result:
        seen = stat(self, **how)
        if self.name == "curves.json" and self.parent == runs:
            os.unlink(self)  # gone between being found and being measured
            raise FileNotFoundError(str(self))
        if self.name == "checkpoint.safetensors":
            looks[self.name] += 1
            (runs / "next").write_bytes(b"y" * 100)
            os.replace(runs / "next", self)  # shorter than what was measured
        return seen

    monkeypatch.setattr(Path, "stat", moving)
    kept = script.packed(runs, out)
    monkeypatch.undo()
    assert kept["parts"] == 1 and looks["checkpoint.safetensors"]
    script.unpacked(out, tmp_path / "again")
    assert sorted(f.name for f in (tmp_path / "again").iterdir()) == ["checkpoint.safetensors", "record.json"]
    assert (tmp_path / "again" / "checkpoint.safetensors").read_bytes() == b"y" * 100
