"""The network of a finished run: built as its record says, with the weights that lie beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from redistill import user_code
from redistill.experiment.networks import Net
from redistill.files import read, there
from redistill.models.weights import load_weights
from redistill.sealed import CODE
from redistill.tensor_files import header


def trained(path: Path, given: Mapping[str, Any], seed: int, *, trust_code: bool = False) -> nn.Module:
    """The student of a finished run in evaluation mode: its weights file, and the table [student] of its experiment.

    ``seed``: of the run; a buffer that its constructor draws and no state dict holds is then the run's. ``trust_code``: the word of
    the user that code of one's own, which the record names, may be run.
    """
    facts = json.loads(header(read(path), path)["sizes"])
    net = Net.model_validate({key: given[key] for key in ("model", "args", "normalise", "code", "file") if key in given})
    if net.file is not None and there(kept := path.parent / CODE / Path(net.file).name):
        net = net.model_copy(update={"file": str(kept)})  # the run's own copy, wherever the original is by now
    if trust_code and net.code is not None:
        user_code.load(net.model, Path(), file=net.file, code=net.code, kind=nn.Module, trusted=True)
    network = net.build(facts, seed)
    load_weights(network, path)
    network.eval()
    return network
