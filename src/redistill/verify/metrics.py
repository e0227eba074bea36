"""Golden metrics: transition curves of both codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from redistill.belief import Transition, adversarial_trajectory, target_classes
from redistill.verify.images import formula
from redistill.verify.networks import network
from redistill.verify.reader import Array, Case, NotSupported, anything, count, one_of, positive

TARGETS = 3
"""Classes of each image that are walked to together."""

_RECORDING = one_of("before the update", "probabilities at x_k BEFORE the k-th update (first entry = clean image)")


def _images(case: Case) -> Tensor:
    read = formula(case.meta.get("images"))
    return torch.cat([read.images(0, B=1, tag=tag) for tag in case.take("in/image_tags").tolist()])


def _checked(case: Case, images: Tensor, given: dict[str, Any]) -> None:
    if given["n_images"] != len(images):
        raise NotSupported(f"n_images = {given['n_images']}, but there are {len(images)} tags")


def _named(case: Case, who: str, shape: torch.Size) -> nn.Module:
    described = case.meta.get(who)
    if not isinstance(described, dict):
        raise NotSupported(f"{who} is missing")
    return network(described, case.meta.get("num_classes") or 10, shape).net.eval()


def _walked(attacked: nn.Module, other: nn.Module, images: Tensor, targets: Tensor, *, K: int, rate: float) -> Tensor:
    """A trajectory of a few rows at a time: in double precision a convolution unfolds its whole batch, and what stays in the cache
    takes less time."""
    few = [adversarial_trajectory(attacked, [other], images, part, K=K, rate=rate) for part in targets.split(TARGETS, dim=1)]
    return torch.cat(few, dim=2)


def seed(case: Case) -> dict[str, Tensor | Array]:
    """The [RE] report's code: classes but the student's prediction, either network attacked, two curves."""
    given = case.settings({"eta": positive, "K": count, "n_images": count})
    says = case.conventions(
        {
            "attacked_net": one_of("student", "teacher"),
            "modes": one_of("both nets eval"),
            "recording": _RECORDING,
            "fake_labels": one_of("all classes except the student prediction on the clean image, ascending"),
            "mte": anything,
            "curves": anything,
        }
    )
    images = _images(case)
    _checked(case, images, given)
    student, teacher = (_named(case, who, images.shape[1:]) for who in ("student", "teacher"))
    with torch.no_grad():
        predicted = student(images).argmax(1)
    targets = target_classes(predicted, case.meta.get("num_classes") or 10)
    if not torch.equal(targets, case.take("in/fake_labels")):
        raise NotSupported("in/fake_labels are not all classes but the student's prediction")
    swap = says.get("attacked_net") == "teacher"
    nets = (teacher, student) if swap else (student, teacher)
    p = _walked(*nets, images, targets, K=given["K"], rate=given["eta"])
    found = Transition("attacked", "other", p[0], p[1], targets, torch.arange(len(images)), given["eta"])
    arrays: dict[str, Tensor | Array] = {"out/mte": torch.tensor(found.mte, dtype=torch.float64)}
    for who, which in (("student", "other" if swap else "attacked"), ("teacher", "attacked" if swap else "other")):
        arrays[f"out/p_{who}"] = p[0 if which == "attacked" else 1]
        arrays[f"out/mean_curve_{who}"] = found.curve(which)  # type: ignore[arg-type]
        arrays[f"out/saved_curve_{who}"] = found.curve(which, prefixes=True)  # type: ignore[arg-type]
    return arrays | {"out/loss": arrays["out/mte"]}


def polo5(case: Case) -> dict[str, Tensor | Array]:
    """polo5's code: classes counted cyclically from the true label, net A attacked."""
    given = case.settings({"learning_rate": positive, "K": count, "n_images": count})
    case.conventions(
        {
            "attacked_net": one_of("netA"),
            "labels": one_of("classes are enumerated from the TRUE label y (not the prediction), cyclically"),
            "recording": _RECORDING,
            "mte": anything,
            "modes": one_of("both nets eval"),
        }
    )
    images, labels = _images(case), case.take("in/labels")
    _checked(case, images, given)
    a, b = (_named(case, who, images.shape[1:]) for who in ("netA", "netB"))
    targets = target_classes(labels, case.meta.get("num_classes") or 10, labels=labels)
    p = _walked(a, b, images, targets, K=given["K"], rate=given["learning_rate"])
    found = Transition("netA", "netB", p[0], p[1], targets, torch.arange(len(images)), given["learning_rate"])
    mte = torch.tensor(found.mte, dtype=torch.float64)
    return {
        "out/pj_netA": p[0],
        "out/pj_netB": p[1],
        "out/mte": mte,
        "out/loss": mte,
        "out/mean_curve_netA": found.curve("attacked"),
        "out/mean_curve_netB": found.curve("other"),
    }


METHODS: Mapping[str, Callable[[Case], dict[str, Tensor | Array]]] = {
    "transition_curves_seed": seed,
    "transition_curves_polo5": polo5,
}


def compute(case: Case) -> dict[str, Tensor | Array]:
    """Every curve of a metrics case."""
    if case.method not in METHODS:
        raise NotSupported(f"method {case.method} is not computed")
    return METHODS[case.method](case)
