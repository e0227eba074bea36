"""Transformers: which of a network's tokens lie on its grid of patches, and which of its blocks are its stages.

A vision transformer works on tokens [B, N, D]: some in front (class, distillation, registers), then one for each patch of its last
feature map, row by row. Its blocks are modules side by side of which each makes such tokens of such tokens; the last ones of every
quarter of them are the stages (Hao et al. 2023, arXiv:2310.19444), each read as a map [B, D, H, W] of the patches alone. Beside
``stage2`` there are ``stage2:tokens`` [B, N, D], and where tokens stand in front ``stage2:class`` (the first) and ``stage2:token1`` ....

A hierarchical one (Swin) works on [B, H, W, C]; the last such tensor of each resolution is a stage, as with maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from redistill.core import Place
from redistill.features.stages import Call, Heard, maps_of

QUARTERS = 4
MOST_IN_FRONT = 8  # class, distillation and registers


def grid_places(net: nn.Module, heard: Heard) -> dict[str, Place]:
    """The stages of a transformer on a grid of patches that keeps its size, with their tokens; empty for any other network."""
    found = _blocks(heard)
    if found is None:
        return {}
    blocks, (front, height, width) = found
    count = min(QUARTERS, len(blocks))
    places = {}
    for stage in range(1, count + 1):
        place = heard.place(blocks[-(-len(blocks) * stage // count) - 1])
        places[f"stage{stage}"] = replace(place, grid=(front, height, width))
        places[f"stage{stage}:tokens"] = place
        for number in range(front):
            places[f"stage{stage}:{_word(net, number)}"] = replace(place, token=number)
    return places


def turned_stages(heard: Heard) -> list[Call]:
    """The last [B, H, W, C] of each resolution, where these only get smaller; empty for any other network."""
    _, turned = heard.layouts
    calls = [c for c in heard.calls if c.parameters and c.out in turned and c.out is not None and c.out[1] * c.out[2] > 1]
    stages: list[Call] = []
    for call in calls:
        assert call.out is not None
        if stages and stages[-1].out is not None and stages[-1].out[1:3] == call.out[1:3]:
            stages.pop()
        elif stages and stages[-1].out is not None and stages[-1].out[1] * stages[-1].out[2] <= call.out[1] * call.out[2]:
            return []
        stages.append(call)
    return stages


def _word(net: nn.Module, number: int) -> str:
    """``class`` for the first token in front, unless the network says that it has none (registers alone)."""
    return "class" if number == 0 and getattr(net, "has_class_token", True) else f"token{number}"


def _blocks(heard: Heard) -> tuple[list[Call], tuple[int, int, int]] | None:
    """The blocks in their order, and (tokens in front, height, width) of their grid."""
    every, sure = maps_of(heard), heard.layouts[0]
    maps = [call for call in every if call.out in sure] or every  # queries and keys [B, heads, N, d] look like maps too
    last = next((c for c in reversed(heard.calls) if c.parameters and c.out is not None and len(c.out) == 3 and c.out[1] > 1), None)
    if not maps or maps[-1].out is None or last is None or last.out is None:
        return None
    height, width = maps[-1].out[2:]
    front = last.out[1] - height * width
    if not 0 <= front <= MOST_IN_FRONT:
        return None
    blocks = _side_by_side([c for c in heard.calls if c.composite and c.out == last.out and c.given == last.out])
    return (blocks, (front, height, width)) if blocks else None


def _side_by_side(calls: Sequence[Call]) -> list[Call]:
    """Those of one parent, of the outermost with two or more of them; the only one there is where there are no two."""
    parents: dict[str, list[Call]] = {}
    for call in calls:
        parents.setdefault(call.path.rpartition(".")[0], []).append(call)
    several = [path for path, inside in parents.items() if len(inside) > 1]
    if several:
        return parents[min(several, key=lambda path: (path.count(".") + bool(path), -len(parents[path])))]
    return list(calls[:1])  # a container ends after what is in it, and says the same
