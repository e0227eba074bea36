"""The authors' short trainings and transition curves, repeated; and what is changed in one of them is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redistill.verify import verify_case

QUICK = [
    "training/polo5_zero_shot__wrn_16_1__wrn_16_2",
    "training/seed_zero_shot__wrn_16_1__wrn_16_2",
    "training/seed_modified_zero_shot__wrn_16_1__wrn_16_2",
    "training/seed_kd_att__wrn_16_1__wrn_16_2",
    "training/rep_kd__wrn_16_1__wrn_16_2",
    "training/rep_hint__wrn_16_1__wrn_16_2",
    "training/rep_vid__wrn_16_1__wrn_16_2",
    "training/rep_attention__wrn_16_1__wrn_16_2",
    "training/reviewkd__wrn_16_1__wrn_16_2",
    "training/reviewkd__wrn_16_1__wrn_16_2__teacher_eval",
    "metrics/transition_curves_polo5__K20_lr1",
]


@pytest.mark.parametrize("name", QUICK)
def test_the_package_repeats_the_authors(name: str, shared: Path) -> None:
    verdict = verify_case(shared / "golden" / f"{name}.json")
    assert (verdict.outcome, verdict.reason) == ("pass", "")
    assert verdict.error is not None and verdict.error < 1e-11


@pytest.mark.parametrize(
    ("name", "change", "outcome"),
    [
        ("training/seed_zero_shot__wrn_16_1__wrn_16_2", {"hyperparameters.AT_beta": 251}, "fail"),
        ("training/seed_zero_shot__wrn_16_1__wrn_16_2", {"hyperparameters.momentum": 0.9}, "not supported"),
        ("training/seed_zero_shot__wrn_16_1__wrn_16_2", {"conventions.modes": "student eval"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"hyperparameters.distill": "abound"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"augmentation": "flip"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"student.arch": "wrn_16_3x"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"data.rule": "another"}, "not supported"),
        ("metrics/transition_curves_polo5__K20_lr1", {"conventions.labels": "shuffled"}, "not supported"),
        ("metrics/transition_curves_polo5__K20_lr1", {"hyperparameters.learning_rate": 1.01}, "fail"),
    ],
)
def test_a_changed_setting_is_not_ignored(name: str, change: dict[str, Any], outcome: str, shared: Path, tmp_path: Path) -> None:
    source = shared / "golden" / f"{name}.json"
    sidecar = json.loads(source.read_text())
    for path, value in change.items():
        *parents, last = path.split(".")
        place = sidecar
        for parent in parents:
            place = place[parent]
        place[last] = value
    folder = tmp_path / source.parent.name
    folder.mkdir()
    (folder / source.name).write_text(json.dumps(sidecar))
    shutil.copy(source.with_suffix(".npz"), folder / f"{source.stem}.npz")
    assert verify_case(folder / source.name).outcome == outcome


def test_noise_a_millionth_larger_fails(shared: Path, tmp_path: Path) -> None:
    source = shared / "golden" / "training" / "seed_zero_shot__wrn_16_1__wrn_16_2.json"
    (tmp_path / "training").mkdir()
    shutil.copy(source, tmp_path / "training" / source.name)
    with np.load(source.with_suffix(".npz")) as opened:
        arrays = {n: opened[n].copy() for n in opened.files}
    arrays["in/z"] = arrays["in/z"].astype(np.float64) * (1 + 1e-6)
    np.savez(tmp_path / "training" / f"{source.stem}.npz", **arrays)
    assert verify_case(tmp_path / "training" / source.name).outcome == "fail"
