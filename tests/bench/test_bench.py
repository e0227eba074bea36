"""The benchmark: the plain loop does the same work, and a loop that does not is given no ratio."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers.libraries
from redistill import cli, precision
from redistill.bench import gate, library, measure, plain, rows, run, zero_shot
from redistill.bench.gate import OtherWork, checked
from redistill.runs.measured import measured


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of three convolutions a stage, four images."""
    monkeypatch.setattr(rows, "TEACHER", "wrn-10-2")
    monkeypatch.setattr(rows, "STUDENT", "wrn-10-1")
    monkeypatch.setattr(gate, "BATCH", 4)


@pytest.mark.parametrize("name", rows.ROWS)
def test_the_plain_loop_does_the_work_of_the_package(name: str) -> None:
    found = checked(rows.ROWS[name], ["strict"])
    assert found["double"] < 1e-12 and found["pixels"] == 0.0 and found["contiguous"] < 1e-5


def test_the_zero_shot_block_makes_the_same_updates() -> None:
    assert zero_shot.same_updates(1) < 1e-9


def test_torchdistills_own_loop_does_the_work_of_the_plain_one() -> None:
    helpers.libraries.library("torchvision")
    helpers.libraries.library("torchdistill")
    assert gate.library_checked() < 1e-6


def test_a_library_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(library.NotThere, match=r"torchdistill is not installed: pip install 'redistill\[bench\]'"):
        gate.library_checked()


WRONG: dict[str, tuple[str, Any]] = {
    "a temperature": ("KD", lambda real: lambda s, t, y: real(s, t, y, 3.0)),
    "a constant": ("KD", lambda real: lambda s, t, y: 1.001 * real(s, t, y)),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_formula_gets_no_ratio(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row, change = WRONG[name]
    monkeypatch.setattr(plain, "kd", change(plain.kd))
    with pytest.raises(OtherWork, match=r"KD: in double precision the first steps differ by .*: no ratio"):
        checked(rows.ROWS[row], ["strict"])


def test_other_pixels_get_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rows.plain_parts
    monkeypatch.setattr(rows, "plain_parts", lambda images, variant: real(images, variant ^ 1))  # mirrored
    with pytest.raises(OtherWork, match="no ratio"):
        checked(rows.ROWS["KD"], ["strict"])


class _Bent:
    """Steps of the package whose gradients are off: on the batches of these numbers, in fp32 only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, draws: set[int]):
        self.asked: list[int] = []
        real_noise, real_step = rows.noise, gate.of_package

        def noise(count: int, seed: int = 0) -> Any:
            self.asked.append(seed)
            return real_noise(count, seed)

        def step(loop: Any) -> gate.Step:
            found = real_step(loop)
            if loop.means.dtype is torch.float64 or self.asked[-1] not in draws:
                return found
            return gate.Step(found.loss, {name: 1.001 * value for name, value in found.gradients.items()})

        monkeypatch.setattr(gate, "noise", noise)
        monkeypatch.setattr(gate, "of_package", step)


def test_a_kink_on_one_batch_is_not_other_work_but_a_difference_on_every_batch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bent = _Bent(monkeypatch, {0, 1})
    found = checked(rows.ROWS["KD"], ["strict"])
    assert found["strict"] < 1e-5 and found["contiguous"] < 1e-5 and max(bent.asked) >= 2
    _Bent(monkeypatch, set(range(gate.DRAWS)))
    with pytest.raises(OtherWork, match=r"in fp32 the first steps differ by 1.0e-03, allowed 1e-05: no ratio"):
        checked(rows.ROWS["KD"], ["strict"])


@pytest.mark.parametrize("name", rows.ROWS)
def test_in_bf16_the_package_is_as_near_as_autocast(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor: bf16 is computed without units for it too, only slowly."""
    monkeypatch.setattr(precision, "has_bf16_matrix_units", lambda device: True)
    found = checked(rows.ROWS[name], ["fast"])
    assert found["fast"] > 1e-4


def test_that_the_drawn_teacher_knows_nothing_is_no_news() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows.package_loop([rows.ROWS["KD"].method()], rows.noise(4), kind="strict", batch=4, steps=1)


def test_parameters_that_only_one_loop_trains_are_named() -> None:
    one, two = gate.Step(1.0, {"a": torch.ones(1)}), gate.Step(1.0, {"b": torch.ones(1)})
    with pytest.raises(OtherWork, match="other parameters learn"):
        one.distance(two)
    assert gate.Step(1.1, {"a": torch.tensor([2.0])}).distance(gate.Step(1.0, {"a": torch.tensor([4.0])})) == 0.5


@pytest.mark.parametrize("where", ["a", "b", "loss"])
def test_what_is_no_number_is_no_equal_work(where: str) -> None:
    """Wherever it stands: ``max`` keeps a NaN that is first, and passes over every other."""
    whole = gate.Step(1.0, {"a": torch.ones(2), "b": torch.ones(2)})
    spoilt = gate.Step(nan if where == "loss" else 1.0, {n: torch.tensor([1.0, nan if n == where else 1.0]) for n in "ab"})
    assert spoilt.distance(whole) == whole.distance(spoilt) == inf


def test_a_zero_shot_block_that_ruins_a_weight_makes_no_equal_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    step = zero_shot.PackageLoop.__call__

    def ruins(self: zero_shot.PackageLoop) -> None:
        step(self)
        with torch.no_grad():
            list(self.generator.parameters())[-1][0] = nan

    monkeypatch.setattr(zero_shot.PackageLoop, "__call__", ruins)
    assert zero_shot.same_updates(1) == inf


def test_contenders_take_turns_and_are_compared_turn_by_turn() -> None:
    heard: list[str] = []
    turns = measure.interleaved({"a": lambda: heard.append("a"), "b": lambda: heard.append("b")}, 2)
    assert heard == ["a", "b"] * 3 and len(turns["a"].cpu) == len(turns["b"].wall) == 2
    a, b = measure.Turns([4.0, 9.0, 4.0], [8.0, 8.0, 8.0]), measure.Turns([1.0, 3.0, 2.0], [2.0, 2.0, 2.0])
    line = measure.row("work", "b", a, b, 1e-7)
    assert (line["cpu_faster_median"], line["cpu_faster_least"], line["cpu_faster_most"]) == (3.0, 2.0, 4.0)
    assert (line["cpu_ms"], line["wall_faster_median"], line["gate"]) == (2000.0, 4.0, 1e-7)


def test_the_whole_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "KD", "KD+AT", "--rounds", "1", "--batch", "8", "--no-memory", "--json", "--to", tmp_path / "b.json"]
    assert _redistill(monkeypatch, *words) == 0
    out = capsys.readouterr()
    found = json.loads(out.out)
    (tmp_path / "benchmarks").mkdir()  # where it may be moved to, and is read
    moved = (tmp_path / "b.json").rename(tmp_path / "benchmarks" / "b.json")
    assert found == measured(moved) and found["rounds"] == 1 and found["threads"] == 1
    assert [(row["work"], row["contender"]) for row in found["same_step"] if row["contender"] != library.NAME] == [
        ("KD", "strict"), ("KD", "fast"), ("KD+AT", "strict"), ("KD+AT", "fast")
    ]  # fmt: skip
    tables = [row["work"] for row in found["same_table"]]
    assert tables == ["KD, table filled", "KD, table filled", "cohort of KD, KD+AT", "cohort of KD, KD+AT"]
    assert all(row["cpu_faster_median"] > 0 and not isinstance(value, dict) for row in found["same_step"] for value in row.values())
    assert "KD, table filled, strict:" in out.err and "for the run before, which filled the table" in out.err


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    """What this process holds, which starts it, does not count: Linux hands its peak on in getrusage."""
    held = torch.ones(700, 2**20)  # 2.9 GB
    assert 50e6 < run._peak("KD", "strict", 2) < 2e9 < held.numel() * 4


@pytest.mark.parametrize(
    ("words", "says"),
    [(["KDD"], "unknown row of the benchmark 'KDD'"), (["KD", "--to", "/nowhere/b.json"], "there is no folder /nowhere")],
)  # fmt: skip
def test_what_cannot_be_measured_is_a_sentence(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _redistill(monkeypatch, "bench", *words) != 0
    assert says in capsys.readouterr().err


def _redistill(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["redistill", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)
