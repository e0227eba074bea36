"""The recorder of CUDA graphs against a stand-in for ``torch.cuda`` that writes down what is asked of it: on which stream, in which order,
and what is put right after a recording that was spoilt."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from redistill import replay
from redistill.replay import CudaGraphs, stream_for


class Stream:
    made = 0

    def __init__(self, device: Any = None, name: str | None = None):
        Stream.made += 1
        self.name, self.waits = name or f"stream {Stream.made}", list[str]()

    def wait_stream(self, other: Stream) -> None:
        self.waits.append(other.name)


class Graph:
    """``ended``: its capture came to an end that its allocator knows of."""

    def __init__(self) -> None:
        self.ended = False

    def pool(self) -> object:
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return "its own"

    def replay(self) -> None:
        raise NotImplementedError


class Device:
    """What the recorder asks of torch. ``spoilt``: the end of a capture fails, and its stream stays current, as torch leaves it."""

    def __init__(self) -> None:
        self.default = self.current = Stream(name="default")
        self.captures: list[dict[str, Any]] = []
        self.recorded: list[tuple[str, int, object]] = []
        self.handles = 0
        self.spoilt = False
        self.debug: Any = "default"
        self.full = False

    def empty(self, *size: int, device: Any) -> tuple[str, ...]:
        self.recorded.append(("empty", len(self.captures), self.current.name))
        if self.full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return (self.current.name,)

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(self, graph: Graph, **given: Any) -> Iterator[None]:
        self.captures.append(given)
        before, self.current = self.current, given["stream"]
        try:
            yield
        finally:
            if self.spoilt:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
            graph.ended, self.current = True, before

    def handle(self) -> str:
        self.handles += 1
        return f"pool {self.handles}"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    for name, value in {
        "Stream": Stream, "CUDAGraph": Graph, "graph": made.graph, "stream": made.stream, "graph_pool_handle": made.handle,
        "current_stream": lambda device=None: made.current, "set_stream": lambda stream: setattr(made, "current", stream),
        "device": lambda device: contextlib.nullcontext(), "current_device": lambda: 0, "get_sync_debug_mode": lambda: made.debug,
        "set_sync_debug_mode": lambda mode: setattr(made, "debug", mode),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(replay, "_STREAMS", {})
    monkeypatch.setattr(torch, "empty", made.empty)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda index, pool, name=name: made.recorded.append((name, index, pool)), raising=False)
    return made


def named(stream: Any) -> str:
    """Of a stand-in."""
    return str(stream.name)


def step(recorder: CudaGraphs, device: Device, where: list[str]) -> None:
    """Work of a teacher and two students."""
    with recorder.lanes.beside("teacher"):
        where.append(device.current.name)
    for name in ("student 0", "student 1"):
        with recorder.lanes.beside(name):
            recorder.lanes.after("teacher", None)()
            where.append(device.current.name)
    recorder.lanes.join()


def of(recorder: CudaGraphs, what: str) -> Any:
    """The stand-in of a stream."""
    return stream_for(what, recorder.device)


def test_what_is_rehearsed_is_recorded_on_the_same_streams(device: Device) -> None:
    recorder = CudaGraphs(torch.device("cuda"))
    seen: list[list[str]] = [[], [], []]
    assert recorder.rehearse(lambda: step(recorder, device, seen[0])) is None
    work, recording = of(recorder, "work"), of(recorder, "recording")
    assert device.current is device.default and device.default.waits == [named(work)] and device.debug == "default"
    assert work.waits[0] == "default" and not recording.waits
    kept = [recorder.record(lambda n=n: step(recorder, device, seen[n])) for n in (1, 2)]  # type: ignore[misc]
    assert seen[0] == seen[1] == seen[2] and len({*seen[0], work.name, recording.name, "default"}) == 6
    assert [one["stream"] for one in device.captures] == [recording] * 2
    assert [one["pool"] for one in device.captures] == ["pool 1"] * 2 and device.captures[0]["capture_error_mode"] == "thread_local"
    # the recorded stream only forks and joins: what is computed there would lose its workspace with the next graph that is given up
    assert recording.waits == [named(work)] * 2 and work.waits.count(recording.name) == 2
    for name in seen[0]:  # all come back to where they forked from, and students wait for the teacher
        assert name in work.waits
    assert all(seen[0][0] in of(recorder, f"student {number}").waits for number in (0, 1))
    kept.clear()
    recorder.record(lambda: None)
    assert device.captures[-1]["pool"] == "pool 2"  # nobody used the first any more: it may be gone


def test_every_run_of_a_process_has_the_same_streams(device: Device) -> None:
    """torch has 32 of them, and hands them out again."""
    first = Stream.made
    for _ in range(40):
        recorder = CudaGraphs(torch.device("cuda"))
        recorder.rehearse(lambda r=recorder: step(r, device, []))  # type: ignore[misc]
        recorder.record(lambda r=recorder: step(r, device, []))  # type: ignore[misc]
    assert Stream.made - first == 5


def test_outside_of_a_recording_there_is_one_stream(device: Device) -> None:
    recorder, where = CudaGraphs(torch.device("cuda")), list[str]()
    step(recorder, device, where)
    assert where == ["default"] * 3


def test_a_spoilt_recording_leaves_nothing_behind(device: Device) -> None:
    recorder = CudaGraphs(torch.device("cuda", 1))
    device.spoilt = True

    def fails() -> None:
        with recorder.lanes.beside("teacher"):
            pass
        raise ValueError("a term")

    with pytest.raises(RuntimeError, match="previous error during capture") as raised:
        recorder.record(fails)
    assert isinstance(raised.value.__context__, ValueError) and device.current is device.default
    work = of(recorder, "work")
    assert named(of(recorder, "teacher")) in work.waits  # joined: a stream left alone would spoil the end too
    assert named(work) in of(recorder, "recording").waits
    held = ("empty", 0, named(of(recorder, "recording")))
    assert device.recorded == [held, ("_cuda_endAllocateToPool", 1, "pool 1"), ("_cuda_releasePool", 1, "pool 1")]
    device.spoilt = False
    recorder.record(lambda: None)
    assert device.captures[-1]["pool"] == "pool 2"
    with pytest.raises(ValueError, match="a term"):
        recorder.record(fails)  # this one ends well, but for what it did: the allocator knows
    assert len(device.recorded) == 3 and device.current is device.default


def test_a_graph_is_made_where_there_is_room_for_its_beginning(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an H200 a graph that found no room for the counters of its random generator ended the process from its destructor."""
    recorder, made = CudaGraphs(torch.device("cuda")), list[Graph]()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made.append(Graph()) or made[-1])
    device.full = True
    with pytest.raises(torch.OutOfMemoryError):
        recorder.record(lambda: None)
    assert not made and not device.captures and device.current is device.default
    device.full = False
    for _ in range(2):
        recorder.record(lambda: None)
    room = [one for one in device.recorded if one[0] == "empty"]
    assert len(room) == 2 and {stream for _, _, stream in room} == {named(of(recorder, "recording"))}  # once refused, once kept


def test_a_wait_is_told_with_its_place(device: Device) -> None:
    recorder = CudaGraphs(torch.device("cuda"))

    def waits() -> None:
        warnings.warn("called a synchronizing CUDA operation (Triggered internally at ...)", stacklevel=1)

    assert "something in the step waits for the device (" in str(recorder.rehearse(waits)) and __file__ in str(recorder.rehearse(waits))


def test_what_a_step_warns_of_is_heard_once_and_what_torch_says_of_its_own_watching_never(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch says once a process that the watching for waits is a prototype; where warnings are errors, that would end the run."""
    recorder = CudaGraphs(torch.device("cuda"))

    def watching(mode: Any) -> None:
        device.debug = mode
        warnings.warn("Synchronization debug mode is a prototype feature and does not yet detect all ...", stacklevel=1)

    def warns() -> None:
        for _ in range(3):
            warnings.warn("pooling has no deterministic implementation", stacklevel=1)
        warnings.warn("another", FutureWarning, stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", watching)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert recorder.rehearse(warns) is None
    assert [str(one.message) for one in heard] == ["pooling has no deterministic implementation", "another"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recorder.rehearse(lambda: None) is None
