"""Writes ``tests/identities.json``: who every experiment of this repository is, so that no rewriting moves it unseen.

    python tests/make_identities.py

A row a thing: ``cell`` (hash of all but the seed), ``id`` (with the seed) and ``bare`` (the cell without the section
``numerics``). ``cell`` and ``id`` are taken under the versions that stand in the file, so that raising a NUMERICS on purpose
moves what it should in the world and nothing here; run the script again after a file of an experiment was changed on purpose.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from redistill import papers, precision
from redistill.experiment.value import Experiment
from redistill.files import canonical, digest
from redistill.identity import SHORT, identity
from redistill.papers.plan import make, select

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).parent / "identities.json"


def records() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record under ``results/``, by its place."""
    for path in sorted((ROOT / "results").rglob("record.json")):
        yield str(path.relative_to(ROOT)), json.loads(path.read_text(encoding="utf-8"))


def files(tmp: Path) -> Iterator[tuple[str, Experiment]]:
    """Every experiment file of ``examples/`` and ``scripts/``. What lies outside the repository has a stand-in: a file of
    weights these ten letters, data of one's own two grey images."""
    (tmp / "weights.safetensors").write_bytes(b"stand-ins!")
    np.savez(tmp / "two.npz", x=np.full((2, 3, 32, 32), 128, dtype=np.uint8), y=np.arange(2))
    for path in sorted([*(ROOT / "examples").glob("*.toml"), *(ROOT / "experiments").glob("*/**/*.toml")]):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        for role in ("teacher", "student"):
            if "from" in data.get(role, {}):
                data[role]["from"] = str(tmp / "weights.safetensors")
        for name, value in data.get("evaluate", {}).items():
            if str(value).startswith("arrays:"):
                data["evaluate"][name] = f"arrays:{tmp / 'two.npz'}"
        yield str(path.relative_to(ROOT)), Experiment.of(data, folder=path.parent, device="cpu")


def cells() -> Iterator[tuple[str, Experiment]]:
    """Every cell of every paper that can be trained."""
    for name in papers.names():
        paper = papers.load(name)
        for planned in make(paper, select(paper), seeds=(0,), device="cpu").cells:
            if planned.experiment is not None:
                yield f"{name}: {planned.cell.id}", planned.experiment


def versions(written: Any) -> dict[str, int]:
    """Every version that stands in an experiment or in one it needs."""
    found: dict[str, int] = {}
    if isinstance(written, Mapping):
        for key, value in written.items():
            found |= {str(k): int(v) for k, v in value.items()} if key == "numerics" else versions(value)
    return found


def under(written: Any, known: Mapping[str, int] | None) -> Any:
    """The same with the versions of ``known``, without those it lacks; with None no versions at all."""
    if not isinstance(written, Mapping):
        return [under(value, known) for value in written] if isinstance(written, list | tuple) else written
    made = {key: under(value, known) for key, value in written.items() if key != "numerics"}
    if known is not None and "numerics" in written:
        made["numerics"] = {key: known[key] for key in written["numerics"] if key in known}
    return made


def row(hashed: Mapping[str, Any], known: Mapping[str, int]) -> str:
    """``cell id bare`` of what an experiment hashes, its seed included."""
    dated, bare = under(hashed, known), under(hashed, None)
    seedless = [{key: value for key, value in one.items() if key != "seed"} for one in (dated, bare)]
    return " ".join(digest(canonical(one))[:SHORT] for one in (seedless[0], dated, seedless[1]))


def rows(tmp: Path, known: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The content of the file; ``known``: the versions to take, default: those of today.

    ``fast`` is another arithmetic where the processor has bf16 units, and another experiment: here it has none, wherever this runs.
    """
    with mock.patch.object(precision, "has_bf16_matrix_units", return_value=False):
        asked = {name: dict(identity(one.written())) for each in (files(tmp), cells()) for name, one in each}
    if known is None:
        known = {key: value for one in asked.values() for key, value in versions(one).items()}
    kept = {place: f"{record['cell']} {record['id']}" for place, record in records()}
    return {
        "versions": dict(sorted(known.items())),
        "records": kept,
        "experiments": {name: row(one, known) for name, one in asked.items()},
    }


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = rows(Path(folder))
    FILE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(made['records'])} records, {len(made['experiments'])} experiments in {FILE}", file=sys.stderr)
