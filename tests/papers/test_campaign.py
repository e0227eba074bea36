"""The campaign names nothing that does not exist."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

from redistill import papers
from redistill.papers.plan import select

ROOT = Path(__file__).resolve().parents[2]


def script(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    facts = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env=facts, timeout=120)


def test_the_campaign_names_cells_that_exist() -> None:
    pieces = runpy.run_path(str(ROOT / "scripts" / "campaign"))["CAMPAIGN"]
    chosen = [select(papers.load(p.paper), p.tables, p.only, p.rows, p.columns) for p in pieces]
    assert all(chosen) and len({piece.name for piece in pieces}) == len(pieces)
    # in the end every cell of which an experiment can be made has had its turn
    done = {cell.id for cells in chosen for cell in cells}
    assert not [cell.id for name in papers.names() for cell in papers.load(name).cells if not cell.unknown and cell.id not in done]


def test_the_campaign_lists_what_is_done_and_what_is_left(tmp_path: Path) -> None:
    words = ["--list", "--out", str(tmp_path / "runs"), "--rate", "1e12", "--only", "ferles2020:4", "ferles2020:10"]
    done = script("scripts/campaign", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # the nine teachers of Table 10 are among the twelve networks of Table 4
    assert lines[0].startswith("  1. 0 of 12 runs, ") and lines[1].startswith("  2. 0 of 27 runs, ")
    assert lines[-1].startswith("hours in all: ") and not (tmp_path / "runs").exists()


def test_the_campaign_refuses_a_budget_that_is_none() -> None:
    done = script("scripts/campaign", "--time-budget", "soon")
    assert done.returncode == 1 and "'soon' is no length of time" in done.stderr


def test_a_campaign_without_data_says_so_and_stops(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "runs"), "--data-dir", str(tmp_path), "--device", "cpu"]
    words += ["--time-budget", "5m", "--only", "ferles2020:4", "--keep", str(tmp_path / "results")]
    done = script("scripts/campaign", *words, REDISTILL_CACHE=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cifar-10" in done.stderr and "0 runs and 0 teachers in" in done.stdout
