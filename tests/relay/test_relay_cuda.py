"""Programs for Jetson AGX Xavier's GPU, host code and kernels, run on the CPU (see ``cuda_on_cpu``)."""

import numpy as np
import onnx
import pytest
import tvm
from cuda_on_cpu import XAVIER, program
from head_cases import CONFIGS, FRAMES, INPUT, check_equals_reference, check_is_in_frame_pixels, raw_output
from preprocess_frames import INPUT as IMAGE
from preprocess_frames import OPTIONS, random_frame
from relay_cases import build
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.errors import FrameError, UnsupportedError
from tvm_zerocopy.passes.relay import FoldNormalization, FuseDetectionHead, FusePreprocess
from tvm_zerocopy.passes.relay.frame_descriptor import describe
from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.specs import YUV_420, Frame, Preprocess

pytestmark = pytest.mark.usefixtures("cuda")
NAMES = {1: ("frame",), 2: ("luma", "chroma"), 3: ("luma", "u", "v")}


def preprocessing(frame, preprocess, size=IMAGE, by_address=None):
    """main(frame) -> relu(image), made for the GPU."""
    shape = (frame.batch, 3, *size) if preprocess.layout == "NCHW" else (frame.batch, *size, 3)
    images = relay.var("images", shape=shape)
    mod = tvm.IRModule.from_expr(relay.Function([images], relay.nn.relu(images)))
    with XAVIER:
        return FusePreprocess(frame, preprocess, by_address)(mod)


def expected_image(arrays, frame, preprocess, size=IMAGE):
    return np.maximum(reference(arrays, frame, preprocess, size), 0)


@pytest.mark.parametrize(
    "name, planes", [("rgba8", False), ("gray8", False), ("uyvy", False), ("nv12", True), ("i420", True)]
)
def test_formats(name, planes):
    height, width = 50, 38 if name in YUV_420 else 46
    frame, preprocess = Frame(name, height, width, planes=planes), Preprocess(scale=1.0)
    run, _ = program(preprocessing(frame, preprocess))
    arrays = random_frame(frame, height, width)
    (found,) = run(**dict(zip(NAMES[len(arrays)], arrays)))
    np.testing.assert_array_equal(found, expected_image(arrays, frame, preprocess))


@pytest.mark.parametrize("preprocess", OPTIONS, ids=str)
def test_options(preprocess):
    frame = Frame("nv12", 30, 42, batch=2)
    run, _ = program(preprocessing(frame, preprocess, (40, 56)))
    arrays = random_frame(frame, 30, 42)
    expected = expected_image(arrays, frame, preprocess, (40, 56))
    np.testing.assert_allclose(run(frame=arrays[0])[0], expected, rtol=1e-6, atol=1e-6)


def test_the_table_is_a_launch_and_each_pixel_a_thread():
    _, launches = program(preprocessing(Frame("bgr8", 48, 80), Preprocess(), (64, 96)))
    table, pixels = [extents for name, extents in launches if "tz_preprocess" in name]
    assert (table["threadIdx.x"], pixels["threadIdx.x"]) == (64, 32)
    assert (pixels["threadIdx.y"], pixels["blockIdx.x"], pixels["blockIdx.y"], pixels["blockIdx.z"]) == (8, 3, 8, 1)


@pytest.mark.parametrize("name", ["bgr8", "nv12", "yuyv"])
def test_a_frame_of_any_size_and_pitch_comes_by_its_address(name):
    frame, preprocess = Frame(name), Preprocess()
    run, _ = program(preprocessing(frame, preprocess))
    for seed, (height, width) in enumerate([(2, 2), (90, 38), (64, 200)]):
        (array,) = random_frame(frame, height, width, seed)
        padded = np.zeros((array.shape[0], array.nbytes // len(array) + 24), np.uint8)
        padded[:, : array.nbytes // len(array)] = array.reshape(len(array), -1)
        buffer = ExternalBuffer.wrap(padded).view(array.shape, pitch=padded.shape[1])
        found = run(frame=np.array(describe(buffer), np.int64))[0]
        np.testing.assert_array_equal(found, expected_image([array], frame, preprocess))


def head_module(config):
    """main([frame,] image, raw) -> detections of raw, made for the GPU."""
    image, raw = relay.var("image", shape=(config.batch, 3, *INPUT)), relay.var("raw", shape=config.raw_shape)
    value = raw
    if config.columns:
        value = relay.transpose(relay.transpose(raw, [0, 2, 1]), [0, 2, 1])
    mod = tvm.IRModule.from_expr(relay.Function([image, raw], relay.Tuple([value, relay.nn.relu(image)])))
    before = [] if config.frame is None else [FusePreprocess(config.frame, config.preprocess)]
    with XAVIER:
        return tvm.transform.Sequential([*before, FuseDetectionHead(config.nms)])(mod)


@pytest.mark.parametrize("name", CONFIGS)
def test_heads_equal_the_reference(name):
    config = CONFIGS[name]
    run, launches = program(head_module(config))
    assert ["filter" in name or "select" in name for name, _ in launches if "tz_" in name] == [True, True]
    for seed, (overlap, scores) in enumerate([("clusters", "fine"), ("same", "all high"), ("scattered", "ties")]):
        raw = raw_output(config, seed, overlap, scores, odd=True)
        check_equals_reference(config, raw, run(raw=raw))


@pytest.mark.parametrize("name", FRAMES)
def test_boxes_are_in_frame_pixels(name):
    config = FRAMES[name]
    run, _ = program(head_module(config))
    height, width = config.frame.height or 120, config.frame.width or 78
    (array,) = random_frame(config.frame, height, width)
    given = np.array(describe(ExternalBuffer.wrap(array)), np.int64) if config.frame.dynamic else array
    raw = raw_output(config, 1, "scattered", "fine", odd=False)
    check_is_in_frame_pixels(config, raw, run(frame=given, raw=raw), height, width)


def test_normalization_folded_into_weights_leaves_a_gpu_kernel():
    images, weight = relay.var("images", shape=(1, 3, *IMAGE)), relay.const(np.ones((4, 3, 3, 3), np.float32))
    main = relay.Function([images], relay.nn.conv2d(images, weight, kernel_size=(3, 3), channels=4))
    frame = Frame("bgr8", 40, 60)
    with XAVIER:
        mod = FusePreprocess(frame, Preprocess())(tvm.IRModule.from_expr(main))
    folded = FoldNormalization()(mod)  # outside of the target: the kernel knows what it was made for
    image = folded["main"].body.args[0]
    run, _ = program(tvm.IRModule.from_expr(relay.Function(folded["main"].params, relay.nn.relu(image))))
    (array,) = random_frame(frame, 40, 60)
    levels = expected_image([array], frame, Preprocess(scale=1.0, channel_order="bgr"))
    np.testing.assert_array_equal(run(frame=array)[0], levels)


def test_kernels_made_for_another_device():
    frame, preprocess = Frame("bgr8", 40, 60), Preprocess()
    with pytest.raises(UnsupportedError, match="was made for a GPU and is built for the CPU; run the passes") as error:
        build(preprocessing(frame, preprocess))
    assert "\n" not in str(error.value)
    images = relay.var("images", shape=(1, 3, *IMAGE))
    mod = FusePreprocess(frame, preprocess)(tvm.IRModule.from_expr(relay.Function([images], relay.nn.relu(images))))
    with pytest.raises(UnsupportedError, match="was made for the CPU and is built for a GPU; run the passes"):
        program(mod)


# --- tz.compile -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A yolov8 head behind pooling: no convolution, whose CUDA kernels have barriers."""
    node, constant = onnx.helper.make_node, onnx.numpy_helper.from_array
    sizes = [constant(np.array(v, np.int64), n) for n, v in (("flat", [1, 3, 96]), ("to", [2]), ("axis", [1]))]
    nodes = [
        node("MaxPool", ["images"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Reshape", ["pooled", "flat"], ["rows"]),
        node("Concat", ["rows", "rows", "rows"], ["raw"], axis=1),
    ]
    given = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, *INPUT])
    made = onnx.helper.make_tensor_value_info("raw", onnx.TensorProto.FLOAT, [1, 9, 96])
    graph = onnx.helper.make_graph(nodes, "pooling", [given], [made], sizes[:1])
    path = tmp_path_factory.mktemp("model") / "pooling.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def managed(array):
    buffer = ExternalBuffer.allocate(array.shape, kind="managed")
    with buffer.for_host() as host:
        host[...] = array
    return buffer


@pytest.mark.parametrize("frame", [Frame("nv12"), Frame("bgr8", 48, 80)], ids=["any size", "fixed"])
def test_an_engine_for_xavier_finds_what_the_cpu_s_finds(cuda, model, frame, tmp_path):
    options = {"frame": frame, "postprocess": tz.Nms(conf=0.1, head="yolov8"), "names": ["a", "b", "c", "d", "e"]}
    engine, on_cpu = (tz.compile(str(model), target=target, **options) for target in (XAVIER, "llvm"))
    loaded = tz.load(engine.export(tmp_path / "xavier.so"))
    for seed, size in enumerate([(48, 80), (90, 38)] if frame.dynamic else [(48, 80)]):
        (array,) = random_frame(frame, *size, seed)
        bound = engine.bind(input=managed(array))
        bound.run()
        expected = on_cpu(array)
        for found in (bound.detections(), engine(managed(array)), loaded(managed(array))):
            assert len(found.scores) == len(expected.scores) > 0
            for name in ("boxes", "scores", "classes"):
                np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-5)
        with pytest.raises(UnsupportedError, match="call run()"):
            bound.run_async()
        bound.close()
    with pytest.raises(FrameError, match="host memory"):
        engine(array)
