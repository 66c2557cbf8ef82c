"""Traces: the file format, the events of an engine on the CPU, and CUPTI's records."""

import json
import sys
import time
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tvm_zerocopy as tz
from tvm_zerocopy.errors import SourceError, UnsupportedError
from tvm_zerocopy.traces import TraceEvent, cupti, trace_engine, write_trace
from tvm_zerocopy.traces.events import to_chrome


@pytest.fixture(scope="module")
def engine(small_detector):
    return tz.load(small_detector[1])


@pytest.fixture(scope="module")
def frame():
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_the_file_is_in_the_trace_event_format(tmp_path):
    events = [
        TraceEvent("conv", "kernel", 100.002, 0.003, "kernels", {"bytes": 8}),
        TraceEvent("frame 0", "host", 100.0, 0.01, "host"),
    ]
    path = tmp_path / "trace.json"
    write_trace(path, events, {"model": "m.onnx"})
    trace = json.loads(path.read_text())
    assert trace["displayTimeUnit"] == "ms" and trace["otherData"] == {"model": "m.onnx"}
    names = {e["args"]["name"]: e["tid"] for e in trace["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_name"}
    frame, conv = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert (frame["name"], frame["ts"], frame["dur"], frame["tid"]) == ("frame 0", 0, 9_999.998, names["host"])
    assert conv["ts"] == 2_000 and conv["dur"] == 2_999.998 and conv["args"] == {"bytes": 8}
    assert conv["cat"] == "kernel" and conv["tid"] == names["kernels"] != names["host"]
    assert {event["pid"] for event in trace["traceEvents"]} == {1}


@given(
    begin=st.floats(0, 1e6),
    lengths=st.lists(st.one_of(st.floats(1e-9, 1e-6), st.floats(1e-6, 1.0)), min_size=2, max_size=50),
)
def test_neighbours_that_touch_do_not_overlap_in_a_viewer(begin, lengths):
    edges = np.cumsum([begin, *lengths])
    trace = to_chrome([TraceEvent("k", "kernel", a, b - a, "kernels") for a, b in zip(edges, edges[1:])])
    found = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    for one, other in zip(found, found[1:]):
        assert one["ts"] + one["dur"] <= other["ts"] or one["dur"] == 0  # what takes floats
        nanoseconds = [int(value * 1e3) for value in (one["ts"], one["dur"], other["ts"])]
        assert nanoseconds[0] + nanoseconds[1] <= nanoseconds[2] or one["dur"] == 0  # what takes whole nanoseconds


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(SourceError, match="give a file that can be written"):
        write_trace(tmp_path / "none" / "trace.json", [])


def test_the_events_of_an_engine(engine, frame):
    before = time.monotonic()
    events = trace_engine(engine, [frame, frame], warmup=1)
    after = time.monotonic()
    calls = engine.program["calls"]
    hosts = [event for event in events if event.category == "host"]
    assert [event.name for event in hosts] == ["frame 0", "frame 1"] and len(events) == 2 * (len(calls) + 1)
    for number, host in enumerate(hosts):
        assert before <= host.begin and host.begin + host.seconds <= after
        inside = [event for event in events if event.facts.get("frame") == number]
        assert [event.name for event in inside] == [call["kernel"] for call in calls]
        assert [event.category == "copy" for event in inside] == [call["copy"] for call in calls]
        moment = host.begin
        for event in inside:  # one after the other, inside the host's call
            assert event.begin >= moment - 1e-6 and event.seconds >= 0
            moment = event.begin + event.seconds
        assert moment <= host.begin + host.seconds + 1e-6
    assert all(event.facts["bytes written"] > 0 for event in events if event.category != "host")


def test_the_kernels_are_those_that_are_timed(engine, frame):
    assert [name for name, _ in engine.time_kernels(frame)] == [name for name, _, _ in engine.trace_kernels(frame)]


AHEAD = 1_700_000_000 * 10**9  # nanoseconds by which CUPTI's clock is ahead of Python's


class CuptiError(Exception):
    pass


class Cupti:
    """A stand-in for cupti-python: hands out records at the flush; CUPTI's clock is not Python's."""

    ActivityKind = types.SimpleNamespace(CONCURRENT_KERNEL=10, MEMCPY=1, MEMCPY2=22, MEMSET=2)
    cuptiError = CuptiError

    def __init__(self, records=(), refuses=None):
        self.records, self.refuses, self.enabled, self.log = list(records), refuses, [], []

    def activity_register_callbacks(self, requested, completed):
        assert requested()[0] > 0
        self.completed = completed

    def activity_enable(self, kind):
        if kind == self.refuses:
            raise CuptiError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")
        self.enabled.append(kind)

    def activity_disable(self, kind):
        self.enabled.remove(kind)

    def get_timestamp(self):
        return time.monotonic_ns() + AHEAD

    def activity_flush_all(self, _flag):
        self.completed(self.records)


def install(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "cupti", types.SimpleNamespace(cupti=module))
    return module


# Fields as ActivityKernel9, ActivityMemcpy6 and ActivityMemset4 have them.
KERNEL = types.SimpleNamespace(
    kind=10,
    name="conv",
    start=5_000,
    end=9_000,
    stream_id=7,
    registers_per_thread=32,
    **{f"grid_{axis}": 2 for axis in "xyz"},
    **{f"block_{axis}": 8 for axis in "xyz"},
)
COPY = types.SimpleNamespace(kind=1, start=1_000, end=3_000, stream_id=7, bytes=64, copy_kind=1, src_kind=1, dst_kind=3)
FILL = types.SimpleNamespace(kind=2, start=500, end=600, stream_id=13, bytes=16, value=0, memory_kind=3)


def test_records_of_cupti(monkeypatch):
    module = install(monkeypatch, Cupti())
    enabled = []

    def call():
        enabled.append(len(module.enabled))
        now = module.get_timestamp()
        for record in (FILL, COPY, KERNEL):
            times = {"start": now + record.start, "end": now + record.end}
            module.records.append(types.SimpleNamespace(**{**vars(record), **times}))
        time.sleep(0.001)

    host, fill, copy, kernel = cupti.record([("frame 0", call)])
    assert enabled == [4] and module.enabled == []  # recorded while it ran, switched off afterwards
    assert (host.name, host.category, host.track) == ("frame 0", "host", "host")
    assert (fill.name, fill.category, fill.facts["bytes"], fill.track) == ("memset", "copy", 16, "copies, stream 13")
    assert copy.name == "memcpy Host-to-Device" and copy.seconds == pytest.approx(2e-6)
    assert copy.facts == {"bytes": 64, "from": "pageable", "to": "device"}
    assert (kernel.name, kernel.category) == ("conv", "kernel")
    assert kernel.facts == {"grid": [2, 2, 2], "block": [8, 8, 8], "registers": 32}
    assert kernel.begin - copy.begin == pytest.approx(4e-6, abs=1e-9)  # nanoseconds are kept
    assert host.begin - 1e-3 < copy.begin < kernel.begin < host.begin + host.seconds  # on one clock


def test_cupti_that_refuses(monkeypatch):
    module = install(monkeypatch, Cupti(refuses=22))
    with pytest.raises(UnsupportedError, match="INSUFFICIENT_PRIVILEGES; close other profilers"):
        cupti.record([("frame 0", lambda: None)])
    assert module.enabled == []


def test_cupti_without_a_driver(monkeypatch):
    module = install(monkeypatch, Cupti())

    def refuse(*_):
        raise RuntimeError("CUDA driver is not found")

    module.activity_register_callbacks = refuse
    with pytest.raises(UnsupportedError, match="CUPTI: CUDA driver is not found"):
        cupti.record([])


def test_errors_of_what_is_recorded_stay_what_they_are(monkeypatch):
    module = install(monkeypatch, Cupti())

    def fail():
        raise RuntimeError("of the engine")

    with pytest.raises(RuntimeError, match="^of the engine$"):
        cupti.record([("frame 0", fail)])
    assert module.enabled == []


def test_no_cupti(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupti", None)
    with pytest.raises(UnsupportedError, match="pip install cupti-python"):
        cupti.record([])
