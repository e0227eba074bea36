"""Files that hold a whole network of another framework, architecture and weights: told by their bytes, read by an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import nn

from redistill.core import RedistillError
from redistill.models import keras, lite

Kind = Literal["keras", "tflite"]


def kind_of(path: Path) -> Kind | None:
    """Whose whole network a file holds; None for anything else, and where nothing can be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(8)
    except (OSError, ValueError):  # a name that no file system takes, no rights: the reader of weights says it
        return None
    return "keras" if head == keras.MAGIC else "tflite" if head[4:8] == lite.MAGIC else None


def load_whole(path: Path, kind: Kind, model: str | None, classes: int | None, args: dict[str, Any]) -> nn.Module:
    """The network of such a file; it says everything about itself, so that nothing else may contradict it."""
    if model not in (None, kind):
        raise RedistillError(f"{path} is a whole network of its own ({kind}), not a {model}: leave the model out")
    if args:
        raise RedistillError(f"{path} is a whole network of its own ({kind}) and takes no arguments, got {', '.join(args)}: leave them out")
    net = keras.load(path) if kind == "keras" else lite.LiteNetwork(path)
    if classes is not None and net.classes != classes:
        raise RedistillError(f"{path} tells {net.classes} classes apart, {classes} were asked for: leave classes= out")
    return net
