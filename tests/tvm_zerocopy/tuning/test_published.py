"""Published logs: what is written, what is found for a target, and what a damaged or foreign log does."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tvm
from tuning_kernels import TileRule, dense_workload
from tvm.s_tir import meta_schedule as ms

from tvm_zerocopy.cli import main
from tvm_zerocopy.errors import ArtifactError
from tvm_zerocopy.passes.apply_schedules import ApplySchedules
from tvm_zerocopy.tuning import catalog, check, log, manifest, published
from tvm_zerocopy.tuning.search import enumerate_points, point_of
from tvm_zerocopy.tuning.spaces import sketches

BEST = (1, 1)  # the point that the run below measured as the fastest


@pytest.fixture
def run(tmp_path, target, rules):
    """A finished run's log: every point of the dense kernel, BEST at 1 ms and the others slower."""
    workload = ms.database.Workload(dense_workload())
    (space,) = sketches(rules, workload.mod, target)
    records = []
    for number, sch in enumerate(enumerate_points(workload.mod, space)):
        seconds = 0.001 if point_of(sch) == BEST else 0.002 + number / 1000
        records.append(ms.database.TuningRecord(sch.trace, workload, [seconds], target, []))
    log.write(tmp_path / "run", records)
    return tmp_path / "run"


@pytest.fixture
def shelf(tmp_path, run, task, target, monkeypatch):
    """A folder of published logs in place of the package's, with the run's log in it."""
    monkeypatch.setattr(catalog, "PUBLISHED", tmp_path / "shelf")
    destination = tmp_path / "shelf" / "this-cpu" / "dense"
    published.publish(run, destination, facts(run, task, target))
    return destination


def facts(run, task, target):
    return manifest.describe(
        log.best_seconds(run), [task], target,
        model="dense", measured="local", device="a CPU", threads=1, command="tvm-zerocopy tune dense.onnx",
    )  # fmt: skip


def test_the_best_record_is_published_with_its_manifest(shelf, task):
    records = log.read(shelf).records
    assert [log.seconds(record) for record in records] == pytest.approx([0.001])
    written = manifest.read(shelf)
    (row,) = written["workloads"]
    assert row["hash"] == task.hash
    assert row["best_ms"] == pytest.approx(1.0)
    assert row["gflops"] == pytest.approx(task.flop / 1e6, abs=0.1)
    assert written["figures"]["tuned_kernels_ms"] == pytest.approx(2.0)  # it runs twice a frame
    assert written["versions"]["apache-tvm"].startswith("0.27")
    assert written["features"] == manifest.features(tvm.target.Target(written["target"]))


def test_the_target_finds_its_log_and_the_kernel_its_schedule(shelf, target):
    found = published.published_for(target)
    assert found.sources == ["this-cpu/dense"]
    sch = found.schedule(dense_workload()["main"])
    assert point_of(sch) == BEST
    assert found.schedule(dense_workload(32)["main"]) is None
    assert len(found.hits) == 1


def test_a_tuned_kernel_computes_the_same(shelf, target):
    tuned = ApplySchedules([TileRule()], target, published.published_for(target))(dense_workload())
    assert "T.vectorized(8)" in tuned.script()
    built = tvm.compile(tuned, target)
    a, b = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
    out = tvm.runtime.tensor(np.full((64, 64), np.nan, np.float32))
    built["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), out)
    np.testing.assert_allclose(out.numpy(), a @ b, rtol=1e-5)


def test_kernels_without_a_record_are_named(shelf, target):
    class Tunable(TileRule):
        tunable = True

    schedules = published.published_for(target)
    mod = tvm.IRModule({"known": dense_workload()["main"], "unknown": dense_workload(32)["main"]})
    ApplySchedules([Tunable()], target, schedules)(mod)
    assert schedules.misses == ["unknown"]
    assert schedules.line() == "tuning log this-cpu/dense: 1 of 2 tunable kernels; defaults for unknown"


def test_a_log_for_other_features_is_not_taken(shelf, target):
    written = manifest.read(shelf)
    manifest.write(shelf, {**written, "features": [*written["features"], "avx1024"]})
    assert published.published_for(target).sources == []
    named = published.from_folder(shelf, target)
    assert "avx1024" in named.line()
    assert named.schedule(dense_workload()["main"]) is not None


def test_a_log_for_fewer_cores_is_not_taken(shelf, target):
    written = manifest.read(shelf)
    more = tvm.target.Target({**target.export(), "num-cores": 2})
    manifest.write(shelf, {**written, "target": {**written["target"], "num-cores": 1}})
    found = published.published_for(more)
    assert found.sources == []
    assert "this-cpu/dense: tuned on fewer cores than the target's 2" in found.line()


def test_what_was_measured_goes_before_what_was_predicted(shelf, run, task, target):
    first = shelf.with_name("a_name_before_dense")
    published.publish(run, first, {**facts(run, task, target), "measured": "predicted"})
    found = published.published_for(target)
    assert found.sources == ["this-cpu/dense", "this-cpu/a_name_before_dense"]
    found.schedule(dense_workload()["main"])
    assert found.line() == "tuning log this-cpu/dense: 1 of 1 tunable kernels"


def test_a_predicted_log_says_so(shelf, target):
    manifest.write(shelf, {**manifest.read(shelf), "measured": "predicted"})
    found = published.published_for(target)
    found.schedule(dense_workload()["main"])
    assert found.line() == "tuning log this-cpu/dense (predicted): 1 of 1 tunable kernels"


def test_a_log_of_relay_is_not_taken(shelf, target):
    manifest.write(shelf, {**manifest.read(shelf), "ir": "relay"})
    assert published.published_for(target).sources == []


def test_logs_of_other_models_are_not_listed(shelf, target):
    found = published.published_for(target)
    found.missed("another")
    assert found.line() == "no published tuning log knows a kernel of this model; the schedules' defaults are used"
    assert found.to_dict()["sources"] == []


@pytest.mark.parametrize("damage", ["", "{", '{"format": 99}', "[]"])
def test_a_damaged_manifest_is_named_and_skipped(shelf, target, damage):
    (shelf / manifest.MANIFEST).write_text(damage)
    found = published.published_for(target)
    assert found.sources == []
    assert found.problems[0].startswith("this-cpu/dense: ")


def test_corrupt_lines_are_left_out_and_named(shelf, target):
    path = shelf / log.RECORDS
    path.write_text(path.read_text() + "half a li")
    found = published.published_for(target)
    assert found.schedule(dense_workload()["main"]) is not None
    assert "this-cpu/dense: " + log.RECORDS + " line 2" in found.line()


def test_a_record_that_does_not_apply_leaves_the_default(shelf, target):
    path = shelf / log.RECORDS
    path.write_text(path.read_text().replace('"dense"', '"other"'))
    found = published.published_for(target)
    assert found.schedule(dense_workload()["main"]) is None
    assert "does not apply" in found.problems[0]


def test_no_log_is_said(tmp_path, target, monkeypatch):
    monkeypatch.setattr(catalog, "PUBLISHED", tmp_path)
    assert "defaults are used" in published.published_for(target).line()


def test_what_is_no_log_is_refused(tmp_path, target):
    with pytest.raises(ArtifactError, match="is not a tuning log"):
        published.from_folder(tmp_path, target)


def test_a_run_without_results_is_not_published(tmp_path):
    with pytest.raises(ArtifactError, match="nothing to publish"):
        published.publish(tmp_path, tmp_path / "out", {"workloads": []})


def test_kernels_that_the_model_had_before_are_not_published(tmp_path, run, task, target, rules):
    """A folder keeps what was measured for an older version of the model."""
    before = ms.database.Workload(dense_workload(32))
    (space,) = sketches(rules, before.mod, target)
    sch = next(enumerate_points(before.mod, space))
    log.write(run, [*log.read(run).records, ms.database.TuningRecord(sch.trace, before, [0.001], target, [])])
    assert len(log.best_seconds(run)) == 2
    assert published.publish(run, tmp_path / "out", facts(run, task, target)) == 1
    (record,) = log.read(tmp_path / "out").records
    assert log.shash2hex(record.workload.mod) == task.hash


def test_check_applies_and_compiles_every_record(run):
    found = check.check(run)
    assert (found["records"], found["applied"], found["compiled"], found["problems"]) == (6, 6, 6, [])


def test_check_names_what_does_not_apply(run):
    path = run / log.RECORDS
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace('"dense"', '"other"'), *lines[1:]]) + "\n")
    found = check.check(run)
    assert (found["applied"], len(found["problems"])) == (5, 1)


def test_merge_keeps_the_fastest_of_each(tmp_path, run, target, rules):
    workload = ms.database.Workload(dense_workload())
    (space,) = sketches(rules, workload.mod, target)
    sch = next(enumerate_points(workload.mod, space))
    log.write(tmp_path / "other", [ms.database.TuningRecord(sch.trace, workload, [0.0005], target, [])])
    count, problems = published.merge([run, tmp_path / "other"], tmp_path / "merged")
    assert (count, problems) == (1, [])
    assert log.seconds(log.read(tmp_path / "merged").records[0]) == pytest.approx(0.0005)


class TestCommand:
    def test_list(self, shelf, capsys):
        assert main(["tune", "--list"]) == 0
        assert "this-cpu/dense" in capsys.readouterr().out

    def test_check(self, run, capsys):
        assert main(["tune", "--check", str(run), "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0])["compiled"] == 6

    def test_merge(self, run, tmp_path, capsys):
        assert main(["tune", "--merge", str(run), "--work-dir", str(tmp_path / "merged")]) == 0
        assert len(log.read(tmp_path / "merged").records) == 1

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            ([], 2, "give a MODEL.onnx"),
            (["m.onnx", "--rpc", "127.0.0.1:9190"], 2, "belong together"),
            (["m.onnx", "--rpc", "nowhere", "--key", "k"], 2, "is not HOST:PORT"),
            (["m.onnx", "--space", "generic"], 2, "--trials"),
            (["--merge", "a", "b"], 2, "--work-dir"),
            (["missing.onnx"], 1, "does not exist"),
            (["--check", "missing"], 1, "is not a tuning log"),
        ],
    )
    def test_bad_usage_is_one_line(self, arguments, code, message, capsys):
        assert main(["tune", *arguments]) == code
        error = capsys.readouterr().err.strip()
        assert message in error
        assert len(error.splitlines()) == 1


def test_each_log_in_the_package_is_whole():
    """In a process of its own: traces name intrinsics that nothing else has registered there."""
    code = """if True:
        from tvm_zerocopy.tuning import catalog, log, manifest
        for folder in catalog.folders():
            facts = manifest.read(folder)
            if facts["tuner"] == manifest.METASCHEDULE:
                found = log.read(folder)
                assert len(found.records) == len(facts["workloads"]) and not found.problems, (folder, found.problems)
                print(folder)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.split()) >= 15
