"""10,000 frames through a bound engine while a capture thread fills the next ones: memory growth, torn frames, results.

    python benchmarks/soak.py                                the embedded detector
    python benchmarks/soak.py yolov5s.so --frames 10000      an artifact, or an ONNX model, which is compiled first

A capture thread writes one of several pictures into a slot of a `FrameRing`; the main thread runs the engine that is
bound to that slot. For every frame:

- the slot's CRC-32, taken before and after the run, must be that of the picture: else the frame was torn;
- the outputs must be, byte for byte, those that the picture gave alone, before the capture thread started.

At the end, the resident memory must not have grown by 1 MB since the end of the warm-up. If any of it fails, the exit
code is 1.
"""

import argparse
import gc
import itertools
import os
import sys
import threading
import time
import zlib

import numpy as np
from PIL import Image

import tvm_zerocopy as tz
from tvm_zerocopy.buffers import RingClosed
from tvm_zerocopy.cli.common import Steps, json_lines
from tvm_zerocopy.copies.pipelines import sized_frame
from tvm_zerocopy.embedded import model_path, sample_pictures

PICTURES = 7  # not a multiple of the slots, so that every slot gets every picture
WARMUP = 300  # frames; pools, caches and the allocator's arenas fill
GROWTH_LIMIT = 1 << 20  # bytes


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def crc(arrays) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(array.reshape(-1) if array.flags.c_contiguous else np.ascontiguousarray(array), value)
    return value


def make_pictures(frame, arrays) -> list:
    """`PICTURES` different frames, one array a plane: the sample pictures where the format is theirs, else noise."""
    random = np.random.default_rng(0)
    pictures = [[random.integers(0, 256, array.shape, np.uint8) for array in arrays] for _ in range(PICTURES)]
    if frame.format == "bgr8" and frame.batch == 1:
        for picture, path in zip(pictures, sample_pictures()):
            with Image.open(path) as image:
                rgb = image.convert("RGB").resize((arrays[0].shape[1], arrays[0].shape[0]))
            picture[0][...] = np.asarray(rgb)[:, :, ::-1]
    return pictures


def output_bytes(binding) -> list:
    return [array.tobytes() for array in binding.outputs.values()]


class Soak:
    """The ring, an engine bound to each slot, the pictures and what each must give."""

    def __init__(self, engine, slots: int, policy: str):
        self.ring = tz.FrameRing.allocate(slots, sized_frame(engine.frame), policy=policy)
        self.bindings = [engine.bind(input=list(slot.buffers)) for slot in self.ring.slots]
        self.pictures = make_pictures(engine.frame, self.ring.slots[0].arrays)
        self.expected_crc = [crc(picture) for picture in self.pictures]
        self.expected = [self._alone(picture) for picture in self.pictures]
        self.picture_in = [None] * slots  # number of the picture in each slot
        self.torn = self.wrong = self.boxes = 0

    def _alone(self, picture) -> list:
        for target, source in zip(self.ring.slots[0].arrays, picture):
            target[...] = source
        self.bindings[0].run()
        return output_bytes(self.bindings[0])

    def capture(self) -> None:
        for number in itertools.count():
            try:
                with self.ring.capture() as slot:
                    self.picture_in[slot.index] = number % PICTURES
                    for target, source in zip(slot.arrays, self.pictures[number % PICTURES]):
                        target[...] = source
            except RingClosed:
                return

    def run(self, frames: int, progress) -> dict:
        thread = threading.Thread(target=self.capture, name="capture")
        begin, before, peak = time.monotonic(), 0, 0
        thread.start()
        for done in range(1, frames + 1):
            with self.ring.next() as slot:
                self._check(slot)
            progress(done)
            if done == min(WARMUP, frames // 2):
                gc.collect()
                before = peak = resident_bytes()
            elif done % 100 == 0:
                peak = max(peak, resident_bytes())
        self.ring.close()
        thread.join()
        gc.collect()
        after = resident_bytes()
        return {
            "frames": frames,
            "seconds": round(time.monotonic() - begin, 1),
            "ring": self.ring.counters._asdict(),
            "torn_frames": self.torn,
            "wrong_results": self.wrong,
            "boxes": self.boxes,
            "resident_after_warmup_bytes": before,
            "resident_at_end_bytes": after,
            "growth_bytes": after - before,
            "peak_growth_bytes": max(peak, after) - before,
        }

    def _check(self, slot) -> None:
        picture, binding = self.picture_in[slot.index], self.bindings[slot.index]
        found = crc(slot.arrays)
        binding.run()
        if not found == crc(slot.arrays) == self.expected_crc[picture]:
            self.torn += 1
        if output_bytes(binding) != self.expected[picture]:
            self.wrong += 1
        if "count" in binding.outputs:
            self.boxes += int(binding.outputs["count"].sum())


def open_engine(model):
    model = str(model_path()) if model is None else model
    return tz.load(model) if model.endswith(".so") else tz.compile(model)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="artifact (.so) or ONNX; none: the embedded detector")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=3)
    parser.add_argument("--policy", choices=("block", "drop_oldest"), default="block")
    parser.add_argument("--json", metavar="FILE|-")
    args = parser.parse_args()
    if args.frames < 2:
        parser.error("--frames must be at least 2")
    try:
        soak = Soak(open_engine(args.model), args.slots, args.policy)
        with Steps("soaking", args.frames) as steps, json_lines(args.json) as write:
            figures = soak.run(args.frames, lambda done: steps.advance(done=done))
            write({"model": args.model or "embedded", "policy": args.policy, "slots": args.slots, **figures})
    except tz.ZeroCopyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f"{name:28} {value}", file=sys.stderr if args.json == "-" else sys.stdout)
    good = not figures["torn_frames"] and not figures["wrong_results"] and figures["growth_bytes"] < GROWTH_LIMIT
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
