"""DeiT's distillation token: the formulas by PyTorch's own losses, two heads and one, mixed images, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import redistill as rd
from helpers.transformers import Transformer
from redistill.core import Batch, Output, RedistillError
from redistill.features.places import context
from redistill.features.tapped import Tapped

G = torch.Generator().manual_seed(0)
C, D, T = (torch.randn(6, 5, generator=G, dtype=torch.float64) for _ in range(3))
Y = torch.tensor([0, 1, 2, 3, 4, 0])
X = torch.randn(6, 3, 16, 16, generator=G)


def value(term: rd.DeiT, **batch: Any) -> float:
    return float(term(Output((C + D) / 2, {"a": C, "b": D}), Output(T), Batch(X, Y, **batch)))


def test_the_formulas() -> None:
    hard = 0.5 * F.cross_entropy(C, Y) + 0.5 * F.cross_entropy(D, T.argmax(1))
    assert value(rd.DeiT(at=["a", "b"])) == pytest.approx(float(hard), rel=1e-12)
    kl = F.kl_div(F.log_softmax(D / 3, 1), F.log_softmax(T / 3, 1), log_target=True, reduction="batchmean")
    soft = 0.9 * F.cross_entropy(C, Y, label_smoothing=0.1) + 0.1 * 9 * kl
    assert value(rd.DeiT(mode="soft", alpha=0.1, T=3.0, smoothing=0.1, at=["a", "b"])) == pytest.approx(float(soft), rel=1e-12)
    code = 0.5 * F.cross_entropy(C, Y) + 0.5 * F.kl_div(F.log_softmax(D, 1), F.log_softmax(T, 1), log_target=True, reduction="sum") / 30
    assert value(rd.DeiT(mode="soft", alpha=0.5, T=1.0, reduction="element", at=["a", "b"])) == pytest.approx(float(code), rel=1e-12)


def test_mixed_images_have_two_labels_and_one_teacher() -> None:
    share = torch.full((6,), 0.3, dtype=torch.float64)
    soft = 0.3 * F.one_hot(Y, 5).double() + 0.7 * F.one_hot(Y.roll(1), 5).double()
    expected = 0.5 * F.cross_entropy(C, soft, label_smoothing=0.1) + 0.5 * F.cross_entropy(D, T.argmax(1))
    found = value(rd.DeiT(smoothing=0.1, at=["a", "b"]), second=Y.roll(1), share=share)
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_heads_are_found_in_the_order_of_their_calls() -> None:
    torch.manual_seed(0)
    student, teacher = Transformer(heads=2), rd.models.wrn(10, 1, classes=5, image_size=16)
    term = rd.DeiT()
    term.setup(context(student, teacher, X))
    assert term.pairs == (("head", "logits"), ("head_dist", "logits"))
    out = Tapped.reading(student, X, ["head", "head_dist"])(X)
    assert torch.allclose(out.logits, (out["head"] + out["head_dist"]) / 2)
    loss = term(out, Output(teacher(X)), Batch(X, Y))
    grads = torch.autograd.grad(loss, [student.head.weight, student.head_dist.weight])  # type: ignore[union-attr, list-item]
    for grad, own in zip(grads, (out["head"], out["head_dist"]), strict=True):
        assert grad.abs().max() > 0 and own.shape == (6, 5)
    one = rd.DeiT()
    one.setup(context(Transformer(), teacher, X))
    assert one.pairs == (("logits", "logits"), ("logits", "logits"))
    z = torch.randn(6, 5)
    expected = 0.5 * F.cross_entropy(z, Y) + 0.5 * F.cross_entropy(z, T.argmax(1))
    assert float(one(Output(z), Output(T), Batch(X, Y))) == pytest.approx(float(expected), rel=1e-6)


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(768, 5) for _ in range(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([head(x.flatten(1)) for head in self.heads]).mean(0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "warm"}, "known are 'hard' and 'soft'"),
        ({"alpha": 1.5}, "must lie between 0 and 1"),
        ({"T": 0.0}, "must be above 0"),
        ({"smoothing": 1.0}, r"must lie in \[0, 1\)"),
        ({"reduction": "sum"}, "known are 'batch' and 'element'"),
        ({"at": "head"}, "names two heads of the student"),
        ({"at": ["head", "blocks.0"]}, r"'blocks.0' of the student gives 18x12, and a head gives 5 classes; places: head 5"),
        ({"at": ["head", "haed_dist"]}, "did you mean head_dist"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        rd.DeiT(**settings).setup(context(Transformer(heads=2), rd.models.wrn(10, 1, classes=5, image_size=16), X))


def test_many_heads_are_to_be_named() -> None:
    with pytest.raises(RedistillError, match=r"Three has 3 \(heads\.0, heads\.1, heads\.2\): name two, at=\['heads\.0', 'heads\.2'\]"):
        rd.DeiT().setup(context(Three(), rd.models.wrn(10, 1, classes=5, image_size=16), X))
