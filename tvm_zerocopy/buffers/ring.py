"""`FrameRing`: a pool of frame buffers between a capture thread and the program, with no copy and no torn frame."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import BufferError
from .external import ExternalBuffer
from .layout import row_major

POLICIES = ("block", "drop_oldest")
FREE, WRITING, FILLED, READING = "free", "writing", "filled", "reading"


class RingClosed(BufferError):
    """The ring was closed while waiting, or before; for a consumer: and every captured frame has been delivered."""


class RingTimeout(BufferError, TimeoutError):
    """No slot or frame came within the timeout."""


class RingCounters(NamedTuple):
    """Frames so far: written whole; handed to a consumer; overwritten undelivered; given up by their capture."""

    captured: int
    delivered: int
    dropped: int
    discarded: int


@dataclass(eq=False)
class Slot:
    """One frame's buffers, one a plane.

    Attributes
    ----------
    index : int
        Of the slot in the ring: bind an engine to each once, then run ``bound[slot.index]``.
    buffers : tuple of ExternalBuffer
    arrays : tuple of numpy arrays
        Host views of the buffers.
    sequence : int
        The frame's number, from 0, in the order of capture.
    lent : object or None
        In a lending ring: the frame that its capture put here instead of filling buffers, kept until the slot is free.
    """

    index: int
    buffers: tuple[ExternalBuffer, ...]
    sequence: int = -1
    state: str = FREE
    lent: object = None

    def __post_init__(self):
        self.arrays = tuple(buffer.numpy() for buffer in self.buffers)

    buffer = property(lambda self: self.buffers[0], doc="The first plane's buffer.")
    array = property(lambda self: self.arrays[0], doc="The first plane's array.")


class FrameRing:
    """Slots go round: free, being written, filled, being read, free.

    A slot being read is never written and a slot being written is never delivered, so no frame is ever torn. Any number
    of threads may capture and consume; frames are delivered in the order in which their captures ended, each once.

    Parameters
    ----------
    buffers : list
        One ExternalBuffer, or a tuple of them (planes), for each slot; at least 2 slots. Host-visible and writable.
    policy : {"block", "drop_oldest"}
        When no slot is free, a capture waits for the consumer (nothing is lost), or overwrites the oldest frame that
        nobody has begun to read (the newest is always there; a camera never waits for long).

    Raises
    ------
    BufferError
        If there are fewer than 2 slots, slots overlap or differ in layout, one is read-only, or the policy is unknown.
    """

    def __init__(self, buffers, policy: str = "block"):
        if policy not in POLICIES:
            raise BufferError(f"ring policy is {policy!r}; it must be one of {', '.join(POLICIES)}")
        slots = [Slot(i, b if isinstance(b, tuple) else (b,)) for i, b in enumerate(buffers)]
        _check(slots)
        self.slots = tuple(slots)
        self.policy = policy
        self._changed = threading.Condition()
        self._filled = []  # slots, oldest first
        self._closed = False
        self._counts = dict.fromkeys(RingCounters._fields, 0)

    @classmethod
    def allocate(cls, count: int, frame, kind: str = "host", policy: str = "block") -> FrameRing:
        """A ring of ``count`` new frames.

        Parameters
        ----------
        count : int
            3 lets capture, waiting and inference overlap.
        frame : Frame or tuple of int
            A spec with a size (its planes, pitch and batch are kept), or the shape of one uint8 array.
        kind : str
            See `ExternalBuffer.allocate`.
        policy : {"block", "drop_oldest"}
        """
        planes = _planes(frame)
        make = ExternalBuffer.allocate
        return cls([tuple(make(shape, kind=kind, strides=s) for shape, s in planes) for _ in range(count)], policy)

    @classmethod
    def lending(cls, count: int, policy: str = "block") -> FrameRing:
        """A ring without memory of its own, for decoders and camera queues that hand out frames in theirs.

        A capture sets ``slot.lent`` to the frame; it is let go when its slot is free again, so the producer has at
        most ``count`` frames out at a time.
        """
        return cls([()] * count, policy)

    def capture(self, timeout: float | None = None) -> _Turn:
        """``with ring.capture() as slot``: fill ``slot.array``; the frame is delivered when the block ends.

        If the block raises, the frame is discarded and the slot is free again.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for a slot; None: for ever.

        Raises
        ------
        RingClosed, RingTimeout
            On entry.
        """
        return _Turn(lambda: self._take(self._writable_slot, WRITING, timeout), self._captured, for_host=True)

    def next(self, timeout: float | None = None) -> _Turn:
        """``with ring.next() as slot``: the oldest frame not yet delivered; its slot is free again when the block ends.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for a frame; None: for ever.

        Raises
        ------
        RingClosed
            On entry, if the ring is closed and no frame is left.
        RingTimeout
            On entry.
        """
        return _Turn(lambda: self._take(self._oldest, READING, timeout), self._consumed, for_host=False)

    def close(self) -> None:
        """No more captures. Wakes all who wait; frames already captured can still be taken. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def counters(self) -> RingCounters:
        with self._changed:
            return RingCounters(**self._counts)

    def __enter__(self) -> FrameRing:
        return self

    def __exit__(self, *_):
        self.close()

    # Each of the following runs under the lock.

    def _writable_slot(self) -> Slot | None:
        if self._closed:
            raise RingClosed("the frame ring is closed; no frame can be captured any more")
        for slot in self.slots:
            if slot.state == FREE:
                return slot
        if self.policy == "drop_oldest" and self._filled:
            self._counts["dropped"] += 1
            return self._filled.pop(0)
        return None

    def _oldest(self) -> Slot | None:
        if self._filled:
            return self._filled.pop(0)
        if self._closed and not any(slot.state == WRITING for slot in self.slots):
            raise RingClosed("the frame ring is closed and all its frames have been delivered")
        return None

    def _take(self, find, state: str, timeout: float | None) -> Slot:
        found = []  # what `find` returned, so that it is called once a wake-up

        def ready():
            slot = find()
            if slot is not None:
                found.append(slot)
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                what = "slot to capture into" if state == WRITING else "frame"
                raise RingTimeout(f"no {what} within {timeout} s")
            found[0].state = state
            if state == WRITING:
                found[0].lent = None
            self._counts["delivered"] += state == READING
            return found[0]

    def _captured(self, slot: Slot, failed: bool) -> None:
        with self._changed:
            if failed:
                self._counts["discarded"] += 1
                slot.state, slot.lent = FREE, None
            else:
                slot.sequence = self._counts["captured"]
                self._counts["captured"] += 1
                slot.state = FILLED
                self._filled.append(slot)
            self._changed.notify_all()

    def _consumed(self, slot: Slot, failed: bool) -> None:
        with self._changed:
            slot.state, slot.lent = FREE, None
            self._changed.notify_all()


class _Turn:
    """A ``with`` block that holds one slot; the host side of its buffers too, if it is a capture."""

    def __init__(self, take, give_back, for_host: bool):
        self._take, self._give_back, self._for_host = take, give_back, for_host

    def __enter__(self) -> Slot:
        self._slot = self._take()
        self._holds = ExitStack()
        try:
            for buffer in self._slot.buffers if self._for_host else ():
                self._holds.enter_context(buffer.for_host())  # waits for device work that still reads the last frame
        except BaseException:
            self.__exit__(BufferError, None, None)
            raise
        return self._slot

    def __exit__(self, error, *_):
        self._holds.close()
        self._give_back(self._slot, error is not None)


def _planes(frame) -> list:
    """[(shape, strides in bytes or None)] of a frame spec's tensors, or of one array's shape."""
    if not hasattr(frame, "shapes"):
        return [(tuple(frame), None)]
    if frame.dynamic:
        raise BufferError("a ring's frames need a size: give Frame(height=..., width=...)")
    planes = []
    for plane, shape in enumerate(frame.shapes(frame.height, frame.width)):
        pitch = frame.pitch
        if pitch is not None and frame.format == "i420" and plane > 0:
            pitch //= 2  # i420: chroma rows have half the luma's
        strides = None
        if pitch is not None:
            strides = (pitch, *row_major(shape, 1)[1:])
        if frame.batch > 1:
            step = shape[0] * (strides or row_major(shape, 1))[0]
            shape, strides = (frame.batch, *shape), strides and (step, *strides)
        planes.append((shape, strides))
    return planes


def _check(slots) -> None:
    if len(slots) < 2:
        raise BufferError(
            f"a ring of {len(slots)} slots cannot hold a frame while another is captured; give at least 2"
        )
    first = slots[0].buffers
    for slot in slots:
        layouts = [(b.shape, b.strides, b.dtype) for b in slot.buffers]
        if layouts != [(b.shape, b.strides, b.dtype) for b in first]:
            raise BufferError(f"slot {slot.index} of the ring has another layout than slot 0; all must be alike")
        if not all(buffer.writable for buffer in slot.buffers):
            raise BufferError(f"slot {slot.index} of the ring is read-only; a capture must be able to write it")
    spans = sorted((b.address, b.address + b.nbytes) for slot in slots for b in slot.buffers)
    if any(end > start for (_, end), (start, _) in zip(spans, spans[1:])):
        raise BufferError("buffers of the ring share memory; each slot and plane needs its own")
