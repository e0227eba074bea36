"""A network in a folder of its own: weights, how it is built and fed, and its source file where it is nobody else's.

``model.safetensors`` holds the weights; ``config.json`` the arguments of the constructor and nothing else, which is what
``PyTorchModelHubMixin.from_pretrained`` reads; ``redistill.json`` what this package knows: the name of the network, sizes, class
names, normalisation. The source file of a network of one's own lies beside them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.files import json_of, there
from redistill.user_code import is_code

WEIGHTS, CONFIG, ABOUT = "model.safetensors", "config.json", "redistill.json"
FORMAT = 1


@dataclass(frozen=True)
class Facts:
    """What a folder says about its network.

    Attributes:
        model: as :func:`redistill.models.build` takes it; ``./file.py:Name`` is a file of the folder. args: of its constructor, without
            sizes. sizes: classes, channels, image_size of the data. class_names: in the order of the outputs, or None.
        normalise: the set in which it wants its images. code: SHA-256 of the source file, None where there is none.
        accuracy: in percent, by evaluation set, as it was measured. run: id of the run that made it.
    """

    model: str
    args: dict[str, Any]
    sizes: dict[str, int]
    class_names: tuple[str, ...] | None
    normalise: str
    code: str | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    run: str | None = None
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def place(self, folder: Path) -> str:
        """The name of the network from anywhere: a source file, which lies in the folder, by its place; a module is imported."""
        file, _, name = self.model.rpartition(":")
        return f"{folder / Path(file).name}:{name}" if is_code(self.model) and file.endswith(".py") else self.model


def is_network_folder(path: Path) -> bool:
    """Whether a folder holds a network as :func:`facts_of` reads it."""
    return os.path.isdir(path) and there(path / ABOUT) and there(path / WEIGHTS)  # unlike Path.is_dir it only says no


def facts_of(folder: Path) -> Facts:
    """What the folder says.

    Raises:
        RedistillError: it is no such folder, or was written by a newer version.
    """
    if not is_network_folder(folder):
        raise RedistillError(f"{folder} is no folder of a network: it has no {ABOUT} beside {WEIGHTS}")
    about = json_of(folder / ABOUT)
    try:
        if about["format"] > FORMAT:
            raise RedistillError(f"{folder} was written by a newer redistill (format {about['format']}): update redistill")
        names = about.get("class_names")
        facts = Facts(**{**about, "class_names": None if names is None else tuple(map(str, names))})
        texts, tables = (facts.model, facts.normalise), (facts.args, facts.sizes, facts.accuracy)
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(table, dict) for table in tables):
            raise TypeError("model and normalise are texts; args, sizes and accuracy are tables")
        return facts
    except (TypeError, LookupError, AttributeError) as error:
        raise RedistillError(f"{folder / ABOUT} is damaged: {error}") from error


def config_text(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=1, sort_keys=True) + "\n").encode()
