"""Pipelines to count, as `measure.measure` takes them: the bound engine, and what everybody does without it."""

from __future__ import annotations

import dataclasses

import numpy as np

SIZE = (1080, 1920)  # height, width of the frame for programs that take any size


def bound(model: str) -> list:
    """An artifact bound to the caller's buffers; one step, ``bound.run()``."""
    from ..artifact import load

    engine = load(model)
    binding = engine.bind(input=input_buffers(engine), output=engine.allocate_output())
    return [("bound.run()", binding.run)]


def sized_frame(frame):
    """The frame spec itself, or, if it takes any size, one of `SIZE`."""
    return dataclasses.replace(frame, height=SIZE[0], width=SIZE[1]) if frame.dynamic else frame


def input_buffers(engine) -> list:
    """New buffers for an engine's input, filled with noise: host memory, or managed memory for CUDA."""
    from ..buffers import ExternalBuffer, FrameRing

    kind = "managed" if engine.runs_on_cuda else "host"
    if engine.frame is None:
        buffers = [ExternalBuffer.allocate(t.shape, t.dtype, kind) for t in engine.signature.inputs]
    else:
        buffers = FrameRing.allocate(2, sized_frame(engine.frame), kind).slots[0].buffers
    random = np.random.default_rng(0)
    for buffer in buffers:
        buffer.numpy()[...] = random.integers(0, 256, buffer.shape, np.uint8)
    return list(buffers)


class Usual:
    """The usual way with OpenCV and TVM: letterbox, to a float tensor, copy in, virtual machine, copy out, NMS.

    The network is compiled with this package's schedules; around it everything is as tutorials show it.

    Parameters
    ----------
    model : str
        The ONNX file.
    """

    def __init__(self, model: str):
        import tvm

        from ..frontend import import_onnx
        from ..passes.fuse_detection_head import recognize_head

        imported = import_onnx(model, None, 1)
        self.run_network = _virtual_machine(imported.module)["main"]
        self.copy_to_device = tvm.runtime.tensor
        self.height, self.width = imported.input_shape[2:]
        self.head = recognize_head(imported.module).name
        self.frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)

    def steps(self) -> list:
        return [
            ("cv2.resize", self.resize),
            ("cv2.copyMakeBorder", self.pad),
            ("BGR to RGB, HWC to CHW", self.transpose),
            ("to float32", self.to_float),
            ("/ 255", self.scale),
            ("tvm.runtime.tensor: copy in", self.copy_in),
            ("virtual machine", self.infer),
            (".numpy(): copy out", self.copy_out),
            ("decode and NMS in numpy", self.postprocess),
        ]

    def resize(self):
        import cv2

        scale = min(self.height / self.frame.shape[0], self.width / self.frame.shape[1])
        size = round(self.frame.shape[1] * scale), round(self.frame.shape[0] * scale)
        self.image = cv2.resize(self.frame, size, interpolation=cv2.INTER_LINEAR)
        return self.image

    def pad(self):
        import cv2

        top, left = (self.height - self.image.shape[0]) // 2, (self.width - self.image.shape[1]) // 2
        bottom, right = self.height - self.image.shape[0] - top, self.width - self.image.shape[1] - left
        self.image = cv2.copyMakeBorder(self.image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114,) * 3)
        return self.image

    def transpose(self):
        self.planes = np.ascontiguousarray(self.image[:, :, ::-1].transpose(2, 0, 1))
        return self.planes

    def to_float(self):
        self.tensor = self.planes.astype(np.float32)
        return self.tensor

    def scale(self):
        self.tensor = (self.tensor / 255)[None]
        return self.tensor

    def copy_in(self):
        self.input = self.copy_to_device(self.tensor)
        return self.tensor

    def infer(self):
        self.output = self.run_network(self.input)

    def copy_out(self):
        first = self.output if hasattr(self.output, "numpy") else self.output[0]
        self.raw = first.numpy()
        return self.raw

    def postprocess(self):
        from ..reference.nms import detect

        self.result = detect(self.raw[0], self.head, input_size=(self.height, self.width))


def usual(model: str) -> list:
    """The steps of `Usual` for an ONNX detector."""
    return Usual(model).steps()


def _virtual_machine(module):
    """The network alone on Relax's virtual machine, compiled as this package's pipeline compiles it."""
    import tvm
    from tvm import relax

    from ..passes.apply_schedules import ApplySchedules
    from ..passes.block_layout import BlockLayout
    from ..passes.float_math import LEGALIZATIONS
    from ..schedules import cpu
    from ..targets import resolve_target

    target = resolve_target("llvm")
    transform = relax.transform
    passes = [
        transform.DecomposeOpsForInference(),
        transform.FoldBatchnormToConv2D(),
        transform.FoldConstant(),
        BlockLayout(cpu.machine_of(target).lanes),
        transform.FoldConstant(),
        transform.LegalizeOps(LEGALIZATIONS),
        transform.AnnotateTIROpPattern(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(["main"]),
        ApplySchedules(cpu.rules(), target),
    ]
    with target, tvm.transform.PassContext(opt_level=3):
        module = tvm.transform.Sequential(passes)(module)
        return relax.VirtualMachine(relax.build(module, target), tvm.cpu())
