"""Networks of torchvision and timm, where these are installed: all train by logits, and their default stages are maps or refused."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

import redistill as rd
from helpers.libraries import library
from redistill.features.places import places_of

TORCHVISION = {
    # the stages by module, as far as they are sure
    "resnet50": (64, ["relu", "layer1", "layer2", "layer3", "layer4"]),
    "googlenet": (64, ["conv1", "conv3", "inception3b", "inception4e", "inception5b"]),
    "shufflenet_v2_x0_5": (64, ["conv1", "stage2", "stage3", "conv5"]),
    "mobilenet_v3_small": (64, None),
    "convnext_tiny": (64, None),
    "vit_b_32": (224, [f"encoder.layers.encoder_layer_{n}" for n in (2, 5, 8, 11)]),
    "swin_t": (64, ["features.1", "features.3", "features.5", "norm"]),
}
TIMM = {
    "vit_tiny_patch16_224": (224, [f"blocks.{n}" for n in (2, 5, 8, 11)]),
    "deit_tiny_distilled_patch16_224": (224, [f"blocks.{n}" for n in (2, 5, 8, 11)]),
    "mixer_s32_224": (224, [f"blocks.{n}" for n in (1, 3, 5, 7)]),
    "levit_128s": (224, []),
    "mobilevit_xxs": (64, None),
    "res2net50_26w_4s": (64, ["act1", "layer1", "layer2", "layer3", "layer4"]),
}


@pytest.mark.skipif(not os.environ.get("REDISTILL_LIBRARIES"), reason="needs torchvision and timm, and a minute: REDISTILL_LIBRARIES=1")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("where", "name"), [*(("torchvision", n) for n in TORCHVISION), *(("timm", n) for n in TIMM)])
def test_networks_of_the_libraries_train_by_logits(where: str, name: str) -> None:
    made = library(where)
    size, modules = (TORCHVISION if where == "torchvision" else TIMM)[name]
    torch.manual_seed(0)
    net: nn.Module
    if where == "torchvision":
        more = {"init_weights": False} if name == "googlenet" else {}
        net = made.models.get_model(name, weights=None, num_classes=10, **more)
    else:
        net = made.create_model(name, pretrained=False, num_classes=10)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 255, (4, 3, size, size), dtype=torch.uint8, generator=generator)
    images = rd.data.Images(pixels, torch.arange(4), 10, "noise", "half")
    found = places_of(net, torch.zeros(2, 3, size, size))
    if modules is not None:
        assert [found.places[stage].module for stage in found.stages] == modules
    assert (found.unsure is None) == bool(found.stages)
    teacher = rd.models.wrn(10, 1, image_size=size)
    result = rd.fit(net, teacher, rd.CE() + rd.KD(), images, rd.Recipe(steps=1, batch_size=4), seed=0)
    assert result.losses["CE"][0] > 0 and result.losses["KD"][0] > 0
