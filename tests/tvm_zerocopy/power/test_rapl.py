"""RAPL counters in a folder that looks as powercap does."""

import os
from pathlib import Path

import pytest

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.power.rapl import Rapl

RANGE = 262_143_328_850  # microjoules, as Intel's packages have it


@pytest.fixture
def powercap(tmp_path):
    domains = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }
    for folder, name in domains.items():
        (tmp_path / folder).mkdir()
        for file, content in (("name", name), ("max_energy_range_uj", RANGE), ("energy_uj", 1_000_000)):
            (tmp_path / folder / file).write_text(f"{content}\n")
    (tmp_path / "intel-rapl-mmio:0").mkdir()  # the same counter by another way: must not count twice
    return tmp_path


def count(powercap: Path, folder: str, microjoules: int) -> None:
    (powercap / folder / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_and_memory_add_up(powercap):
    sensor = Rapl(powercap)
    sensor.start()
    spent = (("0", 20_000_000), ("0:0", 15_000_000), ("0:1", 3_000_000), ("1", 7_000_000), ("2", 90_000_000))
    for folder, microjoules in spent:
        count(powercap, f"intel-rapl:{folder}", 1_000_000 + microjoules)
    energy = sensor.stop()
    assert energy.rails == {
        "package-0": 20,
        "package-0/core": 15,
        "package-0/dram": 3,
        "package-1": 7,
        "psys": 90,
    }
    assert energy.total == 20 + 3 + 7


def test_a_counter_that_starts_again(powercap):
    count(powercap, "intel-rapl:1", RANGE - 2_000_000)
    sensor = Rapl(powercap)
    sensor.start()
    count(powercap, "intel-rapl:1", 500_000)
    assert sensor.stop().rails["package-1"] == pytest.approx(2.5)


def test_the_second_run_counts_its_own_energy(powercap):
    sensor = Rapl(powercap)
    for _ in range(2):
        count(powercap, "intel-rapl:0", 1_000_000)
        sensor.start()
        count(powercap, "intel-rapl:0", 6_000_000)
        assert sensor.stop().total == 5


def test_none_here(tmp_path):
    with pytest.raises(UnsupportedError, match="virtual machine"):
        Rapl(tmp_path)


def test_not_for_this_user(powercap, monkeypatch):
    if os.geteuid() == 0:  # root may read everything; say what the kernel says to others

        def refuse(path, *_, **__):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_text", refuse)
    else:
        (powercap / "intel-rapl:0" / "energy_uj").chmod(0)
    with pytest.raises(UnsupportedError, match="run as root, or sudo chmod"):
        Rapl(powercap)


def test_damaged_counters(powercap):
    (powercap / "intel-rapl:0" / "max_energy_range_uj").write_text("none\n")
    with pytest.raises(UnsupportedError, match="cannot be read"):
        Rapl(powercap)
