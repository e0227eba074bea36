"""Experiments: identity, what follows the seed, and every mistake of a file in one answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.experiments import HERE
from redistill.core import Ramp
from redistill.data.named import load_data
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.settings.lines import of_keys

STUDENT, TEACHER = HERE / "student.toml", HERE / "teacher.toml"

PLAIN = {
    "student": {"model": "./nets.py:Small"},
    "method": [{"use": "CE"}],
    "source": {"data": "digits"},
    "recipe": {"epochs": 1},
}


def of(**sections: object) -> Experiment:
    return Experiment.of({**PLAIN, **sections}, folder=HERE, device="cpu")


def test_every_default_is_written_out() -> None:
    e = Experiment.load(STUDENT, device="cpu")
    written = e.written()
    assert written["method"][1] == {
        "use": "KD", "weight": {"start": 0.0, "end": 2.0, "first": 0.0, "last": 0.9, "unit": "epoch"},
        "T": 4.0, "reduction": "batch", "scale_T2": True, "factor": 1.0, "target": "kl",
    }  # fmt: skip
    assert e.method[1].weight == Ramp(0.0, 2.0, 0.0, 0.9)
    assert written["source"] == {
        "kind": "images", "data": "digits:train", "held_out": 100, "per_class": 20, "unlabelled": False,
        "augment": "none", "normalise": "digits", "seed": "same",
    }  # fmt: skip
    assert written["recipe"]["momentum"] == 0.9 and written["recipe"]["schedule"]["T_max"] is None
    assert written["arithmetic"] == {"device": "cpu", "forward": "float32", "channels_last": True, "compile": False}
    assert written["numerics"]["term:KD"] == 1 and written["numerics"]["fit"] == 2
    assert written["teacher"]["run"]["source"]["data"] == "digits:train" and "seed" not in written["teacher"]["run"]
    assert written["teacher"]["seed"] == "same"


def test_a_record_reads_as_the_same_experiment() -> None:
    e = Experiment.load(STUDENT, seed=3, device="cpu")
    again = Experiment.of(json.loads(json.dumps(e.written())), device="cpu")
    assert again == e and again.id == e.id and again.cell == e.cell and again.seed == 3


def test_seeds_that_follow_are_one_cell() -> None:
    e = Experiment.load(STUDENT, device="cpu")
    assert e.with_seed(1).cell == e.cell and e.with_seed(1).id != e.id
    assert e.folder == f"{e.cell}/seed-0"
    [teacher] = e.with_seed(2).needs()
    assert teacher.seed == 2 and teacher.cell == Experiment.load(TEACHER, device="cpu").cell
    fixed = Experiment.load(STUDENT, device="cpu", change=["teacher.seed=0"])
    assert fixed.cell != e.cell and [n.seed for n in fixed.with_seed(2).needs()] == [0]


@pytest.mark.parametrize(
    "change",
    ["method.KD.T=2", "method.0.weight=0.2", "recipe.lr=0.04", "recipe.schedule.eta_min=0.1", "source.per_class=10",
     "source.seed=0", "evaluate.every=2", "student.args={ width = 4 }", "source.augment='crop-flip:1'"],
)  # fmt: skip
def test_whatever_can_move_a_number_moves_the_cell(change: str) -> None:
    assert Experiment.load(STUDENT, device="cpu", change=[change]).cell != Experiment.load(STUDENT, device="cpu").cell


def test_names_notes_and_places_of_files_do_not(tmp_path: Path) -> None:
    e = Experiment.load(STUDENT, device="cpu")
    assert Experiment.load(STUDENT, device="cpu", change=["name=other", "notes='a b'"]).cell == e.cell
    assert Experiment.load(STUDENT, device="cpu", change=["method.KD.T=4.0"]).cell == e.cell
    for file in ("nets.py", "student.toml", "teacher.toml"):
        (tmp_path / file).write_bytes((HERE / file).read_bytes())
    assert Experiment.load(tmp_path / "student.toml", device="cpu").cell == e.cell


def test_the_code_of_ones_own_network_is_part_of_it(tmp_path: Path) -> None:
    text = (HERE / "nets.py").read_text()
    (tmp_path / "nets.py").write_text(text + "\n# another version\n")
    changed = Experiment.of(PLAIN, folder=tmp_path, device="cpu")
    assert changed.cell != of().cell
    record = json.loads(json.dumps(changed.written()))
    (tmp_path / "nets.py").write_text(text)
    with pytest.raises(RedistillError, match="has changed since"):
        Experiment.of(record, device="cpu")


def test_data_of_ones_own_are_named_by_their_content(tmp_path: Path) -> None:
    def arrays(folder: Path, value: int) -> Experiment:
        folder.mkdir()
        x = np.full((6, 1, 8, 8), value, dtype=np.uint8)
        np.savez(folder / "few.npz", x=x, y=np.arange(6) % 3)
        sections = {"source": {"data": "arrays:few.npz"}, "evaluate": {"test": "arrays:few.npz"}, "student": {"model": "lenet"}}
        return Experiment.of({**PLAIN, **sections}, folder=folder, device="cpu")

    one, same, other = (arrays(tmp_path / name, value) for name, value in (("a", 1), ("b", 1), ("c", 2)))
    assert one.source.data == f"arrays:{tmp_path}/a/few.npz" and one.cell == same.cell != other.cell
    record = json.loads(json.dumps(one.written()))
    assert Experiment.of(record, device="cpu").cell == one.cell
    (tmp_path / "a" / "few.npz").write_bytes((tmp_path / "c" / "few.npz").read_bytes())
    with pytest.raises(RedistillError, match=r"few\.npz has changed: its content is"):
        one.source.build(0, None)


def test_data_of_ones_own_in_the_data_folder(tmp_path: Path) -> None:
    """What the run finds in ``--data-dir`` is found when the experiment is read, and its place is no part of what it is."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "few.npz", x=np.ones((6, 1, 8, 8), dtype=np.uint8), y=np.arange(6) % 3)
    settings = {**PLAIN, "source": {"data": "arrays:few.npz"}, "evaluate": {"test": "arrays:few.npz"}, "student": {"model": "lenet"}}
    here, there = (Experiment.of(settings, device="cpu", data_dir=tmp_path / name) for name in ("here", "there"))
    assert here.source.data == "arrays:few.npz" and here.id == there.id
    assert len(here.source.build(0, tmp_path / "there").source) == 6
    with pytest.raises(RedistillError, match=r"there is no file few\.npz"):
        Experiment.of(settings, device="cpu")


def test_evaluation_follows_the_data_when_nothing_is_said() -> None:
    assert of().evaluate.sets == {"test": "digits:test"} and of().evaluate.every == 1
    assert of(recipe={"epochs": 41}).evaluate.every == 3  # 20 evaluations, rounded up to whole epochs
    assert of(recipe={"steps": 10}).evaluate.every is None
    assert of(evaluate={"every": 3}).evaluate.sets == {"test": "digits:test"} and of(evaluate={}).evaluate.sets == {}
    silent = of(evaluate={}, recipe={"epochs": 3})  # whose record says no more than how often
    assert silent.evaluate.written() == {"every": 1} and Experiment.of(silent.written(), device="cpu").id == silent.id
    assert of(source={"data": "tiny-imagenet"}).evaluate.sets == {"test": "tiny-imagenet:val"}
    assert of(evaluate={"shown": "tiny-imagenet"}).evaluate.sets == {"shown": "tiny-imagenet:val"}
    assert of(source={"data": "tiny-imagenet"}).source.augment == "crop-flip:8"
    assert of(source={"data": "tiny-imagenet:val"}).source.augment == "none"


def test_a_folder_with_its_own_val_is_evaluated_on_it(tmp_path: Path) -> None:
    """Whatever colons and spaces its path has, and never on the images that it was trained on."""
    root = tmp_path / "a b:c" / "d:val"
    for part in ("train", "val"):
        for label in "xy":
            (root / part / label).mkdir(parents=True)
            pixels = np.full((8, 8, 3), 10 if part == "train" else 200, dtype=np.uint8)
            Image.fromarray(pixels).save(root / part / label / "1.png")
    for data in (f"folder:{root}", f"folder:{root}:train"):
        one = of(source={"data": data}, student={"model": "lenet"})
        assert one.source.data == data and one.evaluate.sets == {"test": f"folder:{root}:val"}
    shown = of(source={"data": f"folder:{root}"}, evaluate={"mine": f"folder:{root}"}, student={"model": "lenet"}).evaluate.sets
    images = load_data(shown["mine"], None)
    assert len(images) == 2 and int(images.x.min()) == 200 and images.name == f"folder:{root}:val"


BAD = """\
teachr = 1
[teacher]
run = "nothing.toml"
[student]
model = "./nets.py:Smal"
from = "no.safetensors"
[[method]]
use = "KDD"
[[method]]
use = "KD"
t = 4
[[method]]
use = "KD"
T = -1.0
[[method]]
use = "CE"
smoothing = "much"
weight = { begin = 0, end = 5 }
[source]
data = "cifar11"
per_clas = 10
fraction = 1.5
[recipe]
epochs = 3
lrr = 0.1
optimizer = "sdg"
momentum = 1.5
schedule = { kind = "cosine", tmax = 3 }
[evaluate]
test = "digits:tset"
every = 0
"""


def test_all_mistakes_of_a_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(BAD)
    (tmp_path / "nets.py").write_bytes((HERE / "nets.py").read_bytes())
    with pytest.raises(RedistillError) as caught:
        Experiment.load(tmp_path / "bad.toml", device="cpu")
    lines = [line.strip().replace(f"{tmp_path}/bad.toml: ", "") for line in str(caught.value).splitlines()[1:]]
    want = [
        "line 1, teachr = 1: unknown section 'teachr': did you mean teacher?",
        f'line 3, teacher.run = "nothing.toml": cannot read {tmp_path}/nothing.toml: there is no such file',
        f'line 6, student.from = "no.safetensors": there is no file {tmp_path}/no.safetensors',
        "line 5, student.model = \"./nets.py:Smal\": './nets.py:Smal': unknown name in ./nets.py 'Smal': did you mean Small?",
        "line 8, method[0].use = \"KDD\": unknown term 'KDD': did you mean KD or RKD or NKD?",
        "line 11, method[1].t = 4: unknown setting of KD 't': did you mean T?",
        "line 12, method[2]: KD(T=-1.0): the temperature must be above 0",
        'line 17, method[3].smoothing = "much": input should be a valid number, unable to parse string as a number',
        "line 18, method[3].weight.begin = 0: unknown setting 'begin'",
        "line 21, source.per_clas = 10: unknown setting 'per_clas': did you mean per_class",
        "line 20, source.data = \"cifar11\": unknown data 'cifar11': did you mean cifar10",
        "line 22, source.fraction = 1.5: input should be less than or equal to 1",
        "line 25, recipe.lrr = 0.1: unknown setting 'lrr': did you mean lr?",
        "line 28, recipe.schedule.tmax = 3: unknown setting of schedule 'cosine' 'tmax': did you mean T_max",
        "line 27, recipe.momentum = 1.5: input should be less than 1",
        "line 26, recipe.optimizer = \"sdg\": must be 'sgd', 'adam' or 'adamw'",
        "line 31, evaluate.every = 0: must be a whole number of epochs, at least 1",
        "line 30, evaluate.test = \"digits:tset\": unknown part 'digits:tset': did you mean digits:test",
    ]
    for sentence in want:
        assert any(line.startswith(sentence) for line in lines), (sentence, lines)
    assert len(lines) == len(want), lines


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"method": []}, "must be a list of terms"),
        ({"method": [{"use": "KD"}]}, r"method\[0\].use = \"KD\": KD compares with a teacher: add a section \[teacher\]"),
        ({"source": {"data": "digits", "unlabelled": True}}, r"CE needs labels, and \[source\] has none"),
        ({"source": {"data": "digits", "per_class": 3, "fraction": 0.1}}, "per_class and fraction both choose a subset"),
        ({"source": {"data": "digits", "normalise": "digit"}}, "source.normalise = .*unknown normalisation 'digit': did you mean digits"),
        ({"source": {"data": "digits", "augment": "flop"}}, "source.augment = .*unknown augmentation 'flop': did you mean flip"),
        ({"recipe": {"epochs": 1, "steps": 1}}, "give the length once"),
        ({"recipe": 3}, r"must be a table, \[recipe\]"),
        ({"teacher": {"run": "teacher.toml", "from": "x.safetensors"}}, "not from both"),
        ({"teacher": {"run": "teacher.toml", "seed": "other"}}, r"teacher.seed = \"other\": must be 'same'"),
        ({"student": {"model": "./nets.py:Small", "seed": 0}}, "chooses the seed of the experiment"),
        ({"student": {}}, "student.model: is missing"),
        ({"source": {"kind": "picture"}}, "unknown kind of source 'picture'"),
        ({"method": [{"use": "CE", "weight": "big"}]}, "must be a number or a table"),
        ({"method": [{"use": "CE", "weight": {"start": 3, "end": 3}}]}, "the end must come after the start"),
        ({"evaluate": {"held_out": "digits:test"}}, "held_out is the name of the part"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_mistakes_are_sentences(sections: dict[str, object], says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        of(**sections)


def test_circles_are_named(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        text = STUDENT.read_text().replace("teacher.toml", f"{other}.toml")
        (tmp_path / f"{name}.toml").write_text(text)
    (tmp_path / "nets.py").write_bytes((HERE / "nets.py").read_bytes())
    with pytest.raises(RedistillError, match=r"need each other in a circle: a\.toml -> b\.toml -> a\.toml"):
        Experiment.load(tmp_path / "a.toml", device="cpu")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[student\nmodel = 3")
    with pytest.raises(RedistillError, match=r"a\.toml: not valid TOML: .*line 1"):
        Experiment.load(tmp_path / "a.toml")
    (tmp_path / "a.json").write_text('{"student": ')
    with pytest.raises(RedistillError, match=r"a\.json: line 1: not valid JSON"):
        Experiment.load(tmp_path / "a.json")
    with pytest.raises(RedistillError, match="there is no such file"):
        Experiment.load(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("recipe.lr", "write key=value"),
        ("method.AT.p=2", "unknown term 'AT'"),
        ("method.T=2", "is a list: say which entry"),
        ("recipe.lr.x=2", "is a value, not a table"),
        ("recipe.lrr=2", "did you mean lr?"),
    ],
)
def test_changes_that_cannot_be_made(change: str, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        Experiment.load(STUDENT, device="cpu", change=[change])


def test_lines_of_keys() -> None:
    text = 'a = 1\n[b]\nc = [\n  1,  # ]\n  "]",\n]\nd = """\nx = 3\n"""\ne.f = 2\n[[m]]\nu = 1\n[[m]]\nu = { k = 3 }\n'
    assert of_keys(text) == {
        ("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "d"): 7, ("b", "e", "f"): 10,
        ("m",): 11, ("m", 0): 11, ("m", 0, "u"): 12, ("m", 1): 13, ("m", 1, "u"): 14,
    }  # fmt: skip
