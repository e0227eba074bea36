"""A check builds nothing: reading an experiment draws no weights, wakes no compiler and imports no scipy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redistill import models
from redistill.core.term_settings import settings_of
from redistill.experiment.value import Experiment
from redistill.terms import KD

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, time
import torch
start = time.process_time()
import redistill as rd
one = rd.Experiment.load("examples/few_images.toml", device="cpu")
first = time.process_time() - start
from redistill import papers
from redistill.papers.plan import make, select
paper = papers.load("chen2021")
start = time.process_time()
make(paper, select(paper), device="cpu")
print(first, time.process_time() - start, [name for name in ("torch._dynamo", "scipy") if name in sys.modules])
"""


def test_the_first_experiment_of_a_process_is_read_without_the_compiler() -> None:
    facts = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, env=facts, timeout=120)
    assert done.returncode == 0, done.stderr
    first, plan, woken = done.stdout.split(maxsplit=2)
    assert woken.strip() == "[]"
    # seconds of a core: 0.8 for the first experiment, 0.8 for the 350 runs of a paper on the machine where this was written
    assert float(first) < 2.5 and float(plan) < 4


@pytest.mark.parametrize("name", ["wrn-10-1", "resnet8", "vgg8", "resnet18", "mobilenetv2", "shufflenetv1", "shufflenetv2", "lenet"])
def test_a_network_that_is_not_initialised_draws_nothing(name: str) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    net = models.build(name, initialise=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    drawn = models.build(name, seed=1)
    first = next(p for p in net.parameters() if p.ndim == 4)
    assert first.isnan().all(), "whoever forgets to load weights must notice"
    net.load_state_dict(drawn.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), drawn.state_dict().values(), strict=True))


def test_every_way_to_draw_the_first_weights_of_a_wrn_can_be_left_out() -> None:
    before = torch.random.get_rng_state()
    for init in ("fan-out", "zagoruyko", "pytorch"):
        assert next(models.wrn(10, 1, init=init, initialise=False).parameters()).isnan().all()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_hashes_are_taken_once_and_follow_a_change() -> None:
    settings = {"student": {"model": "wrn-10-1"}, "method": [{"use": "CE"}], "source": {"data": "digits"}, "recipe": {"epochs": 1}}
    one = Experiment.of(settings, device="cpu")
    cell, name = one.cell, one.id
    assert one.id is name and one.cell is cell
    other = one.with_seed(1)
    assert other.cell == cell and other.id != name and other.with_seed(0).id == name
    longer = one.model_copy(update={"recipe": one.recipe.model_copy(update={"epochs": 2})})
    assert longer.cell != cell and longer.id != name
    assert Experiment.of(longer.written(), device="cpu").id == longer.id
    assert one == Experiment.of(settings, device="cpu")


def test_the_settings_of_a_term_are_modelled_once() -> None:
    assert settings_of(KD) is settings_of(KD)
