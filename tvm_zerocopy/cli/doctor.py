"""``tvm-zerocopy doctor``: what works on this machine, what does not, and what mends it."""

import dataclasses
import time

from rich.table import Table
from rich.text import Text

from . import common

EXAMPLE = """
tvm-zerocopy doctor
tvm-zerocopy doctor --logs tuning/ --json report.json
"""

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def add_arguments(parser) -> None:
    parser.add_argument("--logs", metavar="DIR", default=".", help="folder for tuning logs and artifacts (default: .)")


def run(args) -> int:
    from .. import __version__
    from ..diagnosis import FAIL, checks, run_checks

    work, results, begin = checks(args.logs), [], time.monotonic()
    with common.json_lines(args.json) as write, common.Steps("checking", total=len(work)) as steps:
        names = iter([*(check.name for check in work[1:]), ""])
        steps.advance(work[0].name, 0)
        for result in run_checks(work):
            results.append(result)
            steps.advance(next(names), len(results))
        failed = [result.name for result in results if result.status == FAIL]
        report = {
            "version": __version__,
            "ok": not failed,
            "failed": failed,
            "seconds": round(time.monotonic() - begin, 1),
            "checks": [dataclasses.asdict(result) for result in results],
        }
        write(report)
    _print(results, report, common.human_console(args.json))
    return 1 if failed else 0


def _print(results, report, console) -> None:
    table = Table(title=f"tvm-zerocopy {report['version']} doctor", title_justify="left", box=None, pad_edge=False)
    for column in ("", "check", "what was seen"):
        table.add_column(column, overflow="fold", no_wrap=column == "check")
    for result in results:
        seen = Text(result.detail)
        if result.mend:
            seen.append(f"\nmend: {result.mend}", style="bold" if result.status == "fail" else "")
        table.add_row(Text(result.status, style=_STYLES[result.status]), result.name, seen)
    console.print(table)
    count = {status: sum(result.status == status for result in results) for status in _STYLES}
    console.print(", ".join(f"{n} {status}" for status, n in count.items() if n) + f" in {report['seconds']:.0f} s")
