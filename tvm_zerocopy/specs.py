"""What the user declares: the camera's frame, the preprocessing and the NMS. Plain data; knows nothing of TVM.

Importable on Python 3.8 with the standard library alone, so that every road (Relax, Relay, tools) shares it.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .errors import SpecError

PACKED_CHANNELS = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "gray8": 1}
YUV_422 = ("yuyv", "uyvy")
YUV_420 = ("nv12", "nv21", "i420")
COLOR_FORMATS = (*PACKED_CHANNELS, "nv12", "nv21", "yuyv", "uyvy", "i420")
HEADS = ("yolov5", "yolov8", "yolox", "end2end")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


def _one_of(name: str, value: Any, allowed: Tuple) -> None:
    _require(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(map(str, allowed))}")


def _positive_int(name: str, value: Any) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and value >= 1,
        f"{name} is {value!r}; it must be an integer of at least 1",
    )


class _Spec:
    """JSON in and out; the form in which specs travel inside functions' attributes and artifacts."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str):
        fields = json.loads(text)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


@dataclass(frozen=True)
class Frame(_Spec):
    """One camera frame (or a batch of them) in the camera's own memory layout. All samples are uint8.

    Shapes of one frame, the same as OpenCV's (``batch > 1`` puts a batch axis in front):

    =====================  ==========================
    bgr8 rgb8              ``(height, width, 3)``
    bgra8 rgba8            ``(height, width, 4)``
    gray8                  ``(height, width)``
    nv12 nv21 i420         ``(height * 3 // 2, width)``
    yuyv uyvy              ``(height, width, 2)``
    =====================  ==========================

    With ``planes=True`` a 4:2:0 frame is one tensor a plane, as decoders and Jetson surfaces hand them out:
    nv12/nv21 ``(height, width)`` and ``(height // 2, width // 2, 2)``; i420 ``(height, width)`` and twice
    ``(height // 2, width // 2)``.

    Parameters
    ----------
    format : str
        One of ``COLOR_FORMATS``.
    height, width : int or None
        In pixels. None: any size at run time (one artifact for all).
    pitch : int or None
        Bytes from one row to the next of the first tensor. None: read from the array's strides at run time (rows may be
        padded, samples within a row may not); a number: a compile-time constant that the array must have. Chroma planes
        (``planes=True``) always bring their own strides. An i420 frame in one tensor has two chroma rows in each of its
        rows, as OpenCV has it; where chroma rows have a pitch of their own (V4L2's YU12), use ``planes=True``.
    batch : int
        Frames in one call.
    matrix : {"bt601", "bt709"}
        YUV to RGB matrix (ITU-R BT.601 or BT.709); ignored by RGB formats.
    range : {"limited", "full"}
        YUV sample range: luma 16..235 ("limited", video) or 0..255 ("full", JPEG).
    planes : bool
        4:2:0 formats only: one tensor a plane instead of one for the whole frame.

    Raises
    ------
    SpecError
        If a value is outside its set, 4:2:0 or 4:2:2 sizes are odd, or the pitch is narrower than a row.
    """

    format: str = "bgr8"
    height: Optional[int] = None
    width: Optional[int] = None
    pitch: Optional[int] = None
    batch: int = 1
    matrix: str = "bt601"
    range: str = "limited"
    planes: bool = False

    def __post_init__(self):
        _one_of("frame format", self.format, COLOR_FORMATS)
        _one_of("frame matrix", self.matrix, ("bt601", "bt709"))
        _one_of("frame range", self.range, ("limited", "full"))
        _positive_int("frame batch", self.batch)
        for name in ("height", "width", "pitch"):
            if getattr(self, name) is not None:
                _positive_int(f"frame {name}", getattr(self, name))
        _require(
            (self.height is None) == (self.width is None),
            "frame height and width must both be given or both be None (any size at run time)",
        )
        _require(
            not self.planes or self.format in YUV_420,
            f"frame planes=True needs a planar 4:2:0 format ({', '.join(YUV_420)}), not {self.format}",
        )
        if self.width is not None:
            self.check_size(self.height, self.width)
        if self.pitch is not None and self.width is not None:
            _require(
                self.pitch >= self.row_bytes(self.width),
                f"frame pitch {self.pitch} is less than the {self.row_bytes(self.width)} bytes of a {self.format} row "
                f"of {self.width} pixels",
            )

    @property
    def dynamic(self) -> bool:
        """True if one artifact takes frames of any size."""
        return self.height is None

    @property
    def is_yuv(self) -> bool:
        return self.format in YUV_420 or self.format in YUV_422

    def check_size(self, height: int, width: int) -> None:
        """Raise SpecError if no frame of this format can have that many pixels."""
        _positive_int("frame height", height)
        _positive_int("frame width", width)
        if self.format in YUV_420:
            _require(
                height % 2 == 0 and width % 2 == 0,
                f"a {self.format} frame of {width}x{height} is impossible: 4:2:0 needs even width and height",
            )
        if self.format in YUV_422:
            _require(
                width % 2 == 0, f"a {self.format} frame of {width}x{height} is impossible: 4:2:2 needs an even width"
            )

    def row_bytes(self, width: int) -> int:
        """Bytes of samples in one (luma) row, without padding."""
        if self.format in PACKED_CHANNELS:
            return width * PACKED_CHANNELS[self.format]
        return width * 2 if self.format in YUV_422 else width

    def shapes(self, height, width) -> Tuple[Tuple, ...]:
        """Shape of each input tensor, without the batch axis; works on ints and on symbolic sizes alike."""
        if self.format == "gray8":
            return ((height, width),)
        if self.format in PACKED_CHANNELS:
            return ((height, width, PACKED_CHANNELS[self.format]),)
        if self.format in YUV_422:
            return ((height, width, 2),)
        if not self.planes:
            return ((height * 3 // 2, width),)
        half = (height // 2, width // 2)
        return ((height, width), half, half) if self.format == "i420" else ((height, width), (*half, 2))

    def size_of(self, shape: Tuple[int, ...]) -> Tuple[int, int]:
        """(height, width) in pixels of a frame whose first tensor has this shape (no batch axis).

        Raises SpecError if a tensor of that shape cannot be a frame of this format.
        """
        rank = len(self.shapes(2, 2)[0])
        _require(
            len(shape) == rank,
            f"a {self.format} frame has {rank} axes, not {len(shape)} (got shape {tuple(shape)})",
        )
        height, width = shape[0], shape[1]
        if self.format in YUV_420 and not self.planes:
            _require(
                height % 3 == 0,
                f"a {self.format} frame has height * 3 / 2 rows; {height} rows (shape {tuple(shape)}) is impossible",
            )
            height = height // 3 * 2
        self.check_size(height, width)
        expected = self.shapes(height, width)[0]
        _require(
            tuple(shape) == tuple(expected),
            f"a {self.format} frame of {width}x{height} has shape {expected}, not {tuple(shape)}",
        )
        return height, width


@dataclass(frozen=True)
class Preprocess(_Spec):
    """From camera pixels to the model's input: value = (u8 * scale - mean) / std, after resize and padding.

    The default is the YOLO convention (Ultralytics' letterbox): keep the aspect ratio, centre, pad with 114, RGB, 0..1.

    Parameters
    ----------
    resize : {"letterbox", "stretch"}
        Keep the aspect ratio and pad, or fill the input whatever the ratio.
    align : {"center", "top_left"}
        Where the picture sits in the padding.
    pad_value : int
        0..255, in every channel, before normalization.
    scaleup : bool
        False: letterbox never enlarges, only shrinks.
    interpolation : {"linear", "nearest"}
        As OpenCV's INTER_LINEAR (11-bit fixed point) and INTER_NEAREST.
    scale : float
    mean, std : tuple of 3 floats
        In the order of ``channel_order``.
    channel_order : {"rgb", "bgr"}
        What the model expects.
    layout : {"NCHW", "NHWC"}
        What the model expects.
    rounding : {"nearest", "floor"}
        How the resized size becomes whole pixels: Ultralytics rounds half to even, YOLOX truncates.

    Raises
    ------
    SpecError
        If a value is outside its set, or std has a zero.
    """

    resize: str = "letterbox"
    align: str = "center"
    pad_value: int = 114
    scaleup: bool = True
    interpolation: str = "linear"
    scale: float = 1 / 255
    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: str = "rgb"
    layout: str = "NCHW"
    rounding: str = "nearest"

    def __post_init__(self):
        _one_of("preprocess resize", self.resize, ("letterbox", "stretch"))
        _one_of("preprocess align", self.align, ("center", "top_left"))
        _one_of("preprocess interpolation", self.interpolation, ("linear", "nearest"))
        _one_of("preprocess channel_order", self.channel_order, ("rgb", "bgr"))
        _one_of("preprocess layout", self.layout, ("NCHW", "NHWC"))
        _one_of("preprocess rounding", self.rounding, ("nearest", "floor"))
        _require(
            isinstance(self.pad_value, int) and 0 <= self.pad_value <= 255,
            f"preprocess pad_value is {self.pad_value!r}; it must be an integer from 0 to 255",
        )
        for name in ("mean", "std"):
            value = getattr(self, name)
            _require(
                isinstance(value, (tuple, list)) and len(value) == 3 and all(_is_number(v) for v in value),
                f"preprocess {name} is {value!r}; it must be three finite numbers",
            )
            object.__setattr__(self, name, tuple(float(v) for v in value))
        _require(_is_number(self.scale) and self.scale != 0, f"preprocess scale is {self.scale!r}; it must not be 0")
        _require(all(v != 0 for v in self.std), f"preprocess std is {self.std!r}; it must not have a zero")

    @classmethod
    def yolox(cls, **changes) -> "Preprocess":
        """YOLOX's convention: top-left letterbox, truncated sizes, BGR, raw 0..255 values."""
        return cls(**{"align": "top_left", "scale": 1.0, "channel_order": "bgr", "rounding": "floor", **changes})

    @classmethod
    def imagenet(cls, **changes) -> "Preprocess":
        """torchvision's convention for classifiers: stretch, RGB, ImageNet mean and standard deviation."""
        stats = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        return cls(**{"resize": "stretch", **stats, **changes})


@dataclass(frozen=True)
class Nms(_Spec):
    """Decode, confidence filter and class-aware non-maximum suppression inside the compiled program.

    Parameters
    ----------
    conf : float
        Boxes whose score (objectness times class probability) is not above it are dropped; 0..1.
    iou : float
        A box that overlaps a better one of its class by more is dropped; 0..1.
    max_det : int
        Rows of the output; the best are kept.
    head : None or one of ``HEADS``
        None: recognized from the model.
    class_agnostic : bool
        True: boxes suppress each other across classes.
    max_candidates : int
        At most so many boxes, the best, enter suppression (Ultralytics' ``max_nms``).

    Raises
    ------
    SpecError
        If a value is outside its range.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    head: Optional[str] = None
    class_agnostic: bool = False
    max_candidates: int = 30000

    def __post_init__(self):
        for name in ("conf", "iou"):
            value = getattr(self, name)
            _require(_is_number(value) and 0 <= value <= 1, f"nms {name} is {value!r}; it must be from 0 to 1")
        _positive_int("nms max_det", self.max_det)
        _positive_int("nms max_candidates", self.max_candidates)
        _one_of("nms head", self.head, (None, *HEADS))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def spec_fields(spec: _Spec) -> Dict[str, Any]:
    """The spec as a plain dictionary (for tables and JSON reports)."""
    return dataclasses.asdict(spec)
