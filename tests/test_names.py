"""The public names: one table, loaded when used."""

from __future__ import annotations

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import redistill as rd


def seen_by_type_checkers() -> dict[str, str]:
    """{name: module} of the imports that only type checkers read."""
    tree = ast.parse(Path(rd.__file__).read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING"]
    imports = [n for n in block.body if isinstance(n, ast.ImportFrom)]
    return {alias.asname or alias.name: str(n.module) for n in imports for alias in n.names}


def test_one_table_says_every_name() -> None:
    table = {name: f"redistill.{home}" for name, home in rd._HOME.items()} | dict.fromkeys(rd._ROOMS, "redistill")
    assert seen_by_type_checkers() == table
    assert len(rd.__all__) == len(set(rd.__all__)) == len(table) + 1
    for name in rd.__all__:
        assert getattr(rd, name) is not None
    assert set(rd.__all__) == set(dir(rd))


@pytest.mark.parametrize(
    ("term", "formula"), [("KD", "L = T^k · KL(p_t || p_s)"), ("AT", "Q = vec("), ("CE", "L = -(1/B)"), ("SP", None), ("CRD", "e_s, e_t")]
)
def test_help_of_a_term_begins_with_its_formula(term: str, formula: str | None) -> None:
    lines = [line.strip(" |") for line in pydoc.plain(pydoc.render_doc(getattr(rd, term))).splitlines()]
    after = [line for line in lines[2:] if line and not line.startswith(("class ", "at:"))]
    first = next(line for line in after if not line.startswith(term + "(") and " -> " not in line)
    assert first.startswith(formula) if formula else "=" in first


def test_a_name_that_is_not_there_has_a_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_cohrt': did you mean fit_cohort"):
        rd.fit_cohrt  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, redistill; print('torch' in sys.modules, redistill.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", rd.__version__]
