"""Every row of docs/alpha.md: the other implementation's formula, written out with loops, and our terms with the translated weights."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import slow
from helpers.from_shapes import numbers, randn, shapes_only
from helpers.slow import A, attention, probabilities
from redistill.core import Batch, Method, Output
from redistill.experiment.method import made_method, read_rows
from redistill.experiment.reading import Reading
from redistill.published.elsewhere import ROWS, Row, written
from redistill.settings.validation import ValidationErrors

B, C = 3, 5
LABELS = np.array([0, 4, 2])


# -- pieces, image by image and entry by entry ------------------------------------------------------------------------------
def labels_loss(z: A) -> Any:
    return sum(-np.log(probabilities(z[b])[LABELS[b]]) for b in range(B)) / B


def kl_sum(z_s: A, z_t: A, T: float) -> Any:
    """Over images and classes: what a `batchmean` divides by B, a `mean` by B C."""
    total: Any = 0.0
    for b in range(len(z_s)):
        p_s, p_t = probabilities(z_s[b], T), probabilities(z_t[b], T)
        total += sum(p_t[c] * (np.log(p_t[c]) - np.log(p_s[c])) for c in range(len(p_s)))
    return total


def at_mean(s: Mapping[str, A], t: Mapping[str, A], p: float = 2) -> Any:
    total: Any = 0.0
    for name in ("stage1", "stage2", "stage3"):
        f_s, f_t = s[name], t[name]
        entries = [(a - b) ** 2 for i in range(B) for a, b in zip(attention(f_s[i], p), attention(f_t[i], p), strict=True)]
        total += sum(entries) / len(entries)
    return total


def mse(a: A, b: A) -> Any:
    return sum((a[i] - b[i]) ** 2 for i in np.ndindex(*a.shape)) / a.size


def repdistiller_regressor(f: A, state: Mapping[str, A]) -> A:
    """1x1 convolution, batch norm by the batch's moments, ReLU."""
    return slow.relu(slow.batch_norm(slow.conv(f, state["conv.weight"], state["conv.bias"]), state["bn.weight"], state["bn.bias"]))


def tf_norm(f: A, shift: A) -> A:
    """Batch norm of the TensorFlow code: no gain, epsilon 1e-3."""
    mean, variance, _ = slow.moments(f)
    return (f - mean[None, :, None, None]) / np.sqrt(variance[None, :, None, None] + 1e-3) + shift[None, :, None, None]


def head(states: Mapping[str, A], number: int) -> dict[str, A]:
    return {name.split(".", 2)[2]: value for name, value in states.items() if name.startswith(f"heads.{number}.")}


def vid_sum(s: Mapping[str, A], t: Mapping[str, A], states: Mapping[str, A], *, eps: float = 1e-5, constant: float | None = None,
            tf: bool = False) -> Any:  # fmt: skip
    """Σ over the groups of the mean of ½ ((μ − t)² / σ² + log σ²); ``constant``: σ² itself."""
    total: Any = 0.0
    for number, name in enumerate(("stage1", "stage2", "stage3")):
        state, f = head(states, number), s[name]
        if tf:
            for step in range(3):
                f = tf_norm(slow.conv(f, state[f"regressor.{3 * step}.weight"]), state[f"regressor.{3 * step + 1}.bias"])
                f = slow.relu(f) if step < 2 else f
        else:
            f = slow.conv(slow.relu(slow.conv(f, state["regressor.0.weight"])), state["regressor.2.weight"])
            f = slow.conv(slow.relu(f), state["regressor.4.weight"])
        entries = []
        for b, c, i, j in np.ndindex(*f.shape):
            variance = np.log(1.0 + np.exp(state["log_scale"][c])) + eps if constant is None else constant
            entries.append(0.5 * ((f[b, c, i, j] - t[name][b, c, i, j]) ** 2 / variance + np.log(variance)))
        total += sum(entries) / len(entries)
    return total


def linear(f: A, state: Mapping[str, A]) -> A:
    """W f + b position by position; a vector counts as one position."""
    f = f if f.ndim == 4 else f[:, :, None, None]
    w, b = state["conv.weight"][:, :, 0, 0], state["conv.bias"]
    return np.einsum("oc,bchw->bohw", w, f) + b[None, :, None, None]


def regressor(states: Mapping[str, A], term: str, number: int = 0) -> dict[str, A]:
    first = f"regressors.{number}."
    return {name.removeprefix(first): value for name, value in states.items() if name.startswith(first)}


# -- the implementations: settings, logits, features and our adapters' numbers to a loss --------------------------------------
Loss = Callable[..., Any]


def simple(code: str) -> Callable[[Loss], Loss]:
    def keep(loss: Loss) -> Loss:
        THEIRS[code] = loss
        return loss

    return keep


THEIRS: dict[str, Loss] = {}


@simple("HobbitLong/RepDistiller 1143dfe KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["r"] * labels_loss(z) + g["a"] * g["kd_T"] ** 2 * kl_sum(z, t, g["kd_T"]) / B


@simple("HobbitLong/RepDistiller 1143dfe AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["r"] * labels_loss(z) + g["b"] * at_mean(f, h)


@simple("HobbitLong/RepDistiller 1143dfe hint")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["r"] * labels_loss(z) + g["b"] * mse(repdistiller_regressor(f["stage2"], regressor(w, "FitNet")), h["stage2"])


@simple("HobbitLong/RepDistiller 1143dfe VID")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["r"] * labels_loss(z) + g["b"] * vid_sum(f, h, w)


@simple("megvii-research/mdistiller a08d46f KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["CE_WEIGHT"] * labels_loss(z) + g["KD_WEIGHT"] * g["TEMPERATURE"] ** 2 * kl_sum(z, t, g["TEMPERATURE"]) / B


@simple("megvii-research/mdistiller a08d46f AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["CE_WEIGHT"] * labels_loss(z) + g["FEAT_WEIGHT"] * at_mean(f, h, g["P"])


@simple("megvii-research/mdistiller a08d46f hint")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    hint = mse(repdistiller_regressor(f["stage2"], regressor(w, "FitNet")), h["stage2"])
    return g["CE_WEIGHT"] * labels_loss(z) + g["FEAT_WEIGHT"] * hint


@simple("megvii-research/mdistiller a08d46f VID")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["CE_WEIGHT"] * labels_loss(z) + g["FEAT_WEIGHT"] * vid_sum(f, h, w, constant=g["INIT_PRED_VAR"])


@simple("yoshitomo-matsubara/torchdistill 01038e7 KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    divided = kl_sum(z, t, g["temperature"]) / (B if g["reduction"] == "batchmean" else B * C)
    if not g["alpha"]:
        return divided
    beta = 1 - g["alpha"] if g["beta"] is None else g["beta"]
    return g["alpha"] * labels_loss(z) + beta * g["temperature"] ** 2 * divided


@simple("yoshitomo-matsubara/torchdistill 01038e7 AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["ce"] * labels_loss(z) + g["weight"] * at_mean(f, h)


@simple("yoshitomo-matsubara/torchdistill 01038e7 hint")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["weight"] * mse(linear(f["stage2"], regressor(w, "FitNet")), h["stage2"])


@simple("yoshitomo-matsubara/torchdistill 01038e7 VID")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return g["weight"] * vid_sum(f, h, w)


@simple("szagoruyko/attention-transfer 893df54 KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    kl = kl_sum(z, t, g["temperature"])
    return kl * (g["temperature"] ** 2) * g["alpha"] / len(z) + labels_loss(z) * (1 - g["alpha"])


@simple("szagoruyko/attention-transfer 083a612 (earlier) KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    kl = kl_sum(z, t, g["temperature"]) / (B * C)
    return kl * g["temperature"] * g["temperature"] * 2 * g["alpha"] + labels_loss(z) * (1 - g["alpha"])


@simple("szagoruyko/attention-transfer 893df54 AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return THEIRS["szagoruyko/attention-transfer 893df54 KD"](g, z, t, f, h, w) + g["beta"] * at_mean(f, h)


@simple("polo5/FewShotKnowledgeTransfer ac68538 KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    kl = kl_sum(z, t, g["KD_temperature"]) / (B * C)
    return (1 - g["KD_alpha"]) * labels_loss(z) + 2 * g["KD_alpha"] * g["KD_temperature"] ** 2 * kl


@simple("polo5/FewShotKnowledgeTransfer ac68538 AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    adjusted = g["AT_beta"] * 3 / g["maps"]
    return THEIRS["polo5/FewShotKnowledgeTransfer ac68538 KD"](g, z, t, f, h, w) + adjusted * at_mean(f, h)


@simple("polo5/ZeroShotKnowledgeTransfer e24915d KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return kl_sum(z, t, g["KL_temperature"]) / (B * C)


@simple("polo5/ZeroShotKnowledgeTransfer e24915d AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return kl_sum(z, t, g["KL_temperature"]) / (B * C) + g["AT_beta"] * at_mean(f, h)


VID_TF = "sseung0703/Variational_Information_Distillation, branch worker 98d0710"


@simple(f"{VID_TF} KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return 0.7 * labels_loss(z) + 0.3 * kl_sum(z, t, 4.0) / B


@simple(f"{VID_TF} AT")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return labels_loss(z) + at_mean(f, h) * 1000 / 2


@simple(f"{VID_TF} hint")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return mse(f["stage2"], slow.conv(h["stage2"], regressor(w, "FitNet")["conv.weight"]))


@simple(f"{VID_TF} VID")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return 0.1 * labels_loss(z) + vid_sum(f, h, w, eps=1.0, tf=True)


@simple("huggingface/pytorch-image-models (timm) 3034f27 KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    task, distill = timm(g)
    return task * labels_loss(z) + distill * kl_sum(z, t, g["temperature"]) / B * g["temperature"] ** 2


def timm(g: Any) -> tuple[float, float]:
    if g["distill_loss_weight"] is not None:
        return (g["task_loss_weight"] if g["task_loss_weight"] is not None else 1.0), g["distill_loss_weight"]
    return (g["task_loss_weight"], 1.0 - g["task_loss_weight"]) if g["task_loss_weight"] is not None else (1.0, 1.0)


@simple("huggingface/pytorch-image-models (timm) 3034f27 hint")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    task, distill = timm(g)
    projected = linear(f["pooled"], regressor(w, "FitNet"))[:, :, 0, 0]
    return task * labels_loss(z) + distill * mse(projected, h["pooled"])


@simple("keras-team/keras (keras.distillation) 820f73b KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    kl = [kl_sum(z[b : b + 1], t[b : b + 1], g["temperature"]) for b in range(B)]
    distilled = sum(kl) / len(kl) * g["temperature"] ** 2
    return g["student_loss_weight"] * labels_loss(z) + (1 - g["student_loss_weight"]) * distilled


@simple("lightly-ai/lightly-train (distillation) 004229f KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return kl_sum(z, t, g["temperature"]) / B


@simple("lightly-ai/lightly-train (distillationv2) b7744d2 hint")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    return mse(linear(f["stage2"], regressor(w, "FitNet")), h["stage2"])


@simple("NVIDIA/Model-Optimizer (ModelOpt) 2da2db9 KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    kd = kl_sum(z, t, g["temperature"]) / len(z) * g["temperature"] ** 2
    return kd * g["kd_loss_weight"] + (1.0 - g["kd_loss_weight"]) * labels_loss(z)


@simple("facebookresearch/deit 0ed0277 KD")
def _(g: Any, z: A, t: A, f: Any, h: Any, w: Any) -> Any:
    kl = kl_sum(z, t, g["tau"]) * (g["tau"] * g["tau"]) / z.size
    return labels_loss(z) * (1 - g["alpha"]) + kl * g["alpha"]


OTHERS: dict[str, dict[str, Any]] = {  # settings beside the defaults: a row that holds for one weight alone would be luck
    "r": {"r": 0.3}, "a": {"a": 0.4}, "kd_T": {"kd_T": 2.5}, "b": {"b": 7.0}, "P": {"P": 3}, "AT_beta": {"AT_beta": 40.0},
    "maps": {"maps": 2},
    "alpha": {"alpha": 0.3}, "beta": {"beta": 2.0}, "EPS": {"EPS": 1e-4}, "INIT_PRED_VAR": {"INIT_PRED_VAR": 3.0},
    "CE_WEIGHT": {"CE_WEIGHT": 0.6}, "KD_WEIGHT": {"KD_WEIGHT": 0.2}, "FEAT_WEIGHT": {"FEAT_WEIGHT": 3.0},
    "TEMPERATURE": {"TEMPERATURE": 2.0},
    "temperature": {"temperature": 1.7}, "tau": {"tau": 3.0}, "weight": {"weight": 0.2}, "ce": {"ce": 0.5},
    "KD_alpha": {"KD_alpha": 0.2}, "KD_temperature": {"KD_temperature": 2.0}, "KL_temperature": {"KL_temperature": 2.0},
    "student_loss_weight": {"student_loss_weight": 0.1}, "kd_loss_weight": {"kd_loss_weight": 0.8},
    "task_loss_weight": {"task_loss_weight": 0.3}, "distill_loss_weight": {"distill_loss_weight": 2.0}, "reduction": {"reduction": "mean"},
}  # fmt: skip


def cases() -> list[Any]:
    found = []
    for one in ROWS:
        together = {k: v for name in one.settings for k, v in OTHERS[name].items()}
        tried = [dict(one.settings), *([{**one.settings, **together}] if together else [])]
        if "torchdistill" in one.code and one.method == "KD":
            tried += [{**one.settings, "alpha": 0.0, "temperature": 2.0}, {**one.settings, "alpha": None}]
        if "timm" in one.code:
            tried.append({**one.settings, "task_loss_weight": 0.3})
        found += [pytest.param(one, given, id=f"{one.code.partition(' ')[0]}-{one.method}-{n}") for n, given in enumerate(tried)]
    return found


def method_of(one: Row, given: Mapping[str, Any]) -> Method:
    """The terms through the door of an experiment file: a setting that our terms do not have would be told."""
    mistakes = ValidationErrors("row", {})
    rows = read_rows([dict(part) for part in one.ours(given)], mistakes, Reading(Path()))
    mistakes.raise_if_any()
    return made_method([spec for spec, _ in rows])


SHAPES = {"stage1": (2, 3, 2), "stage2": (3, 2, 2), "stage3": (2, 2, 1), "pooled": (3,)}
WIDER = {"stage1": (3, 3, 2), "stage2": (4, 2, 2), "stage3": (2, 2, 1), "pooled": (5,)}


@pytest.mark.parametrize(("one", "given"), cases())
def test_a_row_means_the_same_there_and_here(one: Row, given: dict[str, Any]) -> None:
    z, t = (4 * randn(B, C)).requires_grad_(), 4 * randn(B, C)
    f = {name: randn(B, *shape).requires_grad_() for name, shape in SHAPES.items()}
    h = {name: randn(B, *shape) for name, shape in WIDER.items()}
    method = method_of(one, given)
    method.setup(shapes_only(f, h))
    method.double()
    # whatever an adapter begins with, batch norms and variances too, is moved: what is 0 or 1 hides a mistake
    for parameter in method.parameters():
        parameter.data += 0.1 * randn(*parameter.shape)
    for name, buffer in method.named_buffers():
        if "log_scale" in name:
            assert one.code.startswith("megvii")
            buffer.fill_(math.log(math.expm1(given["INIT_PRED_VAR"] - given["EPS"])))  # as it is, to all of double's digits
    losses = method(Output(z, f), Output(t, h), Batch(z, labels=torch.from_numpy(LABELS)))
    ours = sum(weight * loss for weight, loss in zip(method.weights_at(0, 0), losses, strict=True))
    ours.backward()

    states: dict[str, A] = {}
    for _, part in method.parts():
        states |= numbers(part)
    loss = THEIRS[f"{one.code} {one.commit} {one.method}"]

    def theirs(x: A, what: str) -> Any:
        features = {name: x if name == what else value.detach().numpy() for name, value in f.items()}
        logits = x if what == "logits" else z.detach().numpy()
        return loss(given, logits, t.numpy(), features, {name: value.numpy() for name, value in h.items()}, states)

    wanted = theirs(z.detach().numpy(), "logits")
    np.testing.assert_allclose(float(ours.detach()), wanted, rtol=1e-11)
    seen: list[tuple[str, Tensor]] = [("logits", z), *f.items()]
    for what, value in seen:
        grad = np.zeros(value.shape) if value.grad is None else value.grad.numpy()
        wanted = slow.derivative(functools.partial(theirs, what=what), value.detach().numpy())
        np.testing.assert_allclose(grad, wanted, rtol=1e-9, atol=1e-12)


def test_every_implementation_of_the_issue_has_its_rows_and_each_row_is_written_out_above() -> None:
    assert {f"{one.code} {one.commit} {one.method}" for one in ROWS} == set(THEIRS)
    wanted = ("RepDistiller", "mdistiller", "torchdistill", "attention-transfer", "polo5", "Variational", "timm", "keras", "lightly",
              "ModelOpt", "deit")  # fmt: skip
    assert all(any(name in one.code for one in ROWS) for name in wanted)
    for code in ("RepDistiller", "mdistiller", "torchdistill", "Variational"):
        assert {one.method for one in ROWS if code in one.code} == {"KD", "AT", "hint", "VID"}
    assert written(ROWS[0].ours(ROWS[0].settings)) == "CE() + 0.9 * KD(T=4.0)"
    assert "published.elsewhere" not in inspect.getsource(slow)  # the slow formulas know nothing of the rows
