"""Terms in a user's own loop, between networks that know nothing of us; what is saved, copied and drawn."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import redistill
from redistill import rng
from redistill.core import Batch, Method, Output, Ramp, RedistillError, Term
from redistill.features.places import context, places_of
from redistill.features.tapped import Tapped
from redistill.terms import ALL, AT, CE, CRD, KD, VID, Anchor, FitNet, Review, by_name

FEATURES: dict[str, Callable[[], Term]] = {"AT": AT, "VID": VID, "FitNet": FitNet, "Review": Review}


class CNN(nn.Module):
    """A stranger's network: in-place activations, poolings, names of its own."""

    def __init__(self, *widths: int):
        super().__init__()
        channels = [3, *widths]
        blocks: list[nn.Module] = []
        for i, (a, b) in enumerate(zip(channels, widths, strict=False)):
            blocks.append(nn.MaxPool2d(2) if i else nn.Identity())
            blocks.append(nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True)))
        self.trunk = nn.Sequential(*blocks)
        self.classify = nn.Linear(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.trunk(x).mean((2, 3)))


def networks(seed: int = 0) -> tuple[CNN, CNN]:
    with rng.seeded(seed, "test"):
        return CNN(4, 6, 8), CNN(6, 8, 12)


IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


@pytest.mark.parametrize("name", FEATURES)
def test_a_term_works_in_a_loop_of_ones_own(name: str) -> None:
    """The loop of the documentation, for two networks that were written for something else."""
    student, teacher = networks()
    teacher.eval()
    term = FEATURES[name]()
    term.setup(redistill.context(student, teacher, IMAGES))
    mine, theirs = places_of(student, IMAGES).places, places_of(teacher, IMAGES).places
    read = Tapped(student, {p: mine[p] for p, _ in term.pairs})
    ask = Tapped(teacher, {p: theirs[p] for _, p in term.pairs})
    read.prepare(IMAGES)

    # weight decay also moves a bias whose gradient the following batch norm cancels
    optimizer = torch.optim.SGD([*student.parameters(), *term.parameters()], lr=0.02, weight_decay=5e-4)
    before = {n: p.detach().clone() for n, p in term.named_parameters()}
    frozen = {n: v.clone() for n, v in teacher.state_dict().items()}
    losses = []
    for _ in range(12):
        with torch.no_grad():
            teacher_output = ask(IMAGES)
        loss = term(read(IMAGES), teacher_output, Batch(IMAGES))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    unmoved = [n for n, p in term.named_parameters() if torch.equal(p, before[n])]
    assert unmoved == []
    assert all(torch.equal(v, frozen[n]) for n, v in teacher.state_dict().items())


def test_attention_between_named_places() -> None:
    student, teacher = networks()
    term = AT(at=[("stage1", "stage2"), ("trunk.3.0", "stage3")])
    term.setup(context(student, teacher, IMAGES))
    taps = Tapped(student, {p: places_of(student, IMAGES).places[p] for p in ("stage1", "trunk.3.0")})
    teacher_output = Tapped(teacher, {p: places_of(teacher, IMAGES).places[p] for p in ("stage2", "stage3")})
    taps.prepare(IMAGES)
    parts = term.distances(taps(IMAGES), teacher_output(IMAGES))
    assert len(parts) == 2 and all(0 < p.item() < 1 for p in parts)


def test_networks_without_maps_are_refused_with_the_candidates() -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(768, 9), nn.ReLU(), nn.Linear(9, 3))
    student, _ = networks()
    for make in FEATURES.values():
        with pytest.raises(RedistillError, match=r"the teacher has no feature maps to pair .* from: pooled 9, .*0 768, 1 9"):
            make().setup(context(student, mlp, IMAGES))
    hint = FitNet(at=("pooled",))  # named places work: vectors are maps of one position
    hint.setup(context(student, mlp, IMAGES))
    assert hint.regressors[0].conv.weight.shape == (9, 8, 1, 1)


@pytest.mark.parametrize("make", [*FEATURES.values(), Anchor])
def test_an_unprepared_term_says_what_to_call(make: Callable[[], Term]) -> None:
    term, out = make(), Output(torch.zeros(2, 3))
    with pytest.raises(RedistillError, match=rf"{type(term).__name__} has not seen the networks yet.*\.setup\(redistill.context"):
        term(out, out, Batch(IMAGES[:2]))


@pytest.mark.parametrize("name", ["VID", "FitNet", "Review"])
def test_first_weights_follow_the_seed_and_nothing_else(name: str) -> None:
    student, teacher = networks()

    def weights(seed: int, *, noise: int = 0, method: Callable[[Term], Method] = Method.of) -> dict[str, Tensor]:
        torch.manual_seed(noise)
        made = method(FEATURES[name]()).fresh()
        made.setup(context(student, teacher, IMAGES, seed=seed))
        return {n.split(".", 2)[2]: p for n, p in made.named_parameters() if type(made.terms[int(n.split(".")[1])]).__name__ == name}

    base = weights(0)
    same = [weights(0, noise=1), weights(0, method=lambda t: VID(mid=2) + 2 * t if name != "VID" else FitNet() + t)]
    assert all(torch.equal(v, other[n]) for other in same for n, v in base.items())
    assert any(not torch.equal(v, weights(1)[n]) for n, v in base.items())


def test_a_pair_of_places_has_its_own_weights_whatever_stands_beside_it() -> None:
    student, teacher = networks()
    both, one = VID(), VID(at=[("stage3", "stage3")])
    both.setup(context(student, teacher, IMAGES))
    one.setup(context(student, teacher, IMAGES))
    assert torch.equal(both.heads[2].regressor[0].weight, one.heads[0].regressor[0].weight)


def method() -> Method:
    return 0.1 * CE() + 0.9 * KD() + 1000 * AT() + VID() + 100 * FitNet() + Ramp(0, 20) * Review() + 0.5 * Anchor()


def test_a_method_saves_and_restores_every_adapter_and_anchor() -> None:
    student, teacher = networks()
    one, two = method(), method()
    one.setup(context(student, teacher, IMAGES, seed=1))
    other, _ = networks(seed=5)
    two.setup(context(other, teacher, IMAGES, seed=2))
    two.load_state_dict(one.state_dict())
    assert all(torch.equal(v, two.state_dict()[n]) for n, v in one.state_dict().items())
    owned = {id(p) for p in one.parameters()}
    assert not owned & {id(p) for net in (student, teacher) for p in net.parameters()}
    assert not one.fresh().state_dict()
    assert one.fresh().settings() == one.settings() and one.fresh().places("student") == ()
    assert one.places("student") == ("stage1", "stage2", "stage3", "pooled")
    clone = Method((w, by_name(row["use"])(**{k: v for k, v in row.items() if k not in ("use", "weight")}))
                   for w, row in zip(one.weights, one.settings(), strict=True))  # fmt: skip
    assert clone.settings() == one.settings()


def test_every_term_is_found_by_its_name() -> None:
    assert [by_name(cls.__name__) for cls in ALL] == list(ALL)
    with pytest.raises(RedistillError, match="unknown term 'Reviews': did you mean Review"):
        by_name("Reviews")


# -- anchor: a term that reads the student without owning it -------------------------------------------------------------
def value(anchor: Any) -> float:
    with torch.no_grad():
        return float(anchor(Output(torch.zeros(1, 3)), None, Batch(IMAGES[:1])))


def pushed(net: nn.Module) -> None:
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)


def anchored() -> tuple[CNN, Any]:
    student, _ = networks()
    anchor = Anchor()
    anchor.setup(context(student, None, IMAGES))
    return student, anchor


def test_an_anchor_holds_buffers_only() -> None:
    student, anchor = anchored()
    assert list(anchor.parameters()) == [] and list(anchor.children()) == []
    assert len(anchor.state_dict()) == len(list(student.parameters()))
    pushed(student)
    assert value(anchor) == pytest.approx(len(list(student.parameters())), rel=1e-6)


def test_copies_of_an_anchor_follow_the_student_that_was_copied_with_them() -> None:
    student, anchor = anchored()
    alone, (other, together) = copy.deepcopy(anchor), copy.deepcopy((student, anchor))
    pushed(student)
    assert value(alone) == value(anchor) > 0.0
    assert value(together) == 0.0
    pushed(other)
    assert value(together) == value(anchor)


def test_a_pickled_anchor_keeps_its_start_and_asks_for_its_student() -> None:
    student, anchor = anchored()
    pushed(student)
    again = pickle.loads(pickle.dumps(1.0 * anchor)).terms[0]
    assert len(pickle.dumps(anchor)) < 2 * len(pickle.dumps(student))
    with pytest.raises(RedistillError, match=r"unpickled without the network that it reads: call anchor.attach\(student\)"):
        value(again)
    again.attach(student)
    assert value(again) == value(anchor)
    with pytest.raises(RedistillError, match=r"made for another network: start/.* is only on one side"):
        again.attach(nn.Linear(2, 2))


def test_an_anchor_set_up_again_starts_again() -> None:
    student, anchor = anchored()
    pushed(student)
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    anchor.setup(context(net, None, IMAGES))
    assert value(anchor) == 0.0 and sorted(anchor.state_dict()) == ["start/1/bias", "start/1/weight"]


# -- what people hand a term ------------------------------------------------------------------------------------------
LOGITS, TWO = torch.zeros(2, 3), torch.tensor([0, 1])
SAID = Output(LOGITS)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Output({"logits": LOGITS, "loss": None}), r"got a dict of 'logits' \[2, 3\], 'loss' NoneType.*Tapped\(net\)\(images\)"),
        (lambda: Output((LOGITS, LOGITS)), r"got a tuple of 0 \[2, 3\]"),
        (lambda: Batch(IMAGES, [0, 1]), r"Batch: labels is a tensor.*got a list: torch.as_tensor\(labels\)"),
        (lambda: Batch(IMAGES, TWO, TWO.numpy()), "Batch: index is a tensor.*got a ndarray"),
        (lambda: KD()(LOGITS, LOGITS, Batch(IMAGES)), r"KD takes the student's output, got a tensor \[2, 3\]"),
        (lambda: KD()(SAID, {"logits": LOGITS}, Batch(IMAGES)), "KD takes the teacher's output, got a dict of 'logits'"),
        (lambda: KD()(SAID, None, Batch(IMAGES)), "KD compares with a teacher, but there is none"),
        (lambda: KD()(SAID, SAID), r"batch is missing: term\(redistill.Output"),
        (lambda: KD()(student=SAID, batch=Batch(IMAGES)), "teacher is missing"),
        (lambda: CE()(SAID, None, TWO), r"CE takes a batch, got a tensor \[2\]: redistill.Batch\(images, labels\)"),
        (lambda: CE()(SAID, None, None), "CE takes a batch, got a NoneType"),
        (lambda: context(nn.Flatten(), IMAGES, nn.Flatten()), r"images are a tensor \[B, C, H, W\], two are enough, got a Flatten"),
        (lambda: context(nn.Flatten(), None, IMAGES, count=3, labels=TWO), r"are \[3\], one an image, got \[2\]"),
        (lambda: Tapped(CNN(4))(IMAGES.byte()), r"CNN computes in torch.float32 and was given images \[8, 3, 16, 16\] of torch.uint8 "),
        (lambda: Tapped.reading(CNN(4), IMAGES.byte(), ["pooled"]), r"of torch.uint8 \(.*: pixels are images once they are scaled"),
        (lambda: context(CNN(4), None, IMAGES.double()), r"of torch.float64 \(.*\): images.to\(torch.float32\)$"),
        (lambda: Tapped(CNN(4))([IMAGES]), r"CNN takes images, a tensor .*, got a list of 0 \[8, 3, 16, 16\]"),
        (lambda: CE() + nn.Sequential(*[nn.Linear(9, 9)] * 9), r"got a Sequential \(Sequential\)$"),
    ],
)  # fmt: skip
def test_what_is_no_output_or_batch_is_refused_with_the_way_to_make_one(call: Callable[[], object], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        call()


def test_a_network_that_scales_pixels_itself_is_given_them() -> None:
    class Scaled(CNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float() / 255)

    assert Tapped(Scaled(4))(IMAGES.byte()).logits.shape == (8, 3)


def test_what_needs_no_teacher_or_batch_is_called_without() -> None:
    assert float(CE()(SAID, None, Batch(IMAGES, TWO))) > 0
    assert float(KD()(SAID, SAID, None)) == 0.0
    assert float(KD()(student=SAID, teacher=SAID, batch=None)) == 0.0


def test_crd_in_a_loop_of_ones_own_says_what_it_must_know() -> None:
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.ReLU(), nn.Linear(4, 3)) for _ in "st")
    with pytest.raises(RedistillError, match=r"in a loop of your own say them: redistill.context\(.*labels="):
        CRD().setup(context(student, teacher, IMAGES))
    term = CRD(K=2)
    term.setup(context(student, teacher, IMAGES, labels=torch.tensor([0, 1, 0, 1])))
    taps = {"pooled": torch.rand(2, 4)}
    said = Output(LOGITS, taps), Output(LOGITS, taps)
    with pytest.raises(RedistillError, match=r"in a loop of your own: Batch\(images, labels, index\)"):
        term(*said, Batch(IMAGES, TWO))
    for index in ([3, 4], [-1, 0]):
        with pytest.raises(RedistillError, match=r"remembers 4 images, 0 to 3, and this batch holds"):
            term(*said, Batch(IMAGES, TWO, torch.tensor(index)))
    assert float(term(*said, Batch(IMAGES, TWO, torch.tensor([3, 0]))).detach()) > 0
