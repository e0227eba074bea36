"""Experiment files that stand for records made before there were any: they ask for what the records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from redistill.experiment.value import Experiment
from redistill.runs.measured import every

ROOT = Path(__file__).parents[2]
FILES = {"ce": "CE", "kd": "KD", "at": "AT", "fitnet": "FitNet", "vid": "VID", "review": "Review"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_m100_asks_for_what_the_record_says(name: str, shared: Path) -> None:
    teacher = shared / "checkpoints/ferles2020/wrn-16-2-seed-0-dict.pth"
    record = next(record for record in every(ROOT / "results/measured/cifar10-m100") if record["teacher"]["model"] == "wrn-16-2")
    one = Experiment.load(ROOT / f"experiments/real/m100/{name}.toml", device="cpu", change=[f'teacher.from="{teacher}"'])
    asked = one.written()
    assert [["first_per_class", {"M": asked["source"]["first_per_class"]}]] == record["data"]["rule"]
    assert asked["source"].get("per_class") is None and asked["source"]["data"] == record["data"]["data"]
    recipe = {name: value for name, value in record["recipe"].items() if name != "schedule"}
    assert {name: asked["recipe"].get(name, value) for name, value in recipe.items()} == recipe
    schedule = {**record["recipe"]["schedule"], **asked["recipe"]["schedule"]}
    assert schedule == record["recipe"]["schedule"]
    terms = record["methods"][FILES[name]]
    assert [(term["use"], term["weight"]) for term in terms] == [(spec.use, spec.weight) for spec in one.method]
    for spec, term in zip(one.method, terms, strict=True):
        settings = {key: value for key, value in spec.settings.items() if key in term and key != "at"}
        assert settings == {key: term[key] for key in settings}
    assert asked["student"]["model"] == record["student"]
