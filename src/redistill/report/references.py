"""BibTeX of the papers behind a method, from ``references.bib``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files


@cache
def entries() -> dict[str, str]:
    """Entry by the name of each term (or source) that comes from it."""
    text = files("redistill.report").joinpath("references.bib").read_text(encoding="utf-8")
    found = {}
    for entry in re.findall(r"^@.*?^}", text, flags=re.MULTILINE | re.DOTALL):
        keywords = re.search(r",\s*keywords = \{(.*?)\}", entry)
        assert keywords is not None, f"references.bib: an entry names no term: {entry[:60]}"
        for name in keywords[1].split(", "):
            found[name] = entry.replace(keywords[0], "")
    return found


def bibtex(names: Iterable[str]) -> str:
    """The papers of these terms, each once; terms of no paper are left out.

    >>> bibtex(["CE", "KD"]).splitlines()[0]
    '@misc{hinton2015,'
    """
    return "\n".join(dict.fromkeys(entries()[name] for name in names if name in entries()))
