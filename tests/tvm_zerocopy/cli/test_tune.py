"""``tvm-zerocopy tune``: what its exit code says, and the line that goes with it."""

from types import SimpleNamespace

from tvm_zerocopy.cli.tune import _exit_code
from tvm_zerocopy.tuning.state import TaskState


def state(*tasks):
    return SimpleNamespace(tasks=[TaskState(None, *fields) for fields in tasks])


def test_kernels_that_the_trials_did_not_come_to_are_no_failure(capsys):
    assert _exit_code(state((3, 1, 1e-3), (0, 0))) == 0
    assert capsys.readouterr().err == ""


def test_kernels_of_which_nothing_ran_are_one_line(capsys):
    assert _exit_code(state((3, 1, 1e-3), (2, 2, float("inf"), "frames of C++\ncannot open shared object\n"))) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: no candidate of 1 of 2 kernels could be timed")
    assert "(the last failure: cannot open shared object)" in err
