"""Another implementation's settings as ours: what was translated, what was left out and why, and the file that says both."""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, cut, plain
from redistill.settings.tables import MOST_BYTES, content_of, text_of


@dataclass
class Theirs:
    """Settings by dotted keys; what was looked at is not left over.

    Attributes:
        given: the tree that somebody wrote. where: how messages call it. defaults: by dotted key, what holds where nothing is written.
        notes: (key, what became of it) for all that was not translated word for word.
    """

    given: Mapping[str, Any]
    where: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._flat = dict(_leaves(self.given))

    def has(self, key: str) -> bool:
        """Whether it is written, as a value or as a table."""
        return any(one == key or one.startswith(f"{key}.") for one in self._flat)

    def take(self, key: str) -> Any:
        """The value of a key, or its default there; what has neither is None."""
        self._seen.add(key)
        return self._flat.get(key, self.defaults.get(key))

    def table(self, key: str) -> Mapping[str, Any]:
        """A whole table, seen with all that is in it; empty where it is not written."""
        self._seen |= {one for one in self._flat if one == key or one.startswith(f"{key}.")}
        found: Any = self.given
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def number(self, key: str) -> float:
        """A number, or a sentence."""
        return self.real(key, _literal(self.take(key)))

    def real(self, key: str, value: Any) -> float:
        """A value that must be a finite number, or a sentence that calls it ``key``."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RedistillError(f"{self.where}: {key} must be a number, it is {cut(repr(value))}")
        return float(value)

    def reals(self, key: str, value: Any) -> list[float]:
        """The same of a list of numbers."""
        if not isinstance(value, list | tuple):
            raise RedistillError(f"{self.where}: {key} must be a list of numbers, it is {cut(repr(value))}")
        return [self.real(f"{key}, entry {number}", one) for number, one in enumerate(value, 1)]

    def whole(self, key: str) -> int:
        """A whole number, or a sentence."""
        value = self.number(key)
        if value != int(value):
            raise RedistillError(f"{self.where}: {key} must be a whole number, it is {value:g}")
        return int(value)

    def text(self, key: str) -> str:
        """A word, or a sentence."""
        value = self.take(key)
        if not isinstance(value, str):
            raise RedistillError(f"{self.where}: {key} must be a name, it is {cut(repr(value))}")
        return value

    def numbers(self, key: str) -> list[float]:
        """A list of numbers, or a sentence."""
        return self.reals(key, _literal(self.take(key)))

    def note(self, key: str, text: str) -> None:
        self.notes.append((key, text))

    def needless(self, prefix: str, why: str) -> None:
        """Pass over keys that say nothing about what is trained."""
        for key in self._flat:
            if (key == prefix or key.startswith(f"{prefix}.")) and key not in self._seen:
                self._seen.add(key)
                self.note(key, f"{_short(self._flat[key])}: {why}")

    def plain(self, key: str, values: Sequence[Any], why: str) -> None:
        """Pass over a key, but only where it has one of the values that say nothing."""
        if key in self._flat and self._flat[key] in values:
            self.needless(key, why)

    def assumed(self) -> list[str]:
        """Keys whose default was taken."""
        return [key for key in self.defaults if key in self._seen and key not in self._flat]

    def rest(self) -> None:
        """Say of every key that nobody looked at that it is not translated."""
        for key, value in self._flat.items():
            if key not in self._seen:
                self.note(key, f"{_short(value)}: not translated, nothing here is known to mean it")


def _literal(value: Any) -> Any:
    """yaml takes ``1e-4`` for a text, and ``(150, 180)`` too; what reads these files there does not."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return ast.literal_eval(value)
    return value


def _short(value: object) -> str:
    return cut(json.dumps(value, default=str))


def _leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


@dataclass(frozen=True)
class Translation:
    """What came of it.

    Attributes:
        of: whose settings these are. settings: sections of an experiment file, whatever of them is known.
        notes: (key there, what became of it).
    """

    of: str
    settings: Mapping[str, Any]
    notes: tuple[tuple[str, str], ...]

    def remarks(self) -> list[str]:
        """The notes, a line each."""
        return [f"{key}: {why}" for key, why in self.notes]

    def toml(self) -> str:
        """Our file, with what was not translated as comments at its top."""
        lines = [f"# made from {self.of} by redistill translate", *("# " + " ".join(plain(line).split()) for line in self.remarks())]
        lines += [f"{name} = {toml_value(value)}" for name, value in self.settings.items() if not isinstance(value, Mapping | list)]
        for name, value in self.settings.items():
            if isinstance(value, list):
                for one in value:
                    lines += ["", f"[[{name}]]", *(f"{key} = {toml_value(inner)}" for key, inner in one.items())]
            elif isinstance(value, Mapping):
                lines += ["", f"[{name}]", *(f"{key} = {toml_value(inner)}" for key, inner in value.items())]
        return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A value as TOML writes it, tables inline.

    >>> toml_value({"kind": "multistep", "at": [150.0, 180.0], "gamma": 0.1})
    '{ kind = "multistep", at = [150.0, 180.0], gamma = 0.1 }'
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def yaml_of(path: Path) -> Mapping[str, Any]:
    """The table in a yaml file: plain data, ``!join`` puts texts together, other tags of its own are refused.

    Raises:
        RedistillError: PyYAML is missing, or the file is none.
    """
    text = text_of(content_of(path, MOST_BYTES), str(path))
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise RedistillError("yaml files are read by PyYAML, which is not installed: pip install 'redistill[yaml]'") from error

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined]  # one that knows torchdistill's !join
        pass

    Loader.add_constructor("!join", lambda loader, node: "".join(map(str, loader.construct_sequence(node, deep=True))))
    try:
        found = yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        why = cut(getattr(error, "problem", None) or str(error), 200)
        raise RedistillError(f"{path}: {line}no yaml that can be read: {why}") from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise RedistillError(f"{path}: a file of settings is a table, this is {cut(repr(found))}")
    return found
