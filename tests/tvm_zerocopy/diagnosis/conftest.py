import pytest

from tvm_zerocopy.diagnosis import Check, run_checks


@pytest.fixture
def check_with(tmp_path, monkeypatch):
    """Runs functions of a module given as text, in the child process; name -> CheckResult."""

    def run(source, *names, needs=None, **options):
        folder = tmp_path / "checks"
        folder.mkdir(exist_ok=True)
        header = "import os, sys, time\nfrom tvm_zerocopy.diagnosis.result import fail, ok, skip, warn\n"
        (folder / "given_checks.py").write_text(header + source)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        short = options.pop("timeouts", {})  # seconds of some; the others have time enough on any machine
        work = [Check(n, f"given_checks:{n}", needs=(needs or {}).get(n, ()), timeout=short.get(n, 50)) for n in names]
        return {result.name: result for result in run_checks(work, **options)}

    return run
