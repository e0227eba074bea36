"""What is said of a teacher before the first step, and what is refused; outputs that are no numbers."""

from __future__ import annotations

import copy
import functools
import json
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import redistill as rd
from redistill.belief import agreement_and_divergence, noise_histogram, transitions
from redistill.cli.options import show_json
from redistill.core import RedistillError
from redistill.features.outputs import NotFinite
from redistill.metrics import accuracy, agreement, evaluate
from redistill.models.sizes import SizeWarning
from redistill.train.preflight import TeacherWarning, fitting_order, names_differ, sample


@functools.cache
def digits() -> tuple[rd.data.Images, rd.data.Images]:
    return rd.data.digits()


def wrn(seed: int = 0, classes: int = 10) -> nn.Module:
    return rd.models.wrn(10, 1, classes, channels=1, image_size=8, seed=seed)


class Knows(nn.Module):
    """Right on every training image, because it looks them up; ``order``: class c of it is the data's ``order[c]``."""

    def __init__(self, order: Tensor | None = None) -> None:
        super().__init__()
        train = digits()[0]
        x = torch.cat([b.images for b in train.batches()])
        self.register_buffer("x", x.flatten(1))
        where = torch.arange(10) if order is None else order.argsort()
        self.register_buffer("y", where[train.y])
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, x: Tensor) -> Tensor:
        near = torch.cdist(x.flatten(1), self.x).argmin(1)
        return self.scale * nn.functional.one_hot(self.y[near], 10).to(x.dtype)


def trained_by(teacher: nn.Module, method: rd.Method | rd.Term | None = None) -> rd.Result:
    return rd.fit(wrn(), teacher, method or rd.KD(), digits()[0], rd.Recipe(steps=1, batch_size=32), seed=0)


@pytest.mark.filterwarnings("error::redistill.train.preflight.TeacherWarning")
def test_a_teacher_that_knows_its_classes_is_not_spoken_of() -> None:
    assert trained_by(Knows()).notes == ()
    assert trained_by(nn.Sequential(Knows(), nn.LogSoftmax(1))).notes == ()  # logarithms of probabilities are logits


def test_a_teacher_at_chance_is_told_with_numbers() -> None:
    teacher = wrn(5)
    before = copy.deepcopy(teacher.state_dict())
    state = torch.random.get_rng_state()
    with pytest.warns(TeacherWarning, match=r"the teacher wrn-10-1 is right on \d+ of 250 training images \(.* %, chance is 1\d\.\d %\)"):
        result = trained_by(teacher)
    assert len(result.notes) == 1 and "nothing to teach" in result.notes[0]
    assert torch.equal(state, torch.random.get_rng_state()) and all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_classes_in_another_order_are_refused_with_the_order() -> None:
    turned = torch.arange(9, -1, -1)
    with pytest.raises(RedistillError, match=r"is right on 0 of 250 .*in another order .* right on 250: its class 0 is the data's 9"):
        trained_by(Knows(turned))
    assert trained_by(Knows(turned), rd.CE() + rd.CE()).notes == ()  # nobody reads its logits
    two = torch.tensor([1, 0, *range(2, 10)])
    with pytest.warns(TeacherWarning, match=r"right on 200 of 250.* right on 250: its class 0 is the data's 1 \(1\), its class 1 is"):
        assert len(trained_by(Knows(two)).notes) == 1


def test_noise_has_no_order() -> None:
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 10, 100):
        predicted, labels = (torch.randint(classes, (250,), generator=generator) for _ in range(2))
        assert fitting_order(predicted, labels, classes) is None
        cycled = torch.arange(250) % classes  # every other image of all would be half of the classes
        order = torch.randperm(classes, generator=generator)
        found = fitting_order(order[cycled], cycled, classes)
        if classes == 10:
            assert found is not None and torch.equal(found[order], torch.arange(classes))


class Constant(nn.Module):
    def __init__(self, row: list[float]) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.tensor(row))

    def forward(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), -1)


def test_what_cannot_teach_is_refused_and_what_may_be_meant_is_told() -> None:
    with pytest.raises(RedistillError, match=r"the teacher Sequential gives probabilities .*take the softmax off"):
        trained_by(nn.Sequential(wrn(), nn.Softmax(1)))
    damaged = wrn()
    with torch.no_grad():
        next(damaged.parameters()).view(-1)[0] = math.nan
    for method in (rd.KD(), rd.CE() + rd.AT()):
        with pytest.raises(RedistillError, match=r"the teacher wrn-10-1 has weights that are no numbers \(.+\)"):
            trained_by(damaged, method)
    with pytest.warns(TeacherWarning, match="says the same of all 250 images"):
        trained_by(Constant([1.0] * 9 + [-2.0]))
    with pytest.warns(TeacherWarning, match="the student Sequential gives probabilities"):
        student = nn.Sequential(wrn(), nn.Softmax(1))
        result = rd.fit(student, None, rd.CE(), digits()[0], rd.Recipe(steps=1, batch_size=32), seed=0)
    assert "softmax" in result.notes[0]
    with pytest.warns(TeacherWarning, match="of the student Sequential lies between 0 and 1 .*take the sigmoid off"):
        rd.fit(nn.Sequential(wrn(), nn.Sigmoid()), None, rd.CE(), digits()[0], rd.Recipe(steps=1, batch_size=32), seed=0)


def test_names_of_classes_are_compared() -> None:
    assert names_differ(("a", "b"), ("a", "b")) is None and names_differ(None, ("a",)) is None
    assert "another order: 0 is 'a' to the network and 'b' to the data" in str(names_differ(("a", "b"), ("b", "a")))
    teacher = Knows()
    teacher.class_names = tuple("1023456789")  # type: ignore[assignment]
    with pytest.raises(RedistillError, match="the same classes in another order: 0 is '1' to the network and '0' to the data"):
        trained_by(teacher)
    teacher.class_names = tuple("abcdefghij")  # type: ignore[assignment]
    with pytest.warns(TeacherWarning, match="other class names: 0 is 'a' to the network and '0' to the data"):
        trained_by(teacher)


def test_the_images_asked_are_spread_over_classes() -> None:
    train = digits()[0]
    some = sample(train)
    assert some is not None and some.class_counts() == (25,) * 10
    assert len(sample(train.unlabelled())) == 256
    assert len(sample(train.per_class(3, seed=0))) == 30


def test_one_logit_teaches_nothing() -> None:
    one = wrn(classes=1)
    unlabelled = rd.data.Images(torch.randint(0, 255, (64, 1, 8, 8), dtype=torch.uint8), None, None, "unlabelled", "half")
    with pytest.raises(RedistillError, match=r"KD: the networks give one logit an image.*\[0, z\]"):
        rd.fit(one, wrn(1, classes=1), rd.KD(), unlabelled, rd.Recipe(epochs=1, batch_size=16), seed=0)
    with pytest.raises(RedistillError, match="one logit"):
        agreement(one, wrn(1, classes=1), unlabelled)


def broken(value: float) -> nn.Module:
    """Not finite on images whose first pixel is high, which are some."""

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = wrn()

        def forward(self, x: Tensor) -> Tensor:
            bad = x[:, 0, 3, 3] > x[:, 0, 4, 4]
            return torch.where(bad[:, None], value, self.net(x))

    return Broken()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "measure",
    [
        lambda n, i: accuracy(n, i),
        lambda n, i: agreement(n, wrn(), i),
        lambda n, i: agreement(wrn(), n, i),
        lambda n, i: evaluate(n, i),
        lambda n, i: evaluate(wrn(), i, teacher=n),
        lambda n, i: transitions({"a": wrn(), "b": n}, i, count=2, K=2),
        lambda n, i: noise_histogram(n, (1, 8, 8)),
    ],
)
def test_what_is_no_number_has_no_accuracy(measure: Callable[[nn.Module, rd.data.Images], object], value: float) -> None:
    with pytest.raises(NotFinite, match=r"Broken.* gives NaN or infinite logits for \d+ of [\d,]+ images"):
        measure(broken(value), digits()[1])


def test_networks_of_unlike_classes_are_not_compared() -> None:
    other = wrn(classes=100)
    for measure in (lambda: agreement(wrn(), other, digits()[1]), lambda: evaluate(wrn(), digits()[1], teacher=other)):
        with pytest.raises(RedistillError, match="one network tells 10 classes apart, the other 100"):
            measure()
    with pytest.raises(RedistillError, match="10 classes apart, the other 5"):
        agreement_and_divergence(torch.zeros(2, 10), torch.zeros(2, 5))


def test_a_student_that_gives_no_numbers_at_an_evaluation_has_diverged() -> None:
    train, test = digits()
    recipe = rd.Recipe(steps=1, batch_size=1)
    with pytest.raises(rd.Diverged, match=r"Broken gives NaN .*\(after step 1 of 1, on 'test'\)"):
        rd.fit(broken(math.nan), None, rd.Anchor(), train, recipe, seed=0, evaluate={"test": test})


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"a": [{"error": math.nan, "mte": 0.5}], "curve": (1.0, math.inf)})
    read = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert read["a"] == [{"error": None, "error_why_null": "nan: not a finite number", "mte": 0.5}]
    assert read["curve"] == [1.0, None] and read["curve_why_null"].startswith("inf")


def test_images_of_another_size_than_a_network_is_made_for_are_spoken_of() -> None:
    large = rd.models.wrn(10, 1, seed=1, channels=1, image_size=32)
    small, data = wrn(), digits()[0].first_per_class(2)
    with pytest.warns(SizeWarning, match="the teacher wrn-10-1 is made for images of 32x32, these are 8x8: .* resize them, or give"):
        rd.evaluate(small, data, teacher=large)
    with pytest.warns(SizeWarning, match="^Sequential is made for images of 32x32, these are 8x8"):
        rd.evaluate(nn.Sequential(large), data)
    with warnings.catch_warnings():  # nothing is said of a network that resizes its images itself
        warnings.simplefilter("error")
        rd.evaluate(nn.Sequential(nn.Upsample(scale_factor=4), large), data)
    with pytest.warns(TeacherWarning, match="is right on .* the teacher wrn-10-1 is made for images of 32x32"):
        loop = rd.Loop([(small, rd.KD())], large, data, rd.Recipe(steps=1, batch_size=4), seed=0)
    assert any("made for images of 32x32" in note for note in loop.results()[0].notes)
    rd.fit(large, None, rd.CE(), data, rd.Recipe(steps=1, batch_size=4), seed=0, quiet=True)
    rd.evaluate(large, data)  # it has learned from images of this size now
