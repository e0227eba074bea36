"""When two printed names mean one thing: rules that a person can read. What no rule settles is asked, never guessed.

A name is first made plain: small letters, one kind of dash, footnote marks, citations and numbers in brackets taken away. Then
the first rule that fits gives its key; two names are equal when their keys are.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

STUDENT, TEACHER = "student (no distillation)", "teacher"
MARKS = "†‡§¶*∗⋆★#^"

NETWORKS: tuple[tuple[str, str], ...] = (
    (r"(?:wrn|wide-?resnet|wide-?res|w)-?(\d+)-?[-x]-?(\d+)", r"wrn-\1-\2"),
    (r"(?:resnet|res|rn|r)-?(\d+)-?x-?(\d+)", r"resnet\1x\2"),
    (r"(?:resnet|res|rn|r)-?(\d+)", r"resnet\1"),
    (r"vgg-?(\d+)", r"vgg\1"),
    (r"(?:mobilenet|mobile|mv|mn)-?v?-?([123])", r"mobilenetv\1"),
    (r"(?:shufflenet|shuffle|shu|sn|sv)-?v?-?([12])", r"shufflenetv\1"),
    (r"densenet-?(\d+)", r"densenet\1"),
)
"""Patterns of a whole plain name -> key. CIFAR's resnet20 and ImageNet's ResNet18 are told apart by their depth."""

METHODS: dict[str, tuple[str, ...]] = {
    STUDENT: (
        "student", "baseline", "vanilla", "scratch", "from scratch", "alone", "student alone", "no distillation", "without kd", "w/o kd",
        "student baseline", "student (no distillation)", "cross-entropy", "ce", "student acc", "student top-1", "no kd",
    ),
    TEACHER: ("teacher", "teacher alone", "teacher acc", "teacher top-1", "teacher baseline"),
    "kd": ("kd", "vanilla kd", "original kd", "hinton kd", "classical kd", "knowledge distillation"),
    "fitnet": ("fitnet", "fitnets", "hint", "hints"),
    "at": ("at", "attention", "attention transfer"),
    "sp": ("sp", "similarity", "similarity-preserving"),
    "cc": ("cc", "correlation", "correlation congruence"),
    "vid": ("vid",),
    "ab": ("ab", "abound"),
    "ft": ("ft", "factor", "factor transfer"),
    "crd": ("crd", "contrast"),
    "reviewkd": ("reviewkd", "review", "review kd", "kr", "knowledge review"),
    "ofd": ("ofd", "overhaul"),
    "zeroshot": ("zero-shot", "zero shot", "zskt"),
}  # fmt: skip
"""Key -> other ways to write it. A sum of methods, KD+AT, is the set of its parts."""

DATA: dict[str, tuple[str, ...]] = {
    "cifar100": ("cifar100", "c100"),
    "cifar10": ("cifar10", "c10"),
    "imagenet": ("imagenet", "imagenet1k", "ilsvrc2012", "ilsvrc"),
}

NAMES = {"cifar100": "CIFAR-100", "cifar10": "CIFAR-10", "imagenet": "ImageNet", "svhn": "SVHN"}


def unmarked(text: str) -> tuple[str, str]:
    """A name or number without its footnote marks, and the marks.

    >>> unmarked("KD†*"), unmarked("70.66 ")
    (('KD', '†*'), ('70.66', ''))
    """
    marks = "".join(c for c in text if c in MARKS)
    return "".join(c for c in text if c not in MARKS).strip(), marks


def plain(text: str) -> str:
    """Small letters, one kind of dash and cross, no marks, citations, or numbers in brackets.

    >>> plain("WRN–40–2 [12]"), plain("KD (Hinton et al., 2015)"), plain("ResNet8×4 (72.50)")
    ('wrn-40-2', 'kd', 'resnet8x4')
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("×", "x")
    text = re.sub(r"[‐‑‒–—−_]", "-", text)
    text = re.sub(r"\[[\d,;\s-]*\]|\([^()]*\b(?:19|20)\d\d[^()]*\)|\(\s*[\d.]+\s*[%mk]?\s*\)", " ", text)
    text, _ = unmarked(text)
    return re.sub(r"\s+", " ", text).strip()


def network(text: str) -> str:
    """The key of a network's name.

    >>> [network(x) for x in ("WRN-40-2", "wrn_40_2", "W40-2", "ResNet 32x4", "res56", "ShuffleNet-V1", "MobileNetV2", "VGG-13")]
    ['wrn-40-2', 'wrn-40-2', 'wrn-40-2', 'resnet32x4', 'resnet56', 'shufflenetv1', 'mobilenetv2', 'vgg13']
    """
    name = re.sub(r"[\s/.]+", "-", plain(text))
    for pattern, key in NETWORKS:
        if (found := re.fullmatch(pattern, name)) is not None:
            return found.expand(key)
    return name.replace("-", "")


def method(text: str) -> str:
    """The key of a method's name.

    >>> method("KD+AT") == method("AT + KD"), method("FitNets"), method("Vanilla KD"), method("Vanilla")
    (True, 'fitnet', 'kd', 'student (no distillation)')
    """
    name = plain(text)
    whole = _alias(name)
    if whole is not None:
        return whole
    parts = [part.strip() for part in re.split(r"\s*(?:\+|&|\bw/|\bwith\b)\s*", name)]
    if len(parts) > 1 and all(parts):
        return "+".join(sorted(_alias(part) or _bare(part) for part in parts))
    return _bare(name)


def _bare(name: str) -> str:
    return re.sub(r"[\s-]+", "", name)


def _alias(name: str) -> str | None:
    for key, others in METHODS.items():
        if name == key or name in others or _bare(name) in {_bare(other) for other in others}:
            return key
    return None


def data(text: str) -> str:
    """The key of a data set's name.

    >>> data("CIFAR-100"), data("SVHN"), data("ILSVRC2012")
    ('cifar100', 'svhn', 'imagenet')
    """
    name = re.sub(r"[\W_]+", "", plain(text))
    return next((key for key, others in DATA.items() if name in others), name)


def known_method(text: str) -> bool:
    """Whether a rule, not only its spelling, gives the key of a method."""
    return method(text) in METHODS or _alias(plain(text)) is not None


def doubtful(key: str, known: Iterable[str]) -> list[str]:
    """Known keys that a key without a match may mean: the same digits in the same order, and letters that are nearly the same.

    >>> doubtful("resnet32x4our", ["resnet32x4", "resnet32"]), doubtful("resnet26", ["resnet20", "resnet56"])
    (['resnet32x4'], [])
    """
    found = []
    for other in sorted(set(known)):
        if re.findall(r"\d+", key) != re.findall(r"\d+", other) or key == other or min(len(key), len(other)) < 2:
            continue
        begins = key.startswith(other) or other.startswith(key)
        alike = difflib.SequenceMatcher(None, key, other).ratio() >= (0.8 if len(other) > 3 else 0.9)
        inside = key.startswith(f"{other}(") or (begins and bool(re.search(r"\d", other)))
        if alike or inside or re.sub(r"\W+", "", key) == re.sub(r"\W+", "", other):
            found.append(other)
    return found


def rules_text() -> list[str]:
    """The rules as a person reads them."""
    lines = ["Names are compared in small letters, with one kind of dash, without footnote marks, citations and numbers in brackets."]
    lines += [f"network: {pattern} is {key}" for pattern, key in NETWORKS]
    lines += [f"method: {', '.join(others)} is {key}" for key, others in METHODS.items()]
    lines += [f"data: {', '.join(others)} is {key}" for key, others in DATA.items()]
    return lines
