"""Call a function every so often while something else runs."""

from __future__ import annotations

import threading


class Poller:
    """A thread that calls ``read()`` every ``interval`` seconds until `stop`, and once more then."""

    def __init__(self, read, interval: float):
        self._read, self._interval = read, interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._read()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._read()
