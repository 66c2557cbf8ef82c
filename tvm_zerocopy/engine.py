"""`Engine`: a compiled program, run on frames."""

from __future__ import annotations

import json
import platform
import threading
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime
from .bound_engine import BoundEngine
from .buffers import ExternalBuffer, cuda
from .cpu_run import Run
from .cuda_compatibility import check_driver, check_runs
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
        self._workspaces: dict = {}  # of calls, by device
        self._placed_weights: dict = {}  # by device

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
        device_id = self.signature.device_of(inputs)
        outputs = self.signature.wrap_outputs(self.allocate_output(device_id))
        with self._lock:
            self._make_run(inputs, list(outputs.values()), self._workspace_of_calls(device_id))()
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
            private = [self._weights, self._workspace_of_calls(0), clock]
            Run(self._get_function("main_timed"), inputs, list(outputs.values()), private)()
        moments = clock.numpy() @ np.array([1_000_000_000, 1])
        calls = zip(self.program["calls"], moments * 1e-9, np.diff(moments) * 1e-9)
        return [(call["kernel"], float(begin), float(seconds)) for call, begin, seconds in calls]

    # --- bind -------------------------------------------------------------------------------------------------------

    @property
    def output_layout(self) -> dict[str, OutputField]:
        """Byte offset, shape and dtype of each output in a buffer that holds all of them."""
        return dict(self.signature.outputs)

    def allocate_output(self, device_id: int = 0) -> ExternalBuffer:
        """One buffer for all outputs, laid out as `output_layout` says: zeroed host memory, or a GPU's managed one."""
        return self.signature.allocate_output(device_id)

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
        if output is None:
            output = self.allocate_output(self.signature.device_of(inputs))
        outputs = self.signature.wrap_outputs(output)
        for name, buffer in outputs.items():
            if any(buffer.overlaps(other) for other in inputs):
                raise BufferError(f"output {name} overlaps the input; give it memory of its own")
        workspace = self._allocate_workspace(self.signature.device_of([*inputs, *outputs.values()]))
        return BoundEngine(self, inputs, outputs, self._make_run(inputs, list(outputs.values()), workspace))

    # --- keep -------------------------------------------------------------------------------------------------------

    def export(self, path, ptx: bool = False) -> Path:
        """Write the engine as one file that `tvm_zerocopy.load` runs with TVM's runtime alone.

        Parameters
        ----------
        path : path
        ptx : bool
            True: kernels for CUDA as PTX, which the drivers of newer GPUs run too (they translate it when the file is
            loaded), instead of machine code for the one architecture. Also for drivers of an older CUDA major version
            than the compiler's, from 11.4 on; see `device_code.portable_ptx`.

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
        if name not in self._functions:
            made_for, here = runtime.machine_of(self.target), platform.machine()
            if made_for not in (None, here):
                raise UnsupportedError(
                    f"this engine was compiled for {made_for} and this machine is {here}; export it and run it there "
                    "(tvm_zerocopy.load), or compile with target 'llvm'"
                )
            self._functions[name] = self.module.get_function(name)
        return self._functions[name]

    def _weights_on(self, device_id: int) -> ExternalBuffer:
        """The weights where kernels read them: on CUDA in the device's own memory, copied there at the first run."""
        if not self._cuda:
            return self._weights
        if device_id not in self._placed_weights:
            weights = ExternalBuffer.allocate(self._weights.shape, "uint8", kind="device", device_id=device_id)
            with cuda.runtime().on_device(device_id):
                cuda.runtime().copy(weights.address, self._weights.address, weights.nbytes)
            self._placed_weights[device_id] = weights
        return self._placed_weights[device_id]

    def _make_run(self, inputs, outputs, workspace: ExternalBuffer):
        function = self._get_function("main")
        if not self._cuda:
            return Run(function, inputs, outputs, [self._weights, workspace])
        from .cuda_run import CudaRun

        device_id, kind = workspace.device_id, self.metadata.get("device_code", "cubin")
        check_runs(json.loads(self.target)["arch"], kind, cuda.runtime().arch(device_id))
        if self.metadata.get("cuda"):
            check_driver(kind, self.metadata["cuda"], cuda.runtime().driver())
        return CudaRun(function, [*inputs, *outputs], [self._weights_on(device_id), workspace], device_id)

    def _allocate_workspace(self, device_id: int) -> ExternalBuffer:
        nbytes, kind = max(self.program["workspace_bytes"], 1), "device" if self._cuda else "host"
        return ExternalBuffer.allocate((nbytes,), "uint8", kind=kind, device_id=device_id)

    def _workspace_of_calls(self, device_id: int):
        if device_id not in self._workspaces:
            self._workspaces[device_id] = self._allocate_workspace(device_id)
        return self._workspaces[device_id]

    def __repr__(self) -> str:
        frame = self.frame or self.signature.inputs
        return f"<Engine {frame} on {self.target}>"


def _spec(kind, text):
    return None if text is None else kind.from_json(text if isinstance(text, str) else json.dumps(text))
