"""`BoundEngine`: an engine on memory that the caller bound to it."""

from __future__ import annotations

import threading
import weakref

import numpy as np

from .buffers import ExternalBuffer, cuda
from .errors import BufferError, UnsupportedError


class BoundEngine:
    """An engine on fixed memory; made by `Engine.bind`. It keeps every buffer it uses alive.

    `run` may be called from any thread; runs of one binding follow one another. Different bindings have workspaces of
    their own and may run side by side. An output belongs to one living binding at a time: `close` gives it back.
    """

    def __init__(self, engine, inputs: list[ExternalBuffer], outputs: dict[str, ExternalBuffer], run):
        self._engine, self._inputs, self._outputs, self._run = engine, inputs, outputs, run
        self._claim()
        self._lock = threading.Lock()

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """The outputs' memory as arrays, by name; the next run overwrites them."""
        return {name: buffer.numpy() for name, buffer in self._outputs.items()}

    def run(self) -> None:
        """Run on what the input holds now; allocates and copies nothing.

        Raises
        ------
        BufferError
            If a buffer was freed, moved by its owner, is being written by a capture, or the binding is closed.
        """
        with self._lock:
            if self._run is None:
                raise BufferError("this binding is closed; bind the engine again")
            self._run()

    def run_async(self, stream=None) -> None:
        """Submit a run to a CUDA stream and return. From the second run on it replays a CUDA graph.

        The outputs' ``for_host`` (and `detections` after ``synchronize`` of the stream) see the results; another run
        of this binding may be submitted before.

        Parameters
        ----------
        stream : int, stream of cuda-core, torch or CuPy, or None
            None stands for a stream of the binding's own, which waits for no other; 0 is CUDA's default stream.

        Raises
        ------
        UnsupportedError
            On the CPU, which has no streams.
        BufferError
            As `run`.
        """
        with self._lock:
            self._checked("run_async").submit(stream)

    def launch(self, stream) -> None:
        """Submit the kernels one by one to a CUDA stream that the caller is capturing, so that they become part of a
        graph of the caller's own. Run the binding once before: then the driver loads its kernels.

        Whoever launches that graph sees to it that the buffers live, and that host and device take turns at them.

        Parameters
        ----------
        stream : int, or stream of cuda-core, torch or CuPy

        Raises
        ------
        UnsupportedError
            On the CPU, which has no streams.
        BufferError
            If the binding is closed.
        """
        with self._lock:
            self._checked("launch").launch(cuda.stream_handle(stream))

    def detections(self):
        """The last run's detections as views of the output memory; `Detections.copy` keeps them past the next run.

        Without postprocessing a tuple of arrays, the raw outputs.
        """
        return self._engine.results(self._outputs)

    def _checked(self, wanted: str):
        """The run, of an open binding on CUDA; ``wanted`` is what was called."""
        if not self._engine.runs_on_cuda:
            raise UnsupportedError(
                f"{wanted} needs an engine compiled for CUDA; on the CPU call run(), in a thread if needed"
            )
        if self._run is None:
            raise BufferError("this binding is closed; bind the engine again")
        return self._run

    def close(self) -> None:
        """End the binding and let the outputs be bound again."""
        with self._lock:
            self._run = None
            _BINDINGS.discard(self)

    def __enter__(self) -> BoundEngine:
        return self

    def __exit__(self, *_):
        self.close()

    def _claim(self) -> None:
        with _BINDINGS_LOCK:
            taken = [theirs for other in _BINDINGS for theirs in other._outputs.values() if not theirs.freed]
            for name, buffer in self._outputs.items():
                if any(buffer.overlaps(theirs) for theirs in taken):
                    raise BufferError(
                        f"output {name} is bound already; close the other binding first, or give each its own memory"
                    )
            _BINDINGS.add(self)


_BINDINGS = weakref.WeakSet()  # the living ones: no two may write to the same memory
_BINDINGS_LOCK = threading.Lock()
