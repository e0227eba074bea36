"""Networks that travel with the package, by name; beside each file of weights stands how it was trained (``NAME.json``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def shipped() -> tuple[str, ...]:
    """Names of the networks in the package.

    >>> shipped()
    ('wrn-16-2-digits',)
    """
    return tuple(sorted(path.stem for path in HERE.glob("*.safetensors")))


def place_of(name: object) -> Path | None:
    """The file of a network of the package; None for any other name, and where a file of that name lies in the current folder."""
    if not isinstance(name, str) or name not in shipped() or Path(name).exists():
        return None
    return HERE / f"{name}.safetensors"


def record_of(name: str) -> dict[str, Any]:
    """How it was trained: data, recipe, seed, versions, and its accuracy."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found
