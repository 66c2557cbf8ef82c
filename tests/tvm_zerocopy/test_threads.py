"""As many threads as CPUs this process may use, unless the user chose; seen in fresh processes."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import sys
from tvm_zerocopy import threads
from tvm_zerocopy.runtime import load_runtime
said = threads.use_available_cpus()
print(said, load_runtime().get_global_func("runtime.NumThreads")())
"""


def started(**environment):
    """(threads as told, threads as TVM's pool has them) in a new process."""
    clean = {key: value for key, value in os.environ.items() if key not in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", "import sys; sys.modules['torch'] = None\n" + SCRIPT]
    done = subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=True, timeout=120
    )
    return tuple(map(int, done.stdout.split()))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux tells a process its CPUs")
def test_every_available_cpu():
    # A new process inherits the affinity that TVM may have narrowed in this one.
    count = len(os.sched_getaffinity(0))
    assert started() == (count, count)


@pytest.mark.parametrize("variable", ["TVM_NUM_THREADS", "OMP_NUM_THREADS"])
def test_the_users_choice_stays(variable):
    assert started(**{variable: "1"}) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_process_stays_on_the_cpus_it_was_given():
    script = """
        import os, sys
        sys.modules["torch"] = None
        last = {max(os.sched_getaffinity(0))}
        os.sched_setaffinity(0, last)
        from tvm_zerocopy import threads
        from tvm_zerocopy.runtime import load_runtime
        assert threads.use_available_cpus() == 1
        load_runtime().get_global_func("runtime.NumThreads")()
        assert os.sched_getaffinity(0) == last, os.sched_getaffinity(0)
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TVM_", "OMP_"))}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
