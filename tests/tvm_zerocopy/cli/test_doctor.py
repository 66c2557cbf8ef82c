"""``tvm-zerocopy doctor`` as a person and as a script see it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_zerocopy.diagnosis import checks

NAMES = [check.name for check in checks()]


def doctor(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "tvm_zerocopy.doctor", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    done = doctor("--json", str(folder / "report.json"), "--logs", str(folder))
    return done, json.loads((folder / "report.json").read_text())


def test_every_check_reports_and_none_fails_here(report):
    done, found = report
    assert done.returncode == 0, done.stdout + done.stderr
    assert [check["name"] for check in found["checks"]] == NAMES
    assert found["ok"] and found["failed"] == []
    for check in found["checks"]:
        assert check["status"] in ("ok", "warn", "skip") and check["detail"]
        assert check["mend"] or check["status"] != "warn"


def test_figures_are_there_for_machines(report):
    figures = {check["name"]: check["figures"] for check in report[1]["checks"]}
    cpu = figures["matmul"]
    assert cpu["gflops"] > 1 and cpu["peak_gflops"] > 1
    assert cpu["share"] == pytest.approx(cpu["gflops"] / cpu["peak_gflops"], rel=0.02)
    assert figures["convolution"]["shape"] == [1, 8, 8, 8]
    assert figures["devices"]["devices"][0]["device"] == "cpu(0)"
    assert figures["TVM build"]["llvm"] and figures["threads"]["threads"] >= 1


def test_the_text_can_be_pasted_into_a_public_report(report):
    done, found = report
    for text in (done.stdout, json.dumps(found)):
        assert os.path.expanduser("~") + "/" not in text and str(Path(sys.prefix)) not in text
    for name in NAMES:
        assert name in done.stdout
    assert "\x1b" not in done.stdout and done.stderr == ""


def test_a_broken_tvm_gives_exit_code_1_and_a_mend(tmp_path):
    (tmp_path / "tvm").mkdir()
    circle = "cannot import name '_ffi_api' from partially initialized module 'tvm.runtime'"
    (tmp_path / "tvm" / "__init__.py").write_text(f"raise ImportError({circle!r})\n".replace('\\"', '"'))
    done = doctor("--json", "-", PYTHONPATH=str(tmp_path))
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and list(found) == NAMES
    assert found["TVM import"]["status"] == "fail" and "half-built" in found["TVM import"]["detail"]
    assert {name for name, check in found.items() if check["status"] == "skip"} >= {"vector add", "matmul", "devices"}
    assert "half-built" in " ".join(done.stderr.split()) and "mend:" in done.stderr


def test_a_folder_for_logs_that_cannot_be_written_fails(tmp_path, monkeypatch):
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("raise ImportError('broken')\n")  # so that this takes no time
    done = doctor("--logs", "/proc/logs", "--json", "-", PYTHONPATH=str(tmp_path))
    assert json.loads(done.stdout)["failed"][-1] == "disk" and done.returncode == 1


def test_a_json_file_that_cannot_be_written_is_said_before_the_checks(tmp_path):
    done = doctor("--json", str(tmp_path / "missing" / "report.json"))
    assert done.returncode == 1 and done.stdout == "" and "give a file that can be written" in done.stderr


def test_other_commands_name_a_broken_tvm_and_its_mend(tmp_path):
    (tmp_path / "tvm" / "tirx").mkdir(parents=True)
    (tmp_path / "tvm" / "tirx" / "__init__.py").write_text("")
    (tmp_path / "tvm" / "__init__.py").write_text(
        "raise RuntimeError('Cannot find library libtvm_runtime.so; in:\\n/bin')"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tvm_zerocopy.detect", "--save", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "core library (libtvm) is missing" in done.stderr and "tvm-zerocopy doctor" in done.stderr
