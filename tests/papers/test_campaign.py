"""The campaign names nothing that does not exist, and ``redistill campaign`` works through it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from redistill import papers
from redistill.errors import RedistillError
from redistill.papers.campaign import read
from redistill.papers.plan import select

ROOT = Path(__file__).resolve().parents[2]
CAMPAIGN = ROOT / "experiments" / "campaign.toml"


def campaign(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    facts = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}
    line = [sys.executable, "-m", "redistill", "campaign", str(CAMPAIGN), *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=facts, timeout=120)


def test_the_campaign_names_cells_that_exist() -> None:
    pieces = read(CAMPAIGN)
    chosen = [select(papers.load(p.paper), p.tables, p.only, p.rows, p.columns) for p in pieces]
    assert all(chosen) and len({piece.name for piece in pieces}) == len(pieces)
    # in the end every cell of which an experiment can be made has had its turn
    done = {cell.id for cells in chosen for cell in cells}
    assert not [cell.id for name in papers.names() for cell in papers.load(name).cells if not cell.unknown and cell.id not in done]


def test_every_mistake_of_a_campaign_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[piece]]\npaper = "ferles2021"\ntables = ["4"]\nwhy = ""\n[[piece]]\npaper = "he2016"\ntables = ["7"]\nwhy = ""\n')
    with pytest.raises(RedistillError, match=r"(?s)ferles2020.*he2016"):
        read(file)
    file.write_text('[[piece]]\npaper = "ferles2020"\ntable = ["4"]\nwhy = ""\nseeds = "auto"\n')
    with pytest.raises(RedistillError, match=r"(?s)tables.*seeds"):
        read(file)
    with pytest.raises(RedistillError, match=r"'ferles2020:3'.*ferles2020:4"):
        read(CAMPAIGN, ["ferles2020:3"])


def test_the_campaign_lists_what_is_done_and_what_is_left(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    words = ["--dry-run", "--runs", str(tmp_path / "runs"), "--only", "ferles2020:4", "--only", "ferles2020:10"]
    done = campaign(*words, REDISTILL_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # the nine teachers of Table 10 are among the twelve networks of Table 4
    assert lines[0].startswith("  1. 0 of 12 runs, ") and lines[1].startswith("  2. 0 of 27 runs, ")
    assert lines[-1].startswith("in all: ") and not (tmp_path / "runs").exists()


def test_a_campaign_stops_at_its_first_mistake(tmp_path: Path) -> None:
    done = campaign("--time-budget", "soon")
    assert done.returncode == 1 and "'soon' is no length of time" in done.stderr
    words = ["--runs", str(tmp_path / "runs"), "--data-dir", str(tmp_path), "--device", "cpu", "--time-budget", "5m"]
    done = campaign(*words, "--only", "ferles2020:4", REDISTILL_CACHE=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cifar-10" in done.stderr and "== ferles2020:4" in done.stderr


def test_a_run_that_diverges_keeps_no_later_piece_from_its_turn(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    text = (ROOT / "src/redistill/cli/begin/paper.toml").read_text(encoding="utf-8").replace("epochs = 2", "epochs = 1")
    paper = tmp_path / "mine.toml"
    paper.write_text(text.replace('use = "KD", weight = 0.9', 'use = "KD", weight = 1e38'))
    piece = f'[[piece]]\npaper = "{paper}"\ntables = ["1"]\nrows = ["10"]\nseeds = "1"\nwhy = ""\nonly = '
    (tmp_path / "campaign.toml").write_text(f'{piece}["KD"]\n{piece}["alone"]\n')
    facts = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "redistill", "campaign", str(tmp_path / "campaign.toml"), "--runs", str(tmp_path / "runs")]
    done = subprocess.run(line, capture_output=True, text=True, env=facts, timeout=120)
    assert done.returncode == 1 and "diverged" in done.stderr, done.stderr
    assert "KD, seed 0: diverged (written:" in done.stdout and "alone, seed 0: test " in done.stdout
    assert f"not all runs are there, or some diverged, of {paper}:1:KD\n" in done.stderr
    again = subprocess.run(line, capture_output=True, text=True, env=facts, timeout=120)
    assert again.returncode == 0 and "diverged" not in again.stderr, again.stderr  # a loop of nights has an end
    assert "KD, seed 0: diverged (was there:" in again.stdout


def test_a_paper_file_lies_beside_the_campaigns_file(tmp_path: Path) -> None:
    text = (ROOT / "src/redistill/cli/begin/paper.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text)
    (tmp_path / "campaign.toml").write_text('[[piece]]\npaper = "./mine.toml"\ntables = ["1"]\nwhy = ""\n')
    [piece] = read(tmp_path / "campaign.toml")
    assert Path(piece.paper) == tmp_path / "mine.toml"
