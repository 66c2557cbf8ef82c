"""``bench --power``: with a tegrastats that prints known rails, and where there is no sensor."""

import csv
import json

import pytest

from tvm_zerocopy import power
from tvm_zerocopy.benching import watts
from tvm_zerocopy.errors import UnsupportedError

RAILS = "VDD_GPU_SOC 2000mW/2000mW VDD_CPU_CV 500mW/500mW VIN_SYS_5V0 1500mW/1500mW VDDQ_VDD2_1V8AO 300mW/300mW"


@pytest.fixture
def bench(run, artifact, monkeypatch):
    monkeypatch.setattr(watts, "SECONDS", 0.2)
    monkeypatch.setattr(watts, "REST", 0.0)
    return lambda *options: run("bench", artifact, "--warmup", "3", "--iterations", "6", "--power", *options)


@pytest.fixture
def jetson(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "tegrastats").write_text(f"#!/bin/sh\nwhile true; do echo RAM 1/2MB {RAILS}; sleep 0.02; done\n")
    (folder / "tegrastats").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_watts_of_an_engine(bench, jetson, tmp_path):
    result = bench("--json", "result.json", "--csv", "result.csv")
    assert result.code == 0 and "power: measured with tegrastats" in result.out and "joules a frame" in result.out
    (row,) = json.loads((tmp_path / "result.json").read_text())["engines"]
    found = row["power"]
    assert found["mean_watts"] == pytest.approx(4.0)  # the fourth rail is part of the third
    assert found["rails"]["VDDQ_VDD2_1V8AO"] == pytest.approx(0.3) and found["source"] == "tegrastats"
    assert found["joules"] == pytest.approx(4.0 * found["seconds"]) and found["seconds"] >= 0.2
    assert found["joules_per_frame"] * found["frames_per_joule"] == pytest.approx(1)
    frames = found["joules"] / found["joules_per_frame"]
    assert frames == pytest.approx(round(frames)) and frames >= 1
    with open(tmp_path / "result.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["mean_watts"]) == pytest.approx(4.0) and line["name"] == "ours"


def test_no_sensor_says_why_and_the_race_is_run(bench, monkeypatch):
    def none():
        raise UnsupportedError("no power sensor can be read here: RAPL: none")

    monkeypatch.setattr(power, "choose", none)
    result = bench("--json", "-")
    assert result.code == 0 and "power: no power sensor can be read here: RAPL: none" in result.err
    (found,) = result.json
    assert found["power"].endswith("RAPL: none") and found["engines"][0]["status"] == "ran"
    assert "power" not in found["engines"][0]


def test_power_is_of_the_race(fails):
    assert fails("bench", "--layers", "--power") == (
        2,
        "error: --power is of the race; leave out --stages, --layers and --trace",
    )
