"""Golden losses of logits, alone and with attention: KD, KD-AT, zero-shot, extra M."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from redistill.core import Batch, Context, Output
from redistill.terms import CE, KD, Anchor
from redistill.verify.computed import Computed, attention, features, inputs, output
from redistill.verify.reader import Case, NotSupported, anything, count, flag, number, one_of, positive

BATCHMEAN = one_of("batchmean", 'sum over classes, mean over batch ("batchmean")', "batchmean for KL, mean for CE")

_ELEMENTMEAN = one_of(
    'F.kl_div default "mean": over batch AND classes, i.e. batchmean / C',
    'nn.KLDivLoss() default "mean" (batchmean / C)',
    '"mean" over batch and classes',
    'KL: nn.KLDivLoss() default "mean" = over batch AND classes (batchmean/C); AT: mean over batch and positions',
)


def kd(case: Case) -> Computed:
    T = case.settings({"T": positive})["T"]
    says = case.conventions({"reduction": BATCHMEAN, "T2_factor": flag, "teacher_grad": anything})
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    term = KD(T=T, scale_T2=says.get("T2_factor", True))
    return Computed(term(Output(z_s), Output(z_t), Batch(z_s)), leaves=leaves)


def kd_zagoruyko(case: Case) -> Computed:
    given = case.settings({"T": positive, "alpha": number})
    says = case.conventions({"reduction": BATCHMEAN, "T2_factor": flag})
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    alpha = given["alpha"]
    method = alpha * KD(T=given["T"], scale_T2=says.get("T2_factor", True)) + (1 - alpha) * CE()
    batch = Batch(z_s, labels=case.take("in/labels"))
    kl, ce = method(Output(z_s), Output(z_t), batch)
    return Computed(method.loss(Output(z_s), Output(z_t), batch), {"part_kl": kl, "part_ce": ce}, leaves)


def kd_att_seed(case: Case) -> Computed:
    given = case.settings({"T": positive, "a": number, "b": number})
    says = case.conventions({"reduction": _ELEMENTMEAN, "T2_factor": flag, "extra_factor": one_of("2 on the KL term")})
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    maps, f_s, f_t = features(case, "student_act", "teacher_act")
    student, teacher, batch = output(z_s, f_s), output(z_t, f_t), Batch(z_s, labels=case.take("in/labels"))
    kd = KD(T=given["T"], reduction="element", factor=2.0, scale_T2=says.get("T2_factor", True))
    method = (1 - given["a"]) * CE() + given["a"] * kd
    ce, _ = method(student, teacher, batch)
    plain = KD(T=given["T"], reduction="element", scale_T2=False)(student, teacher, batch)
    parts = {"part_ce_unweighted": ce, "part_kl_elementmean_unweighted": plain}
    if f_s:
        at = attention(student, teacher)
        method = method + given["b"] * at
        parts |= {f"part_attention{i}": d for i, d in enumerate(at.distances(student, teacher))}
    return Computed(method.loss(student, teacher, batch), parts, leaves | maps)


# -- zero-shot ---------------------------------------------------------------------------------------------------------
def zskt_student(case: Case) -> Computed:
    given = case.settings({"T": positive, "AT_beta": number, "n_classes": count}, optional=("n_classes",))
    says = case.conventions(
        {"reduction": _ELEMENTMEAN, "T2_factor": flag, "attention": one_of("mean over batch and positions")}
    )
    return _zero_shot(case, given["T"], given["AT_beta"], says.get("T2_factor", False), given.get("n_classes"))


def zskt_student_seed(case: Case) -> Computed:
    given = case.settings({"b": number})
    says = case.conventions(
        {"reduction": _ELEMENTMEAN, "T2_factor": flag, "T": one_of("1, not configurable"), "gradient": anything}
    )
    return _zero_shot(case, 1.0, given["b"], says.get("T2_factor", False), None)


def _zero_shot(case: Case, T: float, beta: float, scale_T2: bool, classes: int | None) -> Computed:
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    _check_classes(z_s, classes)
    maps, f_s, f_t = features(case, "student_feat", "teacher_feat")
    student, teacher, batch = output(z_s, f_s), output(z_t, f_t), Batch(z_s)
    method = 1.0 * KD(T=T, reduction="element", scale_T2=scale_T2)
    (divergence,) = method(student, teacher, batch)
    parts = {"part_divergence": divergence, "part_generator_loss": -divergence}
    if f_s:
        at = attention(student, teacher)
        method = method + beta * at
        parts |= {f"part_attention{i}": d for i, d in enumerate(at.distances(student, teacher))}
    return Computed(method.loss(student, teacher, batch), parts, leaves | maps)


def zskt_generator(case: Case) -> Computed:
    given = case.settings({"T": positive, "n_classes": count}, optional=("n_classes",))
    says = case.conventions({"reduction": _ELEMENTMEAN, "T2_factor": flag, "gradient": anything})
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    _check_classes(z_s, given.get("n_classes"))
    method = -1.0 * KD(T=given["T"], reduction="element", scale_T2=says.get("T2_factor", False))
    return Computed(method.loss(Output(z_s), Output(z_t), Batch(z_s)), leaves=leaves)


def _check_classes(logits: Tensor, classes: int | None) -> None:
    if classes is not None and classes != logits.shape[1]:
        raise NotSupported(f"n_classes = {classes}, but the logits have {logits.shape[1]}")


class _Student(nn.Module):
    """The small student of the case: Linear, tanh, Linear, under the names of its arrays."""

    def __init__(self, a: Tensor, b: Tensor):
        super().__init__()
        layers = {"a": nn.Linear(a.shape[1], a.shape[0]), "tanh": nn.Tanh(), "b": nn.Linear(b.shape[1], b.shape[0])}
        self.student = nn.Sequential(OrderedDict(layers)).double()

    def put(self, case: Case, role: str) -> None:
        with torch.no_grad():
            for name, parameter in self.student.named_parameters():
                parameter.copy_(case.take(f"param/{role}.{name}"))


def extra_m_seed(case: Case) -> Computed:
    given = case.settings(
        {"lamda": number, "T": positive, "a": number, "b": one_of(0, 0.0)}, optional=("T", "a", "b")
    )
    case.conventions(
        {
            "reduction": one_of("mean absolute difference per parameter tensor, summed over tensors (not over elements)"),
            "T2_factor": one_of(True),
        }
    )
    T, a = given.get("T", 4.0), given.get("a", 0.9)
    leaves = inputs(case, "x")
    x = leaves["in/x"]
    net = _Student(case.take("param/student.a.weight"), case.take("param/student.b.weight"))
    net.put(case, "clone")
    anchor = Anchor()
    anchor.setup(Context(net.student, nn.Identity(), {}, {}, (), (), 0))
    net.put(case, "student")
    logits: Tensor = net.student(x)
    student, teacher = Output(logits), Output(case.take("in/teacher_logits"))
    batch = Batch(x, labels=case.take("in/labels"))
    kd_att = (1 - a) * CE() + a * KD(T=T, reduction="element", factor=2.0)
    method = kd_att + given["lamda"] * anchor
    out = Computed(method.loss(student, teacher, batch), {"part_kd": kd_att.loss(student, teacher, batch)}, leaves)
    return out.of_module(net)
