"""mdistiller's yaml (megvii-research/mdistiller@a08d46f) as an experiment of ours.

What its file leaves out stands in its ``engine/cfg.py``; those defaults are filled in and told. Networks, places and schedules are
those of RepDistiller, which it grew out of: feature terms compare the three groups, four of VGG and MobileNetV2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, cut, nearest
from redistill.published.elsewhere import MD, Parts, row, term
from redistill.published.repdistiller import grouped, network
from redistill.published.translated import Theirs, Translation

DEFAULTS: Mapping[str, Any] = {
    "DATASET.TYPE": "cifar100", "DISTILLER.TYPE": "NONE", "DISTILLER.TEACHER": "ResNet50", "DISTILLER.STUDENT": "resnet32",
    "SOLVER.TRAINER": "base", "SOLVER.BATCH_SIZE": 64, "SOLVER.EPOCHS": 240, "SOLVER.LR": 0.05, "SOLVER.LR_DECAY_STAGES": [150, 180, 210],
    "SOLVER.LR_DECAY_RATE": 0.1, "SOLVER.WEIGHT_DECAY": 1e-4, "SOLVER.MOMENTUM": 0.9, "SOLVER.TYPE": "SGD",
    "KD.TEMPERATURE": 4, "KD.LOSS.CE_WEIGHT": 0.1, "KD.LOSS.KD_WEIGHT": 0.9,
    "AT.P": 2, "AT.LOSS.CE_WEIGHT": 1.0, "AT.LOSS.FEAT_WEIGHT": 1000.0,
    "RKD.DISTANCE_WEIGHT": 25, "RKD.ANGLE_WEIGHT": 50, "RKD.LOSS.CE_WEIGHT": 1.0, "RKD.LOSS.FEAT_WEIGHT": 1.0, "RKD.PDIST.EPSILON": 1e-12,
    "RKD.PDIST.SQUARED": False,
    "FITNET.HINT_LAYER": 2, "FITNET.LOSS.CE_WEIGHT": 1.0, "FITNET.LOSS.FEAT_WEIGHT": 100.0,
    "OFD.LOSS.CE_WEIGHT": 1.0, "OFD.LOSS.FEAT_WEIGHT": 0.001, "OFD.CONNECTOR.KERNEL_SIZE": 1,
    "NST.LOSS.CE_WEIGHT": 1.0, "NST.LOSS.FEAT_WEIGHT": 50.0, "PKT.LOSS.CE_WEIGHT": 1.0, "PKT.LOSS.FEAT_WEIGHT": 30000.0,
    "SP.LOSS.CE_WEIGHT": 1.0, "SP.LOSS.FEAT_WEIGHT": 3000.0,
    "VID.LOSS.CE_WEIGHT": 1.0, "VID.LOSS.FEAT_WEIGHT": 1.0, "VID.EPS": 1e-5, "VID.INIT_PRED_VAR": 5.0,
    "CRD.MODE": "exact", "CRD.FEAT.DIM": 128, "CRD.LOSS.CE_WEIGHT": 1.0, "CRD.LOSS.FEAT_WEIGHT": 0.8, "CRD.NCE.K": 16384,
    "CRD.NCE.MOMENTUM": 0.5, "CRD.NCE.TEMPERATURE": 0.07,
    "REVIEWKD.CE_WEIGHT": 1.0, "REVIEWKD.REVIEWKD_WEIGHT": 1.0, "REVIEWKD.WARMUP_EPOCHS": 20,
    "REVIEWKD.STU_PREACT": False,
    "DKD.CE_WEIGHT": 1.0, "DKD.ALPHA": 1.0, "DKD.BETA": 8.0, "DKD.T": 4.0, "DKD.WARMUP": 20,
}  # fmt: skip
TYPES = ("NONE", "KD", "AT", "FITNET", "VID", "RKD", "SP", "NST", "PKT", "CRD", "OFD", "REVIEWKD", "DKD")


def translated(given: Mapping[str, Any], path: Path, weights: Path | None = None) -> Translation:
    """An experiment from what its yaml at ``path`` holds; ``weights``: the file of the teacher, which the yaml does not name.

    Raises:
        RedistillError: no settings of this kind, or a method that is no term here.
    """
    theirs = Theirs(given, str(path), DEFAULTS)
    if not theirs.has("DISTILLER.TYPE"):
        has = cut(", ".join(theirs.given))
        raise RedistillError(f"{path}: a file of mdistiller has DISTILLER with TYPE, TEACHER and STUDENT; this one has {has}")
    kind = theirs.text("DISTILLER.TYPE")
    if kind not in TYPES:
        raise RedistillError(f"{path}: DISTILLER.TYPE {kind}: {nearest(kind, TYPES, 'method of mdistiller that is a term here')}")
    settings: dict[str, Any] = {"name": theirs.text("EXPERIMENT.TAG") if theirs.take("EXPERIMENT.TAG") else path.stem}
    student, teacher = theirs.text("DISTILLER.STUDENT"), theirs.text("DISTILLER.TEACHER")
    imagenet = theirs.text("DATASET.TYPE") == "imagenet"
    if kind != "NONE":
        _network(theirs, settings, "teacher", "DISTILLER.TEACHER", teacher, imagenet)
        if weights is not None:
            settings.setdefault("teacher", {})["from"] = str(weights)
        else:
            theirs.note("DISTILLER.TEACHER", "no file of its weights is named: write from = \"FILE\" below [teacher] (--teacher-weights)")
    _network(theirs, settings, "student", "DISTILLER.STUDENT", student, imagenet)
    settings["method"] = [dict(part) for part in grouped(_method(theirs, kind), student, teacher)]
    if theirs.text("DATASET.TYPE") == "cifar100":
        settings["source"] = {"data": "cifar100"}
    else:
        theirs.note("DATASET.TYPE", f"{theirs.text('DATASET.TYPE')}: write [source] with data = \"folder:DIR\", and its augmentation")
    settings["recipe"] = _recipe(theirs)
    for key in ("EXPERIMENT.PROJECT", "EXPERIMENT.NAME", "LOG"):
        theirs.needless(key, "for its logs alone")
    for key in ("DATASET.NUM_WORKERS", "DATASET.TEST"):
        theirs.needless(key, "how it loads and tests, which moves no number here")
    theirs.note("(everywhere)", "it reports the best epoch on the test set; here `last` is the last one, `best` beside it")
    if assumed := theirs.assumed():
        theirs.note(", ".join(assumed), "not in the file: mdistiller's defaults")
    theirs.rest()
    return Translation(f"mdistiller's {path.name}", settings, tuple(theirs.notes))


def _network(theirs: Theirs, settings: dict[str, Any], role: str, key: str, name: str, imagenet: bool) -> None:
    known = {"ResNet18": "torchvision:resnet18", "ResNet34": "torchvision:resnet34", "ResNet50": "torchvision:resnet50"}
    found = known.get(name) if imagenet else network(name)
    if found is None:
        theirs.note(key, f"{name}: no network here is known to be this one; write model = below [{role}]")
    else:
        settings[role] = {"model": found}


def _method(theirs: Theirs, kind: str) -> Parts:
    def of(*names: str) -> dict[str, float]:
        return {name.rpartition(".")[2]: theirs.number(f"{kind}.{name}") for name in names}

    def beside(use: str, **more: Any) -> Parts:
        return term("CE", theirs.number(f"{kind}.LOSS.CE_WEIGHT")), term(use, theirs.number(f"{kind}.LOSS.FEAT_WEIGHT"), **more)

    feats = ("LOSS.CE_WEIGHT", "LOSS.FEAT_WEIGHT")
    if kind == "NONE":
        return (term("CE", 1.0),)
    if kind == "KD":
        return row(MD, "KD").ours(of("TEMPERATURE", "LOSS.CE_WEIGHT", "LOSS.KD_WEIGHT"))
    if kind == "AT":
        return row(MD, "AT").ours(of("P", *feats))
    if kind == "VID":
        theirs.note("VID", "its variances stand in a plain list and are never trained: train_variance = false; true is the method")
        theirs.needless("VID.INPUT_SIZE", "follows from the images here")
        return row(MD, "VID").ours(of("EPS", "INIT_PRED_VAR", *feats))
    if kind == "FITNET":
        layer = theirs.whole("FITNET.HINT_LAYER")
        if layer < 1:
            raise RedistillError(f"{theirs.where}: FITNET.HINT_LAYER {layer} is the stem, whose size ours do not share: a stage, from 1 on")
        theirs.needless("FITNET.INPUT_SIZE", "follows from the images here")
        ce, hint = row(MD, "hint").ours(of(*feats))
        return ce, {**hint, "at": f"stage{layer}"}
    if kind == "RKD":
        if theirs.take("RKD.PDIST.SQUARED") is not False or theirs.number("RKD.PDIST.EPSILON") != 1e-12:
            theirs.note("RKD.PDIST", "not translated: distances here are not squared, and no floor is set")
        return beside("RKD", distance=theirs.number("RKD.DISTANCE_WEIGHT"), angle=theirs.number("RKD.ANGLE_WEIGHT"))
    if kind == "CRD":
        positive = {"exact": "image", "relax": "class"}.get(theirs.text("CRD.MODE"))
        if positive is None:
            raise RedistillError(f"{theirs.where}: CRD.MODE must be exact or relax, it is {theirs.text('CRD.MODE')}")
        theirs.needless("CRD.FEAT.STUDENT_DIM", "follows from the network here")
        theirs.needless("CRD.FEAT.TEACHER_DIM", "follows from the network here")
        return beside(
            "CRD", dim=theirs.whole("CRD.FEAT.DIM"), K=theirs.whole("CRD.NCE.K"), T=theirs.number("CRD.NCE.TEMPERATURE"),
            momentum=theirs.number("CRD.NCE.MOMENTUM"), positive=positive,
        )  # fmt: skip
    if kind == "OFD":
        factor, size = theirs.number("OFD.LOSS.FEAT_WEIGHT"), theirs.whole("OFD.CONNECTOR.KERNEL_SIZE")
        return term("CE", theirs.number("OFD.LOSS.CE_WEIGHT")), term("OFD", 1.0, factor=factor, kernel_size=size)
    if kind == "REVIEWKD":
        for name in ("SHAPES", "OUT_SHAPES", "IN_CHANNELS", "OUT_CHANNELS"):
            theirs.needless(f"REVIEWKD.{name}", "follows from the networks here")
        theirs.needless("REVIEWKD.MAX_MID_CHANNEL", "its code reads it and takes 512, as here")
        if theirs.take("REVIEWKD.STU_PREACT") is not False:
            theirs.note("REVIEWKD.STU_PREACT", "not translated: the student is read as its places say; name others with at")
        return (
            term("CE", theirs.number("REVIEWKD.CE_WEIGHT")),
            {"use": "Review", "weight": _warm(theirs.number("REVIEWKD.REVIEWKD_WEIGHT"), theirs.whole("REVIEWKD.WARMUP_EPOCHS"))},
        )
    if kind == "DKD":
        ours = {"alpha": theirs.number("DKD.ALPHA"), "beta": theirs.number("DKD.BETA"), "T": theirs.number("DKD.T")}
        return term("CE", theirs.number("DKD.CE_WEIGHT")), {"use": "DKD", "weight": _warm(1.0, theirs.whole("DKD.WARMUP")), **ours}
    return beside(kind)


def _warm(weight: float, epochs: int) -> dict[str, Any]:
    """min(epoch / epochs, 1) with epochs from 1: our epoch 0 is theirs of number 1."""
    return {"start": -1.0, "end": float(max(1, epochs)) - 1.0, "last": weight}


def _recipe(theirs: Theirs) -> dict[str, Any]:
    if theirs.text("SOLVER.TRAINER") != "base" and not (theirs.take("SOLVER.TRAINER") == "crd" and theirs.take("DISTILLER.TYPE") == "CRD"):
        theirs.note("SOLVER.TRAINER", f"{theirs.take('SOLVER.TRAINER')}: not translated, the file below trains by plain SGD")
    if theirs.text("SOLVER.TYPE") != "SGD":
        theirs.note("SOLVER.TYPE", f"{theirs.take('SOLVER.TYPE')}: mdistiller itself knows SGD alone")
    stages = sorted(set(theirs.numbers("SOLVER.LR_DECAY_STAGES")))
    made: dict[str, Any] = {
        "epochs": theirs.whole("SOLVER.EPOCHS"), "batch_size": theirs.whole("SOLVER.BATCH_SIZE"), "lr": theirs.number("SOLVER.LR"),
        "momentum": theirs.number("SOLVER.MOMENTUM"), "weight_decay": theirs.number("SOLVER.WEIGHT_DECAY"),
    }  # fmt: skip
    gamma = theirs.number("SOLVER.LR_DECAY_RATE")
    if stages:
        made["schedule"] = {"kind": "multistep", "at": stages, "gamma": gamma}
    return made
