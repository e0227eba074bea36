"""Students for elsewhere: ONNX and torch.export compute the same, int8 nearly; the folder is what the hub mixin reads.

The libraries are extras: what needs them is skipped where they are missing, and their absence is a sentence.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

import redistill as rd
from helpers.photographs import HERE
from redistill.data.decode import read as read_picture
from redistill.errors import RedistillError
from redistill.export import hub, onnx
from redistill.export.folder import arguments, building, use_text, write_folder
from redistill.export.network import Subject, difference
from redistill.export.program import write_program
from redistill.features.outputs import logits_of
from redistill.models.folder import Facts
from redistill.runs.store import Run, Store

NETS = HERE / "engineers.py"
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs onnx, onnxscript and onnxruntime")


def trained(student: dict[str, Any], root: Path, epochs: int = 2) -> Run:
    settings = {
        "student": student, "method": [{"use": "CE"}], "source": {"data": "digits", "per_class": 20},
        "evaluate": {"test": "digits:test"}, "recipe": {"epochs": epochs, "lr": 0.05, "batch_size": 50},
    }  # fmt: skip
    return rd.Experiment.of(settings, device="cpu").run(root)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network of one's own that returns a named tuple, trained on digits."""
    return trained({"model": f"{NETS}:Small", "args": {"width": 8}}, tmp_path_factory.mktemp("runs"), 8)


@needs_onnx
@pytest.mark.filterwarnings("ignore")
def test_onnx_computes_what_torch_does(run: Run, tmp_path: Path) -> None:
    found = onnx.write_onnx(Subject.of(run, trust_code=True), tmp_path / "small.onnx")
    assert found.images == 32 and found.largest < 1e-4 and "the largest difference to torch over 32 real images" in str(found)
    test, _ = Subject.of(run, trust_code=True).images("test", 7)  # any number of images
    assert onnx._run(onnx._session(found.file), test).shape == (7, 10)


@needs_onnx
@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_that_computes_something_else_is_refused(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Subject, "outputs", lambda self, images: self.net(images).detach() + 1.0)
    with pytest.raises(RedistillError, match="does not compute what the network does"):
        onnx.write_onnx(Subject.of(run, trust_code=True), tmp_path / "small.onnx")


@needs_onnx
@pytest.mark.filterwarnings("ignore")
def test_int8_has_its_accuracy_beside_the_float_one(run: Run, tmp_path: Path) -> None:
    found = onnx.write_int8(Subject.of(run, trust_code=True), tmp_path / "small.onnx")
    assert found.images == 450 and found.kind.startswith("static, calibrated on 200 training images")
    assert 100 * found.right_float / 450 == pytest.approx(run.accuracy("test"))
    assert abs(found.right_int8 - found.right_float) < 45 and "int8" in str(found)
    linear = trained({"model": "mlp", "args": {"inputs": 64}}, tmp_path)
    assert onnx.write_int8(Subject.of(linear, trust_code=True), tmp_path / "linear.onnx").kind == "dynamic, for its linear layers"


def test_no_accuracy_is_told_of_training_images_and_missing_ones_are_named(tmp_path: Path) -> None:
    """A run without an evaluation set had the accuracy of its int8 network on images it had learned from, and nothing said so."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=pixels, y=np.arange(40) % 2)
    settings = {
        "student": {"model": f"{NETS}:Small"}, "method": [{"use": "CE"}], "source": {"data": f"arrays:{tmp_path / 'mine.npz'}"},
        "evaluate": {}, "recipe": {"epochs": 1, "batch_size": 20},
    }  # fmt: skip
    subject = Subject.of(rd.Experiment.of(settings, device="cpu").run(tmp_path / "runs"), trust_code=True)
    images, labels = subject.images("test", 32)
    assert images.shape == (32, 1, 8, 8) and labels is None
    (tmp_path / "mine.npz").unlink()
    with pytest.raises(RedistillError, match=r"^an export is compared on images of \S+, and they cannot be had: .*mine\.npz"):
        subject.images("test", 32)


def test_of_several_evaluation_sets_the_one_that_tells_most_is_shown(tmp_path: Path) -> None:
    """The first one was, also where it was the training images: their accuracy stood on the card, and int8 was refused."""
    settings = {
        "student": {"model": "mlp", "args": {"inputs": 64}}, "method": [{"use": "CE"}], "source": {"data": "digits"},
        "evaluate": {"train": "digits:train", "digits": "digits:test"}, "recipe": {"epochs": 1, "lr": 0.05},
    }  # fmt: skip
    run = rd.Experiment.of(settings, device="cpu").run(tmp_path / "runs")
    assert run.accuracy("train") != run.accuracy("digits")
    images, labels = Subject.of(run).images("test", 500)
    assert len(images) == 450 and labels is not None and labels.equal(rd.data.load("digits:test").y)  # type: ignore[arg-type]
    write_folder(run, tmp_path / "folder")
    card = (tmp_path / "folder" / "README.md").read_text()
    assert 'name: "digits:test"' in card and f"value: {run.accuracy('digits') / 100:.4f}" in card


def test_a_difference_that_is_no_number_is_one() -> None:
    """A file that says NaN where the network does not passed, because NaN is not above any bound."""
    ours = torch.tensor([[1.0, -2.0, -torch.inf]])
    assert difference(ours.clone(), ours) == (0.0, 0.0)
    assert difference(torch.tensor([[1.0, -1.5, -torch.inf]]), ours) == (0.5, 0.25)
    for odd in (torch.nan, torch.inf):
        assert difference(torch.tensor([[odd, -2.0, -torch.inf]]), ours)[1] == torch.inf
    assert difference(torch.tensor([[1.0, -2.0, 0.0]]), ours)[1] == torch.inf


def test_a_run_in_double_precision_is_exported_in_single(tmp_path: Path) -> None:
    """Its images were fp32 and its weights fp64: every export, and use.py, ended with PyTorch's message."""
    settings = {
        "student": {"model": "mlp", "args": {"inputs": 64}}, "method": [{"use": "CE"}], "source": {"data": "digits", "per_class": 2},
        "recipe": {"steps": 1, "precision": "double"},
    }  # fmt: skip
    run = rd.Experiment.of(settings, device="cpu").run(tmp_path / "runs")
    assert next(run.network().parameters()).dtype == torch.float64
    subject = Subject.of(run)
    images, _ = subject.images("test", 5)
    assert subject.outputs(images).dtype == torch.float32
    facts = write_folder(run, tmp_path / "folder")
    assert building(facts, tmp_path)[-1] == 'net = redistill.models.load(".").float()'


class Named(NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


@dataclass
class Filed:
    features: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize("kind", [Named, Filed, lambda features, one: {"features": features, "logits": one}, lambda _, one: (None, one)])
def test_the_folders_script_reads_what_the_package_reads(kind: Any, tmp_path: Path) -> None:
    """It took the first entry of two dimensions, which may be features, and left dataclasses with a traceback."""
    text = use_text(Facts("mlp", {}, {"classes": 3, "image_size": 16}, None, "half"), tmp_path)
    lines = "if not isinstance(said" + text.split("if not isinstance(said")[1].split("probabilities")[0]
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    seen: dict[str, Any] = {"torch": torch, "said": kind(torch.ones(1, 7), logits)}
    exec(lines, seen)
    assert seen["said"] is logits is logits_of(kind(torch.ones(1, 7), logits), nn.Identity().eval())


def test_sizes_among_the_arguments_of_a_library_s_network_are_sizes(tmp_path: Path, monkeypatch: Any) -> None:
    """A run takes args = { classes = 3 }; the folder of its student could not be loaded, and use.py ended in a TypeError."""

    def create_model(name: str, pretrained: bool = False, num_classes: int = 10, width: int = 2) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, width), nn.Linear(width, num_classes))

    timm: Any = types.ModuleType("timm")
    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    facts = Facts("timm:tiny", {"classes": 3, "width": 5}, {"classes": 10, "channels": 1, "image_size": 2}, None, "half")
    assert arguments(facts, tmp_path) == {"num_classes": 3, "width": 5}
    net = create_model("tiny", num_classes=3, width=5)
    rd.models.save(net, tmp_path / "model.safetensors")
    (tmp_path / "redistill.json").write_text(json.dumps(facts.as_json()))
    images = torch.rand(2, 1, 2, 2)
    assert torch.equal(rd.models.load(tmp_path)(images), net(images))


def test_a_source_file_may_be_called_as_a_module_of_python(tmp_path: Path) -> None:
    """``from numbers import Small`` finds Python's own module, which torch has imported before."""
    (tmp_path / "numbers.py").write_bytes(NETS.read_bytes())
    lines = building(Facts("./numbers.py:Small", {}, {"classes": 3}, None, "half"), tmp_path)
    assert not any(line.startswith("from numbers") for line in lines) and "Small = module.Small" in lines


@needs_onnx
@pytest.mark.filterwarnings("ignore")
def test_an_operator_without_a_form_is_named(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), _Bessel())
    subject = Subject.of(trained({"model": "mlp", "args": {"inputs": 64}}, tmp_path))
    subject.net.net = net.eval()
    with pytest.raises(RedistillError, match=r"its operator aten\.special_modified_bessel_i0 has no form in ONNX"):
        onnx.write_onnx(subject, tmp_path / "x.onnx")


class _Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.modified_bessel_i0(x)


@pytest.mark.filterwarnings("ignore")
def test_a_program_of_torch_export_computes_the_same(run: Run, tmp_path: Path) -> None:
    largest, count = write_program(Subject.of(run, trust_code=True), tmp_path / "small.pt2")
    assert largest < 1e-5 and count == 32
    images, _ = Subject.of(run, trust_code=True).images("test", 5)
    again = torch.export.load(str(tmp_path / "small.pt2")).module()
    assert torch.allclose(again(images), run.network()(images).logits, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_place_that_cannot_be_written_is_what_is_told(run: Run, tmp_path: Path) -> None:
    """And not that the network has no form in a program."""
    (tmp_path / "there").mkdir()
    with pytest.raises(RedistillError, match=r"^cannot write \S+there: "):
        write_program(Subject.of(run, trust_code=True), tmp_path / "there")
    if HAS_ONNX:
        with pytest.raises(RedistillError, match=r"^cannot write \S+there: "):
            onnx.write_onnx(Subject.of(run, trust_code=True), tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.filterwarnings("ignore")
def test_a_program_that_computes_something_else_is_not_written(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Subject, "outputs", lambda self, images: self.net(images).detach() + 1.0)
    with pytest.raises(RedistillError, match=r"does not compute the same, and \S+small.pt2 was not written"):
        write_program(Subject.of(run, trust_code=True), tmp_path / "small.pt2")
    assert not (tmp_path / "small.pt2").exists()


@pytest.mark.filterwarnings("ignore")
def test_what_depends_on_values_is_refused(run: Run, tmp_path: Path) -> None:
    class Deciding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(1)[:, :10]
            return flat if flat.sum() > 0 else -flat

    subject = Subject.of(run, trust_code=True)
    subject.net.net = Deciding()
    with pytest.raises(RedistillError, match=r"cannot be exported .*what depends on the values"):
        write_program(subject, tmp_path / "x.pt2")


def test_the_folder_is_read_by_the_hub_mixin(run: Run, tmp_path: Path) -> None:
    hub_library = pytest.importorskip("huggingface_hub")
    write_folder(run, tmp_path / "hub", trust_code=True)
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert config == {"n_classes": 10, "in_chans": 1, "width": 8}
    spec = importlib.util.spec_from_file_location("their_nets", tmp_path / "hub" / "engineers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["their_nets"] = module
    spec.loader.exec_module(module)
    mixed: Any = type("Mixed", (module.Small, hub_library.PyTorchModelHubMixin), {})
    net = mixed.from_pretrained(str(tmp_path / "hub"))
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(net.eval()(images).logits, run.network()(images).logits)


def test_missing_extras_are_a_sentence(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("onnxruntime", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RedistillError, match=r"needs the package onnx\w*, which is not installed: pip install 'redistill\[onnx\]'"):
        onnx.write_onnx(Subject.of(run, trust_code=True), tmp_path / "x.onnx")
    with pytest.raises(RedistillError, match=r"needs the package huggingface_hub, .*pip install 'redistill\[hub\]'"):
        hub.push(tmp_path, "a/b")


def test_without_a_token_nothing_is_pushed(tmp_path: Path, monkeypatch: Any) -> None:
    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library, "get_token", lambda: None)
    with pytest.raises(RedistillError, match="there is no token of the hub"):
        hub.push(tmp_path, "a/b")


def test_nobody_s_files_are_written_over(run: Run, tmp_path: Path) -> None:
    for name in ("README.md", "engineers.py"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("mine", encoding="utf-8")
        with pytest.raises(RedistillError, match=f"{name} is there, and was not written here: give another folder with --out"):
            write_folder(run, tmp_path / name, trust_code=True)
        assert [one.name for one in (tmp_path / name).iterdir()] == [name]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine", encoding="utf-8")
    for _ in range(2):
        assert write_folder(run, tmp_path / "other", trust_code=True).run == run.id


def test_a_network_of_ours_has_a_folder_too(tmp_path: Path) -> None:
    made = trained({"model": "wrn-10-1"}, tmp_path / "runs", 1)
    write_folder(made, tmp_path / "folder", trust_code=True)
    images = torch.rand(2, 1, 8, 8)
    net: Any = rd.models.load(tmp_path / "folder")
    assert torch.equal(net(images), made.network()(images)) and net.normalisation == "digits" and net.class_names is not None
    with pytest.raises(RedistillError, match="leave model, classes, args and averaged out"):
        rd.models.load(tmp_path / "folder", model="wrn-10-1")
    assert Store(tmp_path / "runs").pick(made.id)[0].id == made.id


def test_a_network_of_a_module_has_a_folder_too(tmp_path: Path, monkeypatch: Any) -> None:
    """``package.module:Net`` was looked for as a file of the folder: a distillation of it ended so, after everything was trained."""
    (tmp_path / "here" / "some_package").mkdir(parents=True)
    (tmp_path / "here" / "some_package" / "__init__.py").write_text("")
    (tmp_path / "here" / "some_package" / "nets.py").write_bytes(NETS.read_bytes())
    monkeypatch.syspath_prepend(tmp_path / "here")
    made = trained({"model": "some_package.nets:Small"}, tmp_path / "runs", 1)
    facts = write_folder(made, tmp_path / "folder", trust_code=True)
    assert "from some_package.nets import Small" in building(facts, tmp_path / "folder")
    images = torch.rand(2, 1, 8, 8)
    wanted = made.network()(images).logits
    again: Any = rd.models.load(tmp_path / "folder", trust_code=True)
    assert torch.equal(again(images).logits, wanted)
    assert torch.equal(rd.distill.named(str(tmp_path / "folder")).made(facts.sizes).eval()(images).logits, wanted)


def test_a_buffer_of_no_state_dict_comes_along(tmp_path: Path, monkeypatch: Any) -> None:
    """It is drawn with the run's seed; a network made again under another one would look through another matrix, silently."""
    settings = {
        "student": {"model": f"{NETS}:Drawn"}, "method": [{"use": "CE"}], "source": {"data": "digits", "per_class": 20},
        "evaluate": {"test": "digits:test"}, "recipe": {"epochs": 4, "lr": 0.05, "batch_size": 50},
    }  # fmt: skip
    made = rd.Experiment.of(settings, device="cpu", seed=1).run(tmp_path / "runs")
    net, test = made.network(), rd.data.load("digits", part="test")
    assert rd.evaluate(net, test).accuracy == made.accuracy("test")
    facts = write_folder(made, tmp_path / "folder", trust_code=True)
    images = torch.rand(3, 1, 8, 8)
    again = rd.models.load(tmp_path / "folder", trust_code=True)
    assert torch.equal(again(images), net(images))
    assert rd.distill.named(str(tmp_path / "folder")).made(facts.sizes)(images).equal(net(images))
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.syspath_prepend(".")
    names: dict[str, Any] = {}
    exec("\n".join(building(facts, tmp_path / "folder", ["glass"])), names)
    assert torch.equal(names["net"](images), net(images))
    lines = building(facts, tmp_path / "folder", ["glass"])
    assert all(line in (tmp_path / "folder" / page).read_text() for page in ("use.py", "README.md") for line in lines)


@pytest.mark.parametrize(
    "kind", ["sixteen.png", "sixteen.tif", "turned.png", "grey.png", "palette.png", "ink.jpg", "clear.png", "small.png", "half.png"]
)
def test_the_folders_script_sees_a_picture_as_the_training_did(kind: str, tmp_path: Path) -> None:
    """A 16-bit picture was cut off at 255 of 65535: nearly all of it was white. A side of 25.5 pixels was rounded otherwise."""
    g = np.random.default_rng(0)
    size, side = {"small": ((9, 7), 16), "half": ((187, 176), 24)}.get(kind.split(".")[0], ((33, 21), 16))
    colours = Image.fromarray(g.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x112] = 6
    sixteen = Image.fromarray(g.integers(0, 65536, (size[1], size[0]), dtype=np.uint16))
    mode = {"grey": "L", "palette": "P", "ink": "CMYK", "clear": "RGBA"}.get(kind.split(".")[0], "RGB")
    image = sixteen if kind.startswith("sixteen") else colours.convert(mode)
    image.save(tmp_path / kind, **({"exif": turned} if kind.startswith("turned") else {}))
    facts = Facts("mlp", {}, {"classes": 3, "image_size": side}, None, "half")
    lines = use_text(facts, tmp_path).split("net.eval()\n\n")[1].split("x = (torch")[0]
    seen: dict[str, Any] = {"Image": Image, "ImageOps": ImageOps, "np": np, "SIZE": side, "picture": tmp_path / kind}
    exec(lines, seen)
    trained_on = read_picture(tmp_path / kind, side, side).permute(1, 2, 0).float().numpy()
    assert np.array_equal(seen["pixels"], trained_on)


def test_a_picture_is_white_at_255_whatever_the_training_images_were(run: Run, tmp_path: Path) -> None:
    """Pixels of a picture were divided by 16 where the network had learned from digits of 17 grey levels."""
    write_folder(run, tmp_path / "folder", trust_code=True)
    test = rd.data.load("digits", part="test")
    Image.fromarray((test.x[0, 0].numpy() * (255 / 16)).round().astype(np.uint8)).save(tmp_path / "digit.png")
    words = [sys.executable, "use.py", str(tmp_path / "digit.png")]
    done = subprocess.run(words, cwd=tmp_path / "folder", capture_output=True, text=True, check=True)
    wanted = rd.predict(run.network(), test)[0].softmax(0)
    share, name = done.stdout.splitlines()[0].split()
    assert int(name) == int(wanted.argmax()) and float(share) == pytest.approx(float(wanted.max()), abs=0.02)
    assert "pixels divided by their white (255 in a picture), mean 0.3053" in (tmp_path / "folder" / "README.md").read_text()


@pytest.mark.parametrize("name", ["small-net.py", "2 nets.v3.py", "use.py", "class.py"])
def test_a_source_file_may_be_called_anything(name: str, tmp_path: Path) -> None:
    """A name that no import statement takes was a SyntaxError in use.py and on the card; a source called use.py was written over."""
    (tmp_path / name).write_bytes(NETS.read_bytes())
    made = trained({"model": f"{tmp_path / name}:Small"}, tmp_path / "runs", 1)
    write_folder(made, tmp_path / "folder", trust_code=True)
    assert (tmp_path / "folder" / name).read_bytes() == NETS.read_bytes()
    net: Any = rd.models.load(tmp_path / "folder", trust_code=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "picture.png")
    card = (tmp_path / "folder" / "README.md").read_text()
    script = card.split("(`python ")[1].split(" PICTURE`")[0]
    assert (script == "use.py") == (name != "use.py")
    lines = card.split("```python\n")[1].split("```")[0] + "import torch\nprint(net(torch.ones(1, 1, 8, 8)).logits.tolist())"
    for words in ([script, str(tmp_path / "picture.png")], ["-c", lines]):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path / "folder", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), net(torch.ones(1, 1, 8, 8)).logits)


def test_the_folders_script_says_how_it_is_called(tmp_path: Path) -> None:
    facts = Facts("mlp", {}, {"classes": 3, "image_size": 16}, None, "half")
    (tmp_path / "use.py").write_text(use_text(facts, tmp_path))
    done = subprocess.run([sys.executable, str(tmp_path / "use.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("python use.py PICTURE:")


@pytest.mark.parametrize("wrong", [{"sizes": 3}, {"model": 5}, {"args": []}, {"class_names": 4}, {"more": 1}])
def test_a_folder_that_says_something_odd_is_called_damaged(tmp_path: Path, wrong: dict[str, Any]) -> None:
    about = {"model": "mlp", "args": {}, "sizes": {"classes": 10}, "class_names": None, "normalise": "digits", "format": 1, **wrong}
    (tmp_path / "redistill.json").write_text(json.dumps(about))
    rd.models.save(rd.models.build("mlp", inputs=64), tmp_path / "model.safetensors")
    with pytest.raises(RedistillError, match=r"redistill\.json is damaged"):
        rd.models.load(tmp_path)


def test_the_command(run: Run, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "redistill", "export", run.id, "--runs", str(run.folder.parents[1]), "--trust-code"]
    done = subprocess.run([*words, "--to", "hub", "--out", str(tmp_path / "hub")], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "hub" / "use.py").is_file(), done.stderr
    done = subprocess.run([*words, "--to", "torch-export", "--push", "a/b"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--push goes with --to hub" in done.stderr


def test_code_that_a_record_names_runs_only_on_the_word(run: Run, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "redistill", "export", run.id, "--runs", str(run.folder.parents[1]), "--to", "hub"]
    words += ["--out", str(tmp_path / "h")]
    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "--trust-code" in refused.stderr and not (tmp_path / "h").exists(), refused.stderr
    assert subprocess.run([*words, "--trust-code"], capture_output=True, text=True, check=False).returncode == 0
