"""The sections ``[teacher]`` and ``[student]``: what can be built, and where its first weights come from."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from redistill import user_code
from redistill.core import RedistillError
from redistill.experiment.source.images import placeless
from redistill.files import canonical, read
from redistill.models.weights import load_weights
from redistill.tensor_files import header
from redistill.values import Value

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment

Seed = Literal["same"] | Annotated[int, Field(ge=0)]
"""A rule: ``same`` as the run's own seed, or always this number."""


class WeightsFile(Value):
    """Weights that come from a file; the SHA-256 names them, the path only says where they were found."""

    sha256: str
    path: str


class Net(Value):
    """A network and where its first weights come from.

    Args:
        model: a name of this package, or ``module:name`` / ``./file.py:name``. args: further keyword arguments of its
            constructor; number of classes, channels and image size come from the data.
        code, file: of one's own network: SHA-256 of its file, and where it was.
        weights: a file of weights (``from`` in TOML). run: the experiment whose student this is, with its ``seed`` rule.
            Neither: drawn from (seed, "init", architecture).
        take: of that run, the network of the ``last`` step, or of the ``best`` evaluation (an epoch chosen on the test
            set; what several published codes save).
    """

    model: str
    args: dict[str, Any] | None = None
    code: str | None = None
    file: str | None = None
    weights: WeightsFile | None = Field(default=None, alias="from")
    run: Experiment | None = None
    seed: Seed = "same"
    take: Literal["last", "best"] = "last"

    def written(self) -> dict[str, Any]:
        rows: dict[str, Any] = {"model": self.model}
        for name in ("args", "code", "file"):
            if (value := getattr(self, name)) is not None:
                rows[name] = value
        if self.weights is not None:
            rows["from"] = self.weights.model_dump()
        if self.run is not None:
            rows |= {"run": self.run.written(seed=False), "seed": self.seed}
            if self.take != "last":
                rows["take"] = self.take
        return rows

    @staticmethod
    def identified(written: Mapping[str, Any], whole: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """What of a written network is hashed: code and weights by their SHA-256, not by where they lie.

        ``whole``: what is hashed of the experiment that makes its weights.
        """
        rows = placeless(written)
        if "from" in rows:
            rows["from"] = {key: value for key, value in rows["from"].items() if key != "path"}
        if "run" in rows:
            rows["run"] = whole(rows["run"])
        return rows

    def maker(self, seed: int) -> Experiment | None:
        """The experiment, with its seed, that makes these weights for a run of ``seed``."""
        return None if self.run is None else self.run.with_seed(seed if self.seed == "same" else self.seed)


def check_model(name: str, args: dict[str, Any]) -> None:
    """Refuse a name, or an argument, that no network of this package has; nothing is allocated."""
    _buildable(name, canonical(args))


@functools.cache
def _buildable(name: str, written: str) -> None:
    """See :func:`check_model`; a paper's plan asks a hundred times for the same few networks."""
    from redistill import models

    args = json.loads(written)
    if name.partition(":")[0] in user_code.LIBRARIES:
        return  # building it is the only way to know
    with torch.device("meta"):
        try:
            models.build(name, initialise=False, trust_code=False, **args)
        except TypeError as error:
            raise RedistillError(f"args of {name}: {str(error).rpartition('() ')[2]}") from error


def model_in_file(path: Path) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the network whose weights a file holds."""
    from redistill import models

    found: Any = models.load(path)
    return str(found.arch.name), dict(found.arch.args)


# ---------------------------------------------------------------------------------------------------------------------
# Networks
# ---------------------------------------------------------------------------------------------------------------------
def construct(net: Net, facts: dict[str, Any], seed: int) -> nn.Module:
    """A network with its drawn first weights. ``facts``: classes, channels and image size of the data.

    One's own network gets what of ``classes``, ``channels`` and ``image_size`` its signature asks for from the data.

    Raises:
        RedistillError: code of one's own that no word of the user has run (see :func:`redistill.user_code.require_word`).
    """
    from redistill import models
    from redistill.models.build import own_network

    if net.code is None:
        return models.build(net.model, seed=seed, trust_code=False, **{**facts, **(net.args or {})})
    found = user_code.load(net.model, Path(), file=net.file, code=net.code, kind=nn.Module)
    return own_network(found, facts, net.args or {}, seed)


def trained(path: Path, given: Mapping[str, Any], *, trust_code: bool = False) -> nn.Module:
    """The student of a finished run in evaluation mode: its weights file, and the table [student] of its experiment.

    ``trust_code``: the word of the user that code of one's own, which the record names, may be run.
    """
    facts = json.loads(header(read(path), path)["sizes"])
    net = Net.model_validate({key: given[key] for key in ("model", "args", "code", "file") if key in given})
    if trust_code and net.code is not None:
        user_code.load(net.model, Path(), file=net.file, code=net.code, kind=nn.Module, trusted=True)
    network = construct(net, facts, 0)
    load_weights(network, path)
    network.eval()
    return network
