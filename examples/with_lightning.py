"""A teacher inside PyTorch Lightning: the terms are modules, so they stand in a LightningModule like any loss.

    pip install lightning 'redistill[demo]' && python examples/with_lightning.py
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import redistill as rd


class Distilled(lightning.LightningModule):
    """A student that learns by labels, soft targets and attention; ``images``: a few of those that it will see, to find its places."""

    def __init__(self, student: nn.Module, teacher: nn.Module, images: Tensor):
        super().__init__()
        self.student, self.ce, self.kd, self.at = student, rd.CE(), rd.KD(T=4), rd.AT()
        self.teacher = (teacher.eval(),)  # in a tuple: Lightning must neither save it with the student nor put it into training mode
        self.at.setup(rd.context(student, teacher, images))  # sees the shapes once; a term's adapters become parameters
        self.read = rd.Tapped.reading(student, images, [mine for mine, _ in self.at.pairs])
        self.read_teacher = rd.Tapped.reading(teacher, images, [theirs for _, theirs in self.at.pairs])

    def on_fit_start(self) -> None:
        self.teacher[0].to(self.device)

    def training_step(self, pair: tuple[Tensor, Tensor], number: int) -> Tensor:
        batch = rd.Batch(*pair)
        student = self.read(batch.images)
        with torch.no_grad():
            teacher = self.read_teacher(batch.images)
        soft = 0.1 * self.ce(student, teacher, batch) + 0.9 * self.kd(student, teacher, batch)
        loss: Tensor = soft + 60 * self.at(student, teacher, batch)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)  # the student's parameters, and those of the terms


def main(epochs: int = 5) -> float:
    """The student's accuracy on the test digits, in percent."""
    train, test = rd.data.digits()
    student = rd.models.wrn(10, 1, classes=10, channels=1, image_size=8, seed=0)
    module = Distilled(student, rd.models.load("wrn-16-2-digits"), train.normalised(slice(8)))
    few = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", **few)
    assert train.y is not None
    trainer.fit(module, DataLoader(TensorDataset(train.normalised(), train.y), batch_size=64, shuffle=True))
    student.normalisation = train.normalise
    return rd.accuracy(student, test)


if __name__ == "__main__":
    print(f"{main():.2f} %")
