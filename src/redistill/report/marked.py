"""Pages that are written by hand and have marked places for what is measured: ``<!-- side -->3 %<!-- end of side -->``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from redistill.errors import RedistillError


def filled(page: str, values: Mapping[str, str]) -> str:
    """The page with every value between the marks of its name, wherever they stand; a mark may say after a colon who fills it.

    Raises:
        RedistillError: the page has no such mark.

    >>> filled("at <!-- side: from rates.json -->5 %<!-- end of side --> a side", {"side": "3 %"})
    'at <!-- side: from rates.json -->3 %<!-- end of side --> a side'
    """
    for name, value in values.items():
        page, count = re.subn(_marks(re.escape(name)), lambda found, value=value: found[1] + value + found[3], page)  # type: ignore[misc]
        if not count:
            raise RedistillError(f"the page has no place for {name!r}: it is marked by <!-- {name} --> and <!-- end of {name} -->")
    return page


def marked(page: str) -> list[str]:
    """The names of the places that a page has marks for."""
    return list(dict.fromkeys(found[2] for found in re.finditer(r"(<!-- end of )([\w ,-]+?)( -->)", page)))


def block(text: str) -> str:
    """A value that stands in lines of its own."""
    return f"\n\n{text}\n\n"


def _marks(name: str) -> str:
    return rf"(?s)(<!-- {name}(?:: [^>]*)? -->)(.*?)(<!-- end of {name} -->)"
