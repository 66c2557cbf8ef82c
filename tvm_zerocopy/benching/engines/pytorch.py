"""PyTorch in channels_last, the network taken from the ONNX model by onnx2torch; OpenCV around it."""

from __future__ import annotations

import os
import time

from ..opencv_work import OpenCVWork
from .base import OPENCV, EngineAdapter, Loaded


class PyTorch(EngineAdapter):
    """``compiled``: through ``torch.compile``."""

    def __init__(self, name: str, title: str, compiled: bool):
        super().__init__(name, title, needs=[("torch", "torch"), ("onnx2torch", "onnx2torch torchvision"), OPENCV])
        self.compiled = compiled

    def load(self, work):
        import onnx
        import onnx2torch
        import torch

        torch.set_num_threads(work.threads)
        around = OpenCVWork(work)
        begin = time.perf_counter()
        network = onnx2torch.convert(onnx.load(work.model)).eval()
        for value in (*network.parameters(), *network.buffers()):
            if value.dim() == 4:  # Module.to() would also ask tensors of five axes, a head's anchors, and fail
                value.data = value.data.contiguous(memory_format=torch.channels_last)
        if self.compiled:
            network = torch.compile(with_constant_shapes(network))

        @torch.inference_mode()
        def infer(blob):
            found = network(torch.from_numpy(blob).to(memory_format=torch.channels_last))
            return [value.numpy() for value in (found if isinstance(found, (list, tuple)) else [found])]

        def run(frame):
            return around.results(infer(around.blob(frame)))

        run(work.load_frames()[0])  # torch.compile compiles at the first call
        return Loaded(run, time.perf_counter() - begin, os.path.getsize(work.model), around.output_shapes)


def with_constant_shapes(network):
    """The network of onnx2torch, its Reshapes with their shapes as numbers: ``torch.compile`` refuses them as tensors.

    A shape that keeps an axis (0, as ONNX writes it) or is computed is left as it is.
    """
    import torch

    for node in list(network.graph.nodes):
        if node.op != "call_module" or type(network.get_submodule(node.target)).__name__ != "OnnxReshape":
            continue
        value, shape = node.args
        if shape.op != "get_attr":
            continue
        module, _, name = shape.target.rpartition(".")
        numbers = tuple(getattr(network.get_submodule(module), name).tolist())
        if 0 in numbers:
            continue
        with network.graph.inserting_before(node):
            node.replace_all_uses_with(network.graph.call_function(torch.reshape, (value, numbers)))
        network.graph.erase_node(node)
    network.recompile()
    return network
