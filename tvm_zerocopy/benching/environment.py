"""What a result must say to be repeated: machine, versions, model, frames, command. No home folders, user or host."""

from __future__ import annotations

import datetime
import hashlib
import platform
from pathlib import Path

from ..diagnosis import privacy
from ..diagnosis.known_failures import installed
from ..diagnosis.machine import cpu_name
from ..threads import AVAILABLE

PACKAGES = (
    "tvm-zerocopy",
    "apache-tvm",
    "apache-tvm-ffi",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "onnx2torch",
    "tensorrt",
    "opencv-python-headless",
    "opencv-python",
    "numpy",
)


def environment(model: str, frames: str, threads: int, command: list[str]) -> dict:
    """Plain data for JSON and tables; ``frames`` says what was shown to the engines."""
    path = Path(model)
    versions = {name: installed(name) for name in PACKAGES}
    found = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "cpus": AVAILABLE,
        "threads": threads,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version},
        "model": path.name,
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "frames": frames,
        "command": " ".join(command),
    }
    return privacy.scrub(found)
