"""What a person sees of a tuning run: a live table on a terminal, a line a round elsewhere."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .state import INFINITE, TuningState

ROWS = 20  # tasks shown at once


def duration(seconds) -> str:
    """``75`` -> ``1:15``; ``-`` where unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"


def summary(state: TuningState) -> str:
    """One line: trials, best network time, time left."""
    latency = f"{state.latency * 1e3:.2f} ms" if state.latency < INFINITE else "-"
    return (
        f"trials {state.done}/{state.planned}  tuned kernels {latency} a frame  "
        f"elapsed {duration(state.elapsed)}  left {duration(state.left)}"
    )


def share(state: TuningState, gflops: float) -> str:
    return f"{gflops / state.peak:.0%}" if state.peak and gflops else "-"


def task_table(state: TuningState, rows: int = ROWS) -> Table:
    """The tasks that weigh most: best rate, share of the machine's peak, trials and failures."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task", overflow="ellipsis", no_wrap=True, max_width=34)
    for name in ("runs", "best ms", "GFLOP/s", "of peak", "trials", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in state.tasks[:rows]:
        marker = "> " if item is state.current else "  "
        best = f"{item.best * 1e3:.3f}" if item.best < INFINITE else "-"
        rate = f"{item.gflops:.0f}" if item.gflops else "-"
        trials = f"{item.trials}/{item.task.points}" if item.task.points else str(item.trials)
        cells = (str(item.task.weight), best, rate, share(state, item.gflops), trials, str(item.failures))
        table.add_row(marker + item.task.name, *cells)
    if len(state.tasks) > rows:
        table.add_row(f"  and {len(state.tasks) - rows} more", *[""] * 6)
    return table


class LiveView:
    """A table that is redrawn after each round."""

    def __init__(self, console: Console):
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self):
        self._live.start()
        return self

    def __call__(self, state: TuningState) -> None:
        self._live.update(Group(task_table(state), Text(summary(state))), refresh=True)

    def __exit__(self, *_):
        self._live.stop()


class PlainView:
    """One line a round, for logs and pipes."""

    def __init__(self, console: Console):
        self._console = console

    def __enter__(self):
        return self

    def __call__(self, state: TuningState) -> None:
        item = state.current
        line = f"{summary(state)}  {item.task.name} {item.gflops:.0f} GFLOP/s {share(state, item.gflops)}"
        self._console.print(line, soft_wrap=True, highlight=False)
        if item.error:
            self._console.print(f"  last failure: {item.error}", soft_wrap=True, highlight=False, markup=False)
            item.error = ""
        self._console.file.flush()  # a pipe or a file would hold the lines back

    def __exit__(self, *_):
        pass


def view_for(console: Console):
    """The view that suits where the output goes."""
    return LiveView(console) if console.is_terminal else PlainView(console)
