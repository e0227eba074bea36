"""The formulas: one file a paper's term, all settings as named arguments, no weights."""

from __future__ import annotations

import inspect
import re
import sys

from redistill.core import RedistillError, Term, nearest
from redistill.terms.ab import AB, boundary_distance
from redistill.terms.anchor import Anchor, distance_from
from redistill.terms.at import AT, attention_distance, attention_map
from redistill.terms.catkd import CATKD, activation_maps, attention_gap
from redistill.terms.cc import CC, neighbour_congruence
from redistill.terms.ce import CE, cross_entropy
from redistill.terms.crd import CRD, contrast
from redistill.terms.ctkd import CTKD
from redistill.terms.deit import DeiT
from redistill.terms.dist import DIST, pearson
from redistill.terms.dkd import DKD, others_kl, target_kl
from redistill.terms.fitnet import FitNet, Regressor, hint_distance
from redistill.terms.fsp import FSP, flow
from redistill.terms.ft import FT, Paraphraser, Translator, factor_distance
from redistill.terms.generator import Consistency, Diversity, StudentEntropy, TeacherEntropy
from redistill.terms.ickd import ICKD, channel_correlation, correlation_distance
from redistill.terms.kd import KD, softened_kl, standardised
from redistill.terms.logits import LogitDistance, agreed_kl, bounded_js
from redistill.terms.mlkd import MLKD, batch_gram, class_gram, multi_level
from redistill.terms.nkd import NKD
from redistill.terms.nst import NST, discrepancy, selectivity
from redistill.terms.ofa import OFA, target_enhanced
from redistill.terms.ofd import OFD, margins, partial_distance
from redistill.terms.parts.abf import ABF, Cascade, DirectFusion, Transform
from redistill.terms.parts.pyramid import Pyramid, context_loss, hcl
from redistill.terms.pkt import PKT, neighbours
from redistill.terms.review import Review
from redistill.terms.rkd import RKD, angles, relative_distances
from redistill.terms.simkd import SimKD, projected_distance
from redistill.terms.sp import SP, similarities
from redistill.terms.srrl import SRRL
from redistill.terms.vid import VID, VariationalHead, vid_loss

ALL: tuple[type[Term], ...] = (
    CE, KD, DKD, NKD, DIST, MLKD, CTKD, FitNet, AT, SP, NST, FSP, RKD, PKT, CC, CRD, VID, AB, FT, OFD, Review, CATKD, ICKD, SRRL,
    SimKD, OFA, DeiT, Anchor,
    LogitDistance, TeacherEntropy, StudentEntropy, Consistency, Diversity,
)  # fmt: skip

__all__ = [
    "AB",
    "ABF",
    "ALL",
    "AT",
    "CATKD",
    "CC",
    "CE",
    "CRD",
    "CTKD",
    "DIST",
    "DKD",
    "FSP",
    "FT",
    "ICKD",
    "KD",
    "MLKD",
    "NKD",
    "NST",
    "OFA",
    "OFD",
    "PKT",
    "RKD",
    "SP",
    "SRRL",
    "VID",
    "Anchor",
    "Cascade",
    "Consistency",
    "DeiT",
    "DirectFusion",
    "Diversity",
    "FitNet",
    "LogitDistance",
    "Paraphraser",
    "Pyramid",
    "Regressor",
    "Review",
    "SimKD",
    "StudentEntropy",
    "TeacherEntropy",
    "Transform",
    "Translator",
    "VariationalHead",
    "activation_maps",
    "agreed_kl",
    "angles",
    "attention_distance",
    "attention_gap",
    "attention_map",
    "batch_gram",
    "boundary_distance",
    "bounded_js",
    "by_name",
    "channel_correlation",
    "class_gram",
    "context_loss",
    "contrast",
    "correlation_distance",
    "cross_entropy",
    "discrepancy",
    "distance_from",
    "factor_distance",
    "flow",
    "hcl",
    "hint_distance",
    "margins",
    "multi_level",
    "neighbour_congruence",
    "neighbours",
    "others_kl",
    "partial_distance",
    "pearson",
    "projected_distance",
    "relative_distances",
    "selectivity",
    "similarities",
    "softened_kl",
    "standardised",
    "target_enhanced",
    "target_kl",
    "vid_loss",
]


def by_name(name: str) -> type[Term]:
    """The term that a file calls ``name``, or a sentence with the nearest names."""
    table = {cls.__name__: cls for cls in ALL}
    if name not in table:
        raise RedistillError(nearest(name, table, "term"))
    return table[name]


def _formula_first() -> None:
    """``help(KD)`` begins with the formula of its file: the indented lines at the top of the module, where it defines one term."""
    homes = [cls.__module__ for cls in ALL]
    for cls in ALL:
        formula = re.search(r"^(?:    .*\n)+", inspect.cleandoc(sys.modules[cls.__module__].__doc__ or ""), flags=re.MULTILINE)
        if formula and cls.__doc__ and homes.count(cls.__module__) == 1:
            cls.__doc__ = f"\n{formula[0]}\n{inspect.cleandoc(cls.__doc__)}\n"


_formula_first()
