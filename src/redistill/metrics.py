"""What a network says on a set of images: accuracy with its interval, calibration, agreement with another network.

Networks are evaluated in evaluation mode, without augmentation, in fixed batches, and left bitwise as they were. Layers that
draw even in evaluation mode draw from a stream of their own: the same network and images give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redistill.errors import OtherClasses, RedistillError, first_line
from redistill.features.modes import evaluating
from redistill.features.normalised import Normalised, normalisation_of
from redistill.features.outputs import name_of, require_comparable, require_finite
from redistill.models.sizes import warn_of_size
from redistill.precision import unrounded

NUMERICS = 1
BATCH = 500  # images a forward; part of the numbers' last bits, so it is a constant and not a setting
ENTRIES = 8_000_000  # at most so many numbers a forward: 500 images of 3x64x64, 53 of 3x224x224


class ImageSet(Protocol):
    """What evaluation needs of a data set (``redistill.data.Images`` and ``Folder`` have it)."""

    @property
    def classes(self) -> int | None: ...

    @property
    def normalise(self) -> str: ...

    @property
    def all_labels(self) -> Tensor | None: ...

    def with_(self, *, normalise: str) -> ImageSet: ...

    def batches(
        self, batch_size: int, device: torch.device, dtype: torch.dtype, channels_last: bool = False
    ) -> Iterator[Any]: ...


def at_once(shape: Sequence[int] | None, most: int) -> int:
    """How many images [C, H, W] go through a network together: ``most``, fewer where they are large.

    >>> at_once((3, 32, 32), 500), at_once((3, 224, 224), 500), at_once(None, 500)
    (500, 53, 500)
    """
    return most if shape is None else min(most, max(1, ENTRIES // math.prod(shape)))


def predict(
    net: nn.Module | Normalised, images: ImageSet, *, normalise: str | None = None, channels_last: bool = False
) -> Tensor:
    """Logits [N, classes] on the CPU for every image, in order, in the precision and on the device of ``net``.

    Args:
        net: a network, or one in front of a stream (:func:`redistill.features.normalised.normalised`),
            which sees images as that gives them.
        normalise: the set in which ``net`` wants its images; default: the one it was trained in (``net.normalisation``),
            and where it carries none, the data set's own.

    Raises:
        RedistillError: no data set of this package, or images that the network does not take. Logits that are NaN or infinite are
            returned as they are; :func:`accuracy` and :func:`evaluate` refuse them.
    """
    _require_set(images)
    if isinstance(net, Normalised):
        view, wanted = net, normalise or net.space
    else:
        wanted = normalise or normalisation_of(net) or images.normalise
        view = Normalised(net, wanted, None)
    if wanted != images.normalise:
        images = images.with_(normalise=wanted)
    first = next(view.net.parameters(), None)
    if first is not None and first.is_meta:
        raise RedistillError(f"{name_of(view.net)} has no weights: it lies on the meta device; build it on a real one")
    device = first.device if first is not None else torch.device("cpu")
    dtype = first.dtype if first is not None else torch.float32
    many = at_once(getattr(images, "image_shape", None), BATCH)
    with unrounded(device), evaluating(view.net), torch.no_grad():  # a CUDA device would convolve in TF32 unasked
        rows = [_outputs(view, batch.images).float().cpu() for batch in images.batches(many, device, dtype, channels_last)]
    return torch.cat(rows)


def _outputs(view: Normalised, images: Tensor) -> Tensor:
    """Logits, or a sentence where the network does not take such images."""
    try:
        return view(images)
    except (RedistillError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        raise RedistillError(
            f"{name_of(view.net)} does not accept images of shape {list(images.shape[1:])} ({first_line(error)}): give it images, or the "
            f"images a network, that fit"
        ) from error


def hits(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> int:
    """How many rows have their largest logit at the label (the first one where several are equal)."""
    return int((logits.argmax(1) == labels).sum())


def ranks(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> Int[Tensor, " images"]:
    """How many classes stand before each label: those of larger logits, and of equal ones those that come first, as in :func:`hits`.

    >>> ranks(torch.tensor([[2.0, 2.0, 3.0]]), torch.tensor([1]))
    tensor([2])
    """
    own = logits.gather(1, labels[:, None])
    first = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > own) | ((logits == own) & first)).sum(1)


def _require_classes(logits: Tensor, images: ImageSet) -> int:
    """How many classes both have."""
    classes = images.classes
    if classes is None or logits.shape[1] != classes:
        raise OtherClasses(
            f"the network tells {logits.shape[1]} classes apart, the data set has {classes}",
            "they must agree for an accuracy to mean anything",
        )
    return classes


def accuracy(net: nn.Module | Normalised, images: ImageSet, *, normalise: str | None = None, channels_last: bool = False) -> float:
    """Top-1 accuracy in percent. Raises :class:`redistill.features.outputs.NotFinite` where the network gives NaN or infinite logits."""
    labels = _labels(images)
    logits = predict(net, images, normalise=normalise, channels_last=channels_last)
    who = name_of(net.net if isinstance(net, Normalised) else net)
    _require_classes(logits, images)
    return 100.0 * hits(require_finite(logits, who, "an accuracy"), labels) / len(labels)


def agreement(a: nn.Module, b: nn.Module, images: ImageSet) -> float:
    """How often the two networks predict the same class, in percent."""
    output_a, output_b = (require_finite(predict(net, images), name_of(net), "an agreement") for net in (a, b))
    require_comparable(output_a, output_b, "agreement")
    return 100.0 * float((output_a.argmax(1) == output_b.argmax(1)).double().mean())


@dataclass(frozen=True)
class Evaluation:
    """One network on one set. Accuracies and agreement in percent, NLL in nats.

    Attributes:
        accuracy, accuracy_interval: top-1 and its 95 % Wilson interval over the images (not over seeds).
        top5: None below six classes. nll: mean negative log likelihood.
        calibration_error: expected calibration error, 15 bins of equal width (Guo et al. 2017, eq. 3), in percent.
        per_class: accuracy of each class, None for a class without images.
        agreement, kl_from_teacher, kl_to_teacher: with a teacher only: same prediction; mean KL(teacher || student) and
            KL(student || teacher) at temperature 1.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    top5: float | None
    nll: float
    calibration_error: float
    per_class: list[float | None]
    agreement: float | None = None
    kl_from_teacher: float | None = None
    kl_to_teacher: float | None = None


def calibration_error(probabilities: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], bins: int = 15) -> float:
    """Σ_b |B_b|/N · |accuracy(B_b) - confidence(B_b)|, as a fraction (Guo et al. 2017, arXiv:1706.04599, eq. 3)."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    which = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, which, right - confidence.double())
    return float(gap.abs().sum() / len(labels))


def evaluate(
    net: nn.Module, images: ImageSet, *, teacher: nn.Module | None = None, normalise: str | None = None
) -> Evaluation:
    """Everything of :class:`Evaluation`, from one pass (two with a teacher)."""
    labels = _labels(images)
    if (shape := getattr(images, "image_shape", None)) is not None:
        warn_of_size(net, shape, name_of(net))
        if teacher is not None:
            warn_of_size(teacher, shape, f"the teacher {name_of(teacher)}")
    logits = predict(net, images, normalise=normalise)
    _require_classes(logits, images)
    require_finite(logits, name_of(net), "an accuracy")
    teacher_output = None
    if teacher is not None:
        teacher_output = require_finite(predict(teacher, images), f"the teacher {name_of(teacher)}", "an agreement")
        require_comparable(logits, teacher_output, "evaluate with a teacher")
    return evaluation(logits, labels, teacher=teacher_output)


def evaluation(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], *, teacher: Float[Tensor, "images classes"] | None = None
) -> Evaluation:
    """Everything of :class:`Evaluation` from logits [N, C] and labels [N]; ``teacher``: what the teacher said of the same images."""
    from redistill.stats import binomial_interval  # brings scipy, of which whoever only reads an experiment needs nothing

    classes = logits.shape[1]
    log_p = torch.log_softmax(logits.double(), 1)
    n, right = len(labels), hits(logits, labels)
    low, high = binomial_interval(right, n)
    predicted = logits.argmax(1)
    per_class: list[float | None] = []
    for c in range(classes):
        of_class = labels == c
        count = int(of_class.sum())
        per_class.append(100.0 * int((predicted[of_class] == c).sum()) / count if count else None)
    top5 = None
    if classes > 5:
        top5 = 100.0 * int((ranks(logits, labels) < 5).sum()) / n
    same = forward = backward = None
    if teacher is not None:
        log_t = torch.log_softmax(teacher.double(), 1)
        same = 100.0 * float((log_t.argmax(1) == predicted).double().mean())
        forward = float((log_t.exp() * (log_t - log_p)).sum(1).mean())
        backward = float((log_p.exp() * (log_p - log_t)).sum(1).mean())
    return Evaluation(
        images=n,
        accuracy=100.0 * right / n,
        accuracy_interval=(100.0 * low, 100.0 * high),
        top5=top5,
        nll=float(-log_p.gather(1, labels[:, None]).mean()),
        calibration_error=100.0 * calibration_error(log_p.exp(), labels),
        per_class=per_class,
        agreement=same,
        kl_from_teacher=forward,
        kl_to_teacher=backward,
    )


def _require_set(images: object) -> None:
    if not hasattr(images, "batches") or not hasattr(images, "all_labels"):
        raise RedistillError(
            f"a network is measured on a data set of this package, got a {type(images).__name__}: give rd.data.of(dataset), "
            f"rd.data.Images(pixels, labels, classes, name, normalise), rd.data.folder(...) or one of the named sets"
        )


def _labels(images: ImageSet) -> Tensor:
    _require_set(images)
    labels = images.all_labels
    if labels is None:
        raise RedistillError("accuracy needs labels, and this data set has none; agreement(a, b, images) does without")
    if len(labels) and int(labels.min()) < 0:
        raise RedistillError(f"accuracy needs labels, and {int((labels < 0).sum())} of {len(labels)} images have none: leave these out")
    return labels
