"""The README's block on ``rd.distill``, shortened, on the images that its commands make."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import redistill as rd

ROOT = Path(__file__).resolve().parents[2]


def test_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = [found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "rd.distill.plan" in found]
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "shapes.py", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "examples/shapes.py", "shapes"], check=True)
    whole = rd.distill.plan

    def shortened(*given: Any, **named: Any) -> Any:
        return whole(*given, **{**named, "train_teacher": 8, "epochs": 1, "seeds": (0,)})

    monkeypatch.setattr(rd.distill, "plan", shortened)
    names: dict[str, Any] = {}
    exec(block, names)
    assert "distilled minus plain" in capsys.readouterr().out
    assert (tmp_path / "distilled" / "student" / "model.safetensors").is_file() and not names["net"].training
