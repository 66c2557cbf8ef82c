"""The detection head's kernels use the memory that they are given."""

import tvm
from tvm import relax

import tvm_zerocopy as tz
from tvm_zerocopy.passes.fuse_detection_head import FuseDetectionHead


def test_kernels_allocate_nothing():
    raw = relax.Var("raw", relax.TensorType((1, 25200, 85), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [raw]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(raw))
        builder.emit_func_output(result)
    mod = FuseDetectionHead(tz.Nms(head="yolov5"))(builder.get())
    kernels = {v.name_hint: f for v, f in mod.functions_items() if isinstance(f, tvm.tirx.PrimFunc)}
    assert set(kernels) == {"filter_candidates", "select_detections"}
    for name, kernel in kernels.items():
        code = tvm.compile(tvm.IRModule({name: kernel.with_attr("global_symbol", name)}), target="llvm")
        assert "TVMBackendAllocWorkspace" not in code.mod.inspect_source("ll")
