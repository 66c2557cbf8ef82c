"""AutoTVM, Ansor and MetaSchedule on Relay: real searches, resumable, whose logs are published and applied."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tvm
from relay_cases import executor
from tuning_models import SIZE, small_onnx
from tvm import relay

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.cli import main
from tvm_zerocopy.errors import ArtifactError, UnsupportedError
from tvm_zerocopy.passes.relay.frame_descriptor import describe
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning import manifest
from tvm_zerocopy.tuning.relay import published, records, run, session, tasks
from tvm_zerocopy.tuning.relay.ansor import Ansor
from tvm_zerocopy.tuning.relay.autotvm import AutoTvm
from tvm_zerocopy.tuning.relay.metaschedule import MetaSchedule
from tvm_zerocopy.tuning.relay.tuner import Measuring

TRIALS = 6


QUICK_ANSOR = {
    "evolutionary_search_population": 8,
    "evolutionary_search_num_iters": 1,
    "sample_init_min_population": 4,
}


def quick_ansor():
    return Ansor(QUICK_ANSOR)


def quick_metaschedule():
    from tvm.meta_schedule.search_strategy import EvolutionarySearch

    return MetaSchedule(
        lambda: EvolutionarySearch(population_size=8, init_min_unmeasured=4, max_fail_count=2, genetic_num_iters=1)
    )


TUNERS = {"autotvm": AutoTvm, "ansor": quick_ansor, "metaschedule": quick_metaschedule}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_onnx(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture(scope="module")
def target():
    return resolve_target("llvm")


@pytest.fixture(scope="module")
def module(model):
    return tasks.model_module(str(model), resolve_target("llvm"))


@pytest.fixture(scope="module", params=TUNERS)
def tuner(request):
    return TUNERS[request.param]()


@pytest.fixture(scope="module")
def plan(tuner, module, target, tmp_path_factory):
    """What the first run of each tuner did: (plan, state)."""
    found = [task for task in tuner.extract(module, target) if "conv2d" in task.name]
    made = session.Plan(
        tuner, found, target, tmp_path_factory.mktemp(tuner.name), TRIALS, Measuring(1, 1, repeat=2), round=3
    )
    with run.without_downloads():
        state, problems = session.tune(made)
    assert not problems
    return made, state


def test_tasks_are_the_distinct_convolutions_and_how_often_they_run(plan):
    made, _ = plan
    assert sorted(task.weight for task in made.tasks) == [1, 2]
    assert all(task.flop >= 2 * 16 * 16 * np.prod(SIZE) for task in made.tasks if task.weight == 2)


def test_a_run_measures_and_writes_down_every_candidate(plan):
    made, state = plan
    assert state.done == TRIALS and [item.trials for item in state.tasks] == [3, 3]
    known = made.tuner.read(made.folder)
    assert not known.problems and len(known.records) == TRIALS
    for item in state.tasks:
        times = [record.seconds for record in known.records if record.hash == item.task.hash]
        assert item.failures == sum(t == float("inf") for t in times)
        assert item.best == pytest.approx(min(times), rel=1e-5) and 0 < item.best < 1
    assert state.latency == pytest.approx(sum(item.task.weight * item.best for item in state.tasks))


def test_a_second_run_goes_on_and_repeats_nothing(plan, tmp_path):
    made, _ = plan
    made.tuner.write_best([made.folder], tmp_path)  # a log of somebody else's run will do
    before = len(made.tuner.read(tmp_path).records)
    again = session.Plan(made.tuner, made.tasks, made.target, tmp_path, 4, made.measuring, seed=1, round=2)
    with run.without_downloads():
        state, problems = session.tune(again)
    assert not problems and state.done == 4
    assert [item.trials for item in state.tasks] == [3, 3] and before == 2
    known = made.tuner.read(tmp_path)
    assert len(known.records) == 6
    assert len(set(map(configuration, known.records))) in (1, 6)  # MetaSchedule's records are in two files


def test_the_build_takes_the_log_and_computes_the_same(plan, module, target):
    made, _ = plan
    with run.without_downloads():
        with tvm.transform.PassContext(opt_level=3):
            stock = executor(relay.build(module, target))[1]
        with tvm.transform.PassContext(opt_level=3), made.tuner.applied([made.folder]) as applied:
            tuned = executor(relay.build(module, target))[1]
    assert applied.hits == {task.hash for task in made.tasks}
    assert not applied.misses
    frame = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    given = np.array(describe(ExternalBuffer.wrap(frame)), np.int64)
    np.testing.assert_allclose(tuned(frame=given)[0], stock(frame=given)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["autotvm", "ansor"])
def test_the_owners_own_build_reads_the_log(name, module, target, tmp_path):
    """A published log is the tuner's own format: TVM's reader takes it without this package."""
    tuner = TUNERS[name]()
    found = tuner.extract(module, target)[:1]
    made = session.Plan(tuner, found, target, tmp_path, 2, Measuring(1, 1, repeat=1), round=2)
    session.tune(made)
    tuner.write_best([tmp_path], tmp_path / "best")
    path = str(tmp_path / "best" / tuner.log)
    if name == "autotvm":
        (entry,) = tvm.autotvm.record.load_from_file(path)
        assert entry[0].task.name == found[0].native.name
    else:
        (entry,) = tvm.auto_scheduler.load_records(path)
        assert entry[0].task.workload_key == found[0].hash


@pytest.mark.parametrize("tuner", ["autotvm", "ansor"], indirect=True)
def test_lines_that_a_kill_cut_off_are_set_aside(plan, tmp_path):
    made, _ = plan
    good = (made.folder / made.tuner.log).read_text()
    path = tmp_path / made.tuner.log
    path.write_text(good + good.splitlines()[0][:90] + "\n{}\n\x00\x01\n")
    found = made.tuner.read(tmp_path)
    assert len(found.records) == TRIALS and len(found.problems) == 3
    assert found.problems[0].startswith(f"{made.tuner.log} line {TRIALS + 1}: ")
    assert made.tuner.repair(tmp_path) == found.problems
    assert path.read_text() == good
    assert made.tuner.read(tmp_path).problems == []


def test_autotvm_fits_its_cost_model_and_follows_it(module, target, tmp_path, monkeypatch):
    """Past its plan's size the XGBoost model is trained on what was measured, and proposes what comes next."""
    monkeypatch.setattr("tvm_zerocopy.tuning.relay.autotvm.PLAN", 2)
    tuner = AutoTvm()
    task = tuner.extract(module, target)[0]
    (search,) = tuner.searches([task], target, tmp_path, Measuring(1, 1, repeat=2), seed=0)
    for _ in range(2):
        search.measure(search.candidates(4, 2))
    fitted = search._tuner
    assert fitted.train_ct == 2 and fitted.cost_model.bst is not None
    planned = {int(index) for index in fitted.trials}
    assert planned and not planned & {record_index(line) for line in (tmp_path / tuner.log).read_text().splitlines()}
    (again,) = tuner.searches([task], target, tmp_path, Measuring(1, 1, repeat=2), seed=0)
    again.candidates(2, 2)  # an earlier run's records train it before anything is measured
    assert again._tuner.train_ct == 1 and len(again._tuner.xs) == 4


def test_autotvm_keeps_the_blocks_that_neighbours_have(module, target, tmp_path):
    """A point with other channel blocks would have to be paid for with layout changes on both sides."""
    tuner = AutoTvm()
    found = tuner.extract(module, target)
    searches = tuner.searches(found, target, tmp_path, Measuring(1, 1), seed=0)
    for task, search in zip(found, searches):
        channels = task.native.args[0][1][1]
        points = search.candidates(1000, 1000)
        assert len(points) == task.points > 1
        assert {(p["tile_ic"].size[-1], p["tile_oc"].size[-1]) for p in points} == {(channels, 16)}


def configuration(record):
    """What was measured, of AutoTVM or Ansor."""
    fields = json.loads(record.line or "null")
    return fields and json.dumps(fields.get("config") or fields["i"])


def record_index(line):
    return json.loads(line)["config"]["index"]


def tuning_command(tuner, trials, at_once, model, folder):
    """The command ``tune`` in a process of its own, with rounds of few candidates and Ansor's smallest population."""
    code = f"""if True:
        import signal, sys
        from tvm_zerocopy.cli import main
        from tvm_zerocopy.tuning.relay import ansor, session
        signal.signal(signal.SIGINT, signal.default_int_handler)
        session.Plan.__init__.__defaults__ = (0, {at_once})
        ansor.SEARCH_OPTIONS.update({QUICK_ANSOR})
        words = ["tune", {str(model)!r}, "--tuner", {tuner!r}, "--trials", "{trials}", "--work-dir", {str(folder)!r}]
        sys.exit(main(words))
    """
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("tuner", ["autotvm", "ansor"])
def test_kill_9_loses_at_most_the_round_in_flight(tuner, model, tmp_path):
    """What is on disk is whole, and the next run goes on from it: it repeats nothing."""
    process = subprocess.Popen(
        tuning_command(tuner, 40, 1, model, tmp_path), stdout=subprocess.PIPE, universal_newlines=True
    )
    finished = 0
    for line in process.stdout:
        if line.startswith("trials "):
            finished = int(line.split()[1].split("/")[0])
        if finished >= 2:
            process.kill()
            break
    process.wait()
    process.stdout.close()
    assert finished >= 2
    kept = TUNERS[tuner]().read(tmp_path).records
    assert len(kept) >= finished
    subprocess.run(tuning_command(tuner, 2, 1, model, tmp_path), stdout=subprocess.PIPE, check=True)
    found = TUNERS[tuner]().read(tmp_path).records
    assert len(found) == len(kept) + 2 and found[: len(kept)] == kept
    assert len(set(map(configuration, found))) == len(found)


@pytest.mark.parametrize("tuner", TUNERS)
def test_ctrl_c_ends_the_run_after_its_round(tuner, model, tmp_path):
    """The terminal sends it to every process of the run; the candidates in flight must not fail of it."""
    process = subprocess.Popen(
        tuning_command(tuner, 40, 4, model, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        start_new_session=True,
    )
    line = next(line for line in process.stdout if line.startswith("trials "))
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 1
    lines = [text for text in errors.splitlines() if not text.startswith("[")]  # of C++
    assert lines == ["stopping after this round; Ctrl-C again stops at once", "error: interrupted"], errors
    found = TUNERS[tuner]().read(tmp_path)
    finished = int(line.split()[1].split("/")[0])
    assert finished < len(found.records) < 40 and not found.problems
    assert all(record.seconds < float("inf") for record in found.records)


def test_a_run_that_was_stopped_goes_on():
    """Ctrl-Z and fg, or a debugger: no Ctrl-C was pressed."""
    code = """if True:
        import os, signal, time
        from tvm_zerocopy.tuning.relay.interrupts import after_the_round
        with after_the_round() as interrupted:
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.5)
            print(interrupted)
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, universal_newlines=True)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] == "[]\n"


def test_a_candidate_that_hangs_costs_only_itself(module, target, tmp_path, monkeypatch):
    from tvm_zerocopy.tuning.relay import local_runner

    real = local_runner.LocalRunner._run
    monkeypatch.setattr(local_runner, "_time", slow_first(tmp_path / "seen"))
    monkeypatch.setattr(local_runner, "RUN_TIMEOUT", 3, raising=False)
    tuner = AutoTvm()
    made = session.Plan(tuner, tuner.extract(module, target)[:1], target, tmp_path, 3, Measuring(1, 1, repeat=1))
    monkeypatch.setattr("tvm_zerocopy.tuning.relay.autotvm.RUN_TIMEOUT", 3)
    begin = time.monotonic()
    state, _ = session.tune(made)
    assert real is local_runner.LocalRunner._run and time.monotonic() - begin < 60
    (item,) = state.tasks
    assert (item.trials, item.failures) == (3, 1) and item.best < float("inf")
    assert "run timeout" in item.error


def slow_first(marker):
    """The timing function, which never ends the first time it is called (nested: sent to workers by value)."""

    def timed(job):
        if not os.path.exists(str(marker)):
            open(str(marker), "w").close()
            time.sleep(600)
        from tvm_zerocopy.tuning.relay.local_runner import time_library

        return time_library(*job)

    return timed


class TestCommand:
    def test_tunes_publishes_lists_checks_and_merges(self, model, tmp_path, capsys, monkeypatch):
        out = tmp_path / "shelf" / "this-cpu" / "small"
        words = ["tune", str(model), "--tuner", "autotvm", "--trials", "20", "--work-dir", str(tmp_path / "run")]
        assert main([*words, "--publish", str(out), "--json", "-"]) == 0
        output = capsys.readouterr()
        report = json.loads(output.out)
        assert report["trials"] == 20 and all(task["best_ms"] for task in report["tasks"])
        assert "tuned kernels" in output.err
        facts = manifest.read(out)
        assert facts["tuner"] == "autotvm" and facts["versions"]["tvm"] == tvm.__version__
        assert {row["hash"] for row in facts["workloads"]} == {task["hash"] for task in report["tasks"]}
        assert len(records.read(out / "autotvm.log", AutoTvm().parse).records) == 2
        monkeypatch.setattr("tvm_zerocopy.tuning.catalog.PUBLISHED", tmp_path / "shelf")
        assert main(["tune", "--list", "--json", "-"]) == 0
        assert "this-cpu/small" in capsys.readouterr().out
        assert main(["tune", str(model), "--check", str(out)]) == 0
        assert "2 of 2 records apply and compile" in capsys.readouterr().out
        merged = ["tune", "--merge", str(out), str(tmp_path / "run"), "--work-dir", str(tmp_path / "merged")]
        assert main(merged) == 0
        assert len(AutoTvm().read(tmp_path / "merged").records) == 2

    @pytest.mark.parametrize("tuner", ["autotvm"], indirect=True)
    def test_a_record_of_another_model_is_named(self, model, tmp_path, capsys, plan):
        made, _ = plan
        lines = (made.folder / "autotvm.log").read_text().replace("[16, 3, 3, 3]", "[24, 3, 3, 3]")
        (tmp_path / "autotvm.log").write_text(lines)
        assert main(["tune", str(model), "--check", str(tmp_path)]) == 1
        assert "is not in small.onnx" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words, code, message",
        [
            (["--tuner", "autotvm"], 1, "autotvm has no end of its own; give --trials N"),
            (["--tuner", "ansor", "--trials", "2", "--target", "cuda -arch=sm_72"], 1, "a TVM built with USE_CUDA=ON"),
            (["--check", "missing"], 1, "is not a tuning log"),
            (["--tuner", "autotvm", "--trials", "2", "--work-dir", __file__], 1, "is a file; give a folder"),
            (["--tuner", "autotvm", "--trials", "2", "--publish", __file__], 1, "is a file; give a folder"),
            (
                ["--tuner", "autotvm", "--trials", "2", "--rpc", "127.0.0.1:9", "--key", "xavier"],
                1,
                "no RPC tracker answers at 127.0.0.1:9",
            ),
        ],
    )
    def test_what_cannot_be_is_one_line(self, model, words, code, message, tmp_path, capsys):
        assert main(["tune", str(model), "--work-dir", str(tmp_path), *words]) == code
        error = capsys.readouterr().err.strip()
        assert message in error and len(error.splitlines()) == 1


def test_a_published_log_is_picked_for_cpus_that_have_its_instructions():
    """On whatever machine this runs: LLVM knows what the named processors have."""
    picked = published.published_for(resolve_target("llvm -mtriple=x86_64-linux-gnu -mcpu=skylake-avx512 -num-cores=2"))
    assert (picked.tuner.name, picked.sources) == ("autotvm", ["x86_64-avx512/yolov5s-autotvm"])
    assert picked.line() == "autotvm log x86_64-avx512/yolov5s-autotvm: 0 of 0 kernels"
    none = published.published_for(resolve_target("llvm -mtriple=x86_64-linux-gnu -mcpu=haswell -num-cores=2"))
    assert none.tuner is None and none.line().startswith("no published tuning log suits this target")


def test_logs_of_two_tuners_do_not_mix(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "autotvm.log").write_text("")
    (tmp_path / "b" / "ansor.log").write_text("")
    with pytest.raises(ArtifactError, match="is a log of ansor.*one of autotvm"):
        run.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


def test_a_check_needs_the_model(tmp_path):
    (tmp_path / "ansor.log").write_text("")
    with pytest.raises(UnsupportedError, match="tune MODEL.onnx --check"):
        run.check(tmp_path, None, lambda done, total: None)
