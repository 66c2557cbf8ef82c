"""What the frame's alignment costs: the same frame 0, 1 and 16 bytes past a multiple of 64, taken in turns.

    python benchmarks/alignment.py [MODEL.so|MODEL.onnx] [--rounds 50] [--json FILE|-]

TVM's tensors are 64-byte aligned, and `from_dlpack` in many builds refuses others; numpy's and cameras' arrays are at
multiples of 16 bytes or of nothing. Compiled programs declare an alignment of 1 byte for their inputs, so that all are
read in place. The time is of the kernels that read the frame, by `Engine.time_kernels`.
"""

import argparse
import statistics
import sys

import numpy as np

import tvm_zerocopy as tz
from tvm_zerocopy.cli.common import json_lines
from tvm_zerocopy.copies.pipelines import sized_frame
from tvm_zerocopy.embedded import model_path

OFFSETS = (0, 1, 16)  # bytes past a multiple of 64


def frame_at(shape, offset: int) -> np.ndarray:
    """A uint8 array of noise whose first byte lies at a multiple of 64, plus ``offset``."""
    size = int(np.prod(shape))
    block = np.random.default_rng(0).integers(0, 256, size + 128, np.uint8)
    start = -block.ctypes.data % 64 + offset
    block[start : start + size] = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    return block[start : start + size].reshape(shape)


def seconds_reading_the_frame(engine, frame) -> float:
    readers = [any(view["in"] == "input" for view in call["inputs"]) for call in engine.program["calls"]]
    timed = engine.time_kernels(frame)
    return sum(seconds for (_, seconds), reads in zip(timed, readers) if reads)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=None)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", metavar="FILE|-")
    args = parser.parse_args()
    try:
        model = str(model_path()) if args.model is None else args.model
        engine = tz.load(model) if model.endswith(".so") else tz.compile(model)
        spec = sized_frame(engine.frame)
        if spec.planes or spec.batch > 1:
            parser.error("give a model of one tensor and one frame")
        frames = {offset: frame_at(spec.shapes(spec.height, spec.width)[0], offset) for offset in OFFSETS}
        samples = {offset: [] for offset in OFFSETS}
        for turn in range(args.rounds + len(OFFSETS)):
            for offset in (*OFFSETS[turn % len(OFFSETS) :], *OFFSETS[: turn % len(OFFSETS)]):
                samples[offset].append(seconds_reading_the_frame(engine, frames[offset]))
    except tz.ZeroCopyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    medians = {offset: statistics.median(times[len(OFFSETS) :]) for offset, times in samples.items()}
    with json_lines(args.json) as write:
        write({"model": model, "frame": spec.format, "rounds": args.rounds, "median_seconds": medians})
    for offset, seconds in medians.items():
        line = f"{offset:3} bytes past a multiple of 64: {seconds * 1e3:.3f} ms ({seconds / medians[0]:.3f}x)"
        print(line, file=sys.stderr if args.json == "-" else sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
