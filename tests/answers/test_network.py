"""Who a network is, and numbers that are remembered of it."""

from __future__ import annotations

import copy
import functools
import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import redistill as rd
from helpers.remembered import Net, images
from redistill.answers import folder as answers
from redistill.answers.network import Untold, network_key
from redistill.answers.numbers import remembered
from redistill.data import Images


# -- who a network is -------------------------------------------------------------------------------------------------
def test_equal_networks_have_equal_keys_and_a_copy_too() -> None:
    assert network_key(Net()) == network_key(Net()) == network_key(copy.deepcopy(Net()))
    wrn = rd.models.build("wrn-10-1", classes=10, seed=0)
    assert network_key(wrn) == network_key(rd.models.build("wrn-10-1", classes=10, seed=0))


def _changed(change: Callable[[Net], object]) -> Net:
    net = Net()
    change(net)
    return net


def _bend(slope: float) -> Callable[[Tensor], Tensor]:
    return lambda x: F.leaky_relu(x, slope)


DIFFERENT: dict[str, Callable[[], nn.Module]] = {
    "weights": lambda: Net(seed=1),
    "a running mean": lambda: _changed(lambda net: net.bn.running_mean.add_(1e-7)),  # type: ignore[union-attr]
    "an attribute": lambda: Net(scale=2.0),
    "deep in an attribute": lambda: _changed(lambda net: net.table.update(a=[1, 2.0, 3])),
    "a function": lambda: Net(act=F.gelu),
    "a function of one's own": lambda: Net(act=_bend(0.1)),
    "what a function holds": lambda: Net(act=_bend(0.2)),
    "a partial": lambda: Net(act=functools.partial(F.leaky_relu, negative_slope=0.1)),
    "an epsilon": lambda: _changed(lambda net: setattr(net.bn, "eps", 1e-3)),
    "a forward put upon it": lambda: _changed(lambda net: setattr(net, "forward", lambda x: net.head(net.conv(x).mean((2, 3))))),
    "a subclass": lambda: type("Sub", (Net,), {"forward": lambda self, x: -Net.forward(self, x)})(),
    "another subclass": lambda: type("Sub", (Net,), {"forward": lambda self, x: -2 * Net.forward(self, x)})(),
    "precision": lambda: Net().double(),
    "a buffer that is not saved": lambda: _changed(lambda net: net.register_buffer("more", torch.ones(1), persistent=False)),
    "padding of zeros": lambda: _changed(lambda net: setattr(net.conv, "padding_mode", "reflect")),
}


def test_networks_that_compute_otherwise_have_other_keys() -> None:
    keys = {name: network_key(make()) for name, make in DIFFERENT.items()} | {"plain": network_key(Net())}
    assert len(set(keys.values())) == len(keys), keys


NOTEBOOK = """
from torch import nn
most = {most}
class Cell(nn.Module):
    least = {least}
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)
        nn.init.ones_(self.head.weight), nn.init.zeros_(self.head.bias)
    @property
    def shift(self):
        return {shift}
    def forward(self, x, slope={slope}):
        return self.head(slope * x.clamp(self.least, most)) + self.shift
"""


def test_a_class_of_a_notebook_is_told_by_what_stands_on_it_now() -> None:
    """It has no file; and what is beyond any noise that a network is tried with (most, least) is told all the same."""
    usual = {"most": 90.0, "least": -90.0, "shift": 0.0, "slope": 1.0}

    def made(**other: float) -> nn.Module:
        cell: dict[str, Any] = {"__name__": "cell"}
        exec(NOTEBOOK.format(**{**usual, **other}), cell)
        net: nn.Module = cell["Cell"]()
        return net

    keys = [network_key(made(**{name: 60.0})) for name in usual] + [network_key(made())]
    assert len(set(keys)) == 5 and network_key(made()) == keys[-1]
    net = made()
    type(net).least = 60.0  # type: ignore[attr-defined]
    assert network_key(net) == keys[1]


class Odd:
    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            raise ValueError("not mine")
        return object.__getattribute__(self, name)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_cannot_be_told_is_not_told() -> None:
    hooked = Net()
    hooked.conv.register_forward_hook(lambda m, a, out: out + 1)
    drawing = _changed(lambda net: setattr(net, "random", torch.Generator()))
    normed = Net()
    nn.utils.weight_norm(normed.head)
    odd = _changed(lambda net: setattr(net, "odd", Odd()))
    for net, why in ((odd, "ends in ValueError: not mine"),
                     (hooked, "a hook"), (drawing, "Generator"), (normed, "a hook"), (torch.jit.script(nn.Linear(2, 2)), "compiled")):
        with pytest.raises(Untold, match=why):
            network_key(net)


# -- numbers ----------------------------------------------------------------------------------------------------------
def test_a_number_is_measured_once_for_one_network_and_set(tmp_path: Path) -> None:
    asked = []

    def number(net: nn.Module, shown: Images, value: float = 91.25, **what: Any) -> float:
        def measure() -> float:
            asked.append(value)
            return value

        return remembered(net, shown, {"name": "accuracy", **what}, tmp_path, measure)

    assert number(Net(), images()) == number(Net(), images(), 3.0) == 91.25 and len(asked) == 1
    assert number(Net(seed=1), images(), 2.0) == 2.0 and number(Net(), images(seed=1), 3.0) == 3.0
    assert number(Net(), images(), 4.0, version=2) == 4.0
    changed = images()
    assert changed.sha256 and number(Net(), changed, 0.0) == 91.25
    changed.x[0] = 0
    assert number(Net(), changed, 5.0) == 5.0
    for path in tmp_path.iterdir():
        path.write_text(path.read_text().replace("91.25", "99.25"))
    assert number(Net(), images(), 6.0) == 6.0 and number(Net(), images(), 7.0) == 6.0
    assert {kept.about for kept in answers.listed(tmp_path)} == {"accuracy of Net on made:train, 50 images"}
    (tmp_path / "file").write_text("")
    assert remembered(Net(), images(), {}, tmp_path / "file", lambda: 8.0) == 8.0 == remembered(Net(), images(), {}, None, lambda: 8.0)


def test_the_version_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = network_key(Net())
    monkeypatch.setattr("redistill.answers.network.NUMERICS", 1001)
    assert network_key(Net()) != before


OWN = """
import torch
from torch import nn
from {package}bent import bend
class Bent(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)
        nn.init.ones_(self.head.weight), nn.init.zeros_(self.head.bias)
    def forward(self, x):
        return bend(self.head(x))
"""


@pytest.mark.parametrize("package", ["", "."])
def test_files_of_ones_own_that_a_networks_file_imports_are_told(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accuracy of a teacher was found again after a function that its forward calls had been changed in another file."""
    place = tmp_path / "ofmine" if package else tmp_path
    place.mkdir(exist_ok=True)
    (place / "__init__.py").touch()
    (place / "bending.py").write_text(OWN.format(package=package))
    monkeypatch.syspath_prepend(str(tmp_path))

    def key(line: str) -> str:
        (place / "bent.py").write_text(f"SLOPE = 1.0\ndef bend(x):\n    return {line}\n")
        for name in [name for name in sys.modules if name.rpartition(".")[2] in ("bent", "bending")]:
            del sys.modules[name]
        shutil.rmtree(place / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()
        return network_key(importlib.import_module(f"{'ofmine.' if package else ''}bending").Bent())

    one, two = key("x * SLOPE"), key("x - SLOPE")
    assert one != two and key("x * SLOPE") == one


HELPED = """
from torch import nn
def bend(x):
    return {line}
def called(x):
    return called(bend(x)) if False else bend(x)
class Helped(nn.Module):
    def forward(self, x):
        return called(x)
"""


def test_functions_of_a_notebook_that_a_forward_calls_are_told() -> None:
    def key(line: str) -> str:
        cell: dict[str, Any] = {"__name__": "cell"}
        exec(HELPED.format(line=line), cell)
        return network_key(cell["Helped"]())

    assert key("x * 2") != key("x * 3") and key("x * 2") == key("x * 2")
