"""FusePreprocess: the rewrite of main, every option of the specs, strides, and one pass over the output."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from preprocess_cases import INPUT, LAYOUTS, OPTIONS, kernel, random_frame, tensor
from tvm import relax

from tvm_zerocopy.passes.fuse_preprocess import FusePreprocess
from tvm_zerocopy.passes.preprocess_kernel import preprocess_kernel
from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.schedules.cpu import Preprocess as PreprocessSchedule
from tvm_zerocopy.specs import YUV_420, Frame, Preprocess


def model(shape=(1, 3, *INPUT), dtype="float32"):
    """main(images) -> images + images."""
    builder = relax.BlockBuilder()
    images = relax.Var("images", relax.TensorType(shape, dtype))
    with builder.function("main", [images]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.add(images, images))
        builder.emit_func_output(out)
    return builder.get()


def virtual_machine(mod):
    return relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())["main"]


# --- every option ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preprocess", OPTIONS, ids=str)
@pytest.mark.parametrize("name, batch, size", [("bgr8", 1, INPUT), ("nv12", 3, (40, 56)), ("gray8", 2, (37, 31))])
@settings(max_examples=5, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_options(preprocess, name, batch, size, height, width, padding, seed):
    frame = Frame(name, batch=batch)
    height, width = (2 * height, 2 * width) if name in YUV_420 else (height, width)
    arrays = random_frame(frame, height, width, seed, padding)
    found = kernel(frame, preprocess, size)(*arrays)
    np.testing.assert_allclose(found, reference(arrays, frame, preprocess, size), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name, planes", LAYOUTS)
def test_fixed_sizes_and_batches(name, planes):
    frame = Frame(name, height=90, width=122, batch=2, planes=planes)
    arrays = random_frame(frame, 90, 122, padding=6)
    found = kernel(frame, Preprocess())(*arrays)
    np.testing.assert_array_equal(found, reference(arrays, frame, Preprocess(), INPUT))


@pytest.mark.parametrize("name", ["nv12", "i420", "yuyv"])
@pytest.mark.parametrize("matrix, kr, kb", [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)])
@pytest.mark.parametrize("range_", ["limited", "full"])
def test_yuv_within_a_level_of_the_recommendation(name, matrix, kr, kb, range_):
    """ITU-R BT.601-7 / BT.709-6 in float64, on samples of the legal range."""
    height, width = INPUT
    frame = Frame(name, matrix=matrix, range=range_)
    arrays = random_frame(frame, height, width)
    if range_ == "limited":
        arrays = [np.clip(a, 16, 240) for a in arrays]
    found = kernel(frame, Preprocess(scale=1.0))(*arrays)[0]
    y, u, v = _samples(name, arrays[0].astype(np.float64), height, width)
    offset, luma, chroma = (16, 219, 224) if range_ == "limited" else (0, 255, 255)
    y, u, v = (y - offset) * 255 / luma, (u - 128) * 255 / chroma, (v - 128) * 255 / chroma
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    expected = np.clip(np.stack([red, green, blue]), 0, 255)
    # half a level of rounding; OpenCV's three-decimal coefficients (bt601 limited) add less than a quarter
    assert np.abs(found - expected).max() <= 0.75


def _samples(name, array, height, width):
    if name == "yuyv":
        return array[..., 0], array[:, 0::2, 1].repeat(2, 1), array[:, 1::2, 1].repeat(2, 1)
    chroma = array[height:].reshape(-1)
    planes = (chroma[0::2], chroma[1::2]) if name == "nv12" else np.split(chroma, 2)
    u, v = (p.reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1) for p in planes)
    return array[:height], u, v


# --- rows where the caller has them ---------------------------------------------------------------------------------


def test_fixed_pitch_is_required_of_the_array():
    frame = Frame("bgr8", height=50, width=70, pitch=256)
    memory = np.random.default_rng(0).integers(0, 256, (50, 256), dtype=np.uint8)
    array = np.lib.stride_tricks.as_strided(memory, (50, 70, 3), (256, 3, 1))
    found = kernel(frame, Preprocess())(array)
    np.testing.assert_array_equal(found, reference(array, frame, Preprocess(), INPUT))
    with pytest.raises(ValueError, match=r"strides\[0\][\s\S]*expected 256"):
        kernel(frame, Preprocess())(np.ascontiguousarray(array))


def test_samples_within_a_row_must_be_dense():
    frame = Frame("bgr8")
    array = np.zeros((50, 70, 4), np.uint8)[:, :, :3]
    with pytest.raises(ValueError, match="strides"):
        kernel(frame, Preprocess())(array)


@pytest.mark.parametrize(
    "name, planes, shape, message",
    [
        ("gray8", False, (0, 10), r"at least one pixel|strides"),  # NumPy gives empty arrays odd strides
        ("yuyv", False, (10, 11, 2), "even width"),
        ("nv12", False, (15, 11), "even width and height"),
        ("nv12", False, (16, 10), "height \\* 3 / 2 rows"),
    ],
)
def test_impossible_sizes_are_refused(name, planes, shape, message):
    """By the kernel itself, for those who run it without the engine."""
    with pytest.raises(ValueError, match=message):
        kernel(Frame(name, planes=planes), Preprocess())(np.zeros(shape, np.uint8))


def test_odd_planes_are_refused():
    planes = [np.zeros(shape, np.uint8) for shape in ((11, 10), (5, 5, 2))]
    with pytest.raises(ValueError, match="even width and height"):
        kernel(Frame("nv12", planes=True), Preprocess())(*planes)


def test_chroma_of_another_size_is_refused():
    planes = [np.zeros(shape, np.uint8) for shape in ((12, 10), (5, 5, 2))]
    with pytest.raises(ValueError, match="chroma.shape"):
        kernel(Frame("nv12", planes=True), Preprocess())(*planes)


def test_frame_parameters_say_that_they_are_strided():
    func = preprocess_kernel(Frame("i420", planes=True), Preprocess(), *INPUT)
    assert list(func.attrs["tz.strided_params"]) == [0, 1, 2]
    for param in list(func.params)[:3]:
        assert isinstance(param.strides[0], tvm.tirx.Var) and int(param.strides[1]) == 1
        assert param.data_alignment == 1


# --- the rewrite ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, planes", [("bgr8", False), ("nv12", False), ("nv12", True), ("i420", True)])
@pytest.mark.parametrize("dynamic", [True, False])
def test_relax_virtual_machine_reads_padded_rows(name, planes, dynamic):
    """In anybody's relax.build, without this package's schedules or engine."""
    size = {} if dynamic else {"height": 90, "width": 120}
    frame = Frame(name, planes=planes, **size)
    mod = FusePreprocess(frame, Preprocess())(model())
    relax.analysis.well_formed(mod)
    arrays = random_frame(frame, 90, 120, padding=7, misalign=1)
    found = virtual_machine(mod)(*(tensor(a) for a in arrays)).numpy()
    np.testing.assert_array_equal(found, 2 * reference(arrays, frame, Preprocess(), INPUT))


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


# --- one pass over the output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bgr8", "nv12"])
@pytest.mark.parametrize("scheduled", [True, False])
def test_no_intermediate_image(name, scheduled):
    """Lowered, the kernel allocates tables of a side's length and one tile's samples, and stores each output once."""
    height, width = 640, 640
    mod = FusePreprocess(Frame(name), Preprocess())(model((1, 3, height, width)))
    kernels = [f for f in mod.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    assert len(kernels) == 1
    (func,) = kernels
    if scheduled:
        func = PreprocessSchedule().apply(func, tvm.target.Target("llvm")).mod["main"]
    lowered = tvm.ir.transform.Sequential(
        [
            tvm.s_tir.transform.LowerInitBlock(),
            tvm.s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            tvm.s_tir.transform.ConvertBlocksToOpaque(),
            tvm.s_tir.transform.CompactBufferAllocation(),
            tvm.s_tir.transform.LowerOpaqueBlock(),
        ]
    )(tvm.IRModule({"main": func}))["main"]
    allocated, stores = [], []

    def visit(node):
        if isinstance(node, tvm.tirx.AllocBuffer):
            allocated.append(int(np.prod([int(side) for side in node.buffer.shape])))
        if isinstance(node, tvm.tirx.BufferStore) and node.buffer.name == "image":
            stores.append(node)

    tvm_ffi.structural_walk(lowered.body, (object, visit), order="pre")
    assert allocated and sum(allocated) < 10 * (height + width)
    assert len(stores) == 6  # three channels, inside the picture's rows and outside
