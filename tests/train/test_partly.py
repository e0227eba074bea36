"""Labelled and unlabelled images together: terms that need labels act on the rows that have them, all others on every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import redistill as rd
from helpers.standing_in import Again
from redistill import rng
from redistill.core import Batch, Output, RedistillError
from redistill.experiment.value import Experiment
from redistill.terms import ALL
from redistill.testing.bench import SmallNet, TermCase
from redistill.train.loop import Loop

G = torch.Generator().manual_seed(0)
PIXELS = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8, generator=G)
Y = torch.tensor([0, 1, 2] * 10)
PART = torch.where(torch.arange(30) % 5 < 2, Y, -1)  # two of five


def images(y: Tensor | None = PART, augment: str = "none") -> rd.data.Images:
    return rd.data.Images(PIXELS, y, 3, "part", "half", augment)


def net(seed: int = 0) -> nn.Module:
    return SmallNet([4, 6], 3, seed)


# -- one batch -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [cls for cls in ALL if cls.needs_labels and cls.__name__ != "CRD"], ids=lambda cls: cls.__name__)
def test_every_term_with_labels_is_the_term_of_the_labelled_rows(cls: Any) -> None:
    """As if the batch had held these rows alone; the gradient of every other row is 0."""
    x = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    bench = TermCase(cls, SmallNet([4, 6], 5, 0), SmallNet([6, 8], 5, 1), x).bench()
    labels = torch.tensor([3, -1, 0, 2, -1, -1, 4])
    rows = torch.tensor([0, 2, 3, 6])
    student, teacher = bench.student_output(), bench.teacher_output
    logits = student.logits.detach().requires_grad_()
    mine = Output(logits, student.taps)
    both = rd.Method([(1.0, bench.term), (1.0, rd.KD())])
    found, kd = both(mine, teacher, Batch(x, labels, torch.arange(7), torch.zeros(7), partly=True))
    alone = bench.term(mine.rows(rows), teacher.rows(rows), Batch(x[rows], labels[rows], rows, torch.zeros(4)))
    assert torch.equal(found, alone) and torch.equal(kd, rd.KD()(mine, teacher, Batch(x)))
    grad = torch.autograd.grad(found, logits, retain_graph=True)[0]
    assert not grad[[1, 4, 5]].any() and grad[rows].abs().sum() > 0


def test_a_batch_without_a_label_teaches_nothing_by_labels() -> None:
    z = torch.randn(4, 3, requires_grad=True)
    nobody = Batch(torch.zeros(4, 1), torch.full((4,), -1), partly=True)
    (loss,) = rd.Method.of(rd.CE())(Output(z), None, nobody)
    loss.backward()
    assert loss.item() == 0 and z.grad is not None and not z.grad.any()
    with pytest.raises(RedistillError, match=r"labels run from -1 to -1.*where -1 stands for images without a label: Batch\(..., partly"):
        rd.CE()(Output(z), None, Batch(torch.zeros(4, 1), torch.full((4,), -1)))


def test_mixed_with_an_unlabelled_image_is_unlabelled() -> None:
    labels, second = torch.tensor([0, 1, -1, 2]), torch.tensor([1, -1, 0, 2])
    batch = Batch(torch.zeros(4, 1), labels, second=second, share=torch.full((4,), 0.25), partly=True)
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    (loss,) = rd.Method.of(rd.CE())(Output(z), None, batch)
    soft = 0.25 * F.one_hot(labels[[0, 3]], 3) + 0.75 * F.one_hot(second[[0, 3]], 3)
    assert loss.item() == pytest.approx(F.cross_entropy(z[[0, 3]], soft).item(), rel=1e-6)


# -- a set ---------------------------------------------------------------------------------------------------------------
def test_subsets_of_a_partly_labelled_set() -> None:
    part = images()
    assert part.partly_labelled and part.labelled and part.class_counts() == (4, 4, 4)
    rest, held = part.held_out(0.25, seed=0)
    assert len(held) == 3 and held.y is not None and not held.partly_labelled and len(rest) == 27 and rest.partly_labelled
    half = part.fraction(0.5, seed=0)
    assert len(half) == 15 and half.y is not None and int((half.y < 0).sum()) == 9
    few = part.per_class(2, seed=0)
    assert few.class_counts() == (2, 2, 2) and not few.partly_labelled
    assert not images(Y).partly_labelled and not images(None).partly_labelled
    with pytest.raises(RedistillError, match="no image has a label"):
        images(torch.full((30,), -1))
    with pytest.raises(RedistillError, match="labels run from -2 to 2"):
        images(torch.where(torch.arange(30) == 4, -2, Y))


def test_images_beside_others() -> None:
    few = images(Y).per_class(2, seed=0)
    more = rd.data.Images(PIXELS[:9], Y[:9], 3, "more", "imagenet")
    both = few.beside(more)
    assert both.y is not None and both.y.tolist() == [*few.y.tolist(), *[-1] * 9] and torch.equal(both.x[6:], more.x)  # type: ignore[union-attr]
    assert both.rule[-1] == ("beside", more.manifest()) and both.normalise == "half" and both.sha256 != few.sha256
    for first, other, says in (
        (images(None), more, "part has no labels, so nothing stands beside images without labels"),
        (few, rd.data.Images(PIXELS[:, :1], None, None, "grey", "half"), r"unlike kind, \[3, 8, 8\] .* and \[1, 8, 8\]"),
    ):
        with pytest.raises(RedistillError, match=says):
            first.beside(other)


def test_what_needs_every_label_refuses() -> None:
    recipe = rd.Recipe(steps=1, batch_size=10)
    with pytest.raises(RedistillError, match=r"some images of evaluate\['test'\] have no label"):
        rd.fit(net(), None, rd.CE(), images(), recipe, seed=0, evaluate={"test": images()})
    with pytest.raises(RedistillError, match="18 of 30 images have none"):
        rd.accuracy(net(), images())
    with pytest.raises(RedistillError, match="CRD remembers every training image and its class, but some images have no label"):
        rd.fit(net(), net(1), rd.CRD(K=4), images(), recipe, seed=0)


# -- a run -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("augment", ["none", "flip+randaugment", "mixup"])
def test_a_run_learns_by_labels_where_there_are_some_and_by_the_teacher_everywhere(augment: str) -> None:
    """Recorded steps are not tried; the losses of the first step are those by hand."""
    source = images(augment=augment)
    student, teacher = net(), net(1)
    with pytest.warns(UserWarning, match="images without labels are picked out of each batch on the host"):
        loop = Loop([(student, 0.5 * rd.CE(class_weights="balanced") + rd.KD())], teacher, source, rd.Recipe(epochs=2, batch_size=10),
                    seed=0, device="cpu", replay=Again())  # fmt: skip
    batch = loop.stream.batch(0)
    assert batch.partly and batch.labels is not None
    with torch.no_grad():
        student_output = student.train()(batch.images)
        teacher_output = teacher.eval()(batch.images)
    rows = batch.labelled_rows()
    next(loop)
    found = loop.students[0].rows(0).losses[0]
    if augment != "mixup":
        assert float(found[0]) == pytest.approx(F.cross_entropy(student_output[rows], batch.labels[rows]).item(), rel=1e-5)
    kl = F.kl_div(F.log_softmax(student_output / 4, 1), F.log_softmax(teacher_output / 4, 1), log_target=True, reduction="batchmean")
    assert float(found[1]) == pytest.approx(16 * kl.item(), rel=1e-4)
    for _ in loop:
        pass
    assert loop.students[0].diverged is None


def test_an_experiment_with_images_beside_its_own(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(6):
        (tmp_path / "photos" / "train" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number].permute(1, 2, 0).numpy()).save(tmp_path / "photos" / "train" / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "more").mkdir()
    for number in range(6, 20):
        Image.fromarray(PIXELS[number].permute(1, 2, 0).numpy()).save(tmp_path / "more" / f"{number}.png")
    whole = {
        "student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "evaluate": {}, "recipe": {"epochs": 1, "batch_size": 8},
        "source": {"data": "folder:photos:train", "augment": "flip"},
    }  # fmt: skip
    (tmp_path / "photos" / "val").mkdir()
    plain = Experiment.of(whole, folder=tmp_path, device="cpu")
    whole["source"] = {**whole["source"], "beside": "images:more"}  # type: ignore[dict-item]
    both = Experiment.of(whole, folder=tmp_path, device="cpu")
    assert both.cell != plain.cell and "beside" not in plain.source.written()
    run = both.run(tmp_path / "runs")
    assert run.record["data"]["train"]["count"] == 20 and run.record["data"]["train"]["rule"][-1][0] == "beside"
    # wherever they lie: their content is what the experiment is of
    (tmp_path / "more").rename(tmp_path / "elsewhere")
    whole["source"] = {**whole["source"], "beside": "images:elsewhere"}  # type: ignore[dict-item]
    assert Experiment.of(whole, folder=tmp_path, device="cpu").cell == both.cell
    with pytest.raises(RedistillError, match="unlabelled hides their labels: give one of them"):
        Experiment.of({**whole, "source": {**whole["source"], "unlabelled": True}, "method": [{"use": "KD"}]}, folder=tmp_path)  # type: ignore[dict-item]
    assert rng.derive(0) != rng.derive(1)
