"""One entry of a table that quotes others, and one label: the number in it, the pair of networks, the method."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from redistill.errors import counted, cut
from redistill.evidence import names
from redistill.evidence.registry import Registry, registry
from redistill.evidence.units import percent

NUMBER = re.compile(
    r"(?P<value>[-−+]?\d+(?:\.(?P<decimals>\d+))?)\s*%?(?:\s*(?P<sign>±|\+/?-|\(±?)\s*(?P<std>\d*\.?\d+)\s*%?\)?)?\s*(?:\([^)]*\)|[↑↓][\d.]*)?"
)

TOP5 = re.compile(r"\b(?:top|acc|prec)[\s@_-]*5\b|\br@5\b", re.I)
"""Labels of rows and columns that are no top-1."""

NUMERIC = re.compile(r"(?:\\[a-z]+)?\W*\d{1,2}[.,]\d", re.I)
LONELY = re.compile(r"(?:\\[a-z]+)?\W*\d\d[.,]\d", re.I)
"""How an entry begins that a person takes for an accuracy: beside other numbers, and in a row that may be a heading."""

Found = tuple[float, int, float | None, str]
"""Value, decimals, spread and marks of an entry."""


@dataclass(frozen=True)
class Quoted:
    """One number of a quoting table.

    Attributes:
        row, column: its labels in the table. text: as it stands there. value: in percent, as accuracy where ``--unit`` says error.
        mark: footnote signs at the number or its name. turned: its column says that it is an error, and ``value`` is 100 minus it.
    """

    row: str
    column: str
    dataset: str
    teacher: str | None
    student: str
    method: str
    setting: str
    text: str
    value: float
    decimals: int
    std: float | None = None
    mark: str = ""
    turned: bool = False

    @property
    def pair(self) -> str:
        return f"{self.teacher} -> {self.student}" if self.teacher else self.student

    def of_fraction(self) -> Quoted:
        """The same number in percent, where it was read as a fraction."""
        spread = None if self.std is None else percent(self.std, "fraction")
        return replace(self, value=percent(self.value, "fraction"), decimals=max(0, self.decimals - 2), std=spread)

    def of_error(self) -> Quoted:
        """The accuracy, where it was read as an error in percent."""
        return replace(self, value=percent(self.value, "error"), turned=True)


def number_of(text: str) -> Found | None:
    """Value, decimals, spread and marks of an entry; None where it holds no number.

    >>> number_of("70.66†"), number_of("86.60 ± 0.56"), number_of("86.60 (0.56)"), number_of("ResNet20"), number_of("-")
    ((70.66, 2, None, '†'), (86.6, 2, 0.56, ''), (86.6, 2, 0.56, ''), None, None)
    >>> number_of("73.33 (91.2)")  # top-1 (top-5), which is never below
    (73.33, 2, None, '')
    """
    bare, marks = names.unmarked(re.sub(r"\[\d[\d, ]*\]", "", text))
    found = NUMBER.fullmatch(bare)
    if found is None:
        return None
    value = float(found["value"].replace("−", "-"))
    std = None if found["std"] is None else float(found["std"])
    if found["sign"] == "(" and std is not None and std >= value:
        std = None
    return value, len(found["decimals"] or ""), std, marks


@dataclass
class Left:
    """Entries that look like numbers and are none that is compared."""

    unread: list[str] = field(default_factory=list)
    top5: list[str] = field(default_factory=list)

    def notes(self, where: str) -> list[str]:
        made = []
        if self.unread:
            made.append(
                f"{where}: left out, as they are no single number with a point: {cut(', '.join(dict.fromkeys(self.unread)), 200)} "
                f"({counted(len(self.unread), 'cell')})"
            )
        if self.top5:
            made.append(f"{where}: left out, as they are called top-5: {counted(len(self.top5), 'number')}")
        return made


def pair_of(text: str) -> tuple[str, str] | None:
    """Teacher and student of a label such as "A -> B", "A / B", "A to B", "T: A, S: B".

    >>> pair_of("WRN-40-2 -> WRN-16-2"), pair_of("ResNet56 / ResNet20"), pair_of("KD")
    (('WRN-40-2', 'WRN-16-2'), ('ResNet56', 'ResNet20'), None)
    """
    text = re.sub(r"\b[TS](?:eacher|tudent)?\s*:\s*", "", text)
    for parted in (r"\s*(?:-+>|=>|→)\s*", r"\s+to\s+", r"\s*/\s*", r"\s*[&,;]\s*"):
        parts = re.split(parted, text)
        if len(parts) == 2 and all(is_network(part) for part in parts):
            return parts[0].strip(), parts[1].strip()
    return None


def is_network(text: str) -> bool:
    """Whether a rule for networks, or the registry, knows a name."""
    key = names.network(text)
    return key in registry().known(1) | registry().known(2) or any(
        re.fullmatch(p, re.sub(r"[\s/.]+", "-", names.plain(text))) for p, _ in names.NETWORKS
    )


def is_method(text: str, known: Registry) -> bool:
    return names.method(text) in known.known(3) or names.known_method(text)


def is_top5(label: str) -> bool:
    """Whether a row or column is called top-5, and not "top-1 (top-5)".

    >>> is_top5("ResNet18 / Top-5 (%)"), is_top5("Acc@1 / Acc@5"), is_top5("KD, T=5")
    (True, False, False)
    """
    return bool(TOP5.search(label)) and not re.search(r"(?:top|acc|prec)[\s@_-]*1\b", label, re.I)


def unread(text: str, beside: bool = False) -> bool:
    """Whether an entry is meant as an accuracy and is no number; ``beside``: numbers stand in its row, so that it is no heading.

    >>> unread("73,33"), unread("73.33/91.2"), unread("0.5x"), unread("75.51"), unread("0.5x", beside=True)
    (True, True, False, False, True)
    """
    return number_of(text) is None and bool((NUMERIC if beside else LONELY).match(text))
