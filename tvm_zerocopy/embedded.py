"""The small detector that ships with the package, with sample pictures and a sample video to run it on."""

from pathlib import Path
from typing import List

from .errors import SourceError

_DATA = Path(__file__).parent / "data"


def _existing(name: str) -> Path:
    path = _DATA / name
    if not path.is_file():
        raise SourceError(f"{path} is missing from this installation; reinstall tvm-zerocopy")
    return path


def model_path() -> Path:
    """The embedded YOLOv5 detector, ONNX: street scenes, class names in its metadata."""
    return _existing("scenes.onnx")


def model_card() -> Path:
    """How the embedded detector was trained and how well it does, JSON."""
    return _existing("scenes.json")


def sample_pictures() -> List[Path]:
    """Sample pictures of scenes that the detector was not trained on, 1280 x 720, in a fixed order."""
    found = sorted((_DATA / "pictures").glob("*.jpg"))
    if not found:
        raise SourceError(f"{_DATA / 'pictures'} has no pictures; reinstall tvm-zerocopy")
    return found


def sample_video() -> Path:
    """A few seconds of a street with moving things, H.264."""
    return _existing("street.mp4")
