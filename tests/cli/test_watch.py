"""``redistill watch``: a run found while it runs, its curves in a terminal and elsewhere, followed to its end."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import redistill as rd
from redistill.cli import program
from redistill.files import Lock, held, pretty, write
from redistill.report.terminal import cells, drawn
from redistill.runs.live import Live, folder_of, look
from redistill.runs.store import Store
from redistill.sealed import CURVES, LOCK, PENDING


def begun(root: Path, label: str = "KD", cell: str = "abcdef0123456789") -> Path:
    folder = root / cell / "seed-0"
    folder.mkdir(parents=True)
    write(folder / PENDING, pretty({"label": label, "id": "1" * 16, "experiment": {}}))
    curves(folder, 1)
    return folder


def curves(folder: Path, epochs: int) -> None:
    accuracy = {"test": [[3 * e, 50.0 + e] for e in range(1, epochs + 1)]}
    write(folder / CURVES, pretty({"accuracy": accuracy, "losses": {"CE": [1.0 / e for e in range(1, epochs + 1)]}}))


def watch(*words: str) -> str:
    done = CliRunner().invoke(program(), ["watch", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_running_run_is_followed_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, lock = begun(tmp_path), Lock(tmp_path / "abcdef0123456789" / "seed-0" / LOCK)
    assert lock.take() and held(folder / LOCK) and look(folder).state == "running"
    happens = [lambda: curves(folder, 2), lambda: None, lock.release]
    monkeypatch.setattr(time, "sleep", lambda seconds: happens.pop(0)())
    lines = watch("KD", "--runs", str(tmp_path)).splitlines()
    assert lines == [
        "KD, seed-0", "step 3: test 51.00 %", "epoch 1: CE 1", "step 6: test 52.00 %", "epoch 2: CE 0.5",
        f"KD, seed-0: nobody is at it; redistill run {folder} --runs {tmp_path} goes on",
    ]  # fmt: skip
    assert watch(str(folder), "--once").splitlines()[-1].endswith("goes on")
    assert json.loads(watch(str(folder), "--json"))["state"] == "stopped"
    (folder / PENDING).write_text("[]")  # of another program, or altered
    assert watch(str(folder), "--once").startswith("?, seed-0\n")


def test_a_terminal_gets_colours_and_no_escapes_as_text(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "redistill", "watch", str(folder), "--once"]
    done = subprocess.Popen(words, stdout=theirs, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm", "NO_COLOR": ""})
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    assert done.wait(60) == 0 and b"\x1b[36m" in shown and b"\\x1b" not in shown and b"test 51" in shown
    os.close(ours)


def test_once_ends_although_the_run_goes_on(tmp_path: Path) -> None:
    folder, lock = begun(tmp_path), Lock(tmp_path / "abcdef0123456789" / "seed-0" / LOCK)
    assert lock.take()
    assert watch("abcdef", "--runs", str(tmp_path), "--once").splitlines()[-1] == "epoch 1: CE 1"
    lock.release()
    assert look(folder).accuracy == {"test": ((3, 51.0),)}


def test_a_look_does_not_keep_a_run_from_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK).touch()
    lookers = [os.open(tmp_path / LOCK, os.O_RDONLY)]
    fcntl.flock(lookers[0], fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(lookers.pop()) if lookers else None)  # the look ends meanwhile
    lock = Lock(tmp_path / LOCK)
    assert lock.take() and held(tmp_path / LOCK) and not Lock(tmp_path / LOCK).take()
    lock.release()


def test_runs_are_found_by_what_people_call_them(tmp_path: Path) -> None:
    store, one = Store(tmp_path), begun(tmp_path)
    begun(tmp_path, "AT", "fedcba9876543210")
    assert folder_of(store, "KD") == folder_of(store, "abcd") == folder_of(store, str(one.parent)) == one
    for text, message in (("K", "did you mean"), ("nothing", "unknown run")):
        with pytest.raises(rd.RedistillError, match=message):
            folder_of(store, text)
    with pytest.raises(rd.RedistillError, match="it has none"):
        folder_of(Store(tmp_path / "empty"), "KD")


def test_what_fit_left_can_be_watched_too(tmp_path: Path) -> None:
    images = rd.data.Images(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 2, 2, "mine", "half")
    net = rd.models.build("mlp", 2, inputs=64, channels=1, image_size=8)
    recipe = rd.Recipe(epochs=2, batch_size=4)
    rd.fit(net, None, rd.CE(), images, recipe, seed=0, evaluate={"test": images}, quiet=True, out=tmp_path / "run")
    assert watch(str(tmp_path / "run")).splitlines()[-1] == "run: done"


def test_curves_are_drawn_where_their_values_are() -> None:
    rows, (low, high), furthest = cells({"a": ((0, 0.0), (10, 100.0)), "b": ((0, 100.0), (10, float("nan")))}, 10, 4)
    assert (low, high, furthest) == (0.0, 100.0, 10)
    assert rows[0][9][0] & 0x08 and rows[3][0][0] & 0x40  # the ends of a: right above, left below
    assert rows[0][0] == (0x01, 1)  # the one point of b
    assert sum(bool(dots) for row in rows for dots, _ in row) > 8
    flat, (low, high), _ = cells({"a": ((1, 5.0),)}, 4, 2)
    assert low < 5.0 < high and any(dots for row in flat for dots, _ in row)
    from rich.console import Console

    console = Console(file=(out := io.StringIO()), width=60, force_terminal=True)
    console.print(drawn(Live("KD\x1b[2J", "running", {"test": ((0, 1.0), (5, 2.0))}, {"CE": ((1, 0.5),)}), 60, 4))
    text = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert text.startswith("KD\\x1b[2J: running") and "test 2" in text and "5 steps" in text and "1 epochs" in text
    console.print(drawn(Live("new", "running")))
    assert "nothing is measured yet" in out.getvalue()


@pytest.mark.parametrize(
    "text",
    ['{"accuracy": [1]}', '{"accuracy": {"test": 5}}', '{"accuracy": {"test": [[1]]}}', '{"accuracy": {"test": [["a", 1]]}}',
     '{"losses": {"CE": [null]}}', '{"0": {"accuracy": 3}}'],
)  # fmt: skip
def test_spoilt_curves_are_one_sentence_with_their_file(tmp_path: Path, text: str) -> None:
    folder = begun(tmp_path)
    (folder / CURVES).write_text(text)
    with pytest.raises(rd.RedistillError, match=re.escape(f"{folder / CURVES} is damaged: it holds no curves")):
        look(folder)


def test_of_a_run_that_ended_only_curves_that_its_record_answers_for_are_shown(teacher_file: Path, tmp_path: Path) -> None:
    (run,) = Store(teacher_file).finished()
    folder = tmp_path / "seed-0"
    shutil.copytree(run.folder, folder)
    good = look(folder).accuracy
    assert look(folder).state == "done" and good["test"]
    curves(folder, 2)  # well made, and another run's
    with pytest.raises(rd.RedistillError, match="was altered or cut off"):
        look(folder)
