"""What people hand to the loop, as it is or refused with the way out: one sentence for what is nearly a source or a set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from redistill.core import Method, RedistillError, Source, Term
from redistill.core.batch import mixed_labels
from redistill.data import DataSet
from redistill.data.overlap import shared
from redistill.errors import OtherClasses
from redistill.features.modes import require_sizes
from redistill.features.sight import bare
from redistill.features.traced import is_traced
from redistill.metrics import ImageSet
from redistill.models.classes import require_same_order
from redistill.recipe import Recipe
from redistill.sources.mixed import Mixed
from redistill.train.kept import HELD_OUT
from redistill.train.preflight import TeacherWarning

WAYS = "rd.data.arrays(file), rd.data.folder(path) or rd.data.Images(x, y, classes, name, normalise) makes one"


def source_of(given: Any) -> Source:
    """``given`` if it is a source of images."""
    if isinstance(given, type):
        raise RedistillError(f"the source must be made before it is given: {given.__name__}(...), not the class {given.__name__}")
    if isinstance(given, Source):
        return given
    raise RedistillError(f"the source must be images (redistill.data) or a redistill.Source, {_what(given)}: {_way(given)}")


def sets_of(given: Any) -> dict[str, ImageSet]:
    """Evaluation sets by name out of what was given as ``evaluate=``."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        pair = isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(one, DataSet) for one in given)
        way = 'evaluate={"test": test} of train, test = ...' if pair else 'give evaluate={"test": test}'
        raise RedistillError(f"evaluate= takes evaluation sets by name, {_what(given)}: {way}")
    for name, images in given.items():
        if not isinstance(name, str):
            raise RedistillError(f'evaluate= takes sets by name, got the name {name!r}: evaluate={{"test": test}}')
        if not all(hasattr(images, needed) for needed in ("classes", "normalise", "all_labels", "with_", "batches")):
            raise RedistillError(f"evaluate[{name!r}] must be images (redistill.data), {_what(images)}: {_way(images)}")
        if images.all_labels is None:
            raise RedistillError(f"evaluate[{name!r}] has no labels, and an accuracy needs them: give labelled images")
        if getattr(images, "partly_labelled", False):
            raise RedistillError(f"some images of evaluate[{name!r}] have no label, and an accuracy needs all: give labelled images")
    return dict(given)


def require_cohort(
    students: Sequence[tuple[nn.Module, Method | Term]], teacher: nn.Module | None, source: Source, recipe: Recipe,
    evaluate: Mapping[str, ImageSet], *, smallest: int,
) -> None:  # fmt: skip
    """Refuse what cannot be trained together, before any network is looked at.

    Args:
        smallest: images of the smallest batch of the run (:func:`redistill.train.smallest.smallest_batch`).
    """
    if not students:
        raise RedistillError("a cohort needs at least one (student, method) pair")
    given: list[tuple[str, Any]] = [("student", net) for net, _ in students] + ([("teacher", teacher)] if teacher is not None else [])
    for who, net in given:
        if not isinstance(net, nn.Module):
            kind = f"the class {net.__name__}, not a network made of it" if isinstance(net, type) else f"a {type(net).__name__}"
            raise RedistillError(f"the {who} is {kind}: give a torch.nn.Module from images to logits")
        require_sizes(net, f"the {who} {type(net).__name__}")
        if any(t.is_meta for t in (*net.parameters(), *net.buffers())):
            raise RedistillError(f"the {who} {type(net).__name__} has no weights: it lies on the meta device; build it on a real one")
    if len({id(net) for net, _ in students}) != len(students):
        raise RedistillError("the same network stands twice in the cohort: every student needs its own weights")
    owners: dict[int, int] = {}  # of what learns: a frozen part may serve several
    for number, (net, _) in enumerate(students):
        for name, parameter in net.named_parameters():
            if parameter.requires_grad and (other := owners.setdefault(id(parameter), number)) != number:
                raise RedistillError(
                    f"two students of the cohort ({other + 1} and {number + 1}) share weights ({name}), which each would move in its step: "
                    f"every student needs its own (copy.deepcopy)"
                )
    if teacher is not None and any(net is teacher for net, _ in students):
        raise RedistillError("teacher and student are one network: give the student its own weights (copy.deepcopy)")
    if teacher is not None:
        _require_apart([net for net, _ in students], teacher)
    if len(students) > 1 and source.depends_on_student:
        raise RedistillError(
            f"{type(source).__name__} makes its images against one student, so it cannot feed a cohort of "
            f"{len(students)}: run the students one by one"
        )
    if len(students) > 1 and recipe.teacher_mode == "train":
        raise RedistillError("teacher_mode='train' moves the teacher's statistics: run the students one by one")
    if recipe.patience is not None and HELD_OUT not in evaluate:
        raise RedistillError(
            f"patience={recipe.patience} stops by the accuracy on a held-out part of the training images, and there is none: train, held = "
            f"train.held_out(0.1, seed=0), then evaluate={{'held_out': held, ...}}; never by the test set"
        )
    if recipe.accumulate > 1 and str(getattr(source, "augment", "")).endswith("+strong"):
        raise RedistillError("accumulate > 1 would part the two views of a batch: give accumulate=1, or an augmentation without '+strong'")
    by_labels = False
    for net, what in students:
        if is_traced(bare(net)):
            raise RedistillError(
                "the student is a traced network (torch.jit.trace), which keeps batch norm and dropout in the mode of the tracing "
                "whatever mode it is put into: give the network that was traced, or torch.jit.script it"
            )
        method = Method.of(what)
        for _, term in method.parts():
            name = type(term).__name__
            by_labels = by_labels or term.needs_labels
            if term.needs_teacher and teacher is None:
                raise RedistillError(f"{name} compares with a teacher, but there is none: give a teacher or remove {name}")
            if term.needs_pairs and smallest == 1:
                held = f"of {source.count:,} images in batches" if source.count is not None else "in batches"
                raise RedistillError(
                    f"{name} compares the images of a batch with each other, and {held} of {recipe.batch_size} one batch has one image: "
                    f"choose another batch_size, or drop_last = true"
                )
            if term.needs_labels and not term.takes_mixed and getattr(source, "mixes_labels", False):
                raise RedistillError(mixed_labels(name))
            if term.needs_labels and not source.labelled:
                raise RedistillError(f"{name} needs labels, and this source has none: remove {name} or give labelled images")
        if not any(p.requires_grad for p in net.parameters()):
            raise RedistillError(f"no parameter of the student {type(net).__name__} requires a gradient")
    trained_on = tuple(source.image_shape)
    for name, images in evaluate.items():
        shown = tuple(getattr(images, "image_shape", trained_on))
        if shown != trained_on:
            raise RedistillError(
                f"evaluation set {name!r} has images of shape {list(shown)}, the source {list(trained_on)}: make them the same"
            )
        mine, theirs = (getattr(one, "class_names", None) for one in (source, images))
        if by_labels and (remark := require_same_order(mine, theirs, "the training images", f"evaluation set {name!r}")):
            warnings.warn(remark, TeacherWarning, stacklevel=4)
        parts = () if name.startswith("train") else source.parts if isinstance(source, Mixed) else (source,)
        if again := sum(shared(one, images, decoded=False) for one in parts):
            warnings.warn(
                f"{again:,} of the images of evaluation set {name!r} are training images too, on which an "
                f"accuracy says nothing of others: remove them from one of the two, or call the set train, where it is meant so",
                TeacherWarning, stacklevel=4,
            )  # fmt: skip


def _require_apart(students: Sequence[nn.Module], teacher: nn.Module) -> None:
    """Refuse students that would move weights of the teacher, as the same tensors or as a part of their memory: it taught as it was, and
    would be another network for whoever asks it afterwards."""
    theirs = {place: name for name, tensor in (*teacher.named_parameters(), *teacher.named_buffers()) if (place := _memory(tensor))}
    for net in students:
        for name, weight in net.named_parameters():
            place = _memory(weight)
            if weight.requires_grad and place is not None and place in theirs:
                raise RedistillError(
                    f"the student {type(net).__name__} shares weights with its teacher ({name}, the teacher's {theirs[place]}), which its "
                    f"steps would move: give it its own (copy.deepcopy, or .clone() of the part that it takes), or freeze them in it"
                )


def _memory(tensor: Tensor) -> tuple[str, int] | None:
    """Where a tensor, or what it is a part of, lies; None of what has no memory."""
    try:
        place = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None
    return (str(tensor.device), place) if place else None


def require_classes(net: nn.Module, told: int, source: Source, evaluate: Mapping[str, ImageSet]) -> None:
    """Refuse images of other classes than a student tells apart (``told``)."""
    who = f"the student {type(net).__name__}"
    if source.classes is not None and told != source.classes:
        raise OtherClasses(f"{who} tells {told} classes apart, the data have {source.classes}", f"they must agree{_from_one(source, told)}")
    for name, images in evaluate.items():
        if images.classes is not None and images.classes != told:
            raise OtherClasses(
                f"evaluation set {name!r} has {images.classes} classes, {who} tells {told} apart",
                f"they must agree{_lacking(images.classes, told)}",
            )


def _lacking(counted: int, wanted: int) -> str:
    """The way out for a set that may only lack images of the last classes; "" where it has more than is wanted."""
    if counted > wanted:
        return ""
    return (
        f"; where the set only lacks images of the last classes, say how many there are: rd.data.arrays(file, classes={wanted}), or an "
        f"array classes = {wanted} in the .npz file"
    )


def _from_one(source: Any, told: int) -> str:
    """What to mind where a set has a class more than a network tells apart (``told``) and no image of class 0; "" elsewhere."""
    labels = source.all_labels if isinstance(source, DataSet) else None
    if labels is None or source.classes != told + 1 or bool((labels == 0).any()):
        return ""
    return " (no image has label 0: labels count from 0)"


def _what(given: Any) -> str:
    kind = type(given)
    if isinstance(given, tuple | list):
        return f"got a {kind.__name__} of {len(given)} ({', '.join(type(one).__name__ for one in given[:3])})"
    return f"got a {kind.__module__.split('.')[0]} {kind.__name__}" if kind.__module__ != "builtins" else f"got {str(given)[:60]!r}"


def _way(given: Any) -> str:
    """How to make of it what was meant."""
    if isinstance(given, tuple | list) and any(isinstance(one, DataSet) for one in given):
        return "a data set comes as a pair: train, test = rd.data..., then give train, and evaluate={'test': test}"
    kind = type(given).__name__
    if hasattr(given, "dataset") and hasattr(given, "batch_size"):
        return f"give images, rd.data.of(loader.dataset): the loop orders, augments and normalises them itself; {WAYS}"
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, str | tuple | list | dict):
        return f"rd.data.of({kind.lower()}) makes images of a data set; {WAYS}"
    if isinstance(given, str):
        return f"open it first, rd.data.load({given[:60]!r})"
    return WAYS
