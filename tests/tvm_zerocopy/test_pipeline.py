"""The list of passes: what the module looks like between them, and which passes are in it."""

import pytest
import tvm
from tvm import relax, tirx

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.models import build
from tvm_zerocopy.pipeline import pipeline
from tvm_zerocopy.specs import Frame, Nms, Preprocess
from tvm_zerocopy.targets import resolve_target


@pytest.fixture(scope="module")
def stages():
    """Pass name -> module after it, of a small detector for any frame size."""
    target, modules = resolve_target("llvm"), {}
    module = import_onnx(build("yolov5n", size=64, classes=3)).module
    with target, tvm.transform.PassContext(opt_level=3):
        for step in pipeline(Frame("nv12"), Preprocess(), Nms(), target):
            module = modules[step.info.name] = step(module)
    return modules


def kernels(module):
    """Names of the kernels that ``main`` calls, in order."""
    return [
        binding.value.args[0].name_hint
        for block in module["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call) and binding.value.op == tvm.ir.Op.get("relax.call_tir")
    ]


def test_after_the_front_main_takes_the_frame_and_gives_boxes(stages):
    main = stages["FuseDetectionHead"]["main"]
    assert [str(param.ty.dtype) for param in main.params] == ["uint8"]
    assert [str(field.dtype) for field in main.ret_ty.fields] == ["float32", "float32", "int32", "int32"]
    assert all(name in main.attrs for name in ("tz.frame", "tz.preprocess", "tz.nms"))


def test_preprocessing_is_one_kernel_after_its_table_and_detection_two(stages):
    called = kernels(stages["FuseTIR"])
    assert called[:2] == ["preprocess_taps", "preprocess"] and called.count("preprocess") == 1
    assert called[-2:] == ["filter_candidates", "select_detections"]


def test_no_layout_conversion_stays_between_convolutions(stages):
    """All activations are blocked from the stem to the head; only the head's three outputs go back to NCHW."""
    called = kernels(stages["FuseTIR"])
    assert not [name for name in called if "to_blocked" in name]
    assert len([name for name in called if "from_blocked" in name]) <= 3


def test_normalization_is_gone_into_the_weights(stages):
    before, after = stages["FusePreprocess"], stages["FoldNormalization"]
    assert before["preprocess"].script() != after["preprocess"].script()
    assert "0.0039" in before["preprocess"].script() and "0.0039" not in after["preprocess"].script()


def test_every_kernel_is_scheduled(stages):
    functions = stages["ApplySchedules"].functions.values()
    assert all(f.attrs.get("tirx.is_scheduled") for f in functions if isinstance(f, tirx.PrimFunc))


def test_the_end_is_one_host_function(stages):
    module = stages["LowerMainToPrimFunc"]
    assert all(isinstance(function, tirx.PrimFunc) for function in module.functions.values())
    assert all(name in module.attrs for name in ("tz.program", "tz.weights"))


def test_without_postprocessing_there_is_no_detection_pass():
    target = resolve_target("llvm")
    names = [step.info.name for step in pipeline(Frame(), Preprocess(), None, target)]
    assert "FuseDetectionHead" not in names and names[-1] == "LowerMainToPrimFunc"


def test_a_target_without_schedules_is_refused():
    with pytest.raises(UnsupportedError, match="no schedules"):
        pipeline(Frame(), Preprocess(), None, tvm.target.Target({"kind": "c"}))
