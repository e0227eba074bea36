"""Golden losses of boundaries, factors and margins, and of several views: AB, FT, OFD, MLKD."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, Shape, Term
from redistill.terms import AB, FT, OFD, boundary_distance, factor_distance, margins, multi_level
from redistill.verify.computed import Computed, features, inputs, output
from redistill.verify.reader import BATCHNORM, Case, NotSupported, anything, count, flag, number, one_of, positive


def _shapes(out: Output) -> dict[str, Shape]:
    return {name: tuple(tap.shape) for name, tap in out.taps.items()}


def _ready(term: Term, student: Output, teacher: Output, net: nn.Module | None = None) -> None:
    term.setup(Context(nn.Identity(), net or nn.Identity(), _shapes(student), _shapes(teacher), (), (), 2))


def _maps(case: Case) -> tuple[dict[str, Tensor], Output, Output]:
    leaves, f_s, f_t = features(case, "student_feat", "teacher_feat")
    if not f_s:
        raise NotSupported("the case has no in/student_feat0")
    logits = torch.zeros(len(f_s[0]), 2, dtype=torch.float64)
    return leaves, output(logits, f_s), output(logits, f_t)


def ab(case: Case) -> Computed:
    margin = case.settings({"margin": positive})["margin"]
    case.conventions(
        {
            "reduction": one_of("sum over c,h,w; / batch size; * 3/1000; layer weights 2^(l-n+1) (last layer weight 1)"),
            "inputs": anything,  # before or after the activation: the arrays are given
            "connector": one_of("identity when channels and height agree, else Conv+BN as in fitnet without ReLU"),
            "batchnorm": BATCHNORM,
        }
    )
    leaves, student, teacher = _maps(case)
    term = AB(at=list(student.taps), margin=float(margin))
    _ready(term, student, teacher)
    held = nn.ModuleDict({"connectors": term.connectors})
    case.load(held)
    connected: dict[str, Tensor] = {}
    for i, connector in enumerate(term.connectors):
        connector.register_forward_hook(lambda module, args, made, i=i: connected.update({f"connected{i}": made}))
    loss = term(student, teacher, Batch(next(iter(student.taps.values()))))
    parts = {
        f"part_layer{i}": 2.0 ** (i - len(term.pairs) + 1) * term.factor
        * boundary_distance(connected[f"connected{i}"], teacher[theirs], term.margin)
        for i, (_, theirs) in enumerate(term.pairs)
    }
    return Computed(loss, parts | connected, leaves).of_module(held)


def ft(case: Case) -> Computed:
    given = case.settings({"p1": count, "p2": count, "k": positive})
    case.conventions(
        {
            "reduction": one_of("mean over batch and positions"),
            "paraphraser": one_of(
                "3 conv3x3 (+LeakyReLU 0.1, no BN) encoder, 3 transposed conv decoder; out channels int(c_t*k)"
            ),
            "translator": anything,  # module_mode says how its batch norm is used
            "note": anything,
        }
    )
    leaves = inputs(case, "student_feat", "teacher_feat")
    f_s, f_t = leaves.values()
    logits = torch.zeros(len(f_s), 2)
    student, teacher = Output(logits, {"place": f_s}), Output(logits, {"place": f_t})
    term = FT(at="place", **given)
    _ready(term, student, teacher)
    held = nn.ModuleDict({"translator": term.translator, "paraphraser": term.paraphraser})
    case.load(held)
    mine, (theirs, again) = term.translator(f_s), term.paraphraser(f_t)
    outputs = {
        "part_paraphraser_reconstruction": (again - f_t).square().mean(),
        "factor_student": mine,
        "factor_teacher": theirs,
    }
    found = Computed(factor_distance(mine, theirs, term.p1, term.p2), outputs, leaves).of_module(held)
    # the decoder takes no part in the loss, and the original has no gradient for it
    found.leaves = {n: v for n, v in found.leaves.items() if not n.startswith("param/paraphraser.decoder")}
    return found


def ofd(case: Case) -> Computed:
    size = case.settings({"kernel_size": count})["kernel_size"]
    case.conventions(
        {
            "reduction": one_of("mean over batch, sum over c,h,w; layer weight 2^-(n-l-1)"),
            "margin": one_of(
                "E[x|x<0] of N(bn.bias, bn.weight^2): -s*phi(m/s)/Phi(-m/s)+m, or -3s when Phi(-m/s) <= 0.001; stored as float32 by "
                "the original"
            ),
            "size_mismatch": one_of("teacher adaptive-avg-pooled to the student size"),
            "inputs": anything,  # before or after the activation: the arrays are given
            "connector": anything,  # kernel_size and module_mode say it again
        }
    )
    leaves, student, teacher = _maps(case)
    norms = nn.ModuleDict()
    for i in range(len(student.taps)):
        gain, bias = case.take(f"in/teacher_bn_weight{i}"), case.take(f"in/teacher_bn_bias{i}")
        norms[f"n{i}"] = norm = nn.BatchNorm2d(len(gain)).double()
        with torch.no_grad():
            norm.weight.copy_(gain)
            norm.bias.copy_(bias)
    term = OFD(at=list(student.taps), norms=list(norms), factor=1.0, kernel_size=size)
    _ready(term, student, teacher, norms)
    held = nn.ModuleDict({"connectors": term.connectors})
    case.load(held)
    loss = term(student, teacher, Batch(next(iter(student.taps.values()))))
    shown = {f"margin{i}": margins(norm.weight, norm.bias).double().view(1, -1, 1, 1) for i, norm in enumerate(norms.values())}  # type: ignore[arg-type]
    return Computed(loss, shown, leaves).of_module(held)


def mlkd(case: Case) -> Computed:
    given = case.settings(
        {"T_base": positive, "temperatures": _temperatures, "ce_weight": number, "kd_weight": number, "logit_stand": flag}
    )
    case.conventions(
        {
            "reduction": anything,
            "cc": one_of("sum (P_t^T P_t - P_s^T P_s)^2 / C"),
            "bc": one_of("sum (P_t P_t^T - P_s P_s^T)^2 / B"),
            "mask": one_of(
                "teacher weak confidence <= its 50th percentile (np.percentile); class mask likewise on summed class confidence"
            ),
            "standardisation": one_of("only the KD terms use it (when logit_stand)"),
        }
    )
    if given["temperatures"][0] != given["T_base"]:
        raise NotSupported(f"T_base = {given['T_base']}, but the first temperature is {given['temperatures'][0]}")
    leaves = inputs(case, *(f"{who}_logits_{view}" for who in ("student", "teacher") for view in ("weak", "strong")))
    s, s_strong, t, t_strong = leaves.values()
    parts = multi_level(
        (s, s_strong),
        (t, t_strong),
        case.take("in/labels"),
        temperatures=given["temperatures"],
        ce=given["ce_weight"],
        kd=given["kd_weight"],
        standardise=given["logit_stand"],
    )
    return Computed(torch.stack(list(parts.values())).sum(), {f"part_{name}": part for name, part in parts.items()}, leaves)


def _temperatures(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(positive(v) for v in value)
