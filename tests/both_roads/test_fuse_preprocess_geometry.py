"""The letterbox computed inside kernels gives the same whole numbers as plain Python, for every size."""

import numpy as np
import pytest
from road import compiled
from tvm.script.ir_builder import IRBuilder

from tvm_zerocopy.geometry import letterbox
from tvm_zerocopy.passes.preprocess_kernel.geometry import symbolic_letterbox
from tvm_zerocopy.passes.preprocess_kernel.ops import tir
from tvm_zerocopy.passes.preprocess_kernel.script import T
from tvm_zerocopy.specs import Preprocess


def compiled_letterbox(count, input_size, preprocess):
    """``(sizes (count, 2) int64, whole numbers (count, 4) int32, scales (count, 2) float64)``."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        sizes = T.arg("sizes", T.buffer((count, 2), "int64", align=8))
        places = T.arg("places", T.buffer((count, 4), "int32", align=4))
        scales = T.arg("scales", T.buffer((count, 2), "float64", align=8))
        with T.serial(0, count) as i, T.sblock("letterbox"):
            v = T.axis.spatial(count, i)
            g = symbolic_letterbox(sizes[v, 0], sizes[v, 1], *input_size, preprocess)
            for k, value in enumerate((g.left, g.top, g.new_width, g.new_height)):
                T.buffer_store(places, tir.Cast("int32", value), [v, k])
            for k, value in enumerate((g.scale_x, g.scale_y)):
                T.buffer_store(scales, value, [v, k])
    return compiled(builder.get())


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("scaleup", [True, False])
@pytest.mark.parametrize("resize, align", [("letterbox", "center"), ("letterbox", "top_left"), ("stretch", "center")])
def test_same_as_python(resize, align, scaleup, rounding):
    preprocess = Preprocess(resize=resize, align=align, scaleup=scaleup, rounding=rounding)
    rng = np.random.default_rng(0)
    sizes = np.concatenate(
        [
            rng.integers(1, 20, (2000, 2)),
            rng.integers(1, 8000, (6000, 2)),
            np.stack([rng.integers(1, 4, 2000), rng.integers(1, 20000, 2000)], axis=1),
        ]
    )
    for input_size in ((640, 640), (384, 640)):
        places, scales = np.zeros((len(sizes), 4), np.int32), np.zeros((len(sizes), 2))
        compiled_letterbox(len(sizes), input_size, preprocess)(sizes, places, scales)
        expected = [letterbox(int(h), int(w), *input_size, preprocess) for h, w in sizes]
        np.testing.assert_array_equal(places, [(g.left, g.top, g.new_width, g.new_height) for g in expected])
        np.testing.assert_array_equal(scales, [(g.scale_x, g.scale_y) for g in expected])
