"""``tvm-zerocopy audit``: every allocation and copy of a compiled program, by analysis and counted at run time."""

from __future__ import annotations

from rich.table import Table

from ..copies.counter import SMALLEST_COPY
from ..passes.copy_report import ACTIONS
from . import common

EXAMPLE = """
tvm-zerocopy audit yolov5s.so
tvm-zerocopy audit yolov5s.so --frames 1000 --baseline yolov5s.onnx
"""
ACTIONS_SHOWN = ("in place", "planned", "allocated", "copied")  # row by row; the pooled ones as one sum
COLUMNS = (
    ("allocations", "allocs"),
    ("allocated_bytes", "bytes"),
    ("copies", "copies"),
    ("copied_bytes", "bytes"),
    ("made_bytes", "new arrays"),
)


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL.so", help="an artifact that `compile` wrote")
    parser.add_argument(
        "--frames", type=common.whole_number, default=100, metavar="N", help="frames that are counted (default 100)"
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL.onnx",
        help="also count the usual pipeline on this model: OpenCV, numpy, copy in, run, copy out, NMS in numpy",
    )


def run(args) -> int:
    from ..copies.audit import audit

    with common.Steps("counting"), common.json_lines(args.json) as write:
        result = audit(args.model, args.frames, args.baseline)
        write({"model": args.model, "frames": result.measured.frames, **result.to_dict()})
    console = common.human_console(args.json)
    console.print(_analysis(result.analysis))
    console.print(_measured(result))
    disagreements = result.disagreements()
    for line in disagreements:
        console.print(f"[red]disagreement:[/red] {line}")
    if not disagreements:
        console.print("analysis and measurement agree")
    return 1 if disagreements else 0


def _analysis(report) -> Table:
    table = Table(title="analysis: memory and moves of one frame", title_justify="left")
    for column in ("what", "reason", "action"):
        table.add_column(column)
    table.add_column("bytes", justify="right")
    for row in report.rows:
        if row.action in ACTIONS_SHOWN:
            table.add_row(row.what, row.reason, row.action, _bytes(row.bytes))
    table.add_section()
    for action, total in report.totals().items():
        table.add_row(f"{total['count']} x", ACTIONS[action], action, _bytes(total["bytes"]))
    return table


def _measured(result) -> Table:
    frames = result.measured.frames
    table = Table(title=f"measured, a frame (average of {frames}; copies of {SMALLEST_COPY} bytes and more)")
    table.title_justify = "left"
    table.add_column("")
    for _, title in COLUMNS:
        table.add_column(title, justify="right")
    _add(table, result.measured)
    if result.usual:
        table.add_section()
        for step in result.usual:
            _add(table, step)
        table.add_section()
        figures = [step.per_frame() for step in result.usual]
        totals = {name: sum(figure[name] for figure in figures) for name, _ in COLUMNS}
        table.add_row("the usual pipeline", *(_bytes(totals[name]) for name, _ in COLUMNS))
    return table


def _add(table, step) -> None:
    figures = step.per_frame()
    table.add_row(step.name, *(_bytes(figures[name]) for name, _ in COLUMNS))
    if figures["kernel_copies"]:
        moved = (_bytes(figures["kernel_copies"]), _bytes(figures["kernel_copied_bytes"]))
        table.add_row("  inside kernels", "", "", *moved, "")


def _bytes(count) -> str:
    return "by frame size" if count is None else f"{count:,}"
