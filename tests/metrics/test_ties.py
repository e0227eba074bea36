"""Equal logits: top-1 and top-5 count the first classes, so that the second is never below the first."""

from __future__ import annotations

import pytest
import torch

from redistill.metrics import evaluation, ranks


@pytest.mark.parametrize("levels", [1, 2, 4, 1000])
def test_top_5_of_equal_logits_counts_the_first_classes(levels: int) -> None:
    """torch.topk takes any of equal ones: of 50 images and a dead network top-5 was 54 % where the first five classes had 46."""
    draw = torch.Generator().manual_seed(levels)
    logits = torch.randint(0, levels, (300, 10), generator=draw).float()
    labels = torch.randint(0, 10, (300,), generator=draw)
    found = evaluation(logits, labels)
    order = [sorted(range(10), key=lambda c, row=row: (-row[c], c)) for row in logits.tolist()]  # type: ignore[misc]
    assert ranks(logits, labels).tolist() == [o.index(int(y)) for o, y in zip(order, labels, strict=True)]
    assert found.accuracy == pytest.approx(sum(o[0] == int(y) for o, y in zip(order, labels, strict=True)) / 3)
    assert found.top5 == pytest.approx(sum(int(y) in o[:5] for o, y in zip(order, labels, strict=True)) / 3)
    assert found.top5 is not None and found.top5 >= found.accuracy
