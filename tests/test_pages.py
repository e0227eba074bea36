"""Generated pages say what the records say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_no_page_that_is_made_is_stale() -> None:
    done = subprocess.run([sys.executable, "scripts/make_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readme_offers_the_two_commands_and_its_script_names_exist() -> None:
    import redistill as rd

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text and "make test" in text
    script = text.split("```python")[1].split("```")[0]
    compile(script, "README.md", "exec")
    for word in ("fit", "CE", "KD", "AT", "Recipe", "MultiStep", "agreement"):
        assert f"rd.{word}(" in script and hasattr(rd, word)
