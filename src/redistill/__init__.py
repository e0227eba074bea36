"""redistill: distil neural networks, and find out whether a paper's number is true.

The public names, loaded when first used, so that ``redistill --help`` never waits for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from redistill import _moved

__version__ = "0.1.0"

_HOME = {
    "Batch": "core", "Context": "core", "Method": "core", "Output": "core", "Place": "core", "Ramp": "core",
    "RedistillError": "core", "Source": "core", "Term": "core",
    "Recipe": "recipe", "Constant": "recipe", "Step": "recipe", "MultiStep": "recipe", "Cosine": "recipe",
    "Tapped": "features.tapped", "context": "features.places", "places_of": "features.places",
    "CE": "terms", "KD": "terms", "FitNet": "terms", "AT": "terms", "VID": "terms", "Review": "terms", "Anchor": "terms",
    "DKD": "terms", "DIST": "terms", "SP": "terms", "NST": "terms", "FSP": "terms", "RKD": "terms", "PKT": "terms", "CC": "terms",
    "CRD": "terms", "AB": "terms", "FT": "terms", "OFD": "terms", "NKD": "terms", "CTKD": "terms", "MLKD": "terms",
    "CATKD": "terms", "ICKD": "terms", "SRRL": "terms", "SimKD": "terms", "OFA": "terms", "DeiT": "terms",
    "Loop": "train.loop", "Result": "train.result", "Diverged": "train.result", "fit": "launch.fit", "fit_cohort": "launch.fit",
    "accuracy": "metrics", "agreement": "metrics", "evaluate": "metrics", "predict": "metrics",
    "Experiment": "experiment.value", "Store": "runs.store", "Run": "runs.store",
}  # fmt: skip

_ROOMS = ("belief", "claims", "data", "distill", "models", "sources", "terms", "rng", "stats", "testing")

__all__ = ["__version__", *_HOME, *_ROOMS]  # noqa: PLE0604 - the keys of a table are strings

if TYPE_CHECKING:  # the same names for editors and type checkers, which read no table; a test compares the two
    from redistill import belief as belief
    from redistill import claims as claims
    from redistill import data as data
    from redistill import distill as distill
    from redistill import models as models
    from redistill import rng as rng
    from redistill import sources as sources
    from redistill import stats as stats
    from redistill import terms as terms
    from redistill import testing as testing
    from redistill.core import Batch as Batch
    from redistill.core import Context as Context
    from redistill.core import Method as Method
    from redistill.core import Output as Output
    from redistill.core import Place as Place
    from redistill.core import Ramp as Ramp
    from redistill.core import RedistillError as RedistillError
    from redistill.core import Source as Source
    from redistill.core import Term as Term
    from redistill.experiment.value import Experiment as Experiment
    from redistill.features.places import context as context
    from redistill.features.places import places_of as places_of
    from redistill.features.tapped import Tapped as Tapped
    from redistill.launch.fit import fit as fit
    from redistill.launch.fit import fit_cohort as fit_cohort
    from redistill.metrics import accuracy as accuracy
    from redistill.metrics import agreement as agreement
    from redistill.metrics import evaluate as evaluate
    from redistill.metrics import predict as predict
    from redistill.recipe import Constant as Constant
    from redistill.recipe import Cosine as Cosine
    from redistill.recipe import MultiStep as MultiStep
    from redistill.recipe import Recipe as Recipe
    from redistill.recipe import Step as Step
    from redistill.runs.store import Run as Run
    from redistill.runs.store import Store as Store
    from redistill.terms import AB as AB
    from redistill.terms import AT as AT
    from redistill.terms import CATKD as CATKD
    from redistill.terms import CC as CC
    from redistill.terms import CE as CE
    from redistill.terms import CRD as CRD
    from redistill.terms import CTKD as CTKD
    from redistill.terms import DIST as DIST
    from redistill.terms import DKD as DKD
    from redistill.terms import FSP as FSP
    from redistill.terms import FT as FT
    from redistill.terms import ICKD as ICKD
    from redistill.terms import KD as KD
    from redistill.terms import MLKD as MLKD
    from redistill.terms import NKD as NKD
    from redistill.terms import NST as NST
    from redistill.terms import OFA as OFA
    from redistill.terms import OFD as OFD
    from redistill.terms import PKT as PKT
    from redistill.terms import RKD as RKD
    from redistill.terms import SP as SP
    from redistill.terms import SRRL as SRRL
    from redistill.terms import VID as VID
    from redistill.terms import Anchor as Anchor
    from redistill.terms import DeiT as DeiT
    from redistill.terms import FitNet as FitNet
    from redistill.terms import Review as Review
    from redistill.terms import SimKD as SimKD
    from redistill.train.loop import Loop as Loop
    from redistill.train.result import Diverged as Diverged
    from redistill.train.result import Result as Result

_moved.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"redistill.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"redistill.{name}")
    else:
        import difflib

        close = difflib.get_close_matches(name, __all__, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise AttributeError(f"module 'redistill' has no attribute {name!r}{hint}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
