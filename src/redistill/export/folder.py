"""A run's student in a folder of its own: weights, what builds and feeds it, its source file, a card, the record."""

from __future__ import annotations

import json
import keyword
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redistill.data import normalisation
from redistill.errors import RedistillError
from redistill.export.formats import eval_results
from redistill.export.network import telling
from redistill.features.hidden_state import unsaved_buffers
from redistill.files import make_folder, pretty, read, require_free, there, write
from redistill.models.folder import ABOUT, CONFIG, WEIGHTS, Facts, config_text
from redistill.models.signature import NAMES, filled
from redistill.models.weights import save
from redistill.runs.store import Run
from redistill.sealed import CODE, RECORD
from redistill.tensor_files import header
from redistill.user_code import is_code, load

CARD, USE = "README.md", "use.py"
OTHER_USE = "use_it.py"
"""The script where a source file of the network is called as it is."""
WRITTEN = (CARD, USE, WEIGHTS, CONFIG, RECORD)
"""What stands in the folder beside :data:`ABOUT` and the source files."""


def facts_of_run(run: Run) -> Facts:
    """What is known of a run's student: how it is built and fed, and how accurate it is."""
    student = run.record["experiment"]["student"]
    path = run.weights()
    texts = header(read(path), path)
    about, sizes = json.loads(texts["redistill"]), json.loads(texts["sizes"])
    names = about.get("class_names")
    arch = about.get("arch")
    return Facts(
        model=student["model"],
        args=dict(student.get("args") or {}),
        sizes={"classes": arch["classes"], "channels": arch["channels"], "image_size": sizes["image_size"]} if arch else sizes,
        class_names=None if names is None else tuple(names),
        normalise=about.get("normalisation") or student.get("normalise") or "none",
        code=student.get("code"),
        accuracy={name: float(table["last"]) for name, table in run.record["accuracy"].items()},
        run=run.id,
    )


def write_folder(run: Run, to: Path, *, title: str | None = None, table: str = "", trust_code: bool = False) -> Facts:
    """Write the folder of a run's student.

    Args:
        title, table: of its card (:func:`card_of`). trust_code: code of one's own that the record names may run, to see what its
            constructor takes.

    Raises:
        RedistillError: the run diverged, or keeps no source file; in the folder stands what was not exported.
    """
    if run.diverged is not None:
        raise RedistillError(f"{run.label} (seed {run.seed}) diverged, so there is no network to hand on: {run.diverged}")
    facts = facts_of_run(run)
    net = run.network(trust_code=trust_code)
    kept, sources = run.folder / CODE, []
    if is_code(facts.model) and facts.model.rpartition(":")[0].endswith(".py"):
        if not there(kept):
            raise RedistillError(f"{run.folder} keeps no source file of {facts.model}: an earlier version made it; run it again")
        sources = sorted(file.relative_to(kept) for file in kept.rglob("*.py"))
    script = OTHER_USE if Path(USE) in sources else USE
    require_free(to, [*WRITTEN, script, *map(str, sources)], ABOUT, "--out")
    make_folder(to)
    write(to / ABOUT, pretty(facts.as_json()))  # first: whoever was stopped here finds the folder to be an export's
    for file in sources:
        make_folder((to / file).parent)
        write(to / file, read(kept / file))
    beside = sorted(unsaved_buffers(net))
    save(net, to / WEIGHTS, normalisation=facts.normalise, class_names=facts.class_names, extra={"format": "pt"})
    write(to / CONFIG, config_text(arguments(facts, to)))
    write(to / RECORD, read(run.folder / RECORD))
    write(to / script, use_text(facts, to, beside, script).encode())
    if (results := eval_results(run)) is not None:
        make_folder(to / ".eval_results")
        write(to / ".eval_results" / "redistill.yaml", results)
    write(to / CARD, card_of(run, facts, title=title, table=table, beside=beside, script=script).encode())
    return facts


def arguments(facts: Facts, folder: Path) -> dict[str, Any]:
    """The keyword arguments with which the constructor is called."""
    if is_code(facts.model):
        made = load(facts.place(folder), Path(), trusted=True).object
        return filled(facts.model, made, facts.sizes, facts.args)
    if ":" in facts.model:
        library, known = facts.model.partition(":")[0], {**facts.sizes, **facts.args}
        own = {name: value for name, value in facts.args.items() if name not in NAMES}  # the sizes are said in the library's own word
        return {("num_labels" if library == "hf" else "num_classes"): known["classes"], **own}
    return {**facts.sizes, **facts.args}


def building(facts: Facts, folder: Path, beside: Sequence[str] = ()) -> list[str]:
    """The lines of Python that build the network, load its weights and call it ``net``; ``beside``: its buffers of no state dict."""
    loading = [f'net.load_state_dict(load_file("{WEIGHTS}"))']
    if beside:
        loading = [
            f'tensors, buffers = load_file("{WEIGHTS}"), dict(net.named_buffers())',
            f"for name in {list(beside)!r}:  # of no state dict",
            "    buffers[name].copy_(tensors.pop(name))",
            "net.load_state_dict(tensors)",
        ]
    words = ", ".join(f"{key}={value!r}" for key, value in arguments(facts, folder).items())
    if is_code(facts.model):
        where, _, name = facts.model.rpartition(":")
        module = Path(where).stem if where.endswith(".py") else where
        found = [f"from {module} import {name}"]
        # no import statement takes it, or finds Python's own module of that name
        if where.endswith(".py") and (not module.isidentifier() or keyword.iskeyword(module) or module in sys.stdlib_module_names):
            found = [
                "import importlib.util, sys",
                f'spec = importlib.util.spec_from_file_location("network", "{Path(where).name}")',
                "sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)",
                "spec.loader.exec_module(module)",
                f"{name} = module.{name}",
            ]
        return ["from safetensors.torch import load_file", *found, f"net = {name}({words})", *loading]
    library, _, name = facts.model.partition(":")
    if library == "timm" and name:
        return [
            "import timm",
            "from safetensors.torch import load_file",
            f'net = timm.create_model("{name}", {words})',
            *loading,
        ]
    if library == "torchvision" and name:
        return [
            "import torchvision", "from safetensors.torch import load_file", f'net = torchvision.models.get_model("{name}", {words})',
            *loading,
        ]  # fmt: skip
    return ["import redistill", 'net = redistill.models.load(".").float()']


def use_text(facts: Facts, folder: Path, beside: Sequence[str] = (), script: str = USE) -> str:
    """``use.py``: says what the network thinks of one picture. script: what it is called."""
    own = normalisation(facts.normalise)
    channels, size = facts.sizes.get("channels", 3), facts.sizes.get("image_size", 32)
    mean, std = (list(v) * (channels if len(v) == 1 else 1) for v in (own.mean, own.std))
    names = f"NAMES = {list(facts.class_names)!r}\n" if facts.class_names else f"NAMES = list(map(str, range({facts.sizes['classes']})))\n"
    return (
        f'"""python {script} PICTURE: what the network in this folder says of a picture."""\n\n'
        "import os\nimport sys\n\nimport numpy as np\nimport torch\nfrom PIL import Image, ImageOps\n\n"
        "if len(sys.argv) != 2:\n    sys.exit(__doc__)\n"
        "picture = os.path.abspath(sys.argv[1])\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\n"
        'sys.path.insert(0, ".")\n\n'
        f"{names}MEAN, STD, SIZE = {mean!r}, {std!r}, {size}\n\n" + "\n".join(building(facts, folder, beside)) + "\nnet.eval()\n\n"
        "try:\n    image = ImageOps.exif_transpose(Image.open(picture))\nexcept OSError as error:\n"
        '    sys.exit(f"{sys.argv[1]} cannot be read as a picture: {error}")\n'
        'if image.mode.startswith("I"):  # 16 bits: scaled to 8 as in training, where convert would cut off at 255\n'
        "    image = Image.fromarray(((np.asarray(image).astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))\n"
        f'image = image.convert("{"L" if channels == 1 else "RGB"}")\n'
        # one rounding, as in data/decode.py: SIZE / short first would make a side of 25.5 pixels one of 25.499999999999996
        "width, height = (round(side * SIZE / min(image.size)) for side in image.size)\n"
        "image = image.resize((width, height), Image.Resampling.BILINEAR)\n"
        "left, top = round((image.width - SIZE) / 2), round((image.height - SIZE) / 2)\n"
        f"pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), dtype=np.float32).reshape(SIZE, SIZE, {channels})\n"
        # what counts as 1 belongs to the pixels and not to the constants: of a picture's 8 bits it is 255, of the digits' own 17 levels 16
        "x = (torch.from_numpy(pixels / 255) - torch.tensor(MEAN)) / torch.tensor(STD)\n\n"
        "with torch.no_grad():\n    said = net(x.permute(2, 0, 1)[None])\n"
        "if not isinstance(said, torch.Tensor):  # a dictionary, a dataclass or a tuple: its logits, or its one entry [images, classes]\n"
        "    fields = getattr(said, '_fields', None) or getattr(said, '__dataclass_fields__', ())\n"
        "    named = dict(said) if hasattr(said, 'keys') else {name: getattr(said, name) for name in fields} or dict(enumerate(said))\n"
        "    named = {name: value for name, value in named.items() if isinstance(value, torch.Tensor) and value.ndim == 2}\n"
        "    said = named['logits'] if 'logits' in named else next(iter(named.values()))\n"
        "probabilities = said.softmax(1)[0]\n"
        'for i in probabilities.argsort(descending=True, stable=True)[:5].tolist():\n    print(f"{probabilities[i]:.4f} {NAMES[i]}")\n'
    )


def card_of(
    run: Run, facts: Facts, *, title: str | None = None, table: str = "", beside: Sequence[str] = (), script: str = USE
) -> str:
    """A model card: the index that the hub reads, the table, and how the network is built and fed in five lines."""
    trained_on = run.record["data"]["train"].get("data")
    shown = telling({name: table["data"] for name, table in run.record["accuracy"].items()}, trained_on)
    data = (trained_on or "own images") if shown is None else run.record["accuracy"][shown]["data"]
    short = f"{data.partition(':')[0]}:{Path(data.partition(':')[2].partition(':')[0]).name}" if ":" in data else data
    name = title or facts.model.rpartition(":")[2]
    index = ""
    if shown is not None:
        value = facts.accuracy[shown]
        index = (
            f"model-index:\n- name: {json.dumps(name)}\n  results:\n  - task:\n      type: image-classification\n"
            f"    dataset:\n      name: {json.dumps(short)}\n      type: {json.dumps(short)}\n"
            f"    metrics:\n    - type: accuracy\n      value: {value / 100:.4f}\n"
        )
    own = normalisation(facts.normalise)
    size = facts.sizes.get("image_size")
    lines = "\n".join([*building(facts, Path(".") if not is_code(facts.model) else run.folder / CODE, beside), "net.eval()"])
    classes = f"Its {facts.sizes['classes']} outputs: {_names(facts.class_names)}.\n\n" if facts.class_names else ""
    return (
        f"---\nlibrary_name: pytorch\npipeline_tag: image-classification\ntags:\n- knowledge-distillation\n- redistill\n{index}---\n\n"
        f"# {name}\n\n{table}\n## How it is built and fed\n\nIn this folder (`python {script} PICTURE` does it all):\n\n"
        f"```python\n{lines}\n```\n\n"
        f"It takes {facts.sizes.get('channels', 3)}x{size}x{size} images: shorter side to {size}, the middle cut out, 16 bits scaled to 8, "
        f"pixels divided by their white (255 in a picture), mean {_numbers(own.mean)} taken off, divided by "
        f"{_numbers(own.std)}. It returns logits. {classes}"
        f"What was asked for and measured stands in `{RECORD}` (run `{run.id}`, seed {run.seed}).\n"
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{v:g}" for v in values)
