"""What the preprocess kernel computes, in plain numpy: colour, resize, padding, normalization."""

from typing import Sequence, Tuple, Union

import numpy as np

from ..color import ROUND, SHIFT, yuv_matrix
from ..geometry import letterbox
from ..specs import PACKED_CHANNELS, Frame, Preprocess

_RGB_AT = {"bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "rgb8": (0, 1, 2), "rgba8": (0, 1, 2)}


def preprocess(
    frames: Union[np.ndarray, Sequence[np.ndarray]],
    frame: Frame,
    preprocess: Preprocess,
    input_size: Tuple[int, int],
) -> np.ndarray:
    """The model's input, float32 NCHW or NHWC, from uint8 frame tensors of the shapes that ``frame`` says.

    ``frames``: the frame's tensor, or its planes; with a leading batch axis if ``frame.batch > 1``. Levels (uint8)
    equal OpenCV's ``cvtColor`` + ``resize`` + ``copyMakeBorder`` bit for bit where OpenCV has the conversion. Raises
    SpecError if a shape is not one of this format's.
    """
    tensors = [frames] if isinstance(frames, np.ndarray) else list(frames)
    batched = tensors if frame.batch > 1 else [tensor[None] for tensor in tensors]
    rgb = np.stack([letterboxed(to_rgb(planes, frame), preprocess, input_size) for planes in zip(*batched)])
    values = rgb if preprocess.channel_order == "rgb" else rgb[..., ::-1]
    factor = np.array([preprocess.scale / s for s in preprocess.std], np.float32)
    shift = np.array([-m / s for m, s in zip(preprocess.mean, preprocess.std)], np.float32)
    values = values.astype(np.float32) * factor + shift
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if preprocess.layout == "NCHW" else values)


def to_rgb(planes: Sequence[np.ndarray], frame: Frame) -> np.ndarray:
    """One frame's tensors to RGB, uint8 ``(height, width, 3)``."""
    first = planes[0]
    height, width = frame.size_of(first.shape)
    if frame.format == "gray8":
        return np.stack([first] * 3, axis=-1)
    if frame.format in PACKED_CHANNELS:
        return first[..., list(_RGB_AT[frame.format])]
    luma, u, v = _yuv(planes, frame, height, width)
    m = yuv_matrix(frame.matrix, frame.range)
    luma = np.maximum(luma.astype(np.int32) - m.offset, 0) * m.y + ROUND
    u, v = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    rgb = np.stack([luma + v * m.rv, luma + u * m.gu + v * m.gv, luma + u * m.bu], axis=-1)
    return np.clip(rgb >> SHIFT, 0, 255).astype(np.uint8)


def _yuv(planes, frame, height, width):
    """Luma, U and V, each of the frame's size; chroma repeated."""
    first = planes[0]
    if frame.format in ("yuyv", "uyvy"):
        y_at, c_at = (0, 1) if frame.format == "yuyv" else (1, 0)
        chroma = first[..., c_at]
        return first[..., y_at], np.repeat(chroma[:, 0::2], 2, axis=1), np.repeat(chroma[:, 1::2], 2, axis=1)
    half = (height // 2, width // 2)
    if frame.format == "i420":
        u, v = planes[1:] if frame.planes else np.reshape(first[height:], (2, *half))
    else:
        chroma = planes[1] if frame.planes else first[height:].reshape(*half, 2)
        u, v = chroma[..., 0], chroma[..., 1]
        if frame.format == "nv21":
            u, v = v, u
    return (first[:height], *(np.repeat(np.repeat(c, 2, axis=0), 2, axis=1) for c in (u, v)))


def letterboxed(image: np.ndarray, preprocess: Preprocess, input_size: Tuple[int, int]) -> np.ndarray:
    """Resize and pad a uint8 ``(height, width, channels)`` image to ``input_size`` (height, width)."""
    height, width = image.shape[:2]
    g = letterbox(height, width, *input_size, preprocess)
    resize = resize_linear if preprocess.interpolation == "linear" else resize_nearest
    canvas = np.full((*input_size, image.shape[2]), preprocess.pad_value, np.uint8)
    canvas[g.top : g.top + g.new_height, g.left : g.left + g.new_width] = resize(image, g.new_height, g.new_width)
    return canvas


def resize_linear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's ``resize(INTER_LINEAR)`` of a uint8 ``(h, w, channels)`` image, in its 11-bit fixed point."""
    columns, column_weight = _linear_axis(image.shape[1], width)
    rows, row_weight = _linear_axis(image.shape[0], height)
    outside = (columns < 0) | (columns >= image.shape[1] - 1)
    column_weight = np.where(outside, np.float32(0), column_weight)
    row_weights, column_weights = _fixed_point(row_weight), _fixed_point(column_weight)
    left, right = (np.clip(columns + k, 0, image.shape[1] - 1) for k in (0, 1))
    level = np.int32(2)
    for k in (0, 1):
        line = image[np.clip(rows + k, 0, image.shape[0] - 1)].astype(np.int32)
        across = line[:, left] * column_weights[0][:, None] + line[:, right] * column_weights[1][:, None]
        level = level + ((row_weights[k][:, None, None] * (across >> 4)) >> 16)
    return (level >> 2).astype(np.uint8)


def resize_nearest(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's ``resize(INTER_NEAREST)``."""
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * _source_step(old, new)).astype(np.int64), old - 1)
        for old, new in zip(image.shape, (height, width))
    )
    return image[rows[:, None], columns]


def _source_step(old, new):
    return 1.0 / (new / old)  # OpenCV inverts the inverse; it is not always old / new


def _linear_axis(old, new):
    at = ((np.arange(new) + 0.5) * _source_step(old, new) - 0.5).astype(np.float32)
    below = np.floor(at)
    return below.astype(np.int64), at - below


def _fixed_point(weight):
    """The two weights times 2048, each rounded half to even."""
    return [np.rint(w * np.float32(2048)).astype(np.int32) for w in (np.float32(1) - weight, weight)]
