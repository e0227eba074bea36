"""Augmentation, recipe and what is kept, as the command takes them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redistill import models
from redistill.distill import Plan
from redistill.distill.length import PATIENT
from redistill.errors import RedistillError


def settings(plan: Plan, name: str = "KD") -> dict[str, Any]:
    return plan.distilled[name][0].written()


def test_every_switch_stands_in_the_experiments_and_is_told(planned: Callable[..., Plan]) -> None:
    made = planned(
        augment="resized-crop:0.8+colour-jitter:0.1+randaugment:1,1+mixup", recipe="adamw", ema=0.9, early_stop=2, accumulate=2,
        class_weights=True, batch_size=8, lr=0.005, train_teacher=6, epochs=2,
    )  # fmt: skip
    one = settings(made)
    assert one["source"]["augment"].startswith("resized-crop:0.8+") and one["source"]["held_out"] == 0.1
    expected = {"optimizer": "adamw", "ema": 0.9, "patience": 2, "accumulate": 2, "schedule": "cosine"}
    assert {**one["recipe"], "schedule": one["recipe"]["schedule"]["kind"]}.items() >= expected.items()
    assert [row.get("class_weights") for row in one["method"]] == ["balanced", None]
    assert made.plain[0].written()["method"][0]["class_weights"] == "balanced"
    lesson = next(iter(made.teaching.values())).written()  # the teacher sees the same images, and is kept as it is at its end
    assert lesson["source"] == one["source"] and not {"ema", "patience"} & lesson["recipe"].keys()
    text = str(made)
    for words in ("AdamW, the rate as asked for", "2 of each batch", "average of the student's weights, decay 0.9",
                  "on which nobody trains", "augmented by resized-crop:0.8+"):  # fmt: skip
        assert words in text
    found = made.carry_out()
    (run,) = found.rows[-1].runs.values()
    assert run.record["kept"]["average"] == 0.9 and run.record["experiment"]["source"]["augment"] == one["source"]["augment"]


def test_a_change_of_a_term_is_for_the_students_that_have_it(planned: Callable[..., Plan]) -> None:
    made = planned(method="KD,KD+AT", change=("method.AT.weight=5", "method.CE.weight=0.5", "method.CE.smoothing=0.1", "recipe.clip=2"))
    plain, kd, both = (one.written() for one in made.experiments)
    assert [row.get("weight") for row in both["method"]] == [0.5, 0.9, 5.0] and [row["weight"] for row in kd["method"]] == [0.5, 0.9]
    assert "KD+AT: 0.5 CE + 0.9 KD + 5.0 AT" in str(made)
    # the plain student has the same cross-entropy, of the weight 1
    assert [(row["weight"], row["smoothing"]) for row in plain["method"]] == [(1.0, 0.1)] and plain["recipe"]["clip"] == 2
    numbered = planned(method="KD,KD+AT", change=("method.2.weight=5",))
    assert numbered.distilled["KD+AT"][0].written()["method"][2]["weight"] == 5.0


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ("recipe.epochs=3", "--epochs"), ("recipe.batch_size = 8", "--batch-size"), ("recipe={lr=1}", "--recipe"),
        ("source.data=digits", "--data"), ("student.model=wrn-10-1", "--student"), ("teacher=x", "--teacher"), ("method=[]", "--method"),
    ],
)  # fmt: skip
def test_a_change_on_which_others_were_built_is_refused_with_its_option(
    planned: Callable[..., Plan], change: str, option: str
) -> None:
    """The plan said 30 epochs, with their warm-up, and trained 3."""
    with pytest.raises(RedistillError, match=re.escape(f"--set {change}: ") + f".*give {option}$"):
        planned(change=(change,))


def test_a_plan_says_which_settings_were_changed(planned: Callable[..., Plan]) -> None:
    text = str(planned(change=("recipe.weight_decay=1e-3", "evaluate.every=2", "student.args.width=8")))
    assert "recipe.weight_decay=1e-3, evaluate.every=2: in the place of what is said of it here" in text
    assert "\nset " not in str(planned(change=("student.args.width=8",)))


def test_arguments_of_constructors_are_what_is_planned_and_run(planned: Callable[..., Plan]) -> None:
    made = planned(change=("teacher.args.width=20", "student.args.width=8"))
    [lesson], plain, kd = made.teaching.values(), made.plain[0], made.distilled["KD"][0]
    assert [one.student.args for one in (lesson, plain, kd)] == [{"width": 20}, {"width": 8}, {"width": 8}]
    counts = [sum(p.numel() for p in one.made(made.sizes).parameters()) for one in (made.student, made.teacher)]
    assert f"Small(width=8): {counts[0]:,} parameters of the teacher's {counts[1]:,}" in str(made)
    other = planned(change=("teacher.args.width=20", "student.args.width=4"))
    assert made.length is not None and other.length is not None and made.length.place != other.length.place


def test_a_last_batch_of_very_few_images_is_left_out(planned: Callable[..., Plan]) -> None:
    """Of 72 images a batch of 35 leaves two: each epoch would end with a step by these alone."""
    made = planned(batch_size=35)
    assert all(one.recipe.drop_last for one in (*made.teaching.values(), *made.experiments))
    assert "3 epochs of 2 steps" in str(made) and "2 images of each epoch, others every time, are left out" in str(made)
    assert not any(one.recipe.drop_last for one in planned(batch_size=40).experiments)  # 32 are left
    assert not planned(batch_size=100).distilled["KD"][0].recipe.drop_last  # one batch is all there is
    # of the 65 that a student sees where seven are held out, 32 leave one
    assert [one.recipe.drop_last for one in planned(batch_size=32, early_stop=2).experiments] == [True, True]
    assert not planned(batch_size=32).distilled["KD"][0].recipe.drop_last
    assert not planned(batch_size=35, change=("recipe.drop_last=false",)).distilled["KD"][0].recipe.drop_last


def test_paths_are_taken_where_names_are(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    """``evaluate=Path(...)`` was an AttributeError, and a student's path no name."""
    models.save(models.wrn(10, 1, classes=3, image_size=16), tmp_path / "small.safetensors")
    words = {"evaluate": photos / "val", "student": tmp_path / "small.safetensors", "unlabelled": photos / "train" / "red"}
    one, two = planned(**words), planned(**{name: str(path) for name, path in words.items()})
    assert [each.id for each in one.experiments] == [each.id for each in two.experiments] and one.photos.beside is not None


def test_nothing_asked_is_nothing_written(planned: Callable[..., Plan]) -> None:
    one = settings(planned())
    assert not {"ema", "patience", "accumulate"} & one["recipe"].keys() and "held_out" not in one["source"]
    assert one["source"]["augment"] == "crop-flip:2" and one["recipe"]["optimizer"] == "sgd"
    assert all("class_weights" not in row for row in one["method"])


def test_schedules_are_called_what_they_are(planned: Callable[..., Plan]) -> None:
    short, long = planned(recipe="patient"), planned(recipe="patient", epochs=600)
    assert settings(short)["source"]["augment"] == PATIENT and settings(short)["recipe"]["optimizer"] == "adamw"
    assert "which is short: patient teachers (Beyer et al. 2022, arXiv:2106.05237) pay off over hundreds" in str(short)
    assert "600 epochs" in str(long) and "a long schedule, as patient teachers" in str(long)
    assert "patient teachers" not in str(planned(epochs=30))
    assert settings(long)["recipe"]["warmup"] == 5.0  # at most; a tenth of 600 would be 60
    assert all(f"after a warm-up of {settings(made)['recipe']['warmup']:g} epochs" in str(made) for made in (short, long))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"recipe": "adam"}, "unknown recipe 'adam': did you mean adamw"),
        ({"augment": "crop-flip+mix"}, "unknown part of an augmentation 'mix'"),
        ({"ema": 1.5}, "ema"),
        ({"augment": "mixup", "method": "DKD"}, "DKD needs the one class of an image"),
    ],
)
def test_switches_that_mean_nothing(words: dict[str, Any], says: str, planned: Callable[..., Plan]) -> None:
    with pytest.raises(RedistillError, match=says):
        planned(**words)


def test_class_weights_need_labels(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for number, file in enumerate(sorted((photos / "train").rglob("*.png"))[:8]):
        (plain / f"{number}.png").write_bytes(file.read_bytes())
    with pytest.raises(RedistillError, match="--class-weights weighs cross-entropy with labels, and these images have none"):
        planned(data=plain, class_weights=True, evaluate=str(photos))


def test_images_without_labels_are_learned_from_beside_the_others(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    """Named, or in a folder unlabelled/ beside train/."""
    more = tmp_path / "more"
    more.mkdir()
    for number, file in enumerate(sorted((photos / "val").rglob("*.png"))[:8]):
        shutil.copy(file, more / f"{number}.png")
    asked = planned(unlabelled=str(more), plain=False)
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(more, tmp_path / "photos" / "unlabelled")
    found = planned(data=tmp_path / "photos", plain=False)
    for made in (asked, found):
        one = settings(made)
        assert one["source"]["beside"].startswith("images:") and "80 images, 8 of them without labels" in str(made)
        assert [row["use"] for row in one["method"]] == ["CE", "KD"]
    assert settings(asked)["source"]["beside_content"] == settings(found)["source"]["beside_content"]
    run = found.distilled["KD"][0].run(found.store)
    assert run.record["data"]["train"]["count"] == 80
    for words, says in (
        ({"unlabelled": str(tmp_path / "nowhere")}, "--unlabelled .*nowhere: there is no such folder"),
        ({"data": more, "unlabelled": str(more), "evaluate": str(photos)}, "put all images into one folder"),
    ):
        with pytest.raises(RedistillError, match=says):
            planned(**words)


def test_who_learns_by_labels_alone_has_whole_batches_of_them(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    """72 images with labels and 216 without: in the distilled student's batches three rows of four would teach the others nothing."""
    more = tmp_path / "more"
    more.mkdir()
    picture = min((photos / "val").rglob("*.png"))
    for number in range(216):
        shutil.copy(picture, more / f"{number}.png")
    made = planned(unlabelled=str(more), batch_size=8, epochs=10, train_teacher=6)
    distilled, plain = settings(made), made.plain[0].written()
    (lesson,) = (one.written() for one in made.teaching.values())
    assert "beside" in distilled["source"] and not {"beside"} & (plain["source"].keys() | lesson["source"].keys())
    assert (distilled["recipe"]["epochs"], plain["recipe"]["epochs"], lesson["recipe"]["epochs"]) == (10, 40, 6)
    assert (distilled["recipe"]["warmup"], plain["recipe"]["warmup"]) == (1.0, 4.0)
    assert (distilled["evaluate"]["every"], plain["evaluate"]["every"]) == (1, 2)
    assert "cross-entropy alone on the 72 images with labels, for about as many steps (40 epochs of these)" in str(made)


def test_deit_is_a_method_by_itself(planned: Callable[..., Plan]) -> None:
    one = settings(planned(method="DeiT"), "DeiT")
    assert [(row["use"], row["weight"]) for row in one["method"]] == [("DeiT", 1.0)]
    with pytest.raises(RedistillError, match="DeiT has a part for the labels of its own"):
        planned(method="DeiT+AT")


def test_a_teacher_is_trained_as_its_own_kind_wants_it(planned: Callable[..., Plan]) -> None:
    """AdamW at a small rate is for a student that normalises by layers; its convolutional teacher keeps SGD."""
    student = f"{Path(__file__).parents[1] / 'helpers' / 'transformers.py'}:Transformer"
    made = planned(student=student, method="DeiT", batch_size=16)
    lesson, one = next(iter(made.teaching.values())).written()["recipe"], settings(made, "DeiT")["recipe"]
    assert (lesson["optimizer"], lesson["lr"], lesson["clip"]) == ("sgd", 0.0125, None)
    assert (one["optimizer"], one["lr"], one["clip"]) == ("adamw", 6.25e-5, 1.0)


@pytest.mark.parametrize(
    ("units", "why"),
    [(True, "--precision fast uses this processor's bf16 units and may take half the time"), (False, "this processor is no faster")],
)
def test_a_processor_with_bf16_units_is_spoken_of(
    units: bool, why: str, planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strict stays the default: the same command gives the same numbers on the next machine."""
    monkeypatch.setattr("redistill.distill.length.has_bf16_matrix_units", lambda device: units)
    made = planned()
    assert settings(made)["recipe"]["precision"] == "strict" and why in str(made)
