"""Before the first step: does the teacher know these classes, and does what it says make a lesson?

One forward over a few hundred training images, spread evenly over the classes (over noise where images are made during the run);
nothing of the run's streams is drawn and nothing changes. What makes every step useless is refused, what may be meant is warned of, with
the numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import RedistillError, Source
from redistill.features.modes import evaluating
from redistill.features.outputs import logits_of, name_of, require_finite
from redistill.models.sizes import other_size

IMAGES = 256
AT_ONCE = 64
NOISE = 16
SURE = 1e-3  # how rarely chance alone may say so
SHOWN = 10  # classes in a message


TELLING = 7
"""So many outputs of a network that has not learned are all positive once in a hundred times."""


class TeacherWarning(UserWarning):
    """Something about a teacher, or a student's outputs, that may spoil a run and may be meant."""


Adapt = Callable[[Tensor], Tensor]
"""What stands between the images of the stream and a network that wants another normalisation."""


def check_teacher(teacher: nn.Module, source: Source, *, logits_matter: bool, adapt: Adapt | None = None) -> tuple[str, ...]:
    """Look at what a teacher says of the training images; returns the warnings that were given.

    Args:
        teacher: asked in evaluation mode, on its device and in its precision, and left as it was.
        logits_matter: some term compares its logits; where only features are read, its classes may be anybody's.
        adapt: from the images of ``source`` to those that the teacher wants; None: it takes them as they come.

    Raises:
        RedistillError: NaN or infinite logits; and where ``logits_matter``: probabilities instead of logits, class names in
            another order, classes that a permutation explains and the teacher's own order does not.
    """
    if not computes(teacher):
        return ()
    who = f"the teacher {name_of(teacher)}"
    sized = tuple(note for note in [other_size(teacher, source.image_shape, who)] if note)
    if (images := sample(source)) is None:
        if logits_matter:
            _refuse_probabilities(_of_noise(teacher, source, adapt), who)
        return sized
    logits, labels = _ask(teacher, images, adapt)
    require_finite(logits, who, "what it teaches")
    if not logits_matter:
        return sized
    _refuse_probabilities(logits, who)
    constant = _constant(logits, who)
    notes = [note for note in (constant, _between(logits, who), _names(teacher, source, who)) if note]
    if constant is None and labels is not None and logits.shape[1] > int(labels.max()):
        more = f" {sized[0]}" if sized else ""
        notes += [f"{note}{more}" for note in [_right(logits, labels, who, getattr(source, "class_names", None))] if note]
    for note in notes:
        warnings.warn(note, TeacherWarning, stacklevel=3)
    return (*sized, *notes)


def check_student(net: nn.Module, source: Source, *, adapt: Adapt | None = None) -> tuple[str, ...]:
    """Warn of a student whose outputs are probabilities, or after a sigmoid, already: a softmax of them hardly learns."""
    if not computes(net):
        return ()
    images = sample(source, AT_ONCE)
    logits = _of_noise(net, source, adapt) if images is None else _ask(net, images, adapt)[0]
    who = f"the student {name_of(net)}"
    note = (
        f"{who} gives probabilities (never negative, sum 1), where terms take logits and apply the softmax themselves: take the softmax "
        f"off its end"
        if are_probabilities(logits)
        else _between(logits, who)
        if logits.shape[1] >= TELLING
        else None
    )
    if note is None:
        return ()
    warnings.warn(note, TeacherWarning, stacklevel=3)
    return (note,)


def computes(net: nn.Module) -> bool:
    """False on the meta device, where shapes are worked out and nothing is computed: nothing can be told there."""
    return not any(parameter.is_meta for parameter in net.parameters())


def are_probabilities(logits: Tensor) -> bool:
    """Whether every row of [N, C] is a distribution over two classes or more: not negative, of sum 1.

    >>> are_probabilities(torch.tensor([[0.25, 0.75], [1.0, 0.0]])), are_probabilities(torch.tensor([[0.5, 0.5], [2.0, -1.0]]))
    (True, False)
    """
    if logits.shape[1] < 2 or not len(logits) or bool((logits < 0).any()):
        return False
    return bool(((logits.double().sum(1) - 1.0).abs() < 1e-3).all())


# ---------------------------------------------------------------------------------------------------------------------
# Asking
# ---------------------------------------------------------------------------------------------------------------------
def sample(source: Source, count: int = IMAGES) -> Any | None:
    """At most ``count`` images of a data set, evenly over its classes and over each class; None for a source of made images."""
    subset = getattr(source, "subset", None)
    if subset is None or not getattr(source, "count", None):
        return None
    labels, total = source.all_labels, int(source.count or 0)
    if labels is None:
        return subset(_spread(torch.arange(total), count), ("preflight", {}))
    labels = labels.cpu()
    classes = _spread(labels[labels >= 0].unique(), count)  # of images of which some have no label those that have one
    chosen = [_spread(torch.nonzero(labels == c).flatten(), max(1, count // len(classes))) for c in classes]
    return subset(torch.cat(chosen).sort().values, ("preflight", {}))


def _spread(positions: Tensor, count: int) -> Tensor:
    """``count`` of the positions, or all, at even distances."""
    if len(positions) <= count:
        return positions
    return positions[(torch.arange(count, dtype=torch.float64) * (len(positions) / count)).long()]


def _ask(net: nn.Module, images: Any, adapt: Adapt | None) -> tuple[Tensor, Tensor | None]:
    """Logits [N, C] and labels [N] on the CPU; evaluation mode for a while."""
    first = next(net.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    dtype = first.dtype if first is not None else torch.float32
    with evaluating(net), torch.no_grad():
        seen = (batch.images for batch in images.batches(AT_ONCE, device, dtype))
        rows = [logits_of(net(x if adapt is None else adapt(x)), net).float().cpu() for x in seen]
    labels = images.all_labels
    return torch.cat(rows), None if labels is None else labels.cpu()


def _of_noise(net: nn.Module, source: Source, adapt: Adapt | None) -> Tensor:
    """Logits [N, C] of normal noise, where images are only made during the run."""
    first = next(net.parameters(), None)
    x = torch.randn(NOISE, *source.image_shape, generator=rng.stream(0, "preflight"))
    x = x if first is None else x.to(first)
    with evaluating(net), torch.no_grad():
        return logits_of(net(x if adapt is None else adapt(x)), net).float().cpu()


# ---------------------------------------------------------------------------------------------------------------------
# Judging
# ---------------------------------------------------------------------------------------------------------------------
def _refuse_probabilities(logits: Tensor, who: str) -> None:
    if are_probabilities(logits):
        raise RedistillError(
            f"{who} gives probabilities (its {logits.shape[1]} outputs are never negative and sum to 1 on every one of {len(logits)} "
            f"images), where terms take logits and apply the softmax themselves: take the softmax off its end, or return the "
            f"logarithm of what it gives"
        )


def _constant(logits: Tensor, who: str) -> str | None:
    if len(logits) > 1 and bool((logits == logits[0]).all()):
        return f"{who} says the same of all {len(logits)} images that were tried: it tells nothing apart, so it has nothing to teach"
    return None


def _between(logits: Tensor, who: str) -> str | None:
    inside = bool((logits > 0).all()) and bool((logits < 1).all())
    if len(logits) < 2 or not inside:
        return None
    return (
        f"each of the {logits.shape[1]} outputs of {who} lies between 0 and 1 on all {len(logits)} images that were tried, as after a "
        f"sigmoid: terms take logits; take the sigmoid off its end if there is one"
    )


def names_differ(mine: Sequence[str] | None, theirs: Sequence[str] | None) -> str | None:
    """How the class names of a network (``mine``) and of the data (``theirs``) differ, None where they agree or one has none.

    >>> names_differ(("cat", "dog"), ("dog", "cat"))
    "the same classes in another order: 0 is 'cat' to the network and 'dog' to the data, 1 is 'dog' to the network and 'cat' to the data"
    """
    if not mine or not theirs or list(mine) == list(theirs):
        return None
    pairs = [f"{i} is {a!r} to the network and {b!r} to the data" for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b]
    shown = ", ".join(pairs[:SHOWN]) + (f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else "")
    if sorted(mine) == sorted(theirs):
        return f"the same classes in another order: {shown}"
    if len(mine) != len(theirs):
        return f"{len(mine)} classes in the network, {len(theirs)} in the data" + (f": {shown}" if shown else "")
    return f"other class names: {shown}"


def _names(teacher: nn.Module, source: Source, who: str) -> str | None:
    mine, theirs = getattr(teacher, "class_names", None), getattr(source, "class_names", None)
    differ = names_differ(mine, theirs)
    if differ is None:
        return None
    if sorted(mine or ()) == sorted(theirs or ()):
        raise RedistillError(f"{who} was trained on {differ}: give the data the order of the teacher, or a teacher of this order")
    return f"{who} and the data have {differ}"


def _right(logits: Tensor, labels: Tensor, who: str, names: Sequence[str] | None) -> str | None:
    """A teacher at chance is warned of; one that is right in another order of classes is refused, with the order."""
    from scipy.stats import binomtest  # half a second, and whoever only reads an experiment needs none of it

    predicted, n = logits.argmax(1), len(labels)
    right = int((predicted == labels).sum())
    classes = logits.shape[1]
    # what predictions that know nothing of the labels would reach
    shares = [torch.bincount(x, minlength=classes).double() / n for x in (predicted, labels)]
    chance = float((shares[0] * shares[1]).sum())
    above = chance < 1.0 and binomtest(right, n, chance, alternative="greater").pvalue < 0.01
    numbers = f"{who} is right on {right} of {n} training images ({100 * right / n:.1f} %, chance is {100 * chance:.1f} %)"
    if (order := fitting_order(predicted, labels, classes)) is not None:
        hits = int((order[predicted] == labels).sum())
        moved = [(c, int(order[c])) for c in range(classes) if int(order[c]) != c and bool((predicted == c).any())]
        word = [f"its class {a} is the data's {b}{f' ({names[b]})' if names and b < len(names) else ''}" for a, b in moved]
        shown = ", ".join(word[:SHOWN]) + (f" and {len(word) - SHOWN} more" if len(word) > SHOWN else "")
        sentence = f"{numbers}; in another order of its classes it would be right on {hits}: {shown}"
        if 2 * right < hits:
            raise RedistillError(f"{sentence}: give its outputs, or the data's classes, the other's order")
        return sentence
    if not above:
        return f"{numbers}: it has nothing to teach about these classes; are its weights, its normalisation and its classes the right ones?"
    return None


def fitting_order(predicted: Tensor, labels: Tensor, classes: int) -> Tensor | None:
    """The permutation [classes] of predicted classes that makes a teacher right where its own order does not, or None.

    The permutation that fits every other image of each class best (Kuhn-Munkres) is judged on the rest: there it must be right on
    half of the images or more, and more often than the order as it is by more than chance (sign test, p < 0.001).
    """
    from scipy.stats import binomtest

    even = torch.zeros(len(predicted), dtype=torch.bool)
    even[labels.argsort(stable=True)[::2]] = True
    order = _best_order(predicted[even], labels[even], classes)
    mine, theirs = predicted[~even] == labels[~even], order[predicted[~even]] == labels[~even]
    better, worse = int((theirs & ~mine).sum()), int((mine & ~theirs).sum())
    if not len(mine) or float(theirs.double().mean()) < 0.5 or better + worse == 0:
        return None
    if binomtest(better, better + worse, 0.5, alternative="greater").pvalue >= SURE:
        return None
    return order


def _best_order(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """For every predicted class the label that it stands for, one to one, with the most images right; ties keep the class itself."""
    from scipy.optimize import linear_sum_assignment

    counts = torch.bincount(predicted * classes + labels, minlength=classes * classes).view(classes, classes).double().numpy()
    rows, columns = linear_sum_assignment(counts + 0.5 * np.eye(classes), maximize=True)
    order = torch.arange(classes)
    order[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return order
