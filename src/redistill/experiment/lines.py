"""On which line of a TOML file a key stands, so that a mistake can be pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]

_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_QUOTED = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*')


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def parts_of(dotted: str) -> tuple[str, ...]:
    """``("method", "./x.py:T", "a")`` for ``method."./x.py:T".a``; nothing for what is no dotted key."""
    match = _KEY.fullmatch(f"{dotted}=")
    return _parts(match.group(1)) if match else ()


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a value that runs over several lines counts as its first one."""
    depth, quote, start, whole = 0, "", 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not whole:
            start = number
        whole += line + "\n"
        rest = line
        while rest:
            if quote:
                _, found, rest = rest.partition(quote)
                quote = "" if found else quote
                continue
            match = _QUOTED.search(rest)
            plain = rest[: match.start()] if match else rest
            depth += plain.count("[") + plain.count("{") - plain.count("]") - plain.count("}")
            if match and match.group() in ('"""', "'''"):
                quote = match.group()
            rest = rest[match.end() :] if match else ""
        if depth <= 0 and not quote:
            yield start, whole
            depth, whole = 0, ""
    if whole:
        yield start, whole


def of_keys(text: str) -> dict[Path, int]:
    """Line of every key and table header; tables of an array are counted from 0: ``("method", 1, "T")``.

    >>> of_keys('[student]\\nmodel = "wrn-16-1"\\n[[method]]\\nuse = "CE"')[("method", 0, "use")]
    4
    """
    found: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in _logical(text):
        bare = line.strip()
        if bare.startswith("[["):
            path = _parts(bare[2 : bare.index("]]")] if "]]" in bare else bare[2:])
            counts[path] = counts.get(path, -1) + 1
            table = (*path, counts[path])
            found.setdefault(path, number)
            found[table] = number
        elif bare.startswith("["):
            table = _parts(bare[1 : bare.index("]")] if "]" in bare else bare[1:])
            found[table] = number
        elif match := _KEY.match(line):
            found[(*table, *_parts(match.group(1)))] = number
    return found


def near(lines: dict[Path, int], path: Path) -> int | None:
    """The line of the key, or of the innermost table around it."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None
