"""What takes a default's place, by times inside the network that these tests give; and what real programs compute."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import binom
from tvm.s_tir import meta_schedule as ms

import tvm_zerocopy as tz
from tvm_zerocopy.cli import main
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning import confirm, log, manifest, network, session
from tvm_zerocopy.tuning.model import Unscheduled
from tvm_zerocopy.tuning.search import enumerate_points
from tvm_zerocopy.tuning.spaces import sketches

SHAPE = (1, 3, 32, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two convolutions, 3x3 and 1x1, on 32 x 32 pixels."""
    random = np.random.default_rng(0)
    nodes, weights, last, channels = [], [], "image", 3
    for number, (out, kernel) in enumerate([(32, 3), (16, 1)]):
        weight = random.normal(size=(out, channels, kernel, kernel)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"weight{number}"))
        nodes.append(helper.make_node("Conv", [last, f"weight{number}"], [f"out{number}"], pads=[kernel // 2] * 4))
        last, channels = f"out{number}", out
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "small", [value("image", TensorProto.FLOAT, SHAPE)],
        [value(last, TensorProto.FLOAT, [1, channels, *SHAPE[2:]])], weights,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def target():
    return resolve_target("llvm -mcpu=haswell -num-cores=2")


@pytest.fixture(scope="module")
def unscheduled(model, target):
    return Unscheduled(model, target)


@pytest.fixture(scope="module")
def tasks(unscheduled, target):
    found = session.tunable(unscheduled.tasks(), unscheduled.rules, target, "design")
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def records(unscheduled, tasks, target):
    """As a search leaves them: the first points of each space, each slower than the one before."""
    found = []
    for task in tasks:
        points = [p for s in sketches(unscheduled.rules, task.mod, target) for p in enumerate_points(task.mod, s)]
        workload = ms.database.Workload(task.mod)
        seconds = [0.001 * (1 + 0.01 * number) for number in range(6)]
        found += [ms.database.TuningRecord(p.trace, workload, [s], target, []) for p, s in zip(points, seconds)]
    return found


class GivenTimes:
    """In place of `Network`: ``cost(choice, programs)`` says what a kernel takes, with and without its neighbours."""

    def __init__(self, cost, tasks):
        self.cost, self.hashes = cost, [task.hash for task in tasks]

    def __call__(self, unscheduled):
        return self

    def program(self, traces):
        return dict(traces)

    def time(self, programs, rounds, seed, on_round):
        noise = np.random.default_rng(seed)
        times = [
            {h: self.cost(h, p) * noise.uniform(0.99, 1.01, rounds) for h in self.hashes} for p in programs
        ]  # fmt: skip
        return times, np.array([sum(taken.values()) for taken in times])


def confirmed(monkeypatch, unscheduled, tasks, records, target, cost):
    monkeypatch.setattr(confirm, "Network", GivenTimes(cost, tasks))
    return confirm.confirm(unscheduled, tasks, records, target)


def choices(found):
    return [item.ratio is not None for item in found.kernels]


def default_traces(unscheduled, tasks, target):
    return [str(confirm.default_schedule(unscheduled.rules, task.mod, target).trace) for task in tasks]


def test_a_kernel_keeps_its_default_unless_it_is_beaten(monkeypatch, unscheduled, tasks, records, target):
    found = confirmed(
        monkeypatch, unscheduled, tasks, records, target,
        lambda key, program: 0.8e-3 if key == tasks[0].hash and key in program else 1e-3,
    )  # fmt: skip
    assert choices(found) == [True, False]
    assert found.ratio.high < 0.95
    kept = default_traces(unscheduled, tasks, target)
    written = found.records(target)
    assert str(written[0].trace) != kept[0]
    assert str(written[1].trace) == kept[1]
    assert [float(r.run_secs[0]) for r in written] == pytest.approx([0.8e-3, 1e-3], rel=0.01)


def test_noise_beats_no_default(monkeypatch, unscheduled, tasks, records, target):
    found = confirmed(monkeypatch, unscheduled, tasks, records, target, lambda key, program: 1e-3)
    assert choices(found) == [False, False]
    assert [str(r.trace) for r in found.records(target)] == default_traces(unscheduled, tasks, target)


def test_winners_that_lose_together_are_given_up(monkeypatch, unscheduled, tasks, records, target):
    def cost(key, program):
        alone = len(program) == 2 and program not in together
        return (0.8e-3 if alone else 1.2e-3) if key in program else 1e-3

    together = []
    given = GivenTimes(cost, tasks)
    compare = given.time

    def time(programs, rounds, seed, on_round):
        if len(programs) == 2:
            together.append(programs[1])
        return compare(programs, rounds, seed, on_round)

    given.time = time
    monkeypatch.setattr(confirm, "Network", given)
    found = confirm.confirm(unscheduled, tasks, records, target)
    assert together
    assert choices(found) == [False, False]


def test_what_neighbours_lose_counts(monkeypatch, unscheduled, tasks, records, target):
    """The first kernel's choice makes it faster and the second slower by more."""

    def cost(key, program):
        if key == tasks[0].hash:
            return 0.9e-3 if key in program else 1e-3
        return 1.3e-3 if tasks[0].hash in program else 1e-3

    found = confirmed(monkeypatch, unscheduled, tasks, records, target, cost)
    assert choices(found) == [False, False]


@pytest.mark.parametrize("count", [1, 5, 8, 24, 60])
def test_the_interval_of_a_median(count):
    rank = network._interval_rank(count)
    outside = 2 * binom.cdf(rank, count, 0.5)  # the median lies outside with this probability
    assert rank == -1 or outside <= 0.01
    assert 2 * binom.cdf(rank + 1, count, 0.5) > 0.01
    values = np.arange(1.0, count + 1)
    found = network.Ratio.of(values, np.ones(count))
    assert (found.low, found.high) == ((values[rank], values[-1 - rank]) if rank >= 0 else (0, np.inf))


def test_programs_with_other_schedules_compute_the_same(unscheduled, tasks, records, target):
    net = network.Network(unscheduled)
    other = {log.shash2hex(record.workload.mod): record.trace for record in records}  # the last point of each
    programs = [net.program({}), net.program(other)]
    frame = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    outputs = [program(frame)[0] for program in programs]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    assert programs[0].weights is programs[1].weights
    times, totals = net.time(programs, 3)
    assert all(set(taken) >= {task.hash for task in tasks} for taken in times)
    for taken, total in zip(times, totals):
        assert all((seconds > 0).all() for key, seconds in taken.items() if key)
        np.testing.assert_allclose(sum(taken.values()), total)


def test_a_tuned_model_is_published_with_what_it_gains(model, tmp_path, capsys):
    words = ["tune", str(model), "--work-dir", str(tmp_path / "run"), "--trials", "18", "--finalists", "1"]
    assert main([*words, "--publish", str(tmp_path / "log"), "--json", str(tmp_path / "report.json")]) == 0
    assert "in the network" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    written = manifest.read(tmp_path / "log")
    assert written["in_network"] == report["in_network"]
    assert len(written["workloads"]) == len(log.read(tmp_path / "log").records) == 2
    assert all(row["default_ms"] > 0 for row in written["workloads"])
    for folder in ("run", "log"):  # the run's own folder gives what was confirmed, too
        engine = tz.compile(str(model), postprocess=None, tuning_log=tmp_path / folder)
        assert engine.metadata["tuning"]["hits"] == 2
