"""Reading ahead: a thread decodes the next frames while the program works on this one. No frame is copied."""

import threading
from typing import Iterator

from ..buffers.ring import FrameRing, RingClosed
from .base import Source, SourceFrame

PATIENCE = 2.0  # seconds


class ReadAhead:
    """Iterate over a source from a thread of its own, through a `FrameRing` that lends the decoder's own frames.

    Parameters
    ----------
    source : Source
    depth : int
        Frames that may wait.
    newest : bool
        True: a frame that nobody took is dropped for a newer one (a camera); False: the thread waits (a video).

    Errors of the source are raised in the consumer's thread, after the frames that came before them.
    """

    def __init__(self, source: Source, depth: int = 2, newest: bool = False):
        self._source = source
        # one slot more than may wait: the frame that is being worked on
        self._ring = FrameRing.lending(depth + 1, "drop_oldest" if newest else "block")
        self._error = None
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced."""
        return self._ring.counters.dropped

    def _read(self) -> None:
        try:
            for frame in self._source:
                with self._ring.capture() as slot:
                    slot.lent = frame
        except RingClosed:
            pass  # the consumer has had enough
        except Exception as error:  # handed to the consumer, who decides
            self._error = error
        self._ring.close()

    def __iter__(self) -> Iterator[SourceFrame]:
        self._thread.start()
        while True:
            try:
                with self._ring.next() as slot:
                    yield slot.lent
            except RingClosed:
                break
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading and wait for the thread; not for ever: a camera that has stalled keeps it."""
        self._ring.close()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
