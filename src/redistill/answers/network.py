"""Who a network is, for a key: all that its forward can depend on, or the reason why that cannot be told.

Weights alone are not enough: two networks with the same tensors and another activation say other things. A key is made of

* every parameter and buffer (also those that no state dict holds), by SHA-256;
* every module's class, by the SHA-256 of the files that define it and its bases, and of files of one's own that these import (of torch:
  its version), and by what stands on them now: functions with their defaults and the plain globals that they name, in a notebook with
  the functions that they name too, and plain values;
* every other attribute of every module, to the bottom; functions by their compiled code.

A module with hooks, and an attribute of a kind that is not known here, make it untellable: then nothing is remembered.
"""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.files import canonical, digest, file_digest
from redistill.tensor_files import tensors_digest
from redistill.user_code import beside

NUMERICS = 1
PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
LIBRARIES = ("torch", "builtins", "typing", "collections", "abc", "enum", "functools", "types", "numpy")
"""Whose code is what their version says; versions stand in every key."""
INNER = {
    "training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook", "_version",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs", "call_super_init", "dump_patches",
}  # fmt: skip
"""Attributes of every module that its forward does not read, or that are told otherwise."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Untold(RedistillError):
    """What a network computes cannot be told from what it holds."""


def network_key(net: nn.Module) -> str:
    """64 hex digits; equal for two networks only where they compute the same.

    Raises:
        Untold: it cannot be told.
    """
    if nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks:
        raise Untold("a hook stands on every module (torch.nn.modules.module)")
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    if any(t.is_meta or t.layout != torch.strided for t in tensors.values()):
        raise Untold("its weights are no plain tensors")
    try:
        weights = tensors_digest(tensors)
    except (RuntimeError, TypeError, RedistillError) as error:
        raise Untold(f"its weights are no plain tensors ({error})") from error
    values = _Values()
    try:
        modules = [[name, values.module(module)] for name, module in net.named_modules(remove_duplicate=False)]
        return digest(canonical({"numerics": NUMERICS, "weights": weights, "modules": modules}))
    except Untold:
        raise
    except Exception as error:  # whatever somebody's object does when it is looked at
        raise Untold(f"looking at it ends in {type(error).__name__}: {error}") from error


class _Values:
    """Tells values; a value that is met again is told by the number under which it was met first."""

    def __init__(self) -> None:
        self.met: dict[int, int] = {}
        self.alive: list[Any] = []  # so that no second value gets the address of a first one
        self.known: dict[int, list[str]] = {}

    def code_of(self, kind: type) -> list[str]:
        """:func:`code_of` of a class, once."""
        if id(kind) not in self.known:
            self.alive.append(kind)
            self.known[id(kind)] = code_of(kind)
        return self.known[id(kind)]

    def module(self, module: nn.Module) -> Any:
        if isinstance(module, torch.jit.ScriptModule):
            raise Untold(f"its part {type(module).__name__} is compiled code (torch.jit)")
        for hooks in HOOKS:
            if getattr(module, hooks, None):
                raise Untold(f"a hook stands on its part {type(module).__name__}")
        if (again := self._again(module)) is not None:
            return again
        held = {name: value for name, value in vars(module).items() if name not in INNER and name not in HOOKS}
        return [self.code_of(type(module)), {name: self.value(value) for name, value in sorted(held.items())}]

    def _again(self, value: Any) -> list[Any] | None:
        if id(value) in self.met:
            return ["again", self.met[id(value)]]
        self.met[id(value)] = len(self.met)
        self.alive.append(value)
        return None

    def value(self, value: Any) -> Any:
        """JSON-able."""
        if isinstance(value, enum.Enum):
            return ["enum", self.code_of(type(value)), value.name]
        if isinstance(value, PLAIN):
            return [type(value).__name__, repr(value)]
        if isinstance(value, torch.dtype | torch.device | torch.memory_format | torch.layout | PurePath):
            return [type(value).__name__, str(value)]
        if isinstance(value, Tensor):
            return ["tensor", tensors_digest({"": value})]
        if isinstance(value, type):
            return ["class", self.code_of(value)]
        if (again := self._again(value)) is not None:
            return again
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, list | tuple):
            return [self.code_of(type(value)), [self.value(one) for one in value]]
        if isinstance(value, set | frozenset):
            return ["set", sorted(canonical(self.value(one)) for one in value)]
        if isinstance(value, Mapping | types.MappingProxyType):
            return ["mapping", [[self.value(key), self.value(one)] for key, one in value.items()]]
        if isinstance(value, functools.partial):
            return ["partial", self.value(value.func), self.value(value.args), self.value(value.keywords)]
        if isinstance(value, types.FunctionType):
            cells = [self._cell(cell) for cell in value.__closure__ or ()]
            held = [self.value(value.__defaults__), self.value(value.__kwdefaults__), _globals(value)]
            return ["function", _code(value.__code__), cells, *held]
        if isinstance(value, types.MethodType):
            return ["method", self.value(value.__func__), self.value(value.__self__)]
        if isinstance(value, types.BuiltinFunctionType):
            return ["builtin", str(value.__module__), value.__qualname__]
        if type(value).__module__.partition(".")[0] in LIBRARIES or not hasattr(value, "__dict__") or _slots(type(value)):
            raise Untold(f"it holds a {type(value).__module__}.{type(value).__qualname__}")
        return ["object", self.code_of(type(value)), [[name, self.value(one)] for name, one in sorted(vars(value).items())]]

    def _cell(self, cell: Any) -> Any:
        try:
            return self.value(cell.cell_contents)
        except ValueError:
            return "empty"


def _slots(kind: type) -> bool:
    return any(vars(base).get("__slots__") for base in kind.__mro__)


def code_of(kind: type) -> list[str]:
    """A class: its name, and for it and each of its bases outside the libraries the SHA-256 of the code that defines it.

    That is the file, and functions and plain values as they stand on the class: an editor may have saved another file since, a notebook
    has none, and whoever sets ``Net.scale = 2`` has another network.
    """
    parts = [f"{kind.__module__}.{kind.__qualname__}"]
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in LIBRARIES:
            continue
        where = getattr(sys.modules.get(base.__module__), "__file__", None)
        if where is not None and Path(where).is_file():
            parts.append(_file(where))
            parts += [f"{name} {sha}" for name, sha in beside(base).items()]
        held = {name: told for name, one in vars(base).items() if (told := _of_class(name, one)) is not None}
        parts.append(digest(canonical(sorted(held.items()))))
    return parts


def _of_class(name: str, value: object) -> list[Any] | None:
    """What stands on a class under a name: functions, also inside of what wraps them, and plain values; None of anything else."""
    inside = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", None)
    if isinstance(value, property | functools.cached_property | staticmethod | classmethod) and inside is not None:
        value = inside
    if isinstance(value, types.FunctionType):
        defaults = [_plain(one) for one in (value.__defaults__ or (), value.__kwdefaults__ or {})]
        return ["function", _code(value.__code__), defaults, _globals(value)]
    return None if name.startswith("__") else _plain(value)


def _plain(value: object) -> list[Any] | None:
    """A number, a word, or lists and tables of such; None of anything else."""
    if isinstance(value, PLAIN):
        return [type(value).__name__, repr(value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_plain(one) for one in value]]
    if isinstance(value, dict):
        return ["dict", [[_plain(key), _plain(one)] for key, one in value.items()]]
    return None


def _globals(function: types.FunctionType, met: tuple[object, ...] = ()) -> list[list[Any]]:
    """Plain values of the globals that a function, or one inside it, names, and functions among them that stand in no file. ``met``:
    functions on the way here, which may name each other."""
    codes, names = [function.__code__], set()
    for code in codes:
        names |= set(code.co_names)
        codes += [one for one in code.co_consts if isinstance(one, types.CodeType)]
    known = function.__globals__
    told: list[list[Any]] = []
    for name in sorted(names & known.keys()):
        value = known[name]
        if isinstance(value, PLAIN):
            told.append([name, type(value).__name__, repr(value)])
        elif isinstance(value, types.FunctionType) and value not in met and not _in_a_file(value):
            defaults = [_plain(one) for one in (value.__defaults__ or (), value.__kwdefaults__ or {})]
            told.append([name, "function", _code(value.__code__), defaults, _globals(value, (*met, function, value))])
    return told


def _in_a_file(function: types.FunctionType) -> bool:
    """Or in a library, wherever its files are."""
    return str(function.__module__).partition(".")[0] in (*LIBRARIES, "redistill") or Path(function.__code__.co_filename).is_file()


@functools.cache
def _file(path: str) -> str:
    return file_digest(Path(path))


def _code(code: types.CodeType) -> list[Any]:
    """What compiled code does, without the places of its text."""
    consts = [_code(one) if isinstance(one, types.CodeType) else _constant(one) for one in code.co_consts]
    counts = [code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags]
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), list(code.co_freevars), list(code.co_cellvars), consts, counts]


def _constant(value: object) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)
