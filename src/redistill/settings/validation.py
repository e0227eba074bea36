"""Every mistake of a file in one answer: file, line, key, what was given, what is allowed, the nearest name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from redistill.errors import RedistillError, cut, meant, nearest
from redistill.settings.lines import Path as Key
from redistill.settings.lines import near
from redistill.values import WORDS, wording

LONGEST_TEXT = 160  # of a text in a message: room for a path


def dotted(key: Key) -> str:
    """``method[1].T`` for ``("method", 1, "T")``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{_visible(part)}" if text else _visible(part)
    return text


def _visible(text: str) -> str:
    """A text from a file on one line of a terminal: cut, and what is no printable character written as its number."""
    return cut("".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: LONGEST_TEXT + 1]), LONGEST_TEXT)


def shown(value: Any) -> str:
    """A value as TOML would have it, cut to one short line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_visible(value)}"'
    if isinstance(value, Mapping):
        return "{ ... }"
    if isinstance(value, int) and value.bit_length() > 400:  # Python refuses to print the longest ones
        return "a whole number of more than a hundred digits"
    return cut(repr(value))


def look_up(tree: Any, key: Key) -> tuple[bool, Any]:
    for part in key:
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return False, None
    return True, tree


def _holds(tree: Any, key: Key) -> bool:
    """Whether a file has a key, or what stands in the place of a table around it, which it then replaces."""
    for part in key:
        if not isinstance(tree, Mapping):
            return True
        if part not in tree:
            return False
        tree = tree[part]
    return True


@dataclass
class ValidationErrors:
    """Collects what is wrong with one file (and with the files it names); :meth:`raise_if_any` raises them together.

    ``data``: all settings; ``own``: those of them that stand in this file, where it goes on from another one, ``below``.
    """

    file: str
    lines: dict[Key, int] = field(default_factory=dict)
    data: Any = None
    found: list[str] = field(default_factory=list)
    own: Any = None
    below: ValidationErrors | None = None

    def _of(self, key: Key) -> ValidationErrors:
        """The file in which a key stands: the one below, where it has it and this one leaves it as it is."""
        lower = None if self.below is None or key in self.lines or _holds(self.own, key) else self.below._of(key)
        return self if lower is None or not _holds(lower.own, key) else lower

    def add(self, key: Key, says: str) -> None:
        of = self._of(key)
        line = near(of.lines, key)
        known, value = look_up(self.data, key)
        given = f" = {shown(value)}" if known and not isinstance(value, Mapping | list) else ""
        place = ", ".join(p for p in (f"line {line}" if line else "", f"{dotted(key)}{given}" if key else "") if p)
        self.found.append(f"{of.file}: {place}: {says}" if place else f"{of.file}: {says}")

    def unknown(self, key: Key, given: Iterable[str], allowed: Iterable[str], what: str = "setting") -> None:
        """Tell the names that are not allowed. A table is read on as if a misspelt name had been written right: what is missing only
        for that reason is not told too."""
        allowed = list(allowed)
        for name in list(given):
            if name in allowed:
                continue
            self.add((*key, name), nearest(str(name), allowed, what, WORDS))
            if isinstance(given, dict) and (right := next(iter(meant(str(name), allowed, WORDS)), None)) and right not in given:
                given[right] = given.pop(name)

    @contextlib.contextmanager
    def at(self, key: Key) -> Iterator[None]:
        """Anything refused inside is a mistake at ``key``, and so is what Python cannot do with a value of a kind nobody foresaw."""
        try:
            yield
        except pydantic.ValidationError as error:
            self.validation(key, error)
        except RedistillError as error:
            self.add(key, str(error))
        except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            self.add(key, f"cannot be used ({type(error).__name__}: {cut(str(error), 200)})")

    def validation(self, key: Key, error: pydantic.ValidationError) -> None:
        """pydantic's findings as sentences. The fields that are allowed are those of the model that refused."""
        for entry in error.errors():
            where = (*key, *_location(entry["loc"], self.data, key, entry["type"] == "missing"))
            if entry["type"] == "union_tag_invalid":
                where = (*where, str(entry["ctx"].get("discriminator", "")).strip("'"))
            self.add(where, wording(entry))

    def raise_if_any(self) -> None:
        """Raise what was found, all of it."""
        if self.found:
            one = list(dict.fromkeys(self.found))
            head = "" if len(one) == 1 else f"{len(one)} mistakes:\n  "
            raise RedistillError(head + "\n  ".join(one))


def _location(loc: tuple[str | int, ...], data: Any, key: Key, new: bool) -> Key:
    """pydantic puts the names of union members into the path; keep what stands in the file, and the name of a ``new`` key."""
    kept: list[str | int] = []
    for i, part in enumerate(loc):
        present, _ = look_up(data, (*key, *kept, part))
        if present or (new and i == len(loc) - 1):
            kept.append(part)
    return tuple(kept)
