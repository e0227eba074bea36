"""What is said of a network on a set of images, beside each formula written out slowly, image by image."""

from __future__ import annotations

import math

import pytest
import torch

from redistill import metrics, rng

N, C = 60, 7
DRAWN = rng.stream(0, "test")
LABELS = torch.randint(0, C - 1, (N,), generator=DRAWN)  # the last class has no image
LOGITS = torch.randn(N, C, generator=DRAWN) * 2 + 3 * torch.nn.functional.one_hot(LABELS, C) * torch.randint(0, 2, (N, 1), generator=DRAWN)
TEACHER = 2 * LOGITS + torch.randn(N, C, generator=DRAWN)


def shares(row: list[float]) -> list[float]:
    """Softmax of one image."""
    top = max(row)
    parts = [math.exp(z - top) for z in row]
    return [part / sum(parts) for part in parts]


P = [shares(row) for row in LOGITS.double().tolist()]
T = [shares(row) for row in TEACHER.double().tolist()]
Y = LABELS.tolist()
SAID = [row.index(max(row)) for row in P]


def kl(a: list[list[float]], b: list[list[float]]) -> float:
    return sum(p * math.log(p / q) for one, two in zip(a, b, strict=True) for p, q in zip(one, two, strict=True)) / len(a)


def binned(p: list[list[float]], y: list[int], bins: int) -> float:
    """Guo et al. 2017, eq. 3: bin b holds confidences in (b / bins, (b + 1) / bins]."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, row in enumerate(p) if b / bins < max(row) <= (b + 1) / bins]
        if inside:
            right = sum(p[i].index(max(p[i])) == y[i] for i in inside) / len(inside)
            total += len(inside) / len(p) * abs(right - sum(max(p[i]) for i in inside) / len(inside))
    return total


def test_every_number_is_its_formula() -> None:
    found = metrics.evaluation(LOGITS, LABELS, teacher=TEACHER)
    right = sum(said == y for said, y in zip(SAID, Y, strict=True))
    assert found.images == N and 0.3 * N < right < 0.9 * N
    assert found.accuracy == pytest.approx(100 * right / N)
    assert found.nll == pytest.approx(-sum(math.log(p[y]) for p, y in zip(P, Y, strict=True)) / N)
    assert found.calibration_error == pytest.approx(100 * binned(P, Y, 15))
    among = [sorted(range(C), key=lambda c, p=p: -p[c])[:5] for p in P]  # type: ignore[misc]
    assert found.top5 == pytest.approx(100 * sum(y in five for y, five in zip(Y, among, strict=True)) / N)
    of_class = [[said == y for said, y in zip(SAID, Y, strict=True) if y == c] for c in range(C)]
    assert found.per_class == [pytest.approx(100 * sum(one) / len(one)) if one else None for one in of_class]
    assert found.per_class[-1] is None and len(set(found.per_class)) > 3
    assert found.agreement == pytest.approx(100 * sum(t.index(max(t)) == said for t, said in zip(T, SAID, strict=True)) / N)
    assert found.kl_from_teacher == pytest.approx(kl(T, P)) and found.kl_to_teacher == pytest.approx(kl(P, T))
    assert found.kl_from_teacher != pytest.approx(found.kl_to_teacher, rel=0.01)
    # both ends of Wilson's interval are the shares that lie 1.96 of their own standard errors from what was seen
    for end, sign in zip(found.accuracy_interval, (1, -1), strict=True):
        p = end / 100
        assert (right / N - p) / math.sqrt(p * (1 - p) / N) == pytest.approx(sign * 1.959964, rel=1e-5)


def test_without_a_teacher_and_with_five_classes_less_is_said() -> None:
    alone = metrics.evaluation(LOGITS, LABELS)
    assert (alone.agreement, alone.kl_from_teacher, alone.kl_to_teacher) == (None, None, None)
    few = metrics.evaluation(LOGITS[:, :5], LABELS % 5)
    assert few.top5 is None and len(few.per_class) == 5 and alone.top5 is not None


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_calibration_at_the_edges_of_bins(bins: int) -> None:
    """Sure ones (confidence 1) are in the last bin, and a confidence on an edge in the bin below it."""
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75], [0.9, 0.1], [1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 1, 1])
    assert metrics.calibration_error(p, labels, bins) == pytest.approx(binned(p.tolist(), labels.tolist(), bins))


def test_calibration_of_what_is_known_by_hand() -> None:
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert metrics.calibration_error(sure, torch.tensor([0, 0, 1, 1])) == 0.0
    assert metrics.calibration_error(sure, torch.tensor([1, 0, 1, 1])) == pytest.approx(0.25)
    assert metrics.calibration_error(sure, torch.tensor([1, 1, 0, 0])) == pytest.approx(1.0)


def test_hits_and_agreement_of_equal_logits_take_the_first_class() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    assert metrics.hits(logits, torch.tensor([0, 1])) == 2 and metrics.hits(logits, torch.tensor([1, 2])) == 0
