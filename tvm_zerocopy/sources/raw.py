"""A file of raw frames, one after another, as cameras and capture tools dump them; mapped, never read into a copy."""

from pathlib import Path
from typing import Optional, Tuple

import numpy as np

from ..errors import SourceError
from ..specs import YUV_420, Frame
from .base import Source, SourceFrame


class RawSource(Source):
    """Frames of one format, size and pitch.

    Raises SourceError if the format has no size, or the file is shorter than one frame.
    """

    def __init__(self, path: Path, frame_format: str, size: Optional[Tuple[int, int]], pitch=None, **color):
        if size is None:
            raise SourceError(f"raw frames in {frame_format} need their size: --size WIDTHxHEIGHT")
        if path.is_dir():
            raise SourceError(f"{path} is a folder; --frame-format reads one file of raw frames")
        width, height = size
        self.spec = Frame(frame_format, height, width, pitch, **color)
        self.name = str(path)
        self._rows = height * 3 // 2 if frame_format in YUV_420 else height
        self._pitch = pitch or self.spec.row_bytes(width)
        self._frame_bytes = self._rows * self._pitch
        file_bytes = path.stat().st_size
        self.count, self._trailing = divmod(file_bytes, self._frame_bytes)
        if not self.count:
            raise SourceError(
                f"{path} has {file_bytes:,} bytes, less than one {self._describe()} of {self._frame_bytes:,} bytes; "
                "check --frame-format, --size and --pitch"
            )
        try:
            # Copy-on-write: DLPack has no read-only memory, and the file must not change.
            self._data = np.memmap(path, np.uint8, mode="c")
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror or error}") from None

    def _describe(self) -> str:
        padded = f", {self._pitch} bytes a row" if self.spec.pitch else ""
        return f"{self.spec.format} frame ({self.spec.width}x{self.spec.height}{padded})"

    def __iter__(self):
        shape = self.spec.shapes(self.spec.height, self.spec.width)[0]
        strides = (self._pitch, 1) if len(shape) == 2 else (self._pitch, shape[2], 1)
        for index in range(self.count):
            start = index * self._frame_bytes
            frame = np.ndarray(shape, np.uint8, self._data.data, start, strides)
            yield SourceFrame((frame,), self.spec, f"{self.name} frame {index}")
        if self._trailing:
            raise SourceError(
                f"{self.name} ends with {self._trailing:,} bytes that are not a whole {self._describe()} of "
                f"{self._frame_bytes:,} bytes; the {self.count} frames before them were kept"
            )
