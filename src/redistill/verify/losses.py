"""Golden losses, computed with the package's own terms and modules: which method is computed where."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from redistill.verify import boundaries, features, logits, pairs, relations
from redistill.verify.computed import Computed
from redistill.verify.reader import Array, Case, NotSupported

METHODS: Mapping[str, Callable[[Case], Computed]] = {
    "kd": logits.kd,
    "kd_zagoruyko": logits.kd_zagoruyko,
    "kd_att_seed": logits.kd_att_seed,
    "zskt_student": logits.zskt_student,
    "zskt_student_seed": logits.zskt_student_seed,
    "zskt_generator": logits.zskt_generator,
    "extra_m_seed": logits.extra_m_seed,
    "dkd": relations.dkd,
    "lskd_kd": relations.lskd_kd,
    "lskd_dkd": relations.lskd_dkd,
    "dist": relations.dist,
    "dist_seg": relations.dist_seg,
    "rkd": relations.rkd,
    "pkt": relations.pkt,
    "cc": relations.cc,
    "crd": relations.crd,
    "sp": relations.sp,
    "nst": relations.nst,
    "fsp": relations.fsp,
    "ab": boundaries.ab,
    "ft": boundaries.ft,
    "ofd": boundaries.ofd,
    "mlkd": boundaries.mlkd,
    "at": features.at,
    "at_zagoruyko": features.at,
    "at_polo5": features.at,
    "at_seed": features.at,
    "fitnet": features.fitnet,
    "vid": features.vid,
    "abf": features.abf,
    "hcl": features.hcl,
    "reviewkd_framework": features.framework,
}


def compute(case: Case) -> dict[str, Tensor | Array]:
    """The ``out/``, ``grad/`` and ``after/`` arrays of a loss case."""
    if case.method.startswith("reviewkd_pair_"):
        return pairs.compute(case)
    if case.method not in METHODS:
        raise NotSupported(f"method {case.method} is not computed")
    return METHODS[case.method](case).arrays()
