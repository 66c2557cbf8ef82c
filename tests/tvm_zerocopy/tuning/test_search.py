"""The enumeration of small design spaces."""

import itertools

import numpy as np
import pytest
from tuning_kernels import TILES, TileRule, dense_workload
from tvm import s_tir
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.cost_model import PyCostModel

from tvm_zerocopy.schedules.space import design_space
from tvm_zerocopy.tuning.intrinsics import contexts_without_intrinsics
from tvm_zerocopy.tuning.search import RankedEnumeration, decisions_of, enumerate_points, point_of
from tvm_zerocopy.tuning.spaces import count_points, sketches

POINTS = len(TILES) * 2


def started(target, rules, per_round, cost_model=None, database=None, trials=100):
    mod = dense_workload()
    with contexts_without_intrinsics():
        context = ms.TuneContext(mod=mod, target=target, space_generator=design_space(rules, target), num_threads=1)
    strategy = RankedEnumeration(seed=3)
    strategy._initialize_with_tune_context(context)
    strategy.pre_tuning(trials, per_round, sketches(rules, mod, target), database, cost_model)
    return strategy


def batches(strategy, on_batch=lambda batch: None):
    while (batch := strategy.generate_measure_candidates()) is not None:
        yield batch
        on_batch(batch)
        strategy.notify_runner_results(batch, [])


def test_every_point_is_enumerated_once(target, rules):
    mod = dense_workload()
    (space,) = sketches(rules, mod, target)
    points = [point_of(sch) for sch in enumerate_points(mod, space)]
    assert sorted(points) == sorted(itertools.product(range(3), range(2)))
    assert count_points([space]) == POINTS


def test_rounds_cover_the_space_without_repeats(target, rules):
    rounds = list(batches(started(target, rules, per_round=4)))
    assert [len(batch) for batch in rounds] == [4, 2]
    seen = {point_of(candidate.sch) for batch in rounds for candidate in batch}
    assert len(seen) == POINTS


def test_the_trial_budget_is_kept(target, rules):
    assert sum(map(len, batches(started(target, rules, per_round=2, trials=3)))) == 3


@derived_object
class FavoursLargeTiles(PyCostModel):
    """A cost model that knows the answer: the larger the tile, the better."""

    def predict(self, context, candidates):
        return np.array([point_of(candidate.sch)[0] for candidate in candidates], dtype="float64")


def test_the_cost_model_ranks_what_is_left(target, rules):
    strategy = started(target, rules, per_round=1, cost_model=FavoursLargeTiles())
    order = [point_of(batch[0].sch)[0] for batch in batches(strategy)]
    assert order[1:] == sorted(order[1:], reverse=True)


def test_points_in_the_database_are_not_measured_again(target, rules):
    mod = dense_workload()
    database = ms.database.MemoryDatabase()
    workload = database.commit_workload(mod)
    (space,) = sketches(rules, mod, target)
    known = list(enumerate_points(mod, space))[:4]
    for sch in known:
        database.commit_tuning_record(ms.database.TuningRecord(sch.trace, workload, [0.1], target, []))
    strategy = started(target, rules, per_round=10, database=database)
    left = {point_of(candidate.sch) for batch in batches(strategy) for candidate in batch}
    assert len(left) == POINTS - 4
    assert left.isdisjoint(point_of(sch) for sch in known)


def test_other_samplings_are_refused():
    sch = s_tir.Schedule(dense_workload())
    sch.sample_perfect_tile(sch.get_loops(sch.get_sblock("dense"))[0], n=2)
    with pytest.raises(ValueError, match="sample_categorical only"):
        decisions_of(sch)


def test_a_rule_without_a_choice_has_no_space(target):
    class Fixed(TileRule):
        def apply(self, func, target, tuning=False):
            return s_tir.Schedule(dense_workload())

    assert sketches([Fixed()], dense_workload(), target) == []
