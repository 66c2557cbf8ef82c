"""Raw-frame files: the views are exactly the bytes of the file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_zerocopy.errors import SourceError, SpecError
from tvm_zerocopy.sources import open_source
from tvm_zerocopy.specs import COLOR_FORMATS, Frame


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(COLOR_FORMATS),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(0, 5),
    st.integers(1, 3),
    st.data(),
)
def test_every_format_size_and_pitch(tmp_path_factory, form, half_width, half_height, padding, count, data):
    width, height = half_width * 2, half_height * 2
    row = Frame(form).row_bytes(width)
    pitch = row + 2 * padding if padding else None
    shape = Frame(form).shapes(height, width)[0]
    rows = np.random.default_rng(0).integers(0, 256, (count, shape[0], pitch or row), dtype=np.uint8)
    path = tmp_path_factory.mktemp("raw") / "frames.raw"
    path.write_bytes(rows.tobytes())
    with open_source(str(path), frame_format=form, size=(width, height), pitch=pitch) as source:
        frames = list(source)
    assert len(frames) == source.count == count
    for frame, expected in zip(frames, rows):
        np.testing.assert_array_equal(frame.planes[0], expected[:, :row].reshape(shape))
        assert frame.planes[0].strides[0] == (pitch or row)
        assert frame.spec == Frame(form, height, width, pitch)


def test_frames_are_views_of_the_file_not_copies(tmp_path):
    path = tmp_path / "frames.raw"
    path.write_bytes(bytes(range(24)) * 2)
    first, second = (frame.planes[0] for frame in open_source(str(path), frame_format="rgb8", size=(4, 2)))
    assert second.ctypes.data - first.ctypes.data == 24
    second[0, 0, 0] = 99
    assert path.read_bytes() == bytes(range(24)) * 2, "the file itself never changes"


def test_a_partial_frame_at_the_end_is_reported_after_the_whole_ones(tmp_path):
    path = tmp_path / "frames.nv12"
    path.write_bytes(bytes(4 * 6 * 2 + 5))
    frames = iter(open_source(str(path), frame_format="nv12", size=(4, 4)))
    assert next(frames).planes[0].shape == (6, 4) and next(frames)
    with pytest.raises(SourceError, match="ends with 5 bytes that are not a whole nv12 frame .4x4. of 24 bytes; the 2"):
        next(frames)


def test_wrong_use(tmp_path):
    path = tmp_path / "frames.nv12"
    path.write_bytes(bytes(20))
    with pytest.raises(SourceError, match="need their size: --size"):
        open_source(str(path), frame_format="nv12")
    with pytest.raises(SourceError, match="has 20 bytes, less than one nv12 frame"):
        open_source(str(path), frame_format="nv12", size=(4, 4))
    with pytest.raises(SpecError, match="even width and height"):
        open_source(str(path), frame_format="nv12", size=(3, 4))
    with pytest.raises(SpecError, match="pitch 3 is less than"):
        open_source(str(path), frame_format="nv12", size=(4, 4), pitch=3)
    with pytest.raises(SourceError, match="is a folder"):
        open_source(str(tmp_path), frame_format="nv12", size=(4, 4))
