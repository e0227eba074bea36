"""Generated images as a source of an experiment file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from redistill.errors import RedistillError
from redistill.experiment.store import Store
from redistill.experiment.value import Experiment
from redistill.sources import PRESETS, preset


def of(**source: Any) -> Experiment:
    teacher = {
        "student": {"model": "wrn-10-1"},
        "method": [{"use": "CE"}],
        "source": {"data": "digits"},
        "recipe": {"epochs": 1},
    }
    settings = {
        "teacher": {"run": teacher},
        "student": {"model": "wrn-10-1"},
        "method": [{"use": "KD", "T": 1.0}],
        "source": {"kind": "adversarial", "data": "digits", "image_size": 8, "channels": 1, **source},
        "recipe": {"steps": 6, "batch_size": 16, "optimizer": "adam", "lr": 2e-3},
        "evaluate": {"test": "digits:test", "every": 1},
    }
    return Experiment.of(settings, device="cpu")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_written_out_whole(name: str) -> None:
    published = preset(name)
    source = of(preset=name).source.written()
    assert source["variant"] == published.variant.model_dump(mode="json")
    assert source["method"] == published.generator_method.settings()
    assert (source["blocks"], source["epoch_blocks"]) == (published.blocks, published.blocks // 100)
    assert "preset" not in source


def test_what_a_preset_is_called_is_no_part_of_the_experiment() -> None:
    spelled = of(preset="authors", variant={"images": "before", "generator_noise": "fresh"})
    assert spelled.id == of(preset="re-2020").id
    again = Experiment.of(json.loads(json.dumps(spelled.written())), device="cpu")
    assert again == spelled and again.id == spelled.id


def test_mistakes_name_the_switch() -> None:
    with pytest.raises(RedistillError, match="unknown zero-shot preset 'autors': did you mean authors"):
        of(preset="autors")
    with pytest.raises(RedistillError, match=r'source.variant.images = "x": must be \'before\' or \'after\''):
        of(variant={"images": "x"})


def test_it_runs_and_is_found_again(tmp_path: Path) -> None:
    e = of(blocks=3, epoch_blocks=1, variant={"n_S": 2})
    run = e.run(tmp_path)
    assert run.record["steps"] == 6 and run.accuracy() > 0
    assert [step for step, _ in run.curves()["accuracy"]["test"]] == [2, 4, 6]
    assert Store(tmp_path).find(e) is not None and e.run(tmp_path).id == run.id
