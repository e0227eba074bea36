"""Commands that look at runs say what they could not read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer.main

from redistill.runs.store import Store


def status(*words: str) -> int:
    from redistill.cli import app, look  # noqa: F401

    with pytest.raises(SystemExit) as ended:
        typer.main.get_command(app).main(list(words), prog_name="redistill")
    return int(ended.value.code or 0)


@pytest.fixture
def damaged(teacher_file: Path, tmp_path: Path) -> tuple[Store, Path]:
    (run,) = Store(teacher_file).finished()
    root = tmp_path / "runs"
    for seed in (0, 1):
        shutil.copytree(run.folder, root / run.cell / f"seed-{seed}")
    spoilt = root / run.cell / "seed-1"
    (spoilt / "record.json").write_text("{")
    return Store(root), spoilt


@pytest.mark.parametrize("command", ["show", "compare"])
def test_a_damaged_seed_is_not_left_out_in_silence(
    damaged: tuple[Store, Path], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store, spoilt = damaged
    (good,) = store.finished()
    assert status(command, good.cell, "--out", str(store.root)) == 0
    out, err = capsys.readouterr()
    assert out and "redistill: left out: " in err and str(spoilt) in err and "is damaged" in err


def test_a_filter_does_not_hide_a_damaged_run(damaged: tuple[Store, Path], capsys: pytest.CaptureFixture[str]) -> None:
    store, spoilt = damaged
    assert status("runs", "--method", "KD", "--out", str(store.root)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and str(spoilt) in lines[1] and "damaged" in lines[1], "the good one does not fit the filter"
