"""A small folder of photographs, a teacher that knows them, and one whole distillation, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.photographs import BIG, SMALL, folder_of_photos
from redistill.distill import Distilled, Plan, plan
from redistill.launch.carry_out import Resources


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_photos(tmp_path_factory.mktemp("photos"), 24, 12)


@pytest.fixture
def planned(photos: Path, tmp_path: Path) -> Callable[..., Plan]:
    """``planned(student="half")``: a plan on the photographs, with a teacher that is trained first unless another is named."""

    def of(**words: Any) -> Plan:
        given = {"data": photos, "teacher": BIG, "student": SMALL, "runs": tmp_path / "runs", "epochs": 3, **words}
        if "teacher_weights" not in words and given["teacher"] == BIG:
            given.setdefault("train_teacher", 3)
        return plan(resources=Resources(device="cpu"), **given)

    return of


@pytest.fixture(scope="session")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Distilled, Path]:
    """Two seeds and two methods, carried out, and the folder that was written."""
    place = tmp_path_factory.mktemp("whole")
    made = plan(
        photos, BIG, SMALL, train_teacher=8, method="KD,KD+AT", epochs=12, seeds=(0, 1), runs=place / "runs", batch_size=16,
        resources=Resources(device="cpu"),
    )  # fmt: skip
    found = made.carry_out()
    found.write(place / "out")
    return found, place
