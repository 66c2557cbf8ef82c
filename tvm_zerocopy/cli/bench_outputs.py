"""The files that ``bench`` writes: whether they can be is looked at before the work, which is long."""

import csv
import importlib.util
from pathlib import Path

from ..errors import SourceError, UnsupportedError
from . import UsageError

CSV_COLUMNS = (
    *("name", "title", "status", "reason", "count", "mean", "std", "min", "max", "median", "p99", "fps"),
    *("compile_seconds", "artifact_bytes", "peak_bytes", "output_shapes"),
    *("mean_watts", "joules_per_frame", "frames_per_joule"),
)
# option -> packages of the extra [bench] that it needs
_NEEDS = {"plot": ("matplotlib",), "report": ("matplotlib", "jinja2"), "compare": ("scipy",)}


def check(args) -> None:
    """Raise what `write` would raise after the work."""
    for option, packages in _NEEDS.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if getattr(args, option) and missing:
            raise UnsupportedError(f"--{option} needs {' and '.join(missing)}; pip install 'tvm-zerocopy[bench]'")
    if args.plot and Path(args.plot).suffix.lower() != ".png":
        raise UsageError(f"--plot {args.plot}: it writes PNG; give a name that ends in .png")
    for option in ("csv", "plot", "trace"):
        if getattr(args, option):
            _try(f"--{option}", Path(getattr(args, option)))
    if args.report:
        from ..benching import report

        _try("--report", report.page_of(args.report))


def _try(option: str, path: Path) -> None:
    """Raise SourceError if the file cannot be written; what is in it stays."""
    existed = path.exists()
    try:
        open(path, "ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        reason = error.strerror or error
        if not path.parent.is_dir():
            reason = f"there is no folder {path.parent}"
        raise SourceError(f"{option} {path}: {reason}; give a file that can be written") from None


def write(args, result: dict, console) -> None:
    """CSV, plot and page, as far as the arguments ask for them."""
    if args.csv:
        with open(args.csv, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for row in result["engines"]:
                shapes = "; ".join("x".join(map(str, shape)) for shape in row.get("output_shapes", ()))
                writer.writerow({**row, **row.get("power", {}), "output_shapes": shapes})
    if args.plot:
        from ..benching import plots

        plots.save(plots.plot_of(result), args.plot)
    if args.report:
        from ..benching import report

        console.print(f"report: {report.write(result, args.report)}", soft_wrap=True)
