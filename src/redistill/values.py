"""The base of every value that may stand in a TOML file, and pydantic's findings as sentences. Imports no torch."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, LiteralString

import pydantic
from pydantic import ConfigDict, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from redistill.errors import RedistillError, cut, nearest

Seed = Literal["same"] | Annotated[int, pydantic.Field(ge=0)]
"""A rule: ``same`` as the run's own seed, or always this number."""


class Value(pydantic.BaseModel):
    """Frozen, nothing unknown accepted, true and false are no numbers.

    Made by hand, ``Recipe(lr=-1)``, it raises a :class:`RedistillError`; ``model_validate`` raises pydantic's own error, for whoever
    collects the mistakes of a file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    def __init__(self, **settings: Any):
        try:
            super().__init__(**settings)
        except pydantic.ValidationError as error:
            cls = type(self)
            raise RedistillError("; ".join(dict.fromkeys(_sentence(cls, entry) for entry in error.errors()))) from error

    # pydantic's own mark: without it ``model_validate`` would go through this constructor and lose the places of its findings
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, given: Any) -> Any:
        """Looked at before the fields are: a validator of a field may not stand on the one that tells kinds apart."""
        named = given.items() if isinstance(given, dict) else ()
        found = [
            InitErrorDetails(type=PydanticCustomError("no_number", says), loc=(name,), input=value)
            for name, value in named
            if (says := _no_number(value)) and _only_numbers(cls, name)
        ]
        if found:
            raise pydantic.ValidationError.from_exception_data(cls.__name__, found)
        return given


def _no_number(value: Any) -> LiteralString | None:
    """Why a value, or an entry of a list, is not taken for a number."""
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, bool):
            return "Must be a number, not true or false"
        if isinstance(one, int) and abs(one) >= 2**63:
            return "Must be below 2^63"
    return None


@functools.cache
def _only_numbers(cls: type[pydantic.BaseModel], field: str) -> bool:
    """Whether a field takes numbers and no bool."""
    if field not in cls.model_fields:
        return False
    kinds = set(_leaves(cls.model_fields[field].annotation))
    return bool(kinds & {int, float}) and not kinds & {bool, Any, object}


def _leaves(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from (type(one) for one in typing.get_args(annotation))
    elif arguments := typing.get_args(annotation):
        for inner in arguments:
            yield from _leaves(inner)
    elif annotation is not types.NoneType:
        yield annotation


def _sentence(cls: type[Value], entry: ErrorDetails) -> str:
    """One finding about a value made by hand: the class, the setting, what was given, what is right."""
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return f"{cls.__name__}: {nearest(place, cls.model_fields, 'setting', WORDS)}"
    given = "" if entry["type"] in ("missing", "value_error") or isinstance(entry["input"], Mapping) else f"={_shown(entry['input'])}"
    return f"{cls.__name__}: {place}{given} {wording(entry)}" if place else f"{cls.__name__}: {wording(entry)}"


def _shown(value: Any) -> str:
    return "a number of hundreds of digits" if isinstance(value, int) and value.bit_length() > 1000 else cut(repr(value))


def wording(entry: ErrorDetails) -> str:
    """A finding of pydantic in our words, without its place."""
    context, kind = entry.get("ctx", {}), entry["type"]
    if kind == "literal_error":
        given = entry["input"]
        near = given.lower() if isinstance(given, str) and f"'{given.lower()}'" in context["expected"] else None
        return f"must be {context['expected']}" + (f": write '{near}'" if near else "")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "unknown setting"
    if kind == "value_error":
        return cut(str(context.get("error", entry["msg"])), 1000)
    if kind == "union_tag_invalid":
        return f"must be {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"needs the key {context.get('discriminator')}"
    message = entry["msg"]
    return message[0].lower() + message[1:]


WORDS = {
    "temperature": "T", "tau": "T", "alpha": "weight", "beta": "weight", "gamma": "weight", "lambda": "weight", "lam": "weight",
    "coefficient": "weight", "arch": "model", "architecture": "model", "network": "model", "backbone": "model", "net": "model",
    "learning_rate": "lr", "rate": "lr", "checkpoint": "from", "ckpt": "from", "weights": "from", "pretrained": "from",
    "path": "from", "state_dict": "from", "file": "from", "dataset": "data", "data_set": "data", "root": "data",
    "scheduler": "schedule", "lr_scheduler": "schedule", "optim": "optimizer", "optimiser": "optimizer", "batch": "batch_size",
    "bs": "batch_size", "wd": "weight_decay", "decay": "weight_decay", "num_epochs": "epochs", "max_epochs": "epochs",
    "n_epochs": "epochs", "iterations": "steps", "iters": "steps", "max_steps": "steps", "num_steps": "steps", "loss": "use",
    "term": "use", "name": "use", "type": "kind", "grad_clip": "clip", "clip_grad": "clip", "gradient_clip": "clip",
    "gradient_clipping": "clip", "amp": "precision", "dtype": "precision", "fp16": "precision", "milestones": "at",
    "step_size": "every", "eta": "lr", "warmup_epochs": "warmup", "augmentation": "augment", "normalisation": "normalise",
    "normalization": "normalise", "normalize": "normalise", "shots": "per_class", "images_per_class": "per_class", "temp": "T",
    "layers": "at", "layer": "at", "places": "at", "hint_layer": "at", "lr_decay_epochs": "at", "decay_epochs": "at",
    "label_smoothing": "smoothing", "lr_decay_rate": "gamma", "min_lr": "eta_min", "ema_decay": "ema", "early_stopping": "patience",
    "accumulate_grad_batches": "accumulate", "gradient_accumulation_steps": "accumulate", "warmup_steps": "warmup",
}  # fmt: skip
"""What other projects call our settings; a name is never accepted for another, but it is answered with ours."""
