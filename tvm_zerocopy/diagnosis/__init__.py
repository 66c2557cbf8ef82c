"""What ``tvm-zerocopy doctor`` runs: checks of this machine, each in a child process, each with a mend."""

from .catalog import checks
from .result import FAIL, OK, SKIP, WARN, Check, CheckResult
from .runner import run_checks

__all__ = ["FAIL", "OK", "SKIP", "WARN", "Check", "CheckResult", "checks", "run_checks"]
