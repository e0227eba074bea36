"""Train the teacher that travels in the package, and write how it was trained beside it.

    python scripts/make_teacher.py

About a minute of one core. Weights are rounded to half precision before they are measured, so that what is said is what is shipped.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

import redistill as rd
from redistill import machine, tensor_files

NAME = "wrn-16-2-digits"
PLACE = Path(__file__).resolve().parents[1] / "src" / "redistill" / "models" / "shipped"


def main() -> None:
    torch.set_num_threads(1)
    train, test = rd.data.digits()
    net = rd.models.wrn(16, 2, classes=10, channels=1, image_size=8, seed=0)
    recipe = rd.Recipe(epochs=20, batch_size=64, lr=0.1, schedule=rd.Cosine(), per="step")
    result = rd.fit(net, None, rd.CE(), train, recipe, seed=0, evaluate={"test": test})
    halved = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    net.load_state_dict({name: value.float() if value.dtype == torch.float16 else value for name, value in halved.items()})
    accuracy = rd.accuracy(net, test)
    header = {"arch": net.arch.as_json(), "format": 1, "normalisation": str(train.normalise), "class_names": list(train.class_names or ())}
    tensor_files.save(PLACE / f"{NAME}.safetensors", halved, {"redistill": json.dumps(header, sort_keys=True)})
    record = {
        "name": NAME,
        "weights_sha256": tensor_files.tensors_digest(halved),
        "data": "digits (scikit-learn), 1,347 training images of 8x8; measured on the other 450",
        "accuracy": round(accuracy, 2),
        "accuracy_before_rounding": round(result.accuracy["test"].last, 2),
        "method": "CE",
        "recipe": recipe.settings(),
        "seed": 0,
        "versions": machine.versions(),
        "script": "scripts/make_teacher.py",
    }
    (PLACE / f"{NAME}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{NAME}: {accuracy:.2f} % on 450 test images")


if __name__ == "__main__":
    main()
