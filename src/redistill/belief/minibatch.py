"""The relative transition error of the TensorFlow reproduction (Lin, Tan & Chalumuri 2019), as its code computes it.

Images on which student A and teacher B agree are moved towards every class but the predicted one by the student's gradient, as in
:mod:`redistill.belief`; but the error is one of the mean beliefs p̄ over images and classes, over the largest of them:

    relative MTE = 1/K Σ_k |p̄^A(k) - p̄^B(k)| / max_k max(p̄^A(k), p̄^B(k))

The switches say where the report's words and its code (``belief_match.py``, ``belief_match/plt_rel_curve.py`` of
chris4540/DD2412-adl-proj) part:

==========  ============================================  ===================================================================
switch      the report                                    its code
==========  ============================================  ===================================================================
gradient    of the cross-entropy                          of -log of a probability that is cut to [1e-7, 1 - 1e-7] (Keras): 0
                                                          where p_j < 1e-7, so that an image of a sure student never moves
images      test images on which both agree, each away    positions *within* batches of M images are taken for positions in the
            from its own predicted class                  whole sample: images of the first batch, away from the class
                                                          predicted for another one; the last of all is left out
==========  ============================================  ===================================================================

"The mean direction over the whole batch" of the report times the number of images is each image's own gradient. Its printed curves
show both differences: they start at 0.09, which images kept away from their own class cannot, and stay at 0.18 and 0.41 for students
of real images. The reproduction printed 0.22 / 0.58 / 0.40; its stored curves give 0.22 / 0.58 / 0.40 by the formula above.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.belief import Pictures, Transition, adversarial_trajectory, check_walk, seeing, target_classes
from redistill.errors import RedistillError
from redistill.features.modes import evaluating
from redistill.features.outputs import require_finite
from redistill.precision import unrounded

KERAS_EPSILON = 1e-7  # tf.keras.backend.epsilon()
ACCEPTED = 1e-4  # their balance_sampling: an image is looked at with probability (1 + this) / classes

Images = Literal["report", "code"]
Gradient = Literal["report", "code"]


def relative(transition: Transition) -> float:
    """Their relative mean transition error of a transition: 0 the same mean beliefs, about 1 where the other network never moves."""
    attacked, other = transition.curve("attacked"), transition.curve("other")
    return float((attacked - other).abs().mean() / torch.maximum(attacked, other).max())


def minibatch_transition(
    student: nn.Module,
    teacher: nn.Module,
    images: Pictures,
    *,
    per_class: int = 100,
    K: int = 100,
    rate: float = 1.0,
    gradient: Gradient = "code",
    pick: Images = "code",
    seed: int = 0,
) -> Transition:
    """Beliefs of a student and its teacher on the student's way, by the reproduction's minibatch algorithm.

    Args:
        images: an evaluation set with labels, in the normalisation in which steps are taken.
        per_class: M, images a class of a sample that goes through the set once, so that it may hold fewer. K, rate: steps and ξ.
        gradient, pick: ``"report"`` its words, ``"code"`` what it ran. seed: of the sample.

    Raises:
        RedistillError: no labels, K or ξ out of range, or no image on which both agree.
    """
    check_walk(K, rate)
    labels = images.all_labels
    if labels is None:
        raise RedistillError("the sample takes as many images of every class, and this set has no labels")
    parameter = next(student.parameters())
    chosen = _sample(labels.cpu(), per_class, seed)
    views = {"student": seeing(student, images.normalise), "teacher": seeing(teacher, images.normalise)}
    with evaluating(student, teacher):
        whole = torch.cat([b.images.cpu() for b in images.batches(per_class, parameter.device, parameter.dtype)])
        x = whole[chosen].to(parameter.device)
        with unrounded(x.device), torch.no_grad():
            logits = {n: torch.cat([require_finite(v(p), n, "a belief") for p in x.split(per_class)]) for n, v in views.items()}
        predicted = {name: z.argmax(1).cpu() for name, z in logits.items()}
        agree = (predicted["student"] == predicted["teacher"]).nonzero()[:, 0]
        if not len(agree):
            raise RedistillError(f"student and teacher predict the same class on none of the {len(chosen)} images")
        called = predicted["student"][agree]
        where = agree if pick == "report" else agree % per_class
        order = called.sort(stable=True).indices
        order = order if pick == "report" or len(order) == 1 else order[:-1]
        targets = target_classes(called[order], logits["student"].shape[1])
        p = adversarial_trajectory(
            views["student"], [views["teacher"]], x[where[order].to(x.device)], targets.to(x.device), K=K, rate=rate,
            least=0.0 if gradient == "report" else KERAS_EPSILON,
        )  # fmt: skip
    p = require_finite(p.cpu().double(), "a network on the way", "a belief")
    return Transition("student", "teacher", p[0], p[1], targets, chosen[where[order]], rate)


def _sample(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Positions of the sample, rising: each image is looked at by chance, and taken while its class has room."""
    classes = int(labels.max()) + 1
    looked = torch.rand(len(labels), generator=rng.stream(seed, "belief", "minibatch")) < (1 + ACCEPTED) / classes
    room = [per_class] * classes
    taken = []
    for at in looked.nonzero()[:, 0].tolist():
        if room[int(labels[at])] > 0:
            room[int(labels[at])] -= 1
            taken.append(at)
    if not taken:
        raise RedistillError(f"the sample of {per_class} images a class is empty: of {len(labels)} images it looks at one of {classes}")
    return torch.tensor(taken)
