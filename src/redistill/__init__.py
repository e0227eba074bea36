"""redistill: distil neural networks, and find out whether a paper's number is true.

The public names, loaded when first used, so that ``redistill --help`` never waits for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "core", "Context": "core", "Method": "core", "Output": "core", "Place": "core", "Ramp": "core",
    "RedistillError": "core", "Source": "core", "Term": "core",
    "Recipe": "recipe", "Constant": "recipe", "Step": "recipe", "MultiStep": "recipe", "Cosine": "recipe",
    "Tapped": "features.tapped", "context": "features.places", "places_of": "features.places",
    "CE": "terms", "KD": "terms", "FitNet": "terms", "AT": "terms", "VID": "terms", "Review": "terms", "Anchor": "terms",
    "DKD": "terms", "DIST": "terms", "SP": "terms", "NST": "terms", "FSP": "terms", "RKD": "terms", "PKT": "terms", "CC": "terms",
    "CRD": "terms", "AB": "terms", "FT": "terms", "OFD": "terms",
    "Loop": "train.loop", "Result": "train.result", "Diverged": "train.result", "fit": "train.loop", "fit_cohort": "train.loop",
    "accuracy": "metrics", "agreement": "metrics", "evaluate": "metrics", "predict": "metrics",
    "Experiment": "experiment.value", "Store": "runs.store", "Run": "runs.store",
}  # fmt: skip

_ROOMS = ("belief", "claims", "data", "models", "sources", "terms", "rng", "stats", "testing")

__all__ = [  # by hand, so that editors see them; a test compares it with the table above
    "AB",
    "AT",
    "CC",
    "CE",
    "CRD",
    "DIST",
    "DKD",
    "FSP",
    "FT",
    "KD",
    "NST",
    "OFD",
    "PKT",
    "RKD",
    "SP",
    "VID",
    "Anchor",
    "Batch",
    "Constant",
    "Context",
    "Cosine",
    "Diverged",
    "Experiment",
    "FitNet",
    "Loop",
    "Method",
    "MultiStep",
    "Output",
    "Place",
    "Ramp",
    "Recipe",
    "RedistillError",
    "Result",
    "Review",
    "Run",
    "Source",
    "Step",
    "Store",
    "Tapped",
    "Term",
    "__version__",
    "accuracy",
    "agreement",
    "belief",
    "claims",
    "context",
    "data",
    "evaluate",
    "fit",
    "fit_cohort",
    "models",
    "places_of",
    "predict",
    "rng",
    "sources",
    "stats",
    "terms",
    "testing",
]

if TYPE_CHECKING:
    from redistill import belief, claims, data, models, rng, sources, stats, terms, testing
    from redistill.core import Batch, Context, Method, Output, Place, Ramp, RedistillError, Source, Term
    from redistill.experiment.value import Experiment
    from redistill.features.places import context, places_of
    from redistill.features.tapped import Tapped
    from redistill.metrics import accuracy, agreement, evaluate, predict
    from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step
    from redistill.runs.store import Run, Store
    from redistill.terms import AB, AT, CC, CE, CRD, DIST, DKD, FSP, FT, KD, NST, OFD, PKT, RKD, SP, VID, Anchor, FitNet, Review
    from redistill.train.loop import Loop, fit, fit_cohort
    from redistill.train.result import Diverged, Result


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
