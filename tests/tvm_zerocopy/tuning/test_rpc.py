"""Tuning on a fleet: TVM's own tracker and two servers on the loopback interface, one of them killed midway."""

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tvm import rpc
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.tuning import log, means, measure, session

pytest.importorskip("tornado", reason="TVM's RPC tracker needs tornado; pip install 'tvm-zerocopy[tune]'")

KEY = "fleet"
POINTS = 6
STARTED = 60.0  # seconds for tracker and servers to come up


def start(*command):
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def fleet():
    """(port of the tracker, the two servers)"""
    tracker = start("tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", "19190", "--port-end", "19999")
    servers = []
    try:
        port = next(
            int(found.group(1)) for line in tracker.stdout for found in [re.search(r":(\d+)\s*$", line)] if found
        )
        address = f"127.0.0.1:{port}"
        for first in ("20000", "21000"):
            where = ["--host", "127.0.0.1", "--port", first, "--port-end", str(int(first) + 999)]
            servers.append(start("tvm.exec.rpc_server", *where, "--tracker", address, "--key", KEY))
        wait_for_servers(port, 2)
        yield port, servers
    finally:
        for process in [*servers, tracker]:
            kill(process)


def wait_for_servers(port, count):
    end = time.monotonic() + STARTED
    while time.monotonic() < end:
        free = rpc.connect_tracker("127.0.0.1", port).summary()["queue_info"].get(KEY, {}).get("free", 0)
        if free >= count:
            return
        time.sleep(0.2)
    raise TimeoutError(f"{count} RPC servers did not register within {STARTED:.0f} s")


def test_a_fleet_outlives_one_of_its_devices(tmp_path, task, target, rules, fleet, monkeypatch):
    monkeypatch.setattr(session, "ROUND", 2)
    port, servers = fleet

    def kill_one(state):
        if state.rounds == 1:
            kill(servers[0])

    runner = measure.rpc_runner(
        "127.0.0.1", port, KEY, timeout=10, workers=1, evaluator=ms.runner.EvaluatorConfig(1, 1, 0)
    )
    plan = session.Plan([task], target, rules, tmp_path, cost_model="random")
    state, _ = session.tune(plan, measure.WorkerPoolBuilder(1), runner, on_round=kill_one)
    (item,) = state.tasks
    assert item.trials == POINTS
    assert state.rounds == 3
    # the device that died costs at most the candidates it held; the other one measures the rest
    assert item.failures <= 2, item.error
    assert len(log.best(log.read(tmp_path).records, keep=POINTS)) == POINTS - item.failures >= 4


def test_nothing_is_lost_when_the_last_device_goes(tmp_path, task, target, rules, fleet, monkeypatch):
    monkeypatch.setattr(session, "ROUND", 2)
    port, servers = fleet

    def kill_all(state):
        for server in servers:
            kill(server)

    how = means.means_for(target, rpc=("127.0.0.1", port), key=KEY)
    assert how.measured == "rpc" and KEY in how.line()
    runner = measure.rpc_runner(
        "127.0.0.1", port, KEY, timeout=10, workers=1, evaluator=ms.runner.EvaluatorConfig(1, 1, 0)
    )
    plan = session.Plan([task], target, rules, tmp_path, cost_model="random")
    with pytest.raises(
        UnsupportedError, match="lends no device with key 'fleet' .it has: none.; on the device: python"
    ):
        session.tune(plan, how.builder, runner, on_round=kill_all, require=how.require)
    records = log.read(tmp_path).records
    assert len(records) == 2  # the first round's; what failed with the devices will be tried again
    assert all(log.seconds(record) < 1 for record in records)


def test_a_tracker_that_is_not_there(target, fleet):
    with pytest.raises(UnsupportedError, match="no RPC tracker answers at 127.0.0.1:1 .*start one: python -m"):
        means.means_for(target, rpc=("127.0.0.1", 1), key=KEY)
    with pytest.raises(UnsupportedError, match="no device with key 'xavier' .it has: fleet.; on the device: "):
        means.means_for(target, rpc=("127.0.0.1", fleet[0]), key="xavier")


def test_a_device_that_does_not_run_the_target_s_code(fleet):
    """This machine under a Jetson's key: one line before any candidate is recorded as failed."""
    if platform.machine() != "x86_64" or shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("cross-links for aarch64 from x86-64")
    jetson = Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "carmel", "num-cores": 8})
    with pytest.raises(
        UnsupportedError, match="'fleet' does not run code for target llvm aarch64.* carmel: .*candidate.so"
    ):
        means.means_for(jetson, rpc=("127.0.0.1", fleet[0]), key=KEY)


@pytest.mark.cuda12
def test_a_device_without_the_target_s_gpu(fleet):
    target = Target({"kind": "cuda", "arch": "sm_72"}, host=Target("llvm"))
    with pytest.raises(UnsupportedError, match="'fleet' does not run code for target cuda sm_72"):
        means.means_for(target, rpc=("127.0.0.1", fleet[0]), key=KEY)
