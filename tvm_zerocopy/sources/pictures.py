"""Pictures, one or a folder of them, through Pillow: always rgb8, turned upright as EXIF says, 8 bits a sample."""

import re
import warnings
from pathlib import Path
from typing import List

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import SourceError
from ..specs import Frame
from .base import Source, SourceFrame


def is_picture(path: Path) -> bool:
    """True if the file's name or content is that of a picture that Pillow knows."""
    if path.suffix.lower() in _suffixes():
        return True
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def read_picture(path: Path) -> np.ndarray:
    """The picture as uint8 (height, width, 3), RGB.

    Upright as its EXIF orientation says; transparency is dropped, 16-bit samples keep their upper 8 bits and animations
    give their first frame, all as OpenCV's ``imread`` does.

    Raises SourceError if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd EXIF; both are read
            with Image.open(path) as image:
                image.load()
                return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError:
        raise SourceError(f"{path} is not a picture or video; give a JPEG, PNG, MP4, ...") from None
    except Image.DecompressionBombError as error:
        raise SourceError(f"{path} is too large a picture ({error}); scale it down") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # SyntaxError: Pillow's broken PNG
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} cannot be read as a picture ({reason}); copy or save it again") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        samples = np.asarray(image)
        if samples.min() < 0 or samples.max() > 65535:
            raise ValueError(f"{image.mode} samples outside 0..65535")
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point samples have no agreed range")
    return image.convert("RGB")


def _suffixes():
    return Image.registered_extensions().keys() - {".mpg", ".mpeg"}


class PictureSource(Source):
    """One picture."""

    still, count = True, 1

    def __init__(self, path: Path):
        self.name = str(path)
        self._paths: List[Path] = [path]

    def __iter__(self):
        self._left = iter(self._paths)
        return self

    def __next__(self) -> SourceFrame:
        path = next(self._left)
        pixels = read_picture(path)
        return SourceFrame((pixels,), Frame("rgb8", *pixels.shape[:2]), str(path))


class FolderSource(PictureSource):
    """Every picture of a folder (not of its subfolders), in the order in which people number files: 2 before 10."""

    def __init__(self, path: Path):
        self.name = str(path)
        known = _suffixes()
        try:
            found = [p for p in path.iterdir() if p.suffix.lower() in known and p.is_file()]
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror or error}") from None
        if not found:
            raise SourceError(f"{path} has no pictures in it; give a folder with JPEG, PNG, ... files")
        self._paths = sorted(found, key=_natural)
        self.count = len(self._paths)


def _natural(path: Path):
    parts = re.split(r"(\d+)", path.name.lower())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], path.name
