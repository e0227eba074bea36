"""Features by place, for any ``nn.Module``: which places a network has, and a reader that returns them with the logits.

Our networks declare their places. For a stranger's network one probe forward finds where the resolution changes; it
leaves the network bitwise as it was, and is refused with the candidates where it is unsure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from redistill.core import Output, Place, RedistillError, nearest
from redistill.core.batch import unfit_images
from redistill.features.modes import untouched
from redistill.features.outputs import logits_of
from redistill.features.places import Layers, _tensor, places_of


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
                place = declared[name] if name in declared else Place(name) if name in modules else Place.at(name)
                if name not in declared and place.module not in modules:
                    raise RedistillError(nearest(name, [*declared, *(m for m in modules if m)], "place"))
                table[name] = place
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
        found: Layers | None = None,
        again: bool = False,
        adapt: Callable[[Tensor], Tensor] | None = None,
    ) -> Tapped:
        """A reader of the places called ``names``, of any network: found by one probe with two of ``images``, prepared, ready.

        Args:
            found: the places, where the network has been probed already.

        The name of a place followed by ``:in`` is what its module was given (``layer1.0.bn1:in``).

        Raises:
            RedistillError: a name that is no place of this network, with the nearest ones.
        """
        few, wanted = images[:2], [name for name in dict.fromkeys(names) if name != "logits"]
        if not wanted:
            return cls(net, {}, again=again, adapt=adapt)
        table = dict((places_of(net, few) if found is None else found).places)
        for name in wanted:
            if name not in table and (of := table.get(name.removesuffix(":in"))) is not None:
                table[name] = replace(of, side="in")
        if odd := [name for name in wanted if name not in table]:
            raise RedistillError(nearest(odd[0], table, f"place of {type(net).__name__}"))
        tapped = cls(net, {name: table[name] for name in table if name in wanted}, again=again, adapt=adapt)
        tapped.prepare(few)
        return tapped

    def __call__(self, images: Tensor) -> Output:
        try:
            return self._output(images)
        except (RuntimeError, TypeError, AttributeError) as error:
            if (why := unfit_images(images, self.net, error)) is None:
                raise
            raise RedistillError(why) from error

    def _output(self, images: Tensor) -> Output:
        if self.adapt is not None:
            images = self.adapt(images)
        if self._compiled is not None:
            return self._compiled(images)
        if not self.places:
            return Output(logits_of(self.net(images), self.net))
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
        with untouched(self.net), torch.no_grad():
            self.net.eval()
            self(images)

    def compile(self) -> _Compiled:
        """Call network and places as one ``torch.compile`` function from now on, until ``remove()`` of what is returned.

        Call :meth:`prepare` first: a compiled call does not notice a place that is overwritten in place.
        """
        self._compiled = _Compiled(self)
        return self._compiled

    def listen(
        self, keep: Callable[[str, Tensor], None], inputs: dict[str, Tensor], counts: dict[str, int]
    ) -> list[RemovableHandle]:
        """Hooks that hand every place to ``keep``, and to ``inputs`` what a module to be called again was given. ``counts``: calls
        of each place in this forward, empty when one begins."""

        def heard(name: str, value: object) -> None:
            place = self.places[name]
            if (call := place.call) is not None:
                counts[name] = counts.get(name, 0) + 1
                if counts[name] != call:
                    return
            if (tensor := _tensor(value)) is not None:
                keep(name, place.view(tensor))

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

        handles = self.listen(keep, inputs, {})
        try:
            logits = logits_of(self.net(images), self.net)
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
        self._counts: dict[str, int] = {}
        self._call = torch.compile(self._forward)

    def _keep(self, name: str, tensor: Tensor) -> None:
        self._taps[name] = tensor.clone() if name in self._tapped._copy else tensor

    def _forward(self, images: Tensor) -> tuple[Any, dict[str, Tensor]]:
        result = self._tapped.net(images)
        # copies: a second call of a module is heard too, and must not change what its first call gave
        return result, self._tapped.gathered(dict(self._taps), dict(self._inputs))

    def __call__(self, images: Tensor) -> Output:
        self._counts.clear()  # a forward that nobody read was counted too
        handles = self._tapped.listen(self._keep, self._inputs, self._counts)
        try:
            result, taps = self._call(images)
            return Output(logits_of(result, self._tapped.net), taps)
        finally:
            for handle in handles:
                handle.remove()
            self._taps.clear()
            self._inputs.clear()

    def remove(self) -> None:
        """The network is called as it is again."""
        self._tapped._compiled = None
