"""Whatever a check does to its process, every other check still reports."""

import os
import time

import pytest

SOURCE = """
import ctypes, signal, subprocess
def good(): return ok("fine", number=3)
def segfault():
    print("last words", flush=True)
    ctypes.string_at(0)
def abort(): os.abort()
def leaves(): os._exit(7)
def exits(): sys.exit(3)
def raises(): raise RuntimeError("no such thing")
def hangs():
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)
def chatty():
    for _ in range(300): print("x" * 1000)
    sys.stderr.write("y" * 300000)
    return ok("said much")
def same_process(): return ok(str(os.getpid()))
def same_process_again(): return ok(str(os.getpid()))
"""


def test_a_crash_ends_one_check_and_not_the_report(check_with):
    names = ("good", "segfault", "chatty", "abort", "leaves", "exits", "raises", "same_process", "same_process_again")
    found = check_with(SOURCE, *names)
    assert list(found) == list(names)
    assert {n: r.status for n, r in found.items()} == {
        **dict.fromkeys(("good", "chatty", "same_process", "same_process_again"), "ok"),
        **dict.fromkeys(("segfault", "abort", "leaves", "exits", "raises"), "fail"),
    }
    assert found["good"].figures == {"number": 3} and found["good"].detail == "fine"
    for name, text in (
        ("segfault", "segmentation fault"),
        ("abort", "SIGABRT"),
        ("leaves", "exit code 7"),
        ("exits", "exit code 3"),
        ("raises", "RuntimeError: no such thing"),
    ):
        assert text in found[name].detail and found[name].mend
    assert found["same_process"].detail == found["same_process_again"].detail != str(os.getpid())


def test_a_check_that_hangs_is_stopped_with_what_it_started(check_with):
    begin = time.monotonic()  # generous: the machine may be busy with other tests
    found = check_with(SOURCE, "hangs", "good", timeouts={"hangs": 1})
    assert found["hangs"].status == "fail" and "did not finish in 1 s" in found["hangs"].detail
    assert found["good"].status == "ok"
    assert time.monotonic() - begin < 55  # neither of the two sleeps of 60 s was waited for


def test_a_child_that_cannot_even_start_fails_each_check(check_with, tmp_path):
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "sitecustomize.py").write_text("import os; os._exit(9)\n")
    found = check_with(SOURCE, "good", "same_process")
    assert [(r.status, "exit code 9" in r.detail) for r in found.values()] == [("fail", True)] * 2


def test_checks_that_need_a_failed_one_are_skipped_and_say_why(check_with):
    needs = {"good": ("raises",), "chatty": ("good",), "same_process": ()}
    found = check_with(SOURCE, "raises", "good", "chatty", "same_process", needs=needs)
    assert [r.status for r in found.values()] == ["fail", "skip", "skip", "ok"]
    assert found["good"].detail == "needs raises, which failed"
    assert found["chatty"].detail == "needs good, which was skipped"


def test_the_whole_run_keeps_to_its_limit(check_with):
    found = check_with(SOURCE, "hangs", "good", limit=1.0)
    assert found["hangs"].status == "fail" and found["good"].status == "skip"
    assert "no time left" in found["good"].detail


@pytest.mark.parametrize("where", ["detail", "mend", "figures"])
def test_results_leave_the_child_without_home_folders(check_with, where):
    home = os.path.expanduser("~")
    text = {"detail": "'x'", "mend": "'x'", "figures": "{}"}
    text[where] = "{'path': [os.path.expanduser('~/file')]}" if where == "figures" else "os.path.expanduser('~/file')"
    source = f"""
from tvm_zerocopy.diagnosis import CheckResult
def private(): return CheckResult("ok", {text["detail"]}, {text["mend"]}, {text["figures"]})
"""
    value = getattr(check_with(source, "private")["private"], where)
    assert "~/file" in str(value) and f"{home}/" not in str(value)
