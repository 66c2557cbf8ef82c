"""Videos and cameras through PyAV (FFmpeg). The decoder's own planes go to the compiled program wherever it can read
them; only pixel formats, matrices and rotations that it does not know are converted to rgb8 by FFmpeg."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Optional, Tuple

import numpy as np

from ..errors import SourceError, UnsupportedError
from ..specs import Frame
from .base import Source, SourceFrame

# FFmpeg pixel format -> (our format, planes). yuvj420p is yuv420p in full range.
_PIXEL_FORMATS = {
    "yuv420p": ("i420", True),
    "yuvj420p": ("i420", True),
    "nv12": ("nv12", True),
    "nv21": ("nv21", True),
    "yuyv422": ("yuyv", False),
    "uyvy422": ("uyvy", False),
    "rgb24": ("rgb8", False),
    "bgr24": ("bgr8", False),
    "rgba": ("rgba8", False),
    "bgra": ("bgra8", False),
    "gray": ("gray8", False),
}
# FFmpeg's AVColorSpace: RGB 0, BT.709 1, unspecified 2, BT.601 as 5 (625 lines) and 6 (525 lines). Unspecified is read
# as BT.601, as FFmpeg's own converter and with it OpenCV do.
_MATRICES = {0: "bt601", 1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
_FULL_RANGE = 2  # AVColorRange
# Formats without a table of contents: nothing in them says how much there should be; FFmpeg passes over what is noise.
_STREAMS = ("mpegts", "mpeg", "h264", "hevc", "mjpeg", "m4v")


def import_av():
    """PyAV, or an UnsupportedError that says how to get it."""
    try:
        import av
    except ImportError:
        raise UnsupportedError("videos and cameras need PyAV: pip install 'tvm-zerocopy[video]'") from None
    return av


class VideoSource(Source):
    """A video file (or anything FFmpeg opens). Broken packets are skipped; the end of iteration reports them.

    Raises SourceError if it cannot be opened or has no pictures.
    """

    _reading = False  # a thread is inside FFmpeg

    def __init__(self, path: Path):
        self.name = str(path)
        self._open(str(path))

    def _open(self, where: str, **how) -> None:
        self._av = import_av()
        try:
            self._container = self._av.open(where, **how)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(self._cannot_open(error)) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{self.name} has no video in it; give a picture or a video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.count = self._stream.frames or None
        self.rate = self._stream.average_rate or self._stream.base_rate or None

    def _cannot_open(self, error: BaseException) -> str:
        reason = getattr(error, "strerror", None) or error
        return f"{self.name} is not a picture or a whole video ({reason}); give a JPEG, PNG, MP4, ..."

    def __iter__(self):
        index = bad = end = 0
        seconds = Fraction(0)
        failure = None
        packets = self._container.demux(self._stream)
        while True:
            self._reading = True
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (self._av.FFmpegError, OSError) as error:
                failure = getattr(error, "strerror", None) or str(error)
                break
            finally:
                self._reading = False
            bad += packet.is_corrupt
            if packet.pos is not None:
                end = max(end, packet.pos + packet.size)
            try:
                frames = packet.decode()
            except self._av.FFmpegError:
                bad += not packet.is_corrupt
                continue
            for frame in frames:
                if frame.pts is not None and frame.time_base:
                    seconds = frame.pts * frame.time_base
                yield self._frame(frame, f"{self.name} frame {index}")
                index += 1
        self._report(index, bad, seconds, end, failure)

    def _report(self, frames: int, bad: int, seconds: Fraction, end: int, failure: Optional[str]) -> None:
        """Raise SourceError if the video was not whole; ``end``: one past the last byte that held video."""
        kept = f"the {frames} frames before were kept" if frames else "it has no readable frame"
        if failure:
            raise SourceError(f"{self.name} is broken ({failure}); {kept}")
        if bad:
            raise SourceError(
                f"{self.name} is broken: {bad} of its packets cannot be decoded; {frames} frames were kept"
            )
        if not frames:
            raise SourceError(f"{self.name} has no readable frame")
        if self.count and frames < self.count - max(2, self.count // 50):
            raise SourceError(f"{self.name} ends early: {frames} of {self.count} frames; they were kept")
        promised = self._promised_seconds()
        if promised and seconds < promised - max(Fraction(1, 2), promised / 50):
            raise SourceError(
                f"{self.name} ends early: after {float(seconds):.1f} of {float(promised):.1f} seconds; "
                f"{frames} frames were kept"
            )

        after = self._bytes_after(end)
        if after:
            raise SourceError(
                f"{self.name} ends in {after:,} bytes that are no video; the {frames} frames before were kept"
            )

    def _bytes_after(self, end: int) -> int:
        """Bytes of the file that FFmpeg passed over at its end, if so many that they were meant to be video; else 0."""
        if self._container.format.name not in _STREAMS or not end or not os.path.isfile(self.name):
            return 0
        size = os.path.getsize(self.name)
        return size - end if size - end > size // 10 else 0

    def _promised_seconds(self) -> Optional[Fraction]:
        """The container's duration, where only this stream can be meant and frames are not counted."""
        if self.count or len(self._container.streams) > 1 or not self._container.duration:
            return None
        start = self._container.start_time or 0
        return Fraction(self._container.duration + start, self._av.time_base)

    def _frame(self, frame, name: str) -> SourceFrame:
        known = _PIXEL_FORMATS.get(frame.format.name)
        matrix = _MATRICES.get(int(frame.colorspace))
        odd = frame.width % 2 or frame.height % 2
        rotation = getattr(frame, "rotation", 0)
        if known is None or matrix is None or rotation or (odd and known[0] not in ("rgb8", "bgr8", "gray8")):
            return self._converted(frame, rotation, name)
        form, planes = known
        full = frame.format.name == "yuvj420p" or int(frame.color_range) == _FULL_RANGE
        height, width = frame.height, frame.width
        spec = Frame(form, height, width, matrix=matrix, range="full" if full else "limited", planes=planes)
        views = tuple(_plane(p, shape) for p, shape in zip(frame.planes, spec.shapes(height, width)))
        return SourceFrame(views, spec, name, frame)

    def _converted(self, frame, rotation: int, name: str) -> SourceFrame:
        rgb = frame.reformat(format="rgb24")
        pixels = _plane(rgb.planes[0], (frame.height, frame.width, 3))
        if rotation % 90 == 0 and rotation % 360:
            pixels = np.ascontiguousarray(np.rot90(pixels, rotation // 90))
        return SourceFrame((pixels,), Frame("rgb8", *pixels.shape[:2]), name)

    def close(self) -> None:
        if not self._reading:  # else another thread waits for a camera that has stalled, and this one would, too
            self._container.close()


def _plane(plane, shape: Tuple[int, ...]) -> np.ndarray:
    """A view of one of FFmpeg's planes; its rows are ``line_size`` bytes apart."""
    strides = (plane.line_size, 1) if len(shape) == 2 else (plane.line_size, shape[2], 1)
    return np.ndarray(shape, np.uint8, plane, 0, strides)


class CameraSource(VideoSource):
    """A V4L2 camera: ``/dev/video0`` or its number.

    Raises SourceError if there is no such camera or it cannot be opened.
    """

    live = True

    def __init__(self, where: str, size: Optional[Tuple[int, int]] = None):
        device = f"/dev/video{where}" if where.isdecimal() else where
        self.name = f"camera {device}"
        if not os.path.exists(device):
            there = sorted(str(p) for p in Path("/dev").glob("video*")) or ["none"]
            raise SourceError(f"{device}: no such camera; there are: {', '.join(there)}")
        options = {"video_size": "{}x{}".format(*size)} if size else {}
        self._open(device, format="v4l2", options=options)
        self.count = None

    def _cannot_open(self, error: BaseException) -> str:
        reason = getattr(error, "strerror", None) or error
        return f"{self.name} cannot be opened ({reason}); is another program using it, and does it offer that --size?"
