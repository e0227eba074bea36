"""What a term needs of a teacher's feature where that is less than the feature: a function of each image's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from redistill.core.batch import Output


@dataclass(frozen=True)
class Summary:
    """A function of one place, image by image, that a term can do with instead of the place.

    Attributes:
        name: of the formula with every setting that it depends on, ``attention(p=2.0)``. numerics: raised whenever its bits may move.
        of: makes [B, ...] of the feature [B, ...]; what it makes of an image may not depend on those beside it.
    """

    name: str
    of: Callable[[Tensor], Tensor] = field(compare=False, repr=False)
    numerics: int = 1

    def at(self, place: str) -> str:
        """Under which name it stands among the taps of an output.

        >>> Summary("attention(p=2.0)", abs).at("stage1")
        'attention(p=2.0) of stage1'
        """
        return f"{self.name} of {place}"


Needed = Mapping[str, tuple[Summary, ...]]
"""By place, what suffices of it; empty: it is needed whole."""


def needed(places: Sequence[str], terms: Sequence[tuple[Sequence[str], Mapping[str, Summary]]]) -> Needed:
    """What suffices of each place for all terms together.

    Args:
        places: that somebody reads. terms: of every term the places that it reads, and what it can do with instead.

    >>> attention = Summary("attention(p=2.0)", abs)
    >>> needed(["stage1", "stage2"], [(["stage1", "stage2"], {"stage1": attention, "stage2": attention}), (["stage2"], {})])
    {'stage1': (Summary(name='attention(p=2.0)', numerics=1),), 'stage2': ()}
    """
    made: dict[str, tuple[Summary, ...]] = {}
    for place in places:
        wanted = [summaries.get(place) for reads, summaries in terms if place in reads]
        some = tuple(dict.fromkeys(one for one in wanted if one is not None))
        made[place] = some if len(some) == len(set(wanted)) else ()
    return made


def summarised(output: Output, what: Needed) -> Output:
    """An output with summaries in place of the features that nobody needs whole."""
    taps: dict[str, Tensor] = {}
    for place, tap in output.taps.items():
        few = what.get(place, ())
        taps |= {one.at(place): one.of(tap) for one in few} if few else {place: tap}
    return Output(output.logits, taps)
