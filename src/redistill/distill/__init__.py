"""From a folder of images and a teacher to a smaller network: the plan, the plain student beside it, and what it was worth.

    plan("digits", teacher="wrn-16-2", student="quarter", train_teacher=5).carry_out()
"""

from __future__ import annotations

from redistill.distill.family import Candidate, family
from redistill.distill.names import Named, named
from redistill.distill.plan import Plan
from redistill.distill.preflight import plan
from redistill.distill.results import Distilled

__all__ = ["Candidate", "Distilled", "Named", "Plan", "family", "named", "plan"]
