"""Code of one's own: which it is, who may have it run, and every place where a name can become code."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.experiments import HERE
from redistill import models, user_code
from redistill.errors import RedistillError
from redistill.experiment.networks import Net
from redistill.experiment.value import Experiment
from redistill.runs.store import Store
from redistill.user_code import load, locate

SRC = Path(__file__).resolve().parents[2] / "src" / "redistill"

NET = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self, classes, channels=1, width=3):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, width, 3, 2, 1), nn.Linear(16 * width, classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))
"""


def own(folder: Path, text: str = NET, name: str = "own.py") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(text)
    return folder / name


def settings(model: str, **more: Any) -> dict[str, Any]:
    return {"student": {"model": model}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"steps": 2}, **more}


def evil(folder: Path, name: str = "evil.py") -> tuple[Path, Path]:
    """A file that leaves a mark when it is run, and the mark."""
    mark = folder / "mark"
    return own(folder, f"import pathlib\npathlib.Path({str(mark)!r}).write_text('ran')\n{NET}", name), mark


# -- which code it is ---------------------------------------------------------------------------------------------------
def test_a_file_alone_is_known_by_its_own_sha(tmp_path: Path) -> None:
    file = own(tmp_path)
    from redistill.files import file_digest

    found = locate("./own.py:Tiny", tmp_path)
    assert (found.name, found.code, found.file) == ("./own.py:Tiny", file_digest(file), str(file.resolve()))


@pytest.mark.parametrize(
    ("line", "helper"),
    [
        ("from blocks import WIDTH", "blocks.py"),
        ("import blocks", "blocks.py"),
        ("from parts.blocks import WIDTH", "parts/blocks.py"),
        ("from parts import blocks", "parts/blocks.py"),
        ("from middle import WIDTH", "blocks.py"),
        ("def later():\n    import blocks", "blocks.py"),
        ("import importlib\nlater = lambda: importlib.import_module('blocks')", "blocks.py"),
    ],
)
@pytest.mark.parametrize("package", [True, False])
def test_what_it_imports_of_ones_own_is_known_with_it(tmp_path: Path, line: str, helper: str, package: bool) -> None:
    own(tmp_path, line + "\n" + NET)
    own(tmp_path, "from blocks import WIDTH\n", "middle.py")
    file = own((tmp_path / helper).parent, "WIDTH = 2\n", Path(helper).name)
    if package and helper.startswith("parts"):
        own(tmp_path / "parts", "", "__init__.py")
    one = load("./own.py:Tiny", tmp_path, trusted=True)
    file.write_text("WIDTH = 4\n")  # the same length, within the same second
    two = load("./own.py:Tiny", tmp_path, trusted=True)
    assert one.code != two.code
    (tmp_path / "unrelated.py").write_text("WIDTH = 1\n")
    assert locate("./own.py:Tiny", tmp_path).code == two.code
    with pytest.raises(RedistillError, match=r"(blocks|middle).* has changed since"):
        locate("./own.py:Tiny", tmp_path, code=one.code)


def test_each_file_gets_the_helpers_beside_it(tmp_path: Path) -> None:
    text = "from blocks import WIDTH\n" + NET.replace("width=3", "width=WIDTH")
    widths = {}
    for name, width in (("a", 2), ("b", 5)):
        own(tmp_path / name, text)
        own(tmp_path / name, f"WIDTH = {width}\n", "blocks.py")
    for name in ("a", "b", "a"):
        net: Any = models.build(f"{tmp_path}/{name}/own.py:Tiny", 10)
        widths[name] = net.conv.out_channels
    assert widths == {"a": 2, "b": 5}
    (tmp_path / "a" / "blocks.py").write_text("WIDTH = 3\n")
    changed: Any = models.build(f"{tmp_path}/a/own.py:Tiny", 10)
    assert changed.conv.out_channels == 3
    assert not list(tmp_path.rglob("__pycache__"))


def test_one_stream_of_first_weights(tmp_path: Path) -> None:
    """``./own.py:Tiny``, seed 0, is the same network in Python, in a file, and wherever it lies."""
    file, other = own(tmp_path), own(tmp_path / "run:1")
    one = Experiment.of(settings("./own.py:Tiny"), folder=tmp_path, device="cpu")
    a: Any = one.student.build({"classes": 10, "channels": 1, "image_size": 8}, 0)
    torch.manual_seed(3)
    for given in (models.build(f"{file}:Tiny", 10, seed=0), models.build(f"{other}:Tiny", 10, seed=0, channels=1)):
        b: Any = given
        assert torch.equal(a.conv.weight, b.conv.weight) and torch.equal(a.fc.weight, b.fc.weight)
    different: Any = models.build(f"{file}:Tiny", 10, seed=1)
    assert not torch.equal(a.conv.weight, different.conv.weight)


# -- what may be called ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["os:system", "posix:system", "subprocess:getoutput", "builtins:exec", "pathlib:Path", "runpy:run_path"]
)
def test_what_makes_no_network_is_refused_before_it_is_called(name: str) -> None:
    with pytest.raises(RedistillError, match="must be a"):
        models.build(name, command="true", seed=0)


@pytest.mark.parametrize("line", ["from os import system as Net", "from subprocess import getoutput as Net", "Net = 3", "Net = print"])
def test_a_file_may_not_hand_on_what_it_did_not_make(tmp_path: Path, line: str) -> None:
    own(tmp_path, line, "net.py")
    with pytest.raises(RedistillError, match=r"'.*net\.py:Net' must be a Module class, or a function made in that file"):
        models.build(f"{tmp_path}/net.py:Net", 10)


@pytest.mark.parametrize(
    "line",
    ["def Net(classes):\n    return Tiny(classes)", "import functools\nNet = functools.partial(Tiny, width=2)", "Net = Tiny",
     "import functools\n@functools.cache\ndef Net(classes):\n    return Tiny(classes)", "from torch.nn import Identity as Net"],
)  # fmt: skip
def test_what_makes_a_network(tmp_path: Path, line: str) -> None:
    own(tmp_path, f"{NET}\n{line}\n", "net.py")
    assert isinstance(models.build(f"{tmp_path}/net.py:Net", 10), nn.Module)


@pytest.mark.parametrize("args", [{"trust_remote_code": True}, {"checkpoint_path": "x.pth"}, {"pretrained_cfg": {}}])
def test_a_library_is_not_asked_to_run_code(args: dict[str, Any]) -> None:
    with pytest.raises(RedistillError, match="lets the library fetch or run code"):
        models.build("hf:somebody/net", 10, **args)


# -- who may have it run --------------------------------------------------------------------------------------------------
CHILD = """
import json, sys
from pathlib import Path
import redistill as rd
from redistill.runs.store import Store
{body}
"""


def child(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process that has run none of the code yet."""
    return process([sys.executable, "-c", CHILD.format(body=body)], folder)


def redistill(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return process([sys.executable, "-m", "redistill", *map(str, words)], folder)


def process(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def stranger(tmp_path: Path) -> tuple[Path, Path]:
    """A finished run of a network of somebody's own, and the mark that its file leaves; nothing has left it yet."""
    file, mark = evil(tmp_path)
    one = Experiment.of(settings(f"./{file.name}:Tiny", evaluate={}), folder=tmp_path, device="cpu")
    run = one.run(tmp_path / "runs")
    mark.unlink()
    return run.folder, mark


def test_a_record_runs_code_on_an_explicit_word_only(stranger: tuple[Path, Path], tmp_path: Path) -> None:
    folder, mark = stranger
    for command in (["evaluate", folder, "--data", "digits"], ["run", folder / "record.json", "--runs", "elsewhere"]):
        done = redistill(*command, folder=tmp_path)
        assert done.returncode == 1 and "--trust-code" in done.stderr and "evil.py" in done.stderr and "SHA-256" in done.stderr
        assert not mark.exists() and "Traceback" not in done.stderr
    there = redistill("run", folder, "--runs", "runs", folder=tmp_path)
    assert there.returncode == 0 and "was there" in there.stdout and not mark.exists()  # nothing needs to run
    done = redistill("evaluate", folder, "--data", "digits", "--trust-code", folder=tmp_path)
    assert done.returncode == 0 and "accuracy" in done.stdout and mark.exists(), done.stderr


def test_in_python_too(stranger: tuple[Path, Path], tmp_path: Path) -> None:
    folder, mark = stranger
    done = child(f"Store('runs').pick({str(folder)!r})[0].network()", tmp_path)
    assert "add --trust-code (in Python: trust_code=True)" in done.stderr and not mark.exists()
    done = child(f"Store('runs').pick({str(folder)!r})[0].network(trust_code=True)", tmp_path)
    assert done.returncode == 0 and mark.exists(), done.stderr
    # who has read the experiment in this process has said so
    assert isinstance(Store(tmp_path / "runs").pick(str(folder))[0].network(), nn.Module)


def test_a_record_that_names_code_without_its_sha_is_refused(tmp_path: Path) -> None:
    file, mark = evil(tmp_path)
    for model in ("os:system", f"{file}:Tiny"):
        with pytest.raises(RedistillError, match="which data may not choose"):
            Net(model=model, args={"command": f"touch {mark}"}).build({"classes": 10}, 0)
    with pytest.raises(RedistillError, match="which data may not choose"):
        from redistill.models.build import check_model

        check_model("os:system", {"command": f"touch {mark}"})
    assert not mark.exists()


def test_a_record_below_a_file_is_data(tmp_path: Path) -> None:
    """An experiment in TOML whose teacher is a record: the record's code needs the word, also where it points back to a TOML."""
    _, mark = evil(tmp_path)
    inner = Experiment.of(settings("wrn-10-1"), device="cpu").written()
    inner["student"] = {"model": "./evil.py:Tiny"}
    (tmp_path / "record.json").write_text(json.dumps({"experiment": inner}))
    text = '[student]\nmodel = "wrn-10-1"\n[teacher]\nrun = "{}"\n[[method]]\nuse = "CE"\n[source]\ndata = "digits"\n[recipe]\nsteps = 2\n'
    (tmp_path / "a.toml").write_text(text.format("record.json"))
    (tmp_path / "b.toml").write_text(text.replace("wrn-10-1", "./evil.py:Tiny").replace('[teacher]\nrun = "{}"\n', ""))
    (tmp_path / "b.json").write_text(json.dumps({"experiment": {**inner, "student": {"run": "b.toml"}}}))
    for name in ("a.toml", "b.json"):
        assert Experiment.load(tmp_path / name, device="cpu").id and not mark.exists()
    assert Experiment.load(tmp_path / "b.json", device="cpu", trust_code=True).id and mark.exists()


def test_a_paper_file_runs_nothing(tmp_path: Path) -> None:
    _, mark = evil(tmp_path)
    text = (HERE / "small.toml").read_text()
    assert 'LeNet = "wrn-10-1"' in text
    (tmp_path / "mine.toml").write_text(text.replace('LeNet = "wrn-10-1"', 'LeNet = "./evil.py:Tiny"'))
    for command in (["papers", "mine.toml", "--check"], ["reproduce", "mine.toml", "--dry-run"], ["report", "mine.toml", "--to", "r"]):
        done = redistill(*command, folder=tmp_path)
        assert done.returncode == 0 and not mark.exists() and "Traceback" not in done.stderr, (command, done.stderr)
    done = redistill("reproduce", "mine.toml", "--seeds", "1", folder=tmp_path)
    assert done.returncode == 1 and "--trust-code" in done.stderr and not mark.exists()


# -- every place where a name can become code --------------------------------------------------------------------------------
PLACES = {
    # file: {what it does, and which test above covers it}
    "user_code.py": {
        "importlib.import_module": "module:name on the user's word: test_what_makes_no_network_is_refused_before_it_is_called",
        "exec_module": "./file.py:name on the user's word: test_a_record_runs_code_on_an_explicit_word_only",
        "spec_from_file_location": "the same file, and helpers beside it: test_each_file_gets_the_helpers_beside_it",
        "module_from_spec": "the same",
        "source_to_code": "the same",
        "getattr(module, name)": "the name in that file: test_a_file_may_not_hand_on_what_it_did_not_make",
    },
    "models/libraries.py": {
        "importlib.import_module": "one of three libraries, whose names are written down: test_a_library_is_not_asked_to_run_code",
    },
    "evidence/registry.py": {"importlib.resources": "a file of numbers of the package, no code"},
    "_moved.py": {
        "importlib.import_module": "modules of the package, by a table in that file (tests/test_moved.py)",
        "getattr(sys.modules[module], new)": "their names, by a table in that file",
    },
    "answers/network.py": {"getattr(module, hooks, None)": "hooks of a torch module, whose names are written down"},
    "export/onnx.py": {"importlib.import_module": "libraries whose names are written down"},
    "models/keras.py": {"getattr(module, name)": "a parameter of a torch layer that was just made, not of a Python module"},
    "models/lite.py": {"importlib.import_module": "interpreters whose names are written down"},
    "launch/trackers.py": {"importlib.import_module": "four trackers whose names are written down"},
    "published/translated.py": {"importlib.import_module": "yaml, by its name; read by a SafeLoader"},
    "report/article.py": {"importlib.resources": "reads the package's own template, imports nothing"},
    "report/html.py": {"importlib.resources": "reads the package's own style, imports nothing"},
    "report/written.py": {"importlib.resources": "reads the package's own texts, imports nothing"},
    "report/references.py": {"importlib.resources": "reads the package's own file, imports nothing"},
    "sources/__init__.py": {"importlib.import_module": "two modules of the package, by a table in that file"},
    "versions.py": {"importlib.import_module": "modules of a table in this file (tests/test_guards_identity.py)"},
    "__init__.py": {
        "importlib.import_module": "public names of a table in this file (tests/test_names.py)",
        "getattr(importlib.import_module(f'redistill.{_HOME[name]}'), name)": "the same",
    },
    "testing/promises.py": {"pickle.loads": "of bytes that the same line has pickled"},
    "papers/load.py": {"importlib.resources": "reads the package's own files, imports nothing"},
}
CALLERS = {
    # who calls the loader, and whose word it is
    "models/build.py": "build (trust_code=False where data name it), attribute: the user's; drawn: only what the reader has run",
    "data/named.py": "data of one's own: only what the reader has run, or --data of the command line",
    "experiment/evaluate.py": "the reader: trusted only for a file of one's own or on the explicit word",
    "experiment/method.py": "the reader, as above; made_method: only what the reader has run",
    "experiment/reading.py": "the reader, as above",
    "experiment/source/own.py": "build: only what the reader has run",
    "runs/trained.py": "trained: the explicit word",
    "launch/named_code.py": "vouch: the explicit word",
    "cli/check.py": "a term that the command line names",
    "distill/names.py": "networks that the command line, or the caller, names",
    "distill/family.py": "the teacher that the command line names",
    "export/folder.py": "arguments: of a network that was made on the explicit word before",
}


def _doings(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            last = text.rpartition(".")[2]
            if last in ("import_module", "exec_module", "module_from_spec", "spec_from_file_location", "source_to_code", "run_path",
                        "run_module", "load_module"):  # fmt: skip
                found.add("importlib.import_module" if last == "import_module" else last)
            if text in ("__import__", "exec", "eval", "compile", "pickle.load", "pickle.loads", "os.system", "os.popen"):
                found.add(text)
            if text == "getattr" and len(node.args) >= 2 and not isinstance(node.args[1], ast.Constant):
                inner = ast.unparse(node.args[0])
                if "module" in inner or "import" in inner:
                    found.add(ast.unparse(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found |= {name for name in names if name in ("importlib.resources", "runpy", "code", "imp", "dill", "cloudpickle", "joblib")}
    return found


def test_every_place_where_a_name_can_become_code_is_known() -> None:
    found = {str(p.relative_to(SRC)): doings for p in sorted(SRC.rglob("*.py")) if (doings := _doings(p))}
    assert found == {file: set(places) for file, places in PLACES.items()}


def test_every_caller_of_the_loader_is_known() -> None:
    found = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module == "redistill.user_code":
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "user_code":
                names = [node.attr]
            if {"load", "load_if"} & set(names):
                found.add(str(path.relative_to(SRC)))
    assert found == set(CALLERS)


def test_the_words_of_tests_exist() -> None:
    """The list above names tests that are there."""
    for sentence in (text for places in PLACES.values() for text in places.values() if "test_" in text):
        name = sentence.rpartition(": ")[2]
        assert name in globals() or name.startswith("the same") or "(" in sentence


def test_helpers_of_a_module_are_located_and_not_run() -> None:
    assert user_code.locate("torch.nn:Linear", Path()).file is None
