"""Whether a teacher knows these classes: asked on the evaluation images before anything long begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from redistill.data import normalisation
from redistill.data.normalise import SETS
from redistill.errors import OtherClasses, RedistillError, counted
from redistill.features.normalised import normalisation_of
from redistill.metrics import hits, predict
from redistill.stats import binomial_interval
from redistill.train.preflight import are_probabilities, fitting_order, sample

MOST = 2000  # evaluation images that are asked; more say nothing new about a teacher at chance
TRIED = 512  # training images on which normalisations are tried


@dataclass(frozen=True)
class Known:
    """What was found: right of n evaluation images. classes: that the teacher tells apart."""

    right: int
    n: int
    classes: int

    @property
    def sentence(self) -> str:
        low, high = binomial_interval(self.right, self.n)
        return f"{100 * self.right / self.n:.1f} % on {counted(self.n, 'evaluation image')} (95 %: {100 * low:.1f} to {100 * high:.1f})"


def require_classes(
    teacher_classes: int, mine: Sequence[str] | None, theirs: Sequence[str] | None, data_classes: int, who: str, *, tuned: bool = False
) -> None:
    """Refuse folders that do not fit the teacher's outputs, with the classes that only one of the two has, where names say so.

    Args:
        tuned: its head can be made anew and trained here, as that of a library's network.
    """
    if teacher_classes == data_classes:
        return
    more = ""
    if mine and theirs:
        only = [name for name in mine if name not in theirs], [name for name in theirs if name not in mine]
        words = ("only the teacher knows ", "only the folders have ")
        more = "; " + ", ".join(w + _listed(o) for w, o in zip(words, only, strict=True) if o) if any(only) else ""
    elif theirs:
        more = f" ({_listed(theirs)})"
    raise RedistillError(
        f"{who} tells {teacher_classes:,} classes apart, the data have {data_classes}{more}: give the folders of its classes, or a "
        f"teacher of these" + (", or train its head on these images first with --train-teacher 10" if tuned else "")
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def order_table(mine: Sequence[str] | None, theirs: Sequence[str] | None, most: int = 20) -> list[str]:
    """Classes of the teacher beside those of the folders, line by line, where the two differ."""
    if not mine or not theirs or tuple(mine) == tuple(theirs):
        return []
    odd = [i for i in range(max(len(mine), len(theirs))) if mine[i : i + 1] != theirs[i : i + 1]]

    def at(names: Sequence[str], i: int) -> str:
        return names[i] if i < len(names) else "-"

    width = max(len(at(mine, i)) for i in odd[:most])
    lines = [f"{i:>5}  {at(mine, i):<{width}}  {at(theirs, i)}" for i in odd[:most]]
    rest = [f"       and {len(odd) - most} more"] if len(odd) > most else []
    return ["class  teacher | folder, where they differ", *lines, *rest]


def best_normalisation(teacher: nn.Module, train: Any) -> tuple[str, str] | None:
    """The set of normalisation under which a teacher that says none is right most often on training images, and the sentence about it;
    None where it says one, or where no other is better by more than chance.
    """
    if normalisation_of(teacher) is not None or not train.labelled:
        return None
    images = sample(train, TRIED)
    if images is None:
        return None
    labels = images.all_labels
    channels = images.image_shape[0]
    tried: dict[str, Tensor] = {}
    for name in dict.fromkeys([images.normalise, "imagenet", "half", "none", "cifar10-kuangliu", "cifar100"]):
        if name in SETS and len(normalisation(name).mean) not in (1, channels):
            continue
        logits = predict(teacher, images, normalise=name)
        if logits.shape[1] <= int(labels.max()):
            return None
        tried[name] = logits.argmax(1) == labels
    usual, best = images.normalise, max(tried, key=lambda name: int(tried[name].sum()))
    better, worse = int((tried[best] & ~tried[usual]).sum()), int((tried[usual] & ~tried[best]).sum())
    if best == usual or better + worse == 0 or binomtest(better, better + worse, 0.5, alternative="greater").pvalue >= 0.001:
        return None
    n = len(labels)
    return best, (
        f"normalisation of the teacher: {best}, because its file says none and it is right on {int(tried[best].sum())} of {n} training "
        f"images under {best}, on {int(tried[usual].sum())} under {usual}"
    )


def above_chance(predicted: Tensor, labels: Tensor, classes: int) -> tuple[bool, float]:
    """Whether predictions [N] are right more often than chance explains (p < 0.01), and the share that chance would have right."""
    shares = [torch.bincount(x, minlength=classes).double() / len(labels) for x in (predicted, labels)]
    chance = max(float((shares[0] * shares[1]).sum()), 1.0 / classes)
    right = int((predicted == labels).sum())
    return bool(binomtest(right, len(labels), min(chance, 1.0), alternative="greater").pvalue < 0.01), chance


def can_tell(labels: Tensor, classes: int) -> bool:
    """Whether a network that is always right stands out from chance on images of these labels [N]: not where they are few, or nearly
    all of one class.

    >>> import torch
    >>> can_tell(torch.arange(8) % 4, 4), can_tell(torch.arange(3), 4), can_tell(torch.tensor([0] * 8 + [1]), 4)
    (True, False, False)
    """
    return above_chance(labels, labels, classes)[0]


def _some(test: Any) -> Any:
    """At most :data:`MOST` evaluation images at even distances: as many of a class as it has of them, so that the accuracy is theirs."""
    if len(test) <= MOST or not hasattr(test, "subset"):
        return test
    return test.subset((torch.arange(MOST, dtype=torch.float64) * (len(test) / MOST)).long(), ("preflight", {}))


def require_knowing(teacher: nn.Module, test: Any, who: str, train: Any = None, trained_for: str = "") -> Known:
    """How often the teacher is right on evaluation images; ``train``: images that help to tell another order of classes, and speak
    where the evaluation images are too few, or too much of one class, to tell anybody from chance; ``trained_for``: how long it was
    trained here, if it was.

    Raises:
        RedistillError: near chance, with the order of classes, or the normalisation, under which it would not be; probabilities in
            place of logits.
    """
    shown = _some(test)
    labels = shown.all_labels.cpu()
    logits = predict(teacher, shown)
    if logits.shape[1] != test.classes:
        raise OtherClasses(f"{who} tells {logits.shape[1]} classes apart, the data have {test.classes}")
    if are_probabilities(logits):
        raise RedistillError(
            f"{who} gives probabilities (its outputs are never negative and sum to 1), where distillation takes logits: take the softmax "
            f"off its end"
        )
    predicted, n, classes = logits.argmax(1), len(labels), logits.shape[1]
    known = Known(hits(logits, labels), n, classes)
    names = getattr(test, "class_names", None) or tuple(map(str, range(classes)))
    above, chance = above_chance(predicted, labels, classes)
    seen, right = predicted, labels
    if not above and train is not None and train.labelled and (more := sample(train, TRIED)) is not None:
        seen, right = torch.cat([predicted, predict(teacher, more).argmax(1)]), torch.cat([labels, more.all_labels.cpu()])
    order = fitting_order(seen, right, classes)
    if order is not None and 2 * known.right < (fitted := int((order[predicted] == labels).sum())):
        moved = [f"its {c} is {names[int(order[c])]}" for c in range(classes) if int(order[c]) != c]
        raise RedistillError(
            f"{who} is right on {known.right} of {counted(n, 'evaluation image')}, and would be right on {fitted} in another order of "
            f"classes: {_listed(moved)}. Rename the class folders so that they sort into its order, or give its outputs theirs"
        )
    if above:
        return known
    asked = f"{known.right} of {counted(n, 'evaluation image')} ({100 * known.right / n:.1f} %)"
    if not can_tell(labels, classes):
        above, chance = above_chance(seen, right, classes)
        if above or not can_tell(right, classes):
            return known
        asked = f"{int((seen == right).sum())} of {len(right):,} images, those of training among them"
    way_out = (
        f"It was trained here for {trained_for}: train it for longer (--train-teacher), on more images, or on larger ones (--size)"
        if trained_for
        else "Are its weights the right ones (--teacher-weights), its normalisation (--teacher-normalise), its image size (--size)? "
        "--train-teacher 30 trains it here"
    )
    raise RedistillError(
        f"{who} is right on {asked}, which is chance ({100 * chance:.1f} %), under every order of classes: it has nothing to teach. "
        f"{way_out}"
    )
