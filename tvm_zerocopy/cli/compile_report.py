"""``compile --report``: the table of a program's kernels."""

from rich.console import Console
from rich.table import Table

US = 1e6  # microseconds of a second


def rows(module, target):
    """``kernel_model.report.program_report`` of a lowered module."""
    from ..kernel_model.report import program_report

    return program_report(module, target)


def to_dict(report) -> dict:
    """For ``--json``."""
    return {"kernels": report} if isinstance(report, list) else report.to_dict()


def print_table(report, console) -> None:
    if isinstance(report, list):
        _print_whole(_cpu_table(report), console)
    else:
        _print_gpu(report, console)


def _cpu_table(kernels) -> Table:
    table = _table("kernel", "calls", "MFLOP", "MB", "FLOP/byte")
    for row in kernels:
        intensity = f"{row['flop_per_byte']:.1f}" if row["flop"] else "-"
        table.add_row(row["name"], str(row["calls"]), _millions(row["flop"]), _millions(row["bytes"]), intensity)
    total_flop, total_bytes = (sum(row[key] for row in kernels) for key in ("flop", "bytes"))
    table.add_row("sum", str(sum(row["calls"] for row in kernels)), _millions(total_flop), _millions(total_bytes), "")
    return table


def _print_gpu(report, console) -> None:
    from ..kernel_model.report import ASSUMED, MODEL, UNKNOWN

    names = ("runs", "grid", "block", "regs", "spill B", "shared B", "occup.", "set by", "MFLOP", "MB")
    table = _table("kernel", *names, "roofline us", "bound", "predicted us", "bound")
    for row in report.kernels:
        table.add_row(
            row.name + (" (tensor cores)" if row.tensor_cores else ""),
            str(row.launches),
            "x".join(map(str, row.grid)),
            "x".join(map(str, row.block)),
            str(row.registers),
            str(row.spill_bytes or "-"),
            str(row.shared_bytes or "-"),
            f"{row.occupancy:.0%}",
            row.occupancy_limit,
            _millions(row.flop),
            _millions(row.bytes),
            f"{row.roofline_seconds * US:.1f}",
            row.roofline_bound,
            f"{row.predicted_seconds * US:.1f}",
            row.predicted_bound,
        )
    _print_whole(table, console)
    spills = f"; {len(report.spills)} kernels spill" if report.spills else "; no spills"
    console.print(
        f"{report.gpu} ({report.arch}): {report.flop / 1e9:.1f} GFLOP a frame, roofline "
        f"{report.roofline_seconds * 1e3:.2f} ms, predicted {report.predicted_seconds * 1e3:.2f} ms{spills}",
        soft_wrap=True,
        highlight=False,
    )
    console.print(MODEL, soft_wrap=True, highlight=False)
    assumed = [
        f"{row.name} ({row.longest_seconds * US:.0f} us at their longest)" for row in report.kernels if row.assumed
    ]
    unknown = [row.name for row in report.kernels if row.unknown]
    for text, names in ((ASSUMED, assumed), (UNKNOWN, unknown)):
        if names:
            console.print(f"{text}: {', '.join(names)}", soft_wrap=True, highlight=False)


def _print_whole(table: Table, console) -> None:
    """No figure is cut off for the terminal's width: lines wrap there."""
    width = console.measure(table, options=console.options.update(width=1000)).maximum
    Console(file=console.file, width=max(width, console.width), highlight=False).print(table)


def _table(first: str, *names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="ellipsis", no_wrap=True, max_width=48)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f}" if value else "-"
