"""Tuning without a GPU: candidates compiled with ptxas and predicted."""

import pytest
from tvm import s_tir, te
from tvm.ir import IRModule
from tvm.target import Target

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.tuning import log, measure, session, static
from tvm_zerocopy.tuning.tasks import Task, as_workload

pytestmark = pytest.mark.cuda12

XAVIER = Target("nvidia/jetson-agx-xavier")
SIZE = 128


def dense():
    a = te.placeholder((SIZE, SIZE), name="a")
    b = te.placeholder((SIZE, SIZE), name="b")
    k = te.reduce_axis((0, SIZE), "k")
    c = te.compute((SIZE, SIZE), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="dense")
    return as_workload(te.create_prim_func([a, b, c]))


class ThreadsRule:
    """How many threads along either axis: a warp along rows coalesces, along columns it does not; 64x64 is too many."""

    def apply(self, func, target, tuning=False):
        sch = s_tir.Schedule(IRModule({"main": func}))
        block = sch.get_sblock("dense")
        i, j, k = sch.get_loops(block)
        decision = None if tuning else 0
        rows = sch.sample_categorical([1, 32, 64], [1 / 3] * 3, decision)
        columns = sch.sample_categorical([1, 32, 64], [1 / 3] * 3, decision)
        outer_i, inner_i = sch.split(i, [None, rows])
        outer_j, inner_j = sch.split(j, [None, columns])
        sch.reorder(outer_i, outer_j, inner_i, inner_j, k)
        for loop, axis in zip(
            (outer_i, outer_j, inner_i, inner_j), ("blockIdx.y", "blockIdx.x", "threadIdx.y", "threadIdx.x")
        ):
            sch.bind(loop, axis)
        result = sch.cache_write(block, 0, "local")
        sch.reverse_compute_at(result, inner_j)
        return sch


def test_a_search_by_prediction(tmp_path):
    task = Task("dense", dense(), weight=1, flop=2.0 * SIZE**3, points=9)
    plan = session.Plan([task], XAVIER, [ThreadsRule()], tmp_path, cost_model="random")
    builder = measure.WorkerPoolBuilder(1, build=static.predict_candidate)
    state, _ = session.tune(plan, builder, static.static_runner())
    (item,) = state.tasks
    assert (item.trials, item.failures) == (9, 3)  # 32x64, 64x32 and 64x64 threads are more than 1024
    assert "threads a block; 1024 are allowed" in item.error
    by_threads = {
        tuple(int(decision) for decision in record.trace.decisions.values()): log.seconds(record)
        for record in log.read(tmp_path).records
    }
    # a warp along a row of b reads neighbours; down a column each lane has a sector of its own; one thread wastes 31
    assert by_threads[1, 1] <= by_threads[0, 1] < by_threads[0, 0]
    assert by_threads[0, 1] < by_threads[1, 0]


def test_candidates_that_cannot_run():
    sch = s_tir.Schedule(dense())
    with pytest.raises((UnsupportedError, RuntimeError, ValueError)):
        static.predict_module(sch.mod, XAVIER)  # no threads at all


def test_a_prediction_that_is_gone(tmp_path):
    from tvm.s_tir.meta_schedule.runner import RunnerInput

    (future,) = static.static_runner().run([RunnerInput(str(tmp_path / "predicted.json"), "cuda", [])])
    assert future.done() and "cannot be read" in future.result().error_msg
