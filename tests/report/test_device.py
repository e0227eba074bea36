"""The tables of docs/gpu.md, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from redistill import machine
from redistill.errors import RedistillError
from redistill.report import device
from redistill.runs.measured import keep

ROWS = {
    "KD, fast, replayed": {"epoch_s": 0.5}, "KD, strict, replayed": {"epoch_s": 1.006}, "plain": {"epoch_s": 3.0},
    "AT, fast, replayed": {"epoch_s": 2.0, "not replayed": "a hook stands on it"}, "KD, fast, as written": {"failed": "no memory"},
    "zero-shot, strict, replayed": {"block_ms": 61.25},
}  # fmt: skip


def record(folder: Path, name: str, **more: object) -> None:
    content = {"device": None, "batch": 128, "tests": {"passed": 3, "failed": 0, "names": []}, "rows": ROWS, **more}
    begun = machine.origin(torch.device("cpu"))
    begun["hardware"] |= {"device": f"GPU {name}"}
    keep(folder / "measured" / "device" / f"{name}.json", content, begun)


def test_each_machine_has_its_table(tmp_path: Path) -> None:
    assert device.section(tmp_path) == "Nothing was measured on a device yet."
    record(tmp_path, "a")
    record(tmp_path, "b", tests={"passed": 2, "failed": 1, "skipped": 4, "names": ["x"]}, rows={"plain": {"epoch_s": 3.0}})
    record(tmp_path, "c", tests={"passed": 9, "names": []}, rows={})
    first, second, third = device.section(tmp_path).split("\n\n**")
    assert third.startswith("GPU c**, beside an ") and third.endswith(". Tests of the device: 9 passed.")
    assert first.startswith("**GPU a**, beside an ") and "Tests of the device: 3 passed." in first
    assert first.splitlines()[2:] == [
        "| seconds an epoch of 391 steps | fast, replayed | strict, replayed | fast, as written |", "|---|--:|--:|--:|",
        "| KD | 0.50 | 1.01 | failed |", "| AT | 2.00, not replayed |  |  |",
        "| KD, a plain loop in single precision without augmentation | | | 3.00 |",
        "| zero-shot: *milliseconds a block* of one generator step and ten of the student |  | 61.2 |  |",
    ]  # fmt: skip
    assert "Tests of the device: 2 passed, 1 failed, 4 skipped." in second and "zero-shot" not in second


def test_a_page_without_a_place_for_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="no place for 'measured on devices'"):
        device.on_page("# On a GPU\n", tmp_path)
