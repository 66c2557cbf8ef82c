"""What ``bench`` prints for people."""

from rich import box
from rich.console import Console
from rich.table import Table

from ..benching.compare import noise
from ..benching.layers import shape_text
from .bench_moves import trace_line

_VERDICT_STYLE = {"faster": "green", "slower": "red", "within noise": ""}


def show(result: dict, console: Console) -> None:
    """Every part that the result has."""
    environment = result["environment"]
    threads = f"{environment['threads']} thread{'s' if environment['threads'] > 1 else ''}"
    console.print(f"{environment['model']} on {environment['cpu']}, {threads}; {environment['frames']}", soft_wrap=True)
    if result["engines"]:
        ran = sorted((row for row in result["engines"] if row["status"] == "ran"), key=lambda row: row["median"])
        if ran:
            console.print(_times(ran))
            console.print(_costs(ran))
        powered = [row for row in ran if row.get("power")]
        if powered:
            console.print(_watts(powered))
        for row in ran:
            if row["agreement"]:
                other = row["agreement"]["reference"]
                does = "against" if row["agreement"]["agrees"] is None else "finds what"
                ends = "" if row["agreement"]["agrees"] is None else " finds"
                console.print(f"{row['title']} {does} {other}{ends}: {agreement(row)}", soft_wrap=True)
        for row in result["engines"]:
            if row["reason"]:
                status = "" if row["status"] == "ran" else f" {row['status']}"
                console.print(f"{row['title']}{status}: {row['reason']}", soft_wrap=True, markup=False)
        if "power" in result:
            console.print(f"power: {result['power']}", soft_wrap=True, markup=False)
    if "comparison" in result:
        _comparison(result["comparison"], console)
    if "stages" in result:
        _stages(result["stages"], console)
    if "layers" in result:
        _layers(result["layers"], console)
    if "trace" in result:
        console.print(trace_line(result["trace"]), soft_wrap=True, markup=False)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _times(rows) -> Table:
    table = _table("ms a frame, from the camera's frame to the boxes")
    table.add_column("engine", no_wrap=True)
    for title in ("median", "mean", "std", "min", "max", "p99", "FPS"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        times = [_ms(row[key]) for key in ("median", "mean", "std", "min", "max", "p99")]
        table.add_row(row["title"], *times, f"{row['fps']:.1f}")
    return table


def _costs(rows) -> Table:
    table = _table("what it takes and gives")
    table.add_column("engine", no_wrap=True)
    for title in ("compile s", "file MB", "peak MB"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("outputs")
    for row in rows:
        figures = ((row["compile_seconds"], 1), (row["artifact_bytes"], 1e6), (row["peak_bytes"], 1e6))
        shapes = ", ".join(map(shape_text, row["output_shapes"]))
        table.add_row(row["title"], *(_number(*figure, 2) for figure in figures), shapes)
    return table


def _watts(rows) -> Table:
    table = _table("power while it runs")
    table.add_column("engine", no_wrap=True)
    for title in ("watts", "joules a frame", "frames a joule"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        power = row["power"]
        figures = (power["mean_watts"], power["joules_per_frame"], power["frames_per_joule"])
        table.add_row(row["title"], *(f"{figure:.3g}" for figure in figures))
    return table


def agreement(row: dict) -> str:
    """In words, the verdict first."""
    found = row["agreement"]
    if found["agrees"] is None:
        return found["line"]
    return f"{'yes' if found['agrees'] else '[red]NO[/red]'}: {found['line']}"


def _comparison(comparison: dict, console: Console) -> None:
    table = _table(f"against {comparison['date']}")
    for title in ("engine", "then ms", "now ms", "ratio", "99% interval", "noise", ""):
        table.add_column(title, justify="left" if title in ("engine", "") else "right", no_wrap=title != "engine")
    for row in comparison["engines"]:
        style = _VERDICT_STYLE[row["verdict"]]
        verdict = f"[{style}]{row['verdict']}[/{style}]" if style else row["verdict"]
        medians = [_ms(row[key]) for key in ("old_median", "new_median")]
        ratios = (f"{row['ratio']:.3f}", f"{row['low']:.3f} .. {row['high']:.3f}", f"+-{row['floor']:.0%}")
        table.add_row(row["title"], *medians, *ratios, verdict)
    console.print(table)
    console.print(f"interval {noise(comparison)}", soft_wrap=True, markup=False)
    for line in comparison["differs"]:
        console.print(f"not comparable: {line}", soft_wrap=True, markup=False)


def _stages(stages: dict, console: Console) -> None:
    table = _table(f"stages of a frame of {stages['source']}, {stages['frames']} frames")
    table.add_column("stage")
    for title in ("median ms", "p99 ms", "share"):
        table.add_column(title, justify="right")
    for row in stages["rows"]:
        figures = (f"{row['median'] * 1e3:.3f}", f"{row['p99'] * 1e3:.3f}", f"{row['median'] / stages['seconds']:.1%}")
        table.add_row(row["name"], *figures)
    console.print(table)
    console.print(
        f"bottleneck: {stages['bottleneck']}, {stages['bottleneck_share']:.0%} of {stages['seconds'] * 1e3:.2f} ms"
    )
    if stages["camera"]:
        console.print("capture includes the wait for the camera's next frame")
    console.print(f"the program called plainly: {stages['call']['median'] * 1e3:.2f} ms")


def _layers(layers: dict, console: Console) -> None:
    peak = layers["peak_gflops"]
    table = Table(
        title=f"kernels, median of {layers['runs']} runs; measured peak {peak:.0f} GFLOP/s", title_justify="left"
    )
    table.add_column("kernel", overflow="ellipsis", no_wrap=True, max_width=max(18, console.width - 62))
    for title in ("output", "ms", "share", "GFLOP/s", "of peak", "GB/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in layers["rows"]:
        arithmetic = (f"{row['gflops']:.0f}", f"{row['share_of_peak']:.0%}") if row["gflops"] else ("", "")
        figures = (f"{row['seconds'] * 1e3:.3f}", f"{row['share']:.1%}", *arithmetic)
        name = row["kernel"].replace("fused_", "", 1)
        table.add_row(name, shape_text(row["output"]), *figures, _number(row["gbytes_per_second"], 1))
    table.add_section()
    whole = (f"{layers['gflops']:.0f}", f"{layers['gflops'] / peak:.0%}")
    table.add_row("all", "", f"{layers['seconds'] * 1e3:.2f}", "", *whole, "")
    console.print(table)
    if layers["above_peak"]:
        console.print(f"above 100%: {layers['above_peak']}", soft_wrap=True)


def _ms(seconds: float) -> str:
    """Milliseconds in at most five characters up to ten seconds."""
    milliseconds = seconds * 1e3
    return f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _number(value, unit, digits: int = 1) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"
