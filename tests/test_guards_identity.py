"""Who every experiment, record and paper cell is, does not move unseen; and every version moves the ids of what it touches."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from make_identities import FILE, ROOT, records, rows
from redistill import terms
from redistill.experiment.files import canonical, digest
from redistill.experiment.value import SHORT, Experiment, identity

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
        return [one.id for one in few]

    return ids


UNREAD = ("belief", "data.augment", "data.decode", "data.folders", "evaluate", "fit")
STRICT = pytest.mark.xfail(strict=True, reason="a version that nothing reads, or a copy of it")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=STRICT if name.removeprefix("redistill.") in UNREAD else ()) for name in _versions()]
)
def test_every_version_moves_an_id(name: str, everything: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything()
    if name.startswith("term "):
        monkeypatch.setattr(next(cls for cls in terms.ALL if f"term {cls.__name__}" == name), "numerics", 1001)
    else:
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "NUMERICS", module.NUMERICS + 1000)
    assert everything() != before
