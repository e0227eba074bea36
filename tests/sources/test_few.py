"""Lengths and rates of the few-image recipes, counted by hand."""

from __future__ import annotations

import pytest

from redistill.core import RedistillError
from redistill.published.few_images import extra_images, few_methods, few_recipe


def test_constant_steps_for_every_M() -> None:
    for M in (10, 200, 5000):
        recipe = few_recipe(M)
        per_epoch = -(-10 * M // 128)
        rates = recipe.rates(per_epoch)
        assert len(rates) == 200 * 391 == 78_200
        drops = [s for s in range(1, len(rates)) if rates[s] != rates[s - 1]]
        # a rate moves at the end of an epoch of the few images
        assert all(0 <= drop - part * 78_200 < per_epoch for drop, part in zip(drops, (0.3, 0.6, 0.8), strict=True))
        assert rates[-1] == pytest.approx(0.1 * 0.2**3)


def test_the_authors_epochs_and_their_late_scheduler() -> None:
    recipe = few_recipe(10, counting="authors")
    assert recipe.epochs == 100_000 and recipe.total_steps(1) == 100_000  # one batch of 100 images an epoch
    assert [recipe.rate(s, 1) for s in (30_000, 30_001)] == pytest.approx([0.1, 0.02])
    assert few_recipe(5000, counting="authors").epochs == 200
    assert few_recipe(10, counting="authors", epochs=100, images=73_257, scale=0.1).epochs == int(100 * 73_257 / 100 * 0.1)
    assert not recipe.nesterov


def test_the_reports_epochs() -> None:
    recipe = few_recipe(200, counting="re-2020")
    assert recipe.epochs == 5000 and recipe.nesterov
    assert [recipe.rate(s, 1) for s in (1499, 1500)] == pytest.approx([0.1, 0.02])


def test_methods_and_extra_images() -> None:
    assert list(few_methods()) == ["no teacher", "KD, soft targets alone", "KD", "AT", "KD+AT"]
    assert repr(few_methods(codes=True)["KD+AT"]) == "0.1 * CE() + 0.9 * KD(reduction='element', factor=2.0) + 1000.0 * AT()"
    method, recipe = extra_images(100)
    assert repr(method).endswith("Anchor()") and recipe.student_mode == "eval" and recipe.rate(99, 1) < recipe.rate(0, 1) == 5e-4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: few_recipe(0), "M=0"),
        (lambda: few_recipe(5001), "M=5001"),
        (lambda: few_recipe(10, scale=0.1), "scale belongs to counting='authors'"),
        (lambda: few_recipe(10, counting="re-2020", scale=0.1), "scale belongs to counting='authors'; 're-2020' has none"),
        (lambda: few_recipe(10, counting="authors", scale=0), "scale=0: at least 1 epoch, and a finite factor above 0"),
        (lambda: few_recipe(10, counting="authors", scale=float("inf")), "scale=inf"),
        (lambda: few_recipe(10, epochs=0), "epochs=0"),
        (lambda: few_recipe(1000, counting="authors", scale=0.001), "1 epoch is too short|0 epochs are too short"),
        (lambda: few_recipe(10, counting="author"), "unknown counting 'author': did you mean authors"),
    ],
)
def test_what_cannot_be_is_refused(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RedistillError, match=says):
        make()
