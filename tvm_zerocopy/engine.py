"""`Engine`: a compiled program, run on frames; `BoundEngine`: the same on memory that the caller bound to it."""

from __future__ import annotations

import json
import platform
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime
from .buffers import ExternalBuffer, cuda
from .buffers.held import HeldRun
from .cuda_toolchain import check_runs
from .detections import Detections
from .errors import BufferError, UnsupportedError
from .signature import OutputField, Signature
from .specs import Frame, Nms, Preprocess
from .threads import use_available_cpus

DETECTION_OUTPUTS = ("boxes", "scores", "classes", "count")


class Engine:
    """A compiled detector: camera frame in, boxes out. Made by `tvm_zerocopy.compile` and `tvm_zerocopy.load`.

    Attributes
    ----------
    frame : Frame or None
        What it takes; None if it was compiled without preprocessing.
    preprocess : Preprocess or None
    postprocess : Nms or None
        None: it gives the model's raw outputs.
    names : tuple of str or None
        Of the classes.
    metadata : dict
        Everything that travels in the artifact: specs, versions, target, names.
    program : dict
        Inputs, outputs, every kernel call and every planned buffer; see `LowerMainToPrimFunc`.

    Notes
    -----
    Calls from several threads run one after another on this engine's one workspace; TVM starts a pool of threads for
    each calling thread. For frames in flight side by side, `bind` each to buffers of its own.
    """

    def __init__(self, module, program: dict[str, Any], weights: ExternalBuffer, metadata: dict[str, Any], source=None):
        use_available_cpus()
        self.module, self.program, self.metadata = module, program, dict(metadata)
        self.frame = _spec(Frame, metadata.get("frame"))
        self.preprocess = _spec(Preprocess, metadata.get("preprocess"))
        self.postprocess = _spec(Nms, metadata.get("postprocess"))
        self.names = tuple(metadata["names"]) if metadata.get("names") else None
        self.target = metadata.get("target", "llvm")
        self._cuda = metadata.get("device", "cpu") == "cuda"
        names = DETECTION_OUTPUTS if self.postprocess is not None else metadata.get("output_names")
        self.signature = Signature(program, self.frame, names, self._cuda)
        self._weights = weights
        self._source = source  # the file it was loaded from
        self._lock = threading.Lock()
        self._functions: dict = {}  # looking one up in a module takes a fifth of a millisecond
        self._workspace = None
        self._placed_weights = None

    # --- run --------------------------------------------------------------------------------------------------------

    def __call__(self, frame):
        """Run on one frame (or one batch of them), read where it lies.

        Parameters
        ----------
        frame : numpy array, ExternalBuffer, or what offers DLPack, ``__cuda_array_interface__`` or the buffer protocol
            For ``Frame(planes=True)`` a list of planes.

        Returns
        -------
        Detections
            A list of them for ``Frame.batch > 1``. Without postprocessing: a tuple of numpy arrays, the raw outputs.

        Raises
        ------
        FrameError
            If the frame is not what the engine was compiled for.
        """
        inputs = self.signature.wrap_inputs(frame)
        whole = self.allocate_output()
        outputs = self.signature.wrap_outputs(whole)
        with self._lock:
            if self._workspace is None:
                self._workspace = self._allocate_workspace()
            self._make_run(inputs, list(outputs.values()), self._workspace)()
        return self.results(outputs)

    def results(self, outputs: dict[str, ExternalBuffer]):
        """Views of the outputs' memory: what `__call__` returns."""
        arrays = [buffer.numpy() for buffer in outputs.values()]
        if self.postprocess is None:
            return tuple(arrays)
        batch = len(arrays[-1])
        found = [Detections.of_frame(arrays, frame, self.names) for frame in range(batch)]
        return found if batch > 1 else found[0]

    def time_kernels(self, frame) -> list[tuple]:
        """Run once and time each kernel, in the order of the program.

        Returns
        -------
        list of (str, float)
            Kernel name and seconds. The kernels run exactly as always; the clock is read between them.

        Raises
        ------
        FrameError
            If the frame is not what the engine was compiled for.
        UnsupportedError
            On CUDA, where the host's clock sees launches and not kernels.
        """
        return [(kernel, seconds) for kernel, _, seconds in self.trace_kernels(frame)]

    def trace_kernels(self, frame) -> list[tuple]:
        """`time_kernels` with the time at which each kernel began.

        Returns
        -------
        list of (str, float, float)
            Kernel name, its begin on the clock of ``time.monotonic()``, seconds.
        """
        if self._cuda:
            raise UnsupportedError("kernels on CUDA are timed by CUPTI; use `tvm-zerocopy bench --trace`")
        inputs = self.signature.wrap_inputs(frame)
        outputs = self.signature.wrap_outputs(self.allocate_output())
        clock = ExternalBuffer.allocate((len(self.program["calls"]) + 1, 2), "int64")
        with self._lock:
            if self._workspace is None:
                self._workspace = self._allocate_workspace()
            Run(self, inputs, list(outputs.values()), self._workspace, clock)()
        moments = clock.numpy() @ np.array([1_000_000_000, 1])
        calls = zip(self.program["calls"], moments * 1e-9, np.diff(moments) * 1e-9)
        return [(call["kernel"], float(begin), float(seconds)) for call, begin, seconds in calls]

    # --- bind -------------------------------------------------------------------------------------------------------

    @property
    def output_layout(self) -> dict[str, OutputField]:
        """Byte offset, shape and dtype of each output in a buffer that holds all of them."""
        return dict(self.signature.outputs)

    def allocate_output(self) -> ExternalBuffer:
        """One buffer for all outputs, laid out as `output_layout` says; zeroed."""
        return self.signature.allocate_output()

    def bind(self, input, output=None) -> BoundEngine:
        """Fix the memory of input and output, so that a run allocates and copies nothing.

        Parameters
        ----------
        input : as for `__call__`
            Read in place at each run. Several bindings may share it.
        output : dict of str to array, or one buffer, or None
            Memory for each output by name (``boxes``, ``scores``, ``classes``, ``count``; raw outputs under the model's
            names), or one dense buffer laid out as `output_layout` says. None: `allocate_output`.

        Returns
        -------
        BoundEngine

        Raises
        ------
        FrameError
            If the input is not what the engine was compiled for.
        BufferError
            If the output is read-only, too small, not dense, overlaps the input, or is bound already.
        """
        inputs = self.signature.wrap_inputs(input)
        outputs = self.signature.wrap_outputs(self.allocate_output() if output is None else output)
        for name, buffer in outputs.items():
            if any(buffer.overlaps(other) for other in inputs):
                raise BufferError(f"output {name} overlaps the input; give it memory of its own")
        return BoundEngine(self, inputs, outputs)

    # --- keep -------------------------------------------------------------------------------------------------------

    def export(self, path, ptx: bool = False) -> Path:
        """Write the engine as one file that `tvm_zerocopy.load` runs with TVM's runtime alone.

        Parameters
        ----------
        path : path
        ptx : bool
            True: kernels for CUDA as PTX, which the drivers of newer GPUs run too (they translate it when the file is
            loaded), instead of machine code for the one architecture.

        Raises
        ------
        UnsupportedError
            If a C compiler to link with is missing, or PTX is asked for and the engine has none.
        """
        from .artifact import write_artifact

        return write_artifact(self, Path(path), ptx)

    @property
    def weights(self) -> ExternalBuffer:
        """All constants, as one uint8 buffer."""
        return self._weights

    @property
    def source(self):
        """The file this engine was loaded from, or None."""
        return self._source

    @property
    def runs_on_cuda(self) -> bool:
        """True if frames must be in memory that a CUDA device sees."""
        return self._cuda

    def _get_function(self, name: str):
        """One of the program's functions, ready to run: machine code for another CPU can be exported but not called."""
        if name in self._functions:
            return self._functions[name]
        made_for, here = runtime.machine_of(self.target), platform.machine()
        if made_for not in (None, here):
            raise UnsupportedError(
                f"this engine was compiled for {made_for} and this machine is {here}; export it and run it there "
                "(tvm_zerocopy.load), or compile with target 'llvm'"
            )
        if self._cuda:
            kind = self.metadata.get("device_code", "cubin")
            check_runs(json.loads(self.target)["arch"], kind, cuda.runtime().arch())
        self._functions[name] = self.module.get_function(name)
        return self._functions[name]

    def _weights_in_place(self) -> ExternalBuffer:
        """The weights where kernels read them: on CUDA in the device's own memory, copied there at the first run."""
        if self._placed_weights is None:
            weights = self._weights
            if self._cuda:
                weights = ExternalBuffer.allocate(self._weights.shape, "uint8", kind="device")
                cuda.runtime().copy(weights.address, self._weights.address, weights.nbytes)
            self._placed_weights = weights
        return self._placed_weights

    def _make_run(self, inputs, outputs, workspace: ExternalBuffer):
        if not self._cuda:
            return Run(self, inputs, outputs, workspace)
        from .cuda_run import CudaRun

        arguments = [b.tensor() for b in (*inputs, *outputs, self._weights_in_place(), workspace)]
        return CudaRun(self._get_function("main"), arguments, [*inputs, *outputs])

    def _allocate_workspace(self) -> ExternalBuffer:
        nbytes = max(self.program["workspace_bytes"], 1)
        return ExternalBuffer.allocate((nbytes,), "uint8", kind="device" if self._cuda else "host")

    def __repr__(self) -> str:
        frame = self.frame or self.signature.inputs
        return f"<Engine {frame} on {self.target}>"


class Run(HeldRun):
    """One call of the program with its arguments made ready, so that calling it again makes nothing new."""

    def __init__(self, engine: Engine, inputs, outputs, workspace: ExternalBuffer, clock: ExternalBuffer | None = None):
        super().__init__(inputs, outputs)
        self._function = engine._get_function("main" if clock is None else "main_timed")
        buffers = [*inputs, *outputs, engine._weights_in_place(), workspace, *([] if clock is None else [clock])]
        self._arguments = tuple(_tensor(buffer, engine.runs_on_cuda) for buffer in buffers)

    def _call(self) -> None:
        self._function(*self._arguments)


class BoundEngine:
    """An engine on fixed memory; made by `Engine.bind`. It keeps every buffer it uses alive.

    `run` may be called from any thread; runs of one binding follow one another. Different bindings have workspaces of
    their own and may run side by side. An output belongs to one living binding at a time: `close` gives it back.
    """

    def __init__(self, engine: Engine, inputs: list[ExternalBuffer], outputs: dict[str, ExternalBuffer]):
        self._engine, self._inputs, self._outputs = engine, inputs, outputs
        self._claim()
        self._run = engine._make_run(inputs, list(outputs.values()), engine._allocate_workspace())
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
        """Submit a run to a CUDA stream and return. From the second run on a stream it replays a CUDA graph.

        The outputs' ``for_host`` (and `detections` after ``synchronize`` of the stream) see the results; another run
        of this binding may be submitted before.

        Parameters
        ----------
        stream : int, stream of cuda-core, torch or CuPy, or None
            None, and the default stream, stand for a stream of the binding's own.

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


def _tensor(buffer: ExternalBuffer, cuda: bool):
    if not cuda and buffer.kind != "host":  # CUDA's host-visible memory, seen from the CPU
        buffer = ExternalBuffer.from_pointer(
            buffer.address, buffer.shape, buffer.dtype, buffer.strides, writable=buffer.writable, owner=buffer
        )
    return buffer.tensor()


def _spec(kind, text):
    return None if text is None else kind.from_json(text if isinstance(text, str) else json.dumps(text))
