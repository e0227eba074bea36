"""Columns of a batch's rows: that of each row's label, or all but it.

``gather`` gives the same numbers. Its gradient is a scatter, and the scatter that repeats bit for bit on a CUDA device reads its indices
back to the host first: every step of a strict run would wait there, and none could be recorded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

NONE = -(2**40)
"""No label: every other one outside the classes is an error of the kernel's."""


def of_label(values: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The number of each row [B, C] that its label [B] names.

    >>> of_label(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([2, 0])).tolist()
    [3.0, 4.0]
    """
    return -F.nll_loss(values, labels, reduction="none", ignore_index=NONE)


def all_but_label(values: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch others"]:
    """Each row [B, C] without the number that its label names: [B, C - 1], order kept.

    >>> all_but_label(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1])).tolist()
    [[1.0, 3.0]]
    """
    before = torch.arange(values.shape[1] - 1, device=labels.device) < labels[:, None]
    return torch.where(before, values[:, :-1], values[:, 1:])  # the label is stepped over
