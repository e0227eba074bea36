"""The rows of a paper's table of methods, each with the loss and the weights that its source trains with.

:data:`METHODS` is what ``redistill compare --methods`` knows. Weights are those of the CRD benchmark (RepDistiller's script for
ResNet-32x4 to 8x4, run without KD beside the term) or of the method's own code, as the cards say. Two things follow from the
comparison instead of the paper: warm-ups keep their share of the run (20 of 240 epochs), and AT's weight, whose loss is a mean over
the positions of normalised maps, follows their number (1000 at 32x32 pixels, 62.5 at 8x8: :func:`listed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from redistill.errors import RedistillError, nearest

Parts = tuple[Mapping[str, Any], ...]
"""Rows of ``[[method]]``."""

CE: Mapping[str, Any] = {"use": "CE"}
KD: Mapping[str, Any] = {"use": "KD", "T": 4.0}


@dataclass(frozen=True)
class Listed:
    """One method.

    Attributes:
        parts: terms, weights and settings.
        first: what is learned alone before, for 30 of 240 epochs, where the method has an initial stage; ``first_recipe``: what of the
            recipe is another there.
        teacher: who teaches: the ``"given"`` network, an ``"assistant"`` that it taught before, the ``"student"``'s own network
            trained on labels, or the ``"generation"`` before, which that one taught; ``"none"``.
        network: ``"body"``, the student as named, or ``"simkd"``, its body under the teacher's classifier.
        views: 2: a weak and a strong view of every image.
        warm_up: number of the part whose weight grows over 20 of 240 epochs. curriculum: of the part whose ``loops`` are 10 of 240.
    """

    parts: Parts
    first: Parts = ()
    first_recipe: Mapping[str, Any] = field(default_factory=dict)
    teacher: Literal["given", "assistant", "student", "generation", "none"] = "given"
    network: Literal["body", "simkd"] = "body"
    views: int = 1
    warm_up: int | None = None
    curriculum: int | None = None


def _beside(use: str, weight: float = 1.0, **settings: Any) -> Parts:
    """CE with weight 1, and one term."""
    return CE, {"use": use, "weight": weight, **settings}


def _soft(weight: float = 0.9, **settings: Any) -> Parts:
    """A tenth of CE, and KD."""
    return {"use": "CE", "weight": 0.1}, {**KD, "weight": weight, **settings}


METHODS: Mapping[str, Listed] = {
    "CE": Listed((CE,), teacher="none"),
    "LS": Listed(({"use": "CE", "smoothing": 0.1},), teacher="none"),
    "KD": Listed(_soft()),
    "KD-wrong": Listed(_soft(shift=1)),
    "LSKD": Listed(_soft(9.0, T=2.0, standardise=True)),
    "DKD": Listed(_beside("DKD"), warm_up=1),
    "NKD": Listed(_beside("NKD")),
    "DIST": Listed(_beside("DIST", beta=2.0, gamma=2.0, T=4.0)),
    "MLKD": Listed(({"use": "CE", "weight": 0.2}, {"use": "MLKD", "weight": 0.9}), views=2),
    "CTKD": Listed(({"use": "CE", "weight": 0.1}, {"use": "CTKD", "weight": 0.9}), curriculum=1),
    "FitNet": Listed(_beside("FitNet", 100.0)),
    "AT": Listed(_beside("AT", 1000.0)),
    "SP": Listed(_beside("SP", 3000.0)),
    "NST": Listed(_beside("NST", 50.0)),
    "FSP": Listed((CE,), first=({"use": "FSP"},)),
    "RKD": Listed(_beside("RKD")),
    "PKT": Listed(_beside("PKT", 30000.0)),
    "CC": Listed(_beside("CC", 0.02)),
    "CRD": Listed(_beside("CRD", 0.8)),
    "VID": Listed(_beside("VID")),
    "AB": Listed((CE,), first=({"use": "AB"},)),
    "FT": Listed(
        _beside("FT", 200.0, learns="translator"),
        first=({"use": "FT", "learns": "paraphraser"},),
        first_recipe={"lr": 0.01, "student_mode": "eval"},
    ),
    "OFD": Listed(_beside("OFD")),
    "Review": Listed(_beside("Review", 5.0), warm_up=1),
    "CATKD": Listed(_beside("CATKD", 15.0)),
    "ICKD": Listed(_beside("ICKD", 2.5)),
    "SRRL": Listed((CE, KD, {"use": "SRRL"})),
    "SimKD": Listed(({"use": "SimKD"},), network="simkd"),
    "OFA": Listed(_beside("OFA")),
    "TAKD": Listed(_soft(), teacher="assistant"),
    "TfKD-self": Listed(({"use": "CE", "weight": 0.1}, {"use": "KD", "weight": 0.9, "T": 20.0}), teacher="student"),
    "BAN": Listed((CE, {"use": "KD", "T": 1.0}), teacher="generation"),
}
"""By the name that tables print."""


def chosen(written: str) -> tuple[str, ...]:
    """The methods that ``--methods`` names: ``all``, or names with commas between, in the order given; CE stands before them.

    >>> chosen("KD,DKD")
    ('CE', 'KD', 'DKD')
    """
    if written.strip().casefold() == "all":
        return tuple(METHODS)
    known = {name.casefold(): name for name in METHODS}
    wanted = [word.strip() for word in written.split(",") if word.strip()]
    if not wanted:
        raise RedistillError("--methods names no method: write all, or names with commas between, such as KD,DKD,CRD")
    unknown = [word for word in wanted if word.casefold() not in known]
    if unknown:
        raise RedistillError("; ".join(nearest(word, METHODS, "method") for word in unknown))
    return tuple(dict.fromkeys(("CE", *(known[word.casefold()] for word in wanted))))


def listed(name: str, *, epochs: int, image_size: int) -> tuple[Listed, list[dict[str, Any]]]:
    """One method as it is trained for ``epochs`` on images of ``image_size``: what it is, and its ``[[method]]`` rows.

    >>> listed("AT", epochs=240, image_size=8)[1][1]["weight"], listed("DKD", epochs=60, image_size=32)[1][1]["weight"]["end"]
    (62.5, 4.0)
    """
    one = METHODS[name]
    rows = [dict(part) for part in one.parts]
    for row in rows:
        if row["use"] == "AT":
            row["weight"] *= (image_size / 32) ** 2
    if one.warm_up is not None:
        # epochs counted from 1, as mdistiller does
        end = max(1, round(20 * epochs / 240)) - 1
        rows[one.warm_up]["weight"] = {"start": -1.0, "end": float(end), "last": float(rows[one.warm_up].get("weight", 1.0))}
    if one.curriculum is not None:
        rows[one.curriculum]["loops"] = max(1, round(10 * epochs / 240))
    return one, rows
