"""The race on a small model: engines agree, what is missing or fails is a row, and a budget bounds the slow."""

import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from tvm_zerocopy.benching import prepare, race
from tvm_zerocopy.benching.contender import Contender, ContenderFailed
from tvm_zerocopy.benching.engines import ENGINES
from tvm_zerocopy.benching.engines.base import EngineAdapter
from tvm_zerocopy.benching.engines.pytorch import with_constant_shapes
from tvm_zerocopy.benching.work import Work
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.specs import Frame, Nms

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install opencv-python-headless")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
CONF = 1e-4


@pytest.fixture(scope="module")
def work(small_detector, tmp_path_factory):
    frames = prepare.sample_frames(Frame("bgr8"), (80, 48), count=2)
    folder = tmp_path_factory.mktemp("race")
    return prepare.work_of_model(small_detector[0], frames, folder, 2, {"postprocess": Nms(conf=CONF)})[0]


def test_work_travels_as_json(work):
    assert Work.from_json(work.to_json()) == work
    assert all(frame.shape == (48, 80, 3) for frame in work.load_frames())


def test_engines_are_timed_and_find_the_same(work):
    engines = [ENGINES["ours"], ENGINES["onnxruntime"], ENGINES["tensorrt"]]
    ours, peer, tensorrt = race.race(engines, work, warmup=3, iterations=7, budget=60)
    assert ours.status == peer.status == "ran"
    assert len(ours.seconds) == len(peer.seconds) == 7 and min(ours.seconds + peer.seconds) > 0
    assert peer.agreement is None and ours.agreement["agrees"] and ours.agreement["boxes"] > 0
    row = ours.to_dict()
    assert row["peak_bytes"] > row["artifact_bytes"] > 0 and row["compile_seconds"] > 0
    assert row["output_shapes"] == [[1, 300, 4], [1, 300], [1, 300], [1]]
    assert peer.to_dict()["output_shapes"] == [[1, 252, 8]]
    assert tensorrt.status == "ran" or "pip install" in tensorrt.reason


def test_frames_are_shared_out_to_processes(work, monkeypatch):
    started = []

    class Counted(Contender):
        def __init__(self, *arguments):
            started.append(arguments[0].name)
            super().__init__(*arguments)

    monkeypatch.setattr(race, "Contender", Counted)
    engines = [ENGINES["ours"], ENGINES["onnxruntime"]]
    ours, peer = race.race(engines, work, warmup=3, iterations=7, budget=60, processes=3)
    assert ours.processes == peer.processes == [3, 2, 2] and len(ours.seconds) == 7
    assert sorted(started) == ["onnxruntime"] * 3 + ["ours"] * 3
    assert ours.agreement["agrees"] and ours.to_dict()["peak_bytes"] > 0
    (few,) = race.race([ENGINES["ours"]], work, warmup=3, iterations=2, budget=60, processes=5)
    assert few.processes == [1, 1]


def test_a_tensorrt_that_takes_its_types_from_the_model_says_so(work):
    newest = SimpleNamespace(__version__="11.4", BuilderFlag=SimpleNamespace(TF32=1))
    for name in ("tensorrt-fp16", "tensorrt-int8"):
        with pytest.raises(UnsupportedError, match=r"TensorRT 11.4 .* pip install 'tensorrt<11'"):
            ENGINES[name]._plan(newest, None, None, work, None)


def test_reshapes_of_onnx2torch_get_constant_shapes():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

    class OnnxReshape(torch.nn.Module):  # as onnx2torch has it
        def forward(self, value, shape):
            return torch.reshape(value, torch.Size(shape))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.reshape, self.initializers = OnnxReshape(), torch.nn.Module()
            self.initializers.register_buffer("shape", torch.tensor([1, -1, 4]))

        def forward(self, x):
            return self.reshape(x, self.initializers.shape) + 1

    class Leaves(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, OnnxReshape)

    traced = torch.fx.GraphModule(Network(), Leaves().trace(Network()))
    changed = with_constant_shapes(traced)
    assert [node.op for node in changed.graph.nodes].count("call_module") == 0
    x = torch.rand(2, 8)
    assert torch.equal(changed(x), x.reshape(1, 4, 4) + 1)


def test_the_budget_bounds_a_slow_engine(work):
    (result,) = race.race([ENGINES["ours"]], work, warmup=3, iterations=50, budget=1e-9)
    assert len(result.seconds) == race.LEAST and "of 50 frames" in result.reason


def test_a_wrong_model_is_a_row_and_not_the_end(work, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07nonsense")
    job = Work.from_json(work.to_json().replace(work.model, str(broken)))
    ours, peer = race.race([ENGINES["ours"], ENGINES["onnxruntime"]], job, warmup=3, iterations=3, budget=60)
    assert ours.status == "ran" and peer.status == "failed" and str(broken) in peer.reason


def test_a_process_that_dies_says_how(work):
    contender = Contender(ENGINES["ours"], work)
    try:
        contender._process.kill()
        with pytest.raises(ContenderFailed, match="signal 9"):
            contender.run(0, 1)
    finally:
        contender.close()


def test_a_process_that_hangs_is_a_row_and_not_the_end(work, monkeypatch):
    contender = Contender(ENGINES["ours"], work)
    monkeypatch.setattr("tvm_zerocopy.benching.contender.A_FRAME", 0.2)
    contender._process.send_signal(signal.SIGSTOP)
    with pytest.raises(ContenderFailed, match="hangs: no answer for 0.4 s"):
        contender.run(0, 1)
    contender.close()
    assert contender._process.returncode == -signal.SIGKILL


def test_an_engine_that_never_loads_leaves_no_process(work, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr("tvm_zerocopy.benching.contender.LOADS", 0.01)
    (result,) = race.race([ENGINES["ours"]], work, warmup=1, iterations=1, budget=60)
    assert result.status == "failed" and "hangs" in result.reason
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_what_is_missing_says_how_to_install_it(work):
    absent = EngineAdapter("x", "X", needs=[("no_such_module_here", "such-a-package")])
    assert absent.missing(work) == "pip install such-a-package"
    (result,) = race.race([absent], work, 1, 1, 1.0)
    assert (result.status, result.reason) == ("missing", "pip install such-a-package")


def test_results_are_of_every_frame(work):
    contender = Contender(ENGINES["ours"], work)
    try:
        found = contender.results()
    finally:
        contender.close()
    assert len(found) == 2 and all(len(frame) == 3 for frame in found)
    assert not np.array_equal(found[0][0], found[1][0])


def test_our_reduced_precision_is_an_engine_or_a_row_that_says_why_not(work):
    ours, reduced = race.race([ENGINES["ours"], ENGINES["ours-bf16"]], work, warmup=1, iterations=3, budget=60)
    assert ours.status == "ran"
    assert reduced.status == "ran" or "AMX" in reduced.reason
