"""``bench --trace`` and ``bench --nsys``: where bytes move, in an engine of ours and in somebody's profile."""

from itertools import cycle, islice

from rich import box
from rich.markup import escape
from rich.table import Table

from . import common

TRACED = 10  # frames of a trace
KERNELS_SHOWN = 10


def write_trace(engine, arrays, path: str, environment: dict) -> dict:
    """Trace some frames into a file; what it holds, as the result's key "trace" tells it."""
    from ..traces import trace_engine, write_trace

    events = trace_engine(engine, list(islice(cycle(arrays), TRACED)))
    write_trace(path, events, environment)
    counts = {name: sum(event.category == name for event in events) for name in ("host", "kernel", "copy")}
    return {"file": path, "frames": counts["host"], "kernels": counts["kernel"], "copies": counts["copy"]}


def trace_line(trace: dict) -> str:
    return (
        f"trace: {trace['file']}, {trace['frames']} frames, {trace['kernels']} kernels, {trace['copies']} copies; "
        "open it in https://ui.perfetto.dev"
    )


def run_nsys(args) -> int:
    """Read an export of Nsight Systems and print the copies of a frame as ``audit`` does."""
    from ..traces import read_nsight

    with common.json_lines(args.json) as write:
        found = read_nsight(args.nsys, args.frames or 1)
        write({"kind": "nsys", "file": args.nsys, **found.to_dict()})
    console = common.human_console(args.json)
    console.print(_moves(found, args.nsys))
    if found.kernels:
        console.print(_kernels(found))
    if found.graphs:
        common.warn(
            f"{found.graphs} launches of CUDA graphs were recorded whole, so that what they copy is not in the table; "
            "record with nsys profile --cuda-graph-trace=node"
        )
    return 0


def _moves(found, path: str) -> Table:
    table = Table(title=f"copies of a frame: {path}, {found.frames} frames", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("what", "reason", "action"):
        table.add_column(title)
    for title in ("count", "bytes", "ms"):
        table.add_column(title, justify="right")
    rows = found.per_frame()
    for row in rows:
        figures = (_figure(row["count"], ",.4g"), _figure(row["bytes"], ",.0f"), _figure(row["milliseconds"], ".3f"))
        table.add_row(row["what"], row["reason"], row["action"], *figures)
    table.add_section()
    sums = [sum(row[key] or 0 for row in rows) for key in ("count", "bytes", "milliseconds")]
    table.add_row("total", "", "", *(_figure(*pair) for pair in zip(sums, (",.4g", ",.0f", ".3f"))))
    return table


def _kernels(found) -> Table:
    table = Table(title=f"the longest kernels, of {len(found.kernels)}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("kernel", overflow="ellipsis", no_wrap=True)
    for title in ("launches a frame", "ms a frame"):
        table.add_column(title, justify="right", no_wrap=True)
    for kernel in found.kernels[:KERNELS_SHOWN]:
        figures = (kernel.count / found.frames, kernel.seconds * 1e3 / found.frames)
        table.add_row(escape(kernel.name), *(_figure(*pair) for pair in zip(figures, (",.4g", ".3f"))))
    return table


def _figure(value, form: str) -> str:
    return "unknown" if value is None else format(value, form)
