"""Zero-shot and mixed sources in experiment files: presets written out, identity, runs that resume and keep their generator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.experiments import HERE, interrupted
from redistill import models
from redistill.core import RedistillError
from redistill.experiment.value import Experiment
from redistill.published.few_images import few_recipe
from redistill.published.zero_shot import preset
from redistill.runs.compare import differences
from redistill.runs.store import Run, Store

SMALL: dict[str, Any] = {"channels": 1, "image_size": 8, "z": 6, "normalise": "digits"}


def of(seed: int = 0, **sections: Any) -> Experiment:
    settings = {
        "teacher": {"run": "teacher.toml"},
        "student": {"model": "./nets.py:Small"},
        "source": {"kind": "adversarial", "preset": "authors", "attention": 0, "blocks": 20, "stop_after": 3, "n_S": 2, **SMALL},
        "evaluate": {"test": "digits:test"},
        "recipe": {"batch_size": 8},
        **sections,
    }
    return Experiment.of({k: v for k, v in settings.items() if v is not None}, folder=HERE, seed=seed, device="cpu")


def test_a_preset_is_written_out() -> None:
    written = of().written()
    assert written["source"]["n_S"] == 2 and written["source"]["lr"] == 1e-3 and written["source"]["images"] == "after"
    assert "preset" not in written["source"] and "stop_after" not in written["source"]
    assert written["method"] == [
        {"use": "KD", "weight": 1.0, "T": 1.0, "reduction": "element", "scale_T2": False, "factor": 1.0, "target": "kl"}
    ]
    recipe = written["recipe"]
    assert (recipe["steps"], recipe["lr"], recipe["optimizer"], recipe["clip"], recipe["batch_size"]) == (6, 2e-3, "adam", 5.0, 8)
    assert recipe["schedule"]["T_max"] == 40 and recipe["schedule"]["hold"] == 2
    assert written["numerics"]["source:adversarial"] == 1
    again = Experiment.of(json.loads(json.dumps(written)), device="cpu")
    assert again == of() and again.id == of().id
    assert of().label.endswith("KD, zero-shot")
    assert of(source={"kind": "adversarial", "preset": "modified", **SMALL}).source.label == "zero-shot (modified)"


@pytest.mark.parametrize("name", ["paper", "authors", "re-2020", "modified"])
def test_every_preset_reads_back(name: str) -> None:
    one = of(source={"kind": "adversarial", "preset": name, **SMALL}, recipe=None)
    p = preset(name)
    assert one.source.variant == p.variant and one.source.method().settings() == p.generator_method.settings()
    assert one.recipe == p.recipe
    assert [part.use for part in one.method] == ["KD", "AT"] and one.method[1].weight == 250.0
    again = Experiment.of(json.loads(json.dumps(one.written())), device="cpu")
    assert again == one and again.cell == one.cell


def test_switches_extra_terms_and_the_recipe_are_the_files() -> None:
    extra = [{"use": "Diversity", "weight": 0.1}, {"use": "KD", "weight": 0.5, "T": 2}]
    source = {"kind": "adversarial", "preset": "paper", "blocks": 5, "noise": "fresh", "images": "after", "extra": extra}
    one = of(source={**source, **SMALL}, recipe={"epochs": 1}, method=[{"use": "KD"}])
    assert one.source.variant.noise == "fresh" and one.source.variant.lr == 2e-3 and one.source.variant.clip is None
    assert repr(one.source.method()) == "-1.0 * KD(T=1.0, scale_T2=False) + 0.1 * Diversity() + 0.5 * KD(T=2.0)"
    assert one.recipe.epochs == 1 and one.recipe.steps is None and one.recipe.optimizer == "adam"
    assert [part.settings["T"] for part in one.method] == [4.0]
    assert "generator term:Diversity" in one.numerics
    assert one.cell != of(source={**source, "extra": extra[:1], **SMALL}, recipe={"epochs": 1}, method=[{"use": "KD"}]).cell


def test_one_switch_of_the_losses_moves_both_sides() -> None:
    source = {"kind": "adversarial", "preset": "authors", "kl": "batch", "attention_form": "norm", "decay_per": "step", "blocks": 5}
    one = of(source={**source, **SMALL}, recipe=None)
    assert repr(one.source.method()) == "-1.0 * KD(T=1.0, scale_T2=False)"
    assert [(part.use, part.settings.get("reduction"), part.settings.get("form")) for part in one.method] == [
        ("KD", "batch", None), ("AT", None, "norm")
    ]  # fmt: skip
    assert one.recipe.schedule.hold == 1
    assert not {"kl", "attention_form", "decay_per"} & set(one.written()["source"])


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"source": {"kind": "adversarial", "preset": "author"}}, "unknown zero-shot preset 'author': did you mean authors"),
        ({"source": {"kind": "adversarial", "preset": "authors", "n_s": 3}}, "unknown key 'n_s'.*n_S|n_s"),
        ({"source": {"kind": "adversarial", "preset": "re-2020", "noise": "fresh"}}, "noise='fresh' needs images='after'"),
        ({"source": {"kind": "adversarial", "preset": "authors", "blocks": 3, "stop_after": 4}}, "stop_after = 4: .* has 3 blocks"),
        ({"source": {"kind": "adversarial", "preset": "authors", "stop_after": "x"}}, 'source.stop_after = "x": input should be a valid'),
        ({"source": {"kind": "adversarial", "preset": "authors", "attention": -1}}, "source.attention = -1: .* greater than or equal to 0"),
        ({"source": {"kind": "adversarial", "preset": "authors", "attention": 0, "attention_form": "norm"}}, "attention = 0 leaves the"),
        ({"source": {"kind": "adversarial", "preset": "authors", "kl": "mean"}}, "source.kl = .*must be 'batch' or 'element'"),
        ({"source": {"preset": "authors"}}, 'source.preset = "authors": belongs to a generator: add kind = "adversarial"$'),
        ({"source": {"kind": "adversarial", "preset": "authors", "normalise": "cifar11"}}, "source.normalise = .*unknown normalisation"),
        ({"source": {"kind": "adversarial", "preset": "authors", "channels": 1}}, "cifar10-kuangliu"),
        ({"source": {"kind": "adversarial", "preset": "authors", **SMALL, "image_size": 9}}, "source.generator.*multiple of 4, got 9"),
        ({"source": {"kind": "adversarial", "preset": "authors", "generator": "wrn-16-1"}}, "source.generator .*unknown argument 'z'"),
        ({"source": {"kind": "adversarial", "preset": "authors", "generator": "./nets.py:Paint"}}, "did you mean Painter"),
        ({"source": {"kind": "adversarial", "preset": "authors", "extra": [{"use": "CE"}]}}, "CE needs labels"),
        ({"source": {"kind": "adversarial", "stop_after": 4}, "method": [{"use": "KD"}], "recipe": {"epochs": 1}}, "add preset"),
        ({"source": {"kind": "adversarial", "preset": "authors", "extra": [{"use": "Diversty"}]}}, "did you mean Diversity"),
        ({"source": {"kind": "adversarial", "presett": "authors", **SMALL}}, "presett.*did you mean preset"),
        (
            {"source": {"kind": "adversarial", "preset": "authors", **SMALL}, "method": [{"use": "CE"}]},
            r"CE needs labels, and \[source\] has none",
        ),
    ],
)
def test_mistakes_of_a_file(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        of(**sections)


@pytest.mark.parametrize(
    ("key", "value", "more", "says"),
    [
        ("attention", 0, {"method": [{"use": "KD"}]}, r"the preset's \[\[method\]\], but this file has its own: remove one of the two$"),
        ("kl", "batch", {"method": [{"use": "KD"}]}, "or say the generator's as reduction$"),
        ("decay_per", "step", {"recipe": {"schedule": {"kind": "cosine"}}}, "the preset's recipe.schedule, but"),
        ("stop_after", 3, {"recipe": {"epochs": 1}}, "the preset's recipe.epochs, but"),
    ],
)
def test_what_would_complete_nothing_is_refused(key: str, value: Any, more: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=f"source.{key} = .*{says}"):
        of(source={"kind": "adversarial", "preset": "authors", key: value, **SMALL}, **more)


HALF = {"kind": "adversarial", "preset": "authors", **SMALL}
DIGITS = {"data": "digits", "per_class": 1}


@pytest.mark.parametrize(
    ("first", "second", "more", "says"),
    [
        (DIGITS, {**HALF, "stop_after": 3}, {}, "source.second.stop_after = 3: completes a preset's method and recipe, which a mixed"),
        (DIGITS, {**HALF, "decay_per": "step"}, {}, 'source.second.decay_per = "step": completes a preset'),
        (DIGITS, {**HALF, "kl": "batch"}, {}, "remove it; the generator's KL is T and reduction"),
        (DIGITS, HALF, {"take": [1, 0]}, "source.take.*greater than or equal to 1"),
        (DIGITS, {**HALF, "normalise": "half"}, {}, "the halves are normalised as digits and half: give both"),
        (HALF, HALF, {}, "both halves make images against the student"),
    ],
)
def test_halves_that_do_not_go_together(first: Any, second: Any, more: dict[str, Any], says: str) -> None:
    source = {"kind": "mixed", "first": first, "second": second, **more}
    with pytest.raises(RedistillError, match=says) as caught:
        of(source=source, method=[{"use": "KD"}], recipe={"steps": 7, "batch_size": 8})
    assert len(str(caught.value).splitlines()) == 1


def test_only_the_whole_of_a_publication_has_its_name() -> None:
    for change in ({"T": 4.0}, {"reduction": "batch"}, {"extra": [{"use": "Diversity", "weight": 5.0}]}, {"n_S": 5}):
        assert of(source={**HALF, **change}, recipe=None).source.label == "zero-shot", change
    assert of(source=HALF, recipe=None).source.label == "zero-shot (authors)"


@pytest.mark.parametrize(("few", "epochs"), [("steps", None), ("authors", 2694), ("re-2020", 100_000)])
def test_the_recipe_of_few_images_in_one_word(few: Any, epochs: int | None) -> None:
    source = {"data": "digits", "per_class": 10}
    one = of(source=source, method=[{"use": "KD"}], recipe={"few": few, "precision": "fast"})
    want = few_recipe(10, counting=few, images=1347, classes=10, precision="fast")
    assert one.recipe == want and want.epochs == epochs
    assert Experiment.of(json.loads(json.dumps(one.written())), device="cpu") == one
    if few == "authors":
        scaled = of(source=source, method=[{"use": "KD"}], recipe={"few": few, "full_epochs": 100, "scale": 0.1})
        assert scaled.recipe.epochs == 134 and scaled.recipe.schedule.late == 1


@pytest.mark.parametrize(
    ("source", "recipe", "says"),
    [
        ({"data": "digits"}, {"few": "steps"}, "recipe.few = .*give .source. one of per_class, first_per_class"),
        (DIGITS, {"few": "step"}, "recipe.few = .*must be 'steps', 'authors' or 're-2020'"),
        (DIGITS, {"few": "steps", "epochs": 3}, "recipe.few = .*this file has its own epochs: remove one"),
        (DIGITS, {"few": "steps", "scale": 0.1}, "scale belongs to counting='authors'"),
        (DIGITS, {"few": "authors", "scale": 0}, "recipe.scale = 0: input should be greater than 0"),
        (DIGITS, {"epochs": 3, "full_epochs": 100}, 'recipe.full_epochs = 100: .*add few = "steps"'),
        ({"data": "digits", "per_class": 1000}, {"few": "steps"}, "10 classes of M images must be between"),
    ],
)
def test_mistakes_about_few_images(source: Any, recipe: Any, says: str) -> None:
    with pytest.raises(RedistillError, match=says) as caught:
        of(source=source, method=[{"use": "KD"}], recipe=recipe)
    assert len(str(caught.value).splitlines()) == 1


def test_a_mistake_of_a_preset_is_told_once_and_hides_no_other() -> None:
    source = {"kind": "adversarial", "preset": "author", "n_S": 0, "blocks": "many", "attention": "x", "image_sise": 8}
    with pytest.raises(RedistillError) as caught:
        of(source=source, recipe=None)
    head, *rest = str(caught.value).splitlines()
    assert head == "5 mistakes:" and [line.split(":")[1].strip() for line in rest] == [
        'source.preset = "author"', 'source.attention = "x"', "source.image_sise = 8", "source.n_S = 0", 'source.blocks = "many"'
    ]  # fmt: skip


def worked(one: Experiment, store: Store, stops: set[int]) -> Run:
    return interrupted((one,), store, stops)[0]


def test_without_an_evaluation_set_the_teacher_says_how_many_classes_there_are(teacher_file: Path, tmp_path: Path) -> None:
    source = {"kind": "adversarial", "preset": "authors", "attention": 0, "blocks": 20, "stop_after": 1, "n_S": 2, **SMALL}
    for student in ({"model": "wrn-10-1"}, {"model": "wrn-10-1", "args": {"classes": 10}}):
        shutil.copytree(teacher_file, tmp_path / "runs", dirs_exist_ok=True)
        run = worked(of(source=source, student=student, evaluate={}), Store(tmp_path / "runs"), set())
        assert run.record["accuracy"] == {} and run.network().arch.classes == 10
    with pytest.raises(RedistillError, match="the teacher tells 10 classes apart, the student 7"):
        worked(of(source=source, student={"model": "wrn-10-1", "args": {"classes": 7}}, evaluate={}), Store(tmp_path / "runs"), set())


def test_a_generator_of_ones_own(teacher_file: Path, tmp_path: Path) -> None:
    source = {"kind": "adversarial", "preset": "authors", "attention": 0, "blocks": 20, "stop_after": 1, "n_S": 2, **SMALL}
    source["generator"] = "./nets.py:Painter"
    one = of(source=source)
    written = one.written()["source"]
    assert written["generator"] == "./nets.py:Painter" and len(written["code"]) == 64 and written["file"] == str(HERE / "nets.py")
    elsewhere = json.loads(json.dumps(one.written()))
    elsewhere["source"]["file"] = str(shutil.copy(HERE / "nets.py", tmp_path / "nets.py"))
    assert Experiment.of(elsewhere, device="cpu").id == one.id
    (tmp_path / "nets.py").write_text("class Painter: ...", encoding="utf-8")
    with pytest.raises(RedistillError, match="has changed since"):
        Experiment.of(elsewhere, device="cpu")
    shutil.copytree(teacher_file, tmp_path / "runs")
    run = worked(one, Store(tmp_path / "runs"), set())
    kept = run.kept("generator")
    assert kept["paint.weight"].shape == (64, 6) and run.kept("samples")["1"].shape == (16, 1, 8, 8)
    with pytest.raises(RedistillError, match=r"has z = 6 and image_shape = \[1, 8, 8\], but \[source\] says .*\[1, 12, 12\]"):
        of(source={**source, "image_size": 12}).source.build(0, None)


@pytest.mark.parametrize("kind", ["authors", "modified", "mixed"])
def test_interrupted_and_gone_on_with_bit_for_bit(kind: str, teacher_file: Path, tmp_path: Path) -> None:
    if kind == "mixed":
        half = {"kind": "adversarial", "preset": "authors", "blocks": 20, "n_S": 2, **SMALL}
        source = {"kind": "mixed", "first": {"data": "digits", "per_class": 1}, "second": half, "take": [1, 2]}
        one = of(source=source, method=[{"use": "KD"}], recipe={"steps": 7, "batch_size": 8})
    else:
        source = {"kind": "adversarial", "preset": kind, "attention": 0, "blocks": 20, "stop_after": 3, "n_S": 2, "epoch_blocks": 1}
        one = of(source={**source, **SMALL})
    runs = []
    for name, stops in (("whole", set[int]()), ("parts", {2, 4})):
        shutil.copytree(teacher_file, tmp_path / name)
        runs.append(worked(one, Store(tmp_path / name), stops))
    assert [d for d in differences(*runs) if d.matters] == []
    kept = [run.kept("generator") for run in runs]
    assert kept[0].keys() == kept[1].keys() and all(torch.equal(kept[0][k], kept[1][k]) for k in kept[0])
    samples = [run.kept("samples") for run in runs]
    assert all(torch.equal(samples[0][k], samples[1][k]) for k in samples[0])
    generator = models.generator(z=6, channels=1, image_size=8)
    generator.load_state_dict(kept[0])
    if kind == "authors":
        assert sorted(map(int, samples[0])) == [0, 1, 3] and samples[0]["3"].shape == (16, 1, 8, 8)
        numbers = runs[0].curves()["source"]
        assert [step for step, _ in numbers] == [2, 4, 6] and set(numbers[0][1]) >= {"generator_loss", "teacher_class_9"}
        assert len(runs[0].curves()["gradient_norms"]) == 3
    with pytest.raises(RedistillError, match="unknown kept file 'sample': did you mean samples"):
        runs[0].kept("sample")
