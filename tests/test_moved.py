"""Old names of modules that have moved, and of names that are others now."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from redistill._moved import MOVED, RENAMED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_warns_and_gives_the_module_itself(old: str) -> None:
    sys.modules.pop(f"redistill.{old}", None)
    new = importlib.import_module(f"redistill.{MOVED[old]}")
    with pytest.warns(DeprecationWarning, match=rf"redistill\.{old} has moved to redistill\.{MOVED[old]}"):
        found = importlib.import_module(f"redistill.{old}")
    assert found is new and found.__spec__ is not None and found.__spec__.name == f"redistill.{MOVED[old]}"


@pytest.mark.parametrize(("module", "old"), [(module, old) for module, names in RENAMED.items() for old in names])
def test_an_old_name_in_a_module_warns_and_gives_the_new_one(module: str, old: str) -> None:
    new = RENAMED[module][old]
    home = importlib.import_module(f"redistill.{module}")
    with pytest.warns(DeprecationWarning, match=rf"redistill\.{module}\.{old} is now called {new}"):
        assert getattr(home, old) is getattr(home, new)
    with pytest.raises(AttributeError, match=rf"module 'redistill\.{module}' has no attribute 'nothing'"):
        home.nothing  # noqa: B018


def test_names_inside_are_the_same_objects() -> None:
    code = "from redistill.experiment.store import Store; import redistill as rd; print(Store is rd.Store)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_what_was_never_there_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named .redistill.nothing"):
        importlib.import_module("redistill.nothing")
