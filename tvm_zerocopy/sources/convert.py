"""Frames from one colour format to another, for drawing and for artifacts that were compiled for another format.

The way from a source to a program compiled for that source's own format does not come through here.
"""

import numpy as np

from ..errors import FrameError
from ..reference import image
from ..specs import PACKED_CHANNELS, Frame
from .base import SourceFrame

# Where R, G and B are in a packed pixel.
_RGB_AT = {"rgb8": (0, 1, 2), "rgba8": (0, 1, 2), "bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "gray8": (0, 0, 0)}
_SWSCALE_MATRIX = {"bt601": "ITU601", "bt709": "ITU709"}
_SWSCALE_RANGE = {"limited": "MPEG", "full": "JPEG"}


def to_rgb(frame: SourceFrame) -> np.ndarray:
    """The frame's picture as uint8 (height, width, 3), RGB; by FFmpeg's converter where FFmpeg decoded it."""
    if frame.spec.format == "rgb8":
        return frame.planes[0]
    if frame.decoded is not None:
        return frame.decoded.to_ndarray(format="rgb24")
    return image.to_rgb(frame.planes, frame.spec)


def as_compiled(frame: SourceFrame, wanted: Frame) -> SourceFrame:
    """The frame in the format and colour that a program was compiled for; itself where it is that already.

    Raises
    ------
    FrameError
        If the program was compiled for another size or pitch.
    UnsupportedError
        If the program was compiled for another YUV format and PyAV is not installed.
    """
    height, width = frame.spec.height, frame.spec.width
    if not wanted.dynamic and (wanted.height, wanted.width) != (height, width):
        raise FrameError(
            f"{frame.name} is {width}x{height} and the model was compiled for {wanted.width}x{wanted.height}; "
            "compile it without --size to take frames of any size"
        )
    same_color = not wanted.is_yuv or (wanted.matrix, wanted.range) == (frame.spec.matrix, frame.spec.range)
    pitch_fits = wanted.pitch is None or all(plane.strides[0] == wanted.pitch for plane in frame.planes[:1])
    if (wanted.format, wanted.planes) == (frame.spec.format, frame.spec.planes) and same_color and pitch_fits:
        return frame
    spec = Frame(
        wanted.format, height, width, wanted.pitch, matrix=wanted.matrix, range=wanted.range, planes=wanted.planes
    )
    planes = tuple(_with_pitch(plane, spec) for plane in _from_rgb(to_rgb(frame), spec))
    return SourceFrame(planes, spec, frame.name)


def _from_rgb(rgb: np.ndarray, spec: Frame):
    if spec.format == "gray8":
        # OpenCV's 15-bit weights of BT.601 luma (imgproc, color.simd_helpers.hpp: RY15, GY15, BY15).
        r, g, b = (rgb[..., i].astype(np.uint32) for i in range(3))
        return [((r * 9798 + g * 19235 + b * 3735 + 16384) >> 15).astype(np.uint8)]
    if spec.format in PACKED_CHANNELS:
        out = np.full((*rgb.shape[:2], PACKED_CHANNELS[spec.format]), 255, np.uint8)
        out[..., list(_RGB_AT[spec.format])] = rgb
        return [out]
    spec.check_size(*rgb.shape[:2])
    from .video import import_av

    av = import_av()
    names = {"i420": "yuv420p", "nv12": "nv12", "nv21": "nv12", "yuyv": "yuyv422", "uyvy": "yuyv422"}
    video_frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
        format=names[spec.format],
        dst_colorspace=_SWSCALE_MATRIX[spec.matrix],
        dst_color_range=_SWSCALE_RANGE[spec.range],
    )
    whole = video_frame.to_ndarray()
    if spec.format == "uyvy":
        return [np.ascontiguousarray(whole[..., ::-1])]
    if spec.format == "yuyv":
        return [whole]
    height, width = rgb.shape[:2]
    if spec.format == "nv21":
        whole[height:] = whole[height:].reshape(-1, 2)[:, ::-1].reshape(-1, width)
    if not spec.planes:
        return [whole]
    luma, chroma = whole[:height], whole[height:].reshape(-1)
    shapes = spec.shapes(height, width)[1:]
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [luma, *(c.reshape(s) for c, s in zip(np.split(chroma, np.cumsum(sizes)[:-1]), shapes))]


def _with_pitch(plane: np.ndarray, spec: Frame) -> np.ndarray:
    """The plane in memory whose rows are ``spec.pitch`` bytes apart (half of it for i420's chroma planes)."""
    plane = np.ascontiguousarray(plane)
    if spec.pitch is None:
        return plane
    rows, row_bytes = plane.shape[0], plane[0].nbytes
    halved = spec.format == "i420" and spec.planes and row_bytes < spec.width
    pitch = spec.pitch // 2 if halved else spec.pitch
    padded = np.zeros((rows, pitch), np.uint8)
    padded[:, :row_bytes] = plane.reshape(rows, row_bytes)
    strides = (pitch, 1) if plane.ndim == 2 else (pitch, plane.shape[2], 1)
    return np.ndarray(plane.shape, np.uint8, padded, 0, strides)
