"""The zero-shot experiments as their publications ran them: presets of source, method and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from redistill.core import Method, RedistillError, nearest
from redistill.recipe import Constant, Cosine, Precision, Recipe
from redistill.sources.variants import Variant
from redistill.terms import AT, KD
from redistill.terms.at import Form
from redistill.terms.kd import Reduction


@dataclass(frozen=True)
class Preset:
    """One published form, whole.

    Attributes:
        variant: what a block does. method: what the student learns by. generator_method: what the generator minimises.
        recipe: the student's optimiser and the length of the run. blocks: length of the full schedule.
        epoch_blocks: blocks between two points of the curves, 1 % of the run.
    """

    variant: Variant
    method: Method
    generator_method: Method
    recipe: Recipe
    blocks: int
    epoch_blocks: int = 1


class Published(NamedTuple):
    """What one publication says: the switches of a block, the length, and what the losses are.

    Attributes:
        variant: switches of a block. blocks: of the full schedule on CIFAR-10. kl: reduction of both KLs.
        attention_form: of the attention term.
    """

    variant: Variant
    blocks: int
    kl: Reduction
    attention_form: Form


PUBLISHED: dict[str, Published] = {
    "paper": Published(Variant(images="before", lr=2e-3, clip=None), 80_000, "batch", "norm"),
    "authors": Published(Variant(), 80_000, "element", "mean"),
    "re-2020": Published(Variant(images="before", generator_noise="fresh"), 80_000, "element", "mean"),
    "modified": Published(Variant(noise="fresh", generator_noise="fresh"), 65_000, "element", "mean"),
}

PRESETS: tuple[str, ...] = tuple(PUBLISHED)


def _kl(reduction: Reduction) -> KD:
    return KD(T=1.0, reduction=reduction, scale_T2=False)


def preset(
    name: str,
    *,
    change: Mapping[str, Any] | None = None,
    blocks: int | None = None,
    stop_after: int | None = None,
    kl: Reduction | None = None,
    attention: float = 250.0,
    attention_form: Form | None = None,
    decay_per: Literal["block", "step"] = "block",
    batch_size: int = 128,
    precision: Precision = "strict",
) -> Preset:
    """One of ``paper``, ``authors``, ``re-2020``, ``modified``, whole, or with switches that differ.

    Args:
        change: switches of :class:`Variant` that differ, by name.
        blocks: length of the full schedule; default: the published one for CIFAR-10 (SVHN: 50,000 in the paper).
        stop_after: end the run after so many blocks, rates as in the full schedule; default: none are left out.
        kl: reduction of the KL, the student's and the generator's: ``"batch"``, the mathematical one, or ``"element"``, divided
            by the number of classes too.
        attention: weight β of the attention term; 0 leaves it out (networks without common feature maps).
        attention_form: of the attention term: ``"mean"`` of squares, their ``"sum"``, or the unsquared ``"norm"``.
        decay_per: the student's cosine moves once a ``"block"`` (published) or every student ``"step"``.

    Raises:
        RedistillError: unknown preset, a length that does not fit, a weight below 0, or a form of attention that is left out.
    """
    if name not in PUBLISHED:
        raise RedistillError(nearest(name, PUBLISHED, "zero-shot preset"))
    published = PUBLISHED[name]
    variant = published.variant
    if change:
        if odd := sorted(set(change) - set(Variant.model_fields)):
            raise RedistillError(nearest(odd[0], Variant.model_fields, "switch"))
        try:
            variant = Variant.model_validate({**variant.model_dump(), **change})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "switches"
            raise RedistillError(f"preset {name!r}, {where}: {first.get('ctx', {}).get('error', first['msg'])}") from error
    length = blocks if blocks is not None else published.blocks
    taken = stop_after if stop_after is not None else length
    for what, count in (("blocks", length), ("stop_after", taken)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise RedistillError(f"{what}={count!r}: a whole number of blocks, 1 or more")
    if taken > length:
        raise RedistillError(f"stop_after={stop_after}: the schedule has {length} blocks, so stop after 1 to {length} of them")
    if decay_per not in ("block", "step"):
        raise RedistillError(f"decay_per={decay_per!r}: the student's cosine moves once a 'block' or every 'step'")
    if attention < 0:
        raise RedistillError(f"attention={attention}: the weight of the attention term must be 0 or more")
    if attention_form is not None and not attention:
        raise RedistillError(f"attention_form={attention_form!r}: attention=0 leaves the term out that it would be the form of")
    divergence = _kl(kl or published.kl)
    method = Method.of(divergence)
    if attention:
        method = divergence + attention * AT(form=attention_form or published.attention_form)
    schedule = Cosine(T_max=length * variant.n_S, unit="step", hold=variant.n_S if decay_per == "block" else 1)
    recipe = Recipe(
        steps=taken * variant.n_S,
        lr=2e-3,
        batch_size=batch_size,
        optimizer="adam",
        weight_decay=0.0,
        schedule=schedule,
        per="step",
        clip=variant.clip,
        precision=precision,
    )
    return Preset(variant, method, -1.0 * divergence, recipe, length, max(1, taken // 100))


def points(rounds: int) -> Preset:
    """Figure 1 of the paper: points instead of a generator, 50 steps on them and 10 of the student a round.

    Constant rates of 1e-3; every entry of the points' gradient is bounded by 3, the student's gradient by norm 3.
    """
    variant = Variant(n_G=50, n_S=10, lr=1e-3, decay="constant", clip=3.0, clip_by="value")
    recipe = Recipe(
        steps=10 * rounds, lr=1e-3, batch_size=50, optimizer="adam", weight_decay=0.0, schedule=Constant(), clip=3.0,
        channels_last=False,
    )  # fmt: skip
    kl = _kl("element")
    return Preset(variant, Method.of(kl), -1.0 * kl, recipe, rounds)
