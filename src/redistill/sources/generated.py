"""DAFL and DFAD: a generator that trains step by step beside the student, with other losses than the zero-shot one.

    DAFL  L_G = oh·one hot + a·activation norm + ie·information entropy         the student is not asked
    DFAD  L_G = −mean |S(x) − T(x)|                                             of logits

Chen et al. 2019 (arXiv:1904.01186), eq. 7, and Fang et al. 2019 (arXiv:1912.11006), eqs. 3 and 4. Both are :class:`Adversarial` with
another method and other switches: blocks, noise, resuming and what is told are the same. Any weighted sum of the losses of
:mod:`redistill.sources.losses` works as either; DFQ (Choi et al. 2020) is DAFL's without activations, with statistics and KL.

In DAFL one step of the student goes with each of the generator's, on the images that the generator learned from. In DFAD five
steps of the student come first, each on new images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field

from redistill.core import Method, RedistillError, Term
from redistill.sources.adversarial import Adversarial
from redistill.sources.losses import ActivationNorm, BatchNormStatistics, ImageNorm, InformationEntropy, OneHot, TotalVariation
from redistill.sources.variants import Variant
from redistill.terms import KD, LogitDistance
from redistill.terms.kd import Reduction
from redistill.values import Value

Form = Literal["kl", "l1", "js", "agreed"]


def pulls(
    *,
    one_hot: float = 0.0,
    target: Literal["teacher", "label"] = "teacher",
    activation: float = 0.0,
    entropy: float = 0.0,
    base: Literal["e", "10"] = "e",
    batch_norm: float = 0.0,
    adversarial: float = 0.0,
    form: Form = "kl",
    T: float = 1.0,
    reduction: Reduction = "batch",
    most: float | None = None,
    variation: float = 0.0,
    norm: float = 0.0,
) -> Method:
    """The weighted sum that pulls at images made without data; a weight of 0 leaves its loss out.

    Args:
        one_hot, target: cross-entropy of the teacher's answer against its own class or against the ``"label"`` that was asked for.
        activation: of the activation norm. entropy, base: of the information entropy, and its logarithm. batch_norm: of the distance
            of statistics. variation, norm: of the image's total variation and length.
        adversarial: how much the student's disagreement is sought. form: as KL (``reduction``: "batch": sum over classes, mean
            over images; "element": mean over both), or a form of :class:`redistill.terms.LogitDistance`. T: its temperature.
            most: its bound.

    Raises:
        RedistillError: no weight is above 0.
    """
    away: Term = KD(T=T, reduction=reduction, scale_T2=T != 1) if form == "kl" else LogitDistance(form=form, T=T, most=most)
    rows: list[tuple[float, Term]] = [
        (one_hot, OneHot(target=target)),
        (activation, ActivationNorm()),
        (entropy, InformationEntropy(base=base)),
        (batch_norm, BatchNormStatistics()),
        (-adversarial, away),
        (variation, TotalVariation()),
        (norm, ImageNorm()),
    ]
    if form == "kl" and most is not None:
        raise RedistillError(f"most={most}: only the forms of LogitDistance ('l1', 'js', 'agreed') can be bounded, form is 'kl'")
    kept = [(weight, term) for weight, term in rows if weight]
    if not kept:
        raise RedistillError("nothing pulls at the images: every weight is 0 (one_hot, activation, entropy, batch_norm, adversarial ...)")
    return Method(kept)


class GeneratorLosses(Value):
    """What a generator minimises, as settings of a source.

    Args:
        one_hot: weight of the cross-entropy of the teacher's answer with its own class; 0 leaves it out, and so do those below.
        activation: weight of the size of the teacher's last feature, which is to be large. entropy: weight of the information entropy
            of a batch's classes, which is to be large. batch_norm: weight of the distance from the statistics in the teacher's batch norms.
            variation: weight of the images' total variation.
        entropy_base: of the logarithm in ``entropy``, ``"e"`` or ``"10"``.
        adversarial: weight of the student's disagreement, which is sought. form: of that disagreement, ``"kl"``, ``"l1"``, ``"js"`` or
            ``"agreed"``. T: its temperature. reduction: of "kl". most: its bound; None: none.
    """

    one_hot: float = Field(default=0.0, ge=0)
    activation: float = Field(default=0.0, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    entropy_base: Literal["e", "10"] = "e"
    batch_norm: float = Field(default=0.0, ge=0)
    T: float = Field(default=1.0, gt=0)
    adversarial: float = Field(default=0.0, ge=0)
    form: Form = "kl"
    reduction: Literal["element", "batch"] = "batch"
    most: float | None = Field(default=None, gt=0)
    variation: float = Field(default=0.0, ge=0)

    def pulled(self) -> Method:
        """Their weighted sum."""
        return pulls(
            one_hot=self.one_hot, activation=self.activation, entropy=self.entropy, base=self.entropy_base, batch_norm=self.batch_norm,
            adversarial=self.adversarial, form=self.form, T=self.T, reduction=self.reduction, most=self.most, variation=self.variation,
        )  # fmt: skip


def _dafl() -> Method:
    return pulls(one_hot=1.0, activation=0.1, entropy=5.0, base="10")


def _dfad() -> Method:
    return pulls(adversarial=1.0, form="l1")


def dafl_variant(**change: Any) -> Variant:
    """The switches of DAFL-train.py: one step each, on the same images, Adam at 0.02, no bound on gradients."""
    return Variant(**{"n_S": 1, "images": "before", "lr": 0.02, "decay": "constant", "clip": None, **change})


def dfad_variant(**change: Any) -> Variant:
    """The switches of DFAD_cifar.py: five steps of the student on new images, then one of the generator; its two drops are the preset's."""
    return Variant(**{"n_S": 5, "first": "student", "noise": "fresh", "lr": 1e-3, "decay": "constant", "clip": None, **change})


@dataclass(eq=False)
class DAFL(Adversarial):
    """Data-free learning of student networks. The settings are those of :class:`Adversarial`; these differ:

    Args:
        variant: default: :func:`dafl_variant`.
        method: default: one hot + 0.1 activation norm + 5 information entropy (base 10), as the code.
    """

    variant: Variant = field(default_factory=dafl_variant)
    method: Method | Term = field(default_factory=_dafl)
    blocks: int = 240_000

    kind: ClassVar[str] = "dafl"


@dataclass(eq=False)
class DFAD(Adversarial):
    """Data-free adversarial distillation. The settings are those of :class:`Adversarial`; these differ:

    Args:
        variant: default: :func:`dfad_variant`.
        method: default: minus the mean absolute difference of logits. The student's own is ``redistill.terms.LogitDistance()``.
    """

    variant: Variant = field(default_factory=dfad_variant)
    method: Method | Term = field(default_factory=_dfad)
    blocks: int = 25_000

    kind: ClassVar[str] = "dfad"
