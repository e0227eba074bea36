"""Images and labels that a sidecar gives by a formula over the closed form: read as it is written, never by its name.

    x = 2*closed_form(1000, shape, salt)
    batch t: x = 2*closed_form(10000+t, (B,3,32,32), salt); label_n = (37*n + 11*t + 5) mod C
    x = 2*nearest_up_8x(closed_form(tag, (1,3,4,4), salt)) + 0.5*closed_form(tag+50000, (1,3,32,32), salt), salt = 0
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redistill.verify.reader import NotSupported, closed_form

_NUMBER = r"\d+(?:\.\d+)?"
_SUMMAND = re.compile(
    rf"(?:(?P<factor>{_NUMBER})\*)?(?:nearest_up_(?P<up>\d+)x\()?"
    r"closed_form\((?P<tag>[\dA-Za-z+]+),(?P<shape>\([\dA-Z,]+\)|shape),salt\)(?(up)\))"
)
_LABELS = re.compile(r"\((\d+)\*?n(?:\+(\d+)\*?t)?(?:\+(\d+))?\)modC")


@dataclass(frozen=True)
class Summand:
    """``factor * closed_form(tag, shape, salt)``, each pixel repeated ``up`` times along both axes."""

    factor: float
    tag: tuple[str, ...]
    shape: tuple[str, ...] | None
    up: int

    def values(self, names: Mapping[str, int], shape: Sequence[int] | None, salt: int) -> Tensor:
        tag = sum(_value(part, names) for part in self.tag)
        if self.shape is None and shape is None:
            raise NotSupported("the formula asks for a shape that the case does not give")
        size = tuple(shape or ()) if self.shape is None else tuple(_value(part, names) for part in self.shape)
        made = torch.from_numpy(closed_form(tag, size, salt))
        if self.up > 1:
            made = made.repeat_interleave(self.up, -2).repeat_interleave(self.up, -1)
        return self.factor * made


def _value(part: str, names: Mapping[str, int]) -> int:
    if part.isdecimal():
        return int(part)
    if part not in names:
        raise NotSupported(f"the formula names {part}, which the case does not give")
    return names[part]


@dataclass(frozen=True)
class Formula:
    """Images as a sum of closed forms."""

    summands: tuple[Summand, ...]
    salt: int | None = None
    """Where the text itself says it."""

    def images(self, salt: int, shape: Sequence[int] | None = None, **names: int) -> Tensor:
        """``names``: what the formula may name, ``B``, ``t`` and ``tag``."""
        if self.salt is not None:
            salt = self.salt
        made = [one.values(names, shape, salt) for one in self.summands]
        if any(m.shape != made[0].shape for m in made):
            raise NotSupported(f"the formula adds shapes {[list(m.shape) for m in made]}")
        return sum(made[1:], start=made[0])

    def image_shape(self, shape: Sequence[int] | None = None) -> tuple[int, int, int]:
        """[C, H, W] of an image."""
        *_, c, h, w = self.images(0, shape, B=1, t=0, tag=0).shape
        return c, h, w


def formula(text: object) -> Formula:
    """``x = ...`` as a :class:`Formula`; what follows the sum after a comma may say the salt and how tags were chosen."""
    if not isinstance(text, str):
        raise NotSupported("these images are unknown")
    plain = re.sub(r"\s", "", text)
    if not plain.startswith("x="):
        raise NotSupported(f"images = {text!r} are unknown")
    place, found = 2, []
    while match := _SUMMAND.match(plain, place):
        shape = match["shape"]
        size = None if shape == "shape" else tuple(part for part in shape.strip("()").split(",") if part)
        found.append(Summand(float(match["factor"] or 1), tuple(match["tag"].split("+")), size, int(match["up"] or 1)))
        place = match.end()
        if not plain.startswith("+", place):
            break
        place += 1
    rest = re.fullmatch(r"(?:,salt=(\d+))?(?:;tagschosensothat.*)?", plain[place:])
    if not found or rest is None:
        raise NotSupported(f"images = {text!r} are unknown")
    return Formula(tuple(found), None if rest[1] is None else int(rest[1]))


@dataclass(frozen=True)
class Labels:
    """label_n = (a n + b t + c) mod C."""

    a: int
    b: int
    c: int

    def labels(self, count: int, t: int, classes: int) -> Tensor:
        return (self.a * torch.arange(count) + self.b * t + self.c) % classes


def labels(text: str) -> Labels:
    """``(37*n + 11*t + 5) mod C``."""
    found = _LABELS.fullmatch(re.sub(r"\s", "", text))
    if found is None:
        raise NotSupported(f"labels = {text!r} are unknown")
    return Labels(*(int(part or 0) for part in found.groups()))


@dataclass(frozen=True)
class Stream:
    """The images and labels of a trajectory, batch by batch."""

    formula: Formula
    labels: Labels
    salt: int


def stream(described: object) -> Stream:
    """``{"rule": "batch t: x = ...; label_n = ...", "salt": 0}``; other data are not supported."""
    if not isinstance(described, dict) or not isinstance(described.get("rule"), str) or described.get("crd") is not None:
        raise NotSupported("these data are unknown")
    if odd := sorted(set(described) - {"rule", "salt", "crd"}):
        raise NotSupported(f"data setting {odd[0]} is unknown")
    salt = salt_of(described)
    found = re.fullmatch(r"batch t: (x = .*); label_n = (.*)", described["rule"])
    if found is None:
        raise NotSupported("these data are unknown")
    return Stream(formula(found[1]), labels(found[2]), salt)


def salt_of(described: Mapping[str, object]) -> int:
    salt = described.get("salt")
    if not isinstance(salt, int) or isinstance(salt, bool) or salt < 0:
        raise NotSupported(f"data salt = {salt} is unknown")
    return salt
