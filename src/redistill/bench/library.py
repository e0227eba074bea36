"""torchdistill's own loop as a contender, where the library is installed: its ``DistillationBox``, driven as its examples drive it.

Same images, crops and first weights as the plain loop, WRN-40-2 to WRN-16-1 by its ``KDLoss`` (0.1 CE + 0.9 KD at T = 4). Its teacher
is put into evaluation mode, in which the other loops have theirs: the library leaves that to its user.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

from redistill.bench.plain import Pictures
from redistill.errors import first_line
from redistill.quiet import quiet

NAME = "torchdistill"


class NotThere(Exception):
    """The library cannot be a contender; the message is the reason."""


class InOrder(Dataset[tuple[Tensor, int]]):
    """The pictures that are asked for, one after the other, as a data set that is read in its own order."""

    def __init__(self, pictures: Pictures, order: Sequence[Sequence[tuple[int, int, int, bool]]]):
        self.pictures, self.asked = pictures, list(itertools.chain.from_iterable(order))

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.pictures[self.asked[place]]


class LibraryLoop:
    """One call is one step.

    Raises:
        NotThere: the library is not installed, or cannot be imported.
    """

    def __init__(
        self, teacher: nn.Module, student: nn.Module, pictures: Pictures, order: Sequence[Sequence[tuple[int, int, int, bool]]], batch: int
    ):
        self.student = student
        logits = {"student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".", "teacher_module_io": "output"}
        kd = {"key": "KDLoss", "kwargs": {**logits, "temperature": 4.0, "alpha": 0.1, "reduction": "batchmean"}}
        config: dict[str, Any] = {
            "num_epochs": 1,
            "train_data_loader": {
                "dataset_id": "train", "sampler": {"class_or_func": SequentialSampler, "kwargs": {}},
                "kwargs": {"batch_size": batch, "num_workers": 0},
            },
            "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only"},
            "student": {"forward_proc": "forward_batch_only"},
            "optimizer": {"key": "SGD", "kwargs": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
        }  # fmt: skip
        with quiet():  # it tells its log what it builds
            make = _library()
            data = {"train": InOrder(pictures, order)}
            self.box = make(teacher.eval(), student, data, config, torch.device("cpu"), None, False, 1)
            self.box.pre_epoch_process(epoch=0)
        self.batches: Iterator[Any] = iter(self.box.train_data_loader)
        self.loss = 0.0

    def __call__(self) -> None:
        images, labels, more = next(self.batches)
        loss = self.box.forward_process(images, labels, more)
        self.box.post_forward_process(loss=loss)
        self.loss = loss.item()  # its examples write it into a meter at every step


def _library() -> Any:
    """What makes a box."""
    if importlib.util.find_spec(NAME) is None:
        raise NotThere("torchdistill is not installed: pip install 'redistill[bench]'")
    try:
        from torchdistill.core.distillation import get_distillation_box  # type: ignore[import-not-found, unused-ignore]
        from torchdistill.losses import high_level, mid_level  # type: ignore[import-not-found, unused-ignore]
    except Exception as error:  # of a torchvision that does not fit torch, for one
        raise NotThere(f"torchdistill cannot be imported ({type(error).__name__}: {first_line(error)})") from error
    assert high_level and mid_level  # imported for the names that they register
    return get_distillation_box
