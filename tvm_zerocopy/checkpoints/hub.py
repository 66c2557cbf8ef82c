"""Official checkpoints by name, fetched with ``torch.hub``'s downloader; what arrives is read like any other file."""

import importlib
import os
from pathlib import Path

from ..errors import ModelError, UnsupportedError

# Release assets that the projects' own loaders fetch.
_ADDRESSES = {
    "yolov5": "https://github.com/ultralytics/yolov5/releases/download/v7.0/{model}.pt",
    "yolov8": "https://github.com/ultralytics/assets/releases/download/v8.3.0/{model}.pt",
    "yolov10": "https://github.com/ultralytics/assets/releases/download/v8.3.0/{model}.pt",
    "yolo11": "https://github.com/ultralytics/assets/releases/download/v8.3.0/{model}.pt",
    "yolox_": "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/{model}.pth",
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
}


def address(model: str) -> str:
    """Where a model's official checkpoint is published; ModelError if it is not."""
    for start, template in _ADDRESSES.items():
        if model.startswith(start):
            return template.format(model=model)
    raise ModelError(f"there is no published checkpoint of {model!r}; give a file with --weights")


def download(model: str, progress: bool = False) -> Path:
    """The official checkpoint in torch.hub's own cache, fetched at the first call. No code of its repository is run.

    Raises
    ------
    UnsupportedError
        If PyTorch is not installed or the file cannot be fetched.
    """
    url = address(model)
    try:
        torch_hub = importlib.import_module("torch.hub")
    except ImportError as error:
        raise UnsupportedError(
            f"--hub needs PyTorch (`pip install torch`); or fetch {url} yourself and give it with --weights"
        ) from error
    path = Path(torch_hub.get_dir()) / "checkpoints" / os.path.basename(url)
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch_hub.download_url_to_file(url, str(path), progress=progress)
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a wrong hash is a RuntimeError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UnsupportedError(
            f"cannot fetch {url} ({reason}); fetch it where there is a network and give it with --weights"
        ) from error
    return path
