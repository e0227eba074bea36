"""Which places a network has: declared by our networks, found by one probe forward in a stranger's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from redistill._moved import old_names
from redistill.core import Context, Place, RedistillError, Shape
from redistill.core.batch import unfit_images
from redistill.errors import first_line
from redistill.features.modes import untouched
from redistill.features.outputs import WRAP, Key, described, entries, logits_of
from redistill.features.outputs import candidates as candidates_of
from redistill.features.stages import POOLS, Call, Heard, Stages, candidates, channels_of, find
from redistill.features.tokens import grid_places, turned_stages

NUMERICS = 1


@dataclass(frozen=True)
class Layers:
    """The places of one network, with the shape each has for one probe batch.

    ``unsure``: why the stages cannot be told, with the places to choose from; then there are none. All else works without.
    ``overwrites``: the network changes the images that it is given in place (``x.sub_(mean)``): it must be given copies.
    """

    places: Mapping[str, Place]
    shapes: Mapping[str, Shape]
    stages: tuple[str, ...]
    unsure: str | None = None
    overwrites: bool = False


NOBODY = Layers({}, {}, ())
def _tensor(value: object) -> Tensor | None:
    return value if isinstance(value, Tensor) else None


def takes_no_hooks(net: nn.Module) -> bool:
    """A scripted module: nobody hears what happens inside."""
    return type(net).__name__ == "RecursiveScriptModule"


SERVANTS = ("parametrizations", "weight_fake_quant", "activation_post_process")
"""What PyTorch puts into a layer that it makes the weights of, or quantises for training."""


def _servants(net: nn.Module) -> set[nn.Module]:
    """Modules that serve one layer and are none: the kernel [out, in, 3, 3] that they give is no feature map, and the layer no block."""
    owned = [child for module in net.modules() for name, child in module.named_children() if name in SERVANTS]
    return {inner for one in owned for inner in one.modules()}


def _original(net: nn.Module) -> nn.Module:
    """What ``torch.compile`` was given: its modules can be listened to."""
    inner = getattr(net, "_orig_mod", None)  # scripted networks keep their modules elsewhere
    return inner if isinstance(inner, nn.Module) else net


@dataclass(frozen=True)
class _Probed:
    """One probe forward. ``heads``: by entry of what came back (None: the whole), the call that made that tensor; ``chosen``: the
    entry that is the logits; ``overwrites``: see :class:`Layers`."""

    heard: Heard
    heads: Mapping[Key | None, Call]
    output: object
    chosen: Key | None
    overwrites: bool


def _probe(net: nn.Module, images: Tensor, *, train: bool = False, gradients: bool = False) -> _Probed:
    """One forward: every call of a module in the order of completion, and what came back. Network and images are left as they were."""
    calls: list[Call] = []
    pooled: list[Tensor] = []
    ended: dict[nn.Module, list[int]] = {}
    numbers: dict[nn.Module, int] = {}
    flat: list[tuple[Tensor, Call]] = []
    handles = []
    if gradients:
        images = images.detach().clone().requires_grad_()
    given = images.clone()  # a network may write into what it is given
    version = 0 if given.is_inference() else given._version
    servants = _servants(net)
    for name, module in net.named_modules():
        if not name or takes_no_hooks(module) or module in servants:
            continue
        parameters = any(True for _ in module.parameters())
        composite = any(child not in servants for child in module.children())

        def before(m: nn.Module, args: tuple[object, ...]) -> None:
            ended.setdefault(m, []).append(len(calls))

        def after(
            m: nn.Module, args: tuple[object, ...], out: object, name: str = name, parameters: bool = parameters,
            composite: bool = composite,
        ) -> None:  # fmt: skip
            numbers[m] = numbers.get(m, 0) + 1
            inner = ended[m].pop() == len(calls)
            found, given = _tensor(out), _tensor(args[0]) if args else None
            if found is not None and isinstance(m, POOLS):
                pooled.append(found)
            call = Call(
                path=name,
                number=numbers[m],
                out=None if found is None else tuple(found.shape),
                given=None if given is None else tuple(given.shape),
                pooled=found is not None and any(found is p for p in pooled),
                inner=inner,
                parameters=parameters,
                channels=channels_of(m),
                linear=isinstance(m, nn.Linear),
                made=found.grad_fn if found is not None and gradients else None,
                composite=composite,
            )
            calls.append(call)
            if found is not None and found.ndim == 2:
                flat.append((found, call))

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        with untouched(net), torch.set_grad_enabled(gradients):
            net.train(train)
            output: object = net(given)
            logits = logits_of(output, net)
    except RedistillError:
        raise
    except Exception as error:  # whatever a stranger's network raises about channels and sizes, after what was tried
        if why := unfit_images(images, net, error):
            raise RedistillError(why) from error
        raise RedistillError(
            f"{type(net).__name__} does not accept images of shape {list(images.shape[1:])}{' in train mode' if train else ''} "
            f"({first_line(error)}): give it images, or the images a network, that fit"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if logits.shape[0] != images.shape[0]:
        raise RedistillError(
            f"{type(net).__name__} must map images to logits [batch, classes], it returned shape {tuple(logits.shape)} for "
            f"{images.shape[0]} images"
        )
    heads: dict[Key | None, Call] = {}
    parts: list[tuple[Key | None, object]] = [(None, output), *entries(output).items()]
    for key, tensor in parts:
        made = [call for found, call in flat if found is tensor]
        if made:
            heads[key] = made[0]  # the innermost: containers pass it on
    chosen = next((key for key, tensor in entries(output).items() if tensor is logits), None)
    overwrites = not given.is_inference() and given._version != version
    return _Probed(Heard(tuple(calls), logits, images), heads, output, chosen, overwrites)


def _check_train_mode(net: nn.Module, images: Tensor, evaluated: _Probed, trained: _Probed) -> None:
    """Where a network returns several tensors while it trains, the one that is trained must be the one that is evaluated.

    Told by the layer that made it; where no layer did, by its value with all layers, but not the network, in evaluation mode.
    """
    found = candidates_of(trained.output)
    if len(found) < 2:
        return
    if (head := evaluated.heads.get(evaluated.chosen)) is not None:
        same = [key for key in found if (call := trained.heads.get(key)) is not None and call.path == head.path]
    else:
        same = _of_equal_value(net, images)
    if trained.chosen not in same:
        which = f"of which {same[0]!r} is" if same else "of which none is"
        raise RedistillError(
            f"{type(net).__name__} returns {described(trained.output)} in train mode, {which} what it returns in evaluation mode, "
            f"so that training one would leave the other untrained: {WRAP}"
        )


def _of_equal_value(net: nn.Module, images: Tensor) -> list[Key]:
    """Entries in train mode that equal the logits of evaluation mode while every layer stays in evaluation mode."""
    pattern = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    inner = [m for m in net.modules() if next(m.children(), None) is None]
    with untouched(net), torch.no_grad():
        net.eval()
        again = pattern.clone()
        wanted = logits_of(net(pattern), net)
        for module in net.modules():
            module.training = module not in inner
        found = candidates_of(net(again))
    return [k for k, value in found.items() if value.shape == wanted.shape and torch.allclose(value, wanted, rtol=1e-4, atol=1e-5)]


def _found_places(heard: Heard, stages: Stages) -> dict[str, Place]:
    """Stages of a stranger's network, and the vector that its last linear layer is given."""
    places = {f"stage{i + 1}": heard.place(call) for i, call in enumerate(stages.calls)}
    linears = [call for call in heard.calls if call.linear and call.given is not None]
    if linears and len(linears[-1].given or ()) == 2:
        places["pooled"] = heard.place(linears[-1], "in")
    return places


def _declared(net: nn.Module, heard: Heard) -> tuple[dict[str, Place], tuple[str, ...]] | None:
    """Places and stages that a network says itself, or the one network inside a wrapper that hands on what that one says."""
    for path, module in net.named_modules():
        places = getattr(module, "places", None)
        if not isinstance(places, Mapping) or not all(isinstance(p, Place) for p in places.values()) or not hasattr(module, "stages"):
            continue
        if path:
            calls = [c for c in heard.calls if c.path == path]
            if len(calls) != 1 or calls[0].out != tuple(heard.logits.shape):
                return None
        begin = f"{path}." if path else ""
        return {name: dataclasses.replace(p, module=begin + p.module) for name, p in places.items()}, tuple(module.stages)
    return None


def places_of(net: nn.Module, images: Tensor, *, trained: bool = True) -> Layers:
    """Every place of ``net`` by name, with shapes for ``images`` [B, C, H, W] (two images are enough).

    A network of this package says its places itself (``net.places``, ``net.stages``); any other is probed. A place may
    also be a module path, read at its output (``"layer1.0.conv2"``), or one of the calls of a module that is used several
    times (``"relu@2"``). Where stages cannot be told, ``unsure`` says why, and everything but defaults of feature terms works.

    Args:
        trained: the network will be called in train mode too: it is asked in both modes, and what only one has is no place.
    """
    if not isinstance(images, Tensor):
        raise RedistillError(f"places_of(net, images): images are a tensor [B, C, H, W], two are enough, got a {type(images).__name__}")
    net = _original(net)
    probe = _probe(net, images)
    heard = probe.heard
    unsure = None
    if (declared := _declared(net, heard)) is not None:
        places, stages = declared
    else:
        found = find(heard, lambda: _probe(net, images, gradients=True).heard)
        tokens = grid_places(net, heard) if found.unsure is not None else {}
        if found.unsure is not None:
            found = Stages() if tokens else Stages(tuple(turned), None) if (turned := turned_stages(heard)) else found
        places = {**tokens, **_found_places(heard, found)}
        stages = tuple(name for name in places if name.startswith("stage") and ":" not in name)
        if found.unsure is not None:
            unsure = f"{found.unsure}; name the places yourself, at=[(student place, teacher place)], from: {candidates(heard)}"
    for call in heard.calls:
        if call.out is not None:
            places.setdefault(heard.name(call), heard.place(call))
    shapes = {name: shape for name, place in places.items() if (shape := heard.shape(place)) is not None}
    overwrites = probe.overwrites
    if trained:
        again = _probe(net, images, train=True)
        _check_train_mode(net, images, probe, again)
        if again.heard.logits.shape != heard.logits.shape:
            raise RedistillError(
                f"{type(net).__name__} returns {list(heard.logits.shape)} in evaluation mode and {list(again.heard.logits.shape)} "
                f"in train mode: {WRAP}"
            )
        other = again.heard
        overwrites = overwrites or again.overwrites
        shapes = {
            name: shape
            for name, shape in shapes.items()
            if other.shape(places[name]) == shape and other.counts[places[name].module] == heard.counts[places[name].module]
        }
        stages = tuple(name for name in stages if name in shapes)
    table = {name: places[name] for name in shapes}
    shapes["logits"] = tuple(heard.logits.shape)
    return Layers(table, shapes, stages, unsure, overwrites)


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

    Args:
        student, teacher: the networks, which are left as they are; teacher None: there is none.
        classes: default: as many as the student has logits.
        labels: int64 [count], of every training image in the order of ``Batch.index``, for terms that remember each image (CRD).
            count: how many these are; default: as many as labels.
        seed: of what a term draws, its adapters' first weights among it.

    Raises:
        RedistillError: what are no images, or none that both networks take; labels that are not ``count``.
    """
    if not isinstance(images, Tensor):
        raise RedistillError(
            f"context(student, teacher, images): images are a tensor [B, C, H, W], two are enough, got a {type(images).__name__}"
        )
    if labels is not None:
        labels = torch.as_tensor(labels)
        count = len(labels) if count is None else count
        if labels.shape != (count,):
            raise RedistillError(f"context: labels of every training image are [{count}], one an image, got {list(labels.shape)}")
    few = images[:2]
    mine = places_of(student, few)
    theirs = places_of(teacher, few, trained=False) if teacher is not None else NOBODY
    return meeting(student, mine, teacher, theirs, classes=classes, count=count, labels=labels, seed=seed)


def meeting(
    student: nn.Module,
    mine: Layers,
    teacher: nn.Module | None,
    theirs: Layers,
    *,
    classes: int | None = None,
    count: int | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    adapt: Callable[[Tensor], Tensor] | None = None,
    calls: int | None = None,
) -> Context:
    """:func:`context` of two networks whose places are known already."""
    return Context(
        student=student,
        teacher=teacher,
        student_places=mine.shapes,
        teacher_places=theirs.shapes,
        student_stages=mine.stages,
        teacher_stages=theirs.stages,
        classes=classes if classes is not None else mine.shapes["logits"][1],
        count=count,
        labels=labels,
        seed=seed,
        adapt=adapt,
        read=logits_of,
        calls=calls,
        student_unsure=mine.unsure,
        teacher_unsure=theirs.unsure,
    )

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
