"""What the benchmark runs: one model in one precision, from one kind of frame, and the programs that are made of it."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import tvm
from box_scores import best_first
from onnx import TensorProto, helper

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.buffers import ExternalBuffer, cuda
from tvm_zerocopy.engine import Engine
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.pipeline import pipeline
from tvm_zerocopy.program import build_module
from tvm_zerocopy.reference import image
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning.published import published_for

MODELS = ("yolov5n", "yolov5s", "yolov8n", "yolov8s", "resnet18")
CLASSIFIERS = ("resnet18",)
CANDIDATES = 300  # that enter NMS
IN_FRONT = ("FusePreprocess", "FoldNormalization")  # passes that the network alone goes without


@dataclass(frozen=True)
class Work:
    """One line of the results.

    Attributes
    ----------
    name : str
        One of ``models.available()``; weights are random.
    size : int or None
        Pixels a side of the network's input; None: the model's own (640, ResNet 224).
    frame : Frame
        nv12, of a fixed size.
    precision : {"float32", "float16"}
    arch : str
        ``sm_90``.
    """

    name: str
    size: int | None
    frame: tz.Frame
    precision: str
    arch: str

    @functools.cached_property
    def model(self) -> onnx.ModelProto:
        return models.build(self.name, size=self.size)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return tuple(d.dim_value for d in self.model.graph.input[0].type.tensor_type.shape.dim[2:])

    @property
    def target(self) -> tvm.target.Target:
        return resolve_target(f"cuda -arch={self.arch}")

    @property
    def preprocess(self) -> tz.Preprocess:
        return tz.Preprocess.imagenet() if self.name in CLASSIFIERS else tz.Preprocess()

    @property
    def detects(self) -> bool:
        return self.name not in CLASSIFIERS

    @property
    def head(self) -> str:
        """Of a detector, as ``Nms.head`` names it."""
        return "yolov5" if self.name.startswith("yolov5") else "yolov8"

    @functools.cached_property
    def threshold(self) -> float:
        """The confidence that leaves about `CANDIDATES` boxes of a frame of noise: random weights score low."""
        frame = random_frame(self.frame, np.random.default_rng(0))
        best = best_first(self.expected(frame)[0][0], self.head)
        return float(best[min(CANDIDATES, len(best) - 1)])

    @property
    def nms(self) -> tz.Nms | None:
        return tz.Nms(conf=self.threshold) if self.detects else None

    @functools.cached_property
    def _session(self):
        return onnxruntime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])

    def expected(self, frame: np.ndarray) -> list[np.ndarray]:
        """A frame's raw outputs by onnxruntime in float32."""
        blob = image.preprocess(frame, self.frame, self.preprocess, self.input_size)
        return self._session.run(None, {self._session.get_inputs()[0].name: blob})

    def compile(self, postprocess: tz.Nms | None = None, target=None) -> Engine:
        """``tz.compile``; for the GPU that is here unless another target is given."""
        options = {"postprocess": postprocess, "target": target or self.target, "precision": self.precision}
        return tz.compile(self.model, frame=self.frame, preprocess=self.preprocess, **options)

    @functools.cached_property
    def raw(self) -> Engine:
        """Frame to raw outputs."""
        return self.compile()

    @functools.cached_property
    def whole(self) -> Engine:
        """Frame to boxes; classifiers: to logits."""
        return self.compile(self.nms) if self.detects else self.raw

    def compile_network(self) -> Engine:
        """The network alone: the float32 image that preprocessing makes to raw outputs."""
        target, imported = self.target, import_onnx(self.model, None, 1)
        passes = pipeline(self.frame, self.preprocess, None, target, published_for(target), self.precision)
        with target, tvm.transform.PassContext(opt_level=3):
            module = imported.module
            for step in passes:
                if step.info.name not in IN_FRONT:
                    module = step(module)
            library = build_module(module, target)
        metadata = {"target": str(target), "device": "cuda", "output_names": list(imported.output_names)}
        weights = ExternalBuffer.wrap(module.attrs["tz.weights"])
        return Engine(library, json.loads(module.attrs["tz.program"]), weights, metadata)

    def compile_preprocess(self, preprocess: tz.Preprocess | None = None) -> Engine:
        """A network that gives back its input: what is left of its program is the preprocessing."""
        height, width = self.input_size
        return tz.compile(
            _identity(height, width),
            frame=self.frame,
            preprocess=preprocess or self.preprocess,
            postprocess=None,
            target=self.target,
            precision=self.precision,
        )


def _identity(height: int, width: int) -> onnx.ModelProto:
    images, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, height, width]) for name in ("images", "output")
    )
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output"])], "identity", [images], [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def place(array: np.ndarray, kind: str = "device") -> ExternalBuffer:
    """The array's values in memory of that kind."""
    buffer = ExternalBuffer.allocate(array.shape, array.dtype, kind=kind)
    source = np.ascontiguousarray(array)
    cuda.runtime().copy(buffer.address, source.ctypes.data, source.nbytes)
    return buffer


def fetch(buffer: ExternalBuffer) -> np.ndarray:
    """A copy of what a dense buffer holds, once what writes it on the default stream is done."""
    array = np.empty(buffer.shape, buffer.dtype)
    cuda.runtime().copy(array.ctypes.data, buffer.address, array.nbytes)
    return array


def random_frame(frame: tz.Frame, random) -> np.ndarray:
    """Fresh noise of the frame's size (any that its format has, where that is open): one tensor."""
    height, width = frame.height, frame.width
    if frame.dynamic:
        height, width = (2 * int(random.integers(20, 400)) for _ in range(2))
    return random.integers(0, 256, frame.shapes(height, width)[0], np.uint8)
