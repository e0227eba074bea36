"""Run the notebooks of docs/notebooks in clean kernels and store them with what they print (extra ``docs``).

    python scripts/make_notebooks.py [NAME ...]

Progress, which goes to standard error, is left out of what is stored. Tests run the same cells and store nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def executed(path: Path, folder: Path, timeout: int = 600) -> Any:
    """The notebook after it ran in a kernel of its own, in a folder; a cell that fails raises."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=place, record_timing=False)
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    import nbformat

    for path in [NOTEBOOKS / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            made = executed(path, Path(folder))
        nbformat.write(made, path)
        print(path)


if __name__ == "__main__":
    main()
