"""What several test files need."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

import helpers.shapes  # the hook takes it as an attribute of helpers

# before any file imports the package: the shapes in the signatures of formulas are checked in every test
SHAPED = ["redistill.terms", "redistill.metrics", "redistill.features.normalised"]
jaxtyping.install_import_hook(SHAPED, f"{helpers.shapes.__name__}.checked")

from helpers.experiments import make, teacher_file  # noqa: E402, F401  fixtures of several rooms

torch.set_num_threads(1)
# what tests start is the package that stands beside them, also in a second worktree, where another one is installed
SOURCE = str(Path(__file__).resolve().parents[1] / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH"))))


def pytest_configure(config: pytest.Config) -> None:
    # most tests teach with networks that know nothing; what is said of them has tests of its own. Not in pyproject.toml: pytest imports
    # the class of a filter that stands there before this file can put its hook on the package
    config.addinivalue_line("filterwarnings", "ignore::redistill.train.preflight.TeacherWarning")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is remembered between runs is not the user's."""
    os.environ["REDISTILL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden numbers, real data and checkpoints: beside the repository, or $REDISTILL_SHARED."""
    given = os.environ.get("REDISTILL_SHARED")
    place = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    if not (place / "golden").is_dir():
        pytest.skip(f"no golden numbers at {place}: set REDISTILL_SHARED")
    return place


hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")  # the same examples every time: a red test is about the change, not about the draw
