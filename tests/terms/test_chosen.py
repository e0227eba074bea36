"""The number that a label names, and all others: bit for bit what ``gather`` gives, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from redistill.terms.parts.chosen import all_but_label, of_label


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "classes"), [(7, 3), (1, 2), (128, 100)])
def test_columns_of_labels_are_those_of_gather(rows: int, classes: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(classes)
    z, y = torch.randn(rows, classes, generator=g, dtype=dtype), torch.randint(0, classes, (rows,), generator=g)
    others = torch.arange(classes - 1).expand(rows, -1)
    weights = torch.randn(rows, classes - 1, generator=g, dtype=dtype)

    def values_of(one: Tensor, rest: Tensor, x: Tensor) -> list[Tensor]:
        (-one.sum() / rows + (rest * weights).sum()).backward()
        assert x.grad is not None
        return [one, rest, x.grad]

    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    log_a, log_b = a.log_softmax(1), b.log_softmax(1)
    mine = values_of(of_label(log_a, y), all_but_label(a, y), a)
    slow = values_of(log_b.gather(1, y[:, None])[:, 0], b.gather(1, others + (others >= y[:, None])), b)
    assert all(torch.equal(one, two) for one, two in zip(mine, slow, strict=True))


@pytest.mark.parametrize("label", [3, -1, -100])
def test_a_label_outside_the_classes_is_an_error(label: int) -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        of_label(torch.zeros(1, 3), torch.tensor([label]))
