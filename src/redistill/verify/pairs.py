"""Golden ReviewKD on whole networks: the term with its defaults between a real student and a real teacher."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from redistill.core import Batch
from redistill.features.places import context
from redistill.features.tapped import Tapped
from redistill.terms import Pyramid, Review, context_loss
from redistill.verify.images import formula, salt_of
from redistill.verify.networks import GoldenNetwork, network
from redistill.verify.reader import Array, Case, NotSupported, checksum, count, counts, fill_closed, one_of, probes


def compute(case: Case) -> dict[str, Tensor | Array]:
    """The ``out/`` arrays of a ``reviewkd_pair_*`` case."""
    given = case.settings(
        {"num_classes": count, "batch": count, "shapes": counts, "out_shapes": counts, "in_channels": counts, "out_channels": counts},
        optional=("in_channels", "out_channels"),
    )
    modes = case.conventions(
        {
            "student_mode": one_of("train", "eval"),
            "teacher_mode": one_of("train", "eval"),
            "student_features": one_of("post-activation (is_feat)"),
            "teacher_features": one_of("preact, stem dropped, pooled last"),
            "loss": one_of("HCL sum, unweighted"),
            "grads": one_of("of the HCL loss only"),
        }
    )
    described = case.meta.get("input", {})
    if not isinstance(described, dict) or set(described) - {"formula", "labels", "salt", "shape"}:
        raise NotSupported("these images are unknown")
    shape = described.get("shape")
    images = formula(described.get("formula")).images(salt_of(described), shape, B=given["batch"], t=0)
    if len(images) != given["batch"]:
        raise NotSupported(f"batch = {given['batch']}, but the formula gives {len(images)} images")
    student, teacher = (network(case.meta[who], given["num_classes"], images.shape[1:]) for who in ("student", "teacher"))
    term = Review()
    term.setup(context(student.net, teacher.net, images))
    term.double()
    fused: list[Tensor] = []
    term.cascade.register_forward_hook(lambda module, args, made: fused.extend(made))
    abfs = term.cascade.abfs
    if [[n, list(v.shape)] for n, v in abfs.state_dict().items()] != case.meta["abfs"]["entries"]:
        raise NotSupported("the adapters differ from ours in names or shapes")
    fill_closed(abfs, case.meta["abfs"]["salt"])

    student.net.train(modes["student_mode"] == "train")
    teacher.net.train(modes["teacher_mode"] == "train")
    student_output = Tapped.reading(student.net, images, [p for p, _ in term.pairs])(images)
    twice = modes["teacher_mode"] == "train"
    with torch.no_grad():
        teacher_output = Tapped.reading(teacher.net, images, [p for _, p in term.pairs], again=twice)(images)
    loss = term(student_output, teacher_output, Batch(images))

    targets = [_map(teacher_output[p]) for _, p in term.pairs]
    if [t.shape[2] for t in reversed(targets)] != given["out_shapes"][: len(targets)]:
        raise NotSupported(f"out_shapes = {given['out_shapes']}, but the teacher's features have {[t.shape[2] for t in targets]}")
    parts = [context_loss(f, t, Pyramid()) for f, t in zip(fused, targets, strict=True)]
    loss.backward()
    rows = case.meta["grad_rows"]
    found: dict[str, Tensor | Array] = {
        "out/loss": loss,
        "out/part_levels": torch.stack(parts),
        "out/logits": student_output.logits,
        "out/student_paramgrad_checksums": _rows(student, rows["student"]),
        "out/abfs_paramgrad_checksums": _adapter_rows(abfs, rows["abfs"]),
    }
    touched = [n for n in rows.get("student_without_grad", []) if _gradient(student, n) is not None]
    if touched:
        raise ValueError(f"{touched[0]} has a gradient, the original gives it none")
    for i, (made, target) in enumerate(zip(fused, targets, strict=True)):
        values = made.detach().numpy()
        found[f"out/fused{i}_checksum"], found[f"out/fused{i}_probes"] = checksum(values), probes(values)
        found[f"out/teacher{i}_checksum"] = checksum(teacher_output[term.pairs[i][1]].numpy())
        if list(values.shape) != case.meta["fused_shapes"][i]:
            raise ValueError(f"fused feature {i} has shape {list(values.shape)}, the original {case.meta['fused_shapes'][i]}")
        del target
    return found


def _map(feature: Tensor) -> Tensor:
    return feature[:, :, None, None] if feature.ndim == 2 else feature


def _gradient(named: GoldenNetwork, theirs: str) -> Tensor | None:
    ours = {name: mine for mine, name in named.entries()}
    if ours.get(theirs) is None:
        raise NotSupported(f"our network has no parameter {theirs}")
    return named.net.get_parameter(ours[theirs]).grad


def _rows(named: GoldenNetwork, names: list[str]) -> Array:
    grads = [_gradient(named, name) for name in names]
    missing = [n for n, g in zip(names, grads, strict=True) if g is None]
    if missing:
        raise ValueError(f"{missing[0]} has no gradient")
    return np.stack([checksum(g.numpy()) for g in grads if g is not None])


def _adapter_rows(abfs: nn.Module, names: list[str]) -> Array:
    rows = []
    for name in names:
        grad = abfs.get_parameter(name).grad
        if grad is None:
            raise ValueError(f"adapter {name} has no gradient")
        rows.append(checksum(grad.numpy()))
    return np.stack(rows)
