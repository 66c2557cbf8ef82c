"""What peers do around their network, as fast as OpenCV and numpy do it: frame to input, raw output to boxes."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..geometry import letterbox
from ..reference.nms import YOLOX_STRIDES
from .work import Work

_TO_BGR = {
    "rgb8": "COLOR_RGB2BGR",
    "bgra8": "COLOR_BGRA2BGR",
    "rgba8": "COLOR_RGBA2BGR",
    "gray8": "COLOR_GRAY2BGR",
    "nv12": "COLOR_YUV2BGR_NV12",
    "nv21": "COLOR_YUV2BGR_NV21",
    "i420": "COLOR_YUV2BGR_I420",
    "yuyv": "COLOR_YUV2BGR_YUY2",
    "uyvy": "COLOR_YUV2BGR_UYVY",
}


class OpenCVWork:
    """Preprocessing and postprocessing of one Work.

    Raises
    ------
    UnsupportedError
        If OpenCV has no conversion for the frame's colour.
    """

    def __init__(self, work: Work):
        import cv2

        self.cv2, self.work = cv2, work
        cv2.setNumThreads(work.threads)
        if work.frame.is_yuv and (work.frame.matrix, work.frame.range) != ("bt601", "limited"):
            raise UnsupportedError("OpenCV converts YUV frames of BT.601 in limited range only; use that, or bgr8")
        code = _TO_BGR.get(work.frame.format)
        self._to_bgr = getattr(cv2, code) if code else None
        self._size = work.input_size
        preprocess = work.preprocess
        self._geometry = letterbox(work.frame.height, work.frame.width, *self._size, preprocess)
        self._interpolation = cv2.INTER_LINEAR if preprocess.interpolation == "linear" else cv2.INTER_NEAREST
        self._mean = tuple(mean / preprocess.scale for mean in preprocess.mean)
        self._std = np.array(preprocess.std, np.float32).reshape(1, 3, 1, 1)
        self._output_shapes: list[list[int]] = []
        self._grid = _yolox_grid(self._size) if work.postprocess and work.postprocess.head == "yolox" else None

    def resized(self, frame: np.ndarray) -> np.ndarray:
        """The frame as uint8 BGR of the model input's size, letterboxed."""
        cv2, g, (height, width) = self.cv2, self._geometry, self._size
        if self._to_bgr is not None:
            frame = cv2.cvtColor(frame, self._to_bgr)
        if (g.new_height, g.new_width) != frame.shape[:2]:
            frame = cv2.resize(frame, (g.new_width, g.new_height), interpolation=self._interpolation)
        below, right = height - g.new_height - g.top, width - g.new_width - g.left
        if not (g.top or below or g.left or right):
            return frame
        pad = (self.work.preprocess.pad_value,) * 3
        return cv2.copyMakeBorder(frame, g.top, below, g.left, right, cv2.BORDER_CONSTANT, value=pad)

    def blob(self, frame: np.ndarray) -> np.ndarray:
        """The frame as the model's float32 input."""
        preprocess = self.work.preprocess
        swap = preprocess.channel_order == "rgb"
        blob = self.cv2.dnn.blobFromImage(self.resized(frame), preprocess.scale, mean=self._mean, swapRB=swap)
        if preprocess.std != (1.0, 1.0, 1.0):
            blob /= self._std
        return blob if preprocess.layout == "NCHW" else np.ascontiguousarray(blob.transpose(0, 2, 3, 1))

    def results(self, outputs) -> tuple:
        """Boxes, scores and classes in frame pixels, best first; the outputs themselves where the work has no NMS."""
        nms = self.work.postprocess
        if not self._output_shapes:
            self._output_shapes = [list(np.shape(output)) for output in outputs]
        if nms is None:
            return tuple(outputs)
        boxes, scores, classes = self._candidates(outputs[0][0])
        if nms.head != "end2end" and len(boxes):
            keep = self._suppressed(boxes, scores, classes)
        else:
            keep = np.argsort(-scores, kind="stable")
        keep = keep[: nms.max_det]
        return self._in_frame(boxes[keep]), scores[keep], classes[keep]

    def output_shapes(self) -> list[list[int]]:
        """Of the network, once it has run; empty before."""
        return self._output_shapes

    def _candidates(self, raw):
        """xyxy, score and class of the rows above ``conf``, in model-input pixels."""
        nms = self.work.postprocess
        if nms.head == "end2end":
            rows = raw[raw[:, 4] > nms.conf]
            return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32)
        if nms.head == "yolov8":
            best = raw[4:].max(axis=0)
            keep = np.flatnonzero(best > nms.conf)
            xywh, scores, classes = raw[:4, keep].T, best[keep], raw[4:, keep].argmax(axis=0)
        else:
            keep = np.flatnonzero(raw[:, 4] > nms.conf)
            rows = raw[keep]
            every = rows[:, 5:] * rows[:, 4:5]
            classes = every.argmax(axis=1)
            scores = every[np.arange(len(rows)), classes]
            above = scores > nms.conf
            xywh, scores, classes, keep = rows[above, :4], scores[above], classes[above], keep[above]
        if self._grid is not None:
            cell, stride = (values[keep] for values in self._grid)
            xywh = np.concatenate([(xywh[:, :2] + cell) * stride, np.exp(xywh[:, 2:4]) * stride], axis=1)
        half = xywh[:, 2:4] / 2
        return np.concatenate([xywh[:, :2] - half, xywh[:, :2] + half], axis=1), scores, classes.astype(np.int32)

    def _suppressed(self, boxes, scores, classes):
        nms, dnn = self.work.postprocess, self.cv2.dnn
        xywh = boxes.astype(np.float64)
        xywh[:, 2:] -= xywh[:, :2]
        if nms.class_agnostic:
            kept = dnn.NMSBoxes(xywh, scores, nms.conf, nms.iou, top_k=nms.max_candidates)
        else:
            kept = dnn.NMSBoxesBatched(xywh, scores, classes, nms.conf, nms.iou, top_k=nms.max_candidates)
        return np.asarray(kept, np.int64)

    def _in_frame(self, boxes):
        g, frame = self._geometry, self.work.frame
        boxes = (boxes - (g.left, g.top, g.left, g.top)) / (g.scale_x, g.scale_y, g.scale_x, g.scale_y)
        return np.clip(boxes, 0, (frame.width, frame.height, frame.width, frame.height)).astype(np.float32)


def _yolox_grid(size):
    """Cell corners (rows, 2) and strides (rows, 1); ``YOLOXHead.decode_outputs`` (Megvii YOLOX)."""
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        x, y = np.meshgrid(np.arange(size[1] // stride), np.arange(size[0] // stride))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
