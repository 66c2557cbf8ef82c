"""The same preprocessing by OpenCV: cvtColor, resize, copyMakeBorder."""

import cv2
import numpy as np

from tvm_zerocopy.geometry import letterbox

TO_BGR = {
    "bgr8": None,
    "rgb8": cv2.COLOR_RGB2BGR,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "gray8": cv2.COLOR_GRAY2BGR,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "nv21": cv2.COLOR_YUV2BGR_NV21,
    "yuyv": cv2.COLOR_YUV2BGR_YUYV,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "i420": cv2.COLOR_YUV2BGR_I420,
}


def opencv_levels(bgr, preprocess, size):
    """resize + copyMakeBorder of a BGR image; RGB, ``(1, 3, height, width)``."""
    g = letterbox(*bgr.shape[:2], *size, preprocess)
    mode = cv2.INTER_LINEAR if preprocess.interpolation == "linear" else cv2.INTER_NEAREST
    picture = cv2.resize(bgr, (g.new_width, g.new_height), interpolation=mode)
    bottom, right = size[0] - g.top - g.new_height, size[1] - g.left - g.new_width
    pad = (preprocess.pad_value,) * 3
    boxed = cv2.copyMakeBorder(picture, g.top, bottom, g.left, right, cv2.BORDER_CONSTANT, value=pad)
    return boxed[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)


def whole(frame, arrays):
    """OpenCV has no planes: one array."""
    first, *chroma = (np.ascontiguousarray(a) for a in arrays)
    if not chroma:
        return first
    return np.concatenate([a.reshape(-1) for a in (first, *chroma)]).reshape(-1, first.shape[1])


def to_bgr(frame, arrays):
    image, code = whole(frame, arrays), TO_BGR[frame.format]
    return image if code is None else cv2.cvtColor(image, code)
