"""``bench --trace`` and ``bench --nsys``."""

import json

import pytest

SIZES = """Total (MB),Count,Avg (MB),Med (MB),Min (MB),Max (MB),StdDev (MB),Operation
298.598,48,6.221,6.221,6.221,6.221,0.000,[CUDA memcpy Host-to-Device]
0.202,24,0.008,0.008,0.008,0.008,0.000,[CUDA memcpy Device-to-Host]
"""


@pytest.fixture
def sizes(tmp_path):
    path = tmp_path / "report1_cuda_gpu_mem_size_sum.csv"
    path.write_text(SIZES)
    return path.name


def test_trace(run, artifact, tmp_path):
    result = run("bench", artifact, "--trace", "trace.json", "--json", "result.json")
    assert result.code == 0 and "trace: trace.json, 10 frames" in result.out
    trace = json.loads((tmp_path / "trace.json").read_text())
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    said = json.loads((tmp_path / "result.json").read_text())["trace"]
    assert sum(event["cat"] == "host" for event in events) == said["frames"] == 10
    assert sum(event["cat"] == "kernel" for event in events) == said["kernels"] > 100
    assert trace["otherData"]["model"] == artifact.name


def test_copies_of_a_profile(run, sizes):
    result = run("bench", "--nsys", sizes, "--frames", "24", "--json", "-")
    (found,) = result.json
    assert result.code == 0 and found["kind"] == "nsys" and found["frames"] == 24
    assert [(row["what"], row["count"], round(row["bytes"])) for row in found["per_frame"]] == [
        ("Host-to-Device", 2, 12_441_583),
        ("Device-to-Host", 1, 8_417),
    ]
    assert found["analysis"]["totals"]["copied"] == {"count": 2, "bytes": 12_441_583 + 8_417}
    assert "12,441,583" in result.err and "transfer" in result.err


def test_sizes_without_times_are_shown_as_unknown(run, sizes):
    result = run("bench", "--nsys", sizes)
    assert result.code == 0 and "298,598,000" in result.out and "unknown" in result.out


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--nsys", "none.sqlite"], 1, "none.sqlite: No such file"),
        (["--nsys", "a.sqlite", "--power"], 2, "goes with --frames and --json only"),
        (["model.onnx", "--nsys", "a.sqlite"], 2, "goes with --frames and --json only"),
        (["--frames", "3"], 2, "a race takes --iterations"),
        (["--trace", "none/trace.json"], 1, "there is no folder none"),
        (["--trace", "trace.json", "--engines", "ours"], 2, "leave out --stages, --layers and --trace"),
    ],
)
def test_wrong_usage(fails, options, code, message):
    found, line = fails("bench", *options)
    assert found == code and message in line
