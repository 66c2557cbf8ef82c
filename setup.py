"""Maps the repository's top-level folders to one import name: everything installs under ``tvm_zerocopy``."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# folder in the repository -> package it is installed as
FOLDERS = {
    "tvm_zerocopy": "tvm_zerocopy",
    "passes": "tvm_zerocopy.passes",
    "schedules": "tvm_zerocopy.schedules",
    "tuning_logs": "tvm_zerocopy.tuning_logs",
}


def all_packages():
    found = []
    for folder, package in FOLDERS.items():
        found.append(package)
        found += [package + "." + name for name in find_packages(str(ROOT / folder))]
    return found


# apache-tvm-ffi 0.1.15 makes apache-tvm 0.27 crash in tvm.ir.save_json (and so in every tuning run).
TVM = [
    'apache-tvm>=0.27,<0.28; python_version>="3.10"',
    'apache-tvm-ffi>=0.1.14,<0.1.15; python_version>="3.10"',
]
VIDEO = ["av>=12"]
CUDA = ['cuda-bindings>=12; python_version>="3.9"', 'cuda-python<12; python_version<"3.9"']  # 3.8: JetPack 5
# Compilers and headers for GPUs that CUDA 13 dropped, Jetson AGX Xavier's among them; no GPU and no CUDA needed here.
CUDA12 = [
    "nvidia-cuda-nvrtc-cu12>=12.9,<13",
    "nvidia-cuda-runtime-cu12>=12.9,<13",
    "nvidia-cuda-nvcc-cu12>=12.9,<13",
    "nvidia-cuda-cccl-cu12>=12.9,<13",
    "cuda-bindings>=12.9,<13",
]
TUNE = ["xgboost-cpu>=2", "psutil", "cloudpickle", "tornado"]
BENCH = ["psutil", "matplotlib>=3.6", "jinja2>=3", "scipy>=1.8"]
PEERS = ["onnxruntime>=1.19", "openvino>=2024.0", "opencv-python-headless>=4.9"]  # and torch, torchvision, onnx2torch
TEST = [
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis>=6.100",
    "ruff>=0.17,<0.18",
    "setuptools>=70.1",
    "onnxruntime>=1.19",
    "opencv-python-headless>=4.9",
]

setup(
    name="tvm-zerocopy",
    version="0.1.0",
    description="Real-time object detection with no copy between camera and boxes, compiled by Apache TVM",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.8",
    packages=all_packages(),
    package_dir={package: folder for folder, package in FOLDERS.items()},
    include_package_data=False,
    package_data={
        "": ["*.c", "*.cc", "*.h"],
        "tvm_zerocopy": ["data/*", "data/*/*"],
        "tvm_zerocopy.benching": ["templates/*"],
        "tvm_zerocopy.tuning_logs": ["*/*", "*/*/*"],
    },
    install_requires=[
        *TVM,
        "numpy>=1.20",
        "onnx>=1.14",
        "pillow>=10.1",
        "rich>=13",
    ],
    extras_require={
        "video": VIDEO,
        "cuda": CUDA,
        "cuda12": CUDA12,
        "power": ["nvidia-ml-py>=12"],
        "trace": ['cupti-python>=12.8; python_version>="3.10"'],
        "tune": TUNE,
        "train": ["torch>=2", "opencv-python-headless>=4.9", "onnxruntime>=1.19", *VIDEO],
        "bench": BENCH,
        "peers": PEERS,
        "test": TEST + VIDEO + TUNE + BENCH,
    },
    entry_points={"console_scripts": ["tvm-zerocopy = tvm_zerocopy.cli:main"]},
)
