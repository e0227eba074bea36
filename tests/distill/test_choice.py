"""Methods that are chosen on training images which no trial has seen."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from helpers.engineers import Big
from helpers.photographs import BIG, SMALL, folder_of_photos, photo
from redistill.cli import program
from redistill.distill import Distilled, Plan, plan
from redistill.distill.choice import Choice, held_images
from redistill.errors import RedistillError
from redistill.launch.carry_out import Resources
from redistill.runs.store import Store


def weights_of_big(folder: Path) -> Path:
    """Weights of a teacher that has learned nothing, which is enough for a plan that is refused before it is asked."""
    torch.manual_seed(0)
    torch.save(Big(3).state_dict(), folder / "big.pth")
    return folder / "big.pth"


@pytest.fixture(scope="module")
def chosen(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Distilled, Path]:
    """KD, and an AT that is far too heavy to learn anything beside it."""
    place = tmp_path_factory.mktemp("chosen")
    made = plan(
        photos, BIG, SMALL, train_teacher=8, method="KD+AT,KD", choose=True, epochs=12, seeds=(0, 1), runs=place / "runs", batch_size=16,
        change=("method.AT.weight=1e6",), resources=Resources(device="cpu"),
    )  # fmt: skip
    found = made.carry_out()
    found.write(place / "out")
    return made, found, place


def test_the_best_of_the_trials_alone_is_trained_on_everything(chosen: tuple[Plan, Distilled, Path]) -> None:
    made, found, place = chosen
    assert found.choice is not None and found.choice.method == "KD" and list(found.choice.accuracies) == ["KD+AT", "KD"]
    assert [row.name for row in found.rows] == ["Big", "Small plain", "Small KD"]
    # a teacher, four trials, and two seeds of the plain student and of the one that KD teaches
    assert len(Store(place / "runs").finished()) == 1 + 4 + 2 + 2
    assert (place / "out" / "student").is_dir()
    text = (place / "out" / "table.md").read_text()
    assert found.choice.sentence in text and json.loads((place / "out" / "table.json").read_text())["choice"]["method"] == "KD"
    assert len(found.choice.folders) == 4 and all((folder / "record.json").is_file() for folder in found.choice.folders)
    assert "runs          9 to train" in str(made)


def test_a_trial_sees_neither_the_images_it_is_judged_on_nor_those_of_the_evaluation(chosen: tuple[Plan, Distilled, Path]) -> None:
    made, found, place = chosen
    store = Store(place / "runs")
    held = held_images(72)
    for by_seed in made.trials.values():
        for seed, one in by_seed.items():
            run = store.find(one)
            assert run is not None and run.record["accuracy"].keys() == {"held_out"}
            assert found.choice is not None and found.choice.images == held == 7
            name = run.label.removesuffix(" on trial").rpartition(" ")[2]
            said = found.choice.accuracies[name][seed]
            assert said == run.accuracy("held_out") and said * held / 100 == pytest.approx(round(said * held / 100))
    split: Any = [one.source.build(one.seed, None) for one in (made.trials["KD"][0], made.trials["KD+AT"][1])]
    mine, other = (set(built.evaluate["held_out"].index.tolist()) for built in split)
    assert mine == other and len(mine) == held and not mine & set(split[0].source.index.tolist())  # the same for every seed and method
    (lesson,) = made.teaching.values()
    taught: Any = lesson.source.build(lesson.seed, None)
    assert not mine & set(taught.source.index.tolist())
    final: Any = made.distilled["KD"][0].source.build(0, None)
    assert len(final.source) == 72 and "held_out" not in final.evaluate


def test_without_a_choice_nothing_of_it_is_planned(planned: Callable[..., Plan]) -> None:
    made = planned(method="KD,KD+AT")
    assert not made.trials and all("held_out" not in one.written()["source"] for one in made.experiments)
    assert "\nchoice " not in str(made) and "held_out" not in next(iter(made.teaching.values())).written()["source"]
    tried = planned(choose=True, change=("evaluate.every=2",))
    assert tried.distilled["KD"][0].evaluate.every == 2 and not any(by_seed[0].evaluate.sets for by_seed in tried.trials.values())
    assert [one.id for one in planned(method="KD").experiments] == [one.id for one in planned().experiments]


def test_no_trial_stops_by_the_images_it_is_judged_on_and_no_student_by_those_of_its_teacher(planned: Callable[..., Plan]) -> None:
    """A trial was judged by the best of its looks; students of other seeds stopped by images that their teacher had been trained on."""
    made = planned(choose=True, method="KD,KD+AT", early_stop=2, seeds=(0, 1))
    (lesson,) = made.teaching.values()
    lessons: Any = lesson.source.build(lesson.seed, None)
    known = set(lessons.source.index.tolist())
    assert len(known) == 65
    for one in made.experiments:
        stopping: Any = one.source.build(one.seed, None)
        assert one.recipe.patience == 2 and not known & set(stopping.evaluate["held_out"].index.tolist())
    assert all(one.recipe.patience is None for by_seed in made.trials.values() for one in by_seed.values())
    assert "no trial stops early" in str(made) and "is trained as if it alone had been asked for" in str(made)
    alone = planned(early_stop=2, seeds=(0, 1))
    assert [one.id for one in alone.plain.values()] == [one.id for one in made.plain.values()]
    assert alone.teaching[0].id == lesson.id and "no trial" not in str(alone)


@pytest.mark.parametrize("words", [{"choose": True}, {"early_stop": 2}])
def test_images_that_judge_are_not_learned_from_without_their_labels(
    words: dict[str, Any], photos: Path, planned: Callable[..., Plan], tmp_path: Path
) -> None:
    """A folder of everything, with the labelled pictures in it, showed every trial the images that it was judged on."""
    for number in range(5):
        photo(tmp_path / "new" / f"{number}.png", 0, 9000 + number)
    shutil.copytree(tmp_path / "new", tmp_path / "every")
    for file in sorted((photos / "train" / "red").glob("*.png"))[:3]:
        shutil.copy(file, tmp_path / "every" / f"again-{file.name}")
    with pytest.raises(RedistillError, match=r"^3 of the images without labels \(images:.*\) are among those with labels, of which --"):
        planned(unlabelled=tmp_path / "every", **words)
    planned(unlabelled=tmp_path / "every")
    planned(unlabelled=tmp_path / "new", **words)


def test_methods_that_nobody_named_are_tried_as_far_as_the_networks_have_places(planned: Callable[..., Plan]) -> None:
    made = planned(choose=True)
    assert list(made.trials) == list(made.distilled) == ["KD", "KD+AT", "KD+SP"]
    assert "choice        each is tried on nine tenths" in str(made)
    flat = planned(choose=True, teacher=f"{BIG.rpartition(':')[0]}:Fixed", size=32, train_teacher=2)
    assert not flat.trials and list(flat.distilled) == ["KD"] and "KD+AT is not tried: " in str(flat)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"method": "KD"}, "--choose chooses between methods, and KD is one: give several"),
        ({"method": ""}, "name each method once"),
        ({"method": "KD,DKDD"}, "DKD"),
    ],
)
def test_choices_that_are_none(planned: Callable[..., Plan], words: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=re.escape(says)):
        planned(choose=True, **words)


def test_a_choice_takes_an_image_of_each_class(planned: Callable[..., Plan], tmp_path: Path) -> None:
    few = folder_of_photos(tmp_path / "few", 8, 4)
    with pytest.raises(RedistillError, match="one of each class at least, and a tenth of these is 2 images: leave it out"):
        planned(choose=True, data=few)


def test_a_choice_takes_labels(photos: Path, planned: Callable[..., Plan], tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for number, file in enumerate(sorted((photos / "train").rglob("*.png"))):
        (tmp_path / "plain" / f"{number}.png").write_bytes(file.read_bytes())
    with pytest.raises(RedistillError, match="one of each class at least, and these have none: leave it out, and name a method"):
        planned(choose=True, data=tmp_path / "plain", evaluate=photos / "val", teacher_weights=weights_of_big(tmp_path))


def test_the_first_of_equals_is_chosen_and_what_diverged_never() -> None:
    assert Choice({"KD": {0: 50.0}, "KD+AT": {0: 50.0}}, 100).method == "KD"
    noise = Choice({"KD": {0: 60.0, 1: 60.01, 2: 60.26}, "KD+AT": dict.fromkeys(range(3), 60.09)}, 10_000)
    means = noise.mean("KD"), noise.mean("KD+AT")
    assert None not in means and means[0] != means[1] == pytest.approx(means[0]) and noise.method == "KD"
    lost = Choice({"KD": {0: 90.0, 1: None}, "KD+AT": {0: 40.0, 1: 50.0}, "KD+SP": {0: 44.0, 1: 45.0}}, 100)
    assert lost.method == "KD+AT"
    assert lost.sentence == (
        "KD+AT was chosen on 100 training images that no trial had seen: 45.0 % of them right (95 %: 35.6 to 54.8); KD diverged, KD+SP "
        "44.5 %, means of 2 seeds. The evaluation images decided nothing."
    )
    assert lost.equals == () and noise.equals == ("KD+AT",)
    with pytest.raises(RedistillError, match="every method diverged in its trial"):
        _ = replace(lost, accuracies={"KD": {0: None}}).method


def test_a_tie_is_told_and_the_interval_is_that_of_the_mean() -> None:
    """The mean of two seeds was rounded to whole images first: 35 % of ten had the interval of 40 %."""
    tied = Choice({"KD": {0: 20.0, 1: 30.0}, "KD+AT": {0: 30.0, 1: 40.0}, "KD+SP": {0: 40.0, 1: 30.0}}, 10)
    z = 1.959963984540054
    centre, half = (3.5 + z * z / 2) / (10 + z * z), z / (10 + z * z) * math.sqrt(3.5 * 6.5 / 10 + z * z / 4)  # Wilson 1927
    assert tied.sentence == (
        f"KD+AT was chosen on 10 training images that no trial had seen: 35.0 % of them right (95 %: {100 * (centre - half):.1f} to "
        f"{100 * (centre + half):.1f}); KD 25.0 %, KD+SP 35.0 %, means of 2 seeds. KD+AT and KD+SP were right equally often, and the first "
        f"named of them was taken. The evaluation images decided nothing."
    )
    assert "(95 %: 64.6 to 100.0)" in Choice({"KD": dict.fromkeys(range(3), 100.0)}, 7).sentence


def test_a_trial_that_diverges_has_lost_and_ends_nothing(photos: Path, tmp_path: Path) -> None:
    made = plan(
        photos, BIG, SMALL, train_teacher=8, method="KD+AT,KD", choose=True, epochs=12, runs=tmp_path / "runs", batch_size=16, plain=False,
        change=("method.AT.weight=1e30",), resources=Resources(device="cpu"),
    )  # fmt: skip
    found = made.carry_out()
    assert found.choice is not None and found.choice.method == "KD" and found.choice.mean("KD+AT") is None


def test_the_command_takes_it(tmp_path: Path) -> None:
    words = ["distill", "--data", "digits", "--teacher", "wrn-16-2-digits", "--student", "wrn-10-1", "--choose", "--dry-run"]
    told = CliRunner().invoke(program(), [*words, "--runs", str(tmp_path / "runs")])
    assert told.exit_code == 0 and "the one that is right on most of the other 135 images is trained on all" in told.output
    told = CliRunner().invoke(program(), [*words, "--json", "--runs", str(tmp_path / "runs")])
    assert len(json.loads(told.output)["trials"]) == 3
    (tmp_path / "plain.txt").write_text("mine", encoding="utf-8")
    told = CliRunner().invoke(program(), [*words, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "plain.txt")])
    assert "plain.txt is a file" in str(told.exception) and not (tmp_path / "runs").exists()
