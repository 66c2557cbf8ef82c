"""Jetson: the lines that ``tegrastats`` prints, and the process that prints them.

A rail is ``NAME <now>mW/<average>mW``. What differs between releases:

- L4T R32 (JetPack 4): numbers without unit, ``VDD_IN 5297/5297``;
- R35 (JetPack 5) and R36 (JetPack 6): ``VDD_GPU_SOC 2340mW/2340mW``; unconnected channels are called ``NC`` (R35);
- R38 (JetPack 7): also ``VIN 28548mW``, and three numbers a rail.

AGX Xavier's rails are GPU, CPU, SOC, CV, VDDRQ and SYS5V; AGX Orin's VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0 and
VDDQ_VDD2_1V8AO; Orin NX, Orin Nano and Xavier NX have VDD_IN and what it feeds (NVIDIA Jetson Linux Developer Guide,
"tegrastats Utility" and "Software-Based Power Consumption Modeling").
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time

from ..errors import UnsupportedError
from .result import Energy, integrate

_RAIL = re.compile(r"(?<!\S)([A-Za-z]\w*) (?:(\d+)mW(?:/\d+mW)*|(\d+)/\d+)(?!\S)")
# These feed all others: each is the module's (or board's) whole input.
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
# Fed by VIN_SYS_5V0 on AGX Orin (Developer Guide, "Software-Based Power Consumption Modeling").
_INSIDE_ANOTHER = ("VDDQ_VDD2_1V8AO",)
_FIRST_LINE = 5.0  # seconds until tegrastats must have printed something


def parse_line(line: str) -> dict:
    """The rails of a line of tegrastats: ``{name: watts now}``; empty if it has none."""
    rails = {}
    for name, with_unit, without in _RAIL.findall(line):
        if name != "NC":
            rails[name] = int(with_unit or without) / 1000
    return rails


def rails_of_total(rails) -> list:
    """The rails whose sum is the module's power: its input where that is measured, else all that feed no other."""
    inputs = [name for name in _INPUTS if name in rails]
    return inputs[:1] or [name for name in rails if name not in _INSIDE_ANOTHER]


class Tegrastats:
    """The sensor.

    Parameters
    ----------
    command : str
        The program, by name or path.
    interval : float
        Seconds between two lines.

    Raises
    ------
    UnsupportedError
        If there is no such program, or its lines have no rails.
    """

    name = "tegrastats"

    def __init__(self, command: str = "tegrastats", interval: float = 0.1):
        found = shutil.which(command)
        if found is None:
            raise UnsupportedError("not installed (it comes with a Jetson's JetPack)")
        self._command = [found, "--interval", str(max(1, round(interval * 1000)))]
        self.start()
        self.stop()

    def start(self) -> None:
        """Start the process; returns when its first line has come."""
        self._readings, self._first = [], threading.Event()
        try:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
            )
        except OSError as error:
            raise UnsupportedError(f"{self._command[0]} cannot be run: {error.strerror}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._first.wait(_FIRST_LINE)
        if not self._readings:
            self._end()
            raise UnsupportedError(f"{self._command[0]} prints no power rails; run as root (sudo)")
        self._begin = time.monotonic()

    def stop(self) -> Energy:
        """Stop the process; what it said since `start`."""
        end = time.monotonic()
        self._end()
        times = [moment for moment, _ in self._readings]
        rails = {
            name: integrate(times, [rails.get(name, 0.0) for _, rails in self._readings], self._begin, end)
            for name in self._readings[0][1]
        }
        return Energy(rails, sum(rails[name] for name in rails_of_total(rails)), len(self._readings), end - self._begin)

    def _read(self) -> None:
        for line in self._process.stdout:
            rails = parse_line(line)
            if rails:
                self._readings.append((time.monotonic(), rails))
                self._first.set()
        self._first.set()  # it has ended

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
