"""Text files that hold a table, TOML and JSON, as somebody gave them. Whatever its library raises becomes a sentence with the file's name.

An experiment or a paper is a page that somebody wrote: what is far longer, or nested deeper than anybody writes, is refused
before it is read, because a reader of TOML needs time and memory that grow with the square of a key's length.
"""

from __future__ import annotations

import datetime
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, cut
from redistill.files import UNREADABLE, Spoilt, json_in, unreadable, why
from redistill.settings.lines import Path as Key

MOST_BYTES = 1_000_000  # of a TOML file; the longest paper file of this package has 34,000
MOST_JSON = 64_000_000  # of a record, which a program wrote
WHAT = "an experiment or a paper"
MOST_KEYS = 32  # parts of one key, a.b.c
MOST_DEPTH = 100  # brackets in brackets

_LONG_KEY = re.compile(
    # parts are matched without going back, so that the time grows with the length of the text alone
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MOST_KEYS},}}"""
)


def content_of(path: Path, most: int, what: str = WHAT) -> bytes:
    """The bytes of a file that somebody named, at most so many, as ``what`` has; what is no plain file (a pipe, a device) is not read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # opening a pipe would wait for its writer
            facts = os.fstat(file.fileno())
            content = file.read(most) if stat.S_ISREG(facts.st_mode) and facts.st_size <= most else b""
    except FileNotFoundError as error:
        raise RedistillError(f"cannot read {path}: there is no such file") from error
    except IsADirectoryError as error:
        raise RedistillError(f"cannot read {path}: it is a folder; give a file") from error
    except OSError as error:
        raise RedistillError(f"cannot read {cut(str(path), 200)}: {why(error)}") from error
    except ValueError as error:
        raise RedistillError(f"cannot read {str(path)!r}: a path holds no zero byte") from error
    if not stat.S_ISREG(facts.st_mode):
        raise RedistillError(f"cannot read {path}: it is no plain file but a pipe or a device; give a file")
    if facts.st_size > most:
        raise RedistillError(f"{path}: has {facts.st_size:,} bytes, more than the {most:,} of {what}: is it the right file?")
    return content


def text_of(content: bytes, where: str) -> str:
    """Bytes as text in UTF-8, with or without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RedistillError(f"{where}: {unreadable(error)}: save it as UTF-8") from error


def toml_of(content: bytes, where: str) -> tuple[str, dict[str, Any]]:
    """The text and the table of a TOML file; ``where`` is how messages call it."""
    text = text_of(content, where)
    if len(content) > MOST_BYTES:
        raise RedistillError(f"{where}: has {len(content):,} bytes, more than the {MOST_BYTES:,} of {WHAT}")
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise RedistillError(f"{where}: line {line}: a key of more than {MOST_KEYS} parts, {cut(found[0])}: nothing here has so many")
    try:
        made = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RedistillError(f"{where}: not valid TOML: {cut(str(error), 200)}") from error
    except UNREADABLE as error:
        raise RedistillError(f"{where}: cannot be read as TOML: {unreadable(error)}") from error
    return text, _shallow(made, where)


def json_table(path: Path) -> Any:
    """What a JSON file that somebody gave holds: read as every JSON file is, and no longer or deeper than a record."""
    try:
        made = json_in(content_of(path, MOST_JSON), path)
    except Spoilt as error:
        raise RedistillError(f"{path}: {error.reason}") from error
    return _shallow(made, str(path))


def _shallow(made: Any, where: str) -> Any:
    """Refuse what nothing could walk through afterwards."""
    level = [made]
    for _ in range(MOST_DEPTH):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return made
    raise RedistillError(f"{where}: tables and lists stand in each other more than {MOST_DEPTH} deep: nothing here does")


def _inside(value: Any) -> Iterator[Any]:
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return (entry for entry in entries if isinstance(entry, Mapping | list))


def dates(tree: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Dates and times of a TOML file, which no setting is, with their keys."""
    if isinstance(tree, datetime.date | datetime.time):
        yield key, tree
    elif isinstance(tree, Mapping | list):
        for name, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from dates(value, (*key, name))
