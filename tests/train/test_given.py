"""What people hand to the library: it works, or one sentence says the way out."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import redistill as rd
from redistill.data import Normalisation, normalisation
from redistill.data.overlap import shared
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.rng import derive


def net(**given: Any) -> nn.Module:
    return rd.models.wrn(10, 1, seed=0, channels=1, image_size=8, **given)


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))), batch_size=16)


@pytest.mark.parametrize(
    ("source", "more", "says"),
    [
        (loader, {}, r"must be images .* got a torch DataLoader: .* normalises them itself; rd\.data\.arrays"),
        (rd.data.digits, {}, r"got a tuple of 2 \(Images, Images\): a data set comes as a pair: train, test = "),
        (lambda: "digits", {}, r"got 'digits': open it first, rd\.data\.load\('digits'\)"),
        (lambda: rd.data.Images, {}, r"not the class Images"),
        (lambda: None, {}, "the source must be images"),
        (None, {"evaluate": {"test": loader()}}, r"evaluate\['test'\] must be images .* got a torch DataLoader"),
        (None, {"evaluate": rd.data.digits()[1]}, r'takes evaluation sets by name, got a redistill Images: give evaluate=\{"test": test\}'),
        (None, {"evaluate": rd.data.digits()}, r'got a tuple of 2 .*: evaluate=\{"test": test\} of train, test = '),
        (None, {"evaluate": {1: rd.data.digits()[1]}}, r"takes sets by name, got the name 1"),
        (None, {"evaluate": {"test": rd.data.digits()[1].unlabelled()}}, r"evaluate\['test'\] has no labels"),
        (None, {"device": "meta"}, "on device 'meta' there are shapes and no numbers, and nothing can be trained or measured"),
        (None, {"device": "meta", "threads": 1}, "on device 'meta' there are shapes and no numbers"),
        (None, {"seed": -1}, "seed must be a whole number >= 0, got -1"),
        (None, {"seed": True}, "seed must be a whole number >= 0, got True"),
        (None, {"seed": 0.5}, "seed must be a whole number >= 0, got 0.5"),
    ],
)
def test_what_is_nearly_right_is_refused_with_the_way_out(source: Any, more: dict[str, Any], says: str) -> None:
    given = rd.data.digits()[0] if source is None else source()
    with pytest.raises(rd.RedistillError, match=says):
        rd.fit(net(), None, rd.CE(), given, rd.Recipe(steps=1, batch_size=16), **{"seed": 0, **more})


def test_what_cannot_be_measured_is_refused_with_the_way_out() -> None:
    test = rd.data.digits()[1]
    with pytest.raises(rd.RedistillError, match="wrn-10-1 has no weights: it lies on the meta device"):
        rd.accuracy(net().to("meta"), test)
    with pytest.raises(rd.RedistillError, match=r"got a TensorDataset: give rd\.data\.of\(dataset\)"):
        rd.accuracy(net(), loader().dataset)  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path: Path) -> None:
    train, test = rd.data.digits()
    seed = np.arange(4)[3]
    assert derive(seed, "order") == derive(3, "order")
    few = train.per_class(np.int64(2), seed)
    assert few.rule == (("per_class", {"M": 2, "seed": 3}),) and few.manifest() == train.per_class(2, 3).manifest()
    assert train.held_out(np.int32(10), seed)[1].manifest() == train.held_out(10, 3)[1].manifest()
    recipe = rd.Recipe(steps=1, batch_size=16)
    one, same = (rd.fit(net(), None, rd.CE(), few, recipe, seed=s, evaluate={"test": test}).losses for s in (seed, 3))
    assert one == same
    settings = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"epochs": 1}}
    plain = Experiment.of(settings, device="cpu", seed=3)
    assert Experiment.of(settings, device="cpu", seed=seed).id == plain.id and type(plain.with_seed(seed).seed) is int
    with pytest.raises(rd.RedistillError, match="seed must be a whole number >= 0, got -1"):
        plain.with_seed(-1)


def test_a_test_set_without_the_last_class(tmp_path: Path) -> None:
    train, test = rd.data.digits()
    assert test.y is not None
    kept = test.y < 9
    path, stated = tmp_path / "counted.npz", tmp_path / "said.npz"
    np.savez(path, x=test.x[kept].numpy(), y=test.y[kept].numpy())
    np.savez(stated, x=test.x[kept].numpy(), y=test.y[kept].numpy(), classes=10)
    recipe = rd.Recipe(steps=1, batch_size=16)
    with pytest.raises(rd.RedistillError, match=r"'test' has 9 classes, the student .* 10 apart.*rd\.data\.arrays\(file, classes=10\)"):
        rd.fit(net(), None, rd.CE(), train, recipe, seed=0, evaluate={"test": rd.data.arrays(path)})
    for images in (rd.data.arrays(path, classes=10), rd.data.arrays(stated), rd.data.load(f"arrays:{stated}")):
        images = images.with_(normalise="digits")
        student = net()
        found = rd.fit(student, None, rd.CE(), train, recipe, seed=0, evaluate={"test": images}).accuracy["test"].last
        assert images.classes == 10 and found == rd.accuracy(student, images)
    np.savez(stated, x=test.x[kept].numpy(), y=test.y[kept].numpy(), classes=np.array([1, 2]))
    with pytest.raises(rd.RedistillError, match="classes must be one whole number"):
        rd.data.arrays(stated)


# ---------------------------------------------------------------------------------------------------------------------
# Mean and standard deviation of one's own
# ---------------------------------------------------------------------------------------------------------------------
MINE = Normalisation("my clinic", (0.4,), (0.25,), peak=16)


def test_a_set_of_ones_own_is_called_by_its_constants() -> None:
    assert str(MINE) == "my clinic (mean 0.4, std 0.25, peak 16)" and normalisation(str(MINE)) == MINE
    colour = Normalisation("", [0.1, 0.2, 0.3], np.array([0.5, 0.25, 1 / 3]))
    assert normalisation(str(colour)) == colour and colour.std[2] == 1 / 3
    assert str(Normalisation("imagenet", (0.5,), (0.5,))) == "imagenet (mean 0.5, std 0.5)", "not the one of that name"
    assert normalisation("mine (mean 0.5, std 0.2)") == Normalisation("mine", (0.5,), (0.2,))
    for wrong, says in (
        (lambda: Normalisation("a", (0.1,), (0.0,)), "each above 0"),
        (lambda: Normalisation("a", (0.1, 0.2), (0.5,)), "2 means and 1 standard deviations"),
        (lambda: Normalisation("a", (float("nan"),), (0.5,)), "mean must be one number a channel"),
        (lambda: Normalisation("a", (0.1,), (0.5,), peak=0), "between 1 and 255"),
        (lambda: Normalisation("a (b)", (0.1,), (0.5,)), "plain words without brackets"),
        (lambda: normalisation("mine (mean x, std 1)"), "mean and std are numbers"),
        (lambda: normalisation("minee"), r'one of your own: "mine \(mean'),
    ):
        with pytest.raises(rd.RedistillError, match=says):
            wrong()


def test_a_set_of_ones_own_works_wherever_a_name_does(tmp_path: Path) -> None:
    train, test = rd.data.digits()
    mine = test.with_(normalise=MINE)
    want = (test.x.float() / 16 - 0.4) / 0.25
    assert torch.allclose(mine.normalised(), want) and mine.manifest()["sha256"] == test.manifest()["sha256"]
    assert rd.data.Images(test.x, test.y, 10, "mine", MINE).normalise == str(MINE) == mine.settings()["normalise"]
    teacher, named = net(), net()
    teacher.normalisation, named.normalisation = MINE, str(MINE)
    assert rd.accuracy(teacher, test) == rd.accuracy(named, test) == rd.accuracy(net(), mine)
    recipe = rd.Recipe(steps=2, batch_size=16)
    one, same = (rd.fit(net(), t, rd.KD(), train, recipe, seed=0).losses for t in (teacher, named))
    assert one == same
    rd.models.save(teacher, tmp_path / "t.safetensors")
    again = rd.models.load(tmp_path / "t.safetensors")
    assert again.normalisation == str(MINE) and rd.accuracy(again, test) == rd.accuracy(teacher, test)
    student = net()
    rd.fit(student, None, rd.CE(), train.with_(normalise=MINE), recipe, seed=0)
    assert student.normalisation == str(MINE)


def test_a_set_of_ones_own_in_a_file() -> None:
    settings = {
        "student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "recipe": {"epochs": 1},
        "source": {"data": "digits", "normalise": "mine (mean 0.4, std 0.25, peak 16)"},
    }  # fmt: skip
    one = Experiment.of(settings, device="cpu")
    images: Any = one.source.build(0, None).source
    assert images.normalise == "mine (mean 0.4, std 0.25, peak 16)" and Experiment.of(one.written(), device="cpu").id == one.id


# ---------------------------------------------------------------------------------------------------------------------
# Paths from home
# ---------------------------------------------------------------------------------------------------------------------
def test_home_is_found_wherever_a_path_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rd.models.save(net(), "~/t.safetensors")
    assert (tmp_path / "t.safetensors").is_file() and rd.models.load("~/t.safetensors") is not None
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 1, 8, 8), np.uint8), y=np.arange(4) % 2)
    (tmp_path / "pictures" / "x").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "pictures" / "x" / "1.png")
    assert len(rd.data.arrays("~/a.npz")) == len(rd.data.load("arrays:~/a.npz")) == len(rd.data.load("arrays:a.npz", "~")) == 4
    assert len(rd.data.folder("~/pictures")) == len(rd.data.load("images:~/pictures")) == 1
    assert rd.Store("~/runs").root == tmp_path / "runs"
    text = '[student]\nmodel = "wrn-10-1"\nfrom = "~/t.safetensors"\n[[method]]\nuse = "CE"\n'
    text += '[source]\ndata = "arrays:~/a.npz"\n[recipe]\nepochs = 1\n'
    (tmp_path / "a.toml").write_text(text)
    one = Experiment.load("~/a.toml", device="cpu", data_dir="~")
    assert one.source.data == f"arrays:{tmp_path}/a.npz" and one.student.weights is not None


def test_an_evaluation_set_means_the_same_by_its_numbers() -> None:
    pixels = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train = rd.data.Images(pixels, torch.arange(6) % 3, 3, "t", "half", class_names=("ant", "bee", "cow"))
    net, recipe, of_teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)), rd.Recipe(steps=1, batch_size=6), rd.KD()

    def fitted(*names: str, method: rd.Term | None = None, teacher: torch.nn.Module | None = None) -> None:
        test = dataclasses.replace(train, class_names=names)
        rd.fit(net, teacher, method or rd.CE(), train, recipe, seed=0, evaluate={"test": test}, quiet=True)

    with pytest.raises(RedistillError, match=r"class 0 is 'ant' for the training images and 'bee' for evaluation set 'test': the same 3"):
        fitted("bee", "ant", "cow")
    with pytest.raises(RedistillError, match="'cow' is class 2 for the training images and class 1 for evaluation set 'test'"):
        fitted("ant", "cow", "dog")
    with pytest.warns(UserWarning, match="3 of 3 classes have other names: class 0 is 'ant' for the training images and 'Ameise'"):
        fitted("Ameise", "Biene", "Kuh")
    # where no label is learned from, the numbers are the teacher's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a teacher at chance
        fitted("bee", "ant", "cow", method=of_teacher, teacher=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)))


def test_evaluation_images_that_are_trained_on_are_told() -> None:
    """Pixel for pixel, also in one half of a mixture; a set that is called so is meant so, and official parts are nobody's doing here."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 1, 4, 4), dtype=torch.uint8, generator=draw)
    train, other, test = (rd.data.Images(pixels[a:b], torch.arange(b - a) % 3, 3, "t", "half") for a, b in ((0, 6), (6, 12), (4, 8)))
    net, recipe = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)), rd.Recipe(steps=1, batch_size=3)

    def fitted(source: rd.Source, **sets: rd.data.Images) -> None:
        rd.fit(net, None, rd.CE(), source, recipe, seed=0, evaluate=sets, quiet=True)

    with pytest.warns(UserWarning, match="^2 of the images of evaluation set 'test' are training images too, on which an accuracy says"):
        fitted(train, test=test)
    with pytest.warns(UserWarning, match="^4 of the images of evaluation set 'test' are training images too"):
        fitted(rd.sources.Mixed(train, other), test=test)
    fitted(train, test=other, train_too=train)  # warnings are errors here
    assert shared(*rd.data.digits()) == 0 and shared(train, train) == 6
