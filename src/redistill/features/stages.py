"""Which calls of a stranger's network are its stages, told from one forward; or why that cannot be told.

A stage is the last feature map of one resolution. Four kinds of network would mislead that rule, and are recognised:

* tokens: the only maps of a vision transformer or a mixer are its patch embedding; the blocks work on [B, N, D] or [B, H, W, C]
* branches: one branch of a block is reduced already while the other is not; only what all paths pass through is a stage
* a resolution that grows again (U-Net)
* a module that is used several times: each call is a place of its own (``relu@1``, ``relu@2``)
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from redistill.core import Place, Shape

POOLS = nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d
_CHANNELS_FIRST = nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm | POOLS
SHOWN = 24  # candidates in a message


@dataclass(frozen=True)
class Call:
    """One call of one module in a forward.

    Attributes:
        path: of the module. number: which of its calls, from 1. out, given: shapes of its output and of its first input, None
            where that is no tensor. pooled: a pooling layer made the output (a container may pass it on).
        inner: no other module was called inside. parameters: the module, or one in it, has some. composite: it has modules in it.
        channels: where the output's channels stand, 1 or -1, as far as the kind of module says it; None where it does not.
        made: the node of the autograd graph that made the output, where gradients were asked for.
    """

    path: str
    number: int
    out: Shape | None
    given: Shape | None
    pooled: bool
    inner: bool
    parameters: bool
    channels: int | None
    linear: bool
    made: object = None
    composite: bool = False

    @property
    def positions(self) -> int:
        """Positions of a map [B, C, H, W]; 0 for what is none."""
        return self.out[2] * self.out[3] if self.out is not None and len(self.out) == 4 else 0


def channels_of(module: nn.Module) -> int | None:
    """Where a module wants the channels of four-dimensional inputs: 1, -1, or None where its kind does not say it."""
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    # subclasses of LayerNorm often turn the tensor round inside
    if isinstance(module, nn.Linear) or (type(module) is nn.LayerNorm and len(module.normalized_shape) == 1):
        return -1
    return None


@dataclass(frozen=True)
class Heard:
    """One forward of a network: the calls of its modules in the order in which they ended, and its logits."""

    calls: tuple[Call, ...]
    logits: Tensor
    images: Tensor | None = None

    @functools.cached_property
    def counts(self) -> Mapping[str, int]:
        """How often each module was called."""
        return Counter(call.path for call in self.calls)

    @functools.cached_property
    def _by_number(self) -> Mapping[tuple[str, int], Call]:
        return {(call.path, call.number): call for call in self.calls}

    def name(self, call: Call) -> str:
        """``layer1``, or ``relu@2`` for a module that is called several times."""
        return call.path if self.counts[call.path] == 1 else f"{call.path}@{call.number}"

    def place(self, call: Call, side: Literal["out", "in"] = "out") -> Place:
        shape = call.out if side == "out" else call.given
        return Place(call.path, side, call=None if self.counts[call.path] == 1 else call.number, turned=shape in self.layouts[1])

    def shape(self, place: Place) -> Shape | None:
        """Shape of what is read at a place; None where that call was not made or gave no tensor."""
        call = self._by_number.get((place.module, self.counts.get(place.module, 0) if place.call is None else place.call))
        shape = None if call is None else call.out if place.side == "out" else call.given
        return None if shape is None else place.shape(shape)

    @functools.cached_property
    def layouts(self) -> tuple[set[Shape], set[Shape]]:
        """Shapes of four-dimensional tensors whose channels surely stand first (convolutions work on them), and of those where they
        stand last, [B, H, W, C] (linear layers and layer norms do)."""
        layouts: dict[int, set[Shape]] = {1: set(), -1: set()}
        for call in self.calls:
            if call.channels is not None:
                layouts[call.channels] |= {shape for shape in (call.out, call.given) if shape is not None and len(shape) == 4}
        return layouts[1], layouts[-1] - layouts[1]


@dataclass(frozen=True)
class Stages:
    """Stages, shallowest first, or why they cannot be told (a sentence without its end)."""

    calls: tuple[Call, ...] = ()
    unsure: str | None = None


def maps_of(heard: Heard) -> list[Call]:
    """The calls that gave a feature map [B, C, H, W] of more than one position, without pooling layers, which belong to the step
    between two stages."""
    _, turned = heard.layouts
    return [c for c in heard.calls if c.positions > 1 and not c.pooled and c.out not in turned]


def find(heard: Heard, with_gradients: Callable[[], Heard]) -> Stages:
    """Stages by the calls of one forward.

    Args:
        with_gradients: the same forward again, with gradients of the images; asked where the order of resolutions is not enough.
    """
    maps = maps_of(heard)
    if not maps:
        return Stages()
    if (why := _tokens(heard, maps)) is not None:
        return Stages(unsure=why)
    grown = _growth(maps)
    if grown is None and not any(_ends_smaller(heard, m) for m in _last_of_each(maps)):
        return Stages(tuple(_last_of_each(maps)))
    graph = with_gradients()
    if [c.path for c in graph.calls] == [c.path for c in heard.calls]:
        nodes = through(graph)
        passed = {id(c) for c, g in zip(heard.calls, graph.calls, strict=True) if g.made in nodes}
    else:
        passed = set()
    if grown is None:
        # a bottleneck's first convolution still has the resolution of the stage before, but is a branch of the next one
        return Stages(tuple(_last_of_each([m for m in maps if id(m) in passed or not _ends_smaller(heard, m)])))
    why = f"the resolution grows again at {heard.name(grown)!r}"
    trunk = [m for m in maps if id(m) in passed]
    if not trunk or _growth(trunk) is not None:
        return Stages(unsure=why)
    if min(c.positions for c in trunk) > min(c.positions for c in maps):
        return Stages(unsure=f"{why}, and no module gives its smallest maps as a whole (branches meet outside of modules)")
    return Stages(tuple(_last_of_each(trunk)))


def _ends_smaller(heard: Heard, inner: Call) -> bool:
    """Whether a call was made inside of a module that gave a smaller map."""
    return any(inner.path.startswith(f"{c.path}.") and 0 < c.positions < inner.positions for c in heard.calls)


def _growth(maps: Sequence[Call]) -> Call | None:
    """The first map that is larger than the one before."""
    for before, after in itertools.pairwise(maps):
        if after.positions > before.positions:
            return after
    return None


def _last_of_each(maps: Sequence[Call]) -> list[Call]:
    """The last call of each resolution, for maps that only get smaller."""
    return [m for m, after in zip(maps, [*maps[1:], None], strict=True) if after is None or after.positions != m.positions]


def _tokens(heard: Heard, maps: Sequence[Call]) -> str | None:
    """A network whose layers go on with tokens after its last map, or with [B, H, W, C] after the last map of that size: its maps
    are a patch embedding then, and no stages."""
    first, turned = heard.layouts
    end = next(i for i, call in enumerate(heard.calls) if call is maps[-1])
    ends: dict[Shape, int] = {}  # where the last map of each size was given
    for i, call in enumerate(heard.calls):
        if call.out is not None and any(call is m for m in maps):
            ends[call.out[2:]] = i
    embedding = [m for m in maps if m.out in first] or list(maps)
    for i, call in enumerate(heard.calls):
        shape = call.out or ()
        if not (call.inner and call.parameters):
            continue
        after = i > end and (shape[1] > 1 if len(shape) == 3 else len(shape) > 4)
        if after or (shape in turned and shape[1] * shape[2] > 1 and i > ends.get(shape[1:3], -1)):
            return (
                f"after its feature map {heard.name(embedding[-1] if i > end else embedding[0])!r} its layers work on tokens "
                f"({heard.name(call)!r} gives {'x'.join(map(str, shape[1:]))}), so that its stages are not among its maps"
            )
    return None


# ---------------------------------------------------------------------------------------------------------------------
# What all paths pass through
# ---------------------------------------------------------------------------------------------------------------------
def through(graph: Heard) -> set[object]:
    """Nodes of the autograd graph that lie on every path from the images to the logits.

    A node lies on every path if the paths that pass it are as many as there are paths; they are counted exactly.
    """
    root = graph.logits.grad_fn
    if root is None or graph.images is None:
        return set()
    order = _topological(root)
    ahead: dict[object, int] = {}
    for node in reversed(order):
        own = int(getattr(node, "variable", None) is graph.images)  # parameters end paths too; these do not count
        ahead[node] = own + sum(ahead[n] for n in _next(node))
    behind: dict[object, int] = dict.fromkeys(order, 0)
    behind[root] = 1
    for node in order:
        for n in _next(node):
            behind[n] += behind[node]
    total = ahead[root]
    return {node for node in order if ahead[node] * behind[node] == total} if total else set()


def _next(node: object) -> list[object]:
    return [n for n, _ in node.next_functions if n is not None]  # type: ignore[attr-defined]


def _topological(root: object) -> list[object]:
    """Nodes from the logits to the images, each before those that it leads to."""
    done: dict[object, None] = {}
    stack: list[tuple[object, bool]] = [(root, False)]
    while stack:
        node, left = stack.pop()
        if left:
            done[node] = None
        elif node not in done:
            stack.append((node, True))
            stack += [(n, False) for n in _next(node) if n not in done]
    return list(reversed(done))


def candidates(heard: Heard) -> str:
    """Places to choose from, with shapes: the outermost modules that gave maps or tokens, as far as they are a choice."""
    shaped = [c for c in heard.calls if c.out is not None and len(c.out) > 2 and max(c.out[2:]) > 1]
    for depth in range(20):
        chosen = [c for c in shaped if c.path.count(".") <= depth]
        if len(chosen) > 3:
            break
    shown = [f"{heard.name(c)} {'x'.join(map(str, (heard.shape(heard.place(c)) or ())[1:]))}" for c in chosen[:SHOWN]]
    rest = len(shaped) - len(shown)
    return ", ".join(shown) + (f" and {rest} more inside" if rest else "") if shown else "none"
