"""Golden trajectories with real labels: the package's own loop repeats short trainings of the authors' code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill.core import Batch, Shape, StreamContext, Term
from redistill.recipe import Recipe
from redistill.terms import AT, CC, CE, FT, KD, NST, PKT, RKD, SP, VID, FitNet, Review
from redistill.train.loop import Loop
from redistill.verify import zero_shot
from redistill.verify.images import Stream, stream
from redistill.verify.networks import GoldenNetwork, levels, loop_of, network, numbers
from redistill.verify.reader import (
    Array,
    Case,
    Kind,
    NotSupported,
    anything,
    checksum,
    closed_entry,
    count,
    flag,
    number,
    one_of,
    positive,
)


@dataclass(frozen=True)
class ClosedFormSource:
    """Closed-form images and labels, batch t of ``steps``: a source that needs no random generator."""

    size: int
    classes: int
    steps: int
    stream: Stream
    image_shape: Shape
    depends_on_student = False
    labelled = True
    count: int | None = None
    all_labels: Tensor | None = None
    normalisation = "cifar10-kuangliu"

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        return self.steps

    def settings(self) -> dict[str, Any]:
        return {"kind": "closed form", "salt": self.stream.salt}

    def start(self, room: StreamContext) -> ClosedFormSource:
        return self

    def batch(self, step: int) -> Batch:
        images = self.stream.formula.images(self.stream.salt, (self.size, *self.image_shape), B=self.size, t=step)
        return Batch(images, self.stream.labels.labels(self.size, step, self.classes))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept: batch t follows from t."""

    def log(self) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class StepRecords:
    """What each step of a training gave: unweighted losses by term, totals, and the student's rows after the first."""

    losses: dict[str, list[float]]
    totals: list[float]
    first: Array


def follow(loop: Loop, student: GoldenNetwork, named: list[str]) -> StepRecords:
    """Drain a loop of one student, noting its losses step by step."""
    own = loop.students[0]
    losses: dict[str, list[float]] = {name: [] for name in own.method.names}
    totals, first = [], np.empty((0, 3))
    for progress in loop:
        rows = own.rows(progress.step - 1)
        for name, value in zip(own.method.names, rows.losses[0].tolist(), strict=True):
            losses[name].append(value)
        totals += rows.totals
        if progress.step == 1:
            first = student.rows(named)
    return StepRecords(losses, totals, first)


def _common(case: Case, records: StepRecords, student: GoldenNetwork, source: ClosedFormSource) -> dict[str, Tensor | Array]:
    with torch.no_grad():
        logits: Tensor = student.net.eval()(source.batch(0).images)
    return {
        "out/loss": numbers(records.totals),
        "out/first_step_student_checksums": records.first,
        "out/final_student_checksums": student.rows(case.meta["final_student_rows"]),
        "out/final_eval_logits_batch0": logits,
    }


def fill_list(modules: list[nn.Module], salt: int) -> list[tuple[str, Tensor]]:
    """Closed-form state for modules as one list's state dict; entries are counted through the whole list."""
    entries = [(f"{k}.{name}" if len(modules) > 1 else name, v) for k, m in enumerate(modules) for name, v in m.state_dict().items()]
    with torch.no_grad():
        for i, (name, value) in enumerate(entries):
            value.copy_(torch.from_numpy(closed_entry(i, name, value.shape, salt)))
    return entries


def _listed(case: Case, entries: list[tuple[str, Tensor]]) -> None:
    """The sidecar lists the adapters' entries: ours must be the same, by name and shape."""
    given = case.meta.get("extra_entries")
    if given is not None and given != [[name, list(value.shape)] for name, value in entries]:
        raise NotSupported("the adapters of the case differ from ours")


def _extra_rows(entries: list[tuple[str, Tensor]]) -> Array:
    return np.stack([checksum(v.numpy()) for name, v in entries if not name.endswith("num_batches_tracked")])


_COMMON: dict[str, Kind] = {
    "lr": positive, "momentum": number, "nesterov": flag, "weight_decay": number, "steps": count, "batch": count,
    "num_classes": count,
}  # fmt: skip


def _networks(case: Case, given: dict[str, Any]) -> tuple[GoldenNetwork, GoldenNetwork, ClosedFormSource]:
    classes = given["num_classes"]
    data = stream(case.meta.get("data"))
    shape = data.formula.image_shape()
    student, teacher = (network(case.meta[who], classes, shape) for who in ("student", "teacher"))
    source = ClosedFormSource(given["batch"], classes, given["steps"], data, shape)
    return student, teacher, source


def _recipe(given: dict[str, Any], **more: Any) -> Recipe:
    return Recipe(
        steps=given["steps"],
        lr=given["lr"],
        batch_size=given["batch"],
        momentum=given["momentum"],
        nesterov=given["nesterov"],
        weight_decay=given["weight_decay"],
        precision="double",
        **more,
    )


def _only(case: Case, *expected: str) -> None:
    """What a sidecar of a trajectory may hold beside what every sidecar holds."""
    known = {
        "id", "group", "method", "case", "set", "source", "formula", "conventions", "hyperparameters", "student", "teacher", "data",
        "patches", "final_student_rows", "conditioning", "tolerances", "float32_prefix", "expected_loss", "generated_with", "arrays",
        "notes", "paper", "rng", "series", "zero_gradients", "grad_scale", "module_mode", *expected,
    }  # fmt: skip
    if odd := sorted(set(case.meta) - known):
        raise NotSupported(f"{odd[0]} is unknown")


def repdistiller(case: Case) -> dict[str, Tensor | Array]:
    """gamma CE + alpha KD + beta L of RepDistiller's loop. Its feature lists are read each by its own numbers, so that networks of
    unlike many stages meet as its ``zip`` lets them."""
    _only(case, "extra_modules", "extra_entries")
    kinds: dict[str, Kind] = {
        **_COMMON, "distill": one_of("kd", "hint", "attention", "vid", "nst", "similarity", "rkd", "pkt", "correlation", "factor"),
        "gamma": number, "alpha": number, "beta": number,
        "kd_T": positive, "hint_layer": count, "vid_init_pred_var": positive, "nce": one_of(None), "feat_dim": count,
    }  # fmt: skip
    given = case.settings(kinds, optional=("hint_layer", "vid_init_pred_var", "nce", "feat_dim"))
    case.conventions(
        {
            "student_mode": one_of("train"),
            "teacher_mode": one_of("eval"),
            "features": anything,
            "criteria": one_of("kd series is unweighted"),
        }
    )
    student, teacher, source = _networks(case, given)
    mine, theirs = levels(student.net), levels(teacher.net)
    middle = list(zip(mine[1:-1], theirs[1:-1], strict=False))
    distill, variance = given["distill"], given.get("vid_init_pred_var", 5.0)
    own: list[Term] = []
    if distill == "attention":
        own = [AT(at=middle)]
    elif distill == "hint":
        layer = given.get("hint_layer", 2)
        if layer >= min(len(mine), len(theirs)):
            raise NotSupported(f"hint_layer = {layer}, but the networks have {len(mine)} and {len(theirs)} features")
        own = [FitNet(at=[(mine[layer], theirs[layer])])]
    elif distill == "vid":
        own = [VID(at=[pair], init_pred_var=variance) for pair in middle]
    elif distill == "nst":
        own = [NST(at=middle)]
    elif distill == "similarity":
        own = [SP(at=[(mine[-2], theirs[-2])])]
    elif distill == "rkd":
        own = [RKD(at=[(mine[-1], theirs[-1])])]
    elif distill == "pkt":
        own = [PKT(at=[(mine[-1], theirs[-1])])]
    elif distill == "correlation":
        own = [CC(at=[(mine[-1], theirs[-1])], dim=given.get("feat_dim", 128))]
    elif distill == "factor":  # the stage after that of the paraphraser, which is given
        own = [FT(at=[(mine[-2], theirs[-2])], reconstruction=0.0)]
    method = given["gamma"] * CE() + given["alpha"] * KD(T=given["kd_T"])
    for term in own:
        method = method + given["beta"] * term
    loop = loop_of(student, method, teacher, source, _recipe(given))
    adapters = [m for t in loop.students[0].method.terms for m in _adapters(t)]
    entries: list[tuple[str, Tensor]] = []
    if adapters:
        extra = case.meta.get("extra_modules") or {}
        entries = fill_list(adapters, int(extra.get("salt", 300)))
        _listed(case, entries)
        for name, value in entries:
            if name.endswith("log_scale"):
                value.fill_(math.log(math.expm1(variance - 1e-5)))
    records = follow(loop, student, case.meta["final_student_rows"])
    found = _common(case, records, student, source)
    names = list(records.losses)
    found |= {"out/cls": numbers(records.losses["CE"]), "out/div": numbers(records.losses["KD"])}
    for k, name in enumerate(names[2:]):
        found["out/kd" if distill != "vid" else f"out/kd{k}"] = numbers(records.losses[name])
    if entries:
        found["out/final_extra_checksums"] = _extra_rows(entries)
    return found


def _adapters(term: nn.Module) -> list[nn.Module]:
    """What of a term RepDistiller has in its list of modules, under its names."""
    if isinstance(term, CC):  # an embedding is called linear there
        return [nn.ModuleDict({"linear": layer}) for layer in (term.embed_s, term.embed_t)]
    if isinstance(term, FT):
        return [term.translator, term.paraphraser]
    return [*getattr(term, "regressors", ()), *getattr(term, "heads", ())]


def reviewkd(case: Case) -> dict[str, Tensor | Array]:
    """CE + warm-up factor x weight x Review, teacher in the mode of the case."""
    _only(case, "extra_modules", "extra_entries")
    kinds: dict[str, Kind] = {
        **_COMMON, "kd_loss_weight": number, "warm_up_factor": number, "use_kl": flag, "kl_weight": number, "T": positive,
        "teacher_train_mode": flag,
    }  # fmt: skip
    given = case.settings(kinds, optional=("use_kl", "kl_weight", "T"))
    case.conventions(
        {
            "student_mode": one_of("train"),
            "teacher_mode": anything,  # said again, and exactly, by teacher_train_mode
            "student_features": one_of("is_feat without preact"),
            "teacher_features": one_of(
                "preact=True; for WRN this calls the next BN once more (running statistics updated twice in train mode)"
            ),
        }
    )
    student, teacher, source = _networks(case, given)
    method = CE() + given["warm_up_factor"] * given["kd_loss_weight"] * Review()
    if given.get("use_kl", False):
        method = method + given.get("kl_weight", 1.0) * KD(T=given.get("T", 4.0))
    recipe = _recipe(given, teacher_mode="train" if given["teacher_train_mode"] else "eval")
    loop = loop_of(student, method, teacher, source, recipe)
    review = loop.students[0].method.terms[1]
    assert isinstance(review, Review)
    extra = case.meta.get("extra_modules") or {}
    if extra.get("what") != "abfs (deepest first)":
        raise NotSupported(f"extra_modules = {extra} are unknown")
    entries = fill_list([review.cascade.abfs], int(extra["salt"]))
    _listed(case, entries)
    records = follow(loop, student, case.meta["final_student_rows"])
    found = _common(case, records, student, source)
    found |= {"out/cls": numbers(records.losses["CE"]), "out/review_unweighted": numbers(records.losses["Review"])}
    if "KD" in records.losses:
        found |= dict.fromkeys(("out/kl", "out/kl_unweighted"), numbers(records.losses["KD"]))
    found["out/final_extra_checksums"] = _extra_rows(entries)
    assert loop.teacher is not None
    found["out/final_teacher_checksums"] = GoldenNetwork(loop.teacher.net, teacher.family).rows()
    return found


def seed_kd_att(case: Case) -> dict[str, Tensor | Array]:
    """The [RE] report's KD-AT."""
    _only(case)
    given = case.settings({**_COMMON, "T": positive, "a": number, "b": number})
    case.conventions({"student_mode": one_of("train"), "teacher_mode": one_of("eval (not under no_grad)", "eval")})
    student, teacher, source = _networks(case, given)
    kd = KD(T=given["T"], reduction="element", factor=2.0)
    method = (1 - given["a"]) * CE() + given["a"] * kd + given["b"] * AT()
    loop = loop_of(student, method, teacher, source, _recipe(given))
    records = follow(loop, student, case.meta["final_student_rows"])
    return _common(case, records, student, source)


METHODS: Mapping[str, Callable[[Case], dict[str, Tensor | Array]]] = {
    **{f"rep_{name}": repdistiller for name in
       ("kd", "hint", "attention", "vid", "nst", "similarity", "rkd", "pkt", "correlation", "factor")},
    "reviewkd": reviewkd,
    "seed_kd_att": seed_kd_att,
    "polo5_zero_shot": zero_shot.polo5,
    "seed_zero_shot": zero_shot.seed,
    "seed_modified_zero_shot": zero_shot.seed_modified,
}


def compute(case: Case) -> dict[str, Tensor | Array]:
    """Every series and state of a trajectory case."""
    method = case.method.split("__")[0]
    if method not in METHODS:
        raise NotSupported(f"method {method} is not computed")
    found = METHODS[method](case)
    # the original's own run in float32 is a record of its error, not something to compute
    return found | {"out/float32_run_loss": case.arrays["out/float32_run_loss"]} if "out/float32_run_loss" in case.arrays else found
