"""docs/how-to/own-term.md, followed to the letter: its files are written, its commands run, and what it says they say is checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "own-term.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)


def redistill(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "redistill", *words], cwd=folder, env=path, capture_output=True, text=True, check=False)


def test_the_page_leads_from_a_formula_to_a_checked_term_in_an_experiment(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    first, (imported, line), profile = PYTHON[0], PYTHON[1].strip().split("\n\n"), PYTHON[2]
    mine = tmp_path / "mine.py"
    mine.write_text(first)
    found = redistill(tmp_path, "check", "./mine.py:Cosine")
    broken = [text for text in found.stdout.splitlines() if text.startswith("BROKEN")]
    assert found.returncode == 1 and broken == [re.search(r"^    (BROKEN .*)$", PAGE, flags=re.MULTILINE)[1]]  # type: ignore[index]
    assert "\n        adding a number to all logits of an image changes the loss from" in found.stdout

    (old,) = [text for text in first.splitlines() if text.strip().startswith("z_s, z_t")]
    mine.write_text(f"{imported}\n" + first.replace(old.strip(), line) + "\n\n" + profile)
    for term in ("Cosine", "Profile"):
        found = redistill(tmp_path, "check", f"./mine.py:{term}")
        assert found.returncode == 0 and "BROKEN" not in found.stdout, found.stdout + found.stderr
        assert found.stdout.splitlines()[-1].startswith(f"{term}: ") and found.stdout.endswith("promises hold\n")

    (tmp_path / "own.toml").write_text(TOML[0])
    (tmp_path / "teacher.toml").write_text(TOML[1])
    ran = redistill(tmp_path, "run", "own.toml", "--set", "recipe.epochs=2")
    assert ran.returncode == 0 and "test " in ran.stdout, ran.stderr
