"""Smaller networks of the teacher's own family, to choose a student from: ``smaller``, ``half``, ``quarter``.

The family of a named network are the names that differ from it in depth and width alone; of a network of one's own, the same class
with a smaller width or depth, where its signature has one. Of the candidates the nearest to 3/4, 1/2 and 1/4 of the
teacher's multiply-accumulates stand for the three words; each candidate stands for one word at most.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from redistill.distill.names import Named, named
from redistill.errors import RedistillError
from redistill.launch.materials import shape_of
from redistill.models import describe
from redistill.models.mobilenetv2 import mobilenetv2
from redistill.models.resnetv2 import BLOCKS
from redistill.models.signature import default_of
from redistill.models.vgg import CONVOLUTIONS
from redistill.user_code import is_code, load

WORDS: dict[str, float] = {"smaller": 0.75, "half": 0.5, "quarter": 0.25}
"""The share of the teacher's multiply-accumulates that a word asks for."""

WIDTHS = (
    "width", "width_mult", "width_multiplier", "widen_factor", "widening", "base_width", "base_channels", "base", "dim", "embed_dim",
    "hidden", "hidden_dim", "hidden_size", "features", "nf", "ngf",
)  # fmt: skip
DEPTHS = ("depth", "layers", "n_layers", "num_layers", "blocks", "n_blocks", "num_blocks")
MOST = 24  # candidates that are built and counted


@dataclass(frozen=True)
class Candidate:
    """One network of the family. word: for which it stands, None for the others. macs: for one image; share: of the teacher's."""

    network: Named
    parameters: int
    macs: int
    share: float
    word: str | None = None


def family(teacher: Named, sizes: Mapping[str, Any], shape: tuple[int, ...] | None = None) -> list[Candidate]:
    """Smaller relatives of the teacher, the largest first; empty where no family is known.

    Args:
        sizes: classes, channels, image_size of the data. shape: [C, H, W] of their images; None: squares of that size.
    """
    shape = shape or shape_of(sizes)
    mine = _counted(teacher, sizes, shape)
    if mine is None:
        return []
    found: dict[tuple[str, str], Candidate] = {}
    for one in _relatives(teacher):
        if len(found) >= MOST:
            break
        counted = _counted(one, sizes, shape)
        if counted is not None and counted[1] < 0.98 * mine[1] and counted[0] < mine[0]:
            found.setdefault((one.model, str(sorted(one.args.items()))), Candidate(one, *counted, counted[1] / mine[1]))
    ordered = sorted(found.values(), key=lambda c: -c.macs)
    if not ordered:
        return []
    away = np.array([[abs(math.log(c.share / share)) for c in ordered] for share in WORDS.values()])
    nobody = np.full((len(WORDS), len(WORDS)), math.log(2))  # further than twice or half as much stands for no word
    for row, column in zip(*linear_sum_assignment(np.hstack([away, nobody])), strict=True):
        if column < len(ordered):
            ordered[column] = replace(ordered[column], word=list(WORDS)[row])
    return ordered


def chosen(word: str, teacher: Named, candidates: list[Candidate]) -> Named:
    """The relative that a word stands for."""
    found = next((c.network for c in candidates if c.word == word), None)
    if found is None:
        known = ", ".join(f"{c.word} ({c.network.name})" for c in candidates if c.word) or "none"
        raise RedistillError(
            f"no network of the family of {teacher.name} is near {100 * WORDS[word]:.0f} % of its multiply-accumulates (found: {known}): "
            f"name the student, --student ./file.py:Net or one of redistill list models"
        )
    return found


def _counted(one: Named, sizes: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Parameters and multiply-accumulates; None for what cannot be built for these images."""
    for place in ("meta", "cpu"):  # the first needs no memory and draws nothing; not every network can be made there
        with contextlib.suppress(Exception), warnings.catch_warnings():  # a stranger's constructor under a width it was not made for
            warnings.simplefilter("ignore")
            with torch.device(place):
                net = _bare(one).made(sizes)
            info = describe(net, shape)
            return info.parameters, info.macs
    return None


def _bare(one: Named) -> Named:
    return replace(one, weights=None, normalise=None, class_names=None, published=False)


def _relatives(teacher: Named) -> Iterator[Named]:
    fresh = _bare(teacher)
    if is_code(teacher.model):
        yield from _of_ones_own(fresh)
    elif ":" not in teacher.model:
        yield from (replace(fresh, name=name, model=name, args={}) for name in _ours(teacher.model) if name != teacher.model)
        if teacher.model == "mobilenetv2":
            yield from (replace(fresh, args={"width": w}) for w in (0.75, 0.5, 0.35, 0.25) if default_of(mobilenetv2, "width") is not None)
    else:
        yield from _of_library(fresh)


def _ours(model: str) -> list[str]:
    if found := re.fullmatch(r"wrn-(\d+)-(\d+)", model):
        depths = [d for d in range(int(found[1]), 9, -6)]
        return [f"wrn-{d}-{w}" for d in depths for w in range(int(found[2]), 0, -1)]
    if (found := re.fullmatch(r"resnet(\d+)", model)) and int(found[1]) in BLOCKS:
        return [f"resnet{d}" for d in sorted(BLOCKS, reverse=True) if d < int(found[1])]
    if found := re.fullmatch(r"resnet(\d+)x(\d+)", model):
        return [f"resnet{d}x{found[2]}" for d in range(int(found[1]) - 6, 7, -6)]
    if found := re.fullmatch(r"resnet(\d+)", model):
        return [f"resnet{d}" for d in range(int(found[1]) - 6, 7, -6)]
    if found := re.fullmatch(r"vgg(\d+)", model):
        return [f"vgg{d}" for d in sorted(CONVOLUTIONS, reverse=True) if d < int(found[1])]
    return {"shufflenetv2": ["shufflenetv1"], "mobilenetv2": ["mobilenetv2-tiny"]}.get(model, [])


def _of_ones_own(teacher: Named) -> Iterator[Named]:
    made = load(teacher.model, Path(), kind=nn.Module, trusted=True).object
    usual = {name: default_of(made, name) for name in (*WIDTHS, *DEPTHS)}
    now = {name: teacher.args.get(name, value) for name, value in usual.items()}
    sized = {n: v for n, v in now.items() if isinstance(v, int | float) and not isinstance(v, bool) and v > 0}
    for name, value in sized.items():
        steps = (0.85, 0.7, 0.6, 0.5, 0.35, 0.25) if name in WIDTHS else (0.75, 0.5, 0.25)
        for share in steps:
            less = max(1, round(value * share)) if isinstance(value, int) else round(value * share, 4)
            if isinstance(value, int) and value >= 16 and name in WIDTHS:
                even = 4 if value >= 48 else 2  # kernels like whole groups of channels
                less = max(even, round(less / even) * even)
            if less < value:
                yield replace(teacher, args={**teacher.args, name: less})


def _of_library(teacher: Named) -> Iterator[Named]:
    library, _, name = teacher.model.partition(":")
    base = name.partition(".")[0]  # timm writes the training of the weights behind a point
    with contextlib.suppress(Exception):
        if library == "timm":
            import timm

            every = timm.list_models()
        elif library == "torchvision":
            import torchvision

            every = [n for n in torchvision.models.list_models() if "/" not in n]
        else:
            return
        stem = re.match(r"[a-z]+(?:v\d+|net|_v\d)?", base)
        alike = [n for n in every if stem and n.startswith(stem[0]) and n != base and _kin(base, n)]
        for other in sorted(alike, key=_size_hint, reverse=True):
            yield named(f"{library}:{other}", published=False)


_SIZE = ("nano", "atto", "femto", "pico", "zepto", "xxtiny", "xtiny", "xxs", "xs", "tiny", "small", "medium", "base", "large", "huge")


def _kin(a: str, b: str) -> bool:
    """Whether two names differ in their sizes alone."""

    def plain(name: str) -> str:
        words = [w for w in name.split("_") if w not in _SIZE and w not in ("s", "m", "l", "b", "t", "ti")]
        return re.sub(r"(?<!v)\d+", "#", "_".join(words))

    return plain(a) == plain(b)


def _size_hint(name: str) -> float:
    numbers = [int(n) for n in re.findall(r"\d+", name)]
    return float(sum(numbers)) + 1000 * max((i for i, w in enumerate(_SIZE) if w in name.split("_")), default=0)
