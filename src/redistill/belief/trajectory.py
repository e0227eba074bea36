"""The walk of images towards classes by a network's gradient, in batches of rows that fit the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.features.normalised import normalised
from redistill.precision import unrounded

# rows (an image on its way to one class) that go through the networks together: where there is a cache to stay in, fewer
ENTRIES = 8_000_000  # at most so many numbers of images in a batch: 500 images of 3x64x64, 53 of 3x224x224
AT_ONCE, AT_ONCE_CPU = 500, 128

Net = Callable[[Tensor], Tensor]


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
    many = at_once(x.device, x.shape[1:])
    with unrounded(x.device):
        parts = [_trajectory(attacked, others, x[i : i + many], j[i : i + many], K, rate, least, tell) for i in range(0, len(x), many)]
    return torch.cat(parts, dim=1).view(1 + len(others), n, aimed, K)


def at_once(device: torch.device, shape: Sequence[int] | None) -> int:
    """How many images [C, H, W] are walked together: fewer where they are large."""
    most = AT_ONCE_CPU if device.type == "cpu" else AT_ONCE
    return most if shape is None else min(most, max(1, ENTRIES // math.prod(shape)))


def _trajectory(
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
    with unrounded(x.device):
        for k in range(max(at) + 1):
            if k in at:
                shown.append(x.detach().clone())
            _, x = _step(net, x, targets, rate, last=k == max(at))
    return torch.stack(shown, dim=1)


def seeing(net: nn.Module, stream: str) -> Net:
    """The network in front of images that are normalised as ``stream`` (:func:`redistill.features.normalised.normalised`), in whatever
    precision they come: networks of two are walked beside each other."""
    view, own = normalised(net, stream), next((p.dtype for p in net.parameters() if p.is_floating_point()), None)
    return view if own is None else lambda images: view(images.to(own))
