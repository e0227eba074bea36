"""The examples inside other people's loops, where these are installed."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEEDS = {"with_lightning": ("lightning",), "with_hf_trainer": ("transformers", "accelerate"), "with_timm": ("timm",)}


def test_there_is_one_for_each_loop() -> None:
    assert {path.stem for path in EXAMPLES.glob("with_*.py")} == set(NEEDS)
    for name in NEEDS:
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) < 80
        compile(text, f"{name}.py", "exec")


@pytest.mark.parametrize("name", list(NEEDS))
def test_a_student_learns_in_it(name: str) -> None:
    pytest.importorskip("sklearn")
    for package in NEEDS[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        spec.loader.exec_module(module)
        assert module.main(epochs=2) > 30.0  # chance is 10
