"""How often ``bench --compare`` sees a change where there is none: the same program raced again and again.

    python benchmarks/false_alarms.py                          # the embedded model, ten races
    python benchmarks/false_alarms.py yolov5s.onnx --races 6 --engines ours,onnxruntime

Prints what the median moves from race to race, and the share of pairs of races that are not called "within noise": by
the interval of the frames alone, and by `bench --compare`'s verdict.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tvm_zerocopy.benching.compare import compare
from tvm_zerocopy.benching.statistics import frames_alone


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="ONNX file or artifact (default: the embedded model)")
    parser.add_argument("--races", type=int, default=10)
    parser.add_argument("--engines", default="ours")
    parser.add_argument("--iterations", default="100")
    parser.add_argument("--processes", default="1")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.races):
            path = Path(folder) / "result.json"
            words = ["--engines", args.engines, "--iterations", args.iterations, "--processes", args.processes]
            words += ["--json", str(path)]
            model = [args.model] if args.model else []
            command = [sys.executable, "-m", "tvm_zerocopy.bench", *model, *words]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            results.append(json.loads(path.read_text()))
            medians = ", ".join(f"{row['name']} {row['median'] * 1e3:.2f} ms" for row in results[-1]["engines"])
            print(f"race {len(results)}: {medians}", flush=True)
    pairs = list(itertools.combinations(results, 2))
    for name in (row["name"] for row in results[0]["engines"]):
        runs = [next(row for row in result["engines"] if row["name"] == name) for result in results]
        medians = [row["median"] for row in runs]
        moved = [max(a / b, b / a) - 1 for a, b in itertools.combinations(medians, 2)]
        alone = [frames_alone(a["seconds"], b["seconds"]) for a, b in itertools.combinations(runs, 2)]
        verdicts = [next(row for row in compare(a, b)["engines"] if row["name"] == name)["verdict"] for a, b in pairs]
        print(f"{name}: median moves by {statistics.median(moved):.1%} between two races, at most {max(moved):.1%}")
        print(f"  called a change by the frames' interval alone: {_share(found.verdict for found in alone)}")
        print(f"  called a change by bench --compare:            {_share(verdicts)}")


def _share(verdicts) -> str:
    verdicts = list(verdicts)
    count = sum(verdict != "within noise" for verdict in verdicts)
    return f"{count} of {len(verdicts)} ({count / len(verdicts):.0%})"


if __name__ == "__main__":
    main()
