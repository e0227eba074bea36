"""The public names: listed by hand, loaded when used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import redistill as rd


def test_the_list_and_the_table_agree() -> None:
    assert sorted(rd.__all__) == sorted({"__version__", *rd._HOME, *rd._ROOMS})
    for name in rd.__all__:
        assert getattr(rd, name) is not None
    assert set(rd.__all__) == set(dir(rd))


def test_a_name_that_is_not_there_has_a_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_cohrt': did you mean fit_cohort"):
        rd.fit_cohrt  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, redistill; print('torch' in sys.modules, redistill.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", rd.__version__]
