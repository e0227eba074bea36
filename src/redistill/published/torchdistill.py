"""torchdistill's yaml (yoshitomo-matsubara/torchdistill@01038e7) as an experiment of ours: one stage of training for image classes.

Its losses are translated term by term: cross-entropy, ``KDLoss``, ``ATLoss``, ``SPKDLoss``; hints and VID hang on modules that the
same file builds, and are told. The names of its first releases (``type``, ``params``, ``factor``, ``GeneralizedCustomLoss``) are
understood like today's (``key``, ``kwargs``, ``weight``, ``WeightedSumLoss``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from redistill import models
from redistill.errors import RedistillError, cut
from redistill.published.elsewhere import term, torchdistill_kd
from redistill.published.translated import Theirs, Translation

DATA = ("cifar10", "cifar100")
KD_KEYS = frozenset(("student_module_path", "student_module_io", "teacher_module_path", "teacher_module_io", "temperature", "alpha", "beta",
                     "reduction"))  # fmt: skip


def translated(given: Mapping[str, Any], path: Path, weights: Path | None = None) -> Translation:
    """An experiment from what its yaml at ``path`` holds; ``weights``: the teacher's file in the place of the yaml's.

    Raises:
        RedistillError: no settings of this kind, several stages, or not one loss that is a term here.
    """
    theirs = Theirs(given, str(path))
    if not all(isinstance(given.get(key), Mapping) for key in ("train", "models")):
        has = cut(", ".join(theirs.given))
        raise RedistillError(f"{path}: a file of torchdistill has datasets, models and train; this one has {has}")
    if stages := [key for key in theirs.given["train"] if re.fullmatch(r"stage\d+", str(key))]:
        raise RedistillError(
            f"{path}: it trains in {len(stages)} stages, which are as many experiments here: give files of one stage each"
        )
    if not theirs.has("train.criterion"):
        raise RedistillError(f"{path}: train.criterion is missing: there is no loss to translate")
    settings: dict[str, Any] = {"name": path.stem}
    data = next((name for name in theirs.table("datasets") if name in DATA), None)
    teacher = "teacher_model" if theirs.has("models.teacher_model") else None
    for role, section in (("teacher", teacher), ("student", "student_model" if theirs.has("models.student_model") else "model")):
        if section is not None:
            _network(theirs, settings, role, f"models.{section}", data is not None)
    if weights is not None:
        settings.setdefault("teacher", {})["from"] = str(weights)
    elif teacher is not None and "from" not in settings.get("teacher", {}):
        theirs.note("models.teacher_model", "which file holds its weights here: write from = \"FILE\" below [teacher] (--teacher-weights)")
    settings["method"] = [dict(part) for part in _losses(theirs)]
    _source(theirs, settings, data)
    settings["recipe"] = _recipe(theirs)
    for key in ("train.val_data_loader", "test", "train.log_freq", "dependencies"):
        theirs.needless(key, "how it runs and tests, which is said otherwise here")
    _networks_run(theirs, teacher is not None)
    theirs.note("train.train_data_loader.batch_size", "of one process: with several, theirs is as many times as large")
    theirs.rest()
    return Translation(f"torchdistill's {path.name}", settings, tuple(theirs.notes))


def _networks_run(theirs: Theirs, taught: bool) -> None:
    """Of ``train.teacher`` and ``train.student``: what says how networks are run is passed over, what freezes or cuts them is not."""
    why = "how it runs, which is said otherwise here"
    for who in ("teacher", "student"):
        for name in ("wrapper", "forward_hook", "find_unused_parameters"):
            theirs.needless(f"train.{who}.{name}", why)
        for name, values in {"sequential": (None, []), "frozen_modules": (None, []), "adaptations": (None, {}), "special": (None, {}),
                             "forward_proc": (None, "forward_batch_only"), "requires_grad": (who == "student",)}.items():  # fmt: skip
            theirs.plain(f"train.{who}.{name}", values, why)
    if taught and not theirs.has("train.teacher.requires_grad"):
        theirs.note("train.teacher.requires_grad", "not in the file: the teacher is trained too there, and never here")


def _aside(theirs: Theirs, key: str, table: Mapping[str, Any], known: Sequence[str] = (), **plain: Any) -> None:
    """Say of whatever stands beside ``key`` and ``kwargs`` that it is not translated, where it is not as if it were not there."""
    for name, value in table.items():
        if name in ("key", "type", "name", "kwargs", "params", *known) or name.startswith("_") or value in (None, "", [], {}):
            continue
        if name not in plain or value != plain[name]:
            theirs.note(f"{key}.{name}", f"{cut(str(value))}: not translated")


def _table(value: Any) -> Mapping[str, Any]:
    """A table; an empty one where something else, or nothing, is written."""
    return value if isinstance(value, Mapping) else {}


def _named(value: Any) -> tuple[str, Mapping[str, Any]]:
    """``key`` and ``kwargs`` of something that is built, in either spelling."""
    table = _table(value)
    return str(table.get("key", table.get("type", table.get("name", "")))), _table(table.get("kwargs", table.get("params")))


def _network(theirs: Theirs, settings: dict[str, Any], role: str, key: str, small: bool) -> None:
    table = theirs.table(key)
    name, arguments = _named(table)
    ours: str | None = re.sub(r"^wide_resnet(\d+)_(\d+)$", r"wrn-\1-\2", name)
    if name == "wide_resnet" and {"depth", "k"} <= arguments.keys():
        ours = f"wrn-{arguments['depth']}-{arguments['k']}"
    if small:
        ours = ours if ours in models.names() or re.fullmatch(r"wrn-\d+-\d+", str(ours)) else None
    else:
        ours = f"torchvision:{name}" if re.fullmatch(r"[a-z][a-z0-9_]*", name) else None
    if ours is None:
        theirs.note(key, f"{name}: no network here is known to be this one; write model = below [{role}]")
    else:
        settings[role] = {"model": ours}
    for argument, value in arguments.items():
        if argument not in ("num_classes", "depth", "k", "progress") and value not in (False, 0, 0.0, None) and (role, argument) != (
            "teacher", "pretrained"
        ):  # fmt: skip
            theirs.note(f"{key}.{argument}", f"{cut(str(value))}: not translated")
    _aside(theirs, key, table, ("experiment", "ckpt", "src_ckpt", "dst_ckpt", "start_epoch"))
    file = table.get("src_ckpt", table.get("ckpt")) if role == "teacher" else None
    if role == "student" and table.get("src_ckpt"):
        theirs.note(f"{key}.src_ckpt", f"{cut(str(table['src_ckpt']))}: not translated, the student begins with these weights there")
    if file:
        theirs.note(f"{key}.ckpt", f"{cut(str(file))}: its own form of a checkpoint, wherever it lies; redistill evaluate FILE reads many")


# -- the loss -----------------------------------------------------------------------------------------------------------
def _losses(theirs: Theirs) -> Iterator[Mapping[str, Any]]:
    table = theirs.table("train.criterion")
    name, arguments = _named(table)
    _aside(theirs, "train.criterion", table, ("sub_terms", "org_term"), func2extract_org_loss="extract_simple_org_loss")
    if name not in ("WeightedSumLoss", "GeneralizedCustomLoss"):
        found = list(_loss(theirs, "train.criterion", name, arguments, 1.0))
    else:
        inside = arguments if "sub_terms" in arguments else table
        if inside is arguments:
            _aside(theirs, "train.criterion", arguments, ("sub_terms", "org_term"))
        terms = {**_table(inside.get("sub_terms")), **({"org_term": inside["org_term"]} if "org_term" in inside else {})}
        found = []
        for label, part in terms.items():
            where = f"train.criterion.{label}"
            criterion = part.get("criterion") if isinstance(part, Mapping) else None
            if not isinstance(criterion, Mapping):
                raise RedistillError(f"{theirs.where}: {where} has no criterion: its own code cannot read this file either")
            weight = theirs.real(f"{where}.weight", part.get("weight", part.get("factor")))
            _aside(theirs, where, part, ("criterion", "weight", "factor", "criterion_wrapper"))
            if (wrapped := part.get("criterion_wrapper")) is not None and not _of_labels(wrapped):
                theirs.note(where, "left out: its criterion_wrapper compares something else than the student's output with labels")
                continue
            found += _loss(theirs, where, *_named(criterion), weight)
    if not found:
        raise RedistillError(f"{theirs.where}: no loss of it is a term here: {'; '.join(f'{k}: {v}' for k, v in theirs.notes[-4:])}")
    return _together(found)


def _of_labels(wrapper: Any) -> bool:
    """Whether a wrapper of a loss gives it the student's output and the labels, as without one."""
    given = _named(wrapper)[1]
    source, target = _table(given.get("input")), _table(given.get("target"))
    plain = source.get("module_path", ".") == "." and source.get("io", "output") == "output" and not source.get("is_from_teacher")
    return plain and bool(target.get("uses_label"))


def _together(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Cross-entropies of one smoothing as one term: a KDLoss carries its own beside another."""
    seen: list[dict[str, Any]] = []
    for part in found:
        same = next((one for one in seen if part["use"] == "CE" and {**one, "weight": 0} == {**part, "weight": 0}), None)
        if same is None:
            seen.append(part)
        else:
            same["weight"] += part["weight"]
    return iter(seen)


def _loss(theirs: Theirs, where: str, name: str, given: Mapping[str, Any], weight: float) -> list[dict[str, Any]]:
    """The terms that one loss is, weighted; none, with a note, where it is none."""
    if name == "CrossEntropyLoss":
        for key, value in given.items():
            if key not in ("reduction", "label_smoothing") or (key == "reduction" and value != "mean"):
                theirs.note(f"{where}.{key}", f"{cut(str(value))}: not translated")
        smoothing = theirs.real(f"{where}.label_smoothing", given.get("label_smoothing", 0.0))
        return [term("CE", weight, **({"smoothing": smoothing} if smoothing else {}))]
    if name == "KDLoss":
        if given.get("reduction", "batchmean") not in ("batchmean", "mean"):
            theirs.note(f"{where}.reduction", f"{given['reduction']}: grows with the batch; not translated, KD left out")
            return []
        for key in ("temperature", *(one for one in ("alpha", "beta") if given.get(one) is not None)):
            theirs.real(f"{where}.{key}", given.get(key))
        _at_the_logits(theirs, where, given)
        for key in given.keys() - KD_KEYS:
            theirs.note(f"{where}.{key}", f"{cut(str(given[key]))}: not translated")
        return [{**part, "weight": part["weight"] * weight} for part in torchdistill_kd(given)]
    if name == "ATLoss":
        pairs = given.get("at_pairs")
        if not isinstance(pairs, Mapping) or not pairs:
            raise RedistillError(f"{theirs.where}: {where}: ATLoss needs at_pairs")
        form = {"code": "mean", "paper": "norm"}.get(str(given.get("mode", "code")))
        if form is None:
            raise RedistillError(f"{theirs.where}: {where}.mode must be code or paper, it is {given.get('mode')}")
        by_weight: dict[float, list[list[str]]] = {}
        for label, pair in pairs.items():
            each = theirs.real(f"{where}.{label}.weight", _table(pair).get("weight", _table(pair).get("factor", 1)))
            by_weight.setdefault(each, []).append(_pair(theirs, f"{where}.{label}", _table(pair)))
        more = {} if form == "mean" else {"form": form}
        return [term("AT", weight * each, at=at, **more) for each, at in by_weight.items()]
    if name == "SPKDLoss" and given.get("reduction") == "batchmean":
        paths = [given.get(f"{who}_output_path") for who in ("student", "teacher")]
        if not all(isinstance(path, str) for path in paths):
            raise RedistillError(f"{theirs.where}: {where}: SPKDLoss needs student_output_path and teacher_output_path")
        return [term("SP", weight, at=[list(map(_place, map(str, paths)))])]
    why = "its features go through modules that the yaml builds" if name in ("MSELoss", "VIDLoss") else "no term here is known to be it"
    theirs.note(where, f"{name}, weight {weight:g}: left out, {why} (docs/alpha.md has its formula where it is one of ours)")
    return []


def _at_the_logits(theirs: Theirs, where: str, given: Mapping[str, Any]) -> None:
    for who in ("student", "teacher"):
        path, io = given.get(f"{who}_module_path", "."), given.get(f"{who}_module_io", "output")
        if io != "output" or path not in (".", "fc", "linear", "classifier", "head"):
            theirs.note(f"{where}.{who}_module_path", f"{path} ({io}): KD here compares what the networks return")


def _pair(theirs: Theirs, where: str, pair: Mapping[str, Any]) -> list[str]:
    places = []
    for who in ("student", "teacher"):
        side = pair.get(who)
        if not isinstance(side, Mapping) or "path" not in side:
            raise RedistillError(f"{theirs.where}: {where} names no path of the {who}")
        if side.get("io", "output") != "output":
            theirs.note(f"{where}.{who}", f"io: {side['io']}: read at its output here")
        places.append(_place(str(side["path"])))
    return places


def _place(path: str) -> str:
    """``layer3`` of a ResNet is its stage 3; any other module is a place by its own name."""
    found = re.fullmatch(r"layer(\d)", path)
    return f"stage{found[1]}" if found else path


# -- images and optimiser -------------------------------------------------------------------------------------------------
def _source(theirs: Theirs, settings: dict[str, Any], data: str | None) -> None:
    names = ", ".join(theirs.table("datasets"))
    if data is None:
        theirs.note("datasets", f"{names}: write [source] with data = \"folder:DIR\", and its augmentation")
        return
    where, listed = _trained_on(theirs, data)
    transforms = [_named(one) for one in (listed if isinstance(listed, list) else ())]
    found: dict[str, Any] = {"data": data, "augment": "none"}
    flipped = False
    for name, given in transforms:
        if name == "Normalize":
            both = (theirs.reals(f"{where}, Normalize.{key}", given.get(key)) for key in ("mean", "std"))
            mean, std = (" ".join(f"{v:g}" if v.is_integer() else repr(v) for v in one) for one in both)
            found["normalise"] = f"torchdistill (mean {mean}, std {std})"
        elif name == "RandomHorizontalFlip" and given.get("p", 0.5) == 0.5:
            flipped = True
        elif name == "RandomCrop" and given.get("size") in (32, [32, 32]) and given.keys() == {"size", "padding"} and given["padding"] == 4:
            found["augment"] = "crop-flip:4"
        elif name != "ToTensor":
            theirs.note(where, f"{name}{f' ({cut(str(dict(given)))})' if given else ''}: not translated")
    if flipped != (found["augment"] == "crop-flip:4"):
        theirs.note(where, f"{'RandomHorizontalFlip' if flipped else 'RandomCrop'}: not translated, the two go together here")
        found["augment"] = "none"
    settings["source"] = found


def _trained_on(theirs: Theirs, data: str) -> tuple[str, Any]:
    """Where the split that is trained on stands, and its list of transforms: the one of the loader's dataset_id, else ``train``."""
    splits = _table(theirs.table(f"datasets.{data}").get("splits"))
    wanted, base = theirs.take("train.train_data_loader.dataset_id"), f"datasets.{data}.splits"
    for name, split in splits.items():
        parted = _table(_table(split).get("random_split"))
        parts = parted.get("sub_splits")
        for part in parts if isinstance(parts, list) else ():
            if wanted is not None and _table(part).get("dataset_id") == wanted:
                shares = cut(str(parted.get("lengths")))
                theirs.note(f"{base}.{name}.random_split", f"{shares}: not translated, all training images are trained on here")
                return f"{base}.{name}", _listed(part)
    named = [name for name, split in splits.items() if wanted is not None and _table(split).get("dataset_id") == wanted]
    name = named[0] if named else "train"
    if name not in splits:
        theirs.note(base, f"no split is called {wanted or 'train'}, so no augmentation is known: give augment and normalise below [source]")
    given = _named(splits.get(name))[1]
    if given.get("train", True) is not True:
        theirs.note(f"{base}.{name}.train", "the test images: not translated, the training images are trained on here")
    return f"{base}.{name}", _listed(given)


def _listed(table: Mapping[str, Any]) -> Any:
    return table.get("transform_configs", table.get("transform_params"))


def _recipe(theirs: Theirs) -> dict[str, Any]:
    made: dict[str, Any] = {"epochs": theirs.whole("train.num_epochs"), "batch_size": theirs.whole("train.train_data_loader.batch_size")}
    why, loader = "how it loads, which moves no number here", "train.train_data_loader"
    for key in ("dataset_id", "num_workers", "pin_memory", "requires_supp"):
        theirs.needless(f"{loader}.{key}", why)
    for key, values in {"random_sample": (True,), "cache_output": (None, ""), "collate_func": (None, ""), "drop_last": (False,)}.items():
        theirs.plain(f"{loader}.{key}", values, why)
    name, given = _named(theirs.table("train.optimizer"))
    _aside(theirs, "train.optimizer", theirs.table("train.optimizer"), filters_params=True, grad_accum_step=1)
    if name not in ("SGD", "Adam", "AdamW"):
        raise RedistillError(f"{theirs.where}: train.optimizer is {name or 'missing'}; translated are SGD, Adam and AdamW")
    made["optimizer"] = name.lower()
    defaults = {"SGD": {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}, "Adam": {"weight_decay": 0.0},
                "AdamW": {"weight_decay": 0.01}}[name]  # fmt: skip
    made["lr"] = theirs.real("train.optimizer.lr", given.get("lr"))
    for key, default in defaults.items():
        made[key] = bool(given.get(key, default)) if key == "nesterov" else theirs.real(f"train.optimizer.{key}", given.get(key, default))
    for key, value in given.items():
        if key not in ("lr", *defaults):
            theirs.note(f"train.optimizer.{key}", f"{cut(str(value))}: not translated")
    if theirs.has("train.scheduler"):
        kind, schedule = _named(theirs.table("train.scheduler"))
        _aside(theirs, "train.scheduler", theirs.table("train.scheduler"), scheduling_step=0)
        _aside(theirs, "train.scheduler", schedule, ("gamma", "milestones", "step_size", "T_max", "eta_min", "verbose"), last_epoch=-1)
        gamma = theirs.real("train.scheduler.gamma", schedule.get("gamma", 0.1))
        if kind == "MultiStepLR":
            at = theirs.reals("train.scheduler.milestones", schedule.get("milestones"))
            made["schedule"] = {"kind": "multistep", "at": at, "gamma": gamma}
        elif kind == "StepLR":
            every = theirs.real("train.scheduler.step_size", schedule.get("step_size"))
            made["schedule"] = {"kind": "step", "every": every, "gamma": gamma}
        elif kind == "CosineAnnealingLR" and schedule.get("T_max") == made["epochs"] and not schedule.get("eta_min"):
            made["schedule"] = {"kind": "cosine"}
        else:
            theirs.note("train.scheduler", f"{kind}: not translated, the rate below stays where it begins")
    return made
