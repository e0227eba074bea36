"""The formulas: one file a paper's term, all settings as named arguments, no weights."""

from __future__ import annotations

from redistill.core import RedistillError, Term, nearest
from redistill.terms.abf import ABF, Cascade, DirectFusion, Transform
from redistill.terms.anchor import Anchor, distance_from
from redistill.terms.at import AT, attention_distance, attention_map
from redistill.terms.ce import CE, cross_entropy
from redistill.terms.fitnet import FitNet, Regressor, hint_distance
from redistill.terms.generator import Consistency, Diversity, StudentEntropy, TeacherEntropy
from redistill.terms.kd import KD, softened_kl
from redistill.terms.pyramid import Pyramid, context_loss, hcl
from redistill.terms.review import Review
from redistill.terms.vid import VID, VariationalHead, vid_loss

ALL: tuple[type[Term], ...] = (CE, KD, FitNet, AT, VID, Review, Anchor, TeacherEntropy, StudentEntropy, Consistency, Diversity)

__all__ = [
    "ABF",
    "ALL",
    "AT",
    "CE",
    "KD",
    "VID",
    "Anchor",
    "Cascade",
    "Consistency",
    "DirectFusion",
    "Diversity",
    "FitNet",
    "Pyramid",
    "Regressor",
    "Review",
    "StudentEntropy",
    "TeacherEntropy",
    "Transform",
    "VariationalHead",
    "attention_distance",
    "attention_map",
    "by_name",
    "context_loss",
    "cross_entropy",
    "distance_from",
    "hcl",
    "hint_distance",
    "softened_kl",
    "vid_loss",
]


def by_name(name: str) -> type[Term]:
    """The term that a file calls ``name``, or a sentence with the nearest names."""
    table = {cls.__name__: cls for cls in ALL}
    if name not in table:
        raise RedistillError(nearest(name, table, "term"))
    return table[name]
