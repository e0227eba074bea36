"""What cannot end well is one sentence, before anything long begins."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import redistill as rd
from helpers.photographs import BIG, HERE, SMALL, folder_of_photos, photo
from redistill.distill import Distilled, Plan, cost, length, plan
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.launch.carry_out import Resources
from redistill.models.weights import WeightsWarning

NETS = f"{HERE / 'engineers.py'}"


@pytest.fixture
def teacher_file(whole: tuple[Distilled, Path], tmp_path: Path) -> Path:
    """The state dict of a teacher that knows the photographs."""
    found, _ = whole
    torch.save(found.rows[0].runs[0].network().state_dict(), tmp_path / "big.pth")
    return tmp_path / "big.pth"


@pytest.mark.parametrize("form", ["state dict", "around", "checkpoint", "whole", "safetensors"])
def test_weights_are_read_in_the_forms_that_people_have(form: str, whole: Any, teacher_file: Path, planned: Callable[..., Plan]) -> None:
    state = torch.load(teacher_file)
    net = whole[0].rows[0].runs[0].network()
    if form == "around":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, teacher_file)
    elif form == "checkpoint":
        torch.save({"epoch": 3, "model": state, "optimizer": torch.optim.SGD(net.parameters(), lr=0.1).state_dict()}, teacher_file)
    elif form == "whole":
        torch.save(net, teacher_file)
    elif form == "safetensors":
        teacher_file = teacher_file.with_suffix(".safetensors")
        rd.models.save(net, teacher_file)
    made = planned(teacher=BIG, teacher_weights=teacher_file, student=SMALL)
    assert f"{whole[0].rows[0].evaluations[0].accuracy:.1f} % on 36 evaluation images" in str(made)


def test_a_teacher_near_chance_is_refused(teacher_file: Path, planned: Callable[..., Plan]) -> None:
    net: Any = rd.models.build(BIG, 3, seed=5)
    torch.save(net.state_dict(), teacher_file)
    with pytest.raises(RedistillError, match=r"which is chance .*it has nothing to teach"):
        planned(teacher=BIG, teacher_weights=teacher_file)


def test_few_evaluation_images_say_nothing_against_a_teacher(teacher_file: Path, planned: Callable[..., Plan], tmp_path: Path) -> None:
    """A teacher that was right on 9 of 9 was "chance", because 8 were of one class; the training images speak then."""
    few = folder_of_photos(tmp_path / "few", 24, 1)
    said = str(planned(data=few, teacher=BIG, teacher_weights=teacher_file))
    assert "3 images: few/val beside train" in said and "looks like chance: --evaluate DIR gives more" in said
    torch.save(rd.models.build(BIG, 3, seed=5).state_dict(), teacher_file)
    with pytest.raises(RedistillError, match=r"right on \d+ of 75 images, those of training among them, which is chance"):
        planned(data=few, teacher=BIG, teacher_weights=teacher_file)


def test_a_file_of_other_classes_gets_a_way_out_that_there_is(planned: Callable[..., Plan], tmp_path: Path) -> None:
    torch.save(rd.models.build(BIG, 7, seed=0).state_dict(), tmp_path / "big.pth")
    torch.save(rd.models.build(SMALL, 7, seed=0).state_dict(), tmp_path / "small.pth")
    way = r"tells 7 classes apart, the network \w+ was built for 3, as the data have: give the folders of its classes, or a file whose last"
    for words in (
        {"teacher": BIG, "teacher_weights": tmp_path / "big.pth"},
        {"teacher": BIG, "teacher_weights": tmp_path / "big.pth", "train_teacher": 2},  # was told to do what it did
        {"student_weights": tmp_path / "small.pth"},
    ):
        with pytest.raises(RedistillError, match=way) as refusal:
            planned(**words)
        assert "train-teacher" not in str(refusal.value)


def test_another_order_of_classes_is_refused_with_the_order(teacher_file: Path, planned: Callable[..., Plan]) -> None:
    state = torch.load(teacher_file)
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][[1, 2, 0]]  # its class 0 is green ...
    torch.save(state, teacher_file)
    with pytest.raises(RedistillError, match="in another order of classes: its 0 is green, its 1 is red, its 2 is blue"):
        planned(teacher=BIG, teacher_weights=teacher_file)


def test_a_teacher_of_another_normalisation_is_fed_its_own(photos: Path, teacher_file: Path, planned: Callable[..., Plan]) -> None:
    net: Any = rd.models.build(BIG, 3, seed=0)
    parts = {part: rd.data.folder(photos, part) for part in ("train", "val")}  # normalised as imagenet
    rd.fit(net, None, rd.CE(), parts["train"], rd.Recipe(epochs=8, batch_size=16, lr=0.05), seed=0, device="cpu")
    torch.save(net.state_dict(), teacher_file)
    for part, images in parts.items():
        np.savez(teacher_file.with_name(f"{part}.npz"), x=images.x.numpy(), y=images.y.numpy())
    data, test = (f"arrays:{teacher_file.with_name(part)}.npz" for part in parts)  # these are normalised as half
    made = planned(data=data, evaluate=test, teacher=BIG, teacher_weights=teacher_file)
    assert "normalisation of the teacher: imagenet, because its file says none" in str(made)
    assert made.teacher.normalise == "imagenet"
    [one] = made.distilled["KD"].values()
    assert one.teacher is not None and one.teacher.normalise == "imagenet"
    assert Experiment.of(one.written(), device="cpu").id == one.id


def test_a_teacher_that_says_nothing_is_asked_as_it_will_teach(
    photos: Path, teacher_file: Path, planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its accuracy in the plan was that under the normalisation of the evaluation set, where it teaches under that of the others."""

    class Asked(Exception):
        pass

    def ask(net: Any, test: Any, who: str, train: Any) -> None:
        raise Asked(f"{test.normalise} {train.normalise}")

    images = rd.data.folder(photos, "val")
    np.savez(teacher_file.with_name("val.npz"), x=images.x.numpy(), y=images.y.numpy())  # type: ignore[union-attr]
    monkeypatch.setattr("redistill.distill.teacher.require_knowing", ask)
    with pytest.raises(Asked, match="imagenet imagenet"):
        planned(evaluate=f"arrays:{teacher_file.with_name('val.npz')}", teacher=BIG, teacher_weights=teacher_file)


def test_images_need_not_be_square(planned: Callable[..., Plan], tmp_path: Path) -> None:
    """Costs were those of square images as wide, and a network that takes no others was refused."""
    (tmp_path / "flat.py").write_text(
        "from torch import nn\nclass Flat(nn.Sequential):\n    def __init__(self, num_classes, width=64):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(3 * 8 * 16, width), nn.Linear(width, num_classes))\n"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 16), dtype=np.uint8)
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", x=pixels if name == "train" else pixels[::-1], y=np.arange(60) % 3)
    data, test = (f"arrays:{tmp_path / name}.npz" for name in ("train", "test"))
    with pytest.raises(RedistillError, match="all 60 evaluation images are training images"):
        planned(data=data, evaluate=test, teacher=f"{tmp_path}/flat.py:Flat", train_teacher=1)
    np.savez(tmp_path / "test.npz", x=255 - pixels, y=np.arange(60) % 3)
    made = planned(data=data, evaluate=test, teacher=f"{tmp_path}/flat.py:Flat", student="half", train_teacher=1)
    assert "8x16, the set's own" in str(made) and made.student.args == {"width": 32}
    chosen = next(one for one in made.relatives if one.word == "half")
    assert chosen.macs == 32 * (3 * 8 * 16 + 3)


def test_weights_of_a_student_are_used_whatever_word_names_it(planned: Callable[..., Plan], tmp_path: Path) -> None:
    """--student half passed over --student-weights: the student began from drawn ones."""
    half = planned(student="half").student
    torch.save(rd.models.build(BIG, 3, seed=7, **half.args).state_dict(), tmp_path / "start.pth")
    made = planned(student="half", student_weights=tmp_path / "start.pth")
    assert made.student.args == half.args and made.student.weights == tmp_path / "start.pth"
    assert all(one.student.weights is not None for one in made.experiments)


def test_folders_of_other_classes_are_named(whole: Any, planned: Callable[..., Plan], tmp_path: Path, teacher_file: Path) -> None:
    other = folder_of_photos(tmp_path / "other", 12, 8, ("blue", "green"))
    with pytest.raises(RedistillError, match=r"tells 3 classes apart, .*for 2, as the data have"):
        planned(data=other, teacher=BIG, teacher_weights=teacher_file)
    with pytest.raises(RedistillError, match="tells 3 classes apart, the data have 2; only the teacher knows red: give the folders"):
        planned(data=other, teacher=str(whole[1] / "out" / "student-KD"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"teacher": "wrn-16-2"}, "the teacher wrn-16-2 has no weights: give its file, --teacher-weights FILE, or have it trained"),
        ({"teacher": "wrn-16-3x", "train_teacher": 1}, "unknown network 'wrn-16-3x'"),
        ({"teacher": "resnet50:x", "train_teacher": 1}, "there is no module 'resnet50' to import; for a file write"),
        ({"student": f"{NETS}:Fixed"}, r"the student .*Fixed does not accept images of shape \[3, 16, 16\].*--size N makes the images NxN"),
        ({"student": f"{NETS}:Undecided"}, "returned a dict of map .* can be the logits; wrap it in a module whose forward"),
        ({"student_pretrained": True}, "--student-pretrained is for networks of timm and torchvision with"),
        ({"student_pretrained": True, "student": "half"}, "--student-pretrained is for networks of timm and torchvision with"),
        ({"data": "digits", "size": 16}, "--size is for folders of pictures; the images of digits have their size: leave it out"),
        ({"student": "smallest"}, "unknown network 'smallest'"),
        ({"student": f"{NETS}:Smal"}, "unknown name in .*: did you mean Small"),
        ({"method": "KDD"}, "unknown term 'KDD'"),
        ({"method": "KD,KD"}, "name each method once"),
        ({"method": "Anchor"}, "no usual weight is known for it"),
        ({"batch_size": 10**9}, r"needs about .* free a run may take 80 %: a batch of \d+ would fit"),
        ({"time_budget": 1e-6}, "one epoch of all students takes .* here, more than the budget"),
        ({"data": "nowhere"}, "there is no folder .*nowhere, and no data set of that name"),
        ({"seeds": ()}, "give at least one seed"),
        ({"seeds": 3}, r"seeds are several numbers, got 3: give seeds=\(0, 1, 2\)"),
        ({"student": torch.nn.Linear(2, 2)}, "the student of a plan is named, .* got Linear; rd.fit takes networks as they are"),
        ({"accumulate": 0}, "accumulate must be a whole number >= 1, got 0"),
        ({"student": NETS}, "engineers.py is a file: say which network in it is meant, .*engineers.py:Name"),
        ({"student": f"{NETS}:Raises"}, "Raises cannot be made with num_classes: RuntimeError: no room"),
        ({"student": f"{NETS}:Still"}, "no parameter of the student .*Still requires a gradient"),
        ({"student": f"{NETS}:Flat", "method": "KD+AT"}, r"--method KD\+AT: the student has no feature maps to pair"),
        ({"change": ("student.args.depth=2",)}, "unknown argument 'depth'"),
        ({"change": ("method.FitNet.weight=1",)}, "unknown term 'FitNet': known are CE, KD"),
        ({"teacher_weights": "none.pth"}, "there is no file none.pth: give the path of"),
        ({"teacher_normalise": "imagnet", "train_teacher": 1}, "did you mean imagenet"),
    ],
)  # fmt: skip
def test_words_that_lead_nowhere(words: dict[str, Any], says: str, planned: Callable[..., Plan]) -> None:
    with pytest.raises(RedistillError, match=says):
        planned(**words)


def test_folders_that_cannot_teach(planned: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match=r"has one class \(blue\): a network learns to tell classes apart"):
        planned(data=folder_of_photos(tmp_path / "one", 4, 2, ("blue",)))
    photo(tmp_path / "single" / "train" / "blue" / "0.png", 0, 0)
    photo(tmp_path / "single" / "val" / "blue" / "0.png", 0, 0)
    with pytest.raises(RedistillError, match=r"has one class|has 1 training image"):
        planned(data=tmp_path / "single")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RedistillError, match="holds no images"):
        planned(data=tmp_path / "empty")
    for name, says in (("mine.npz", "is a file: write arrays:.*mine.npz"), ("photos.zip", "is a file: .*is to be unpacked first")):
        (tmp_path / name).touch()
        with pytest.raises(RedistillError, match=says):
            planned(data=tmp_path / name)


def test_a_teacher_that_learned_nothing_here_is_told_from_a_wrong_file(planned: Callable[..., Plan], tmp_path: Path) -> None:
    """It was asked whether its weights were the right ones, and sent to the option that had been given."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 30)):
        for label in ("blue", "green", "red"):
            (tmp_path / "noise" / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "noise" / part / label / f"{number}.png")
    made = planned(data=tmp_path / "noise", teacher=BIG, train_teacher=1)
    assert "trained on the labels first, for 1 epoch\n" in str(made)
    with pytest.raises(RedistillError, match=r"has nothing to teach. It was trained here for 1 epoch: train it for longer") as refused:
        made.carry_out()
    assert "--teacher-weights" not in str(refused.value)


@pytest.mark.parametrize(("each", "why"), [(3, "the smallest, for so few images"), (24, "at least eight steps an epoch")])
def test_the_reason_of_a_batch_holds(each: int, why: str, planned: Callable[..., Plan], tmp_path: Path) -> None:
    said = str(planned(data=folder_of_photos(tmp_path / "few", each, 8), teacher=BIG, train_teacher=1, epochs=1))
    assert f"8 images, {why}" in said
    steps = "1 step" if each == 3 else "9 steps"  # of nine images the ninth is no batch of its own
    assert re.search(rf"length +1 epoch of {steps}\n", said)


@pytest.mark.parametrize("place", ["photos", "of: may"])
def test_nobody_is_evaluated_on_what_was_trained_on(place: str, planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "train", tmp_path / place)
    for data in (tmp_path / place, f"folder:{tmp_path / place}", f"folder:{tmp_path / place}:train"):
        made = planned(data=data)
        seen, shown = (set(images.index.tolist()) for images in (made.photos.train, made.photos.test))
        assert len(seen) == 65 and len(shown) == 7 and not seen & shown
    made = planned(data=tmp_path / place, evaluate=str(photos / "val"))
    assert len(made.photos.train) == 72 and len(made.photos.test) == 36  # nothing is split off where another set is evaluated on
    named = planned(data=f"folder:{photos}:train")
    assert named.photos.test_name == f"folder:{photos}:val" and "photos" in str(named) and "val beside train" in str(named)


def test_classes_of_other_numbers_are_not_evaluated_on(planned: Callable[..., Plan], tmp_path: Path) -> None:
    def other(*names: str) -> str:
        return str(folder_of_photos(tmp_path / "-".join(names), 1, 2, names) / "val")

    with pytest.raises(RedistillError, match="'green' is class 1 for the training images and class 2 for the evaluation images"):
        planned(evaluate=other("blue", "brown", "green"))
    with pytest.raises(RedistillError, match="has 2 classes, the training images 3: classes are numbered in the order of their names"):
        planned(evaluate=other("blue", "red"))
    assert "3 of 3 classes have other names: class 0 is 'blue' for" in str(planned(evaluate=other("rot", "gelb", "blau")))


def test_pictures_beside_class_folders_and_of_other_endings_are_told(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photos / "train", copy)
    (copy / "red" / "phone.heic").write_bytes(b"")
    (copy / "labels.csv").write_text("")
    assert "72 picture files, 16x16 pixels; passed over for their endings: 1 .csv, 1 .heic" in str(planned(data=copy)).replace(
        "1 .heic, 1 .csv", "1 .csv, 1 .heic"
    )
    photo(copy / "cover.png", 0, 0)
    with pytest.raises(RedistillError, match=r"3 folders of pictures \(blue, green, red\) and pictures beside them \(cover.png\): move"):
        planned(data=copy)


def test_evaluation_images_that_were_trained_on_are_told(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match=r"all 72 evaluation images are training images: .* Leave --evaluate out"):
        planned(evaluate=str(photos / "train"))
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    shutil.copy(copy / "train" / "red" / "0.png", copy / "val" / "red" / "again.png")
    assert "1 of them are training images too" in str(planned(data=copy)) and "images too" not in str(planned())
    # crops out of files keep the training images on disk, where the others are in memory
    assert "1 of them are training images too" in str(planned(data=copy, augment="resized-crop"))
    with pytest.raises(RedistillError, match=r"all 72 evaluation images are training images: "):
        planned(evaluate=photos / "train", recipe="patient")


def test_classes_that_nobody_evaluates_are_told(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    """An accuracy of two classes of three looked like one of all; an evaluation folder of two was sent to make an empty one, and back."""
    shutil.copytree(photos, tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos" / "val" / "green")
    made = planned(data=tmp_path / "photos")
    assert "none of green, of which an accuracy says nothing" in str(made) and "says nothing" not in str(planned())
    with pytest.raises(RedistillError, match="so both need the same class folders, but for val/ beside train/, which may lack some"):
        planned(evaluate=tmp_path / "photos" / "val")


def test_crops_out_of_files_and_images_without_labels_do_not_go_together(planned: Callable[..., Plan], photos: Path) -> None:
    """The sentence told to give the augmentation to a function of Python, with which it was given already."""
    more: Any
    for more in ({"augment": "resized-crop:0.5"}, {"recipe": "patient"}):
        with pytest.raises(RedistillError, match=r"which cuts out of the files, and images without labels \(images:.*\) are added"):
            planned(unlabelled=photos / "val", **more)
    asked = {"source": {"data": f"folder:{photos}:train", "beside": f"images:{photos / 'val'}", "augment": "resized-crop"}}
    with pytest.raises(RedistillError, match="take another augmentation, crop-flip:4, or take them away"):
        Experiment.of({**asked, "student": {"model": SMALL}, "method": [{"use": "CE"}], "recipe": {"epochs": 1}}).source.build(0, None)


def test_folders_of_parts_and_of_images_without_labels_are_no_classes(
    planned: Callable[..., Plan], photos: Path, tmp_path: Path
) -> None:
    for train, val in (("Train", "Val"), ("training", "validation")):
        shutil.copytree(photos / "train", tmp_path / train / train)
        shutil.copytree(photos / "val", tmp_path / train / val)
        with pytest.raises(RedistillError, match=f"has the folder {train}, which holds folders and would be a class: call .* train/ and"):
            planned(data=tmp_path / train)
    shutil.copytree(photos / "train", tmp_path / "flat")
    shutil.copytree(photos / "val" / "red", tmp_path / "flat" / "test")  # a class may be called so
    assert "in 4 classes" in str(planned(data=tmp_path / "flat"))
    shutil.move(tmp_path / "flat" / "test", tmp_path / "flat" / "unlabelled")
    with pytest.raises(RedistillError, match="has unlabelled/ among its class folders, where it would be a class"):
        planned(data=tmp_path / "flat")


def test_unreadable_files_are_named_and_may_be_left_out(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    (copy / "train" / "red" / "broken.png").write_bytes(b"not a picture")
    frames = [Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (0, 255)]
    frames[0].save(copy / "val" / "red" / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(RedistillError, match=r"2 of 110 picture files cannot be used: .*broken.png \(it is no image.*film.gif .*animated"):
        planned(data=copy)
    made = planned(data=copy, skip_unreadable=True, epochs=1, train_teacher=1)
    assert "2 of them left out" in str(made) and len(made.photos.train) == 72 and len(made.photos.test) == 36
    [one] = made.plain.values()
    assert one.run(tmp_path / "runs").record["data"]["train"]["count"] == 72


def test_pictures_of_every_mode_are_taken(planned: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    below = copy / "train" / "red"
    for mode in ("L", "P", "CMYK", "RGBA", "1"):
        photo(below / f"mode-{mode}.tif", 0, 7, mode=mode)
    Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)).save(below / "sixteen.png")
    turned = Image.open(below / "0.png")
    exif = turned.getexif()
    exif[274] = 6
    turned.save(below / "turned.jpg", exif=exif)
    photo(below / "deep" / "er" / "0.png", 0, 9)  # nested: of the same class
    photo(below / ".hidden.png", 0, 9)
    made = planned(data=copy)
    assert "8 to" not in str(made) and made.photos.train.class_counts() == (24, 24, 32)


def test_photographs_of_many_sizes_become_one(planned: Callable[..., Plan], tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(12):
            photo(tmp_path / "sizes" / name / f"{i}.png", 0, i, side=40 + 3 * i)
    made = planned(data=tmp_path / "sizes")
    assert "32x32, the shorter sides are 55 in the median" in str(made) and "a tenth of the images, split off" in str(made)
    assert made.photos.train.image_shape == (3, 32, 32) and len(made.photos.train) == 22
    assert "48x48, as asked for" in str(planned(data=tmp_path / "sizes", size=48))


def test_a_student_larger_than_its_teacher_is_said(planned: Callable[..., Plan]) -> None:
    assert "LARGER than the teacher" in str(planned(student="wrn-10-1"))


def test_memory_is_measured_before_it_is_used(monkeypatch: pytest.MonkeyPatch, planned: Callable[..., Plan]) -> None:
    net: Any = rd.models.build(SMALL, 3)
    needs = {batch: cost.training_memory(net, None, (3, 64, 64), batch, torch.device("cpu")) for batch in (8, 16, 32)}
    assert needs[32] - needs[16] == pytest.approx(2 * (needs[16] - needs[8]))
    maps = sum(32 * 4 * c * s * s for c, s in ((4, 32), (8, 16)))  # one map of each convolution, of 32 images
    assert 3 * maps < needs[32] < 20 * maps  # convolution, norm and activation are kept for the gradient
    monkeypatch.setattr(length, "STEPS", 1)
    made = planned()
    assert made.length is not None and made.length.recipe["batch_size"] == 64
    need = cost.training_memory(rd.models.build(SMALL, 3), rd.models.build(BIG, 3), (3, 16, 16), 16, torch.device("cpu"))
    monkeypatch.setattr(cost, "available_memory", lambda device: int(1.05 * need / length.SHARE))
    made = planned(student=SMALL, train_teacher=1)
    assert made.length is not None and made.length.recipe["batch_size"] == 16 and "the largest that fits into 80 %" in str(made)
    monkeypatch.setattr(cost, "available_memory", lambda device: 1000)
    with pytest.raises(RedistillError, match="no smaller batch fits"):
        planned()


def test_a_network_of_the_package_is_a_teacher_by_its_name(tmp_path: Path) -> None:
    made = rd.distill.plan("digits", "wrn-16-2-digits", "quarter", runs=tmp_path)
    assert made.teacher.model == "wrn-16-2" and made.teacher.class_names is not None and len(made.distilled["KD"]) == 1


def test_a_command_says_once_that_an_average_was_not_read(tmp_path: Path) -> None:
    """The plan said it twice, and the run twice more, from every place that reads the file."""
    state = rd.models.load("wrn-16-2-digits").state_dict()
    torch.save({"epoch": 1, "state_dict": state, "state_dict_ema": state}, tmp_path / "ema.pth")
    with pytest.warns(WeightsWarning) as told:
        plan("digits", tmp_path / "ema.pth", "wrn-10-1", epochs=1, runs=tmp_path / "runs", resources=Resources(device="cpu"))
    assert len(told) == 1
    words = [sys.executable, "-m", "redistill", "distill", "--data", "digits", "--teacher", "ema.pth", "--student", "wrn-10-1"]
    words += ["--epochs", "1", "--no-plain", "--device", "cpu"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.count("holds weights and their running average") == 1, done.stderr
