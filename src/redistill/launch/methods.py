"""One comparison of many methods as experiments: the same data, student, teacher and recipe, row by row, and what a row cannot have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redistill import models
from redistill.core import Method
from redistill.errors import RedistillError
from redistill.experiment.method import made_method
from redistill.experiment.networks import Net
from redistill.experiment.value import Experiment
from redistill.features.places import context
from redistill.launch.materials import sizes_of
from redistill.models.build import family
from redistill.published.methods import METHODS, Listed, listed
from redistill.settings.change import changed, keys_of, require_terms

SLOW = ("mobilenetv2", "shufflenetv1", "shufflenetv2")
"""Families that the CRD benchmark trains at a fifth of the rate."""


@dataclass(frozen=True)
class Ground:
    """What all rows of a comparison have in common.

    Attributes:
        student: name of the network. source, recipe: sections of the experiment. teacher: its section ``[teacher]``.
        assistant: name of the network between the two, or None. changes: ``--set`` over every row.
    """

    student: str
    source: Mapping[str, Any]
    recipe: Mapping[str, Any]
    teacher: Mapping[str, Any]
    assistant: str | None = None
    changes: Sequence[str] = ()


def ground(
    data: str,
    *,
    student: str | None = None,
    teacher: str | None = None,
    assistant: str | None = None,
    epochs: int | None = None,
    changes: Sequence[str] = (),
) -> Ground:
    """The common part, with the defaults of the data.

    Args:
        data: name of the data set. ``digits`` has a recipe, a student (WRN-10-1, on ten images a class), a teacher (WRN-16-2, trained
            first on all images) and an assistant (WRN-10-2) of its own, those of ``examples/demo.py``; other data are trained as the
            CRD benchmark does, 240 epochs, and need a student and a teacher.
        teacher: a file of weights, an experiment that trains it, or a network's name, which is then trained on the labels first.
        epochs: other than the default's; the steps of the schedule follow.
    """
    digits = data.partition(":")[0] == "digits"
    if not digits and (student is None or teacher is None):
        raise RedistillError(f"say who is compared on {data}: --student NAME and --teacher FILE (only digits have a pair of their own)")
    student = student or "wrn-10-1"
    if digits:
        own = {"lr": 0.05, "batch_size": 50, "schedule": {"kind": "cosine"}, "per": "step", "nesterov": True}
        return Ground(
            student,
            {"data": data, "per_class": 10},
            {"epochs": epochs or 60, **own},
            _teacher(teacher or "wrn-16-2", data, {"epochs": 20, **own, "lr": 0.1, "batch_size": 64}),
            assistant or ("wrn-10-2" if teacher is None and student == "wrn-10-1" else None),
            changes,
        )
    length = epochs or 240
    recipe = {
        "epochs": length,
        "batch_size": 64,
        "lr": 0.01 if (":" not in student and family(student) in SLOW) else 0.05,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": {"kind": "multistep", "at": [max(1, round(length * at / 240)) for at in (150, 180, 210)], "gamma": 0.1},
    }
    if len(set(recipe["schedule"]["at"])) < 3:  # type: ignore[index]
        recipe["schedule"] = {"kind": "cosine"}
    return Ground(student, {"data": data}, recipe, _teacher(str(teacher), data, {**recipe, "lr": 0.05}), assistant, changes)


def _teacher(given: str, data: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``[teacher]``: of a network's name, an experiment's file or a file of weights."""
    if given.endswith(".toml"):
        return {"run": str(Path(given).expanduser().resolve()), "seed": 0}
    if Path(given).expanduser().is_file():
        return {"from": str(Path(given).expanduser().resolve())}
    if Path(given).suffix:
        raise RedistillError(f"there is no file {given}: give --teacher a file of weights, an experiment (.toml), or a network's name")
    models.check(given)
    ordinary = {"student": {"model": given}, "method": [{"use": "CE"}], "source": {"data": data}, "recipe": dict(recipe)}
    return {"run": ordinary, "seed": 0}


def settings(name: str, common: Ground, image_size: int, head: str) -> dict[str, Any]:
    """One row as an experiment's settings; ``head``: the teacher's model."""
    one, rows = listed(name, epochs=int(common.recipe["epochs"]), image_size=image_size)
    made: dict[str, Any] = {
        "name": name,
        "student": {"model": common.student},
        "method": rows,
        "source": dict(common.source),
        "recipe": dict(common.recipe),
    }
    if (section := _who_teaches(name, one, common, image_size, head)) is not None:
        made["teacher"] = section
    if one.network == "simkd":
        made["student"] = {"model": "simkd", "args": {"body": common.student, "head": head}}
    if one.views == 2:
        made["source"]["augment"] = f"{made['source'].get('augment') or _augment(common)}+strong"
    made = changed(made, common.changes, one_of_several=True)
    if one.first:  # on the same images, from the same networks, and by the same recipe but for what its stage is otherwise
        length = {"steps": None, "epochs": max(1, round(30 * int(common.recipe["epochs"]) / 240))}
        early = {name: value for name, value in {**made["recipe"], **one.first_recipe, **length}.items() if value is not None}
        if early.get("schedule", {}).get("kind") == "multistep":
            early.pop("schedule")
        before = {**made, "name": f"{name}, first stage", "method": [dict(row) for row in one.first], "recipe": early}
        made = {**made, "student": {"run": before}}
    return made


def _augment(common: Ground) -> str:
    from redistill.data.named import defaults

    return defaults(str(common.source["data"]), "train", Path())["augment"]


def _who_teaches(name: str, one: Listed, common: Ground, image_size: int, head: str) -> dict[str, Any] | None:
    if one.teacher == "none":
        return None
    if one.teacher == "given":
        return dict(common.teacher)
    if one.teacher == "assistant":
        if common.assistant is None:
            raise RedistillError("it needs a network between teacher and student: name it with --assistant")
        whole = [change for change in common.changes if keys_of(change)[:1] not in (("student",), ("method",))]
        assistant = Ground(common.assistant, common.source, common.recipe, common.teacher, changes=whole)
        return {"run": settings("KD", assistant, image_size, head)}
    alone = settings("CE", common, image_size, head)
    if one.teacher == "student":
        return {"run": alone}
    first = {**alone, "name": f"{name}, first generation", "method": [dict(part) for part in one.parts], "teacher": {"run": alone}}
    return {"run": first}


def rows(
    names: Sequence[str], common: Ground, *, device: str = "auto", data_dir: Path | None = None
) -> tuple[dict[str, Experiment], dict[str, str]]:
    """The experiments by method, seed 0, and why the others are left out.

    Every method is set up once on these networks and data, untrained: what they do not allow is told before anything runs.
    """
    require_terms([{"method": listed(name, epochs=int(common.recipe["epochs"]), image_size=32)[1]} for name in names], common.changes)
    first = Experiment.of({**settings("CE", common, 32, "")}, device=device, data_dir=data_dir)
    built = first.source.build(0, data_dir).source
    size = int(tuple(built.image_shape)[-1])
    teacher = Experiment.of({**settings("KD", common, size, "")}, device=device, data_dir=data_dir).teacher
    assert teacher is not None
    facts = sizes_of(built, [])
    given = _untrained(teacher, facts)
    found: dict[str, Experiment] = {}
    why: dict[str, str] = {}
    for name in names:
        try:
            one = Experiment.of(settings(name, common, size, teacher.model), device=device, data_dir=data_dir)
            listed_teacher = given if METHODS[name].teacher in ("given", "none") else None
            _try(one, facts, built, listed_teacher)
            found[name] = one
        except RedistillError as error:
            why[name] = str(error)
    return found, why


def _untrained(net: Net, facts: dict[str, Any]) -> nn.Module:
    if net.weights is not None and net.code is None:
        return models.load(net.weights.path, model=net.model, args=net.args)
    return net.build(facts, 0)


def _try(one: Experiment, facts: dict[str, Any], source: Any, teacher: nn.Module | None) -> Method:
    """Set the method up between its networks, as the run will, stage by stage."""
    student = one.student.build(facts, 0)
    if teacher is None and one.teacher is not None:
        teacher = one.teacher.build(facts, 0)
    images = torch.zeros(2, *source.image_shape)
    method = made_method(one.method)
    maker = one.student.maker(0)
    if maker is not None:
        method = method.beginning_with(_try(maker, facts, source, teacher).learned())
    method.setup(context(student, teacher, images, count=source.count, labels=source.all_labels))
    return method
