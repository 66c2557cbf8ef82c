"""Tuning for cuda -arch=sm_72, as far as a build without CUDA goes: tasks, spaces, measure options, logs."""

import pytest
import tvm
from tuning_models import small_onnx

from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning.relay import records, run, tasks
from tvm_zerocopy.tuning.relay.ansor import Ansor
from tvm_zerocopy.tuning.relay.autotvm import AutoTvm
from tvm_zerocopy.tuning.relay.tuner import Measuring


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    model = small_onnx(tmp_path_factory.mktemp("model") / "small.onnx")
    return tasks.model_module(str(model), resolve_target("nvidia/jetson-agx-xavier", code=False))


@pytest.fixture(scope="module")
def xavier():
    return resolve_target("nvidia/jetson-agx-xavier", code=False)


def test_the_target_is_the_boards(xavier):
    assert (str(xavier.attrs["arch"]), xavier.kind.name) == ("sm_72", "cuda")
    assert str(xavier.host.attrs["mcpu"]) == "carmel" and "aarch64" in str(xavier.host.attrs["mtriple"])


def test_autotvm_has_templates_with_large_spaces(module, xavier):
    with run.without_downloads():
        found = AutoTvm().extract(module, xavier)
    names = {task.native.name for task in found}
    assert "conv2d_nchw.cuda" in names
    assert all(len(task.native.config_space) > 100 for task in found if task.native.name == "conv2d_nchw.cuda")


def test_autotvm_candidates_lower_to_gpu_threads(module, xavier):
    with run.without_downloads():
        task = next(t for t in AutoTvm().extract(module, xavier) if t.native.name == "conv2d_nchw.cuda")
    with xavier:
        schedule, arguments = task.native.instantiate(task.native.config_space.get(0))
        text = str(tvm.lower(schedule, arguments))
    assert "blockIdx.x" in text and "threadIdx.x" in text


def test_ansor_searches_under_the_boards_limits(module, xavier):
    with run.without_downloads():
        found = Ansor().extract(module, xavier)
    limits = found[0].native.hardware_params
    assert (limits.max_shared_memory_per_block, limits.warp_size) == (49152, 32)
    policy = tvm.auto_scheduler.SketchPolicy(
        found[0].native, tvm.auto_scheduler.RandomModel(), verbose=0, params={"sample_init_min_population": 2}
    )
    states = policy.sample_initial_population()
    schedule, arguments = found[0].native.compute_dag.apply_steps_from_state(states[0])
    with xavier:
        assert "threadIdx.x" in str(tvm.lower(schedule, arguments))


def test_devices_are_asked_for_at_the_tracker(monkeypatch):
    from tvm_zerocopy.tuning.relay import ansor, autotvm

    asked = []  # Ansor's runner calls the tracker when it is made
    monkeypatch.setattr(tvm.auto_scheduler, "RPCRunner", lambda *args, **options: asked.append((args, options)))
    measuring = Measuring(1, 1, rpc=("192.0.2.1", 9190, "xavier"))
    runner = autotvm._runner(measuring)
    assert (runner.key, runner.host, runner.port, runner.number) == ("xavier", "192.0.2.1", 9190, 1)
    ansor._runner(measuring)
    ((args, options),) = asked
    assert args == ("xavier", "192.0.2.1", 9190) and options["repeat"] == measuring.repeat


def test_a_log_for_the_board_is_read_and_applied(module, xavier, tmp_path):
    """A record as the board would give it: the configuration is taken where the operator is lowered."""
    tuner = AutoTvm()
    with run.without_downloads():
        task = next(t for t in tuner.extract(module, xavier) if t.native.name == "conv2d_nchw.cuda")
        entry = tvm.autotvm.measure.MeasureInput(xavier, task.native, task.native.config_space.get(1))
        result = tvm.autotvm.measure.MeasureResult((1e-4, 1.2e-4, 1.1e-4), 0, 1.0, 0.0)
        records.append(tmp_path / tuner.log, [tvm.autotvm.record.encode(entry, result)])
        (record,) = tuner.read(tmp_path).records
        assert (record.hash, record.seconds) == (task.hash, 1.1e-4)
        with tuner.applied([tmp_path]) as applied:
            found = tvm.autotvm.DispatchContext.current.query(xavier, task.native.workload)
    assert found.index == 1 and applied.hits == {task.hash}
