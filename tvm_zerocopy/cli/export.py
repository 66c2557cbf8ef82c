"""``tvm-zerocopy export``: a published network with a checkpoint's weights as an ONNX file, without PyTorch."""

import argparse
import dataclasses
import sys
from typing import Tuple

from . import UsageError, common

EXAMPLE = """
tvm-zerocopy export yolov5s --weights yolov5s.pt --opset 11 -o yolov5s.onnx
tvm-zerocopy export yolov8n --hub --size 640x384
tvm-zerocopy export resnet18 --weights resnet18-f37072fd.pth
"""


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="yolov5n..x, yolov8n..x, yolox_nano..x or resnet18")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--weights", metavar="FILE.pt", help="official checkpoint or one trained from it; read as data, never run"
    )
    weights.add_argument("--hub", action="store_true", help="fetch the official checkpoint with torch.hub's downloader")
    parser.add_argument("--size", type=_size, metavar="640|WxH", help="input pixels (default: 640; resnet18: 224)")
    parser.add_argument("--opset", type=common.whole_number, default=11, help="ONNX operator set (default: 11)")
    parser.add_argument("--batch", type=common.whole_number, default=1, help="frames in one call (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights, where none are given (default: 0)")
    parser.add_argument("-o", "--output", metavar="FILE.onnx", help="default: MODEL.onnx")


def _size(text: str) -> Tuple[int, int]:
    """``640`` or ``WIDTHxHEIGHT`` -> (height, width)."""
    try:
        width, height = common.size(text if "x" in text.lower() else f"{text}x{text}")
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 640 or WIDTHxHEIGHT (640x384)") from None
    return height, width


def run(args) -> int:
    from ..checkpoints import download, export_onnx

    if args.seed < 0:
        raise UsageError(f"--seed is {args.seed}; it must not be negative")
    weights = download(args.model, progress=sys.stderr.isatty()) if args.hub else args.weights
    with common.Steps("exporting") as steps:
        steps.advance("building the network")
        done = export_onnx(args.model, args.output, weights, args.size, args.opset, args.seed, args.batch)
    report = {**dataclasses.asdict(done), "path": str(done.path)}
    report.update({key: {"name": name, "shape": shape} for key, (name, shape) in _ends(done)})
    with common.json_lines(args.json) as write:
        write(report)
    console = common.human_console(args.json)
    for key, (name, shape) in _ends(done):
        console.print(f"{key:8}{name} {tuple(shape)}", markup=False)
    console.print(f"classes {done.classes}\nopset   {done.opset}\nweights {done.weights}", markup=False)
    console.print(f"wrote   {done.path} ({done.file_bytes / 1e6:.1f} MB)", markup=False, soft_wrap=True)
    if weights is None:
        common.warn("the weights are random: good for timing, not for detecting; give a checkpoint with --weights")
    return 0


def _ends(done):
    return ("input", done.input), ("output", done.output)
