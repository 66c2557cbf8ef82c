import threading
import zlib

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tvm_zerocopy import ExternalBuffer, Frame, FrameRing
from tvm_zerocopy.buffers import RingClosed, RingTimeout
from tvm_zerocopy.errors import BufferError

NOW = 0.0  # timeout: what cannot be had at once is refused


class RingModel(RuleBasedStateMachine):
    """Any order of captures and reads, several open at once, against a list of the frames that must come out."""

    @initialize(slots=st.integers(2, 4), policy=st.sampled_from(["block", "drop_oldest"]))
    def start(self, slots, policy):
        self.ring = FrameRing.allocate(slots, (8,), policy=policy)
        self.policy, self.free = policy, slots
        self.writing, self.reading, self.filled = [], [], []
        self.stamp = self.captured = self.delivered = self.dropped = self.discarded = 0
        self.closed = False

    @rule()
    def begin_capture(self):
        turn = self.ring.capture(NOW)
        if self.closed:
            with pytest.raises(RingClosed):
                turn.__enter__()
            return
        if not self.free and not (self.policy == "drop_oldest" and self.filled):
            with pytest.raises(RingTimeout):
                turn.__enter__()
            return
        if self.free:
            self.free -= 1
        else:
            self.filled.pop(0)
            self.dropped += 1
        slot = turn.__enter__()
        self.stamp += 1
        slot.array[...] = self.stamp % 251
        self.writing.append((turn, slot, self.stamp))

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), fails=st.booleans())
    def end_capture(self, data, fails):
        turn, slot, stamp = self.writing.pop(data.draw(st.integers(0, len(self.writing) - 1)))
        if fails:
            turn.__exit__(ValueError, ValueError(), None)
            self.discarded += 1
            self.free += 1
        else:
            turn.__exit__(None, None, None)
            self.filled.append((stamp, self.captured))
            self.captured += 1

    @rule()
    def begin_read(self):
        turn = self.ring.next(NOW)
        if self.filled:
            stamp, sequence = self.filled.pop(0)
            slot = turn.__enter__()
            assert slot.sequence == sequence
            self.delivered += 1
            self.reading.append((turn, slot, stamp))
        else:
            with pytest.raises(RingClosed if self.closed and not self.writing else RingTimeout):
                turn.__enter__()

    @precondition(lambda self: self.reading)
    @rule(data=st.data(), fails=st.booleans())
    def end_read(self, data, fails):
        turn, _, _ = self.reading.pop(data.draw(st.integers(0, len(self.reading) - 1)))
        turn.__exit__(ValueError if fails else None, None, None)
        self.free += 1

    @precondition(lambda self: self.stamp > 3)
    @rule()
    def close(self):
        self.ring.close()
        self.closed = True

    @invariant()
    def nothing_is_torn_or_lost(self):
        if not hasattr(self, "ring"):
            return
        for _, slot, stamp in self.writing + self.reading:
            assert (slot.array == stamp % 251).all()
        assert self.ring.counters == (self.captured, self.delivered, self.dropped, self.discarded)


TestRing = RingModel.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_no_frame_is_torn_between_threads(policy):
    """Random frames with their CRC inside; numpy and zlib let go of the interpreter lock in the middle of a frame."""
    ring = FrameRing.allocate(3, (64 * 1024,), policy=policy)
    frames, seen, wrong = 400, [], []
    random = np.random.default_rng(0)

    def produce():
        for number in range(frames):
            try:
                with ring.capture() as slot:
                    slot.array[8:] = random.integers(0, 256, 64 * 1024 - 8, np.uint8)
                    slot.array[4:8].view(np.uint32)[0] = number
                    slot.array[:4].view(np.uint32)[0] = zlib.crc32(slot.array[4:])
                    if number % 50 == 49:
                        raise OSError("the camera hiccups")
            except OSError:
                pass
        ring.close()

    def consume():
        while True:
            try:
                with ring.next() as slot:
                    if zlib.crc32(slot.array[4:]) != int(slot.array[:4].view(np.uint32)[0]):
                        wrong.append(slot.sequence)
                    seen.append(int(slot.array[4:8].view(np.uint32)[0]))
            except RingClosed:
                return

    threads = [threading.Thread(target=work) for work in (produce, consume, consume)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    counters = ring.counters
    assert not wrong
    assert counters.discarded == frames // 50 and counters.captured == frames - frames // 50
    assert counters.delivered == len(seen) == len(set(seen)) == counters.captured - counters.dropped
    assert not any(number % 50 == 49 for number in seen)
    if policy == "block":
        assert counters.dropped == 0


def test_close_wakes_everybody():
    ring = FrameRing.allocate(2, (4,))
    full = FrameRing.allocate(2, (4,))
    for _ in range(2):
        with full.capture():
            pass
    outcome = []

    def wait(turn):
        try:
            turn.__enter__()
        except RingClosed:
            outcome.append("closed")

    threads = [threading.Thread(target=wait, args=(turn,)) for turn in (ring.next(), ring.next(), full.capture())]
    for thread in threads:
        thread.start()
    ring.close()
    full.close()
    for thread in threads:
        thread.join(30)
    assert outcome == ["closed"] * 3
    with full.next(), full.next():  # what was captured is still delivered
        pass
    with pytest.raises(RingClosed), full.next():
        pass


def test_block_is_back_pressure():
    ring = FrameRing.allocate(2, (4,))
    released = threading.Event()
    order = []
    for _ in range(2):
        with ring.capture():
            pass

    def produce():
        with ring.capture():
            order.append(released.is_set())

    thread = threading.Thread(target=produce)
    thread.start()
    with ring.next():
        released.set()
    thread.join(30)
    assert order == [True]


def test_a_slot_held_by_the_program_is_not_captured_into():
    ring = FrameRing.allocate(2, (4,))
    with ring.slots[0].buffer.for_device(), pytest.raises(BufferError, match="program is using"), ring.capture(NOW):
        pass
    assert ring.counters.discarded == 1
    with ring.capture(NOW) as slot, pytest.raises(BufferError, match="host is using"), slot.buffer.for_device():
        pass


@pytest.mark.parametrize(
    "frame, shapes, strides",
    [
        (Frame("bgr8", 4, 6), [(4, 6, 3)], [(18, 3, 1)]),
        (Frame("bgr8", 4, 6, pitch=64), [(4, 6, 3)], [(64, 3, 1)]),
        (Frame("gray8", 4, 6, batch=2, pitch=8), [(2, 4, 6)], [(32, 8, 1)]),
        (Frame("nv12", 4, 6, pitch=8, planes=True), [(4, 6), (2, 3, 2)], [(8, 1), (8, 2, 1)]),
        (Frame("i420", 4, 6, pitch=8, planes=True), [(4, 6), (2, 3), (2, 3)], [(8, 1), (4, 1), (4, 1)]),
    ],
)
def test_slots_have_the_frames_layout(frame, shapes, strides):
    for slot in FrameRing.allocate(3, frame).slots:
        assert [buffer.shape for buffer in slot.buffers] == shapes
        assert [array.strides for array in slot.arrays] == strides
        assert all(buffer.address % 64 == 0 for buffer in slot.buffers)


def test_says_what_is_wrong():
    buffers = [ExternalBuffer.allocate(64) for _ in range(2)]
    for make, says in [
        (lambda: FrameRing(buffers, policy="newest"), "ring policy is 'newest'"),
        (lambda: FrameRing(buffers[:1]), "at least 2"),
        (lambda: FrameRing([buffers[0], buffers[1].view(32)]), "another layout"),
        (lambda: FrameRing([buffers[0], buffers[0]]), "share memory"),
        (lambda: FrameRing([buffers[0], ExternalBuffer.wrap(bytes(64))]), "read-only"),
        (lambda: FrameRing.allocate(3, Frame("bgr8")), "need a size"),
    ]:
        with pytest.raises(BufferError, match=says):
            make()


def test_a_lending_ring_passes_the_producers_own_frames_and_lets_them_go():
    frames = [np.full(8, n, np.uint8) for n in range(3)]
    ring = FrameRing.lending(2)
    for frame in frames[:2]:
        with ring.capture(NOW) as slot:
            slot.lent = frame
    with pytest.raises(RingTimeout):
        ring.capture(NOW).__enter__()
    with ring.next(NOW) as slot:
        assert slot.lent is frames[0]
    assert slot.lent is None
    with ring.capture(NOW) as slot:
        slot.lent = frames[2]
    for frame in frames[1:]:
        with ring.next(NOW) as slot:
            assert slot.lent is frame


def test_a_lending_ring_lets_go_of_dropped_and_failed_frames():
    ring = FrameRing.lending(2, "drop_oldest")
    for n in range(4):
        with ring.capture(NOW) as slot:
            assert slot.lent is None
            slot.lent = n
    with pytest.raises(ZeroDivisionError), ring.capture(NOW) as slot:
        slot.lent = 1 / 0
    with ring.next(NOW) as slot:
        assert slot.lent == 3
    assert ring.counters == (4, 1, 3, 1)
