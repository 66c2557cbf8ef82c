"""A bound engine allocates and copies nothing, a copying pipeline around the same engine is caught, byte for byte."""

import dataclasses
import json
import textwrap

import numpy as np
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.cli import main
from tvm_zerocopy.copies.audit import Audit, audit
from tvm_zerocopy.copies.measure import Place, StepCount, measure
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.passes.copy_report import CopyReport, CopyRow

SIZE, FRAME_BYTES = 64, 48 * 80 * 3  # of small_detector
NOTHING = dict.fromkeys(("allocations", "allocated_bytes", "copies", "copied_bytes", "made_bytes"), 0)


def test_a_bound_engine_allocates_and_copies_nothing(small_detector):
    result = audit(small_detector[1], frames=50)
    assert {name: result.measured.per_frame()[name] for name in NOTHING} == NOTHING
    totals = result.analysis.totals()
    assert totals["allocated"] == {"count": 0, "bytes": 0}
    assert [(row.what, row.bytes) for row in result.analysis.rows if row.reason == "input"][0][1] == FRAME_BYTES
    assert {row.reason: row.action for row in result.analysis.rows}["output"] == "in place"
    assert result.disagreements() == []


def test_in_bfloat16_too(small_detector, tmp_path):
    """Its kernels have scratch memory; the small ones run in one thread."""
    try:
        engine = tz.compile(small_detector[0], frame=tz.Frame("bgr8", 48, 80), precision="bfloat16")
    except UnsupportedError as error:
        pytest.skip(str(error))
    engine.export(tmp_path / "bfloat16.so")
    result = audit(str(tmp_path / "bfloat16.so"), frames=50)
    assert {name: result.measured.per_frame()[name] for name in NOTHING} == NOTHING
    assert result.analysis.totals()["pooled"]["count"] > 0 and result.disagreements() == []


def test_a_copying_pipeline_around_it_shows_its_copies(small_detector, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = """
        import numpy as np
        import tvm_zerocopy as tz
        from tvm_zerocopy.copies.pipelines import input_buffers

        def make(model):
            engine = tz.load(model)
            (buffer,) = input_buffers(engine)
            camera, mine = np.ones(buffer.shape, np.uint8), buffer.numpy()
            binding = engine.bind(input=buffer)
            boxes = binding.outputs["boxes"]

            def copying():
                np.copyto(mine, camera)
                binding.run()
                return boxes.copy()

            return [("copying", copying)]
    """
    (tmp_path / "copying_pipeline.py").write_text(textwrap.dedent(source))
    (step,) = measure("copying_pipeline:make", {"model": small_detector[1]}, 20, kernels=(small_detector[1],))
    figures = step.per_frame()
    boxes = 300 * 4 * 4
    assert figures["copies"] == 2 and figures["copied_bytes"] == FRAME_BYTES + boxes
    assert figures["allocations"] == 1 and figures["allocated_bytes"] == figures["made_bytes"] == boxes
    found = Audit(audit_free_report(), step, []).disagreements()
    assert len(found) == 2 and f"{FRAME_BYTES + boxes} bytes" in found[1]


def audit_free_report():
    return CopyReport((CopyRow("frame", "input", "in place", FRAME_BYTES),))


def step(*places):
    return StepCount("bound.run()", 10, 0, places)


def test_each_disagreement_is_told():
    allocation = Place("allocation", "malloc", 10, 640, "libtvm_runtime.so", False)
    copy = Place("copy", "memcpy", 20, 2000, "libtvm_runtime.so", False)
    in_kernel = dataclasses.replace(copy, in_kernel=True)
    allocating = CopyReport((CopyRow("lv", "intermediate", "allocated", 64),))
    assert Audit(audit_free_report(), step(), []).disagreements() == []
    assert Audit(audit_free_report(), step(in_kernel), []).disagreements() == []
    assert Audit(allocating, step(allocation), []).disagreements() == []
    assert "measured: 1" in Audit(audit_free_report(), step(allocation), []).disagreements()[0]
    assert "measured: 2 a frame, 200 bytes" in Audit(audit_free_report(), step(copy), []).disagreements()[0]
    assert "lists 1 allocations" in Audit(allocating, step(), []).disagreements()[0]


def test_command_prints_both_sides_and_the_usual_pipeline(small_detector, capsys):
    assert main(["audit", small_detector[1], "--frames", "5", "--baseline", small_detector[0], "--json", "-"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["disagreements"] == [] and result["measured"]["per_frame"]["allocations"] == 0
    usual = {step["name"]: step["per_frame"] for step in result["usual"]}
    tensor = SIZE * SIZE * 3 * 4
    assert usual["to float32"]["made_bytes"] == usual["/ 255"]["made_bytes"] == tensor
    assert usual["tvm.runtime.tensor: copy in"]["copied_bytes"] >= tensor
    assert usual["virtual machine"]["allocations"] > 50
    assert usual[".numpy(): copy out"]["copied_bytes"] >= usual[".numpy(): copy out"]["made_bytes"] > 0
    assert "bound.run()" in err and "cv2.resize" in err and "agree" in err


def test_a_disagreement_is_exit_code_1(small_detector, capsys, monkeypatch):
    copying = step(Place("copy", "memcpy", 10, 1000, "somewhere", False))
    monkeypatch.setattr("tvm_zerocopy.copies.audit.measure", lambda *_, **__: [copying])
    assert main(["audit", small_detector[1]]) == 1
    assert "disagreement: the analysis lists no copy" in capsys.readouterr().out


def test_wrong_arguments_are_one_line(small_detector, tmp_path, capsys):
    (tmp_path / "not.so").write_bytes(b"no artifact")
    assert main(["audit", str(tmp_path / "not.so")]) == 1
    assert main(["audit", str(tmp_path / "none.so")]) == 1
    assert main(["audit", small_detector[1], "--frames", "0"]) == 2
    assert main(["audit"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)


def test_an_unaligned_numpy_frame_is_read_where_it_is(small_detector):
    engine = tz.load(small_detector[1])
    picture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    results = []
    for offset in (0, 1, 16):
        block = np.zeros(FRAME_BYTES + 128, np.uint8)
        start = -block.ctypes.data % 64 + offset
        frame = block[start : start + FRAME_BYTES].reshape(48, 80, 3)
        binding = engine.bind(input=frame)
        binding.run()
        black = binding.outputs["boxes"].copy()
        frame[...] = picture  # the binding reads the array itself
        binding.run()
        assert not np.array_equal(black, binding.outputs["boxes"]) and binding.outputs["count"][0] > 0
        results.append([array.copy() for array in binding.outputs.values()])
    for other in results[1:]:
        for expected, found in zip(results[0], other):
            np.testing.assert_array_equal(found, expected)
