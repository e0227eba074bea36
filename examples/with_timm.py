"""A timm network as student of a timm network: nothing is wrapped, places are found by one look.

    pip install 'redistill[timm,demo]' && python examples/with_timm.py

With weights that timm publishes: ``timm.create_model(NAME, pretrained=True, num_classes=...)``, and from the command line
``redistill distill --teacher timm:NAME --student timm:NAME``.
"""

from __future__ import annotations

import timm

import redistill as rd


def main(epochs: int = 3) -> float:
    """The student's accuracy on the test digits, in percent."""
    train, test = rd.data.digits()
    teacher = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    student = timm.create_model("test_efficientnet", num_classes=10, in_chans=1)
    recipe = rd.Recipe(epochs=epochs, batch_size=64, lr=2e-3, optimizer="adamw", weight_decay=0.01)
    rd.fit(teacher, None, rd.CE(), train, recipe, seed=0, quiet=True)  # in the place of published weights
    result = rd.fit(student, teacher, 0.1 * rd.CE() + 0.9 * rd.KD(T=4), train, recipe, seed=0, evaluate={"test": test}, quiet=True)
    return result.accuracy["test"].last


if __name__ == "__main__":
    print(f"{main():.2f} %")
