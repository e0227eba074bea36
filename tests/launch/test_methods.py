"""Every method of a list between many pairs of networks: what a pair does not allow is said, and what is left does not diverge."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from redistill import data, models
from redistill.core import Method, RedistillError
from redistill.experiment.method import made_method
from redistill.experiment.value import Experiment
from redistill.features.normalised import normalised
from redistill.features.places import meeting, places_of
from redistill.launch.methods import Ground, ground, rows, settings
from redistill.metrics import accuracy
from redistill.published.methods import METHODS, chosen, listed
from redistill.recipe import Recipe
from redistill.train.loop import Loop


def test_lists_of_methods_are_read_and_unknown_names_meet_the_nearest() -> None:
    assert chosen("all") == tuple(METHODS) and chosen(" kd, CRD,kd ") == ("CE", "KD", "CRD")
    with pytest.raises(RedistillError, match=r"unknown method 'DKDD'.*DKD.*unknown method 'Fitnets'.*FitNet"):
        chosen("KD,DKDD,Fitnets")
    with pytest.raises(RedistillError, match="names no method: write all"):
        chosen(" , ")


def test_weights_follow_epochs_and_image_size_where_the_loss_does() -> None:
    assert listed("AT", epochs=240, image_size=32)[1][1]["weight"] == 1000 and listed("AT", epochs=9, image_size=8)[1][1]["weight"] == 62.5
    assert listed("DKD", epochs=240, image_size=32)[1][1]["weight"] == {"start": -1.0, "end": 19.0, "last": 1.0}  # mdistiller's
    assert listed("Review", epochs=1, image_size=32)[1][1]["weight"] == {"start": -1.0, "end": 0.0, "last": 5.0}
    assert listed("CTKD", epochs=240, image_size=32)[1][1]["loops"] == 10
    assert METHODS["DKD"].parts[1].get("weight", 1.0) == 1.0  # the table is not written into


def test_every_row_is_an_experiment_of_the_digits() -> None:
    found, why = rows(tuple(METHODS), ground("digits"), device="cpu")
    assert list(why) == ["FSP"] and "FSP needs maps of equal width" in why["FSP"]
    assert set(found) == set(METHODS) - {"FSP"}
    assert found["TAKD"].teacher.run.student.model == "wrn-10-2"  # type: ignore[union-attr]
    assert found["TfKD-self"].teacher.run.id == found["CE"].id == found["BAN"].teacher.run.teacher.run.id  # type: ignore[union-attr]
    assert found["AB"].student.run.method[0].use == "AB" and found["SimKD"].student.args == {"body": "wrn-10-1", "head": "wrn-16-2"}  # type: ignore[union-attr]
    assert found["MLKD"].source.augment == "none+strong"  # type: ignore[union-attr]
    assert len({one.cell for one in found.values()}) == len(found)


def test_a_change_of_images_or_recipe_is_one_of_every_stage() -> None:
    """A first stage on more images than its row, or an assistant that saw more, would be no fair row."""
    changes = ("source.per_class=5", "recipe.weight_decay=0.001", "recipe.lr=0.02", "student.args.dropout=0.2", "method.KD.T=2")
    changed = {name: settings(name, ground("digits", changes=changes), 8, "wrn-16-2") for name in ("AB", "FT", "TAKD", "BAN")}
    plain = {name: settings(name, ground("digits"), 8, "wrn-16-2") for name in changed}
    stages = {
        "AB": changed["AB"]["student"]["run"], "FT": changed["FT"]["student"]["run"], "TAKD": changed["TAKD"]["teacher"]["run"],
        "BAN": changed["BAN"]["teacher"]["run"]["teacher"]["run"],
    }  # fmt: skip
    for name, row in changed.items():
        assert row["source"]["per_class"] == stages[name]["source"]["per_class"] == 5, name
        assert row["recipe"]["weight_decay"] == stages[name]["recipe"]["weight_decay"] == 0.001, name
    assert [stages[name]["recipe"]["lr"] for name in ("AB", "FT", "TAKD")] == [0.02, 0.01, 0.02]  # FT's own rate of that stage
    assert stages["AB"]["student"] == {"model": "wrn-10-1", "args": {"dropout": 0.2}} and stages["TAKD"]["student"] == {"model": "wrn-10-2"}
    assert "per_class" not in changed["TAKD"]["teacher"]["run"]["teacher"]["run"]["source"], "the teacher of all is one"
    assert plain["AB"]["student"]["run"]["recipe"] == {**plain["AB"]["recipe"], "epochs": 8}


def test_what_is_missing_is_said() -> None:
    with pytest.raises(RedistillError, match="say who is compared on cifar10: --student NAME and --teacher FILE"):
        ground("cifar10", student="wrn-16-1")
    with pytest.raises(RedistillError, match=r"there is no file nowhere\.safetensors"):
        ground("cifar10", student="wrn-16-1", teacher="nowhere.safetensors")
    with pytest.raises(RedistillError, match="wrn-16-2"):
        ground("digits", teacher="wrn-16-")
    common = ground("digits", student="wrn-10-1", teacher="wrn-16-2")
    _, why = rows(("KD", "TAKD"), common, device="cpu")
    assert why == {"TAKD": "it needs a network between teacher and student: name it with --assistant"}
    slow = ground("cifar10", student="mobilenetv2", teacher="vgg13", epochs=2)
    assert slow.recipe["lr"] == 0.01 and slow.recipe["schedule"] == {"kind": "cosine"}


# -- a sweep -----------------------------------------------------------------------------------------------------------
RE = "ferles2020/wrn-16-2-seed-0-dict.pth"
PAIRS = {  # teacher, its published file on CIFAR-10 (where there is one), student
    "wrn-16-2 to wrn-16-1": ("wrn-16-2", RE, "wrn-16-1"),
    "wrn-16-2 to shufflenetv1": ("wrn-16-2", RE, "shufflenetv1"),
    "wrn-16-2 to vgg8": ("wrn-16-2", RE, "vgg8"),
    "resnet20 to resnet8": ("resnet20", "akamaster/resnet20-12fca82f.th", "resnet8"),
    "resnet20 to mobilenetv2": ("resnet20", "akamaster/resnet20-12fca82f.th", "mobilenetv2"),
    "vgg8 to vgg8": ("vgg8", "", "vgg8"),
    "mobilenetv2 to resnet8": ("mobilenetv2", "", "resnet8"),
}
STEPS, BATCH = 2, 5
Stages = tuple[dict[str, Any], tuple[tuple[Method, dict[str, Any]], ...]]


def methods(teacher: str, student: str) -> dict[str, Stages]:
    """Of every row: section ``[student]``, and its stages, each a method at its full weight from the first step and what of the recipe
    is another there."""
    sections = {"teacher": {"run": {"student": {"model": teacher}, "method": [{"use": "CE"}], "source": {"data": "cifar10"},
                                    "recipe": {"epochs": 1}}, "seed": 0}}  # fmt: skip
    common = Ground(student, {"data": "cifar10"}, {"epochs": 1}, sections["teacher"], assistant=student)
    found = {}
    for name, one in METHODS.items():
        row = settings(name, common, 32, teacher)
        row["method"] = [{**part, "weight": old.get("weight", 1.0)} for part, old in zip(row["method"], one.parts, strict=True)]
        if one.views == 2:
            row["source"], row["method"] = {"data": "cifar10"}, [row["method"][0], {**row["method"][1], "views": 1}]
        whole = Experiment.of(row, device="cpu")
        before = whole.student.maker(0)
        stages = [] if before is None else [(made_method(before.method), dict(one.first_recipe))]
        found[name] = {"model": whole.student.model, "args": whole.student.args or {}}, (*stages, (made_method(whole.method), {}))
    return found


def shared_file(name: str) -> Path | None:
    """A file of the shared data, where they lie."""
    given = os.environ.get("REDISTILL_SHARED")
    place = (Path(given) if given else Path(__file__).resolve().parents[3] / "shared") / name
    return place if name and place.is_file() else None


@functools.cache
def ten() -> tuple[data.Images, bool]:
    """The first ten test images of CIFAR-10, True; where the shared data do not lie, smooth patches, a colour a class."""
    if (sprite := shared_file("data/cifar-10/test_batch.0.webp")) is not None:
        sheet = torch.from_numpy(np.asarray(Image.open(sprite).convert("RGB"))[:32, :320].copy())
        x, y = sheet.view(32, 10, 32, 3).permute(1, 3, 0, 2).contiguous(), torch.tensor([3, 8, 8, 0, 6, 6, 1, 6, 3, 1])
    else:
        draw = torch.Generator().manual_seed(0)
        y = torch.arange(10)
        colour = torch.rand(10, 3, 1, 1, generator=draw)[y]
        patches = nn.functional.interpolate(torch.rand(10, 3, 5, 5, generator=draw), size=(32, 32), mode="bilinear")
        x = (255 * (0.5 * colour + 0.5 * patches)).to(torch.uint8)
    return data.Images(x, y, 10, "cifar10:test", "cifar10-kuangliu", "crop-flip"), sprite is not None


def calibrated(name: str, images: torch.Tensor) -> nn.Module:
    """A network whose batch norms know the images: undrawn statistics would make its features grow from layer to layer."""
    net = models.build(name, 10, seed=5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(images)
    return net.eval()


def refused_and_diverged(teacher: nn.Module, teacher_name: str, student_name: str, train: data.Images, rate: float) -> tuple[Any, Any]:
    """Of all methods, a few steps of every stage each: what the pair does not allow, and what diverged."""
    images, refused = train.normalised(), {}
    theirs = places_of(teacher, images[:2], trained=False)
    sizes = {"channels": train.image_shape[0], "image_size": train.image_shape[-1]}
    recipe = Recipe(steps=STEPS, batch_size=BATCH, lr=rate, nesterov=True, weight_decay=5e-4)
    at_work: dict[str, tuple[nn.Module, Method]] = {}
    diverged: dict[str, str | None] = {}
    for name, (student, stages) in methods(teacher_name, student_name).items():
        if METHODS[name].teacher not in ("given", "none"):
            continue  # KD between other networks
        net = models.build(student["model"], 10, seed=1, **sizes, **student["args"])
        try:
            mine = places_of(net, images[:2])
            for method, _ in stages:
                method.fresh().setup(meeting(net, mine, teacher, theirs, count=len(train), labels=train.y))
        except RedistillError as error:
            refused[name] = str(error)
            continue
        *before, (method, _) = stages
        for first, other in before:
            loop = Loop([(net, first)], teacher, train, recipe.model_copy(update=other), seed=0, device="cpu")
            for _ in loop:
                pass
            (found,) = loop.results()
            method, diverged[name] = method.beginning_with(found.method.learned()), found.diverged
        at_work[name] = net, method
    loop = Loop(list(at_work.values()), teacher, train, recipe, seed=0, device="cpu")  # a cohort: the teacher is asked once
    for _ in loop:
        pass
    for name, found in zip(at_work, loop.results(), strict=True):
        diverged[name] = diverged.get(name) or found.diverged
    return refused, {name: why for name, why in diverged.items() if why is not None}


# what a pair does not allow: flow between unlike widths; attention and selectivity between stages that do not correspond
NOT_BETWEEN_ALL = {"FSP", "AT", "NST", "SimKD"}


@pytest.mark.parametrize("pair", PAIRS)
def test_no_method_diverges_at_its_weight_between_networks_of_like_and_unlike_families(pair: str) -> None:
    teacher_name, file, student_name = PAIRS[pair]
    (train, real), published = ten(), shared_file(file and f"checkpoints/{file}")
    teacher = models.load(published).eval() if published is not None else calibrated(teacher_name, train.normalised())
    if published is not None and real:
        assert accuracy(normalised(teacher, train.normalisation), train) >= 80, "it is trained, and sees its images as it knows them"
    rate = 0.01 if student_name in ("mobilenetv2", "shufflenetv1", "shufflenetv2") else 0.05
    refused, diverged = refused_and_diverged(teacher, teacher_name, student_name, train, rate)
    assert diverged == {}
    assert set(refused) <= NOT_BETWEEN_ALL, refused


def test_no_method_diverges_on_digits() -> None:
    pytest.importorskip("sklearn")
    train = data.digits()[0].per_class(2, seed=0)
    refused, diverged = refused_and_diverged(models.load("wrn-16-2-digits").eval(), "wrn-16-2", "wrn-10-1", train, 0.05)
    assert diverged == {} and set(refused) == {"FSP"}, (refused, diverged)
