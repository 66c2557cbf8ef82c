import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.buffers.layout import Layout
from tvm_zerocopy.errors import BufferError

AXES = st.lists(st.tuples(st.integers(1, 4), st.integers(-9, 40)), min_size=1, max_size=3)


def nested(axes, itemsize):
    """Each axis steps over all that the finer ones cover. Interleaved axes (strides 2 and 3) no camera makes."""
    covered = itemsize
    for stride, size in sorted((stride, size) for size, stride in axes if size > 1):
        if stride < covered:
            return False
        covered += stride * (size - 1)
    return True


@given(axes=AXES, dtype=st.sampled_from(["uint8", "int16", "float32"]))
def test_accepts_no_strides_under_which_elements_share_a_byte(axes, dtype):
    shape, strides = zip(*axes)
    itemsize = np.dtype(dtype).itemsize
    starts = [sum(i * s for i, s in zip(index, strides)) for index in np.ndindex(*shape)]
    taken = [byte for start in starts for byte in range(start, start + itemsize)]
    try:
        layout = Layout.make(shape, dtype, strides)
    except BufferError:
        odd = any(stride % itemsize for size, stride in axes if size > 1)
        assert min(strides) < 0 or odd or not nested(axes, itemsize)
    else:
        assert len(set(taken)) == len(taken) and min(taken) == 0
        assert layout.nbytes == max(taken) + 1


@pytest.mark.parametrize(
    "shape, dtype, strides, pitch, says",
    [
        ((0, 3), "uint8", None, None, "no elements"),
        (("a",), "uint8", None, None, "must be whole numbers"),
        ((2.5, 3), "uint8", None, None, "shape .2.5, 3. must be whole numbers"),
        ((2, 3), "uint8", ("3", 1), None, "strides .* must be whole numbers"),
        ((2, 3), "uint8", None, 3.5, "pitch 3.5 must be whole numbers"),
        ((2, 3), "uint8", (-3, 1), None, "negative"),
        ((2, 3), "uint8", (0, 1), None, "overlap"),
        ((2, 3), "float32", (14, 4), None, "no multiples"),
        ((2, 3), "uint8", (3,), None, "one stride an axis"),
        ((2, 3), "uint8", None, 2, "pitch 2 is less than the 3 bytes"),
        ((2, 3), "uint8", (3, 1), 3, "not both"),
        ((2, 3), ">u2", None, None, "byte-swapped"),
        ((2, 3), "object", None, None, "cannot be read by a kernel"),
        ((2, 3), "complex64", None, None, "cannot be read by a kernel"),
        ((2, 3), "no such", None, None, "is no dtype"),
    ],
)
def test_says_what_is_wrong(shape, dtype, strides, pitch, says):
    with pytest.raises(BufferError, match=says):
        Layout.make(shape, dtype, strides, pitch)


def test_pitch_pads_rows():
    layout = Layout.make((4, 5, 3), pitch=64)
    assert layout.strides == (64, 3, 1)
    assert layout.nbytes == 3 * 64 + 15
    assert not layout.is_dense and Layout.make((4, 5, 3)).is_dense
