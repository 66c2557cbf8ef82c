"""Where frames come from: a picture, a folder of pictures, a video, a camera or a file of raw frames.

Every source hands out frames in the format in which the decoder or the file has them; nothing is converted that the
compiled program can read itself.
"""

from pathlib import Path
from typing import Optional, Tuple

from ..errors import SourceError
from .base import Source, SourceFrame

__all__ = ["Source", "SourceFrame", "is_camera", "open_source"]


def is_camera(where: str) -> bool:
    """Whether a source's name is a camera's device by itself."""
    return where.startswith("/dev/video")


def open_source(
    where: str,
    frame_format: Optional[str] = None,
    size: Optional[Tuple[int, int]] = None,
    pitch: Optional[int] = None,
    camera: bool = False,
    **color,
) -> Source:
    """Open whatever ``where`` is.

    Parameters
    ----------
    where : str
        Path of a picture, a folder, a video or a raw-frame file; a camera's device (``/dev/video0``) or number.
    frame_format : str or None
        Given: ``where`` is a file of raw frames in this format (one of ``specs.COLOR_FORMATS``) and needs ``size``.
    size : (width, height) or None
        Of a raw frame; for a camera the size to ask for.
    pitch : int or None
        Bytes a row of a raw frame; None: rows are not padded.
    camera : bool
        True: ``where`` is a camera even if its name does not look like one.
    color
        ``matrix`` and ``range`` of a raw YUV frame, as in ``Frame``.

    Raises
    ------
    SourceError
        If it does not exist or is none of these.
    """
    if camera or is_camera(where):
        from .video import CameraSource

        return CameraSource(where, size)
    path = Path(where)
    if not where or not path.exists():
        raise SourceError(
            f"{where or 'an empty name'}: no such file or folder; give a picture, a folder, a video or a camera "
            "(/dev/video0)"
        )
    if frame_format is not None:
        from .raw import RawSource

        return RawSource(path, frame_format, size, pitch, **color)
    from .pictures import FolderSource, PictureSource, is_picture

    if path.is_dir():
        return FolderSource(path)
    if path.stat().st_size == 0:
        raise SourceError(f"{where} is empty; give a picture or a video")
    if is_picture(path):
        return PictureSource(path)
    if path.suffix.lower() in (".onnx", ".so", ".pt"):
        raise SourceError(
            f"{where} is a model and not a picture or a video; detect takes it as --model, bench as its first argument"
        )
    from .video import VideoSource

    return VideoSource(path)
