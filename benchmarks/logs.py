"""Each published MetaSchedule log against no log: the same network with both, whole programs in turns, in one run.

    python benchmarks/logs.py [NAME...] [--rounds 60] [--json FILE|-]

NAME: ``target/model`` as in ``tvm-zerocopy tune --list``; none: all that this machine can run. A ratio is the median
over the frames of (with the log / without), with its 99% interval by order statistics; time is that of all kernels of a
frame. Random weights: the arithmetic is that of trained ones. The exit code is 1 if a log makes a network slower beyond
noise or does not cover each kernel that has a choice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from tvm.target import Target

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.cli.common import json_lines
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.threads import use_available_cpus
from tvm_zerocopy.tuning import catalog, manifest, published
from tvm_zerocopy.tuning.model import Unscheduled
from tvm_zerocopy.tuning.network import Network, Ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="time tz.compile with the log as well")
    parser.add_argument("--json", metavar="FILE|-")
    args = parser.parse_args()
    use_available_cpus()
    here = set(manifest.features(resolve_target("llvm")))
    logs = [folder for folder in catalog.folders() if runs_here(manifest.read(folder), here)]
    unknown = set(args.names) - {catalog.name_of(folder) for folder in logs}
    if unknown:
        parser.error(f"there is no log {', '.join(sorted(unknown))} of MetaSchedule that runs here")
    worse = False
    print(f"{'log':32} {'with ms':>8} {'without':>8} {'ratio':>7} {'99% interval':>16}  kernels")
    with json_lines(args.json) as write:
        for folder in logs:
            if args.names and catalog.name_of(folder) not in args.names:
                continue
            row = compare(folder, args)
            write(row)
            low, high = row["interval"]
            line = f"{row['log']:32} {row['ms']:8.2f} {row['default_ms']:8.2f} {row['ratio']:7.3f}"
            print(
                f"{line} {low:7.3f} to {high:.3f}  {row['hits']} of {row['hits'] + row['misses']} from the log",
                flush=True,
            )
            if "compile_seconds" in row:
                print(f"{'':32} compiled in {row['compile_seconds']:.1f} s; {row['line']}")
            worse |= low > 1 or row["misses"] > 0
    return int(worse)


def runs_here(facts: dict, here: set) -> bool:
    return (
        facts["tuner"] == manifest.METASCHEDULE and facts["target"]["kind"] == "llvm" and set(facts["features"]) <= here
    )


def compare(folder: Path, args) -> dict:
    """One log's row."""
    facts = manifest.read(folder)
    target = Target(facts["target"])
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"{facts['model']}.onnx"
        onnx.save(models.build(facts["model"]), path)
        found = published.from_folder(folder, target)
        network = Network(Unscheduled(path, target))
        engines = [network.program({}), network.program_with(found)]
        _, totals = network.time(engines, args.rounds, args.seed)
        ratio = Ratio.of(totals[1], totals[0])
        row = {
            "log": catalog.name_of(folder),
            "ms": float(np.median(totals[1]) * 1e3),
            "default_ms": float(np.median(totals[0]) * 1e3),
            "ratio": ratio.median,
            "interval": [ratio.low, ratio.high],
            "rounds": args.rounds,
            "hits": len(found.hits),
            "misses": len(found.misses),
        }
        if args.compile:
            begin = time.monotonic()
            engine = tz.compile(str(path), postprocess=None, target=target)
            row.update(compile_seconds=time.monotonic() - begin, line=engine.metadata["tuning"]["line"])
    return row


if __name__ == "__main__":
    sys.exit(main())
