"""tegrastats: lines as boards of several releases print them, and the process."""

import stat
import time

import pytest

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.power.tegrastats import Tegrastats, parse_line, rails_of_total

# Recorded on boards by their owners, in public bug reports and documentation.
XAVIER_R32 = (
    "RAM 10881/31919MB (lfb 4230x4MB) SWAP 0/15959MB (cached 0MB) CPU [17%@1190,17%@1190,18%@1190,25%@1190,17%@1336,"
    "15%@1340,23%@1543,15%@1574] EMC_FREQ 55%@2133 GR3D_FREQ 95%@1377 APE 150 MTS fg 0% bg 10% AO@48C GPU@54.5C "
    "Tdiode@53.25C PMIC@100C AUX@46C CPU@49C thermal@49.45C Tboard@47C GPU 18401/18525 CPU 2301/2330 SOC 4602/4602 "
    "CV 0/0 VDDRQ 2914/2911 SYS5V 4632/4620"
)
XAVIER_R35 = (
    "[0%@1190,1%@1190,0%@1190,0%@1189,0%@1190,0%@1191,0%@1190,0%@1190] EMC_FREQ 0%@1331 GR3D_FREQ 0%@114 VIC_FREQ 115 "
    "APE 150 AUX@36C CPU@36.5C thermal@35.7C Tboard@37C AO@35C GPU@35C Tdiode@38.75C PMIC@50C GPU 467mW/467mW "
    "CPU 467mW/467mW SOC 1245mW/1245mW CV 0mW/0mW VDDRQ 311mW/311mW SYS5V 2768mW/2768mW"
)
ORIN_R35 = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,0%@729,0%@729,0%@729,"
    "0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 "
    "CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C Tdiode@33C SOC0@41.093C CV1@-256C GPU@-256C tj@44.343C SOC1@41.25C "
    "CV2@-256C VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
ORIN_R36 = (
    "09-01-2025 10:55:25 RAM 1313/30697MB (lfb 37x4MB) SWAP 0/15348MB (cached 0MB) CPU [0%@729,0%@729,0%@729,0%@729,"
    "0%@729,0%@729,0%@729,0%@729,off,off,off,off] GR3D_FREQ 0% cpu@43.343C soc2@39.812C soc0@40.312C tj@43.343C "
    "soc1@38.843C VDD_GPU_SOC 1995mW/1995mW VDD_CPU_CV 0mW/0mW VIN_SYS_5V0 2524mW/2524mW"
)
ORIN_NANO = (
    "RAM 2840/7620MB (lfb 512x4MB) SWAP 0/4096MB (cached 0MB) CPU [12%@1420,8%@1420,off,90%@1420] EMC_FREQ 0% "
    "GR3D_FREQ 30%@[612] cpu@45.5C VDD_IN 7615mW/7610mW VDD_CPU_GPU_CV 1200mW/1190mW VDD_SOC 2000mW/2000mW"
)
ORIN_R38 = (
    "07-17-2026 15:15:24 RAM 8182/62817MB (lfb 6x4MB) CPU [18%@729,12%@729] GR3D_FREQ 5% cpu@51.343C/51.343C "
    "gpu@46.843C/46.843C tj@51.343C/51.343C VDD_GPU_SOC 3588mW/3580mW/3600mW VDD_CPU_CV 797mW/797mW/797mW "
    "VIN_SYS_5V0 5148mW/5148mW/5148mW"
)
THOR = (
    "RAM 117456/125772MB (lfb 9x4MB) CPU [0%@1890,5%@1890] cpu@43.812C tj@44.218C soc012@42.5C gpu@43.968C "
    "VDD_GPU 5517mW VDD_CPU_SOC_MSS 7484mW VIN_SYS_5V0 6309mW VIN 28548mW"
)
XAVIER_RAILS = ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]


@pytest.mark.parametrize(
    "line, rails, total",
    [
        (XAVIER_R32, dict(zip(XAVIER_RAILS, (18.401, 2.301, 4.602, 0, 2.914, 4.632))), 32.85),
        (XAVIER_R35, dict(zip(XAVIER_RAILS, (0.467, 0.467, 1.245, 0, 0.311, 2.768))), 5.258),
        (
            ORIN_R35,
            {"VDD_GPU_SOC": 2.34, "VDD_CPU_CV": 0.39, "VIN_SYS_5V0": 4.025, "VDDQ_VDD2_1V8AO": 0.301},
            6.755,
        ),
        (ORIN_R36, {"VDD_GPU_SOC": 1.995, "VDD_CPU_CV": 0, "VIN_SYS_5V0": 2.524}, 4.519),
        (ORIN_NANO, {"VDD_IN": 7.615, "VDD_CPU_GPU_CV": 1.2, "VDD_SOC": 2.0}, 7.615),
        (ORIN_R38, {"VDD_GPU_SOC": 3.588, "VDD_CPU_CV": 0.797, "VIN_SYS_5V0": 5.148}, 9.533),
        (THOR, {"VDD_GPU": 5.517, "VDD_CPU_SOC_MSS": 7.484, "VIN_SYS_5V0": 6.309, "VIN": 28.548}, 28.548),
    ],
    ids=["xavier R32", "xavier R35", "orin R35", "orin R36", "orin nano", "orin R38", "thor"],
)
def test_recorded_lines(line, rails, total):
    found = parse_line(line)
    assert found == pytest.approx(rails)
    assert sum(found[name] for name in rails_of_total(found)) == pytest.approx(total)


@pytest.mark.parametrize("line", ["", "RAM 1313/30697MB (lfb 37x4MB) SWAP 0/15348MB (cached 0MB) APE 150 GPU@35C"])
def test_lines_without_rails(line):
    assert parse_line(line) == {}


@pytest.fixture
def program(tmp_path):
    """Makes a program that prints lines as tegrastats does, at the interval it is told, and its path."""

    def make(*lines):
        path = tmp_path / "tegrastats"
        text = "\n".join(lines)
        path.write_text(
            "#!/bin/sh\n"
            '[ "$1" = --interval ] || exit 2\n'
            f"while true; do cat <<'LINES'\n{text}\nLINES\nsleep 0.01; done\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def test_the_process_is_read_while_something_runs(program):
    sensor = Tegrastats(program(ORIN_R36), interval=0.01)
    sensor.start()
    while len(sensor._readings) < 3:
        time.sleep(0.01)
    energy = sensor.stop()
    assert energy.samples >= 3
    assert energy.rails["VDD_GPU_SOC"] == pytest.approx(1.995 * energy.seconds)
    assert energy.total == pytest.approx(4.519 * energy.seconds) and energy.seconds > 0
    assert sensor._process.returncode is not None  # no process is left behind


def test_a_program_that_hides_its_rails(program, monkeypatch):
    monkeypatch.setattr("tvm_zerocopy.power.tegrastats._FIRST_LINE", 0.2)
    with pytest.raises(UnsupportedError, match="no power rails; run as root"):
        Tegrastats(program("RAM 1313/30697MB (lfb 37x4MB)"), interval=0.01)


def test_a_program_that_ends_at_once(tmp_path):
    path = tmp_path / "tegrastats"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o700)
    with pytest.raises(UnsupportedError, match="no power rails"):
        Tegrastats(str(path))


def test_no_such_program():
    with pytest.raises(UnsupportedError, match="not installed"):
        Tegrastats("no-such-tegrastats")
