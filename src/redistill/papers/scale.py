"""An experiment at a part of its published length, and how such a one is known again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def scale_of(written: Mapping[str, Any], cell: str) -> str | None:
    """At which part of the length an experiment stands for a cell of a paper; None where it does not.

    >>> scale_of({"name": "ahn2019:1:KD:2 % (scale 0.002)", "notes": "scale 0.002 of the published length"}, "ahn2019:1:KD:2 %")
    '0.002'
    """
    if not str(written.get("notes", "")).startswith("scale "):
        return None
    name, _, scale = str(written.get("name", "")).removesuffix(")").rpartition(" (scale ")
    return scale if name == cell else None


def scaled(written: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A complete experiment at a part of its length: steps, milestones and ramps shrink together.

    It is evaluated as often per epoch as the whole one, and at its end: looking takes the same part of the time.
    """
    made: dict[str, Any] = copy.deepcopy(dict(written))
    made["notes"] = f"scale {scale:g} of the published length"
    name = made.get("name") or made.get("student", {}).get("model", "")  # a teacher has no name of its own
    made["name"] = f"{name} (scale {scale:g})".strip()  # read by scale_of
    recipe, source = made["recipe"], made["source"]
    whole = 1
    if "n_S" in source:  # whatever works in blocks
        whole = source["n_S"]
        source["blocks"] = _part(source["blocks"], scale)
        source.pop("epoch_blocks", None)  # again a hundredth
        if source.get("T_max") is not None:
            source["T_max"] = _part(source["T_max"], scale)
        if source.get("milestones"):
            source["milestones"] = sorted({_part(at, scale) for at in source["milestones"]})
    before = recipe.get("steps")
    for length in ("epochs", "steps"):
        if recipe.get(length) is not None:
            recipe[length] = _part(recipe[length], scale, whole if length == "steps" else 1)
    schedule = recipe["schedule"]
    if schedule["kind"] == "multistep" and schedule["unit"] != "fraction":
        schedule["at"] = [at * scale for at in schedule["at"]]
    if schedule["kind"] == "step":
        schedule["every"] *= scale
    if schedule.get("T_max") is not None:
        schedule["T_max"] = recipe["steps"] if schedule["T_max"] == before else schedule["T_max"] * scale
    recipe["warmup"] = recipe.get("warmup", 0.0) * scale
    for term in made["method"]:
        if isinstance(term.get("weight"), dict):
            term["weight"] = {**term["weight"], **{end: term["weight"][end] * scale for end in ("start", "end")}}
    for role in ("teacher", "student"):
        if "run" in made.get(role, {}):
            made[role]["run"] = scaled(made[role]["run"], scale)
    return made


def _part(number: int, scale: float, multiple: int = 1) -> int:
    return max(1, round(number * scale / multiple)) * multiple
