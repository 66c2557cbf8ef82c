"""The dispatcher: usage, exit codes, one line for an error."""

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from tvm_zerocopy import cli
from tvm_zerocopy.errors import ModelError


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    result = run(command, "--help")
    assert result.code == 0
    assert f"example:\n  tvm-zerocopy {command}" in result.out and "--json" in result.out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_module_for_python_m(command):
    assert importlib.util.find_spec(f"tvm_zerocopy.{command}") is not None


def test_help_lists_every_command(run):
    text = run("--help").out
    assert all(command in text for command in cli.COMMANDS)


@pytest.mark.parametrize("arguments", [(), ("--nonsense",), ("frobnicate",), ("detect", "--nonsense"), ("compile",)])
def test_wrong_usage_is_exit_code_2_and_one_line(fails, arguments):
    code, line = fails(*arguments)
    assert code == 2 and "--help" in line


def test_an_unknown_option_names_the_help_of_its_command(fails):
    assert fails("doctor", "--nonsense") == (
        2,
        "error: unrecognized arguments: --nonsense; see tvm-zerocopy doctor --help",
    )


def broken(error):
    def run(_):
        raise error

    return run


def test_errors_on_purpose_are_one_line_and_exit_code_1(fails, monkeypatch):
    monkeypatch.setattr("tvm_zerocopy.cli.detect.run", broken(ModelError("no good;\n  mend it")))
    assert fails("detect") == (1, "error: no good; mend it")


def test_a_bug_is_one_line_too_and_a_trace_with_debug(run, monkeypatch):
    monkeypatch.setattr("tvm_zerocopy.cli.detect.run", broken(ZeroDivisionError("oops")))
    result = run("detect")
    assert (result.code, len(result.lines)) == (1, 1) and "ZeroDivisionError: oops (a bug" in result.err
    with pytest.raises(ZeroDivisionError):
        run("detect", "--debug")


def test_interruption(fails, monkeypatch):
    monkeypatch.setattr("tvm_zerocopy.cli.detect.run", broken(KeyboardInterrupt()))
    assert fails("detect") == (1, "error: interrupted")


@pytest.mark.parametrize("raised", [RuntimeError, ModelError])  # TVM's own, and what `compile` makes of it
@pytest.mark.parametrize("number, usual", [("SIGINT", signal.default_int_handler), ("SIGTERM", signal.SIG_DFL)])
def test_interruption_that_comes_out_of_tvm_as_another_error(fails, monkeypatch, number, usual, raised):
    number = getattr(signal, number)

    def run(_args):
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except KeyboardInterrupt:
            raise raised from None

    monkeypatch.setattr("tvm_zerocopy.cli.detect.run", run)
    before = signal.signal(number, usual)  # a shell's background jobs ignore SIGINT
    try:
        assert fails("detect") == (1, "error: interrupted")
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)


def test_as_a_module_the_same_line_and_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tvm_zerocopy.compile", "absent.onnx"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: absent.onnx: No such file or directory; give the path of an ONNX model\n"


def test_a_reader_that_goes_away_is_no_trace(tmp_path):
    command = f"{sys.executable} -m tvm_zerocopy.detect --help | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
