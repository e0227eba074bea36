"""Golden losses of features: AT, FitNet, VID and the pieces of knowledge review."""

from __future__ import annotations

import torch
from torch import Tensor

from redistill.core import Batch
from redistill.terms import ABF, Cascade, Pyramid, Regressor, VariationalHead, context_loss, hint_distance, vid_loss
from redistill.terms.parts.maps import to_smaller
from redistill.verify.computed import Computed, attention, features, inputs, output
from redistill.verify.reader import BATCHNORM, Case, Kind, NotSupported, anything, count, counts, flag, one_of, positive, whole

_AT_REDUCTION = one_of(
    "mean over batch and positions, per layer; layers summed",
    "mean over batch and positions per layer, layers summed (unweighted here)",
)


def at(case: Case) -> Computed:
    # raw activations are raised to p, which only whole numbers allow
    p = case.settings({"p": whole})["p"]
    case.conventions(
        {
            "reduction": _AT_REDUCTION,
            "normalise": one_of("F.normalize over positions (L2, eps 1e-12)"),
            "size_mismatch": one_of(
                "the larger map is adaptive_avg_pool2d-ed to the smaller BEFORE taking powers", "not supported"
            ),
            "squared": one_of("squared difference, no square root"),
            "inputs": anything,  # before or after the activation: the arrays are given
        }
    )
    leaves, f_s, f_t = features(case, "student_feat", "teacher_feat")
    student, teacher = output(torch.zeros(1, 1, dtype=torch.float64), f_s), output(torch.zeros(1, 1), f_t)
    term = attention(student, teacher, p)
    parts = {f"part_layer{i}": d for i, d in enumerate(term.distances(student, teacher))}
    return Computed(term(student, teacher, Batch(f_s[0])), parts, leaves)


def fitnet(case: Case) -> Computed:
    given = case.settings({"use_relu": flag, "student_shape": counts, "teacher_shape": counts})
    case.conventions(
        {
            "reduction": one_of("mean over all elements (nn.MSELoss)"),
            "regressor": one_of(
                "Conv2d k=(1+hs-ht) | k3 s2 p1 when hs=2ht | ConvTranspose2d k4 s2 p1 when ht=2hs; then BatchNorm2d "
                "(eps 1e-5, momentum .1), then ReLU if use_relu"
            ),
            "batchnorm": BATCHNORM,
            "inputs": anything,  # before or after the activation: the arrays are given
        }
    )
    leaves = inputs(case, "student_feat", "teacher_feat")
    f_s, f_t = leaves.values()
    for who, feature in (("student", f_s), ("teacher", f_t)):
        if given[f"{who}_shape"] != list(feature.shape):
            raise NotSupported(f"{who}_shape = {given[f'{who}_shape']}, but the feature has {list(feature.shape)}")
    (_, *s), (_, *t) = f_s.shape, f_t.shape
    regressor = Regressor((s[0], s[1], s[2]), (t[0], t[1], t[2]), relu=given["use_relu"])
    case.load(regressor)
    regressed: Tensor = regressor(f_s)
    return Computed(hint_distance(regressed, f_t), {"regressed": regressed}, leaves).of_module(regressor)


def vid(case: Case) -> Computed:
    given = case.settings({"init_pred_var": positive, "eps": positive, "num_mid_channel": count})
    case.conventions(
        {
            "reduction": one_of("mean over all elements"),
            "mu": one_of("Conv1x1(cs->mid) ReLU Conv1x1(mid->mid) ReLU Conv1x1(mid->ct), no biases, no BN"),
            "variance": one_of("one per teacher channel, softplus + eps"),
            "init": one_of("log_scale = log(exp(init_pred_var - eps) - 1)"),
            "size_mismatch": one_of(
                "the larger map is adaptive_avg_pool2d-ed (here the teacher too) before the regressor"
            ),
            "constant": one_of("0.5*log(2 pi) is dropped"),
            "inputs": anything,
        }
    )
    leaves = inputs(case, "student_feat", "teacher_feat")
    f_s, f_t = to_smaller(*leaves.values())
    head = VariationalHead(
        f_s.shape[1], f_t.shape[1], given["num_mid_channel"], init_pred_var=given["init_pred_var"], eps=given["eps"]
    )
    case.load(head)
    mean, variance = head(f_s)
    out = Computed(vid_loss(mean, variance, f_t), {"pred_mean": mean, "pred_var": variance}, leaves)
    return out.of_module(head)


def abf(case: Case) -> Computed:
    kinds: dict[str, Kind] = {"in_channel": count, "mid_channel": count, "out_channel": count, "fuse": flag}
    given = case.settings({**kinds, "shape": count, "out_shape": count})
    case.conventions(
        {
            "loss": one_of(
                "sum(out*cotangent_out)+sum(residual_out*cotangent_res): a plain dot product, only there to define gradients"
            ),
            "batchnorm": BATCHNORM,
            "residual": one_of("returned residual is x AFTER the optional resize and BEFORE conv2"),
        }
    )
    abf = ABF(given["in_channel"], given["mid_channel"], given["out_channel"], given["fuse"])
    case.load(abf)
    leaves = inputs(case, "x", *(("residual",) if given["fuse"] else ()))
    x = leaves["in/x"]
    if given["fuse"] and tuple(x.shape[2:]) != (given["shape"],) * 2:
        raise NotSupported(f"shape = {given['shape']}, but x has {list(x.shape[2:])}")
    out, residual = abf(x, leaves.get("in/residual"), (given["out_shape"],) * 2)
    loss = (out * case.take("in/cotangent_out")).sum() + (residual * case.take("in/cotangent_res")).sum()
    return Computed(loss, {"out": out, "residual_out": residual}, leaves).of_module(abf)


def hcl(case: Case) -> Computed:
    levels = case.settings({"levels": counts})["levels"]
    case.conventions(
        {
            "reduction": one_of("MSE mean over all elements per pooled level; features summed"),
            "weights": one_of(
                "1 for the full map, then 1/2, 1/4, 1/8 for each USED pooled size; normalised by their total"
            ),
            "pooling": one_of("adaptive_avg_pool2d to (l,l)"),
            "inputs": anything,
        }
    )
    pyramid = Pyramid(("h", *levels), tuple(0.5**k for k in range(1 + len(levels))))
    leaves, f_s, f_t = features(case, "student_feat", "teacher_feat")
    parts = [context_loss(s, t, pyramid) for s, t in zip(f_s, f_t, strict=True)]
    return Computed(torch.stack(parts).sum(), {f"part_level{i}": part for i, part in enumerate(parts)}, leaves)


def framework(case: Case) -> Computed:
    sizes = lambda value: value is None or counts(value)  # noqa: E731
    given = case.settings({"in_channels": counts, "out_channels": counts, "shapes": counts, "out_shapes": sizes})
    case.conventions(
        {
            "order": one_of(
                "index 0 = shallowest used feature, last = pooled (1x1) feature; shapes/out_shapes are listed deepest "
                "first, in_channels/out_channels shallowest first"
            ),
            "mid_channel": one_of("min(512, in_channels[-1])"),
            "params": one_of(
                "abfs.0 belongs to the DEEPEST feature (module list is reversed); only the deepest one has no att_conv"
            ),
            "stem": one_of("the stem feature f0 is not used"),
            "batchnorm": BATCHNORM,
            "inputs": anything,
        }
    )
    cascade = Cascade(given["in_channels"], given["out_channels"])
    case.load(cascade)
    leaves, f_s, f_t = features(case, "student_feat", "teacher_feat")
    out_shapes = given["out_shapes"] or given["shapes"]
    if min(len(out_shapes), len(given["shapes"])) < len(f_s):
        raise NotSupported(f"{len(out_shapes)} sizes for {len(f_s)} levels")
    for i, feature in enumerate(reversed(f_s)):
        if i > 0 and tuple(feature.shape[2:]) != (given["shapes"][i],) * 2:
            raise NotSupported(f"shapes[{i}] = {given['shapes'][i]}, but the feature has {list(feature.shape[2:])}")
    fused = cascade(f_s, [(n, n) for n in reversed(out_shapes[: len(f_s)])])
    parts = [context_loss(s, t, Pyramid()) for s, t in zip(fused, f_t, strict=True)]
    outputs = {f"part_level{i}": part for i, part in enumerate(parts)} | {f"fused{i}": f for i, f in enumerate(fused)}
    return Computed(torch.stack(parts).sum(), outputs, leaves).of_module(cascade)
