"""One self-contained HTML page of a result: figures, plots, environment, the command to repeat it."""

from __future__ import annotations

from pathlib import Path

from ..errors import UnsupportedError
from . import plots
from .compare import noise
from .layers import shape_text

_TEMPLATES = Path(__file__).parent / "templates"
NAME = "index.html"
_WIDTH = 5.0  # inches of a plot: its letters are readable on a phone too


def write(result: dict, folder: str) -> Path:
    """Write the page into a folder, which is made; its path.

    Raises
    ------
    UnsupportedError
        If jinja2 or matplotlib is not installed, or the folder cannot be made.
    """
    page, path = render(result), page_of(folder)
    path.write_text(page, encoding="utf-8")
    return path


def page_of(folder: str) -> Path:
    """The page's file; makes the folder. UnsupportedError if it cannot be made."""
    path = Path(folder) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnsupportedError(f"--report {folder}: {error.strerror or error}; give a folder to write to") from None
    return path


def render(result: dict) -> str:
    """The page's text. Everything is in it: it loads nothing."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise UnsupportedError("the report needs jinja2; pip install 'tvm-zerocopy[bench]'") from None
    engine = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    engine.trim_blocks = engine.lstrip_blocks = True
    engine.filters["ms"] = lambda seconds: f"{seconds * 1e3:.2f}"
    engine.filters["mb"] = lambda count: "" if count is None else f"{count / 1e6:.1f}"
    engine.filters["percent"] = lambda part: f"{part:.1%}"
    engine.filters["shape"] = shape_text
    ran = sorted((row for row in result["engines"] if row["status"] == "ran"), key=lambda row: row["median"])
    return engine.get_template("report.html").render(
        result=result,
        environment=result["environment"],
        ran=ran,
        others=[row for row in result["engines"] if row["status"] != "ran"],
        headline=_headline(ran),
        noise=noise(result["comparison"]) if "comparison" in result else None,
        plots={name: plots.svg(figure) for name, figure in _figures(result).items()},
    )


def _figures(result: dict) -> dict:
    figures = {}
    if any(row["status"] == "ran" for row in result["engines"]):
        figures["race"] = plots.race_plot(result["engines"], _WIDTH)
    if "stages" in result:
        figures["stages"] = plots.stages_plot(result["stages"]["rows"], _WIDTH)
    if "layers" in result:
        layers = result["layers"]
        figures["layers"] = plots.layers_plot(layers["rows"], layers["peak_gflops"], _WIDTH)
    return figures


def _headline(ran: list) -> str | None:
    """This project's median against the fastest peer's that computes in as much precision."""
    ours = next((row for row in ran if row["name"] == "ours"), None)
    if ours is None:
        return None
    peers = [row for row in ran if not row["name"].startswith("ours") and row["reduced"] == ours["reduced"]]
    text = f"{ours['median'] * 1e3:.1f} ms a frame, {ours['fps']:.0f} frames/s"
    if peers:
        best = peers[0]
        text += f"; {ours['median'] / best['median']:.2f} times {best['title']}'s {best['median'] * 1e3:.1f} ms"
    return text
