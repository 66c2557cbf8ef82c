"""Annotated pictures (Pillow) and videos (PyAV) written to disk."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from ..errors import SourceError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov")
# The first encoder that this FFmpeg has.
_ENCODERS = ("libx264", "libopenh264", "h264", "mpeg4")


class Writer:
    """Saves into a folder, one file a picture or video, or into the one file that the user named.

    Parameters
    ----------
    target : str
        A name with a picture's or video's ending is that file; anything else is a folder, made where it is missing.

    Raises
    ------
    SourceError
        If something cannot be written, or would overwrite its own source.
    """

    def __init__(self, target: str):
        self._target = Path(target)
        suffix = self._target.suffix.lower()
        self.file_kind = "picture" if suffix in PICTURE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None
        self.written = []
        self._video: Optional[_Video] = None
        folder = self._target.parent if self.file_kind else self._target
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"--save {target}: {error.strerror or error}; give a folder that can be written"
            ) from None

    def picture(self, source: str, pixels: np.ndarray) -> None:
        """Save one annotated picture, uint8 (height, width, 3) RGB."""
        suffix = Path(source).suffix.lower()
        path = self._path(source, suffix if suffix in PICTURE_SUFFIXES else ".jpg", "picture")
        options = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
        try:
            Image.fromarray(np.ascontiguousarray(pixels)).save(path, **options)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be written ({getattr(error, 'strerror', None) or error})") from None

    def frame(self, source: str, pixels: np.ndarray, rate: Optional[Fraction]) -> None:
        """Append one annotated frame, uint8 (height, width, 3) RGB, to the source's video."""
        if self._video is None:
            self._video = _Video(self._path(source, ".mp4", "video"), pixels.shape, rate)
        self._video.write(pixels)

    def end_video(self) -> None:
        """Finish the video, if one is being written; the frames so far can then be played."""
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def _path(self, source: str, suffix: str, kind: str) -> Path:
        if self.file_kind:
            if self.file_kind != kind or self.written:
                what = f"a {kind}" if self.file_kind != kind else "one more output"
                raise SourceError(f"--save {self._target} is one {self.file_kind}; give a folder to save {what}")
            path = self._target
        else:
            stem = Path(source).stem or "detections"
            path, number = self._target / (stem + suffix), 2
            while path in self.written:
                path, number = self._target / f"{stem}-{number}{suffix}", number + 1
        if path.exists() and os.path.exists(source) and os.path.samefile(path, source):
            raise SourceError(f"--save would overwrite the source {source}; give another folder")
        self.written.append(path)
        return path


class _Video:
    def __init__(self, path: Path, shape, rate: Optional[Fraction]):
        from .video import import_av

        self._av, self._path = import_av(), path
        self._size = shape[:2]
        encoder = next((name for name in _ENCODERS if name in self._av.codecs_available), None)
        if encoder is None:
            raise SourceError(
                f"this PyAV has no video encoder ({', '.join(_ENCODERS)}); save pictures or use --no-draw"
            )
        try:
            self._container = self._av.open(str(path), "w")
            self._stream = self._container.add_stream(encoder, rate=Fraction(rate or 25).limit_denominator(65535))
            # 4:2:0 needs even sizes: an odd last row or column is doubled
            self._stream.height, self._stream.width = (side + side % 2 for side in self._size)
            self._stream.pix_fmt = "yuv420p"
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from None

    def write(self, pixels: np.ndarray) -> None:
        height, width = self._size
        if pixels.shape[:2] != self._size:
            pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height)))
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            for packet in self._stream.encode(self._av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                self._container.mux(packet)
        except (self._av.FFmpegError, OSError) as error:
            raise self._error(error) from None

    def close(self) -> None:
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
        except (self._av.FFmpegError, OSError) as error:
            raise self._error(error) from None

    def _error(self, error) -> SourceError:
        return SourceError(f"{self._path} cannot be written ({getattr(error, 'strerror', None) or error})")
