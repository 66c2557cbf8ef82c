"""Ctrl-C while a tuner works: the round in flight is finished and written down, then the run ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

POLL = 0.2  # seconds


@contextlib.contextmanager
def after_the_round():
    """A list that is not empty once Ctrl-C was pressed; who works inside looks at it between rounds.

    Nothing is raised: TVM's callbacks swallow what a signal's handler raises in them, Ansor's rounds would go on, and
    MetaSchedule's fail. Processes started inside do not get the signal: their candidates would be written down as
    failed. A second Ctrl-C ends the process as ``kill -9`` does. Outside the main thread nothing changes.
    """
    noted, done = [], threading.Event()
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "sigpending"):
        yield noted
        return

    def note(*_):
        if noted:
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h\n")  # the cursor, which live views hide
            os._exit(1)
        noted.append(signal.SIGINT)
        print("stopping after this round; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    def watch():
        # Not sigtimedwait: Python's returns something, as if Ctrl-C came, when a stopped process (Ctrl-Z) goes on.
        while not done.wait(POLL):
            if signal.SIGINT in signal.sigpending():
                signal.sigwait({signal.SIGINT})
                note()

    before = signal.signal(signal.SIGINT, note)  # threads that are older than the mask get the signal, too
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield noted
    finally:
        done.set()
        watcher.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
