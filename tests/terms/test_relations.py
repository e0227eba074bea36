"""Terms that compare images with each other, decoupled and standardised logits: against slow formulas, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers import slow_relations as slow
from helpers.blobs import Blobs
from helpers.relations import Y, drawn, equal, place
from helpers.slow import kl
from redistill import models
from redistill.core import Batch, Output, RedistillError, Term
from redistill.recipe import Recipe
from redistill.terms import (
    CC,
    CRD,
    DIST,
    DKD,
    FSP,
    KD,
    MLKD,
    NST,
    PKT,
    RKD,
    SP,
    SRRL,
    Review,
    attention_gap,
    correlation_distance,
    discrepancy,
    others_kl,
    target_kl,
)
from redistill.terms import nst as nst_file
from redistill.terms.pkt import neighbours
from redistill.train.loop import Loop

A = NDArray[Any]


def logits(x: Tensor) -> Output:
    return Output(x)


LOGITS: dict[str, tuple[Term, Callable[[A, A], Any]]] = {
    "DKD": (DKD(alpha=0.7, beta=3.0, T=2.0), lambda s, t: slow.dkd(s, t, Y, 0.7, 3.0, 2.0)),
    "DKD, standardised": (
        DKD(alpha=1.0, beta=8.0, T=2.0, standardise=True),
        lambda s, t: slow.dkd(slow.standardise(s), slow.standardise(t), Y, 1.0, 8.0, 2.0),
    ),
    "KD, standardised": (KD(T=2.0, standardise=True), lambda s, t: 4 * kl(slow.standardise(s), slow.standardise(t), 2.0) / len(s)),
    "DIST": (DIST(beta=2.0, gamma=3.0, T=4.0), lambda s, t: slow.dist(s, t, 2.0, 3.0, 4.0)),
}


@pytest.mark.parametrize("name", LOGITS)
def test_a_loss_of_logits_is_its_formula(name: str) -> None:
    term, want = LOGITS[name]
    s, t = drawn(4, 5, seed=1), 2 * drawn(4, 5, seed=2)
    equal(term, s, t, lambda x: want(x, t), logits)


VECTORS: dict[str, tuple[Term, Callable[[A, A], Any]]] = {
    "RKD": (RKD(at="place"), lambda s, t: slow.rkd(s, t, 25.0, 50.0)),
    "RKD, distances": (RKD(at="place", angle=0.0), lambda s, t: slow.rkd(s, t, 25.0, 0.0)),
    "PKT": (PKT(at="place"), lambda s, t: slow.pkt(s, t, 1e-7, "entry")),
    "PKT, paper": (PKT(at="place", reduction="row"), lambda s, t: slow.pkt(s, t, 1e-7, "row")),
    "SP": (SP(at="place"), slow.sp),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_loss_of_vectors_is_its_formula(name: str) -> None:
    term, want = VECTORS[name]
    s, t = 3 * drawn(4, 3, seed=3), drawn(4, 6, seed=4)  # some distances differ by more than the bend of Huber's loss
    equal(term, s, t, lambda x: want(x, t), place)


def test_sp_and_nst_of_maps_are_their_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    s, t = drawn(3, 2, 2, 2, seed=5), drawn(3, 4, 2, 2, seed=6)
    equal(SP(at="place"), s, t, lambda x: slow.sp(x, t), place)
    equal(NST(at="place"), s, t, lambda x: slow.nst(x, t), place)
    monkeypatch.setattr(nst_file, "ENTRIES", 1)  # one image at a time: the same numbers
    equal(NST(at="place"), s, t, lambda x: slow.nst(x, t), place)


def test_fsp_is_its_formula() -> None:
    s, t = drawn(2, 5, 2, 2, seed=7), drawn(2, 5, 2, 2, seed=8)

    def read(x: Tensor) -> Output:
        return Output(x.new_zeros(len(x), 2), {"a": x[:, :2], "b": x[:, 2:]})

    equal(FSP(at=["a", "b"]), s, t, lambda x: slow.fsp([x[:, :2], x[:, 2:]], [t[:, :2], t[:, 2:]]), read)


def test_kd_is_dkd_with_the_weight_that_kd_gives_the_others() -> None:
    # Zhao et al. eq. 6: KL = TCKD + (1 - p_t) NCKD, image by image
    s, t = torch.tensor(drawn(4, 5, seed=1)), torch.tensor(drawn(4, 5, seed=2))
    labels = torch.tensor(Y)
    sure = torch.softmax(t, dim=1).gather(1, labels[:, None])[:, 0]
    whole = target_kl(s, t, labels) + (1 - sure) * others_kl(s, t, labels)
    assert float(whole.mean()) == pytest.approx(float(KD(T=1.0)(Output(s), Output(t), Batch(s))), rel=1e-12)


def test_with_two_classes_the_others_say_nothing() -> None:
    s, t, labels = torch.tensor(drawn(4, 2, seed=1)), torch.tensor(drawn(4, 2, seed=2)), torch.tensor([0, 1, 1, 0])
    batch = Batch(s, labels=labels)
    assert float(others_kl(s, t, labels).abs().max()) == 0.0
    assert float(DKD(T=2.0)(Output(s), Output(t), batch)) == pytest.approx(float(KD(T=2.0)(Output(s), Output(t), batch)), rel=1e-12)


def test_a_sure_teacher_leaves_everything_finite() -> None:
    # the published code takes the target out by -1000, which is no exact zero for logits of that size; ours leaves it out
    s = torch.tensor([[0.0, 0.0, 0.0]], requires_grad=True)
    t = torch.tensor([[5000.0, 0.0, 1.0]])
    loss = DKD(T=1.0)(Output(s), Output(t), Batch(s, labels=torch.tensor([0])))
    (grad,) = torch.autograd.grad(loss, s)
    assert torch.isfinite(loss) and torch.isfinite(grad).all()


def test_points_that_meet_have_finite_gradients() -> None:
    meet = torch.zeros(3, 4, requires_grad=True)
    apart = torch.tensor(drawn(3, 4, seed=1), dtype=torch.float32)
    for term in (RKD(at="place"), PKT(at="place"), SP(at="place")):
        (grad,) = torch.autograd.grad(term(place(meet), place(apart), Batch(apart)), meet)
        assert torch.isfinite(grad).all(), term


def test_what_is_exactly_zero_gets_no_gradient_of_the_guard() -> None:
    """Two images that the student takes for one, and a dead image, channel or class: 1e-12 below gave gradients of 1e11."""
    of_teacher, of_student = (torch.tensor(drawn(3, 4, seed=seed), dtype=torch.float32) for seed in (1, 2))
    one, dead = of_student[[0, 0, 1]], of_student * torch.tensor([[0.0], [1.0], [1.0]])
    maps = of_teacher.reshape(1, 3, 2, 2)

    def by(term: Term) -> Callable[[Tensor], Tensor]:
        return lambda f: term(place(f), place(of_teacher), Batch(f))

    tried: list[tuple[Callable[[Tensor], Tensor], Tensor]] = [
        (by(RKD(at="place")), one),
        (by(SP(at="place")), dead),
        (lambda f: correlation_distance(f.reshape(1, 3, 2, 2), maps), dead),
        (lambda f: attention_gap(f.reshape(1, 3, 2, 2), maps, normalise=True), dead),
    ]
    for loss, point in tried:
        (grad,) = torch.autograd.grad(loss(point := point.clone().requires_grad_()), point)
        assert 0 < grad.abs().max() < 1e3, (loss, grad)


@pytest.mark.parametrize(
    "term", [KD(T=2.0, standardise=True), DKD(T=2.0, standardise=True), MLKD(views=1, standardise=True), DIST(), DIST(T=4.0)], ids=repr
)
@pytest.mark.parametrize("classes", [4, 10])
def test_a_classifier_that_starts_at_zero_gets_no_gradient_of_the_guard(term: Term, classes: int) -> None:
    """Equal logits have no spread: 1e-7 in its place gave gradients of 1e6, and 1e-8 that of DIST; the first step ruined the network."""
    features = torch.tensor(drawn(16, 6, seed=1), dtype=torch.float32)
    teacher = 3 * torch.tensor(drawn(16, classes, seed=2), dtype=torch.float32)
    head = [torch.zeros(classes, 6, requires_grad=True), torch.zeros(classes, requires_grad=True)]
    batch = Batch(features, labels=torch.arange(16) % classes)
    logits_of = features @ head[0].T + head[1]
    loss = term(Output(logits_of), Output(teacher), batch)
    assert torch.isfinite(loss)
    assert all(float(grad.norm()) < 10 for grad in torch.autograd.grad(loss, head))
    moved = logits_of.detach() + 1e-3 * teacher.flip(0)  # of a spread that is small, and there, nothing changes
    (grad,) = torch.autograd.grad(term(Output(moved.requires_grad_()), Output(teacher), batch), moved)
    assert float(grad.norm()) > 10


def test_nst_knows_what_images_that_somebody_makes_change_in_its_teacher() -> None:
    """Its own part was cut off: the gradient that a generator was given was not the derivative."""
    s, t = (torch.tensor(drawn(2, 12, seed=seed)).reshape(2, 3, 2, 2) for seed in (1, 2))
    way, step = torch.tensor(drawn(2, 12, seed=3)).reshape(2, 3, 2, 2), 1e-6
    (grad,) = torch.autograd.grad(discrepancy(s, t.requires_grad_()), t)
    with torch.no_grad():
        slope = (discrepancy(s, t + step * way) - discrepancy(s, t - step * way)) / (2 * step)
    assert float((grad * way).sum()) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("reduction", ["entry", "row"])
def test_opposite_images_have_a_loss_and_a_gradient(reduction: Literal["entry", "row"]) -> None:
    """A kernel that rounding puts below 0, and in the paper's form images that are near nobody: the logarithm was NaN."""
    numbers, term = torch.Generator().manual_seed(0), PKT(at="place", reduction=reduction)
    for width in (2, 8, 64, 512):
        for images in (2, 3) * 20:
            line = torch.randn(1, width, generator=numbers)
            away = torch.cat([line, *([-line] * (images - 1))])
            other = torch.randn(images, width, generator=numbers)
            for f_s, f_t in ((away, other), (other, away)):
                f_s = f_s.clone().requires_grad_()
                loss = term(place(f_s), place(f_t), Batch(f_s))
                assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, f_s)[0]).all()
    assert float(neighbours(torch.tensor([[1e9], [-1e9], [-1e9]]), diagonal=False)[0].sum()) == 0


def test_cc_compares_neighbours_and_so_depends_on_the_order() -> None:
    from torch import nn

    from redistill.core import Context

    term = CC(at="place", dim=3)
    term.setup(Context(nn.Identity(), nn.Identity(), {"place": (4, 3)}, {"place": (4, 3)}, (), (), 2))
    with torch.no_grad():
        for layer in (term.embed_s, term.embed_t):
            layer.weight.copy_(torch.eye(3))
            layer.bias.zero_()
    away = np.abs(drawn(4, 3, seed=1))
    s = torch.tensor(away, dtype=torch.float32)
    loss = float(term(place(s), place(torch.zeros(4, 3)), Batch(s)).detach())
    assert loss == pytest.approx(sum(float(away[i] @ away[i + 1]) for i in range(3)) / 3, rel=1e-6)
    order = [2, 0, 3, 1]
    assert float(term(place(s[order]), place(torch.zeros(4, 3)), Batch(s)).detach()) != pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("term", [RKD(at="place"), PKT(at="place"), SP(at="place"), DIST()])
def test_one_image_has_no_relations(term: Term) -> None:
    one = torch.ones(1, 3)
    with pytest.raises(RedistillError, match="but the batch has one"):
        term(Output(one, {"place": one}), Output(one, {"place": one}), Batch(one))


@pytest.mark.parametrize("term", [RKD, PKT, SP, CC, DIST, SRRL, Review])
def test_a_run_whose_last_batch_would_hold_one_image_is_refused_before_it_begins(term: type[Term]) -> None:
    student, teacher = (models.wrn(10, width, 3, channels=1, image_size=8) for width in (1, 2))
    message = rf"{term.__name__} compares the images of a batch with each other, and of 31 images in batches of 10 one batch has one image"
    for size, drop in ((10, False), (1, True)):
        with pytest.raises(RedistillError, match=message.replace("of 10", f"of {size}")):
            Loop([(student, term())], teacher, Blobs(31), Recipe(steps=4, batch_size=size, drop_last=drop), seed=0, device="cpu")
    for recipe in (Recipe(steps=4, batch_size=10, drop_last=True), Recipe(steps=3, batch_size=10)):  # neither reaches that batch
        Loop([(student, term())], teacher, Blobs(31), recipe, seed=0, device="cpu")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: DKD(T=0.0), "the temperature must be above 0"),
        (lambda: DKD(beta=-1.0), "both weights must be at least 0"),
        (lambda: DIST(T=float("inf")), "the temperature must be above 0 and finite"),
        (lambda: DIST(gamma=-1.0), "both weights must be at least 0"),
        (lambda: RKD(distance=-1.0), "both weights must be at least 0"),
        (lambda: PKT(eps=0.0), "the guard must lie between 0 and 1"),
        (lambda: PKT(reduction="mean"), "known are 'entry' and 'row'"),  # type: ignore[arg-type]
        (lambda: CC(dim=0), "an embedding has at least 1 number"),
        (lambda: FSP(at="stage1"), "name at least two, from shallow to deep"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Callable[[], Term], sentence: str) -> None:
    with pytest.raises(RedistillError, match=sentence):
        make()


def test_one_class_is_refused() -> None:
    one = torch.zeros(2, 1)
    for term in (DKD(), KD(standardise=True)):
        with pytest.raises(RedistillError, match=r"the networks give one logit an image.*two logits"):
            term(Output(one), Output(one), Batch(one, labels=torch.zeros(2, dtype=torch.int64)))


def test_a_new_switch_of_kd_is_written_only_where_it_is_used() -> None:
    assert "standardise" not in KD().settings() and KD(standardise=True).settings()["standardise"] is True
    assert KD(standardise=True).fresh().standardise


def ready_crd(n: int = 12, seed: int = 0, **settings: Any) -> CRD:
    from torch import nn

    from redistill.core import Context

    term = CRD(at="place", **{"dim": 3, "K": 4, **settings})
    shapes = {"place": (2, 5)}
    term.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), 3, count=n, labels=torch.arange(n) % 3, seed=seed))
    return term.double().train()


def test_crd_is_its_formula() -> None:
    term, f_s, f_t = ready_crd(), torch.tensor(drawn(2, 5, seed=1)), torch.tensor(drawn(2, 5, seed=2))
    index, picked = torch.tensor([3, 7]), torch.tensor([[3, 1, 2, 0, 4], [7, 6, 8, 9, 0]])
    before = term.memory_student.clone()
    with torch.no_grad():
        embedded = []
        for layer, features in ((term.embed_s, f_s), (term.embed_t, f_t)):
            rows = (layer.weight @ features.T).T + layer.bias
            embedded.append([[float(v) / float((row * row).sum()) ** 0.5 for v in row] for row in rows])
    want = 0.0
    for rows, memory in ((embedded[0], term.memory_teacher), (embedded[1], before)):
        h = [[np.exp(sum(a * float(m) for a, m in zip(rows[b], memory[k], strict=True)) / 0.07) for k in picked[b]] for b in range(2)]
        Z = sum(sum(row) for row in h) / 10 * 12
        for row in h:
            want -= np.log(row[0] / Z / (row[0] / Z + 4 / 12 + 1e-7)) / 2
            want -= sum(np.log(4 / 12 / (v / Z + 4 / 12 + 1e-7)) for v in row[1:]) / 2
    assert float(term.contrasted(f_s, f_t, index, picked).detach()) == pytest.approx(want, rel=1e-11)
    moved = 0.5 * before[3] + 0.5 * torch.tensor(embedded[0][0], dtype=torch.float64)
    assert torch.allclose(term.memory_student[3], moved / moved.norm(), rtol=1e-12)
    assert torch.equal(term.memory_student[0], before[0]) and int(term.step) == 1


def test_crd_draws_images_of_other_classes_once_each_and_anew_each_step() -> None:
    term = ready_crd(K=8)
    found = term.negatives(torch.tensor([0, 4, 11]))
    for row, label in zip(found.tolist(), (0, 1, 2), strict=True):
        assert sorted(row) == [i for i in range(12) if i % 3 != label]
    assert ready_crd(K=30).negatives(torch.tensor([5])).shape == (1, 30)  # more than there are: with repetition
    term.step.add_(1)
    assert not torch.equal(found, term.negatives(torch.tensor([0, 4, 11])))
    kin = ready_crd(positive="class").positives(torch.tensor([0, 4, 11] * 50))
    assert torch.equal(kin % 3, torch.tensor([0, 1, 2] * 50)) and len(kin.unique()) == 12


def test_crd_takes_any_seed_that_a_run_takes() -> None:
    index = torch.tensor([0, 1, 2, 3])
    drawn_by = [ready_crd(seed=seed).negatives(index) for seed in (2**63 - 1, 2**63, 2**64, 2**70, 2**70 + 1)]
    assert not any(torch.equal(a, b) for i, a in enumerate(drawn_by) for b in drawn_by[:i])


def test_looking_at_crd_moves_no_memory() -> None:
    term, f = ready_crd(), torch.tensor(drawn(2, 5, seed=1))
    before = {name: value.clone() for name, value in term.state_dict().items()}
    index = torch.tensor([0, 1])
    with torch.no_grad():
        term.contrasted(f, f, index, torch.cat([index[:, None], term.negatives(index)], dim=1))
    assert all(torch.equal(before[name], value) for name, value in term.state_dict().items())


def test_crd_says_what_it_needs() -> None:
    from torch import nn

    from redistill.core import Context

    shapes = {"pooled": (2, 5)}
    with pytest.raises(RedistillError, match="no fixed set of labelled images"):
        CRD().setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), 3))
    with pytest.raises(RedistillError, match="all labels are the same"):
        CRD().setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), 3, count=4, labels=torch.zeros(4, dtype=torch.int64)))
    out = place(torch.ones(2, 5, dtype=torch.float64))
    with pytest.raises(RedistillError, match="must know which images a batch holds"):
        ready_crd()(out, out, Batch(torch.ones(2, 5), labels=torch.tensor([0, 1])))
