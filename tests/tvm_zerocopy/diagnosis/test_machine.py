"""Threads, packages, folders and what a report must not tell."""

import getpass
import os
import re
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.diagnosis import Check, cpus, machine, privacy, run_checks, storage
from tvm_zerocopy.diagnosis.known_failures import installed

HERE = "tvm_zerocopy.diagnosis"


def threads_found():
    (result,) = run_checks([Check("threads", f"{HERE}.machine:threads")])
    return result


def test_threads_are_counted_in_a_process_of_their_own(monkeypatch):
    allowed = len(os.sched_getaffinity(0))
    monkeypatch.setenv(cpus.VARIABLE, "1")
    one = threads_found()
    assert one.figures == {"threads": 1, "cpus_allowed": allowed, cpus.VARIABLE: "1"}
    assert (one.status, bool(one.mend)) == (("ok", False) if allowed == 1 else ("warn", True))

    monkeypatch.delenv(cpus.VARIABLE)
    usual = threads_found()
    assert usual.figures["threads"] >= 1 and usual.figures[cpus.VARIABLE] is None
    assert (usual.status == "ok") == (usual.figures["threads"] >= allowed)


def test_the_machine_is_described():
    found = machine.machine()
    assert found.status == "ok" and found.figures["python"] in found.detail
    assert found.figures["memory_gb"] > 0.1


def test_missing_and_crashing_packages_fail(monkeypatch):
    assert machine.packages().status == "ok"
    monkeypatch.setattr(machine, "REQUIRED", (*machine.REQUIRED, "a-package-that-is-nowhere"))
    found = machine.packages()
    assert found.status == "fail" and found.mend == "pip install a-package-that-is-nowhere"
    monkeypatch.undo()


@pytest.mark.parametrize(
    "versions, said",
    [
        ({"apache-tvm-ffi": "0.1.15.post2", "apache-tvm": "0.27.0"}, "0.1.15.post2 makes TVM 0.27 crash"),
        ({"apache-tvm-ffi": "0.1.13.post3", "apache-tvm": "0.27.0"}, "apache-tvm-ffi 0.1.13.post3 does not do"),
        ({"apache-tvm-ffi": "0.1.13.post3", "apache-tvm": "0.26.0"}, "apache-tvm 0.26.0 does not do"),
    ],
)
def test_versions_this_package_is_not_made_for_fail(monkeypatch, versions, said):
    for module in ("machine", "known_failures"):
        monkeypatch.setattr(f"{HERE}.{module}.installed", lambda name: versions.get(name) or installed(name))
    found = machine.packages()
    assert found.status == "fail" and said in found.detail and "apache-tvm>=0.27" in found.mend


def test_folders_that_cannot_be_written_fail(tmp_path):
    good = storage.disk(str(tmp_path))
    assert good.figures["logs"]["writable"] and good.figures["logs"]["free_gb"] >= 0
    assert storage.disk(str(tmp_path / "new" / "logs")).figures == good.figures  # it can be made
    (tmp_path / "file").write_text("x")
    for folder in ("/proc/logs", tmp_path / "file", tmp_path / "file" / "logs"):  # not even root writes to /proc
        found = storage.disk(str(folder))
        assert found.status == "fail" and str(folder).replace("/logs", "") in found.detail and "--logs" in found.mend
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("folder", ["/proc", "/nowhere"])
def test_a_temporary_folder_that_cannot_be_written_is_warned_of(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    found = storage.disk(str(tmp_path))
    assert found.status == "warn" and f"TMPDIR={folder} cannot be written" in found.detail and "TMPDIR" in found.mend


@pytest.mark.parametrize(
    "seen, status", [((5e9, True, True), "ok"), ((5e9, True, False), "warn"), ((1e6, True, True), "warn")]
)
def test_little_room_and_noexec_are_warned_of(monkeypatch, seen, status):
    monkeypatch.setattr(storage, "_look", lambda folder: seen)
    found = storage.disk(tempfile.gettempdir())
    assert found.status == status and bool(found.mend) == (status == "warn")


NAMES = st.from_regex(re.compile(r"[a-z][a-z0-9_]{3,10}", re.ASCII), fullmatch=True)


@given(name=NAMES, rest=st.text(st.sampled_from("abc/._ "), max_size=10))
def test_home_folders_never_leave(name, rest):
    for root in ("/home/", "/Users/"):
        text = privacy.scrub(f"cannot read {root}{name}/{rest} or {root}{name}")
        assert f"{root}{name}" not in text and "cannot read" in text


def test_user_and_host_names_never_leave(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe42")
    monkeypatch.setattr("socket.gethostname", lambda: "lab-xavier-7")
    monkeypatch.setenv("HOME", "/data/people/jdoe42")
    report = {
        "a": ["jdoe42@lab-xavier-7: /data/people/jdoe42/tvm", 3, None],
        "b": "nojdoe42 jdoe42s",
        "c": "/data/people/jdoe42x",
        "/data/people/jdoe42/bin/nvcc": True,
    }
    assert privacy.scrub(report) == {
        "a": ["<user>@<host>: ~/tvm", 3, None],
        "b": "nojdoe42 jdoe42s",
        "c": "/data/people/jdoe42x",
        "~/bin/nvcc": True,
    }
