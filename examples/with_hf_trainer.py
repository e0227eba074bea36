"""A teacher inside Hugging Face's Trainer: ``compute_loss`` asks both networks, the optimiser gets the terms' adapters too.

    pip install transformers accelerate 'redistill[demo]' && python examples/with_hf_trainer.py
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

import redistill as rd


class Distiller(Trainer):
    """Labels, soft targets and a hint from ``teacher``; ``images``: a few of those that they will see, to find their places."""

    def __init__(self, model: nn.Module, teacher: nn.Module, images: Tensor, **more: Any):
        self.ce, self.kd, self.hint = rd.CE(), rd.KD(T=4), rd.FitNet()
        self.hint.setup(rd.context(model, teacher, images))
        self.read = rd.Tapped.reading(model, images, [mine for mine, _ in self.hint.pairs])
        self.read_teacher = rd.Tapped.reading(teacher.eval(), images, [theirs for _, theirs in self.hint.pairs])
        optimiser = torch.optim.SGD([*model.parameters(), *self.hint.parameters()], lr=0.05, momentum=0.9)
        super().__init__(model, optimizers=(optimiser, None), **more)
        for part in (self.hint, teacher):
            part.to(self.args.device)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **more: Any) -> Any:
        batch = rd.Batch(inputs["pixel_values"], inputs["labels"])
        student = self.read(batch.images)
        with torch.no_grad():
            teacher = self.read_teacher(batch.images)
        loss = 0.1 * self.ce(student, teacher, batch) + 0.9 * self.kd(student, teacher, batch) + 10 * self.hint(student, teacher, batch)
        return (loss, {"logits": student.logits}) if return_outputs else loss


def main(epochs: int = 5) -> float:
    """The student's accuracy on the test digits, in percent."""
    train, test = rd.data.digits()
    student = ResNetForImageClassification(  # drawn, not downloaded
        ResNetConfig(num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=10)
    )
    assert train.y is not None
    rows = [{"pixel_values": x, "labels": y} for x, y in zip(train.normalised(), train.y, strict=True)]
    with tempfile.TemporaryDirectory() as place:
        given = TrainingArguments(
            place, num_train_epochs=epochs, per_device_train_batch_size=64, report_to="none", save_strategy="no", use_cpu=True,
            disable_tqdm=True, remove_unused_columns=False, logging_strategy="no",
        )  # fmt: skip
        trainer = Distiller(student, rd.models.load("wrn-16-2-digits"), train.normalised(slice(8)), args=given, train_dataset=rows)
        trainer.train()
    student.normalisation = train.normalise
    return rd.accuracy(student, test)


if __name__ == "__main__":
    print(f"{main():.2f} %")
