"""What a source says of its images: held-out ones that somebody has seen already, and which pixel is white."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.experiments import HERE, Make
from redistill import data
from redistill.data import Images
from redistill.errors import RedistillError
from redistill.experiment.source.images import ImagesSettings
from redistill.train.preflight import TeacherWarning

REST = """
student.model = "./nets.py:Small"
method = [{ use = "CE" }]
source = { data = "digits", held_out = 100 }
recipe.epochs = 1
"""


def test_held_out_images_that_the_teacher_has_seen_are_warned_of(make: Make, teacher_file: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher_file, tmp_path / "runs")
    source = {"data": "digits", "held_out": 100}
    one = make(source=source, recipe={"epochs": 1})
    with pytest.warns(TeacherWarning, match="the teacher was trained on 100 of the 100 images of held_out"):
        run = one.run(tmp_path / "runs")
    assert run.record["data"]["held_out"]["seen_by_teacher"] == 100 and "seen_by_teacher" not in run.record["data"]["test"]
    # the same rest for teacher and student: nobody has seen them
    (tmp_path / "rest.toml").write_text(REST, encoding="utf-8")
    shutil.copy(HERE / "nets.py", tmp_path)
    fair = make(source=source, recipe={"epochs": 1}, teacher={"run": str(tmp_path / "rest.toml")})
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        made = fair.run(tmp_path / "runs")
    assert [str(w.message) for w in given if "held_out" in str(w.message)] == []
    assert "seen_by_teacher" not in made.record["data"]["held_out"]
    # drawn with another seed, some are the same
    other = make(source={**source, "seed": 5}, recipe={"epochs": 1}, teacher={"run": str(tmp_path / "rest.toml")})
    with pytest.warns(TeacherWarning, match="the teacher was trained on "):
        count = other.run(tmp_path / "runs").record["data"]["held_out"]["seen_by_teacher"]
    digits = data.load("digits:train")
    assert count == len(set(digits.held_out(100, seed=5)[1].index.tolist()) & set(digits.held_out(100, seed=0)[0].index.tolist())) > 50


def test_a_peak_that_is_not_the_pixels_own_is_refused(make: Make, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(6 * 64, dtype=np.uint8).reshape(6, 1, 8, 8), y=np.arange(6) % 3)
    where = {"data": f"arrays:{tmp_path / 'x.npz'}", "normalise": "mine (mean 0.4, std 0.25, peak 16)"}
    one = make(source=where, evaluate={"test": where["data"]}, teacher=None, method=[{"use": "CE"}])
    with pytest.raises(RedistillError, match=r"is for pixels of which 16 counts as 1, those of .*x\.npz.* have 255: leave the peak out"):
        one.source.build(0, None)
    plain = {**where, "normalise": "mine (mean 0.4, std 0.25)"}
    right = make(source=plain, evaluate={"test": where["data"]}, teacher=None, method=[{"use": "CE"}])
    images = right.source.build(0, None).source
    assert isinstance(images, Images)
    assert float(images.normalised().max()) == pytest.approx((255 / 255 - 0.4) / 0.25)
    digits = make(source={"data": "digits", "normalise": "mine (mean 0.4, std 0.25, peak 16)"}).source.build(0, None).source
    assert isinstance(digits, Images)
    assert float(digits.normalised().max()) == pytest.approx((16 / 16 - 0.4) / 0.25)


@pytest.mark.parametrize(
    "rest", [{"held_out": 0.1}, {"held_out": 0.37}, {"held_out": 7, "fraction": 0.5}, {"held_out": 0.25, "fraction": 0.0001}]
)
def test_a_plan_counts_the_images_that_the_split_leaves(rest: dict[str, Any]) -> None:
    """Shares of them were rounded down: a tenth of 1,347 is 135, and a plan had one image, and could have one step, too many."""
    settings = ImagesSettings(data="digits:train", augment="none", normalise="digits", **rest)
    images, _ = data.digits()
    held = rest["held_out"]
    left = images.held_out(held, seed=0)[0]
    assert settings.count == len(left.fraction(rest["fraction"], seed=0) if "fraction" in rest else left)
