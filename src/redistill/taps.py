"""Features by place, for any ``nn.Module``: which places a network has, and a reader that returns them with the logits.

Our networks declare their places. For a stranger's network one probe forward finds where the resolution changes; it
leaves the network bitwise as it was, and is refused with the candidates where it is unsure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from redistill.core import Context, Output, Place, RedistillError, Shape, nearest
from redistill.pairs import check_pairs as check_pairs
from redistill.pairs import pair_stages as pair_stages

NUMERICS = 1


@dataclass(frozen=True)
class Map:
    """The places of one network, with the shape each has for one probe batch."""

    places: Mapping[str, Place]
    shapes: Mapping[str, Shape]
    stages: tuple[str, ...]


NOBODY = Map({}, {}, ())


@contextlib.contextmanager
def _untouched(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored, so nothing in the network changes."""
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _tensor(value: object) -> Tensor | None:
    return value if isinstance(value, Tensor) else None


_POOLS = nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d


@dataclass(frozen=True)
class _Seen:
    """One module's output in a probe forward; ``pooled`` when a pooling layer made it (a container may pass it on)."""

    path: str
    shape: Shape
    pooled: bool


def _probe(net: nn.Module, images: Tensor) -> tuple[list[_Seen], list[tuple[str, Shape]], Tensor]:
    """One forward: module outputs in the order of completion, inputs of linear layers, and the logits."""
    outputs: list[_Seen] = []
    linears: list[tuple[str, Shape]] = []
    pooled: list[Tensor] = []
    handles = []
    for name, module in net.named_modules():
        if not name:
            continue

        def hook(m: nn.Module, args: tuple[object, ...], out: object, name: str = name) -> None:
            found = _tensor(out)
            if found is not None:
                if isinstance(m, _POOLS):
                    pooled.append(found)
                outputs.append(_Seen(name, tuple(found.shape), any(found is p for p in pooled)))
            if isinstance(m, nn.Linear) and args and (first := _tensor(args[0])) is not None:
                linears.append((name, tuple(first.shape)))

        handles.append(module.register_forward_hook(hook))
    try:
        with _untouched(net):
            logits = _tensor(net(images))
    except RuntimeError as error:  # torch's own words about channels and sizes, after what was tried
        raise RedistillError(
            f"{type(net).__name__} does not accept images of shape {list(images.shape[1:])} ({str(error).splitlines()[0]}): "
            f"give it images, or the images a network, that fit"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if logits is None or logits.ndim != 2 or logits.shape[0] != images.shape[0]:
        got = "no tensor" if logits is None else f"shape {tuple(logits.shape)}"
        raise RedistillError(f"{type(net).__name__} must map images to logits [batch, classes], it returned {got}")
    return outputs, linears, logits


def _found_places(net: nn.Module, outputs: list[_Seen], linears: list[tuple[str, Shape]]) -> dict[str, Place]:
    """Stages of a stranger's network: the last map of each resolution, larger to smaller, 1x1 maps left out."""
    # a pooling layer belongs to the step between two stages, not to a stage
    maps = [o for o in outputs if len(o.shape) == 4 and o.shape[2] * o.shape[3] > 1 and not o.pooled]
    runs: list[tuple[int, str]] = []  # (resolution, path of the last module with it)
    for seen in maps:
        size = seen.shape[2] * seen.shape[3]
        if runs and runs[-1][0] == size:
            runs[-1] = (size, seen.path)
        elif runs and size > runs[-1][0]:
            candidates = ", ".join(f"{m.path} {'x'.join(map(str, m.shape[1:]))}" for m in maps)
            raise RedistillError(
                f"the resolution of {type(net).__name__} grows again at {seen.path!r}, so its stages cannot be told from "
                f"one forward; name the places yourself, at=[...], from: {candidates}"
            )
        else:
            runs.append((size, seen.path))
    places = {f"stage{i + 1}": Place(path) for i, (_, path) in enumerate(runs)}
    if linears and len(linears[-1][1]) == 2:
        places["pooled"] = Place(linears[-1][0], "in")
    return places


def places_of(net: nn.Module, images: Tensor) -> Map:
    """Every place of ``net`` by name, with shapes for ``images`` [B, C, H, W] (two images are enough).

    A network of this package says its places itself (``net.places``, ``net.stages``); any other is probed. A place may
    also be a module path, read at its output (``"layer1.0.conv2"``).
    """
    declared = getattr(net, "places", None)
    outputs, linears, logits = _probe(net, images)
    places: dict[str, Place]
    if isinstance(declared, Mapping):
        places = dict(declared)
        stages = tuple(getattr(net, "stages", ()))
    else:
        places = _found_places(net, outputs, linears)
        stages = tuple(name for name in places if name.startswith("stage"))
    for seen in outputs:
        places.setdefault(seen.path, Place(seen.path))
    reader = Tapped(net, {name: place for name, place in places.items()})
    with _untouched(net):
        taps = reader(images).taps
    shapes = {name: tuple(taps[name].shape) for name in places if name in taps}
    shapes["logits"] = tuple(logits.shape)
    return Map({name: places[name] for name in places if name in taps}, shapes, stages)


def context(
    student: nn.Module,
    teacher: nn.Module | None,
    images: Tensor,
    *,
    classes: int | None = None,
    count: int | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
) -> Context:
    """What terms see in ``setup``: probes both networks with two of ``images`` [B, C, H, W].

    In your own loop: ``at = AT(); at.setup(context(student, teacher, images))``.
    """
    few = images[:2]
    mine, theirs = places_of(student, few), places_of(teacher, few) if teacher is not None else NOBODY
    return meeting(student, mine, teacher, theirs, classes=classes, count=count, labels=labels, seed=seed)


def meeting(
    student: nn.Module,
    mine: Map,
    teacher: nn.Module | None,
    theirs: Map,
    *,
    classes: int | None = None,
    count: int | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    adapt: Callable[[Tensor], Tensor] | None = None,
) -> Context:
    """:func:`context` of two networks whose places are known already."""
    told = mine.shapes["logits"][1]
    if teacher is not None and theirs.shapes["logits"][1] != told:
        raise RedistillError(f"the teacher tells {theirs.shapes['logits'][1]} classes apart, the student {told}: they must agree")
    return Context(
        student=student,
        teacher=teacher,
        student_places=mine.shapes,
        teacher_places=theirs.shapes,
        student_stages=mine.stages,
        teacher_stages=theirs.stages,
        classes=classes if classes is not None else told,
        count=count,
        labels=labels,
        seed=seed,
        adapt=adapt,
    )


class Tapped:
    """Calls a network and returns its logits with the features at ``places``.

    Args:
        net: any module that maps images [B, C, H, W] to logits [B, classes].
        places: names of this network's places (after :func:`places_of`), or a mapping of names to :class:`Place`.
        again: repeat the module call at places whose published code does so (see :class:`Place`); for a teacher in
            train mode.
        adapt: what stands between the images of a call and the network.

    A tapped tensor that the network overwrites in place afterwards is noticed by its version counter on the first call
    and read before the change from then on.
    """

    def __init__(
        self,
        net: nn.Module,
        places: Mapping[str, Place] | tuple[str, ...] = (),
        *,
        again: bool = False,
        adapt: Callable[[Tensor], Tensor] | None = None,
    ):
        self.net, self.adapt = net, adapt
        declared: Mapping[str, Place] = getattr(net, "places", {})
        if not isinstance(places, Mapping):
            modules = dict(net.named_modules())
            table = {}
            for name in places:
                if name == "logits":
                    continue
                if name not in declared and name not in modules:
                    raise RedistillError(nearest(name, [*declared, *(m for m in modules if m)], "place"))
                table[name] = declared[name] if name in declared else Place(name)
            places = table
        self.places = dict(places)
        self.again = again
        self._copy: set[str] = set()  # places that are overwritten in place later on
        self._compiled: _Compiled | None = None

    @classmethod
    def reading(
        cls,
        net: nn.Module,
        images: Tensor,
        names: Sequence[str] = (),
        *,
        found: Map | None = None,
        again: bool = False,
        adapt: Callable[[Tensor], Tensor] | None = None,
    ) -> Tapped:
        """A reader of the places called ``names``, of any network: found by one probe with two of ``images``, prepared, ready.

        Args:
            found: the places, where the network has been probed already.

        Raises:
            RedistillError: a name that is no place of this network, with the nearest ones.
        """
        few, wanted = images[:2], [name for name in dict.fromkeys(names) if name != "logits"]
        if not wanted:
            return cls(net, {}, again=again, adapt=adapt)
        table = (places_of(net, few) if found is None else found).places
        if odd := [name for name in wanted if name not in table]:
            raise RedistillError(nearest(odd[0], table, f"place of {type(net).__name__}"))
        tapped = cls(net, {name: table[name] for name in table if name in wanted}, again=again, adapt=adapt)
        tapped.prepare(few)
        return tapped

    def __call__(self, images: Tensor) -> Output:
        if self.adapt is not None:
            images = self.adapt(images)
        if self._compiled is not None:
            return self._compiled(images)
        if not self.places:
            return Output(self.net(images))
        taps, logits, changed = self._run(images)
        if changed:
            if self.net.training:
                # the forward that found out has moved running statistics: it must not be repeated
                names = ", ".join(sorted(changed))
                raise RedistillError(
                    f"{type(self.net).__name__} overwrites {names} in place after they were read; call "
                    f"places_of(net, images) or Tapped.prepare(images) before training"
                )
            self._copy |= changed
            taps, logits, _ = self._run(images)
        return Output(logits, taps)

    def prepare(self, images: Tensor) -> None:
        """Find the places that are overwritten in place, without touching the network."""
        with _untouched(self.net):
            self(images)

    def compile(self) -> _Compiled:
        """Call network and places as one ``torch.compile`` function from now on, until ``remove()`` of what is returned.

        Call :meth:`prepare` first: a compiled call does not notice a place that is overwritten in place.
        """
        self._compiled = _Compiled(self)
        return self._compiled

    def listen(self, keep: Callable[[str, Tensor], None], inputs: dict[str, Tensor]) -> list[RemovableHandle]:
        """Hooks that hand every place to ``keep``, and to ``inputs`` what a module to be called again was given."""

        def heard(name: str, value: object) -> None:
            if (tensor := _tensor(value)) is not None:
                keep(name, tensor)

        handles = []
        for name, place in self.places.items():
            module = self.net.get_submodule(place.module)
            if place.side == "in":

                def before(m: nn.Module, args: tuple[object, ...], name: str = name) -> None:
                    heard(name, args[0] if args else None)

                handles.append(module.register_forward_pre_hook(before))
            else:
                again = self.again and place.again

                def after(m: nn.Module, args: tuple[object, ...], out: object, name: str = name, again: bool = again) -> None:
                    heard(name, out)
                    if again and args and (given := _tensor(args[0])) is not None:
                        inputs[name] = given

                handles.append(module.register_forward_hook(after))
        return handles

    def gathered(self, taps: dict[str, Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The places in the order asked for, after the second calls that some published codes make."""
        for name, given in inputs.items():
            taps[name] = self.net.get_submodule(self.places[name].module)(given)
        return {name: taps[name] for name in self.places if name in taps}

    def _run(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor, set[str]]:
        taps: dict[str, Tensor] = {}
        versions: dict[str, int] = {}
        inputs: dict[str, Tensor] = {}

        def keep(name: str, tensor: Tensor) -> None:
            # inference tensors count no versions; the package never makes them, a caller may
            versions[name] = 0 if tensor.is_inference() else tensor._version
            taps[name] = tensor.clone() if name in self._copy else tensor

        handles = self.listen(keep, inputs)
        try:
            logits = self.net(images)
        finally:
            for handle in handles:
                handle.remove()
        found = self.gathered(taps, inputs)
        changed = {
            name
            for name, tensor in found.items()
            if name not in self._copy and name not in inputs and not tensor.is_inference()
            and tensor._version != versions[name]
        }
        return found, logits, changed


class _Compiled:
    """One compiled function from images to logits and places. Its hooks stand on the network for the length of a call only:
    ``torch.compile`` takes them in when it reads the network, and they must be there whenever it reads it again."""

    def __init__(self, tapped: Tapped):
        self._tapped = tapped
        self._taps: dict[str, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}
        self._call = torch.compile(self._forward)

    def _keep(self, name: str, tensor: Tensor) -> None:
        self._taps[name] = tensor.clone() if name in self._tapped._copy else tensor

    def _forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self._tapped.net(images)
        # copies: a second call of a module is heard too, and must not change what its first call gave
        return logits, self._tapped.gathered(dict(self._taps), dict(self._inputs))

    def __call__(self, images: Tensor) -> Output:
        handles = self._tapped.listen(self._keep, self._inputs)
        try:
            return Output(*self._call(images))
        finally:
            for handle in handles:
                handle.remove()
            self._taps.clear()
            self._inputs.clear()

    def remove(self) -> None:
        """The network is called as it is again."""
        self._tapped._compiled = None
