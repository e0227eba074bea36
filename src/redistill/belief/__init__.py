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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from redistill import rng
from redistill._moved import old_names
from redistill.core import RedistillError
from redistill.data import Renormalise
from redistill.data import normalisation as named_set
from redistill.data.subsets import matching_ferles
from redistill.features.modes import evaluating
from redistill.features.normalised import normalisation_of, normalised
from redistill.features.outputs import NotFinite, logits_of, name_of, require_comparable, require_finite
from redistill.models.sizes import warn_of_size

NUMERICS = 1

# rows (an image on its way to one class) that go through the networks together: where there is a cache to stay in, fewer
ENTRIES = 8_000_000  # at most so many numbers of images in a batch: 500 images of 3x64x64, 53 of 3x224x224
AT_ONCE, AT_ONCE_CPU = 500, 128

Aim = Literal["predicted", "true"]
Over = Literal["images", "rows"]
Pick = Literal["first", "random", "ferles"]
Net = Callable[[Tensor], Tensor]


class Pictures(Protocol):
    """What is needed of an evaluation set (``redistill.data.Images`` has it)."""

    @property
    def normalise(self) -> str: ...

    @property
    def all_labels(self) -> Tensor | None: ...

    def batches(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> Iterator[Any]: ...


@dataclass(frozen=True, eq=False)
class Transition:
    """What two networks believed along the way of one of them.

    Attributes:
        attacked, other: names. p_attacked, p_other: [N, T, K], probability of class ``targets[n, t]`` before step k.
        targets: [N, T]. index: [N], position of each image in the set. rate: ξ.
    """

    attacked: str
    other: str
    p_attacked: Tensor
    p_other: Tensor
    targets: Tensor
    index: Tensor
    rate: float

    @property
    def mte(self) -> float:
        """Mean transition error, in [0, 1]; 0: the same beliefs everywhere on the way."""
        return float((self.p_attacked - self.p_other).abs().mean())

    @property
    def mte_standard_error(self) -> float:
        """Of the mean over images, which are the independent units; nan for a single image."""
        return float(_standard_error((self.p_attacked - self.p_other).abs().mean((1, 2))))

    @property
    def relative_mte(self) -> float:
        """MTE divided by the mean belief of the attacked network: 0 the same beliefs, 1 where the other never moves. Ours."""
        return self.mte / float(self.p_attacked.mean())

    def curve(self, which: Literal["attacked", "other"], *, prefixes: bool = False) -> Tensor:
        """Mean belief at each step [K]. ``prefixes``: as the reproducibility report's code saves it, a mean over m = 1 ... T of the
        mean over the first m classes, so that early classes weigh more; the MTE does not depend on it."""
        return self._of_images(which, prefixes).mean(0)

    def _of_images(self, which: Literal["attacked", "other"], prefixes: bool) -> Tensor:
        """The curve of every image [N, K]."""
        p = self.p_attacked if which == "attacked" else self.p_other
        if not prefixes:
            return p.mean(1)
        counts = torch.arange(1, p.shape[1] + 1, dtype=p.dtype)[:, None]
        return (p.cumsum(1) / counts).mean(1)

    def standard_error(self, which: Literal["attacked", "other"], *, prefixes: bool = False, over: Over = "images") -> Tensor:
        """Standard error of :meth:`curve` [K]; the paper's figure shows two of them on either side.

        ``over``: ``"images"``, the independent units (nan for a single one); ``"rows"``, as the authors' notebook has it: every
        way to a class counts as independent, std without correction / sqrt(N·(C-1)), which is too narrow.
        """
        if over not in ("images", "rows"):
            raise RedistillError(f"over={over!r}: known are 'images' (independent) and 'rows' (the authors' notebook)")
        if over == "images":
            return _standard_error(self._of_images(which, prefixes))
        if prefixes:
            raise RedistillError("over='rows' belongs to the plain mean: the mean over prefixes has no equal rows")
        rows = (self.p_attacked if which == "attacked" else self.p_other).flatten(0, 1)
        return rows.std(0, correction=0) / math.sqrt(len(rows))

    def rows(self, *, prefixes: bool = False, over: Over = "images") -> list[dict[str, float]]:
        """The curves as data: one row a step. See :meth:`curve` and :meth:`standard_error`."""
        parts = {
            "attacked": self.curve("attacked", prefixes=prefixes),
            "attacked_standard_error": self.standard_error("attacked", prefixes=prefixes, over=over),
            "other": self.curve("other", prefixes=prefixes),
            "other_standard_error": self.standard_error("other", prefixes=prefixes, over=over),
        }
        return [{"step": float(k), **{n: float(v[k]) for n, v in parts.items()}} for k in range(self.p_attacked.shape[2])]


def _standard_error(values: Tensor) -> Tensor:
    """Of the mean over the first axis."""
    n = values.shape[0]
    return values.std(0, correction=1) / math.sqrt(n) if n > 1 else torch.full_like(values[0], math.nan)


def target_classes(predicted: Tensor, classes: int, labels: Tensor | None = None) -> Tensor:
    """Classes to aim at, [N, C-1]: all but ``predicted`` [N], ascending; with ``labels`` [N]: y+1, y+2 ... modulo C.

    >>> import torch
    >>> target_classes(torch.tensor([1]), 4).tolist(), target_classes(torch.tensor([1]), 4, labels=torch.tensor([2])).tolist()
    ([[0, 2, 3]], [[3, 0, 1]])
    """
    if labels is not None:
        return (labels[:, None] + torch.arange(1, classes, device=labels.device)) % classes
    every = torch.arange(classes, device=predicted.device).expand(len(predicted), classes)
    return every[every != predicted[:, None]].view(len(predicted), classes - 1)


def check_walk(K: int, rate: float) -> None:
    """Refuse a number of steps or a rate that makes no walk."""
    if isinstance(K, bool) or not isinstance(K, int) or K < 1:
        raise RedistillError(f"K={K}: the walk needs a whole number of steps, 1 or more (the paper's is 100)")
    if not (math.isfinite(rate) and rate > 0):
        raise RedistillError(f"xi={rate}: the rate of the walk must be a finite number above 0 (the paper's is 1)")


def adversarial_trajectory(
    attacked: Net,
    others: Sequence[Net],
    images: Tensor,
    targets: Tensor,
    *,
    K: int = 100,
    rate: float = 1.0,
    least: float = 0.0,
    tell: Callable[[int], None] | None = None,
) -> Tensor:
    """Beliefs along the way: [1 + others, N, T, K], the attacked network's first.

    Args:
        attacked, others: from images to logits, in evaluation mode. images: [N, ...]. targets: [N, T] int64.
        K: steps. rate: ξ. least: a cross-entropy of probabilities cut to [least, 1 - least], as Keras has it (1e-7), has no gradient
            beyond; 0: none is cut. tell: is given the number of rows (an image, a class) that took one more step.
    """
    check_walk(K, rate)
    n, aimed = targets.shape
    x = images.repeat_interleave(aimed, dim=0)
    j = targets.reshape(-1)
    many = _at_once(x.device, x.shape[1:])
    parts = [_walk(attacked, others, x[i : i + many], j[i : i + many], K, rate, least, tell) for i in range(0, len(x), many)]
    return torch.cat(parts, dim=1).view(1 + len(others), n, aimed, K)


def _at_once(device: torch.device, shape: Sequence[int] | None) -> int:
    """How many images [C, H, W] are walked together: fewer where they are large."""
    most = AT_ONCE_CPU if device.type == "cpu" else AT_ONCE
    return most if shape is None else min(most, max(1, ENTRIES // math.prod(shape)))


def _walk(
    attacked: Net, others: Sequence[Net], x: Tensor, j: Tensor, K: int, rate: float, least: float, tell: Callable[[int], None] | None
) -> Tensor:
    """One batch of rows: [nets, rows, K]."""
    if x.ndim == 4 and x.device.type == "cpu" and x.dtype == torch.float32:
        x = x.contiguous(memory_format=torch.channels_last)  # faster there, as in training; every step keeps it
    columns = []
    for k in range(K):
        logits, moved = _step(attacked, x, j, rate, least, last=k == K - 1)
        with torch.no_grad():
            predicted = torch.stack([logits, *(other(x) for other in others)]).softmax(2)
        columns.append(predicted.gather(2, j.expand(len(predicted), len(j))[:, :, None])[:, :, 0])
        x = moved
        if tell is not None:
            tell(len(x))
    return torch.stack(columns, dim=2)


def _step(net: Net, x: Tensor, j: Tensor, rate: float, least: float = 0.0, *, last: bool = False) -> tuple[Tensor, Tensor]:
    """Logits at x, and x after one step; the last step would be seen by nobody."""
    if last:
        with torch.no_grad():
            return net(x), x
    x = x.detach().requires_grad_()
    logits = net(x)
    log_p = torch.log_softmax(logits, 1).gather(1, j[:, None])
    if least > 0:
        log_p = log_p.clamp(math.log(least), math.log1p(-least))
    loss = -log_p.sum()  # a sum: every row gets the gradient of its own cross-entropy
    (gradient,) = torch.autograd.grad(loss, x)
    return logits.detach(), (x - rate * gradient).detach()


def trajectory_images(net: Net, images: Tensor, targets: Tensor, at: Sequence[int], *, rate: float = 1.0) -> Tensor:
    """Images on their way: [N, len(at), ...], each image after ``at`` steps (rising) towards its class of ``targets`` [N].

    ``net``: from images to logits, in evaluation mode, as for :func:`adversarial_trajectory`.
    """
    check_walk(max(at, default=0) + 1, rate)
    if list(at) != sorted(set(at)) or min(at) < 0:
        raise RedistillError(f"at={list(at)}: numbers of steps must rise from 0")
    shown = []
    x = images
    for k in range(max(at) + 1):
        if k in at:
            shown.append(x.detach().clone())
        _, x = _step(net, x, targets, rate, last=k == max(at))
    return torch.stack(shown, dim=1)


def seeing(net: nn.Module, stream: str) -> Net:
    """The network in front of images that are normalised as ``stream``; see :func:`redistill.features.normalised.normalised`."""
    return normalised(net, stream)


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
    with torch.no_grad():
        many = _at_once(parameter.device, getattr(images, "image_shape", None))
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
            p = adversarial_trajectory(views[name], seen, x[index], targets, K=K, rate=rate, tell=stepped).double().cpu()
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
    with evaluating(net), torch.no_grad():
        logits = torch.cat([logits_of(net(part), net) for part in images.split(_at_once(images.device, shape))])
    require_finite(logits, name_of(net), "a histogram of predictions")
    counts: list[int] = torch.bincount(logits.argmax(1), minlength=logits.shape[1]).tolist()
    return counts

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
