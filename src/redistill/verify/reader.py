"""Golden cases: numbers of the authors' own code, a sidecar ``<group>/<id>.json`` beside its arrays ``<id>.npz``.

Array names start with a role: ``in/`` inputs, ``param/`` and ``buf/`` state before the call, ``out/`` expected values,
``grad/in/`` and ``grad/param/`` gradients of the total loss, ``after/`` buffers after it. A case is read strictly: a
setting, convention or array that nobody asked for makes it *not supported* instead of being ignored.
"""

from __future__ import annotations

import functools
import json
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]


class NotSupported(Exception):
    """The case asks for something this package does not compute; the message says for what."""


class Damaged(Exception):
    """The case contradicts itself: a missing file, an array that differs from its description."""


# -- the closed-form rule: pseudo-noise from whole numbers, the same bits in every language ----------------------------
_PRIME = 1_000_003


def closed_form(tag: int, shape: Sequence[int], salt: int = 0) -> Array:
    """Values in (-1, 1) that need no random generator: float64 of ``shape``.

    With t = tag + 1 + salt and the flat index j: k = (314159 (j+1)² + 271828 (j+1) t + 141421 t²) mod 1000003, the value
    is (2k + 1 - 1000003) / 1000003.

    >>> closed_form(0, (2,)).round(6).tolist()
    [0.454813, 0.883415]
    """
    t, count = (tag + 1 + salt) % _PRIME, math.prod(shape)
    # the rule repeats after 1000003 numbers; each sum below is less than 3 times that, so no second division is needed
    length = min(count, _PRIME)
    index, squares = _whole()
    k = index[:length] * (271828 * t % _PRIME)
    k %= _PRIME
    k += squares[:length]
    k += 141421 * t * t % _PRIME
    for _ in range(2):
        np.subtract(k, _PRIME, out=k, where=k >= _PRIME)
    values: Array = (2 * k + 1 - _PRIME) / np.float64(_PRIME)
    return (values if length == count else np.resize(values, count)).reshape(tuple(shape))


@functools.cache
def _whole() -> tuple[Array, Array]:
    """j + 1 and 314159 (j+1)² mod 1000003 of one period of the closed form."""
    index = np.arange(1, _PRIME + 1, dtype=np.int64) % _PRIME
    return index, index * index % _PRIME * 314159 % _PRIME


@functools.cache
def _checking() -> Array:
    """One period of the weights of :func:`checksum`."""
    return closed_form(99, (_PRIME,))


def closed_entry(index: int, name: str, shape: Sequence[int], salt: int = 0) -> Array:
    """Value of entry ``index`` (from 0, every entry counted) of a state dict under the rule."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(tuple(shape), dtype=np.int64)
    noise = closed_form(index, shape, salt)
    if name.endswith("running_var"):
        return 1.0 + 0.5 * noise
    if name.endswith("running_mean"):
        return 0.1 * noise
    if len(shape) >= 2:
        return math.sqrt(6.0 / math.prod(shape[1:])) * noise
    return 0.75 + 0.25 * noise if name.endswith("weight") else 0.1 * noise


def fill_closed(module: nn.Module, salt: int = 0) -> None:
    """Give a module the closed-form weights, entries in the order of its state dict."""
    state = module.state_dict()
    filled = {n: torch.from_numpy(closed_entry(i, n, v.shape, salt)).to(v) for i, (n, v) in enumerate(state.items())}
    module.load_state_dict(filled)


def checksum(values: Array) -> Array:
    """[sum, sum of squares, sum of products with ``closed_form(99)``] of one array."""
    values = np.asarray(values, dtype=np.float64)
    weights = _checking()[: values.size] if values.size <= _PRIME else np.resize(_checking(), values.size)
    return np.array([values.sum(), (values * values).sum(), (values * weights.reshape(values.shape)).sum()])


def probes(values: Array, count: int = 8) -> Array:
    """The entries at flat indices floor(m (n-1) / 7), m = 0 ... 7; all of an array of 8 or fewer."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if flat.size <= count:
        return flat
    return flat[np.arange(count) * (flat.size - 1) // (count - 1)]


# -- values of settings ------------------------------------------------------------------------------------------------
Kind = Callable[[Any], bool]


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def positive(value: Any) -> bool:
    return number(value) and value > 0


def whole(value: Any) -> bool:
    """A positive number without a fraction, written as ``2`` or ``2.0``."""
    return positive(value) and value == int(value)


def count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def counts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(count(v) for v in value)


def anything(value: Any) -> bool:
    """For conventions that only describe what the arrays show anyway."""
    return True


def one_of(*known: Any) -> Kind:
    """Exactly these values; texts are compared without regard to case and spacing."""
    accepted = [_plain(v) for v in known]

    def kind(value: Any) -> bool:
        return any(_plain(value) == v and type(value) is type(k) for v, k in zip(accepted, known, strict=True))

    return kind


def _plain(value: Any) -> Any:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value


_RUNNING = ("running statistics", "eval mode", "eval: running statistics", "eval mode: running statistics")
BATCHNORM = one_of("batch statistics", "train mode", "train: batch statistics", *_RUNNING)
"""What batch norm normalises by; :meth:`Case.mode` follows it."""


# what numpy, zipfile and their decompressors raise on bytes that are no archive of arrays
_NO_ARRAYS = (
    OSError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, MemoryError, AttributeError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip


def _require_tables(meta: Mapping[str, Any]) -> None:
    """Refuse a sidecar whose tables are none, or whose tolerances are no numbers above 0."""
    for key in ("arrays", "tolerances", "hyperparameters", "conventions", "expected_parts"):
        if not isinstance(meta.get(key) or {}, dict):
            raise TypeError(f"{key} is no table")
    double = (meta.get("tolerances") or {}).get("float64") or {}
    if not isinstance(double, dict):
        raise TypeError("float64 of tolerances is no table")
    for name, tolerance in double.items():
        if tolerance is not None and not positive(tolerance):
            raise TypeError(f"the float64 tolerance of {name} is {json.dumps(tolerance)[:40]}, expected a number above 0")


class Case:
    """One golden case. What is taken from it is noted, so that :meth:`refuse_unused` can tell what nobody looked at."""

    def __init__(self, sidecar: Path):
        self.sidecar = sidecar
        try:
            self.meta: dict[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
            self.id, self.group, self.method = (str(self.meta[key]) for key in ("id", "group", "method"))
            _require_tables(self.meta)
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
            raise Damaged(f"not the sidecar of a case: {type(error).__name__} {error}") from error
        self._arrays: dict[str, Array] | None = None
        self._taken: set[str] = set()

    @property
    def name(self) -> str:
        return f"{self.group}/{self.id}"

    @property
    def source(self) -> str:
        """``RepDistiller@b84f547``; several sources joined by ``+``."""
        given = self.meta.get("source")
        sources = given if isinstance(given, list) else [given] if given else []
        short = [f"{str(s.get('repo', '?')).rsplit('/', 1)[-1]}@{str(s.get('commit', '?'))[:7]}" for s in sources]
        return "+".join(dict.fromkeys(short)) or "?"

    @property
    def arrays(self) -> Mapping[str, Array]:
        """Every array, after a check against the sidecar's list."""
        if self._arrays is None:
            file = self.sidecar.with_suffix(".npz")
            if not file.is_file():
                raise Damaged(f"{file.name} is missing")
            try:
                with file.open("rb") as raw, np.load(raw, allow_pickle=False) as opened:
                    arrays = {name: opened[name] for name in opened.files}
            except _NO_ARRAYS as error:
                raise Damaged(f"{file.name} cannot be read: {error}") from error
            described = self.meta.get("arrays", {})
            if odd := sorted(set(described) ^ set(arrays)):
                raise Damaged(f"{odd[0]} is only in the {'sidecar' if odd[0] in described else 'array file'}")
            for name, array in arrays.items():
                if not isinstance(described[name], dict) or list(array.shape) != described[name].get("shape"):
                    if not isinstance(described[name], dict) or "shape" not in described[name]:
                        raise Damaged(f"the sidecar does not say the shape of {name}")
                    raise Damaged(f"{name} has shape {list(array.shape)}, the sidecar says {described[name]['shape']}")
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise Damaged(f"{name} is not finite")
            self._arrays = arrays
        return self._arrays

    def names(self, role: str) -> list[str]:
        """Names of one role, without it: ``names("param/")``."""
        return [name.removeprefix(role) for name in self.arrays if name.startswith(role)]

    def take(self, name: str) -> Tensor:
        """One array in double precision (whole numbers stay whole); asks for a gradient where the case expects one."""
        if name not in self.arrays:
            raise NotSupported(f"the case has no {name}")
        self._taken.add(name)
        array = self.arrays[name]
        if array.dtype.kind != "f":
            return torch.from_numpy(array.copy())
        return torch.from_numpy(array.astype(np.float64)).requires_grad_(f"grad/{name}" in self.arrays)

    def settings(self, kinds: Mapping[str, Kind], optional: Iterable[str] = ()) -> dict[str, Any]:
        """The hyper-parameters; an unknown one, a value of the wrong kind or a missing one is not supported."""
        return self._known("hyperparameters", "hyperparameter", kinds, set(kinds) - set(optional))

    def conventions(self, kinds: Mapping[str, Kind]) -> dict[str, Any]:
        """The conventions; an unknown one or an unknown value is not supported."""
        return self._known("conventions", "convention", kinds, set())

    def _known(self, where: str, what: str, kinds: Mapping[str, Kind], required: set[str]) -> dict[str, Any]:
        given = self.meta.get(where) or {}
        for key, value in given.items():
            if key not in kinds:
                raise NotSupported(f"{what} {key} is unknown")
            if not kinds[key](value):
                raise NotSupported(f"{what} {key} = {json.dumps(value)} is unknown")
        if missing := sorted(required - set(given)):
            raise NotSupported(f"{what} {missing[0]} is missing")
        return dict(given)

    def refuse_unused(self) -> None:
        """Arrays that the calculation did not use would be settings ignored."""
        left = [n for n in self.arrays if n.startswith(("in/", "param/", "buf/")) and n not in self._taken]
        if left:
            raise NotSupported(f"{left[0]} is not used by our formula")

    def mode(self) -> str:
        """``train`` or ``eval``, by module_mode and by what the conventions say of batch norm, which must not contradict."""
        mode = self.meta.get("module_mode")
        if mode not in (None, "train", "eval"):
            raise NotSupported(f"module_mode = {json.dumps(mode)} is unknown")
        stated = _plain((self.meta.get("conventions") or {}).get("batchnorm"))
        running = stated in [_plain(text) for text in _RUNNING]
        if running and mode == "train":
            raise NotSupported(f"convention batchnorm = {json.dumps(stated)} contradicts module_mode = {json.dumps(mode)}")
        return "eval" if running else mode or "train"

    def load(self, module: nn.Module) -> nn.Module:
        """``module`` in double precision with the case's parameters and buffers, in the case's mode."""
        mode = self.mode()
        given = {n.removeprefix(role): role + n.removeprefix(role) for role in ("param/", "buf/") for n in self.names(role)}
        own = {n: v for n, v in module.double().state_dict().items() if not n.endswith("num_batches_tracked")}
        if odd := sorted(set(own) ^ set(given)):
            whose = "the case" if odd[0] in given else "our module"
            raise NotSupported(f"state {odd[0]} is only in {whose}")
        with torch.no_grad():
            for name, target in own.items():
                value = self.take(given[name])
                if value.shape != target.shape:
                    raise NotSupported(f"{given[name]} has shape {list(value.shape)}, ours {list(target.shape)}")
                target.copy_(value)
        return module.train(mode == "train")


def find_cases(folder: Path) -> list[Path]:
    """Every sidecar below a folder, in the order of their names."""
    return sorted(folder.rglob("*.json"), key=lambda path: (path.parent.as_posix(), path.name))
