"""A check and what it found."""

from dataclasses import dataclass, field
from typing import Any, Dict, Tuple

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes
    ----------
    status : {"ok", "warn", "fail", "skip"}
        "fail": something this package needs does not work. "warn": it works, but slower or with less than it could.
        "skip": it could not or need not be looked at.
    detail : str
        What was seen, in a line.
    mend : str
        What to do about it; empty where nothing needs doing.
    figures : dict
        The same for machines, JSON-able.
    name : str
        Set by the runner.
    seconds : float
        Set by the runner.
    """

    status: str
    detail: str
    mend: str = ""
    figures: Dict[str, Any] = field(default_factory=dict)
    name: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
    function : str
        ``"module:function"``; the function returns a CheckResult.
    arguments : tuple
        Its arguments, JSON-able.
    needs : tuple of str
        Names of checks without whose success this one makes no sense.
    timeout : float
        Seconds.
    """

    name: str
    function: str
    arguments: Tuple = ()
    needs: Tuple[str, ...] = ()
    timeout: float = 15.0


def ok(detail: str, **figures) -> CheckResult:
    return CheckResult(OK, detail, figures=figures)


def warn(detail: str, mend: str, **figures) -> CheckResult:
    return CheckResult(WARN, detail, mend, figures)


def fail(detail: str, mend: str, **figures) -> CheckResult:
    return CheckResult(FAIL, detail, mend, figures)


def skip(detail: str, mend: str = "", **figures) -> CheckResult:
    return CheckResult(SKIP, detail, mend, figures)
