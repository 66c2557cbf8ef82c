"""The GPU's detection-head kernels against the numpy reference and against the CPU's, box for box."""

import json

import emulator
import numpy as np
import pytest
from emulator import managed
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
from relax_road import frame_argument, frame_parameter, module, program, with_attributes
from tvm import relax
from tvm.target import Target

import tvm_zerocopy as tz
from tvm_zerocopy.passes.apply_schedules import ApplySchedules
from tvm_zerocopy.passes.fuse_detection_head import FuseDetectionHead
from tvm_zerocopy.passes.lower_main import LowerMainToPrimFunc
from tvm_zerocopy.passes.view_rules import VIEW_LEGALIZE_MAP
from tvm_zerocopy.schedules import cuda
from tvm_zerocopy.targets import host_cpu

XAVIER = "nvidia/jetson-agx-xavier"
MANY = {  # more candidates than the selection has threads, up to the whole of a block and one more
    "two classes": Config(tz.Nms(0.1, 0.6, max_det=100, head="yolov8"), classes=2, rows=1153),
    "some may enter": Config(tz.Nms(0.1, 0.6, max_det=700, head="yolov8", max_candidates=600), 2, 1152, batch=2),
    "end2end": Config(tz.Nms(0.1, max_det=600, head="end2end", max_candidates=550), classes=2, rows=1100, batch=2),
}
HEADS = {**CONFIGS, **MANY}


def with_head(config):
    """``main(frame, image, raw)`` that returns ``raw``."""
    frame = config.frame or tz.Frame("bgr8", 8, 8)
    image = ("image", (config.batch, 3, *INPUT), "float32")

    def body(ops, _frame, _image, raw):
        return ops.transpose(ops.transpose(raw, [0, 2, 1]), [0, 2, 1]) if config.columns else raw

    mod = module([frame_parameter(frame), image, ("raw", config.raw_shape, "float32")], body)
    if config.frame is not None:
        mod = with_attributes(mod, frame=frame.to_json(), preprocess=config.preprocess.to_json())
    return mod


def gpu_program(config, folder, checks=None):
    """The head for Jetson AGX Xavier as ``run(picture, raw)``; all memory holds rubbish before."""
    target, mod = Target(Target(XAVIER), host=Target(host_cpu())), with_head(config)
    passes = [
        FuseDetectionHead(config.nms),
        relax.transform.DeadCodeElimination(["main"]),
        relax.transform.LegalizeOps(VIEW_LEGALIZE_MAP),
        ApplySchedules(cuda.rules(), target, None),
        LowerMainToPrimFunc(),
    ]
    with target:
        for step in passes:
            mod = step(mod)
    built, described = emulator.build(mod, target, folder, checks), json.loads(mod.attrs["tz.program"])
    weights = managed(mod.attrs["tz.weights"].numpy())

    def run(picture, raw):
        frame = config.frame or tz.Frame("bgr8", 8, 8)
        image = np.zeros((config.batch, 3, *INPUT), "float32")
        inputs = [managed(array) for array in (frame_argument(frame, picture), image, raw)]
        outputs = [managed(np.full(out["shape"], 77, out["dtype"])) for out in described["outputs"]]
        workspace = managed(np.full(max(described["workspace_bytes"], 1), 0xEE, "uint8"))
        built["main"](*(buffer.tensor() for buffer in (*inputs, *outputs, weights, workspace)))
        results = []
        for buffer in outputs:
            with buffer.for_host() as host:
                results.append(host.copy())
        return results

    return run


@pytest.fixture(scope="module")
def compiled(fake_cuda, tmp_path_factory):
    """``compiled(config)``: the programs for the GPU and for the CPU."""
    programs = {}

    def get(config):
        if config not in programs:
            on_cpu = program(FuseDetectionHead(config.nms)(with_head(config)))
            programs[config] = gpu_program(config, tmp_path_factory.mktemp("head")), on_cpu
        return programs[config]

    return get


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=6, deadline=None)
@given(**SCENES)
@example(seed=0, overlap="scattered", scores="all high", odd=False)
@example(seed=0, overlap="same", scores="all high", odd=False)
@example(seed=0, overlap="clusters", scores="ties", odd=True)
@example(seed=0, overlap="scattered", scores="none", odd=False)
def test_equals_reference_and_cpu(compiled, name, seed, overlap, scores, odd):
    config = HEADS[name]
    raw = raw_output(config, seed, overlap, scores, odd)
    picture, image = np.zeros([8, 8, 3], "uint8"), np.zeros((config.batch, 3, *INPUT), "float32")
    on_gpu, on_cpu = compiled(config)
    found = on_gpu(picture, raw)
    check_equals_reference(config, raw, found)
    for ours, theirs in zip(found, on_cpu(picture, image, raw)):
        if config.nms.head == "yolox":  # the compilers' exponentials differ in the last bit
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["static", "any size, nv12", "any size, top left"])
@pytest.mark.parametrize("size", [(64, 96), (210, 34)])
def test_boxes_are_in_frame_pixels(compiled, name, size):
    config = FRAMES[name]
    height, width = size if config.frame.dynamic else (config.frame.height, config.frame.width)
    raw = raw_output(config, 3, "scattered", "fine", odd=False)
    picture = np.zeros(config.frame.shapes(height, width)[0], "uint8")
    check_is_in_frame_pixels(config, raw, compiled(config)[0](picture, raw), height, width)
