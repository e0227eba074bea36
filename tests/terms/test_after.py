"""What came after the CRD benchmark: NKD, CTKD, MLKD's views, CAT-KD, ICKD, SRRL, SimKD, OFA and the controls."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import redistill as rd
from helpers import slow_logits as slow
from helpers.relations import Y, drawn, equal
from helpers.slow import derivative, kl
from redistill import models
from redistill.core import Batch, Context, Output, RedistillError, Term
from redistill.experiment.value import Experiment
from redistill.features.places import context
from redistill.features.tapped import Tapped
from redistill.recipe import Recipe
from redistill.terms import (
    CATKD,
    CTKD,
    KD,
    MLKD,
    NKD,
    OFA,
    SRRL,
    SimKD,
    activation_maps,
    attention_gap,
    correlation_distance,
    multi_level,
    target_enhanced,
)
from redistill.terms.ctkd import strength
from redistill.train.loop import Loop


def logits(x: Tensor) -> Output:
    return Output(x)


@pytest.mark.parametrize("left_out", [True, False])
def test_nkd_is_its_formula(left_out: bool) -> None:
    s, t = drawn(4, 5, seed=1), 2 * drawn(4, 5, seed=2)
    term = NKD(gamma=0.7, T=2.0, target_left_out=left_out)
    equal(term, s, t, lambda x: slow.nkd(x, t, Y, 0.7, 2.0, left_out), logits)


def ready(term: Term, count: int | None = 100) -> Term:
    term.setup(Context(nn.Identity(), nn.Identity(), {}, {}, (), (), classes=5, count=count))
    return term.double().train()


def test_ctkd_is_kd_at_its_temperature_and_teaches_it_the_other_way() -> None:
    s, t = drawn(4, 5, seed=1), 2 * drawn(4, 5, seed=2)
    T = 1 + 20 / (1 + math.exp(-1))
    equal(ready(CTKD(steps=1)), s, t, lambda x: T * T * kl(x, t, T) / len(x), logits)
    z_s, z_t = torch.tensor(s), torch.tensor(t)

    def gradient(reversal: float, epoch: int) -> float:
        term = ready(CTKD(steps=3, loops=4, reversal=reversal))
        assert isinstance(term, CTKD)
        for _ in range(3 * (epoch - 1)):
            term(Output(z_s), Output(z_t), Batch(z_s))
        (found,) = torch.autograd.grad(term(Output(z_s), Output(z_t), Batch(z_s)), [term.theta])
        assert int(term.step) == 3 * (epoch - 1) + 1
        return float(found)

    def value(theta: float) -> float:
        T = 1 + 20 / (1 + math.exp(-theta))
        return float(T * T * kl(s, t, T) / len(s))

    slope = (value(1 + 1e-6) - value(1 - 1e-6)) / 2e-6
    assert gradient(-1.0, 6) == pytest.approx(slope, rel=1e-5)  # the derivative itself
    for epoch in (1, 2, 4, 6):
        assert gradient(1.0, epoch) == pytest.approx(-slope * min(1.0, (1 - math.cos(math.pi * min(epoch, 4) / 4)) / 2), rel=1e-5)
    assert strength(0, 10) == 0 and strength(10, 10) == strength(99, 10) == 1


def test_ctkd_counts_the_epochs_of_its_data_and_needs_to_know_them() -> None:
    term = ready(CTKD(), count=100)
    assert isinstance(term, CTKD)
    z = torch.tensor(drawn(32, 5, seed=1))
    term(Output(z), Output(2 * z), Batch(z))
    assert int(term.length) == 4  # 100 images in batches of 32
    two = ready(CTKD(), count=100)
    two(Output(z), Output(2 * z), Batch(z, positions=torch.arange(16).repeat(2)))
    assert int(two.get_buffer("length")) == 7  # each of 16 images is shown twice, as a weak and as a strong view
    with pytest.raises(RedistillError, match="CTKD counts epochs, and this source has none"):
        ready(CTKD(), count=None)
    ready(CTKD(loops=0), count=None)


@pytest.mark.parametrize(
    ("recipe", "calls"),
    [({"batch_size": 8}, 4), ({"batch_size": 8, "drop_last": True}, 3), ({"batch_size": 9, "accumulate": 4}, 12), ({"batch_size": 64}, 1)],
)
def test_in_a_run_ctkd_counts_the_epochs_of_the_run(recipe: dict[str, Any], calls: int) -> None:
    """25 images in batches of 8 are 3 steps where the last image is left out, and were 4; parts of 2, 2, 2 and 3 images were 13."""
    _, images = rd.data.digits()[0].held_out(25, seed=0)
    student, teacher = (models.wrn(10, 1, 10, channels=1, image_size=8, seed=seed) for seed in (0, 1))
    loop = Loop([(student, CTKD(loops=2))], teacher, images, Recipe(epochs=4, lr=0.0, **recipe), seed=0, device="cpu")
    [(_, term)] = loop.students[0].method.named_terms()
    assert isinstance(term, CTKD)
    for epoch in range(1, 4):
        while next(loop).step < epoch * loop.per_epoch:
            pass
        assert int(term.step) == epoch * calls and int(term.length) == calls


def test_only_runs_whose_epochs_ctkd_counted_otherwise_have_another_identity() -> None:
    def versions(term: dict[str, Any], **recipe: Any) -> dict[str, int]:
        settings = {
            "teacher": {"model": "wrn-10-1", "from": None}, "student": {"model": "wrn-10-1"}, "method": [{"use": "CTKD", **term}],
            "source": {"data": "digits"}, "recipe": {"epochs": 1, **recipe},
        }  # fmt: skip
        settings["teacher"] = {"model": "wrn-10-1", "run": {**settings, "method": [{"use": "CE"}]}}
        del settings["teacher"]["run"]["teacher"]
        return {k: v for k, v in Experiment.of(settings, device="cpu").numerics.items() if k.startswith("term:CTKD")}

    assert versions({}) == versions({"steps": 9}, drop_last=True) == versions({"loops": 0}, accumulate=2) == {"term:CTKD": 1}
    assert versions({}, drop_last=True) == versions({}, accumulate=2) == {"term:CTKD": 1, "term:CTKD:epochs": 2}


@pytest.mark.parametrize("way", ["moved", "assigned", "copied", "pickled"])
def test_a_count_that_was_loaded_stays_with_the_term_that_is_moved_copied_or_given_new_tensors(way: str) -> None:
    """The host knows a count by its tensor and that tensor's version: another tensor may have the same version, and another number."""

    def made() -> CTKD:
        term = ready(CTKD(steps=3, loops=100))
        assert isinstance(term, CTKD)
        return term

    def slope(term: CTKD) -> Tensor:
        return torch.autograd.grad(term(Output(z), Output(2 * z), Batch(z)), [term.theta])[0]

    z, old = torch.tensor(drawn(4, 5, seed=1)), made()
    state = old.state_dict() | {"step": torch.tensor(60)}
    old.load_state_dict(state)
    want = slope(old)
    term = made()
    if way == "copied":  # looked at at version 1, which is that of a copied tensor too
        term.load_state_dict(state | {"step": torch.tensor(3)})
        with torch.no_grad():
            term(Output(z), Output(2 * z), Batch(z))
    term.load_state_dict(state, assign=way == "assigned")
    if way == "moved":
        term._apply(torch.clone)
    if way == "copied":
        term = copy.deepcopy(term)
    if way == "pickled":
        kept = io.BytesIO()
        torch.save(term, kept)
        term = torch.load(io.BytesIO(kept.getvalue()), weights_only=False)
    assert torch.equal(slope(term), want) and int(term.step) == 61
    assert not torch.equal(want, slope(made()))


def test_mlkd_of_two_views_is_multi_level_without_its_labels() -> None:
    s, t = (torch.tensor(drawn(8, 5, seed=seed)) for seed in (1, 2))
    parts = multi_level((s[:4], s[4:]), (t[:4], t[4:]), torch.tensor(Y), ce=0.0, kd=1.0)
    batch = Batch(s, index=torch.arange(4).repeat(2))
    assert float(MLKD()(Output(s), Output(t), batch)) == pytest.approx(float(torch.stack(list(parts.values())).sum()), rel=1e-12)
    one = MLKD(views=1).parts(Output(s[:4]), Output(t[:4]), Batch(s[:4]))
    assert {n: float(v) for n, v in one.items() if n != "kd"} == {n: float(v) for n, v in parts.items() if n in ("cc", "bc")}
    for images in (Batch(s, index=torch.arange(8)), Batch(s[:7]), Batch(s, index=torch.full((8,), -1))):  # of a generator, the last
        z = Output(s[: len(images.images)])
        with pytest.raises(RedistillError, match='this batch holds one view: give the source augment = "crop-flip'):
            MLKD()(z, z, images)


def test_the_negative_control_teaches_each_class_as_its_neighbour() -> None:
    s, t = drawn(4, 5, seed=1), drawn(4, 5, seed=2)
    equal(KD(T=2.0, shift=2), s, t, lambda x: 4 * kl(x, np.roll(t, 2, axis=1), 2.0) / 4, logits)
    with pytest.raises(RedistillError, match="KD\\(shift=5\\) moves each of the 5 classes onto itself"):
        z = torch.zeros(2, 5)
        KD(shift=5)(Output(z), Output(z), Batch(z))
    assert "shift" not in KD().settings()  # experiments that knew nothing of it keep their ids


@pytest.mark.parametrize("normalise", [True, False])
def test_class_attention_is_its_formula(normalise: bool) -> None:
    f, w, a_t = drawn(2, 3, 4, 4, seed=1), drawn(5, 3, seed=2), drawn(2, 5, 2, 2, seed=3)
    x = torch.tensor(f, requires_grad=True)
    loss = attention_gap(activation_maps(x, torch.tensor(w)), torch.tensor(a_t), normalise=normalise)
    (grad,) = torch.autograd.grad(loss, x)

    def want(v: np.ndarray) -> complex:  # type: ignore[type-arg]
        return slow.class_attention(slow.class_maps(v, w), a_t, 2, normalise)  # type: ignore[no-any-return]

    assert float(loss.detach()) == pytest.approx(float(np.real(want(f))), rel=1e-11)
    np.testing.assert_allclose(grad.numpy(), derivative(want, f), rtol=1e-8, atol=1e-11)


NETS = {
    "wrn-10-1": 32, "resnet8": 32, "resnet8x4": 16, "vgg8": 32, "mobilenetv2": 32, "shufflenetv1": 32, "shufflenetv2": 32,
    "resnet18": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_the_mean_of_the_class_maps_is_the_logits_without_the_bias(name: str) -> None:
    net = models.build(name, 7, image_size=NETS[name], seed=1).eval()
    images = torch.randn(2, 3, NETS[name], NETS[name], generator=torch.Generator().manual_seed(0))
    term = CATKD()
    term.setup(context(net, net, images))
    ((place, _),) = term.pairs
    with torch.no_grad():
        student_output = Tapped.reading(net, images, [place])(images)
        layer = term._student.net("", "")
        assert isinstance(layer, nn.Linear)
        seen = activation_maps(student_output[place], layer.weight).mean((2, 3)) + layer.bias
    torch.testing.assert_close(seen, student_output.logits, rtol=1e-4, atol=1e-5)
    assert float(term(student_output, student_output, Batch(images)).detach()) == 0


def test_class_attention_needs_a_pooled_vector_and_its_classifier() -> None:
    images = torch.zeros(2, 3, 32, 32)
    flat, fine = models.lenet(32), models.wrn(10, 1)
    with pytest.raises(RedistillError, match="no map has the 84 channels"):
        CATKD().setup(context(fine, flat, images))
    with pytest.raises(RedistillError, match="'block1', which has 16 channels where the classifier takes 64"):
        CATKD(at=[("block1", "relu")]).setup(context(fine, models.wrn(10, 1), images))


def test_channel_correlation_is_its_formula() -> None:
    s, t = drawn(2, 3, 2, 2, seed=1), drawn(2, 3, 4, 4, seed=2)
    x = torch.tensor(s, requires_grad=True)
    loss = correlation_distance(x, torch.tensor(t))
    (grad,) = torch.autograd.grad(loss, x)
    assert float(loss.detach()) == pytest.approx(float(slow.correlation(s, t)), rel=1e-11)
    np.testing.assert_allclose(grad.numpy(), derivative(lambda v: slow.correlation(v, t), s), rtol=1e-8, atol=1e-11)


def test_srrl_reads_the_teachers_classifier_and_leaves_it() -> None:
    student, teacher = models.wrn(10, 1, image_size=8), models.wrn(10, 2, image_size=8)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    term = SRRL(factor=0.5)
    term.setup(context(student, teacher, images))
    student_output, teacher_output = (Tapped.reading(net, images, ["pooled"])(images) for net in (student, teacher.eval()))
    feature, logits_ = term.parts(student_output, teacher_output)
    made = term.connector(student_output["pooled"][:, :, None, None]).flatten(1)
    want = ((made @ teacher.fc.weight.T + teacher.fc.bias - teacher_output.logits) ** 2).mean()
    assert float(logits_.detach()) == pytest.approx(float(want.detach()), rel=1e-5)
    whole = float(term(student_output, teacher_output, Batch(images)).detach())
    assert whole == pytest.approx(float(((made - teacher_output["pooled"]) ** 2).mean().detach()) + 0.5 * float(want.detach()), rel=1e-5)
    assert torch.autograd.grad(logits_, [teacher.fc.weight], allow_unused=True, retain_graph=True)[0] is not None  # by what it said
    second = term.parts(student_output, Output(teacher_output.logits.detach(), teacher_output.taps))[1]
    (alone,) = torch.autograd.grad(second, [teacher.fc.weight], allow_unused=True)
    assert alone is None
    assert float(feature.detach()) > 0


def test_ofa_is_its_formula() -> None:
    s, t = drawn(4, 5, seed=1), 2 * drawn(4, 5, seed=2)
    x = torch.tensor(s, requires_grad=True)
    loss = target_enhanced(x, torch.tensor(t), torch.tensor(Y), 1.4, 2.0)
    (grad,) = torch.autograd.grad(loss, x)
    assert float(loss.detach()) == pytest.approx(float(slow.target_enhanced(s, t, Y, 1.4, 2.0)), rel=1e-11)
    np.testing.assert_allclose(grad.numpy(), derivative(lambda v: slow.target_enhanced(v, t, Y, 1.4, 2.0), s), rtol=1e-8, atol=1e-11)


class Tokens(nn.Module):
    """A small transformer on 4x4 patches, tokens [B, 16, 12] after each block."""

    def __init__(self, classes: int = 5):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(12, 2, 24, 0.0, batch_first=True) for _ in range(2))
        self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(x.mean(1))
        return out


@pytest.mark.parametrize("kind", ["convolutions from tokens", "tokens from convolutions"])
def test_ofa_joins_networks_of_unlike_kinds(kind: str) -> None:
    torch.manual_seed(0)
    nets: list[nn.Module] = [models.wrn(10, 1, 5, image_size=16), Tokens()]
    student, teacher = nets if kind.startswith("convolutions") else reversed(nets)
    images = torch.randn(4, 3, 16, 16)
    term = OFA() if kind.startswith("convolutions") else OFA(at=["blocks.0", "blocks.1"])
    term.setup(context(student, teacher, images))
    read = Tapped.reading(student, images, [mine for mine, _ in term.pairs])
    batch = Batch(images, labels=torch.arange(4))
    with torch.no_grad():
        teacher_output = Output(teacher.eval()(images))
    first = last = None
    optimiser = torch.optim.SGD([*student.parameters(), *term.parameters()], lr=0.02)
    for _ in range(8):
        loss = term(read(images), teacher_output, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = first or float(loss.detach()), float(loss.detach())
    assert first is not None and last is not None and last < first
    assert all(p.grad is not None for p in term.parameters())


def test_simkd_keeps_the_teachers_classifier() -> None:
    teacher = models.wrn(10, 2, 7, image_size=8, seed=3).eval()
    student = models.build("simkd", 7, image_size=8, seed=1, body="wrn-10-1", head="wrn-10-2")
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    term = SimKD()
    term.setup(context(student, teacher, images))
    assert torch.equal(student.classifier.weight, teacher.fc.weight) and not student.classifier.weight.requires_grad  # type: ignore[union-attr]
    assert term.pairs == (("projected", "relu"),)
    read, ask = Tapped.reading(student, images, ["projected"]), Tapped.reading(teacher, images, ["relu"])
    with torch.no_grad():
        teacher_output = ask(images)
    student_output = read(images)
    want = ((student_output["projected"] - teacher_output["relu"]) ** 2).mean()
    assert float(term(student_output, teacher_output, Batch(images)).detach()) == pytest.approx(float(want.detach()), rel=1e-6)
    # a student whose map is the teacher's says what the teacher says
    torch.testing.assert_close(teacher.fc(teacher_output["relu"].mean((2, 3))), teacher_output.logits)
    torch.testing.assert_close(student.classifier(student_output["projected"].mean((2, 3))), student_output.logits)  # type: ignore[operator, union-attr]


def test_simkd_says_what_does_not_fit() -> None:
    images = torch.zeros(2, 3, 8, 8)
    teacher = models.wrn(10, 2, 7, image_size=8)
    with pytest.raises(RedistillError, match='a WRN has no place for it: make the student with model = "simkd"'):
        SimKD().setup(context(models.wrn(10, 1, 7, image_size=8), teacher, images))
    narrow = models.build("simkd", 7, image_size=8, body="wrn-10-1", head="wrn-10-1")
    with pytest.raises(RedistillError, match="projects to 64 channels, the teacher's classifier takes 128"):
        SimKD().setup(context(narrow, teacher, images))
    with pytest.raises(RedistillError, match="128 inputs and 5 classes, the teacher's 128 and 7"):
        SimKD().setup(context(models.build("simkd", 5, image_size=8, body="wrn-10-1", head=[128, 2]), teacher, images))
    with pytest.raises(RedistillError, match=r"simkd\(head=\[3\]\)"):
        models.build("simkd", 5, image_size=8, body="wrn-10-1", head=[3])
