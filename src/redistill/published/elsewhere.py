"""What other implementations call alpha: their soft targets, attention, hint and VID with their reductions, and the same loss here.

One :data:`ROWS` entry a loss of an implementation. Its formula was read in that code at the commit named; a test writes each out
slowly and compares loss and gradient with the terms that :attr:`Row.ours` gives, for other settings than the defaults too.

In the formulas B images, C classes; ``KL`` is Σ_c p_t log(p_t / p_s) of softmax(z / T), a number an image; ``mean`` without a word
is over all entries of a tensor; Q is a map's vector of mean squares over channels, of length 1; r the trained regressor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Parts = tuple[Mapping[str, Any], ...]
"""Rows of ``[[method]]``."""

Given = Mapping[str, Any]
"""Settings by their names over there."""


@dataclass(frozen=True)
class Row:
    """One loss of one implementation.

    Attributes:
        code, commit: whose, as read. method: KD, AT, hint or VID.
        settings: that the formula has, by their names there, with their defaults there.
        theirs: the formula in those names. here: the same in ours. ours: the terms for given settings.
        note: what is easily taken for something else.
    """

    code: str
    commit: str
    method: str
    settings: Given
    theirs: str
    here: str
    ours: Callable[[Given], Parts]
    note: str = ""


def term(use: str, weight: float, **settings: Any) -> dict[str, Any]:
    """One row of ``[[method]]``."""
    return {"use": use, "weight": float(weight), **settings}


def soft(ce: float, kd: float, T: float, **settings: Any) -> Parts:
    """CE and KD."""
    return term("CE", ce), term("KD", kd, T=float(T), **settings)


def torchdistill_kd(given: Given) -> Parts:
    """Its ``KDLoss``, whose ``alpha`` of None or 0 leaves out labels, ``beta`` and T² at once."""
    alpha, beta, T = given.get("alpha"), given.get("beta"), float(given["temperature"])
    reduction = {"batchmean": "batch", "mean": "element"}[given.get("reduction", "batchmean")]
    if not alpha:
        return (term("KD", 1.0, T=T, reduction=reduction, scale_T2=False),)
    return soft(alpha, 1.0 - alpha if beta is None else beta, T, reduction=reduction)


def timm_weights(given: Given) -> tuple[float, float]:
    """Task and distillation weight of timm: the second is 1 minus the first where only the first is said, else each is 1."""
    task, distill = given.get("task_loss_weight"), given.get("distill_loss_weight")
    if distill is not None:
        return (1.0 if task is None else float(task)), float(distill)
    return (1.0, 1.0) if task is None else (float(task), 1.0 - float(task))


REP, MD, TD = "HobbitLong/RepDistiller", "megvii-research/mdistiller", "yoshitomo-matsubara/torchdistill"
TF = "sseung0703/Variational_Information_Distillation, branch worker"

ROWS: tuple[Row, ...] = (
    Row(
        REP, "1143dfe", "KD", {"r": 1.0, "a": 0.9, "kd_T": 4.0},
        "`r` CE + `a` T² Σ KL / B", "`r` CE + `a` KD", lambda g: soft(g["r"], g["a"], g["kd_T"]),
        "`r` is 1 unless it is said: the KD rows of its tables are `-r 0.1 -a 0.9`. `a` counts beside every other `--distill` too.",
    ),
    Row(
        REP, "1143dfe", "AT", {"r": 1.0, "b": 1000.0},
        "`r` CE + `b` Σ_l mean((Q_S − Q_T)²)", "`r` CE + `b` AT", lambda g: (term("CE", g["r"]), term("AT", g["b"])),
        "Over the positions of the map: 1000 is 0.98 on the squared length of the difference for 32x32, 15.6 for 8x8.",
    ),
    Row(
        REP, "1143dfe", "hint", {"r": 1.0, "b": 100.0},
        "`r` CE + `b` mean((r(F_S) − F_T)²), second stage", "`r` CE + `b` FitNet",
        lambda g: (term("CE", g["r"]), term("FitNet", g["b"])),
        "Not the paper's hint: trained together with the labels, and the regressor ends in batch norm and ReLU.",
    ),
    Row(
        REP, "1143dfe", "VID", {"r": 1.0, "b": 1.0},
        "`r` CE + `b` Σ_l mean(½ ((μ − F_T)² / σ² + log σ²))", "`r` CE + `b` VID",
        lambda g: (term("CE", g["r"]), term("VID", g["b"])),
        "The paper sums over an image's entries: λ there is `b` / (C H W).",
    ),
    Row(
        MD, "a08d46f", "KD", {"CE_WEIGHT": 0.1, "KD_WEIGHT": 0.9, "TEMPERATURE": 4.0},
        "`CE_WEIGHT` CE + `KD_WEIGHT` T² Σ KL / B", "`CE_WEIGHT` CE + `KD_WEIGHT` KD",
        lambda g: soft(g["CE_WEIGHT"], g["KD_WEIGHT"], g["TEMPERATURE"]),
    ),
    Row(
        MD, "a08d46f", "AT", {"CE_WEIGHT": 1.0, "FEAT_WEIGHT": 1000.0, "P": 2},
        "`CE_WEIGHT` CE + `FEAT_WEIGHT` Σ_l mean((Q_S − Q_T)²)", "`CE_WEIGHT` CE + `FEAT_WEIGHT` AT(p=`P`)",
        lambda g: (term("CE", g["CE_WEIGHT"]), term("AT", g["FEAT_WEIGHT"], p=float(g["P"]))),
    ),
    Row(
        MD, "a08d46f", "hint", {"CE_WEIGHT": 1.0, "FEAT_WEIGHT": 100.0},
        "`CE_WEIGHT` CE + `FEAT_WEIGHT` mean((r(F_S) − F_T)²), `HINT_LAYER` 2", "`CE_WEIGHT` CE + `FEAT_WEIGHT` FitNet",
        lambda g: (term("CE", g["CE_WEIGHT"]), term("FitNet", g["FEAT_WEIGHT"])),
    ),
    Row(
        MD, "a08d46f", "VID", {"CE_WEIGHT": 1.0, "FEAT_WEIGHT": 1.0, "EPS": 1e-5, "INIT_PRED_VAR": 5.0},
        "`CE_WEIGHT` CE + `FEAT_WEIGHT` Σ_l mean(½ ((μ − F_T)² / σ² + log σ²)), σ² = `INIT_PRED_VAR` for good",
        "`CE_WEIGHT` CE + `FEAT_WEIGHT` VID(train_variance=False)",
        lambda g: (
            term("CE", g["CE_WEIGHT"]),
            term("VID", g["FEAT_WEIGHT"], eps=float(g["EPS"]), init_pred_var=float(g["INIT_PRED_VAR"]), train_variance=False),
        ),
        "No optimiser sees its variances (they stand in a plain list), so it is a tenth of the squared error. "
        "`train_variance=True` is the method.",
    ),
    Row(
        TD, "01038e7", "KD", {"alpha": 0.9, "temperature": 4.0, "beta": None, "reduction": "batchmean"},
        "`alpha` CE + `beta` T² Σ KL / B, `beta` = 1 − `alpha` where it is not said", "`alpha` CE + `beta` KD", torchdistill_kd,
        "**`alpha` weighs the labels**, so its samples' 0.9 is RepDistiller's `-r 0.9 -a 0.1`. `alpha` 0 (or none) is Σ KL / B "
        "without T². `reduction: mean` is KD(reduction=\"element\").",
    ),
    Row(
        TD, "01038e7", "AT", {"ce": 1.0, "weight": 1000.0},
        "`ce` CE + `weight` Σ_pair w mean((Q_S − Q_T)²), `mode: code`", "`ce` CE + `weight` w AT, a term a weight",
        lambda g: (term("CE", g["ce"]), term("AT", g["weight"])),
        "`mode: paper` is Σ_b ‖Q_S − Q_T‖ / B, AT(form=\"norm\"), without the paper's ½.",
    ),
    Row(
        TD, "01038e7", "hint", {"weight": 1.0},
        "`weight` MSELoss(r(F_S), F_T), the regressor an auxiliary module", "`weight` FitNet(norm=False, relu=False)",
        lambda g: (term("FitNet", g["weight"], norm=False, relu=False),),
        "For a regressor of one 1x1 convolution; what its yaml builds otherwise is another regressor.",
    ),
    Row(
        TD, "01038e7", "VID", {"weight": 1.0},
        "`weight` Σ_pair w mean(½ ((μ − F_T)² / σ² + log σ²))", "`weight` w VID, a term a weight",
        lambda g: (term("VID", g["weight"]),),
    ),
    Row(
        "szagoruyko/attention-transfer", "893df54", "KD", {"alpha": 0.9, "temperature": 4.0},
        "(1 − `alpha`) CE + `alpha` T² Σ KL / B", "(1 − `alpha`) CE + `alpha` KD",
        lambda g: soft(1.0 - g["alpha"], g["alpha"], g["temperature"]),
        "`alpha` is 0 unless it is said.",
    ),
    Row(
        "szagoruyko/attention-transfer", "083a612 (earlier)", "KD", {"alpha": 0.9, "temperature": 4.0},
        "(1 − `alpha`) CE + 2 `alpha` T² Σ KL / (B C)", "(1 − `alpha`) CE + `alpha` KD(reduction=\"element\", factor=2)",
        lambda g: soft(1.0 - g["alpha"], g["alpha"], g["temperature"], reduction="element", factor=2.0),
        "The same word, 2/C of the weight: a fifth with ten classes, a fiftieth with a hundred.",
    ),
    Row(
        "szagoruyko/attention-transfer", "893df54", "AT", {"beta": 1000.0, "alpha": 0.0, "temperature": 4.0},
        "(1 − `alpha`) CE + `alpha` T² Σ KL / B + `beta` Σ_l mean((Q_S − Q_T)²)", "(1 − `alpha`) CE + `alpha` KD + `beta` AT",
        lambda g: (*soft(1.0 - g["alpha"], g["alpha"], g["temperature"]), term("AT", g["beta"])),
        "The paper's β/2 weighs the length of the difference and not its mean square: AT(form=\"norm\", factor=0.5).",
    ),
    Row(
        "polo5/FewShotKnowledgeTransfer", "ac68538", "KD", {"KD_alpha": 0.9, "KD_temperature": 4.0},
        "(1 − `KD_alpha`) CE + 2 `KD_alpha` T² Σ KL / (B C)", "(1 − `KD_alpha`) CE + `KD_alpha` KD(reduction=\"element\", factor=2)",
        lambda g: soft(1.0 - g["KD_alpha"], g["KD_alpha"], g["KD_temperature"], reduction="element", factor=2.0),
        "0.18 and not 0.9 of the usual KD with ten classes. The reproducibility report's KD-AT (Ferles et al. 2020) is a copy.",
    ),
    Row(
        "polo5/FewShotKnowledgeTransfer", "ac68538", "AT", {"KD_alpha": 0.9, "KD_temperature": 4.0, "AT_beta": 1000.0, "maps": 3},
        "(1 − `KD_alpha`) CE + 2 `KD_alpha` T² Σ KL / (B C) + (3 `AT_beta` / n) Σ_l mean((Q_S − Q_T)²), n maps",
        "KD as above + (3 `AT_beta` / n) AT",
        lambda g: (
            *soft(1.0 - g["KD_alpha"], g["KD_alpha"], g["KD_temperature"], reduction="element", factor=2.0),
            term("AT", 3.0 * g["AT_beta"] / g["maps"]),
        ),
        "`AT_beta` is for three maps, however many there are.",
    ),
    Row(
        "polo5/ZeroShotKnowledgeTransfer", "e24915d", "KD", {"KL_temperature": 1.0},
        "Σ KL / (B C), no T²", "KD(reduction=\"element\", scale_T2=False)",
        lambda g: (term("KD", 1.0, T=float(g["KL_temperature"]), reduction="element", scale_T2=False),),
    ),
    Row(
        "polo5/ZeroShotKnowledgeTransfer", "e24915d", "AT", {"KL_temperature": 1.0, "AT_beta": 250.0},
        "Σ KL / (B C) + `AT_beta` Σ_l mean((Q_S − Q_T)²)", "KD(reduction=\"element\", scale_T2=False) + `AT_beta` AT",
        lambda g: (term("KD", 1.0, T=float(g["KL_temperature"]), reduction="element", scale_T2=False), term("AT", g["AT_beta"])),
        "Beside a KL that is a tenth (ten classes), so 250 acts as 2,500.",
    ),
    Row(
        TF, "98d0710", "KD", {},
        "0.7 CE + 0.3 Σ KL / B at T = 4, no T²", "0.7 CE + 0.3 KD(T=4, scale_T2=False)",
        lambda g: soft(0.7, 0.3, 4.0, scale_T2=False), "With T² it would be 4.8.",
    ),
    Row(
        TF, "98d0710", "AT", {},
        "CE + 500 Σ_l mean((Q_S − Q_T)²)", "CE + 500 AT", lambda g: (term("CE", 1.0), term("AT", 500.0)),
        "1000 / 2, after the paper's β/2.",
    ),
    Row(
        TF, "98d0710", "hint", {},
        "Σ_l mean((F_S − r(F_T))²), alone, before CE alone", "FitNet(norm=False, relu=False, bias=False, side=\"teacher\")",
        lambda g: (term("FitNet", 1.0, norm=False, relu=False, bias=False, side="teacher"),),
        "The teacher's maps go through the regressor, all three groups; name them with `at`.",
    ),
    Row(
        TF, "98d0710", "VID", {},
        "0.1 CE + Σ_l mean(½ ((μ − F_T)² / σ² + log σ²)), σ² = log(1 + eᵃ) + 1, a from 5",
        "0.1 CE + VID(regressor=\"norm-linear\", eps=1, init_log_scale=5)",
        lambda g: (term("CE", 0.1), term("VID", 1.0, regressor="norm-linear", eps=1.0, init_log_scale=5.0)),
        "The 0.1 scales the weight decay with the labels: 5e-5 here is 5e-4 there.",
    ),
    Row(
        "huggingface/pytorch-image-models (timm)", "3034f27", "KD",
        {"task_loss_weight": None, "distill_loss_weight": None, "temperature": 1.0},
        "`task_loss_weight` CE + `distill_loss_weight` T² Σ KL / B", "the same with CE and KD",
        lambda g: soft(*timm_weights(g), g["temperature"]),
        "Both 1 where neither is said; distillation is 1 − task where only the task is.",
    ),
    Row(
        "huggingface/pytorch-image-models (timm)", "3034f27", "hint", {"task_loss_weight": None, "distill_loss_weight": None},
        "`task_loss_weight` CE + `distill_loss_weight` mean((W f_S + b − f_T)²), pooled features",
        "the same with CE and FitNet(at=\"pooled\", norm=False, relu=False)",
        lambda g: (
            term("CE", timm_weights(g)[0]),
            term("FitNet", timm_weights(g)[1], at="pooled", norm=False, relu=False),
        ),
        "For features of unlike width: of equal width timm has no projection, and FitNet has one.",
    ),
    Row(
        "keras-team/keras (keras.distillation)", "820f73b", "KD", {"student_loss_weight": 0.5, "temperature": 3.0},
        "`student_loss_weight` CE + (1 − `student_loss_weight`) T² Σ KL / B",
        "`student_loss_weight` CE + (1 − `student_loss_weight`) KD",
        lambda g: soft(g["student_loss_weight"], 1.0 - g["student_loss_weight"], g["temperature"]),
        "The `alpha` of its earlier versions and of the Keras example weighs the labels too. Probabilities below 1e-7 are cut off there, "
        "and `loss=\"sparse_categorical_crossentropy\"` as a word takes outputs for probabilities: with logits give "
        "`SparseCategoricalCrossentropy(from_logits=True)`.",
    ),
    Row(
        "lightly-ai/lightly-train (distillation)", "004229f", "KD", {"temperature": 0.07},
        "Σ KL / B at T = `temperature`, no T², no labels; z are cosines of a feature with a queue of the teacher's",
        "KD(T=`temperature`, scale_T2=False), on such logits",
        lambda g: (term("KD", 1.0, T=float(g["temperature"]), scale_T2=False),),
        "0.07 sharpens. The queue in the place of a classifier is no network of ours: give one that returns those cosines.",
    ),
    Row(
        "lightly-ai/lightly-train (distillationv2)", "b7744d2", "hint", {},
        "mean((W F_S + b − F_T)²), no labels", "FitNet(norm=False, relu=False)",
        lambda g: (term("FitNet", 1.0, norm=False, relu=False),),
    ),
    Row(
        "NVIDIA/Model-Optimizer (ModelOpt)", "2da2db9", "KD", {"kd_loss_weight": 0.5, "temperature": 1.0},
        "(1 − `kd_loss_weight`) CE + `kd_loss_weight` T² Σ KL / B", "(1 − `kd_loss_weight`) CE + `kd_loss_weight` KD",
        lambda g: soft(1.0 - g["kd_loss_weight"], g["kd_loss_weight"], g["temperature"]),
        "Of `StaticLossBalancer` and `LogitsDistillationLoss`. Without a balancer its loss is the KD alone.",
    ),
    Row(
        "facebookresearch/deit", "0ed0277", "KD", {"alpha": 0.5, "tau": 1.0},
        "(1 − `alpha`) CE + `alpha` T² Σ KL / (B C)", "(1 − `alpha`) CE + `alpha` KD(reduction=\"element\")",
        lambda g: soft(1.0 - g["alpha"], g["alpha"], g["tau"], reduction="element"),
        "With 1,000 classes `alpha` 0.5 is KD of weight 0.0005. Its `hard` distillation is cross-entropy with the teacher's answer.",
    ),
)  # fmt: skip


def row(code: str, method: str) -> Row:
    """The first row of an implementation whose name holds ``code``."""
    return next(one for one in ROWS if code in one.code and one.method == method)


def written(parts: Parts) -> str:
    """Terms as they are written in Python.

    >>> written((term("CE", 0.1), term("KD", 0.9, T=4.0)))
    '0.1 * CE() + 0.9 * KD(T=4.0)'
    """
    named = [f"{part['use']}({', '.join(f'{k}={v!r}' for k, v in part.items() if k not in ('use', 'weight'))})" for part in parts]
    return " + ".join(name if part["weight"] == 1 else f"{part['weight']:g} * {name}" for part, name in zip(parts, named, strict=True))
