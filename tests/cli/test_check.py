"""docs/how-to/own-term.md, followed to the letter: its files are written, its commands run, and what it says they say is checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from redistill.cli.check import check
from redistill.errors import RedistillError

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


WRONG = '''
from typing import ClassVar
import torch
import torch.nn.functional as F
from redistill import Term, rng


def gap(student, teacher):
    return (student.logits - teacher.logits).square().mean()


class Returned(Term):
    def forward(self, student, teacher, batch):
        return float(gap(student, teacher).detach())


class Crashing(Term):
    def forward(self, student, teacher, batch):
        return student.logit.mean()


class Labels(Term):
    def forward(self, student, teacher, batch):
        return F.cross_entropy(student.logits, batch.labels)


class Unsaved(Term):
    def setup(self, ctx):
        self.seen = 0

    def forward(self, student, teacher, batch):
        self.seen += 1
        return gap(student, teacher) / self.seen


class Slope(Term):
    def forward(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().sum(1).sqrt().mean()


class Narrow(Term):
    def setup(self, ctx):
        with rng.seeded(ctx.seed, "mine"):
            self.layer = torch.nn.Linear(5, 5) if ctx.student_places["logits"][1] == 5 else torch.nn.Linear(2, 2)

    def forward(self, student, teacher, batch):
        return (self.layer(student.logits) - teacher.logits).square().mean()


class Theorem(Term):
    theorems: ClassVar[tuple[str, ...]] = ("zero at matches",)

    def forward(self, student, teacher, batch):
        return gap(student, teacher)


class Mutable(Term):
    layers: list[str] = ["stage1"]

    def forward(self, student, teacher, batch):
        return gap(student, teacher)


class Setting(Term):
    weight: torch.Tensor = None

    def forward(self, student, teacher, batch):
        return gap(student, teacher)
'''


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Returned", "forward must return a tensor without axes, it returned a float"),
        ("Crashing", r"'Output' object has no attribute 'logit' \(mine.py, line 19\)"),
        ("Labels", "a batch has labels for terms that declare needs_labels"),
        ("Unsaved", "the same batch gives two losses one after the other: what moves from step to step belongs into a buffer"),
        ("Slope", "at a perfect match the gradient of the student's logits is not finite"),
        ("Narrow", r"outputs in bfloat16 meet what the term keeps in float32 .*make them wide first"),
        ("Theorem", "it declares 'zero at matches': known theorems are zero at match"),
    ],
)
def test_what_is_wrong_with_a_term_is_said_in_words(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        check(f"./mine.py:{name}", [], False)
    out = capsys.readouterr().out
    assert re.search(message, out), out
    reasons = re.findall(r"^        (.*)$", out, flags=re.MULTILINE)
    assert len(reasons) == len(set(reasons)), "one mistake that breaks many promises is explained once"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Mutable", "Mutable cannot be a term, whose settings are the fields of a dataclass: mutable default"),
        ("Setting", r"Setting\.weight is a Tensor, and a setting is what a file can hold: .* are made in setup\(ctx\)"),
    ],
)
def test_a_class_that_cannot_be_a_term_is_refused_in_a_sentence(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RedistillError, match=message):
        check(f"./mine.py:{name}", [], False)
