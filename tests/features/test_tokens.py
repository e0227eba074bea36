"""Transformers as teacher and student: patches as maps, tokens in front, and what meets between them and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import redistill as rd
from helpers.libraries import library
from helpers.transformers import Transformer, Windows
from redistill.core.pairs import pair_stages
from redistill.features.places import context, places_of
from redistill.features.tapped import Tapped

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def conv(seed: int = 0) -> nn.Module:
    return rd.models.wrn(10, 1, classes=5, channels=3, image_size=16, seed=seed)


def made(make: Callable[..., nn.Module], seed: int = 0, **settings: Any) -> nn.Module:
    torch.manual_seed(seed)
    return make(**settings)


@pytest.mark.parametrize("front", [0, 1, 2])
def test_stages_are_the_patches_of_the_blocks_as_maps(front: int) -> None:
    net = made(Transformer, depth=6, heads=front).eval()
    found = places_of(net, X)
    assert found.stages == ("stage1", "stage2", "stage3", "stage4") and found.unsure is None
    assert [found.places[s].module for s in found.stages] == ["blocks.1", "blocks.2", "blocks.4", "blocks.5"]
    assert all(found.shapes[s] == (4, 12, 4, 4) for s in found.stages)
    words = ["stage2:tokens", *["stage2:class", "stage2:token1"][:front]]
    assert [name for name in found.places if name.startswith("stage2:")] == words
    with torch.no_grad():
        out = Tapped.reading(net, X, ["stage2", *words])(X)
        tokens = net.patch_embed(X).flatten(2).transpose(1, 2)  # type: ignore[operator]
        tokens = torch.cat([net.front.expand(4, -1, -1), tokens], 1)  # type: ignore[operator]
        for block in list(net.blocks)[:3]:  # type: ignore[arg-type]
            tokens = block(tokens)
    assert torch.equal(out["stage2:tokens"], tokens)
    for row in range(4):
        for column in range(4):
            assert torch.equal(out["stage2"][:, :, row, column], tokens[:, front + 4 * row + column])
    for number, word in enumerate(words[1:]):
        assert torch.equal(out[word], tokens[:, number]) and found.shapes[word] == (4, 12)


def test_windows_are_stages_by_resolution() -> None:
    found = places_of(made(Windows), X)
    assert [(found.places[s].module, found.shapes[s][1:]) for s in found.stages] == [("stage", (6, 8, 8)), ("norm", (12, 4, 4))]


def test_few_blocks_and_one() -> None:
    assert places_of(made(Transformer, depth=2), X).stages == ("stage1", "stage2")
    one = places_of(made(Transformer, depth=1), X)
    assert one.stages == ("stage1",) and one.shapes["stage1"] == (4, 12, 4, 4)


def test_a_transformer_meets_convolutions_by_depth() -> None:
    ctx = context(made(Transformer), conv(), X)
    assert pair_stages(ctx) == (("stage2", "stage1"), ("stage3", "stage2"), ("stage4", "stage3"))
    assert pair_stages(context(made(Transformer), made(Transformer, dim=24), X)) == tuple((f"stage{i}", f"stage{i}") for i in (1, 2, 3, 4))
    assert pair_stages(context(made(Windows), conv(), X)) == (("stage1", "stage2"), ("stage2", "stage3"))


TERMS = {
    "AT": rd.AT, "FitNet": rd.FitNet, "VID": rd.VID, "SP": rd.SP, "Review": rd.Review, "OFA": rd.OFA, "RKD": rd.RKD, "PKT": rd.PKT,
    "CRD": lambda: rd.CRD(K=4, dim=8), "class token": lambda: rd.FitNet(at=[("stage4:class", "pooled")]), "DeiT": rd.DeiT,
}  # fmt: skip


@pytest.mark.parametrize("name", TERMS)
def test_terms_between_transformers_and_convolutions(name: str) -> None:
    """Every one moves the student, either way round; OFA reads the tokens of a transformer."""
    pixels = torch.randint(0, 255, (10, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = rd.data.Images(pixels, torch.arange(10) % 5, 5, "noise", "half", "flip")
    ways = [(made(Transformer, heads=2), conv(1)), (conv(), made(Windows, 1)), (made(Transformer), made(Transformer, 1, dim=24, heads=2))]
    if name != "class token":
        ways += [(conv(), made(Transformer, 1, heads=2)), (made(Windows), made(Transformer, 1))]
    for student, teacher in ways if name != "class token" else [ways[0], ways[2]]:
        before = [p.clone() for p in student.parameters()]
        term = TERMS[name]()
        result = rd.fit(student, teacher, rd.Method.of(term), images, rd.Recipe(steps=2, batch_size=5, lr=0.01), seed=0, quiet=True)
        assert any(not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True)), name
        assert next(iter(result.losses.values()))[0] > 0
    if name == "OFA":
        assert [mine for mine, _ in next(iter(result.method.parts()))[1].pairs] == ["stage1", "stage2"]
        term.setup(context(made(Transformer), conv(), X))
        assert [mine for mine, _ in term.pairs] == [f"stage{i}:tokens" for i in (1, 2, 3, 4)]  # type: ignore[attr-defined]


def test_what_a_transformer_says_is_remembered_bit_for_bit(tmp_path: Any) -> None:
    """A grid is read as a block of its own, so that its rows can be kept."""
    pixels = torch.randint(0, 255, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = rd.data.Images(pixels, torch.arange(40) % 5, 5, "noise", "half", "flip")
    found = []
    for cache in (False, tmp_path, tmp_path):
        student = conv()
        rd.fit(student, made(Transformer, 1), rd.FitNet() + rd.KD(), images, rd.Recipe(epochs=4, batch_size=20), seed=0, quiet=True,
               cache=cache)  # fmt: skip
        found.append(student.state_dict())
    assert all(torch.equal(found[0][k], other[k]) for other in found[1:] for k in found[0])
    assert len(list(tmp_path.iterdir())) >= 2  # a table for the logits, and one for a stage


# -- where they are installed ----------------------------------------------------------------------------------------------
def small_timm(kind: str) -> nn.Module:
    library("torchvision")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": 32, "num_classes": 5}
    if kind == "swin":
        more = {"patch_size": 2, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
        net: nn.Module = library("timm.models.swin_transformer").SwinTransformer(**settings, **more)
        return net
    settings |= {"patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
    if kind == "deit":
        net = library("timm.models.deit").VisionTransformerDistilled(**settings)
    else:
        net = library("timm.models.vision_transformer").VisionTransformer(**settings, **({"reg_tokens": 2} if kind == "registers" else {}))
    return net


@pytest.mark.parametrize(
    ("kind", "modules", "words"),
    [
        ("vit", ["blocks.0", "blocks.1", "blocks.2", "blocks.3"], ["class"]),
        ("registers", ["blocks.0", "blocks.1", "blocks.2", "blocks.3"], ["class", "token1", "token2"]),
        ("deit", ["blocks.0", "blocks.1", "blocks.2", "blocks.3"], ["class", "token1"]),
        ("swin", ["layers.0", "norm"], []),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_timms(kind: str, modules: list[str], words: list[str]) -> None:
    net = small_timm(kind)
    found = places_of(net, torch.zeros(2, 3, 32, 32))
    assert [found.places[s].module for s in found.stages] == modules
    assert [n.partition(":")[2] for n in found.places if n.startswith("stage2:")] == (["tokens", *words] if words else [])
    pixels = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images, recipe = rd.data.Images(pixels, torch.arange(8) % 5, 5, "noise", "half"), rd.Recipe(steps=1, batch_size=8, lr=0.01)
    wide = rd.models.wrn(10, 1, classes=5, image_size=32)
    method = rd.AT() + rd.FitNet() + (rd.DeiT() if kind == "deit" else rd.CE() + rd.KD())
    if kind == "deit":
        found_pairs = rd.fit(net, wide, method, images, recipe, seed=0, quiet=True).method
        assert [pair[0] for _, term in found_pairs.parts() for pair in term.pairs][-2:] == ["head", "head_dist"]
    else:
        rd.fit(net, wide, method, images, recipe, seed=0, quiet=True)
    result = rd.fit(rd.models.wrn(10, 1, classes=5, image_size=32), net, rd.CE() + rd.AT() + rd.KD(), images, recipe, seed=0, quiet=True)
    assert result.losses["AT"][0] > 0
