"""Two loops compared component by component: what a resumed run must have in common with one that never stopped."""

from __future__ import annotations

from typing import Any

from redistill.core import Batch, Stream
from redistill.core.batch import ROWS
from redistill.runs.compare import difference
from redistill.train.loop import Loop


class Watched:
    """A stream that remembers the last batch it gave."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.last: Batch | None = None

    def batch(self, step: int) -> Batch:
        self.last = self.stream.batch(step)
        return self.last

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state)

    def log(self) -> dict[str, float]:
        return self.stream.log()


def watched(loop: Loop) -> Loop:
    """The same loop, whose batches can be compared too."""
    if not isinstance(loop.stream, Watched):
        loop.stream = Watched(loop.stream)
    return loop


def components(loop: Loop) -> dict[str, Any]:
    """Everything that the rest of a training depends on, by component, causes first."""
    state = loop.state()
    last = loop.stream.last if isinstance(loop.stream, Watched) else None
    # a batch is known only to a loop that has taken a step since it was made
    batches = {} if last is None else {name: getattr(last, name) for name in ROWS}
    found: dict[str, Any] = {"step": loop.step, "batches": batches, "rate": {}, "streams": {}, "optimiser": {}}
    found |= {"parameters": {}, "buffers": {}, "terms": {}, "kept": {}, "curves": {}}
    found["streams"] = {"source": state["stream"], "teacher": state["teacher"]}
    for number, (student, saved) in enumerate(zip(loop.students, state["students"], strict=True)):
        learned = {name for name, _ in student.net.named_parameters()}
        optimiser = saved["optimizer"]
        found["rate"][number] = [group["lr"] for group in optimiser["param_groups"]]
        found["optimiser"][number] = optimiser
        found["parameters"][number] = {name: value for name, value in saved["net"].items() if name in learned}
        found["buffers"][number] = {name: value for name, value in saved["net"].items() if name not in learned}
        found["buffers"][number] |= {"beside": saved["hidden"]}
        found["terms"][number] = {**saved["method"], "beside": saved["hidden_method"]}
        found["kept"][number] = {key: saved[key] for key in ("average", "patience", "kept") if key in saved}
        found["curves"][number] = {key: saved[key] for key in ("buffer", "epoch_sum", "losses", "curves", "diverged")}
    found["curves"]["source"] = state["source_log"]
    return found


def first_difference(a: Loop, b: Loop) -> str | None:
    """The first component in which two loops differ, and where in it; None where they are bit-identical."""
    return difference(components(a), components(b))
