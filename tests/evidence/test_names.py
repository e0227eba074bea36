"""Names of networks, methods and data sets are equal by rules; what no rule settles is asked."""

from __future__ import annotations

import pytest

from redistill.evidence import names


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("WRN-40-2", "wrn-40-2"), ("WRN40-2", "wrn-40-2"), ("wrn_40_2", "wrn-40-2"), ("W40-2", "wrn-40-2"), ("WideResNet-40-2", "wrn-40-2"),
        ("WRN–40–2", "wrn-40-2"), ("resnet8x4", "resnet8x4"), ("ResNet-8×4", "resnet8x4"), ("res32x4", "resnet32x4"),
        ("ResNet 56", "resnet56"),
        ("resnet8x4 (72.50)", "resnet8x4"), ("VGG-13", "vgg13"), ("MobileNet-V2", "mobilenetv2"), ("MV2", "mobilenetv2"),
        ("mv2", "mobilenetv2"),
        ("ShuffleV1", "shufflenetv1"), ("ShuffleNet-V2", "shufflenetv2"), ("ShuV1", "shufflenetv1"), ("R-34", "resnet34"),
        ("WRN-40-1 (0.6M)", "wrn-40-1"),
    ],
)  # fmt: skip
def test_networks(written: str, key: str) -> None:
    assert names.network(written) == key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("KD [14]", "kd"), ("KD (Hinton et al., 2015)", "kd"), ("FitNets†", "fitnet"), ("Attention", "at"), ("Vanilla", names.STUDENT),
        ("Teacher", "teacher"), ("KD+AT", "at+kd"), ("AT + KD", "at+kd"), ("CRD+KD", "crd+kd"), ("Review KD", "reviewkd"),
        ("ReviewKD", "reviewkd"),
        ("Zero-Shot", "zeroshot"), ("DKD", "dkd"), ("student (no distillation)", names.STUDENT),
    ],
)  # fmt: skip
def test_methods(written: str, key: str) -> None:
    assert names.method(written) == key


def test_data() -> None:
    assert [names.data(x) for x in ("CIFAR-100", "cifar100", "CIFAR 10", "ILSVRC-2012", "Tiny-ImageNet")] == [
        "cifar100", "cifar100", "cifar10", "imagenet", "tinyimagenet"]  # fmt: skip


def test_unlike_depths_are_unlike_and_only_near_spellings_are_doubtful() -> None:
    assert names.doubtful("resnet26", ["resnet20", "resnet56"]) == []
    assert names.doubtful("vgg13bn", ["vgg13", "vgg8"]) == ["vgg13"]
    assert names.doubtful("kd", ["dkd", "crd"]) == []
    assert names.network("resnet20") != names.network("resnet32x4")


def test_the_rules_can_be_read() -> None:
    text = "\n".join(names.rules_text())
    assert "fitnets" in text and "wrn-" in text and "ilsvrc2012" in text
