"""Every method of a list between many pairs of networks: what a pair does not allow is said, and what is left does not diverge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from redistill import data, models
from redistill.core import Method, RedistillError
from redistill.experiment.method import made_method
from redistill.experiment.value import Experiment
from redistill.features.places import meeting, places_of
from redistill.launch.methods import Ground, ground, rows, settings
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
PAIRS = {
    "wrn-10-2 to wrn-10-1": ("wrn-10-2", "wrn-10-1"),
    "resnet14 to resnet8": ("resnet14", "resnet8"),
    "vgg8 to vgg8": ("vgg8", "vgg8"),
    "wrn-10-2 to shufflenetv1": ("wrn-10-2", "shufflenetv1"),
    "vgg8 to mobilenetv2": ("vgg8", "mobilenetv2"),
    "mobilenetv2 to resnet8": ("mobilenetv2", "resnet8"),
}
STEPS = 2


def methods(teacher: str, student: str) -> dict[str, tuple[dict[str, Any], Method]]:
    """Section ``[student]`` and method of every row that one pair allows, at its full weight from the first step."""
    sections = {"teacher": {"run": {"student": {"model": teacher}, "method": [{"use": "CE"}], "source": {"data": "cifar10"},
                                    "recipe": {"epochs": 1}}, "seed": 0}}  # fmt: skip
    common = Ground(student, {"data": "cifar10"}, {"epochs": 1}, sections["teacher"], assistant=student)
    found = {}
    for name, one in METHODS.items():
        row = settings(name, common, 32, teacher)
        row["method"] = [{**part, "weight": old.get("weight", 1.0)} for part, old in zip(row["method"], one.parts, strict=True)]
        if one.first:
            row["method"], row["student"] = [*one.first, *row["method"]], {"model": student}
        if one.views == 2:
            row["source"], row["method"] = {"data": "cifar10"}, [row["method"][0], {**row["method"][1], "views": 1}]
        found[name] = row["student"], made_method(Experiment.of(row, device="cpu").method)
    return found


def coloured() -> data.Images:
    """Twenty images of CIFAR's size: smooth patches, a colour a class, in its normalisation."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(20) % 10
    colour = torch.rand(10, 3, 1, 1, generator=draw)[y]
    patches = nn.functional.interpolate(torch.rand(20, 3, 5, 5, generator=draw), size=(32, 32), mode="bilinear")
    return data.Images((255 * (0.5 * colour + 0.5 * patches)).to(torch.uint8), y, 10, "cifar10:train", "cifar10-kuangliu", "crop-flip")


def calibrated(name: str, images: torch.Tensor) -> nn.Module:
    """A network whose batch norms know the images: undrawn statistics would make its features grow from layer to layer."""
    net = models.build(name, 10, seed=5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(images)
    return net.eval()


@pytest.mark.parametrize("pair", PAIRS)
def test_no_method_diverges_at_its_weight_between_networks_of_like_and_unlike_families(pair: str) -> None:
    teacher_name, student_name = PAIRS[pair]
    train = coloured()
    teacher = calibrated(teacher_name, train.normalised())
    images, refused, diverged = train.normalised(), {}, {}
    theirs = places_of(teacher, images[:2], trained=False)
    rate = 0.01 if student_name in ("mobilenetv2", "shufflenetv1", "shufflenetv2") else 0.05
    recipe = Recipe(steps=STEPS, batch_size=10, lr=rate, nesterov=True, weight_decay=5e-4)
    for name, (student, method) in methods(teacher_name, student_name).items():
        if METHODS[name].teacher not in ("given", "none"):
            continue  # KD between other networks
        net = models.build(student["model"], 10, seed=1, **student.get("args", {}))
        try:
            mine = places_of(net, images[:2])
            method.fresh().setup(meeting(net, mine, teacher, theirs, count=len(train), labels=train.y))
        except RedistillError as error:
            refused[name] = str(error)
            continue
        loop = Loop([(net, method)], teacher, train, recipe, seed=0, device="cpu")
        for _ in loop:
            pass
        if (why := loop.results()[0].diverged) is not None:
            diverged[name] = why
    assert diverged == {}
    # what a pair does not allow: flow between unlike widths; attention and selectivity between stages that do not correspond
    assert set(refused) <= {"FSP", "AT", "NST", "SimKD"}, refused
