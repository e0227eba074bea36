"""RepDistiller's command line (HobbitLong/RepDistiller@1143dfe, ``train_student.py``) as an experiment of ours."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from redistill import models
from redistill.errors import RedistillError, nearest
from redistill.published.elsewhere import REP, Parts, row, term
from redistill.published.translated import Translation

SLOW = ("mobile_half", "mobile_full", "ShuffleV1", "ShuffleV2")
"""Students whose rate its script sets to 0.01, whatever was said."""

SINGLE: Mapping[str, Callable[[float], dict[str, Any]]] = {
    "similarity": lambda b: term("SP", b),
    "rkd": lambda b: term("RKD", b),
    "pkt": lambda b: term("PKT", b),
    "nst": lambda b: term("NST", b),
}
TWO_STAGES = ("abound", "factor", "fsp")


def network(name: str) -> str | None:
    """Our name of a network of RepDistiller and mdistiller, None where there is none.

    >>> network("wrn_16_2"), network("ResNet50"), network("mobile_half"), network("mobile_full")
    ('wrn-16-2', 'resnet50', 'mobilenetv2', None)
    """
    others = {"mobile_half": "mobilenetv2", "MobileNetV2": "mobilenetv2", "ShuffleV1": "shufflenetv1", "ShuffleV2": "shufflenetv2"}
    ours = others.get(name) or re.sub(r"^wrn_(\d+)_(\d+)$", r"wrn-\1-\2", name).lower()
    return ours if ours in models.names() else None


def grouped(parts: Parts, student: str, teacher: str | None) -> Parts:
    """Terms over all groups, or over the last one, where a network has four of them: VGG, MobileNetV2 and the wide ResNets of v2.

    The code goes through both lists of features side by side, so the shorter one counts, from the first group on.
    """
    mine, theirs = (_groups(name) for name in (student, teacher or student))
    if mine == theirs == 3:
        return parts
    every = [f"stage{n}" for n in range(1, min(mine, theirs) + 1)]
    places: dict[str, Any] = {"AT": every, "VID": every, "NST": every, "SP": [[f"stage{mine}", f"stage{theirs}"]]}
    return tuple({**part, "at": places[part["use"]]} if part["use"] in places else part for part in parts)


def _groups(name: str) -> int:
    return 4 if name.startswith(("vgg", "mobile", "Mobile", "ResNet")) else 3


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RedistillError(f"RepDistiller's flags: {message}; give those of train_student.py, such as --distill kd --model_s resnet8x4 "
                             f"-r 0.1 -a 0.9 -b 0")  # fmt: skip


def _flags() -> _Flags:
    """The flags of ``train_student.py`` with their defaults there."""
    flags = _Flags(add_help=False, allow_abbrev=False)
    for name, default in (
        ("batch_size", 64), ("epochs", 240), ("init_epochs", 30), ("feat_dim", 128), ("nce_k", 16384), ("hint_layer", 2),
        ("print_freq", 100), ("tb_freq", 500), ("save_freq", 40), ("num_workers", 8),
    ):  # fmt: skip
        flags.add_argument(f"--{name}", type=int, default=default)
    for name, value in (
        ("learning_rate", 0.05), ("lr_decay_rate", 0.1), ("weight_decay", 5e-4), ("momentum", 0.9), ("kd_T", 4.0), ("nce_t", 0.07),
        ("nce_m", 0.5),
    ):  # fmt: skip
        flags.add_argument(f"--{name}", type=float, default=value)
    for name, word in (("lr_decay_epochs", "150,180,210"), ("dataset", "cifar100"), ("model_s", "resnet8"), ("path_t", None),
                       ("distill", "kd"), ("trial", "1"), ("mode", "exact")):  # fmt: skip
        flags.add_argument(f"--{name}", default=word)
    flags.add_argument("-r", "--gamma", type=float, default=1.0)
    flags.add_argument("-a", "--alpha", type=float)
    flags.add_argument("-b", "--beta", type=float)
    return flags


def words_in(text: str) -> list[str]:
    """The flags of one call of ``train_student.py``, in a line or in a script that has one.

    >>> words_in("python train_student.py --distill kd -a 0.9")
    ['--distill', 'kd', '-a', '0.9']
    """
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    calls = [line for line in lines if "train_student.py" in line]
    if len(calls) > 1:
        raise RedistillError(f"there are {len(calls)} calls of train_student.py: give the flags of one, quoted: '--distill kd ...'")
    try:
        words = shlex.split(calls[0] if calls else " ".join(lines))
    except ValueError as error:
        raise RedistillError(f"RepDistiller's flags cannot be read: {error}") from error
    return words[next((n + 1 for n, word in enumerate(words) if word.endswith("train_student.py")), 0) :]


def translated(words: Sequence[str], weights: Path | None = None) -> Translation:
    """An experiment from the flags; ``weights``: the teacher's file, where it is not that of ``--path_t``.

    Raises:
        RedistillError: flags that its script does not know, or a method that is no term here.
    """
    opt, unknown = _flags().parse_known_args(list(words))
    if unknown:
        raise RedistillError(f"RepDistiller's flags: {unknown[0]!r} is none of train_student.py's")
    notes: list[tuple[str, str]] = []
    settings: dict[str, Any] = {"name": f"{opt.distill}, {opt.model_s}, trial {opt.trial}"}
    teacher = _teacher_of(opt.path_t)
    if weights is not None or opt.path_t is not None:
        settings["teacher"] = {"from": str(weights if weights is not None else opt.path_t)}
    if teacher is not None and (ours := network(teacher)) is not None:
        settings["teacher"] = {"model": ours, **settings.get("teacher", {})}
    elif (given := opt.path_t or weights) is not None:
        notes.append(("--path_t", f"{given}: which network it holds is written nowhere that is known here: model = below [teacher]"))
    else:
        notes.append(("--path_t", 'not given: write model = "NAME" and from = "FILE" below [teacher] (--teacher-weights)'))
    if (ours := network(opt.model_s)) is not None:
        settings["student"] = {"model": ours}
    else:
        notes.append(("--model_s", f"{opt.model_s}: no network here is known to be this one; write model = below [student]"))
    settings["method"] = [dict(part) for part in grouped(_method(opt), opt.model_s, teacher)]
    if opt.dataset == "cifar100":
        settings["source"] = {"data": "cifar100"}
    else:
        notes.append(("--dataset", f"{opt.dataset}: its script knows cifar100 alone"))
    rate = 0.01 if opt.model_s in SLOW else opt.learning_rate
    if rate != opt.learning_rate:
        notes.append(("--learning_rate", f"its script takes 0.01 for {opt.model_s}, whatever is said"))
    try:
        at = sorted({float(one) for one in opt.lr_decay_epochs.split(",")})
    except ValueError as error:
        raise RedistillError(f"--lr_decay_epochs {opt.lr_decay_epochs!r} must be numbers with commas between") from error
    settings["recipe"] = {
        "epochs": opt.epochs, "batch_size": opt.batch_size, "lr": rate, "momentum": opt.momentum, "weight_decay": opt.weight_decay,
        "schedule": {"kind": "multistep", "at": at, "gamma": opt.lr_decay_rate},
    }  # fmt: skip
    ignored = [flag for flag in ("--print_freq", "--tb_freq", "--save_freq", "--num_workers", "--trial") if flag in words]
    notes += [(flag, "says nothing about what is trained") for flag in ignored]
    return Translation("RepDistiller's flags", settings, tuple(notes))


def _teacher_of(path: str | None) -> str | None:
    """Its teachers' networks stand in the names of their folders: ``save/models/wrn_40_2_vanilla/ckpt_epoch_240.pth``."""
    folder = Path(path).parent.name if path is not None else ""
    parts = folder.split("_")
    return "_".join(parts[:3]) if parts[0] == "wrn" else parts[0] or None


def _method(opt: argparse.Namespace) -> Parts:
    """r CE + a KD + b of the method: its loop adds ``a`` times KD whatever is distilled, and refuses to do without the numbers."""
    known = ("kd", "hint", "attention", "vid", "crd", "correlation", *SINGLE)
    if opt.distill in TWO_STAGES:
        raise RedistillError(
            f"--distill {opt.distill} has a stage of its own before: two experiments here, see redistill compare --methods and docs/methods"
        )
    if opt.distill not in known:
        raise RedistillError(f"--distill {opt.distill}: {nearest(opt.distill, known, 'method of RepDistiller that is a term here')}")
    if opt.alpha is None or (opt.beta is None and opt.distill != "kd"):
        raise RedistillError("RepDistiller has no default for -a and -b: give both, -a 0 where KD is left out")
    if opt.distill == "kd":
        return row(REP, "KD").ours({"r": opt.gamma, "a": opt.alpha, "kd_T": opt.kd_T})
    soft = (term("KD", opt.alpha, T=float(opt.kd_T)),) if opt.alpha else ()
    given = {"r": opt.gamma, "b": opt.beta}
    if opt.distill == "hint":
        if opt.hint_layer < 1:
            raise RedistillError(f"--hint_layer {opt.hint_layer} is the stem, whose size ours do not share: a stage, from 1 on")
        ce, hint = row(REP, "hint").ours(given)
        return ce, *soft, {**hint, "at": f"stage{opt.hint_layer}"}
    if opt.distill in ("attention", "vid"):
        ce, other = row(REP, {"attention": "AT", "vid": "VID"}[opt.distill]).ours(given)
        return ce, *soft, other
    if opt.distill == "correlation":
        return term("CE", opt.gamma), *soft, term("CC", opt.beta, dim=opt.feat_dim)
    if opt.distill == "crd":
        positive = {"exact": "image", "relax": "class"}.get(opt.mode)
        if positive is None:
            raise RedistillError(f"--mode must be exact or relax, it is {opt.mode}")
        other = term("CRD", opt.beta, dim=opt.feat_dim, K=opt.nce_k, T=opt.nce_t, momentum=opt.nce_m, positive=positive)
        return term("CE", opt.gamma), *soft, other
    return term("CE", opt.gamma), *soft, SINGLE[opt.distill](opt.beta)
