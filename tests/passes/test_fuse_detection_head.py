"""Compiled heads against the numpy reference, box for box, on raw outputs that nobody chose."""

import numpy as np
import pytest
import tvm
from head_cases import (
    CONFIGS,
    FRAMES,
    INPUT,
    SCENES,
    Config,
    check_equals_reference,
    check_is_in_frame_pixels,
    raw_output,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tvm import relax

import tvm_zerocopy as tz
from tvm_zerocopy.errors import SpecError
from tvm_zerocopy.passes.fuse_detection_head import FuseDetectionHead


def compile_head(config: Config):
    """``main(frame, image, raw)`` that returns ``raw``, through the pass, as a callable on numpy arrays."""
    frame = config.frame or tz.Frame("bgr8", 8, 8)
    height, width = (tvm.tirx.Var(n, "int64") for n in "hw") if frame.dynamic else (frame.height, frame.width)
    if frame.dynamic and frame.format in ("nv12", "nv21", "i420"):
        shape = (height, width)  # rows of the whole buffer: three halves of the height
    else:
        shape = frame.shapes(height, width)[0]
    params = [
        relax.Var("frame", relax.TensorType(shape, "uint8")),
        relax.Var("image", relax.TensorType((config.batch, 3, *INPUT), "float32")),
        relax.Var("raw", relax.TensorType(config.raw_shape, "float32")),
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            raw = params[2]
            if config.columns:
                raw = builder.emit(
                    relax.op.permute_dims(builder.emit(relax.op.permute_dims(raw, [0, 2, 1])), [0, 2, 1])
                )
            result = builder.emit_output(raw)
        builder.emit_func_output(result)
    mod = builder.get()
    if config.frame is not None:
        attributes = {"tz.frame": frame.to_json(), "tz.preprocess": config.preprocess.to_json()}
        mod["main"] = mod["main"].with_attrs(attributes)
    mod = FuseDetectionHead(config.nms)(mod)
    assert tz.Nms.from_json(str(mod["main"].attrs["tz.nms"])) == config.nms
    vm = relax.VirtualMachine(tvm.compile(mod, target="llvm").jit(), tvm.cpu())
    image = tvm.runtime.tensor(np.zeros((config.batch, 3, *INPUT), "float32"))

    def run(raw, picture=None):
        picture = np.zeros([8, 8, 3], "uint8") if picture is None else picture
        return [o.numpy() for o in vm["main"](tvm.runtime.tensor(picture), image, tvm.runtime.tensor(raw))]

    return run


@pytest.fixture(scope="module")
def compiled():
    programs = {}

    def get(config):
        if config not in programs:
            programs[config] = compile_head(config)
        return programs[config]

    return get


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=60, deadline=None)
@given(**SCENES)
@example(seed=0, overlap="scattered", scores="all high", odd=False)
@example(seed=0, overlap="same", scores="all high", odd=False)
@example(seed=0, overlap="scattered", scores="none", odd=False)
def test_equals_reference(compiled, name, seed, overlap, scores, odd):
    config = CONFIGS[name]
    raw = raw_output(config, seed, overlap, scores, odd)
    check_equals_reference(config, raw, compiled(config)(raw))


@pytest.mark.parametrize("name", FRAMES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 400), width=st.integers(1, 400))
@example(seed=1, height=1, width=400)
@example(seed=1, height=64, width=96)
def test_boxes_are_in_frame_pixels(compiled, name, seed, height, width):
    config = FRAMES[name]
    frame = config.frame
    if not frame.dynamic:
        height, width = frame.height, frame.width
    elif frame.format == "nv12":
        height, width = 2 * height, 2 * width
    raw = raw_output(config, seed, "scattered", "fine", odd=False)
    outputs = compiled(config)(raw, np.zeros(frame.shapes(height, width)[0], "uint8"))
    check_is_in_frame_pixels(config, raw, outputs, height, width)


def test_kernels_allocate_nothing():
    config = Config(tz.Nms(head="yolov5"), classes=80, rows=25200)
    raw = relax.Var("raw", relax.TensorType(config.raw_shape, "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [raw]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(raw))
        builder.emit_func_output(result)
    mod = FuseDetectionHead(config.nms)(builder.get())
    kernels = {v.name_hint: f for v, f in mod.functions_items() if isinstance(f, tvm.tirx.PrimFunc)}
    assert set(kernels) == {"filter_candidates", "select_detections"}
    for name, kernel in kernels.items():
        code = tvm.compile(tvm.IRModule({name: kernel.with_attr("global_symbol", name)}), target="llvm")
        assert "TVMBackendAllocWorkspace" not in code.mod.inspect_source("ll")


def test_refuses_what_is_no_nms():
    with pytest.raises(SpecError, match="takes an Nms, not NoneType; leave the pass out for raw outputs"):
        FuseDetectionHead(None)
