"""The GPU's preprocess kernels on every color format, any size and pitch, against the numpy reference.

A frame's memory ends with the last pixel of its last row, so that AddressSanitizer sees what is read behind it.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper
from preprocess_frames import LAYOUTS, OPTIONS, random_frame

import tvm_zerocopy as tz
from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.specs import YUV_420, YUV_422

INPUT = (40, 56)
SIZES = [(1, 1), (37, 61), (53, 9), (90, 122)]


def image_model(height, width):
    """A network that gives back its input."""
    shape = [1, 3, height, width]
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "output"))
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output"])], "identity", [given], [made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def place(array, padding):
    """One plane in managed memory, its rows ``padding`` bytes further apart than they are long."""
    row = array.nbytes // len(array)
    memory = ExternalBuffer.allocate(((len(array) - 1) * (row + padding) + row,), kind="managed")
    with memory.for_host() as host:
        for index, line in enumerate(array):
            host[index * (row + padding) :][:row] = np.ascontiguousarray(line).reshape(-1)
    return memory.view(array.shape, pitch=row + padding)


def allowed(name, height, width):
    """The size, where the format's subsampled chroma needs it even one or two pixels more."""
    even_rows, even_columns = name in YUV_420, name in YUV_420 + YUV_422
    return height + (height % 2 if even_rows else 0), width + (width % 2 if even_columns else 0)


def check(engine, frame, preprocess, sizes):
    for seed, size in enumerate(sizes):
        for padding in (0, 6):
            arrays = random_frame(frame, *size, seed)
            placed = [place(array, padding) for array in arrays]
            found = engine(placed if frame.planes else placed[0])[0]
            np.testing.assert_allclose(found, reference(arrays, frame, preprocess, INPUT), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name, planes", LAYOUTS)
def test_formats(compile_emulated, name, planes):
    frame, preprocess = tz.Frame(name, planes=planes), tz.Preprocess()
    engine = compile_emulated(image_model(*INPUT), frame=frame, preprocess=preprocess, postprocess=None)
    check(engine, frame, preprocess, [allowed(name, *size) for size in SIZES])


@pytest.mark.parametrize("preprocess", [option for option in OPTIONS if option.layout == "NCHW"], ids=str)
def test_options_of_a_fixed_size(compile_emulated, preprocess):
    frame = tz.Frame("nv12", height=30, width=42)
    engine = compile_emulated(image_model(*INPUT), frame=frame, preprocess=preprocess, postprocess=None)
    check(engine, frame, preprocess, [(30, 42)])
