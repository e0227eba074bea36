"""Who every experiment, record and paper cell is, does not move unseen; and every version moves the ids of what it touches."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from make_identities import FILE, ROOT, records, rows
from redistill import models, terms
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import canonical, digest
from redistill.identity import SHORT, identity

GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
AGAIN = "if that was meant (a file of an experiment was changed), run python tests/make_identities.py"


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return rows(tmp_path_factory.mktemp("identities"), GOLDEN["versions"])


def test_no_experiment_has_become_another(today: dict[str, Any]) -> None:
    stored, found = GOLDEN["experiments"], today["experiments"]
    assert len(stored) > 600
    moved = sorted(name for name in stored if found.get(name) != stored[name])
    assert moved == [], AGAIN
    assert sorted(found.keys() - stored.keys()) == [], f"new experiments: {AGAIN}"


def test_no_record_has_become_another(today: dict[str, Any]) -> None:
    assert today["records"] == GOLDEN["records"], AGAIN


@pytest.mark.parametrize(("place", "record"), list(records()), ids=[place.split("/")[2] for place, _ in records()])
def test_a_record_is_who_it_says_it_is(place: str, record: dict[str, Any]) -> None:
    """The hash is over what was asked; it can be taken anew from the record alone."""
    written = record["experiment"]
    seedless = {key: value for key, value in written.items() if key != "seed"}
    assert (record["cell"], record["id"]) == tuple(digest(canonical(identity(one)))[:SHORT] for one in (seedless, written))
    assert place.split("/")[2:4] == [record["cell"], f"seed-{record['seed']}"]


# -- versions ---------------------------------------------------------------------------------------------------------
def _versions() -> list[str]:
    """Every module with a NUMERICS and every term with one."""
    source = ROOT / "src" / "redistill"
    found = [
        ".".join(("redistill", *path.relative_to(source).with_suffix("").parts))
        for path in sorted(source.rglob("*.py"))
        if any(line.startswith("NUMERICS") for line in path.read_text(encoding="utf-8").splitlines())
    ]
    return [name.removesuffix(".__init__") for name in found] + [f"term {cls.__name__}" for cls in terms.ALL]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], list[str]]:
    """The ids of a few experiments that together use all there is."""
    folder = tmp_path_factory.mktemp("few")

    for number, label in enumerate("ab"):
        (folder / "pictures" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 90, 90)).save(folder / "pictures" / label / "one.png")

    def made(**sections: Any) -> Experiment:
        whole = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"epochs": 1}}
        whole |= sections
        if whole["method"] != [{"use": "CE"}]:
            whole.setdefault("teacher", {"run": {**made().written()}})
        return Experiment.of(whole, folder=folder, device="cpu")

    def ids() -> list[str]:
        few = [made(method=[{"use": cls.__name__}]) for cls in terms.ALL if not cls.__name__.endswith(("Entropy", "Diversity"))]
        extra = [{"use": name} for name in ("Consistency", "Diversity", "StudentEntropy", "TeacherEntropy")]
        fake = {"kind": "adversarial", "blocks": 10, "extra": extra}
        few += [made(source={"kind": "mixed", "first": {"data": "cifar10"}, "second": fake}, method=[{"use": "KD"}], recipe={"steps": 9})]
        free = {"dafl": "chen2019", "dfad": "fang2019", "deep-inversion": "yin2020", "cmi": "fang2021"}
        few += [made(source={"kind": kind, "preset": name}, method=[{"use": "KD"}], recipe={"steps": 9}) for kind, name in free.items()]
        few += [made(student={"model": name}) for name in models.names()]
        few += [made(source={"data": "folder:pictures"}, evaluate={})]
        few += [made(source={"data": "digits", "augment": augment}) for augment in ("flip+randaugment+mixup", "none+strong")]
        return [one.id for one in few]

    return ids


MEASURING = ("redistill.belief", "redistill.answers.network", "redistill.train.remembered")
"""Versions of what no training depends on: each is part of the key of what is kept, and has a test of its own."""


@pytest.mark.parametrize("name", [name for name in _versions() if name not in MEASURING])
def test_every_version_moves_an_id(name: str, everything: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything()
    if name.startswith("term "):
        monkeypatch.setattr(next(cls for cls in terms.ALL if f"term {cls.__name__}" == name), "numerics", 1001)
    else:
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "NUMERICS", module.NUMERICS + 1000)
    assert everything() != before


def test_the_version_of_belief_matching_is_that_of_its_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No training depends on it; a measurement of another version is made again."""
    from redistill.verdicts.beliefs import Believed, kept

    (tmp_path / "one.json").write_text(json.dumps(asdict(Believed("run", "student", "cifar10:test", 10, 0.5, 0.1))), encoding="utf-8")
    assert list(kept(tmp_path)) == [("run", "student")]
    monkeypatch.setattr(importlib.import_module("redistill.belief"), "NUMERICS", 2)
    assert kept(tmp_path) == {}


def test_a_version_that_came_later_stands_in_an_identity_from_two_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"epochs": 1}}
    before = Experiment.of(whole, device="cpu").numerics
    assert sorted(before) == ["evaluate", "fit", "rng", "source:images", "subsets", "taps", "term:CE"]
    monkeypatch.setattr(importlib.import_module("redistill.models.wrn"), "NUMERICS", 3)
    monkeypatch.setattr(importlib.import_module("redistill.models.vgg"), "NUMERICS", 3)
    assert Experiment.of(whole, device="cpu").numerics == {**before, "model:wrn": 3}
    assert Experiment.of({**whole, "student": {"model": "vgg8"}}, device="cpu").numerics == {**before, "model:vgg": 3}


# -- each value says who it is ----------------------------------------------------------------------------------------
def _one(**sections: Any) -> Experiment:
    whole = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"epochs": 1}}
    return Experiment.of({**whole, **sections}, folder=ROOT / "examples", device="cpu")


def test_arguments_are_part_of_a_network_whatever_they_are_called() -> None:
    made = [_one(student={"model": "./own.py:Tiny"}) for _ in range(2)]
    nets = [
        one.student.model_copy(update={"args": {"file": name, "code": "x", "sha256": "y", "path": name, "name": name}})
        for one, name in zip(made, ("a", "b"), strict=True)
    ]
    one, two = (each.model_copy(update={"student": net}) for each, net in zip(made, nets, strict=True))
    assert one.cell != two.cell and one.id != two.id
    moved = made[0].student.model_copy(update={"file": "/elsewhere/own.py"})
    assert made[0].model_copy(update={"student": moved}).cell == made[0].cell, "the SHA-256 says which file it is"


def test_the_content_of_data_is_who_they_are_and_not_their_place(tmp_path: Path) -> None:
    import numpy as np

    for folder, level in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "x.npz", x=np.full((6, 1, 8, 8), level, dtype=np.uint8), y=np.arange(6) % 3)
    source = [{"data": f"arrays:{tmp_path / folder / 'x.npz'}", "normalise": "half"} for folder in "abc"]
    a, b, c = (_one(source=one, evaluate={"test": one["data"]}) for one in source)
    assert a.cell == b.cell != c.cell
    assert a.written() != b.written(), "where they lay is on record all the same"


@pytest.mark.parametrize("name", ["every", "content"])
def test_names_that_mean_something_else_are_no_evaluation_sets(name: str) -> None:
    with pytest.raises(RedistillError, match=f"no evaluation set can be called {name}"):
        _one(evaluate={"test": "digits:test", name: "digits:test"})
