"""Logs on disk: whatever happened to the files, the valid lines are used and the others named."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuning_kernels import dense_workload
from tvm.s_tir import meta_schedule as ms

from tvm_zerocopy.tuning import log
from tvm_zerocopy.tuning.search import enumerate_points
from tvm_zerocopy.tuning.spaces import sketches


@pytest.fixture(scope="module")
def records(target, rules):
    """Six records of one workload (0.1 s to 0.6 s) and one failed candidate of another."""
    found = []
    for size, times in ((64, (0.3, 0.1, 0.2, 0.6, 0.4, 0.5)), (32, (1e10,))):
        workload = ms.database.Workload(dense_workload(size))
        (space,) = sketches(rules, workload.mod, target)
        for sch, seconds in zip(enumerate_points(workload.mod, space), times):
            found.append(ms.database.TuningRecord(sch.trace, workload, [seconds], target, []))
    return found


def test_round_trip(tmp_path, records):
    log.write(tmp_path, records)
    found = log.read(tmp_path)
    assert not found.problems
    assert sorted(map(log.seconds, found.records)) == sorted(map(log.seconds, records))
    assert {str(r.trace) for r in found.records} == {str(r.trace) for r in records}
    assert len(found.workloads) == 2


def test_metaschedule_reads_what_is_written(tmp_path, records):
    log.write(tmp_path, records)
    database = log.open_database(tmp_path)
    assert len(database) == len(records)
    best = database.query_tuning_record(dense_workload(), records[0].target, "main")
    assert log.seconds(best) == pytest.approx(0.1)


def test_packed_workloads_read_the_same(tmp_path, records):
    log.write(tmp_path, records, packed=True)
    assert not (tmp_path / log.WORKLOADS).exists()
    assert len(log.read(tmp_path).records) == len(records)


def test_a_half_written_line_is_set_aside(tmp_path, records):
    log.write(tmp_path, records)
    path = tmp_path / log.RECORDS
    path.write_text(path.read_text()[:-300])
    (problem,) = log.repair(tmp_path)
    assert "line 7" in problem
    assert "line 7" in (tmp_path / log.REJECTED).read_text()
    assert log.read(tmp_path).problems == []
    assert len(log.open_database(tmp_path)) == 6


def test_records_of_a_broken_workload_go_with_it(tmp_path, records):
    log.write(tmp_path, records)
    path = tmp_path / log.WORKLOADS
    lines = path.read_text().splitlines()
    path.write_text("[not json\n" + lines[1] + "\n")
    problems = log.repair(tmp_path)
    assert len(problems) == 1 + 6
    assert len(log.open_database(tmp_path)) == 1


def test_a_workload_of_another_tvm_is_named(tmp_path, records):
    log.write(tmp_path, records)
    path = tmp_path / log.WORKLOADS
    lines = path.read_text().splitlines()
    shash, body = json.loads(lines[0])
    path.write_text(json.dumps([str(int(shash) ^ 1), body]) + "\n" + lines[1] + "\n")
    assert log.read(tmp_path).problems[0].startswith(f"{log.WORKLOADS} line 1: ")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_leaves_a_readable_log(tmp_path, records, data):
    log.write(tmp_path, records)
    for name in (log.WORKLOADS, log.RECORDS):
        content = bytearray((tmp_path / name).read_bytes())
        for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
            content[position] = data.draw(st.integers(0, 255))
        end = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
        (tmp_path / name).write_bytes(bytes(content[:end]))
    log.repair(tmp_path)
    found = log.read(tmp_path)
    assert found.problems == []
    assert len(log.open_database(tmp_path)) == len(found.records)


def test_best_keeps_the_fastest_that_ran(records):
    (kept,) = log.best([*records, *records])
    assert log.seconds(kept) == pytest.approx(0.1)
    assert [log.seconds(r) for r in log.best(records, keep=2)] == pytest.approx([0.1, 0.2])


def test_a_record_counts_by_its_median(records):
    record = records[0]
    noisy = ms.database.TuningRecord(record.trace, record.workload, [0.3, 9.0, 0.1], record.target, [])
    assert log.seconds(noisy) == pytest.approx(0.3)
