"""Work that is the same at every step, recorded once on the device and replayed: one CUDA graph in place of hundreds of calls.

Recorded work takes nothing and returns nothing: whatever changes from step to step lies in tensors that stay where they are. What
cannot be recorded (layers that draw, shapes that depend on values, a term that reads a value or counts on the host) is done as it
is written, and the reason is said once. Every kind of work is done as it is written a few times first, and watched.
"""

from __future__ import annotations

import contextlib
import gc
import random
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from redistill.features.hidden_state import standing
from redistill.features.taken_for_granted import Standing, listened

WARM = 3  # times that a kind of work is done as it is written before it is recorded
StepWork = Callable[[int | None], None]
"""What is done at a step; None: at any step, it is being recorded."""
T = TypeVar("T")


class ReplayWarning(UserWarning):
    """Steps of a run on a device that could replay them are taken one call at a time; says why. It moves no number."""


class Lanes:
    """Parts of recorded work side by side, each on a stream of its own inside the one graph; elsewhere one after the other."""

    def beside(self, name: str) -> contextlib.AbstractContextManager[None]:
        """What is done inside may run beside the other parts."""
        return contextlib.nullcontext()

    def after(self, name: str, value: T) -> Callable[[], T]:
        """Hands out ``value`` once the part that makes it is done: whoever asks waits for it."""
        return lambda: value

    def join(self) -> None:
        """All parts are done."""


class Recorder(Protocol):
    """How a device records work. ``lanes``: what the work may use to say which of its parts are independent."""

    lanes: Lanes

    def rehearse(self, work: Callable[[], None]) -> str | None:
        """Do the work once as it is written; why it cannot be recorded, as far as that shows."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """What does the work again. Recording does nothing of it."""
        ...

    def simpler(self) -> bool:
        """Whether there is a simpler way of recording, which is taken from now on."""
        ...


_STREAMS: dict[tuple[int, str], torch.cuda.Stream] = {}


def stream_for(what: str, device: torch.device) -> torch.cuda.Stream:
    """The one stream of this process for ``what`` on a device.

    torch hands out 32 in turn: who asked for new ones in every run would get those of an earlier run for something else.
    """
    index = device.index if device.index is not None else torch.cuda.current_device()
    if (index, what) not in _STREAMS:
        _STREAMS[index, what] = torch.cuda.Stream(device)
    return _STREAMS[index, what]


NOTICE = "Synchronization debug mode is a prototype"  # said by torch, once a process, to whoever asks for waits to be told


class CudaGraphs:
    """Records on a CUDA device. All graphs share one pool of memory: none is replayed beside another.

    What has to be there before a recording (handles of libraries, their workspaces, which algorithm is the fastest) is made by the
    rehearsal, which therefore runs on the streams of the recording; so do the nodes that add up gradients, which stay on the stream
    where a graph of gradients first met them.

    Nothing is computed on the stream that is recorded: its work is on others, which fork from it and come back. From PyTorch 2.12 on a
    graph that is given up takes the workspaces of cuBLAS on its stream along, also where other graphs of that stream still write there
    (pytorch/pytorch #193402).
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._streams = CudaLanes(device)
        self.lanes: Lanes = self._streams
        self._held: torch.Tensor | None = None
        self._pool: Any = None  # torch names the type of its handles nowhere
        self._alive: weakref.WeakSet[Any] = weakref.WeakSet()  # graphs that use the pool: without one it may be gone

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        """On the stream of rehearsed and recorded work; the current one waits for it, however it ends."""
        here, apart = torch.cuda.current_stream(self.device), stream_for("work", self.device)
        apart.wait_stream(here)
        try:
            with torch.cuda.stream(apart), self._streams.open():
                yield
        except BaseException:
            with contextlib.suppress(RuntimeError):
                here.wait_stream(apart)
            raise
        here.wait_stream(apart)

    def rehearse(self, work: Callable[[], None]) -> str | None:
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with self._apart():
                    work()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        waits = [one for one in heard if "synchronizing CUDA operation" in str(one.message)]
        others = {(str(one.message), one.filename, one.lineno): one for one in reversed(heard) if one not in waits}
        for (text, _, _), one in reversed(others.items()):  # what the step said itself, each once
            if not text.startswith(NOTICE):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return f"something in the step waits for the device ({waits[0].filename}:{waits[0].lineno})" if waits else None

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        gc.collect()  # not in the middle of a recording
        if self._pool is None or not self._alive:
            self._pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(self.device):
            before, recorded = torch.cuda.current_stream(self.device), stream_for("recording", self.device)
            with torch.cuda.stream(recorded):
                self._hold()
            graph = torch.cuda.CUDAGraph()
            try:
                # thread_local: what other threads ask of the device meanwhile (images that are read ahead) spoils nothing
                with torch.cuda.graph(graph, pool=self._pool, stream=recorded, capture_error_mode="thread_local"), self._apart():
                    work()
            except BaseException:
                torch.cuda.set_stream(before)  # a recording that was spoilt leaves its stream current
                self._abandon(graph)
                raise
        self._alive.add(graph)
        return graph.replay

    def _hold(self) -> None:
        """A few bytes on the recorded stream, kept, beside which a graph finds room for what it begins with.

        A graph that finds none ends the process: it was told of the random generator and the generator was not told of it, and its
        destructor raises over that (seen with PyTorch 2.11 on an H200). Here the same want is an error like any other.
        """
        if self._held is None:
            self._held = torch.empty(1, device=self.device)

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """A recording that was spoilt before its end: the allocator would take it for going on, and refuse what frees memory."""
        with contextlib.suppress(RuntimeError):
            graph.pool()  # it has ended, and tidies up after itself
            return
        index = self.device.index if self.device.index is not None else torch.cuda.current_device()
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            with contextlib.suppress(Exception):
                getattr(torch._C, name)(index, self._pool)
        self._pool = None

    def simpler(self) -> bool:
        before, self.lanes = self.lanes, Lanes()
        return before is self._streams


class CudaLanes(Lanes):
    """Streams that fork from the current one, and come back to it."""

    def __init__(self, device: torch.device):
        self.device, self._opened = device, False
        self._used: dict[str, torch.cuda.Stream] = {}
        self._forked: list[torch.cuda.Stream] = []

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """For as long as work is rehearsed or recorded. However it ends, its streams come back: none may be left on its own."""
        self._opened = True
        self._forked.clear()
        try:
            yield
        except BaseException:
            with contextlib.suppress(RuntimeError):
                self.join()
            raise
        finally:
            self._opened = False

    def beside(self, name: str) -> contextlib.AbstractContextManager[None]:
        if not self._opened:
            return contextlib.nullcontext()
        stream = self._used[name] = stream_for(name, self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        self._forked.append(stream)
        return torch.cuda.stream(stream)

    def after(self, name: str, value: T) -> Callable[[], T]:
        def done() -> T:
            if self._opened and name in self._used:
                torch.cuda.current_stream(self.device).wait_stream(self._used[name])
            return value

        return done

    def join(self) -> None:
        for stream in self._forked:
            torch.cuda.current_stream(self.device).wait_stream(stream)
        self._forked.clear()


def prime(optimizer: torch.optim.Optimizer) -> None:
    """Make the state that a first step would make, all zeros, where there is none yet: what is recorded finds it where it stays."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            names: tuple[str, ...] = ("momentum_buffer",) if group.get("momentum") else ()
            if not isinstance(optimizer, torch.optim.SGD):
                names = ("exp_avg", "exp_avg_sq")
                if "step" not in state:
                    where = parameter.device if group["fused"] or group["capturable"] else "cpu"
                    state["step"] = torch.zeros((), dtype=torch.float32, device=where)
            for name in names:
                if state.get(name) is None:
                    state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


def recorder_of(device: torch.device) -> Recorder | None:
    """What records on a device; None where nothing does."""
    return CudaGraphs(device) if device.type == "cuda" else None


class Replayed:
    """Does work of several kinds: as it is written at first, then recorded and replayed.

    Args:
        nets: whose modules the work calls; what they keep on the host is watched, and their tensors must stay where they are.
        hindered: why work cannot be recorded, None as far as is known; asked before the work and after it was watched.
        say: hears once why work is not replayed.

    Attributes:
        reason: why work is not replayed, None as long as it is.
    """

    def __init__(
        self, recorder: Recorder, nets: Sequence[nn.Module], hindered: Callable[[], str | None], say: Callable[[str], None]
    ):
        self.recorder, self.nets, self._hindered, self._say = recorder, tuple(nets), hindered, say
        self.reason: str | None = None
        self._done: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, Callable[[], None]] = {}
        self._standing: Standing | None = None  # when something was recorded
        if (why := self._why()) is not None:
            self.give_up(why)

    def watch(self, net: nn.Module) -> None:
        """One network more that the work calls."""
        self.nets = (*self.nets, net)
        if self.reason is None and (why := self._why()) is not None:
            self.give_up(why)

    def __call__(self, kind: Hashable, work: StepWork, step: int) -> bool:
        """Work of one kind, at ``step``; whether it was replayed."""
        if self._recorded and self._standing is not None and self._standing.moved():
            self.forget()  # somebody moved a network between two steps, froze a part of it, or listens to it
        if self.reason is None and self._done.get(kind, 0) >= WARM and kind not in self._recorded:
            self._record(kind, work)
        if self.reason is not None:
            work(step)
        elif kind in self._recorded:
            self._recorded[kind]()
            return True
        else:
            self._watched(kind, work, step)
        return False

    def give_up(self, reason: str) -> None:
        """From now on work is done as it is written."""
        self.forget()
        self.reason = reason
        self._say(f"the steps of this run are taken one call at a time, not replayed as one graph: {reason}")

    def forget(self) -> None:
        """What was recorded is not what is to be done any more."""
        self._recorded.clear()
        self._done.clear()

    def _watched(self, kind: Hashable, work: StepWork, step: int) -> None:
        """Once as it is written: what it leaves on the host a replay would not leave."""
        done = self._done.get(kind, 0)
        before, why = self._host(), None
        if done == WARM - 1:
            why = self.recorder.rehearse(lambda: work(step))
        else:
            work(step)
        if (moved := changed(before, self._host())) is not None:
            why = f"{moved} changes on the host at every step"
        why = self._why() or why
        self._done[kind] = done + 1
        if why is not None:
            self.give_up(why)

    def _record(self, kind: Hashable, work: StepWork) -> None:
        try:
            self._recorded[kind] = self.recorder.record(lambda: work(None))
        except Exception as error:  # whatever a device says, the work as it is written tells whether it is right
            if self.recorder.simpler():
                self._done[kind] = 0
                return
            self.give_up(_reason(error))
            return
        self._standing = Standing(self.nets)

    def _why(self) -> str | None:
        """Why the work cannot be recorded, as far as that is known without doing it."""
        return self._hindered() or listened(self.nets)

    def _host(self) -> dict[str, object]:
        away = any(tensor.device.type != "cpu" for net in self.nets for tensor in (*net.parameters(), *net.buffers()))
        kept = [(type(net).__name__, standing(net, away=away)) for net in self.nets]
        found: dict[str, object] = {f"{of}'s {name}": value for of, values in kept for name, value in values.items()}
        state = np.random.get_state()
        return found | {
            "Python's random generator": random.getstate(),
            "numpy's random generator": (state[1].tobytes(), state[2]),  # type: ignore[index]
            "torch's random generator": torch.get_rng_state().numpy().tobytes(),
        }


def changed(before: dict[str, object], after: dict[str, object]) -> str | None:
    """Name of the first thing that is not what it was."""
    return next((name for name in (*before, *after) if before.get(name) != after.get(name)), None)


def _reason(error: BaseException) -> str:
    """The first cause of a failed recording, in one line; what came of it afterwards says less."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, torch.OutOfMemoryError):
        return "the device has no memory left for the recording; a smaller batch_size, or fewer students together, would leave some"
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no more was said'])[0][:200]}"
