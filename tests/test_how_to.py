"""Every how-to page and every tutorial, from top to bottom: its files are written, its Python runs, its commands end well."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from redistill.cli import program

pytest.importorskip("sklearn")
ELSEWHERE = ("own-term",)  # tests/cli/test_check.py walks it
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [p for folder in ("how-to", "tutorials") for p in sorted((DOCS / folder).glob("*.md")) if p.stem not in (*ELSEWHERE, "index")]
BLOCK = re.compile(r"```(python|toml|sh)\n(.*?)```", re.DOTALL)


def test_there_is_a_page_for_each_thing_of_ones_own() -> None:
    names = {page.stem for page in PAGES}
    assert names >= {"own-network", "own-data", "own-loss", "own-paper", "gpu", "little-memory-or-time"}
    assert names >= {"newcomer", "engineer", "researcher", "reproducer"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {"__name__": "page"}
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks
    known = set(sys.modules)
    try:
        for kind, text in blocks:
            if (file := re.match(r"# (\w+\.(?:py|toml))\n", text)) is not None:
                (tmp_path / file[1]).write_text(text)
            elif kind == "python":
                exec(compile(text, page.name, "exec"), names)
            else:
                for line in text.splitlines():
                    done = CliRunner().invoke(program(), shlex.split(line)[1:], catch_exceptions=False)
                    assert line.startswith("redistill ") and done.exit_code == 0, f"{line}: {done.output}"
    finally:
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
