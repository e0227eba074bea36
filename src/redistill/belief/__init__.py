"""Do two networks believe the same near their decision boundaries? Transition curves and the mean transition error.

From an image x_0 on which A and B predict the same class i, A is attacked towards every other class j:

    x_{k+1} = x_k - ξ ∂CE(A(x_k), j)/∂x,   k = 0 ... K-1;   p_j^A(x_k) and p_j^B(x_k) are recorded before each step

    MTE(A, B) = 1/N Σ_n 1/(C-1) Σ_{j≠i} 1/K Σ_k |p_j^A(x_k) - p_j^B(x_k)|

Micaelli & Storkey 2019 (arXiv:1905.09768), algorithm 2 and eq. 2, with K = 100, ξ = 1, N = 1000, A the student and B the
teacher. Steps are taken in the space of the normalised images, without clipping. All images and classes go through
the networks together; that changes nothing, because in evaluation mode no image sees another.

Where the codes differ (switches of this module); the report is the reproducibility report of Ferles et al.:

=====================  ====================================  ==========================================================
switch                 paper and the report's code           Micaelli's code
=====================  ====================================  ==========================================================
classes aimed at       all but the predicted, ascending      all but the true label y: y + 1, y + 2, ... modulo C
images                 on which both agree; report's code:   random ones on which both agree
                       random ones, whether agreeing or not
attacked network       the student; report: the teacher too  net A of the call
curve on disk          report: mean over prefixes (below)    plain mean
error of the mean      not said                              over N·(C - 1) rows, as if they were independent
=====================  ====================================  ==========================================================

With the true label, an image on which both networks agree and err has one "transition" to the class it is in already.

Sources: ``utils`` and ``notebooks/transition_curves_and_error.ipynb`` of polo5/ZeroShotKnowledgeTransfer@e24915d; the
reproducibility report's repository @5b4f27a. The relative MTE here is a definition of this package, in neither publication; the
TensorFlow reproduction's is :mod:`redistill.belief.minibatch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from redistill import rng
from redistill._moved import old_names
from redistill.belief.curves import Over as Over
from redistill.belief.curves import Transition as Transition
from redistill.belief.trajectory import Net, at_once
from redistill.belief.trajectory import adversarial_trajectory as adversarial_trajectory
from redistill.belief.trajectory import check_walk as check_walk
from redistill.belief.trajectory import seeing as seeing
from redistill.belief.trajectory import target_classes as target_classes
from redistill.belief.trajectory import trajectory_images as trajectory_images
from redistill.core import RedistillError
from redistill.data import Renormalise
from redistill.data import normalisation as named_set
from redistill.data.subsets import matching_ferles
from redistill.features.modes import evaluating
from redistill.features.normalised import normalisation_of
from redistill.features.outputs import NotFinite, logits_of, name_of, require_comparable, require_finite
from redistill.models.sizes import warn_of_size
from redistill.precision import unrounded

NUMERICS = 1

Aim = Literal["predicted", "true"]
Pick = Literal["first", "random", "ferles"]


class Pictures(Protocol):
    """What is needed of an evaluation set (``redistill.data.Images`` has it)."""

    @property
    def normalise(self) -> str: ...

    @property
    def all_labels(self) -> Tensor | None: ...

    def batches(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> Iterator[Any]: ...

def _predictions(
    nets: Mapping[str, nn.Module],
    views: Mapping[str, Net],
    images: Pictures,
    pairs: Sequence[tuple[str, str]],
    count: float,
) -> tuple[Tensor, dict[str, Tensor], int]:
    """The first images of the set, as many as give every pair ``count`` on which it agrees (all, where they are too few);
    what each network predicts on them, and how many classes there are."""
    parameter = next(next(iter(nets.values())).parameters())
    rows: list[Tensor] = []
    predicted: dict[str, list[Tensor]] = {name: [] for name in nets}
    widths: dict[str, int] = {}
    agreed = dict.fromkeys(pairs, 0)
    with unrounded(parameter.device), torch.no_grad():
        many = at_once(parameter.device, getattr(images, "image_shape", None))
        for batch in images.batches(many, parameter.device, parameter.dtype):
            rows.append(batch.images)
            for name, view in views.items():
                logits = require_finite(view(batch.images), f"{name} ({name_of(nets[name])})", "a belief")
                widths[name] = logits.shape[1]
                predicted[name].append(logits.argmax(1))
            if len(set(widths.values())) > 1:
                raise RedistillError(f"the networks tell unlike numbers of classes apart ({widths}): they must agree")
            if min(widths.values()) < 2:
                raise RedistillError("the networks give one logit an image, so there is no other class to go to: give two, [0, z]")
            for a, b in agreed:
                agreed[a, b] += int((predicted[a][-1] == predicted[b][-1]).sum())
            if min(agreed.values()) >= count:
                break
    return torch.cat(rows), {name: torch.cat(parts) for name, parts in predicted.items()}, next(iter(widths.values()))


def _picked(agree: Tensor, count: int, pick: Pick, seed: int) -> Tensor:
    """Positions [n] of the images of one pair, rising, of ``agree`` [N]: whether both networks predict the same class."""
    there = agree.nonzero()[:, 0]
    if pick == "first" or not len(there):
        return there[:count]
    if pick == "random":
        order = torch.randperm(len(there), generator=rng.stream(seed, "belief", "images"))
        return there[order[:count].to(there.device)].sort().values
    chosen = matching_ferles(agree.cpu(), min(count, len(there)), seed)
    return chosen.to(there.device).sort().values


def transitions(
    nets: Mapping[str, nn.Module],
    images: Pictures,
    *,
    count: int = 1000,
    K: int = 100,
    rate: float = 1.0,
    aim: Aim = "predicted",
    attack: Sequence[str] | None = None,
    beside: Sequence[str] | None = None,
    pick: Pick = "first",
    seed: int = 0,
    tell: Callable[[float], None] | None = None,
) -> dict[tuple[str, str], Transition]:
    """Transition curves of every ordered pair (attacked, other).

    Args:
        nets: by name, two or more, of the same classes; left bitwise as they were.
        images: an evaluation set, in the normalisation in which the steps are taken.
        count: images a pair.
        pick: which: the ``first`` ones of the set on which both networks of the pair predict the same class, ``random`` ones
            of these (Micaelli's code), or as many ``random`` ones of the whole set as the reproducibility report's code takes for them,
            positions in a shuffled order for indices: ``ferles``. seed: of the draw.
        K, rate: steps and ξ. aim: see the module.
        attack, beside: names to be attacked, and names whose belief is recorded beside; default: all, and every other.
        tell: is given the share of the work that is done, in (0, 1], after each step of a batch of rows.

    Raises:
        RedistillError: unlike classes, no label where ``aim="true"``, no pair, a pair that agrees on no image, K or ξ out of
            range.
    """
    check_walk(K, rate)
    if len(nets) < 2:
        raise RedistillError(f"beliefs are compared between two networks or more, got {len(nets)}")
    if count < 1:
        raise RedistillError(f"count={count}: at least one image is needed")
    if (shape := getattr(images, "image_shape", None)) is not None:
        for name, net in nets.items():
            warn_of_size(net, shape, name)
    if pick not in ("first", "random", "ferles"):
        raise RedistillError(f"pick={pick!r}: known are 'first', 'random' (Micaelli's code) and 'ferles' (the reproducibility report's)")
    if aim not in ("predicted", "true"):
        raise RedistillError(f"aim={aim!r}: known are 'predicted' (paper) and 'true' (Micaelli's code)")
    labels = images.all_labels
    if aim == "true" and labels is None:
        raise RedistillError("aim='true' starts from the labels, and this set has none: use aim='predicted'")
    for given, chosen in (("attack", attack), ("beside", beside)):
        if odd := [name for name in chosen or () if name not in nets]:
            raise RedistillError(f"{given}={chosen!r}: {odd[0]!r} is none of the networks, which are {', '.join(nets)}")
    pairs = {
        name: [other for other in nets if other != name and (beside is None or other in beside)]
        for name in (attack if attack is not None else nets)
    }
    wanted = [(name, other) for name, others in pairs.items() for other in others]
    if not wanted:
        raise RedistillError(f"attack={attack}, beside={beside}: no pair of two networks is left of {', '.join(nets)}")
    views = {name: seeing(net, images.normalise) for name, net in nets.items()}
    found: dict[tuple[str, str], Transition] = {}
    with evaluating(*nets.values()):
        x, predicted, classes = _predictions(nets, views, images, wanted, count if pick == "first" else math.inf)
        if labels is not None and aim == "true" and int(labels.max()) >= classes:
            raise RedistillError(f"the labels go up to {int(labels.max())}, the networks tell {classes} classes apart: they must agree")
        mine = {(a, b): _picked(predicted[a] == predicted[b], count, pick, seed) for a, b in wanted}
        if lonely := [pair for pair in wanted if not len(mine[pair])]:
            raise RedistillError(f"{' and '.join(lonely[0])} predict the same class on none of the {len(x)} images")
        starts = {name: torch.cat([mine[name, other] for other in others]).unique() for name, others in pairs.items() if others}
        ahead = sum(map(len, starts.values())) * (classes - 1) * K
        done = 0

        def stepped(rows: int) -> None:
            nonlocal done
            done += rows
            if tell is not None:
                tell(done / ahead)

        for name, index in starts.items():
            own_labels = labels.to(index.device)[index] if labels is not None and aim == "true" else None
            targets = target_classes(predicted[name][index], classes, own_labels)
            seen = [views[other] for other in pairs[name]]
            p = adversarial_trajectory(views[name], seen, x[index], targets, K=K, rate=rate, tell=stepped).cpu().double()
            if not bool(torch.isfinite(p).all()):
                raise NotFinite(
                    f"on the way of {name} beliefs became NaN or infinite (xi={rate:g}): its gradients are too large for this rate, "
                    f"or a network gives no numbers there"
                )
            for row, other in enumerate(pairs[name], start=1):
                rows = torch.isin(index, mine[name, other]).cpu()
                found[name, other] = Transition(
                    name, other, p[0, rows], p[row, rows], targets.cpu()[rows], index.cpu()[rows], rate
                )
    return found


def agreement_and_divergence(a: Tensor, b: Tensor) -> tuple[float, float, float]:
    """Of logits [N, C]: same predictions in percent, mean KL(a || b) and mean KL(b || a) in nats.

    >>> import torch
    >>> agreement_and_divergence(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]]))
    (100.0, 0.0, 0.0)
    """
    for which, logits in (("first", a), ("second", b)):
        require_finite(logits, f"the {which} network", "an agreement")
    require_comparable(a, b, "agreement")
    log_a, log_b = (torch.log_softmax(z.double(), 1) for z in (a, b))
    same = 100.0 * float((a.argmax(1) == b.argmax(1)).double().mean())
    forward = float((log_a.exp() * (log_a - log_b)).sum(1).mean())
    return same, forward, float((log_b.exp() * (log_b - log_a)).sum(1).mean())


def noise_histogram(net: nn.Module, shape: Sequence[int], *, count: int = 1000, seed: int = 0, normalise: str | None = None) -> list[int]:
    """How often each class is predicted on images of uniform noise (pixels in [0, 1], then normalised); Figure 5 of the paper.

    Args:
        shape: [C, H, W]. normalise: the named set; default: the network's own, else none.
    """
    if count < 1:
        raise RedistillError(f"count={count}: at least one image is needed")
    parameter = next(net.parameters())
    name = normalise or normalisation_of(net) or "none"
    named_set(name).require_channels(shape[0])
    pixels = torch.rand(count, *shape, generator=rng.stream(seed, "uniform noise"))
    images = Renormalise.between("none", name)(pixels).to(device=parameter.device, dtype=parameter.dtype)
    with unrounded(images.device), evaluating(net), torch.no_grad():
        logits = torch.cat([logits_of(net(part), net) for part in images.split(at_once(images.device, shape))])
    require_finite(logits, name_of(net), "a histogram of predictions")
    counts: list[int] = torch.bincount(logits.argmax(1), minlength=logits.shape[1]).tolist()
    return counts

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
