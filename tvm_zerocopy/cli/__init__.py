"""The command line: ``tvm-zerocopy COMMAND``. Each command is one module here, imported only when it runs.

A command module has ``EXAMPLE`` (for ``--help``), ``add_arguments(parser)`` and
``run(args) -> int``, the exit code.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
import warnings
from typing import List, Optional

from ..errors import ZeroCopyError, ZeroCopyWarning

# command -> what it does, in the order of ``--help``
COMMANDS = {
    "doctor": "check this machine's TVM, devices, toolchains and disks, with a mend for each failure",
    "export": "make the ONNX of a YOLOv5, YOLOv8, YOLOX or ResNet-18 from its PyTorch checkpoint",
    "detect": "detect objects in pictures, videos, a camera or raw frames",
    "compile": "compile an ONNX model into one file that takes frames and gives boxes",
    "tune": "search the fastest schedules for a model on the target; publish, check and merge tuning logs",
    "bench": "time this project and its peers on the same frames; stages, kernels, a page to read",
    "audit": "list every allocation and copy of a compiled model, and count them at run time",
}


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command; its exit code: 0, 1 (it failed) or 2 (wrong usage)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(argv)
    except SystemExit as stop:  # argparse has printed its line
        return int(stop.code or 0)
    try:
        with warnings.catch_warnings(), _interrupts_noted() as interrupts:
            warnings.simplefilter("always", ZeroCopyWarning)
            warnings.showwarning = _show_warning
            return args.run(args)
    except UsageError as error:
        return _fail(error, 2)
    except ZeroCopyError as error:
        if interrupts:  # what a step of a compilation made of Ctrl-C
            return _fail("interrupted", 1)
        if args.debug:
            raise
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 1)
    except BrokenPipeError:  # the reader of our output has gone, for example `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if interrupts:  # Ctrl-C while TVM's C++ ran comes out of it as an error of its own
            return _fail("interrupted", 1)
        if args.debug:
            raise
        return _fail(_unexpected(error), 1)


def _unexpected(error: Exception) -> str:
    """What an error that no command foresaw may come of: TVM's installation, or a bug."""
    from ..diagnosis.known_failures import recognize

    known = recognize(f"{type(error).__name__}: {error}")
    if known is not None:
        return f"{known[0]}; {known[1]} (tvm-zerocopy doctor looks at the whole installation)"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[-1]} (a bug; run again with --debug and report the trace)"


@contextlib.contextmanager
def _interrupts_noted():
    """A list that is not empty once Ctrl-C was pressed, whatever became of the exception; `kill` is the same."""
    noted = []

    def note(number, frame):
        noted.append(number)
        signal.default_int_handler(number, frame)

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    main_thread = threading.current_thread() is threading.main_thread()
    ours = {number: usual[number] for number in usual if main_thread and signal.getsignal(number) is usual[number]}
    for number in ours:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, before in ours.items():
            signal.signal(number, before)


def _show_warning(message, category, *_, **__) -> None:
    """Our own warnings as one line; those of libraries are for developers."""
    if issubclass(category, ZeroCopyWarning):
        print("warning: " + " ".join(str(message).split()), file=sys.stderr)


class UsageError(Exception):
    """Arguments that contradict each other; exit code 2."""


def _fail(message, code: int) -> int:
    sys.stdout.flush()
    print("error: " + " ".join(str(message).split()), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _parse(argv: List[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="tvm-zerocopy",
        description="Object detection compiled by Apache TVM: camera frame in, boxes out.",
        epilog="Every command: tvm-zerocopy COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        if name != wanted:
            commands.add_parser(name, help=text, add_help=False)
            continue
        module = importlib.import_module(f"{__name__}.{name}")
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog="example:\n" + "\n".join("  " + line for line in module.EXAMPLE.strip().splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument(
            "--json", metavar="FILE|-", help="write the result as JSON to a file, or to standard output"
        )
        command.add_argument("--debug", action="store_true", help="show the full trace of an error")
        command.set_defaults(run=module.run, words=argv)
    args, unknown = parser.parse_known_args(argv)
    if unknown:  # parse_args would name the program's help, not the command's
        commands.choices[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def _version() -> str:
    from .. import __version__

    return f"tvm-zerocopy {__version__}"
