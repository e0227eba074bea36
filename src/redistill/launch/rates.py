"""How fast this machine computes, measured once and remembered."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from redistill.errors import RedistillError
from redistill.files import Lock, canonical, json_of, make_folder, pretty, write
from redistill.paths import cache_dir

STEPS = 10_000  # more than are ever taken
TOGETHER = 10  # steps of an accelerator between two looks at the clock


def rates_file() -> Path | None:
    """Where rates are kept; None where nobody knows of a cache folder."""
    folder = cache_dir()
    return None if folder is None else folder / "rates.json"


def rate(device: str = "auto", precision: str = "strict") -> float:
    """Multiply-accumulates a second of one process here; measured once (about a second) and kept."""
    from redistill.machine import hardware
    from redistill.precision import resolve_device

    here = resolve_device(device)
    facts = hardware(here)
    key = canonical({name: facts[name] for name in ("device", "capability", "threads", "torch")} | {"precision": precision})
    path = rates_file()
    kept = {} if path is None else _kept(path)
    if key in kept:
        return kept[key]
    found = measured(str(here), precision)
    if path is not None:
        # a rate that cannot be kept (a home that is read-only, as on clusters) is used all the same
        with contextlib.suppress(RedistillError):
            make_folder(path.parent)
            _add(path, key, found)
    return found


def _kept(path: Path) -> dict[str, float]:
    """Rates by machine and precision; none of a damaged cache, or one that may not be read, which are measured again."""
    with contextlib.suppress(RedistillError, ValueError, AttributeError, TypeError):
        return {str(name): float(value) for name, value in json_of(path).items()}
    return {}


def _add(path: Path, key: str, found: float) -> None:
    """Keep one more rate beside those that other processes have kept, while this one measured too."""
    lock = Lock(path.with_name(f"{path.name}.lock"))
    lock.take(wait=True)  # for as long as another process writes the file
    try:
        write(path, pretty({**_kept(path), key: found}))
    finally:
        lock.release()


def measured(device: str, precision: str) -> float:
    """Rate of a few training steps of WRN-16-2, about a second of them."""
    import torch

    from redistill import models
    from redistill.core import Batch
    from redistill.machine import wait_for
    from redistill.recipe import Recipe
    from redistill.terms import CE
    from redistill.train.loop import Loop

    # a processor is as fast with 32 images as with 128; an accelerator is not
    size = 32 if torch.device(device).type == "cpu" else 128

    class Same:
        """The same batch again and again."""

        depends_on_student, labelled, classes, image_shape, count = False, True, 10, (3, 32, 32), size
        all_labels: torch.Tensor | None = None
        normalisation = "cifar10-kuangliu"

        def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
            return STEPS  # an epoch that ends looks at every weight, and waits for the device each time

        def start(self, room: object) -> Same:
            to = {"device": getattr(room, "device", None)}
            images = torch.zeros(size, 3, 32, 32, dtype=getattr(room, "dtype", None), **to)
            self.one = Batch(images, torch.zeros(size, dtype=torch.int64, **to))
            return self

        def batch(self, step: int) -> Batch:
            return self.one

        def state_dict(self) -> dict[str, object]:
            return {}

        def load_state_dict(self, state: dict[str, object]) -> None:
            return None

        def log(self) -> dict[str, float]:
            return {}

        def settings(self) -> dict[str, object]:
            return {}

    network = models.wrn(16, 2, classes=10, seed=0)
    work = 3 * size * models.describe(network).macs
    recipe = Recipe(steps=STEPS, batch_size=size, precision=precision, lr=0.0)  # type: ignore[arg-type]
    loop = Loop([(network, 1.0 * CE())], None, Same(), recipe, seed=0, device=device)
    where = torch.device(device)

    def done() -> float:
        """When an accelerator, which runs behind the host, has taken its steps."""
        wait_for(where)
        return time.perf_counter()

    # a processor's own time: on a busy machine the clock on the wall says how busy, and would be remembered (a rate of a tenth, for good)
    clock, together = (time.thread_time, 1) if where.type == "cpu" else (done, TOGETHER)
    turns: list[float] = []
    begin = last = clock()
    for progress in loop:
        if progress.step % together:
            continue
        now = clock()
        if progress.step > together:  # the first warm up
            turns.append((now - last) / together)
        last = now
        if len(turns) >= 3 and now - begin > 1.0:
            break
    loop.close()
    return work / min(turns)  # the fastest: what else is running now does not belong to the machine
