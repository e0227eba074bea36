"""The rows of the benchmark: a method, and the same loss written by hand; and the loops that work on it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill import models
from redistill.bench import plain
from redistill.bench.library import LibraryLoop
from redistill.bench.plain import Features, Hooked, Loss, Pictures, PlainLoop
from redistill.core import Method, Term
from redistill.data import Images
from redistill.recipe import Recipe
from redistill.terms import AT, CE, KD, VID, FitNet, Review
from redistill.train.loop import Loop
from redistill.train.preflight import TeacherWarning

STAGES = ("stage1", "stage2", "stage3")
TEACHER, STUDENT = "wrn-40-2", "wrn-16-1"
IMAGES = 512


@dataclass(frozen=True)
class Row:
    """method: fresh. by_hand: from the term that has adapters (or the last one) to the loss of the plain loop."""

    name: str
    method: Callable[[], Method]
    by_hand: Callable[[Term], Loss]
    student_places: tuple[str, ...] = ()
    teacher_places: tuple[str, ...] = ()


def _kd(term: Term) -> Loss:
    return lambda s, t, f_s, f_t, y: plain.kd(s, t, y)


def _kd_at(term: Term) -> Loss:
    return lambda s, t, f_s, f_t, y: plain.kd(s, t, y) + 1000 * plain.at(f_s, f_t, STAGES)


def _fitnet(term: Term) -> Loss:
    regressor = term.get_submodule("regressors.0")
    return lambda s, t, f_s, f_t, y: F.cross_entropy(s, y) + 100 * F.mse_loss(regressor(f_s["stage2"]), f_t["stage2"])


def _at(term: Term) -> Loss:
    return lambda s, t, f_s, f_t, y: F.cross_entropy(s, y) + 1000 * plain.at(f_s, f_t, STAGES)


def _vid(term: Term) -> Loss:
    heads = [term.get_submodule(f"heads.{i}") for i in range(len(STAGES))]
    scales = [term.get_parameter(f"heads.{i}.log_scale") for i in range(len(STAGES))]
    regressors = [head.get_submodule("regressor") for head in heads]
    return lambda s, t, f_s, f_t, y: F.cross_entropy(s, y) + plain.vid(f_s, f_t, STAGES, regressors, scales)


def _review(term: Term) -> Loss:
    fusions = list(term.get_submodule("cascade.abfs").children())

    def loss(s: Tensor, t: Tensor, f_s: Features, f_t: Features, y: Tensor) -> Tensor:
        mine = [*(f_s[p] for p in STAGES), f_s["pooled"][:, :, None, None]]
        theirs = [*(f_t[f"{p}:pre"] for p in STAGES), f_t["pooled"][:, :, None, None]]
        return F.cross_entropy(s, y) + 5.0 * plain.review(mine, theirs, fusions)

    return loss


PRE = (*(f"{stage}:pre" for stage in STAGES), "pooled")
ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("KD", lambda: 0.1 * CE() + 0.9 * KD(T=4.0), _kd),
        Row("KD+AT", lambda: 0.1 * CE() + 0.9 * KD(T=4.0) + 1000.0 * AT(at=STAGES), _kd_at, STAGES, STAGES),
        Row("FitNet", lambda: CE() + 100.0 * FitNet(at="stage2"), _fitnet, ("stage2",), ("stage2",)),
        Row("VID", lambda: CE() + 1.0 * VID(at=STAGES), _vid, STAGES, STAGES),
        Row("Review", lambda: CE() + 5.0 * Review(), _review, (*STAGES, "pooled"), PRE),
    )
}

SIX: dict[str, Row] = {
    **{name: ROWS[name] for name in ("KD", "KD+AT", "FitNet")},
    "AT": Row("AT", lambda: CE() + 1000.0 * AT(at=STAGES), _at, STAGES, STAGES),
    **{name: ROWS[name] for name in ("VID", "Review")},
}
"""The methods of the plan (:mod:`redistill.bench.plan`)."""


def noise(count: int = IMAGES, seed: int = 0) -> Images:
    """Images of noise: the work does not depend on what they show."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, 3, 32, 32), generator=g, dtype=torch.uint8)
    y = torch.randint(0, 10, (count,), generator=g)
    return Images(x, y, 10, "noise", "cifar10-kuangliu", "crop-flip")


def teacher() -> nn.Module:
    return models.build(TEACHER, classes=10, seed=1)


def student() -> nn.Module:
    return models.build(STUDENT, classes=10, seed=0)


KINDS = ("strict", "fast", "fast compiled")


def package_loop(
    methods: list[Method], images: Images, *, kind: str, batch: int, steps: int, cache: bool | Path = False, contiguous: bool = False
) -> Loop:
    """The package's loop. kind: one of :data:`KINDS`, or ``double``. That the teacher knows nothing of noise is no news here."""
    precision, _, more = kind.partition(" ")
    recipe = Recipe.model_validate(
        {
            "steps": steps, "batch_size": batch, "lr": 0.1, "precision": precision, "compile": more == "compiled",
            "channels_last": False if contiguous else None,
        }
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TeacherWarning)
        return Loop([(student(), method) for method in methods], teacher(), images, recipe, seed=0, device="cpu", cache=cache)


def plain_loop(row: Row, like: Loop, images: Images, pictures: Pictures, dtype: torch.dtype = torch.float32) -> PlainLoop:
    """The plain loop with the first weights, adapters and images of ``like``, which has not taken a step yet."""
    mine, theirs = student(), teacher()
    given: dict[str, Mapping[str, tuple[str, str]]] = {}
    for who, net, names in (("student", mine, row.student_places), ("teacher", theirs, row.teacher_places)):
        places = {str(name): place for name, place in net.places.items()}  # type: ignore[operator, union-attr]
        given[who] = {name: (places[name].module, places[name].side) for name in names}
    terms = [copy.deepcopy(term) for _, term in like.students[0].method.parts()]
    return PlainLoop(Hooked(theirs, given["teacher"]), Hooked(mine, given["student"]), [terms[-1]], row.by_hand(terms[-1]), pictures,
                     order_of(like, images), dtype)  # fmt: skip


def order_of(like: Loop, images: Images) -> list[list[tuple[int, int, int, bool]]]:
    """(position, dy, dx, flip) of every image of every batch that ``like`` will take."""
    order = []
    for step in range(like.steps):
        batch = like.stream.batch(step)
        assert batch.index is not None and batch.variant is not None
        parts = [plain_parts(images, int(v)) for v in batch.variant]
        order.append([(int(i), *part) for i, part in zip(batch.index, parts, strict=True)])
    return order


def library_loop(like: Loop, images: Images, pictures: Pictures, batch: int) -> LibraryLoop:
    """torchdistill's, with the first weights and images of ``like``; KD."""
    return LibraryLoop(teacher(), student(), pictures, order_of(like, images), batch)


def plain_parts(images: Images, variant: int) -> tuple[int, int, bool]:
    """(dy, dx, flip) of a variant."""
    from redistill.data.augment import augmentation

    return augmentation(images.augment).parts(variant)
