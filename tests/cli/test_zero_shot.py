"""``redistill belief``, ``toy`` and ``samples`` as a user runs them: files, numbers, sentences."""

from __future__ import annotations

import csv
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.experiments import HERE
from redistill import cli, data, models, rng
from redistill.belief import transitions
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.report.zero_shot import belief_panels
from redistill.report.zero_shot_results import transition_error
from redistill.runs.measured import every

Call = Any


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """``call("belief", ...)``: exit status, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["redistill", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("nets")
    paths = []
    for name, factor in (("small", 1.0), ("other", 1.5)):  # alike enough to agree somewhere
        net = models.wrn(10, 1, classes=10, channels=1, image_size=8, seed=0)
        net.normalisation = "digits"
        with torch.no_grad():
            net.bn1.weight.mul_(factor)  # type: ignore[union-attr, operator]
            net.fc.bias.add_(0.1 * (factor - 1.0))  # type: ignore[union-attr, operator]
        models.save(net, folder / f"{name}.safetensors")
        paths.append(folder / f"{name}.safetensors")
    return paths


def test_belief_writes_curves_figures_and_the_numbers_of_the_library(call: Call, nets: list[Path], tmp_path: Path) -> None:
    words = ("--data", "digits:test", "--count", 3, "-K", 4, "--xi", 2.0, "--noise", 20, "--to", tmp_path, "--device", "cpu", "--json")
    status, out, err = call("belief", *nets, *words)
    assert status == 0 and "beliefs: done in" in err
    printed = json.loads(out)
    both = {path.stem: models.load(path) for path in nets}
    want = transitions(both, data.load("digits:test"), count=3, K=4, rate=2.0)
    assert {(row["attacked"], row["other"]): row["mte"] for row in printed["pairs"]} == pytest.approx(
        {pair: t.mte for pair, t in want.items()}, rel=1e-5
    )
    assert all(0 <= row["agreement"] <= 100 and row["kl_attacked_other"] > 0 for row in printed["pairs"])
    assert {name: sum(counts) for name, counts in printed["noise"].items()} == {"small": 20, "other": 20}
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 and float(rows[3]["attacked"]) == pytest.approx(float(want["small", "other"].curve("attacked")[3]), rel=1e-5)
    keep = tmp_path / "belief"
    words = ("--data", "digits:test", "--count", 3, "-K", 4, "--xi", 2.0, "--noise", 0, "--to", tmp_path / "again", "--device", "cpu")
    status, _, _ = call("belief", f"mine={nets[0]}", f"theirs={nets[1]}", *words, "--attack", "mine", "--keep", keep)
    [record] = every(keep)
    assert status == 0 and record["name"] == "mine" and record["taught_by"] == "its file does not say" and record["images"] == 3
    assert record["mte"] == pytest.approx(want["small", "other"].mte, rel=1e-5) and len(record["curves"]) == 4
    assert record["file"] == "small.safetensors" and record["teacher"]["file"] == "other.safetensors"
    for name in ("transitions.svg", "noise.svg"):
        assert ET.parse(tmp_path / name).getroot().tag.endswith("svg")
    with Image.open(tmp_path / "images.png") as picture:
        assert picture.width > 50 and picture.height > 50
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["pairs"] == printed["pairs"] and record["noise"] == printed["noise"]
    assert record["settings"]["K"] == 4 and list(record["networks"]) == ["small", "other"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-K", 0), "K=0: the walk needs a whole number of steps"),
        (("--xi", 0), "xi=0.0: the rate of the walk"),
        (("--mean", "median"), "--mean median --error images: known are plain or prefixes"),
        (("--mean", "prefixes", "--error", "rows"), "rows with plain only"),
        (("--normalise", "digit"), "unknown normalisation 'digit': did you mean digits"),
        (("--aim", "best"), "aim='best': known are"),
        (("--attack", "third"), "--attack third is none of the networks: small, other"),
        (("--beside", "third"), "--beside third is none of the networks: small, other"),
        (("--attack", "small", "--beside", "small"), "no pair of two networks is left of small, other"),
        (("--data", "digit:test"), "did you mean digits"),
    ],
)
def test_belief_refuses_with_a_sentence(call: Call, nets: list[Path], tmp_path: Path, words: tuple[object, ...], says: str) -> None:
    status, _, err = call("belief", *nets, "--data", "digits:test", "--to", tmp_path, *words)
    assert status == 1 and says in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_belief_as_published_elsewhere(call: Call, nets: list[Path], tmp_path: Path) -> None:
    """Micaelli's targets, the report's mean, the notebook's error, another stream: each changes the numbers as the library does."""
    both = {path.stem: models.load(path) for path in nets}
    images = data.load("digits:test").with_(normalise="half")
    base = ("belief", *nets, "--data", "digits", "--count", 2, "-K", 3, "--noise", 0, "--attack", "small", "--json", "--normalise", "half")
    want = transitions(both, images, count=2, K=3, aim="true", attack=["small"])["small", "other"]
    for words, rows in (
        ((), want.rows()),
        (("--mean", "prefixes"), want.rows(prefixes=True)),
        (("--error", "rows"), want.rows(over="rows")),
    ):
        status, out, _ = call(*base, "--aim", "true", *words, "--to", tmp_path)
        [pair] = json.loads(out)["pairs"]
        assert status == 0 and pair["mte"] == pytest.approx(want.mte, rel=1e-5)
        with (tmp_path / "curves.csv").open() as file:
            written = list(csv.DictReader(file))
        for mine, theirs in zip(written, rows, strict=True):
            assert {k: float(mine[k]) for k in theirs} == pytest.approx(theirs, rel=1e-5)
    assert json.loads((tmp_path / "record.json").read_text())["settings"]["normalise"] == "half"


def test_belief_about_a_single_image(call: Call, nets: list[Path], tmp_path: Path) -> None:
    status, out, _ = call("belief", *nets, "--data", "digits", "--count", 1, "-K", 2, "--noise", 0, "--to", tmp_path, "--json")
    pairs = json.loads(out)["pairs"]
    assert status == 0 and len(pairs) == 2 and all(p["mte_standard_error"] is None and p["images"] == 1 for p in pairs)
    assert ", 1 image" in (tmp_path / "transitions.svg").read_text() and "nan" not in (tmp_path / "record.json").read_text()
    status, out, _ = call("belief", *nets, "--data", "digits", "--count", 1, "-K", 2, "--noise", 0, "--to", tmp_path)
    assert status == 0 and out.startswith("steps in images of digits normalised as digits") and "±" not in out
    keep = ("--attack", "small", "--keep", tmp_path / "belief", "--to", tmp_path)
    status, _, err = call("belief", *nets, "--data", "digits", "--count", 1, "-K", 2, "--noise", 0, *keep)
    [record] = every(tmp_path / "belief")
    assert status == 0 and "Traceback" not in err and record["mte_standard_error"] is None
    assert [row["other_standard_error"] for row in record["curves"]] == [None, None] and 0 <= record["curves"][0]["attacked"] <= 1
    assert belief_panels(tmp_path / "again.svg", [("small", "other", "one image", record["curves"])], "beliefs").is_file()
    assert transition_error(record) == f"{record['mte']:.3f}"
    assert transition_error({"mte": 0.5, "mte_standard_error": 0.0124}) == "0.500 ± 0.012"


def test_a_model_is_that_of_the_file_that_does_not_say_its_own(call: Call, nets: list[Path], tmp_path: Path) -> None:
    """The first ``--model`` was the first network's, which said its own, and the second one was asked for a ``--model``."""
    code = "class Net(nn.Sequential):\n    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "mine.py").write_text(f"from torch import nn\n\n\n{code}", encoding="utf-8")
    weight = torch.randn(10, 64, generator=rng.stream(0, "test"))
    torch.save({"1.weight": weight, "1.bias": torch.zeros(10)}, tmp_path / "plain.pth")
    mine = f"{tmp_path / 'mine.py'}:Net"
    words = ("--data", "digits", "--normalise", "digits", "--count", 1, "-K", 1, "--noise", 0, "--to", tmp_path / "out")
    status, out, err = call("belief", nets[0], tmp_path / "plain.pth", *words, "--model", mine)
    assert status == 0 and "plain attacked" in out, err
    assert "--model" in call("belief", nets[0], tmp_path / "plain.pth", *words)[2]
    assert f"--model {mine}: every other network here says" in call("belief", *nets, *words, "--model", mine)[2]
    assert "--model stands there 3 times, for 2 networks" in call("belief", *nets, *words, *("--model", mine) * 3)[2]


def test_belief_on_images_without_labels(call: Call, nets: list[Path], tmp_path: Path) -> None:
    """It ended in a TypeError where figures name classes, after all of the work; labels are of no use to it."""
    pixels = (255 * torch.rand(12, 1, 8, 8, generator=rng.stream(0, "test"))).to(torch.uint8)
    np.savez(tmp_path / "plain.npz", x=pixels.numpy())
    words = ("--normalise", "half", "--count", 2, "-K", 2, "--noise", 5, "--to", tmp_path / "out", "--json")
    status, out, err = call("belief", *nets, "--data", f"arrays:{tmp_path / 'plain.npz'}", *words)
    assert status == 0, err
    assert [sum(counts) for counts in json.loads(out)["noise"].values()] == [5, 5] and (tmp_path / "out" / "noise.svg").is_file()


def test_networks_of_other_classes_are_refused_before_the_work(call: Call, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("a", "b")]
    for seed, path in enumerate(paths):
        models.save(models.wrn(10, 1, classes=7, channels=1, image_size=8, seed=seed), path)
    says = f"{paths[0]} tells 7 classes apart, the data have 10: they must agree"
    assert says in call("belief", *paths, "--data", "digits", "--to", tmp_path / "out")[2]
    assert says in call("evaluate", paths[0], "--data", "digits")[2]
    with pytest.raises(RedistillError, match="the labels go up to 9, the networks tell 7 classes apart"):
        transitions({p.stem: models.load(p) for p in paths}, data.load("digits:test"), count=1, K=1, aim="true")


def test_names_that_tell_networks_apart() -> None:
    from redistill.cli.belief import called, named

    class Fake:
        def __init__(self, seed: int):
            self.seed, self.record = seed, {"name": "digits"}

    two: Any = [Fake(0), Fake(1)]
    assert called(["r/x/seed-0", "r/x/seed-1"], two) == ["digits, seed 0", "digits, seed 1"]
    assert called(["r/x/seed-0", "net.pth"], [two[0], None]) == ["digits", "net"]
    assert called(["a/w.safetensors", "b/w.safetensors"], [None, None]) == ["a/w", "b/w"]
    assert called(["r/x/seed-0", "s/x/seed-0"], [two[0], two[0]]) == ["r/x/seed-0", "s/x/seed-0"]
    assert named(["KD+AT, M = 100=r/x", "net.pth"]) == (["KD+AT, M = 100", None], ["r/x", "net.pth"])
    assert called(["r/x/seed-0", "net.pth"], [two[0], None], ["ours", None]) == ["ours", "net"]


def test_a_file_with_an_equals_sign_may_have_a_name(tmp_path: Path) -> None:
    """As Lightning calls its checkpoints: the name took "epoch" with it, and the file was "9-step=5.ckpt"."""
    from redistill.cli.belief import named

    file = tmp_path / "epoch=9-step=5.ckpt"
    file.write_bytes(b"")
    assert named([f"KD, T = 4={file}", str(file), "KD=no=where"]) == (["KD, T = 4", None, "KD=no"], [str(file), str(file), "where"])


def test_a_run_that_is_not_finished_is_said_to_be(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "cell" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps({"experiment": {}, "label": "begun"}))
    for name in (folder, "begun", "cell"):
        assert f"{folder} holds a run that has not reached its end: redistill run {folder}" in call("samples", name, "--out", tmp_path)[2]
    assert f"there is no 'none', neither as a folder nor among the runs of {tmp_path}" in call("samples", "none", "--out", tmp_path)[2]


def test_belief_needs_two(call: Call, nets: list[Path]) -> None:
    assert "two networks or more, got 1" in call("belief", nets[0], "--data", "digits")[2]
    assert "named twice" in call("belief", nets[0], nets[0], "--data", "digits")[2]


def test_toy_in_short(call: Call, tmp_path: Path) -> None:
    status, out, err = call("toy", "--out", tmp_path, "--rounds", 2, "--seed", 1, "--json")
    assert status == 0 and "2 rounds: done" in err
    printed = json.loads(out)
    assert printed["teacher_accuracy"] > 90 and 0 <= printed["agreement"] <= 100
    with (tmp_path / "agreement.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["round"]) for row in rows] == [0, 1, 2]
    assert float(rows[-1]["agreement_percent"]) == pytest.approx(printed["agreement"], abs=1e-3)
    with Image.open(tmp_path / "toy.gif") as moving:
        assert getattr(moving, "n_frames") == 3  # noqa: B009  only files with frames have it
    record = json.loads((tmp_path / "record.json").read_text())
    assert {**record, "files": printed["files"]} == printed and record["seed"] == 1 and record["cpu_seconds"] > 0
    text = (tmp_path / "panels.svg").read_text()
    assert all(f"round {t}" in text for t in (0, 2)) and "real points" in text


def test_a_file_in_the_place_of_the_folder_is_said_before_the_work(call: Call, nets: list[Path], tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    for words in (("toy", "--rounds", 1, "--out", there), ("belief", *nets, "--data", "digits:test", "--to", there)):
        status, _, err = call(*words)
        assert status == 1 and err == f"redistill: cannot make the folder {there}: a file of that name is there; put that right, " \
            "or name another folder\n"  # fmt: skip


def test_samples_of_a_run(call: Call, taught_zero_shot: tuple[Path, str], tmp_path: Path) -> None:
    root, run = taught_zero_shot
    status, out, err = call("samples", run, "--out", root, "--to", tmp_path / "a", "--json")
    assert (status, err) == (0, "") and json.loads(out)["blocks"] == [0, 1, 3]
    with Image.open(tmp_path / "a" / "samples.png") as one:
        pass
    status, out, _ = call("samples", run, "--out", root, "--to", tmp_path / "b", "--alone")
    with Image.open(tmp_path / "b" / "samples.png") as two:
        assert status == 0 and two.height < one.height
    assert "generator loss" in (tmp_path / "b" / "training.svg").read_text()
    assert "trained on a generator's images, " in call("show", run, "--out", root)[1]


def test_samples_of_a_generator_alone(call: Call, nets: list[Path], taught_zero_shot: tuple[Path, str], tmp_path: Path) -> None:
    file = tmp_path / "painter.safetensors"
    models.save(models.generator(z=6, channels=1, image_size=8, seed=1), file, normalisation="digits")
    for seed in (0, 0, 1):
        status, out, _ = call("samples", file, "--count", 20, "--seed", seed, "--to", tmp_path / str(seed), "--json")
        assert status == 0 and json.loads(out)["files"] == [str(tmp_path / str(seed) / "samples.png")]
    with Image.open(tmp_path / "0" / "samples.png") as one, Image.open(tmp_path / "1" / "samples.png") as two:
        assert one.size == two.size and one.tobytes() != two.tobytes() and one.width == 4 + 16 * (64 + 4)
    root, _ = taught_zero_shot
    kept = next(root.glob("*/seed-0/generator.safetensors"))
    assert "does not say in which normalisation it paints: add --normalise" in call("samples", kept, "--to", tmp_path)[2]
    assert call("samples", kept, "--to", tmp_path, "--normalise", "digits")[0] == 0
    assert "holds a WRN, not a generator" in call("samples", nets[0], "--to", tmp_path)[2]


def test_samples_of_a_generator_of_pixels_are_its_pixels(call: Call, tmp_path: Path) -> None:
    """What it makes lies between 0 and 1, whatever set the networks that it was trained against are normalised as."""
    made = models.cmi_generator(z=6, image_size=8, seed=1)
    pictures = []
    for name, normalisation in (("with", "cifar10-kuangliu"), ("without", None)):
        models.save(made, tmp_path / f"{name}.safetensors", normalisation=normalisation)
        status, _, err = call("samples", tmp_path / f"{name}.safetensors", "--count", 2, "--to", tmp_path / name)
        assert status == 0, err
        with Image.open(tmp_path / name / "samples.png") as one:
            pictures.append(one.getpixel((4 + 4, 4 + 14 + 4)))
    z = torch.randn(2, 6, generator=rng.stream(0, "noise", "shown"))
    with torch.no_grad():
        first = (made.train()(z)[0, :, 0, 0] * 255).round()
    assert pictures == [tuple(int(level) for level in first)] * 2


def test_samples_of_a_run_without_a_generator(call: Call, taught_zero_shot: tuple[Path, str], tmp_path: Path) -> None:
    root, _ = taught_zero_shot
    teacher = next(p.parent for p in root.glob("*/seed-0/record.json") if not (p.parent / "samples.safetensors").exists())
    status, _, err = call("samples", teacher, "--out", root, "--to", tmp_path)
    assert status == 1 and "keeps no samples: its source is not a generator" in err
    runs = (HERE.parents[1] / "results" / "runs").glob("*/seed-0/record.json")
    inverted = next(path.parent for path in runs if '"images.safetensors"' in path.read_text(encoding="utf-8"))
    status, _, err = call("samples", inverted, "--out", root, "--to", tmp_path)
    assert status == 1 and "keeps no samples: the images that were made, as pixels, are in its images.safetensors" in err


@pytest.fixture(scope="session")
def taught_zero_shot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("zero-shot")
    source = {
        "kind": "adversarial", "preset": "authors", "attention": 0, "blocks": 20, "stop_after": 3, "n_S": 2, "epoch_blocks": 1,
        "channels": 1, "image_size": 8, "z": 6, "normalise": "digits",
    }  # fmt: skip
    settings = {
        "teacher": {"run": "teacher.toml"}, "student": {"model": "wrn-10-1"}, "source": source,
        "evaluate": {"test": "digits:test"}, "recipe": {"batch_size": 8},
    }  # fmt: skip
    return root, Experiment.of(settings, folder=HERE, device="cpu").run(root).id
