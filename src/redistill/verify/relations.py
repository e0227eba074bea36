"""Golden losses of the terms that compare a batch's images with each other, and of decoupled and standardised logits."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from redistill.core import Batch, Context, Output, Shape, Term
from redistill.terms import CC, CRD, DIST, DKD, FSP, KD, NST, PKT, RKD, SP, flow, standardised
from redistill.verify.computed import Computed, features, inputs, output
from redistill.verify.logits import BATCHMEAN
from redistill.verify.reader import Case, NotSupported, anything, count, flag, number, one_of, positive

_UNBIASED = one_of("torch.std: UNBIASED (n-1); 1e-7 is added to the std", "unbiased, +1e-7")


def _ready(term: Term, student: Output, teacher: Output, classes: int = 2) -> None:
    """Show the term the shapes of the case."""

    def shapes(out: Output) -> dict[str, Shape]:
        return {name: tuple(tap.shape) for name, tap in out.taps.items()}

    term.setup(Context(nn.Identity(), nn.Identity(), shapes(student), shapes(teacher), (), (), classes))


def _vectors(case: Case) -> tuple[dict[str, Tensor], Output, Output, Batch]:
    """Features of one place as taps."""
    leaves = inputs(case, "student_feat", "teacher_feat")
    f_s, f_t = leaves.values()
    logits = f_s.new_zeros(len(f_s), 2)
    return leaves, Output(logits, {"place": f_s}), Output(logits, {"place": f_t}), Batch(f_s)


def _maps(case: Case) -> tuple[dict[str, Tensor], Output, Output, Batch]:
    """Features of several places as taps, shallowest first."""
    leaves, f_s, f_t = features(case, "student_feat", "teacher_feat")
    if not f_s:
        raise NotSupported("the case has no in/student_feat0")
    logits = f_s[0].new_zeros(len(f_s[0]), 2)
    return leaves, output(logits, f_s), output(logits, f_t), Batch(f_s[0])


# -- logits ------------------------------------------------------------------------------------------------------------
def _dkd(case: Case, standardise: bool) -> Computed:
    given = case.settings({"alpha": number, "beta": number, "T": positive})
    says = {"reduction": BATCHMEAN, "T2_factor": one_of(True), "masking": anything, "log": anything}
    case.conventions(says | ({"std": _UNBIASED} if standardise else {}))
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    term = DKD(alpha=given["alpha"], beta=given["beta"], T=given["T"], standardise=standardise)
    batch = Batch(z_s, labels=case.take("in/labels"))
    target, others = term.parts(Output(z_s), Output(z_t), batch)
    return Computed(term(Output(z_s), Output(z_t), batch), {"part_tckd": target, "part_nckd": others}, leaves)


def dkd(case: Case) -> Computed:
    return _dkd(case, standardise=False)


def lskd_dkd(case: Case) -> Computed:
    return _dkd(case, standardise=True)


def lskd_kd(case: Case) -> Computed:
    T = case.settings({"T": positive, "default_kd_weight": number}, optional=("default_kd_weight",))["T"]
    says = case.conventions({"reduction": BATCHMEAN, "T2_factor": flag, "std": _UNBIASED, "weight": anything})
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = leaves.values()
    term = KD(T=T, scale_T2=says.get("T2_factor", True), standardise=True)
    return Computed(term(Output(z_s), Output(z_t), Batch(z_s)), {"standardised_student": standardised(z_s)}, leaves)


def dist(case: Case) -> Computed:
    given = case.settings({"beta": number, "gamma": number, "tau": positive})
    says = case.conventions({"reduction": anything, "eps": anything, "T2_factor": anything, "parts": anything})
    if not str(says.get("T2_factor", "tau^2")).startswith("tau^2"):
        raise NotSupported(f"convention T2_factor = {says['T2_factor']!r} is unknown")
    leaves = inputs(case, "student_logits", "teacher_logits")
    return _correlated(DIST(given["beta"], given["gamma"], T=given["tau"]), leaves, *leaves.values())


def dist_seg(case: Case) -> Computed:
    """Positions of maps [B, C, H, W] as images: [B·W·H, C]."""
    given = case.settings({"beta": number, "gamma": number})
    case.conventions({"reduction": anything, "T2_factor": one_of(False)})
    leaves = inputs(case, "student_logits", "teacher_logits")
    z_s, z_t = (z.transpose(1, 3).reshape(-1, z.shape[1]) for z in leaves.values())
    return _correlated(DIST(given["beta"], given["gamma"], scale_T2=False), leaves, z_s, z_t)


def _correlated(term: DIST, leaves: dict[str, Tensor], z_s: Tensor, z_t: Tensor) -> Computed:
    inter, intra = term.parts(Output(z_s), Output(z_t))
    return Computed(term(Output(z_s), Output(z_t), Batch(z_s)), {"part_inter": inter, "part_intra": intra}, leaves)


# -- vectors -----------------------------------------------------------------------------------------------------------
def rkd(case: Case) -> Computed:
    given = case.settings({"w_d": number, "w_a": number})
    case.conventions({"reduction": anything, "distance": anything, "angle": anything})
    leaves, student, teacher, batch = _vectors(case)
    term = RKD(at="place", distance=float(given["w_d"]), angle=float(given["w_a"]))
    apart, turned = term.parts(student, teacher)
    return Computed(term(student, teacher, batch), {"part_distance": apart, "part_angle": turned}, leaves)


def pkt(case: Case) -> Computed:
    given = case.settings({"eps": positive}, optional=("eps",))
    case.conventions({"reduction": one_of("mean over B*B entries"), "eps": anything, "self_similarity": one_of("diagonal included")})
    leaves, student, teacher, batch = _vectors(case)
    return Computed(PKT(at="place", eps=given.get("eps", 1e-7))(student, teacher, batch), leaves=leaves)


def cc(case: Case) -> Computed:
    dim = case.settings({"feat_dim": count})["feat_dim"]
    case.conventions({"reduction": one_of("mean over the B-1 consecutive pairs")})
    leaves, student, teacher, batch = _vectors(case)
    term = CC(at="place", dim=dim)
    _ready(term, student, teacher)
    embeddings = nn.ModuleDict()
    for name, layer in (("embed_s", term.embed_s), ("embed_t", term.embed_t)):
        embeddings[name] = nn.ModuleDict({"linear": layer})
    case.load(embeddings)
    outputs = {f"embedded_{who}": layer(out["place"]) for who, layer, out in (("s", term.embed_s, student), ("t", term.embed_t, teacher))}
    return Computed(term(student, teacher, batch), outputs, leaves).of_module(embeddings)


def crd(case: Case) -> Computed:
    given = case.settings({"feat_dim": count, "n_data": count, "nce_k": count, "nce_t": positive, "nce_m": number})
    named = ("embed", "memory", "update", "Z", "params_buffer", "columns", "shape")
    case.conventions(dict.fromkeys(named, anything))
    leaves, student, teacher, _ = _vectors(case)
    n, constants = given["n_data"], case.take("buf/contrast.params")
    term = CRD(at="place", dim=given["feat_dim"], K=given["nce_k"], T=float(constants[1]), momentum=float(constants[4]))
    mine, theirs = ({name: tuple(tap.shape) for name, tap in out.taps.items()} for out in (student, teacher))
    # which images are negatives stands in the case; the labels only have to be two classes
    labels = torch.arange(n) % 2
    term.setup(Context(nn.Identity(), nn.Identity(), mine, theirs, (), (), 2, count=n, labels=labels))
    term.double().train()
    for layer, name in ((term.embed_s, "embed_s"), (term.embed_t, "embed_t")):
        layer.load_state_dict({part: case.take(f"param/{name}.linear.{part}") for part in ("weight", "bias")})
    for memory, name in ((term.memory_student, "memory_v1"), (term.memory_teacher, "memory_v2")):
        memory.copy_(case.take(f"buf/contrast.{name}"))
    term.Z.copy_(constants[2:4])
    loss = term.contrasted(student["place"], teacher["place"], case.take("in/idx"), case.take("in/contrast_idx"))
    for layer, name in ((term.embed_s, "embed_s"), (term.embed_t, "embed_t")):
        leaves |= {f"param/{name}.linear.{part}": getattr(layer, part) for part in ("weight", "bias")}
    after = {"contrast.memory_v1": term.memory_student, "contrast.memory_v2": term.memory_teacher}
    params = torch.stack([constants[0], constants[1], *term.Z, constants[4]])
    return Computed(loss, {}, leaves, after | {"contrast.params": params})


# -- maps --------------------------------------------------------------------------------------------------------------
def sp(case: Case) -> Computed:
    case.settings({})
    case.conventions({"reduction": one_of("sum of squares / B^2"), "normalise": anything, "shape": anything, "inputs": anything})
    leaves, student, teacher, batch = _maps(case)
    term = SP(at=list(student.taps))
    parts = {f"part_layer{i}": value for i, value in enumerate(term.distances(student, teacher))}
    return Computed(term(student, teacher, batch), parts, leaves)


def nst(case: Case) -> Computed:
    case.settings({})
    case.conventions(
        {
            "reduction": one_of("mean over batch and all channel pairs"),
            "kernel": one_of("polynomial d=2, c=0"),
            "normalise": anything,
            "constant": anything,
            "inputs": anything,
        }
    )
    leaves, student, teacher, batch = _maps(case)
    term = NST(at=list(student.taps))
    parts = {f"part_layer{i}": value for i, value in enumerate(term.distances(student, teacher))}
    return Computed(term(student, teacher, batch), parts, leaves)


def fsp(case: Case) -> Computed:
    case.settings({})
    mean = one_of("mean over batch and both channel axes; pairs summed")
    case.conventions({"reduction": mean, "layout": anything, "constraint": anything, "inputs": anything})
    leaves, student, teacher, batch = _maps(case)
    term = FSP(at=list(student.taps))
    found = {f"part_pair{i}": value for i, value in enumerate(term.distances(student, teacher))}
    maps = list(student.taps.values())
    found |= {f"fsp_student{i}": flow(a, b) for i, (a, b) in enumerate(pairwise(maps))}
    return Computed(term(student, teacher, batch), found, leaves)
