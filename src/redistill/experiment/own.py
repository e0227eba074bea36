"""Networks, terms and sources of one's own: ``module:name`` or ``./file.py:name``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.experiment.files import file_digest


@dataclass(frozen=True)
class Own:
    """An object that stands outside the package.

    Attributes:
        name: how experiments call it: ``./file.py:name`` without folders (the SHA-256 of the file says which one it is),
            or ``module:name``.
        code: SHA-256 of the file that defines it. file: that file, for a reference by path.
    """

    name: str
    code: str
    file: str | None
    object: Any


def is_own(reference: str) -> bool:
    return ":" in reference


def load(reference: str, folder: Path, *, file: str | None = None, code: str | None = None) -> Own:
    """Import what ``reference`` names; paths are relative to ``folder``, the one of the experiment file.

    Args:
        file, code: from a record: where the file was, and the SHA-256 it had. A file that changed since is refused.
    """
    where, _, name = reference.rpartition(":")
    if where.endswith(".py"):
        path = Path(file) if file else folder / where
        path = path.expanduser().resolve()
        if not path.is_file():
            raise RedistillError(f"{reference!r}: there is no file {path}")
        sha = file_digest(path)
        if code is not None and code != sha:
            raise RedistillError(
                f"{reference!r}: {path} has changed since (SHA-256 {sha[:12]}, the record says {code[:12]}): put the old file "
                f"back, or remove the key 'code' to use the new one"
            )
        module = _from_file(path, sha)
        short = f"./{path.name}:{name}"
        kept: str | None = str(path)
    else:
        try:
            module = importlib.import_module(where)
        except ImportError as error:
            raise RedistillError(f"{reference!r}: cannot import {where!r} ({error})") from error
        origin = getattr(module, "__file__", None)
        sha = file_digest(Path(origin)) if origin else ""
        short, kept = reference, None
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise RedistillError(f"{reference!r}: {nearest(name, public, f'name in {where}')}")
    return Own(short, sha, kept, getattr(module, name))


def _from_file(path: Path, sha: str) -> Any:
    known = f"redistill_own_{sha[:16]}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None:
        raise RedistillError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module  # dataclasses look their module up while they are being made
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[known]
        raise RedistillError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def parameters(made: Any) -> frozenset[str]:
    """The names that a class or function can be called with."""
    try:
        return frozenset(inspect.signature(made).parameters)
    except (TypeError, ValueError) as error:
        raise RedistillError(f"{made!r} cannot be called: it must be a class or a function that makes a network") from error
