"""FusePreprocess on Relax: what its kernel's parameters and its inputs say to the passes that follow."""

import tvm
from preprocess_frames import INPUT
from tvm import relax

from tvm_zerocopy.passes.fuse_preprocess import FusePreprocess
from tvm_zerocopy.passes.preprocess_kernel import preprocess_kernel
from tvm_zerocopy.specs import Frame, Preprocess


def test_frame_parameters_say_that_they_are_strided():
    func = preprocess_kernel(Frame("i420", planes=True), Preprocess(), *INPUT)
    assert list(func.attrs["tz.strided_params"]) == [0, 1, 2]
    for param in list(func.params)[:3]:
        assert isinstance(param.strides[0], tvm.tirx.Var) and int(param.strides[1]) == 1
        assert param.data_alignment == 1


def test_inputs_come_before_weights():
    builder = relax.BlockBuilder()
    shape = relax.TensorType((1, 3, *INPUT), "float32")
    before, images, after = (
        relax.Var("threshold", relax.TensorType((), "float32")),
        relax.Var("images", shape),
        relax.Var("weights", relax.TensorType((8, 3, 3, 3), "float32")),
    )
    with builder.function("main", [before, images, after], attrs={"num_input": 2}):
        out = builder.emit(relax.op.nn.conv2d(images, after))
        builder.emit_func_output(relax.op.multiply(out, before))
    main = FusePreprocess(Frame("nv12", planes=True), Preprocess())(builder.get())["main"]
    assert [p.name for p in main.params] == ["threshold", "luma", "chroma", "weights"]
    assert int(main.attrs["num_input"]) == 3
