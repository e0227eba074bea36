"""The generated pages say what the paper files say, and the campaign names nothing that does not exist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    facts = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env=facts, timeout=120)


def test_pages_are_not_stale() -> None:
    done = script("scripts/make_paper_pages.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_campaign_is_a_list_of_plans_that_exist(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text("{}", encoding="utf-8")
    done = script("scripts/campaign", "--list", "--out", str(tmp_path / "runs"), "--rate", "1e12", REDISTILL_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[1:3] == ["0", "of"] and "teachers" in lines[0]
    assert lines[-1].startswith("hours in all: ")
    assert not (tmp_path / "runs").exists()


def test_the_campaign_refuses_a_budget_that_is_none() -> None:
    done = script("scripts/campaign", "--time-budget", "soon")
    assert done.returncode == 1 and "'soon' is no length of time" in done.stderr


def test_a_campaign_without_data_says_so_and_stops(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "runs"), "--data-dir", str(tmp_path), "--device", "cpu"]
    words += ["--time-budget", "5m", "--only", "ferles2020:4"]
    done = script("scripts/campaign", *words, REDISTILL_CACHE=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cifar-10" in done.stderr


@pytest.mark.parametrize("name", ["docs/commands.md", "docs/papers/micaelli2019.md"])
def test_pages_name_no_place_of_this_machine(name: str) -> None:
    assert "/work" not in (ROOT / name).read_text(encoding="utf-8")
