"""x86: the energy counters of RAPL, as Linux's powercap shows them (Intel, and AMD since Zen).

Linux kernel documentation, "Power Capping Framework": ``energy_uj`` counts microjoules and starts again from 0 after
``max_energy_range_uj``. Since Linux 5.10 only root may read it.
"""

from __future__ import annotations

import time
from pathlib import Path

from ..errors import UnsupportedError
from .polling import Poller
from .result import Energy

_INTERVAL = 5.0  # seconds; counters wrap after minutes


class _Domain:
    """One counter: ``package-0``, ``package-0/dram``, ..."""

    def __init__(self, folder: Path):
        self._counter = folder / "energy_uj"
        self.range = int((folder / "max_energy_range_uj").read_text())
        own = (folder / "name").read_text().strip()
        parent = folder.parent / folder.name.rpartition(":")[0]
        self.inner = folder.name.count(":") > 1  # intel-rapl:0:2 is inside intel-rapl:0
        self.name = f"{(parent / 'name').read_text().strip()}/{own}" if self.inner else own
        # dram is beside the cores in its folder, but no part of the package's count; psys counts packages again.
        self.counted = own == "dram" if self.inner else own != "psys"

    def read(self) -> int:
        return int(self._counter.read_text())


class Rapl:
    """The sensor.

    Parameters
    ----------
    root : path-like
        Where powercap is.

    Raises
    ------
    UnsupportedError
        If there is no RAPL here, or its counters may not be read.
    """

    name = "RAPL"

    def __init__(self, root="/sys/class/powercap"):
        folders = sorted(Path(root).glob("intel-rapl:*"))
        if not folders:
            raise UnsupportedError(
                f"{root} has no RAPL counters (no x86, or a virtual machine that hides them; else: sudo modprobe "
                "intel_rapl_msr)"
            )
        try:
            self._domains = [_Domain(folder) for folder in folders]
            for domain in self._domains:
                domain.read()
        except PermissionError as error:
            raise UnsupportedError(
                f"{error.filename} may be read by root only; run as root, or sudo chmod a+r {root}/*/energy_uj"
            ) from None
        except (OSError, ValueError) as error:
            raise UnsupportedError(f"the RAPL counters in {root} cannot be read: {error}") from None

    def start(self) -> None:
        self._last = [domain.read() for domain in self._domains]
        self._spent = [0] * len(self._domains)
        self._samples = 1
        self._begin = time.monotonic()
        self._poller = Poller(self._read, _INTERVAL)

    def stop(self) -> Energy:
        self._poller.stop()
        rails = {domain.name: spent / 1e6 for domain, spent in zip(self._domains, self._spent)}
        total = sum(rails[domain.name] for domain in self._domains if domain.counted)
        return Energy(rails, total, self._samples, self._end - self._begin)

    def _read(self) -> None:
        self._samples += 1
        self._end = time.monotonic()
        for index, domain in enumerate(self._domains):
            now = domain.read()
            spent = now - self._last[index]
            self._spent[index] += spent if spent >= 0 else spent + domain.range
            self._last[index] = now
