"""Changes to settings, one grammar for ``--set`` and for the tables of paper files.

A change names a setting by its keys and gives its new value: ``recipe.lr=0.05``. A term of the method is named by its ``use``,
``method.KD.T=2`` (or by its number from 0 where two are called alike, ``method.1.T=2``; quoted where it holds dots,
``method."./mine.py:Mine".T=2``). The empty text takes a setting, or a term, away: ``recipe.schedule=""``. Tables that are not
there yet are made. A paper file writes the same keys as tables, ``set = { recipe.lr = 0.05, method.KD.T = 2 }``; there alone a
text ``"{M}"`` stands for the fact of that name (``papers/cells.py``), the one substitution there is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from redistill.errors import RedistillError, cut, nearest
from redistill.settings.lines import parts_of
from redistill.settings.tables import toml_of

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_QUOTED = re.compile(r"""((?:[^"'=]|"[^"]*"|'[^']*')*)(=)(.*)""", re.DOTALL)


class NoTerm(RedistillError):
    """A change of a term that the method does not have."""


def changed(settings: Mapping[str, Any], changes: Sequence[str], *, one_of_several: bool = False) -> dict[str, Any]:
    """Settings shaped like the TOML file with some of them replaced, ``"recipe.lr=0.05"``.

    ``one_of_several``: a term is changed where it stands, and a method without it is left as it is (see :func:`require_terms`).

    >>> changed({"recipe": {"lr": 0.1, "clip": 5}, "method": [{"use": "KD"}]}, ["recipe.lr=.05", "recipe.clip=", "method.KD.T=2"])
    {'recipe': {'lr': 0.05}, 'method': [{'use': 'KD', 'T': 2}]}
    """
    made: dict[str, Any] = copy.deepcopy(dict(settings))
    for one in changes:
        try:
            _put_one(made, *_read(one))
        except RedistillError as error:
            if not (one_of_several and isinstance(error, NoTerm)):
                raise RedistillError(f"--set {cut(repr(one), 80)}: {error}") from error
    return made


def of_term(change: str) -> tuple[str, str] | None:
    """The term that a change names, and which of its settings; None for any other change, and for what is none.

    >>> of_term("method.AT.weight=10"), of_term('method.KD=""'), of_term("recipe.lr=0.1"), of_term("method.T=2")
    (('AT', 'weight'), ('KD', ''), None, None)
    """
    try:
        keys, value = _read(change)
    except RedistillError:
        return None
    if keys[0] != "method" or len(keys) < 2 or (len(keys) == 2 and value != ""):
        return None
    return keys[1], keys[2] if len(keys) > 2 else ""


def require_terms(several: Sequence[Mapping[str, Any]], changes: Sequence[str]) -> None:
    """Refuse a change of a term that no method of several has; what else is wrong with it is told where it is made."""
    methods = [rows for settings in several if isinstance(rows := settings.get("method"), list)]
    uses = [str(row["use"]) for rows in methods for row in rows if isinstance(row, dict) and "use" in row]
    longest = max(map(len, methods), default=0)
    for one in changes:
        name, _ = of_term(one) or ("", "")
        if not name or name in uses or not methods:
            continue
        if not (name.isdecimal() and len(name) < 6 and int(name) < longest):
            raise NoTerm(f"--set {cut(repr(one), 80)}: {nearest(name, uses, 'term')}")


def keys_of(change: str) -> tuple[str, ...]:
    """The keys of the setting that a change names; () where it is no change, which is told where it is made.

    >>> keys_of("recipe.lr=0.1"), keys_of("recipe.lr")
    (('recipe', 'lr'), ())
    """
    try:
        return _read(change)[0]
    except RedistillError:
        return ()


def _read(change: str) -> tuple[tuple[str, ...], Any]:
    """Keys and value of ``recipe.lr=0.05``."""
    key, equals, text = change.partition("=")
    if match := _QUOTED.fullmatch(change):  # an equals sign may stand inside a quoted name
        key, equals, text = match.groups()
    keys = parts_of(key.strip())
    if not equals or not keys:
        raise RedistillError("write key=value, for example --set recipe.lr=0.05")
    return keys, _value(text.strip())


def _value(text: str) -> Any:
    """A value as TOML has it; ``.5`` is a number too, and a bare word is text, ``recipe.optimizer=adam``."""
    if not text:
        return ""
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() and len(text) < 1000 else float(text)
    try:
        table = toml_of(f"value = {text}".encode(), "the value")[1]
    except RedistillError:
        if text[0] in "[{\"'":
            raise
        return text
    if table.keys() != {"value"}:
        raise RedistillError("the value runs over its line: give one change at a time")
    return table["value"]


def _put_one(settings: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    *before, last = keys
    here: Any = settings
    for part in before:
        here = _row(here, part, "term") if isinstance(here, list) else here.setdefault(part, {})
        if not isinstance(here, dict | list):
            raise RedistillError(f"{part!r} is a value, not a table")
    _set(here, last, value)


def put(settings: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put changes over settings in place, key by key; a term is named by its ``use``, "" takes a key away.

    >>> made = {"recipe": {"lr": 0.1}, "method": [{"use": "AT", "weight": 1000}]}
    >>> put(made, {"recipe": {"epochs": 5}, "method": {"AT": {"weight": 250}}})
    >>> made
    {'recipe': {'lr': 0.1, 'epochs': 5}, 'method': [{'use': 'AT', 'weight': 250}]}
    """
    _put(settings, changes)


def _put(here: dict[str, Any] | list[Any], changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        inner = _row(here, name) if isinstance(here, list) and value != "" else here.get(name) if isinstance(here, dict) else None
        if isinstance(value, Mapping) and isinstance(inner, dict | list):
            _put(inner, value)
        else:
            _set(here, name, value)


def put_over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of settings with changes put over it."""
    made: dict[str, Any] = copy.deepcopy(dict(settings))
    put(made, changes)
    return made


def _set(here: dict[str, Any] | list[Any], name: str, value: Any) -> None:
    """The one place where a setting is given, or taken away."""
    if isinstance(here, list):
        if value != "":
            raise RedistillError(f"what {name!r} would stand in is a list: say which entry, for example method.KD.T=2")
        gone = _row(here, name)
        here[:] = [row for row in here if row is not gone]
    elif value == "":
        here.pop(name, None)
    else:
        here[name] = copy.deepcopy(dict(value) if isinstance(value, Mapping) else value)


def _row(rows: list[Any], part: str, what: str = "term of the method") -> dict[str, Any]:
    """A term of a method by its name, or by its number."""
    named = [row for row in rows if isinstance(row, dict) and row.get("use") == part]
    if len(named) == 1:
        found: dict[str, Any] = named[0]
        return found
    if not named and part.isdecimal() and len(part) < 6 and int(part) < len(rows) and isinstance(rows[int(part)], dict):
        numbered: dict[str, Any] = rows[int(part)]
        return numbered
    if named:
        raise RedistillError(f"{part} stands there {len(named)} times: give its number, from 0")
    raise NoTerm(nearest(part, [str(row.get("use")) for row in rows if isinstance(row, dict)], what))
