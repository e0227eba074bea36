"""The notebooks of the documentation: each runs from a clean kernel, and is stored with what it printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def test_there_are_five_and_each_is_stored_with_its_outputs() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"first-distillation", "few-images-against-none", "a-published-network", "toy", "explain-a-difference"}
    for path in NOTEBOOKS:
        code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), path.name
        outputs = [output for cell in code for output in cell["outputs"]]
        assert outputs and all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs), path.name
        assert path.stat().st_size < 200_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_clean_kernel(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient", reason="pip install '.[docs]'")
    pytest.importorskip("ipykernel", reason="pip install '.[docs]'")
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    import make_notebooks

    made = make_notebooks.executed(path, tmp_path)
    assert [cell.source for cell in made.cells] == ["".join(cell["source"]) for cell in cells(path)]
