"""Networks, images and values as people pass them: each works, or one sentence says what was given and what was expected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import redistill as rd
from redistill.core import RedistillError
from redistill.experiment.value import Experiment
from redistill.features.hidden_state import at_first, left_behind
from redistill.metrics import accuracy
from redistill.train.learner import Learner


class Plain(nn.Module):
    """A network as people have them."""

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Detached(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Remembers(Plain):
    """State of which no state dict knows: a buffer that is not saved, and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1), persistent=False)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean: Tensor = self.mean + x.mean()
            self.seen += 1
        return super().forward(x) + self.mean


class Masked(Plain):
    """Attention over the rows of a map, each to those above it: a mask of minus infinities, as people register it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((8, 8), float("-inf")).triu(1))
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.relu(self.norm(self.conv(x))).mean(3).transpose(1, 2)
        return self.fc((rows @ rows.transpose(1, 2) + self.mask).softmax(2).matmul(rows).mean(1) + self.mean)


TRAIN, TEST = rd.data.digits()


def fit(student: Any = None, teacher: Any = None) -> rd.Result:
    method = rd.CE() if teacher is None else rd.CE() + rd.KD()
    return rd.fit(Plain() if student is None else student, teacher, method, TRAIN, rd.Recipe(steps=2, batch_size=16), seed=0)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Plain()


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: fit(Plain), "the student is the class Plain, not a network made of it"),
        (lambda: fit(teacher=lambda x: x), "the teacher is a function: give a torch.nn.Module"),
        (lambda: fit(Detached()), "no gradient reaches the student Detached"),
        (lambda: fit(on_meta()), "the student Plain has no weights: it lies on the meta device"),
        (lambda: fit(teacher=on_meta()), "the teacher Plain has no weights"),
        (lambda: fit(torch.jit.trace(Plain().eval(), torch.zeros(2, 1, 8, 8))), "the student is a traced network"),
        (lambda: rd.evaluate(Plain(channels=3), TEST), r"Plain does not accept images of shape \[1, 8, 8\]"),
        (lambda: rd.evaluate(Plain(), torch.utils.data.DataLoader([1])), r"got a DataLoader: give rd.data.of\(dataset\), rd.data.Images"),  # type: ignore[arg-type]
        (lambda: rd.agreement(Plain(), Plain(), (TRAIN, TEST)), "got a tuple"),  # type: ignore[arg-type]
        (lambda: accuracy(Plain(5), TEST), "tells 5 classes apart, the data set has 10"),
        (lambda: accuracy(Plain(12), TEST), "tells 12 classes apart, the data set has 10"),
        (lambda: rd.models.load(None), "got a NoneType"),  # type: ignore[arg-type]
        (lambda: rd.data.Images(np.zeros((4, 1, 8, 8), np.uint8), None, 10, "x", "half"), "must be a tensor, got a numpy.ndarray"),  # type: ignore[arg-type]
        (lambda: rd.KD(T="4"), r"KD\(T='4'\): must be a number, got a str"),  # type: ignore[arg-type]
        (lambda: rd.KD(T=True), "must be a number, got a bool"),
    ],
)
@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning", "ignore:.torch.jit:DeprecationWarning")
def test_what_cannot_work_is_one_sentence(act: Callable[[], object], sentence: str) -> None:
    with pytest.raises(RedistillError, match=sentence):
        act()


def test_a_refused_student_leaves_its_mode_and_an_odd_image_nothing() -> None:
    net = Detached()
    before = {name: value.clone() for name, value in net.named_parameters()}
    with pytest.raises(RedistillError):
        fit(net)
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning", "ignore:.torch.jit:DeprecationWarning")
def test_scripted_networks_teach_by_their_logits() -> None:
    net, student = Plain().eval(), Plain()
    found = [fit(copy.deepcopy(student), teacher).losses for teacher in (net, torch.jit.script(net))]
    for name, curve in found[0].items():
        assert found[1][name] == pytest.approx(curve, rel=1e-5)


def test_numbers_of_numpy_become_python_s_own() -> None:
    term = rd.KD(T=np.float32(4.0))
    assert type(term.T) is float and term.settings() == rd.KD(T=4.0).settings()


def test_averaged_weights_are_those_of_the_network_inside(tmp_path: Path) -> None:
    net = rd.models.wrn(10, 1, 10, channels=1, image_size=8, seed=0)
    torch.save(torch.optim.swa_utils.AveragedModel(net).state_dict(), tmp_path / "ema.pt")
    found = rd.models.load(tmp_path / "ema.pt", model="wrn-10-1").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in net.state_dict().items())


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
def test_a_sigmoid_at_the_end_of_a_teacher_is_spoken_of() -> None:
    assert "as after a sigmoid" in " ".join(fit(teacher=nn.Sequential(Plain(), nn.Sigmoid())).notes)
    assert "sigmoid" not in " ".join(fit(teacher=Plain()).notes)


def test_what_no_file_of_weights_keeps_is_named() -> None:
    net = Remembers()
    first = at_first(net)
    assert left_behind(net, first) == []
    fit(net)
    assert left_behind(net, first) == ["mean", "seen"]
    plain = Plain()
    first = at_first(plain)
    fit(plain)
    assert left_behind(plain, first) == []


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels=1):
        super().__init__()
        self.fc = nn.Linear(64, classes)
        self.register_buffer("mean", torch.zeros(1), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean: Tensor = self.mean + x.mean()
        return self.fc(x.flatten(1)) + self.mean

class Extra(Net):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass
"""


def of_ones_own(folder: Path, name: str) -> Experiment:
    (folder / "own.py").write_text(OWN)
    settings = {
        "student": {"model": f"./own.py:{name}"}, "method": [{"use": "CE"}], "source": {"data": "digits"},
        "evaluate": {"test": "digits:test"}, "recipe": {"steps": 2, "batch_size": 16},
    }  # fmt: skip
    return Experiment.of(settings, folder=folder, seed=0, device="cpu")


def test_a_record_names_what_its_weights_do_not_hold(tmp_path: Path) -> None:
    run = of_ones_own(tmp_path, "Net").run(tmp_path / "runs")
    assert run.record["beside_weights"] == ["mean"]


def test_extra_state_that_is_no_tensor_is_refused_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "learn", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(RedistillError, match="'_extra_state' is a dict"):
        of_ones_own(tmp_path, "Extra").run(tmp_path / "runs")


class Extra(Plain):
    """State that no file of tensors holds."""

    def get_extra_state(self) -> Any:
        return {"seen": 1}

    def set_extra_state(self, state: Any) -> None: ...


def test_a_saved_fit_of_a_student_with_such_state_is_refused_and_of_such_a_teacher_is_not(tmp_path: Path) -> None:
    def asked(student: nn.Module, teacher: nn.Module) -> rd.Result:
        recipe = rd.Recipe(steps=1, batch_size=16)
        return rd.fit(student, teacher, rd.CE() + rd.KD(), TRAIN, recipe, seed=0, out=tmp_path / "run", quiet=True)

    with pytest.raises(RedistillError, match="'_extra_state' is a dict: leave it out or convert it"):
        asked(Extra(), Plain())
    assert not (tmp_path / "run").exists() and asked(Plain(), Extra()).diverged is None


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_mask_of_infinities_is_no_weight_that_diverged(ema: float | None) -> None:
    """It had ended a run at its first epoch, made an average of NaN, and was refused of a teacher."""
    student, teacher = Masked(), Masked()
    recipe = rd.Recipe(epochs=1, batch_size=32, lr=0.05, ema=ema)
    found = rd.fit(student, teacher, rd.CE() + rd.KD(), TRAIN.per_class(6, seed=0), recipe, seed=0, evaluate={"test": TEST}, quiet=True)
    assert found.diverged is None and torch.equal(student.mask, teacher.mask) and found.accuracy["test"].curve


def test_a_running_statistic_that_becomes_infinite_is_still_named() -> None:
    student = Masked()
    loop = rd.Loop([(student, rd.CE())], None, TRAIN.per_class(6, seed=0), rd.Recipe(epochs=1, batch_size=60, lr=0.05), seed=0)
    student.mean.fill_(1.0)
    assert loop.students[0].spoilt() is None
    student.mean.fill_(float("inf"))
    assert loop.students[0].spoilt() == "mean"
    student.mean.zero_()
    student.mask[0, 0] = float("nan")
    assert loop.students[0].spoilt() == "mask"
