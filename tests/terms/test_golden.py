"""Terms with nothing but their defaults, between our networks, against the authors' numbers for the same pair."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from redistill import models
from redistill.core import Batch, Term
from redistill.features.places import context, places_of
from redistill.features.tapped import Tapped
from redistill.terms import AT, VID, FitNet, Review
from redistill.verify.reader import closed_form, fill_closed


def networks(meta: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Student and teacher of a case with their closed-form weights, in double precision."""
    made = []
    for who in ("student", "teacher"):
        name = meta[who]["arch"].replace("_", "-").lower().replace("shufflev1", "shufflenetv1")
        net = models.build(name, classes=100).double()
        fill_closed(net, meta[who]["salt"])
        made.append(net)
    return made[0], made[1]


def first_loss(term: Term, student: nn.Module, teacher: nn.Module, images: Tensor, teacher_mode: str) -> float:
    student.train()
    teacher.train(teacher_mode == "train")
    mine, theirs = places_of(student, images).places, places_of(teacher, images).places
    read = Tapped(student, {p: mine[p] for p, _ in term.pairs})
    ask = Tapped(teacher, {p: theirs[p] for _, p in term.pairs}, again=teacher_mode == "train")
    with torch.no_grad():
        return float(term(read(images), ask(images), Batch(images)))


@pytest.mark.parametrize(
    "case",
    [
        "dvlab_resnet20__resnet56_teacher_train",
        "dvlab_shufflev1__wrn_40_2_teacher_train",  # sizes 16, 8, 4 against 32, 16, 8: paired one to one
        "dvlab_wrn_16_1__wrn_16_2",
    ],
)
def test_review_of_the_published_pairs(case: str, shared: Path) -> None:
    meta = json.loads((shared / "golden" / "losses" / f"reviewkd_pair_{case}.json").read_text(encoding="utf-8"))
    student, teacher = networks(meta)
    images = 2 * torch.from_numpy(closed_form(20000, (meta["hyperparameters"]["batch"], 3, 32, 32), meta["input"]["salt"]))
    term = Review()
    term.setup(context(student, teacher, images))
    term.double()
    fill_closed(term.cascade.abfs, meta["abfs"]["salt"])
    assert [[n, list(v.shape)] for n, v in term.cascade.abfs.state_dict().items()] == meta["abfs"]["entries"]
    loss = first_loss(term, student, teacher, images, meta["conventions"]["teacher_mode"])
    assert loss == pytest.approx(meta["expected_loss"], rel=1e-10)


@pytest.mark.parametrize(
    ("case", "make"),
    [
        ("rep_attention__wrn_16_1__wrn_16_2", AT),
        ("rep_hint__wrn_16_1__wrn_16_2", FitNet),
        ("rep_vid__wrn_16_1__wrn_16_2", VID),
    ],
)
def test_the_benchmark_s_first_step(case: str, make: type[Any], shared: Path) -> None:
    file = shared / "golden" / "training" / f"{case}.json"
    meta = json.loads(file.read_text(encoding="utf-8"))
    student, teacher = networks(meta)
    images = 2 * torch.from_numpy(closed_form(10000, (meta["hyperparameters"]["batch"], 3, 32, 32), meta["data"]["salt"]))
    term = make()
    term.setup(context(student, teacher, images))
    term.double()
    adapters = {AT: None, VID: getattr(term, "heads", None), FitNet: next(iter(getattr(term, "regressors", ())), None)}[make]
    if adapters is not None:
        fill_closed(adapters, meta["extra_modules"]["salt"])
        assert [[n, list(v.shape)] for n, v in adapters.state_dict().items()] == meta["extra_entries"]
    for head in getattr(term, "heads", ()):
        nn.init.constant_(head.log_scale, math.log(math.expm1(5.0 - 1e-5)))
    with np.load(file.with_suffix(".npz")) as opened:
        want = sum(float(opened[name][0]) for name in opened.files if name.startswith("out/kd"))
    assert first_loss(term, student, teacher, images, "eval") == pytest.approx(want, rel=1e-10)
