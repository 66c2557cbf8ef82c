"""``tvm-zerocopy detect``: boxes in pictures, videos, a camera or raw frames, drawn, counted and timed."""

import contextlib
import time
from typing import Iterator, List, Optional

from ..draw import draw
from ..errors import SourceError, UnsupportedError
from ..sources import Source, SourceFrame, is_camera, open_source
from ..sources.ahead import ReadAhead
from ..sources.convert import to_rgb
from ..sources.writer import Writer
from . import UsageError, common, model_options
from .detect_model import ModelInUse
from .detect_report import ClassFilter, Summary, as_json

EXAMPLE = """
tvm-zerocopy detect
tvm-zerocopy detect street.jpg photos/ --model yolov5s.onnx --save results/
tvm-zerocopy detect traffic.mp4 --model yolov5s.so --save annotated.mp4 --json traffic.jsonl
tvm-zerocopy detect --camera 0
tvm-zerocopy detect dump.nv12 --frame-format nv12 --size 1920x1080 --json -
"""


DEFAULT_FOLDER = "detections"


def add_arguments(parser) -> None:
    parser.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="pictures, folders of pictures, videos, /dev/videoN or raw-frame files; none: the sample pictures",
    )
    parser.add_argument(
        "--model", metavar="ONNX|.so", help="an ONNX model or a compiled artifact; none: the embedded one"
    )
    parser.add_argument("--camera", nargs="?", const="0", metavar="N", help="a camera's number or device (default 0)")
    model_options.add_frame(parser, "--frame-format")
    model_options.add_model(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--save", metavar="DIR|FILE", help="annotated output (default detections/; with --json: none)")
    group.add_argument("--no-draw", action="store_true", help="save no annotated output")
    group.add_argument("--classes", metavar="NAME,...", help="only these classes, by name or number")
    group.add_argument("--limit", type=common.whole_number, metavar="N", help="stop after so many frames")


def run(args) -> int:
    _check_usage(args)
    with contextlib.ExitStack() as stack:
        write_json = stack.enter_context(common.json_lines(args.json))
        model = ModelInUse(args)
        save_to = None if args.no_draw else args.save or (None if args.json else DEFAULT_FOLDER)
        session = _Session(args, model, Writer(save_to) if save_to else None, write_json)
        begin = time.perf_counter()
        if args.camera is not None:
            session.run(args.camera, camera=True)
        for source in args.source or ([] if args.camera is not None else sample_pictures()):
            session.run(str(source))
        seconds = time.perf_counter() - begin - model.compile_seconds
    session.summary.print(common.human_console(args.json), session.writer.written if session.writer else [], seconds)
    for problem in session.problems:
        common.print_error(problem)
    return 1 if session.problems else 0


def _check_usage(args) -> None:
    if args.no_draw and args.save:
        raise UsageError("--no-draw and --save contradict each other; give one")
    if args.pitch and not (args.format and args.size):
        raise UsageError("--pitch is of raw frames; it needs --frame-format and --size")
    camera = args.camera is not None or any(is_camera(str(source)) for source in args.source)
    if args.size and not args.format and not camera:
        raise UsageError("--size is of raw frames or of a camera; it needs --frame-format or --camera (or /dev/videoN)")
    if args.format and not args.source:
        raise UsageError("--frame-format is of a file of raw frames; name the file")


class _Session:
    """One run over any number of sources. What goes wrong with one source is kept; the others still run."""

    def __init__(self, args, model: ModelInUse, writer: Optional[Writer], write_json):
        self.problems: List[Exception] = []
        self.summary = Summary()
        self.writer = writer
        self._args, self._model, self._write_json = args, model, write_json
        self._filter = ClassFilter(args.classes)
        self._number = 0

    def run(self, where: str, camera: bool = False) -> None:
        args = self._args
        color = {"matrix": args.matrix, "range": args.range} if args.format else {}
        if self._full:
            return
        try:
            source = open_source(where, args.format, args.size, args.pitch, camera, **color)
        except SourceError as error:
            self.problems.append(error)
            return
        total = source.count if args.limit is None else args.limit
        with source, common.Steps("detecting", total) as steps:
            try:
                for frame in self._frames(source):
                    self._one(frame, source)
                    steps.advance(frame.name)
            except KeyboardInterrupt:
                if not source.live:  # there it is how people stop
                    raise
            finally:
                if self.writer is not None:
                    self.writer.end_video()

    @property
    def _full(self) -> bool:
        return self._args.limit is not None and self._number >= self._args.limit

    def _frames(self, source: Source) -> Iterator[SourceFrame]:
        """The source's frames up to the limit; errors go to ``problems``, after what could be read."""
        with contextlib.ExitStack() as stack:
            frames = iter(source)
            if not source.still:
                ahead = ReadAhead(source, depth=1 if source.live else 2, newest=source.live)
                stack.callback(ahead.close)
                frames = iter(ahead)
            while not self._full:
                try:
                    yield next(frames)
                except StopIteration:
                    return
                except (SourceError, UnsupportedError) as error:
                    self.problems.append(error)
                    if not source.still:
                        return

    def _one(self, frame: SourceFrame, source: Source) -> None:
        model = self._model
        found, seconds = model.detect(frame)
        found = self._filter(found, model.names)
        where = frame.name if source.still else source.name
        self._write_json(as_json(self._number, where, found, model.names))
        if self.writer is not None:
            picture = draw(to_rgb(frame), found.boxes, found.scores, found.classes, model.names)
            if source.still:
                self.writer.picture(frame.name, picture)
            else:
                self.writer.frame(source.name, picture, source.rate)
        self._number += 1
        self.summary.add(frame.name, source.still, found, model.names, seconds)


def sample_pictures():
    from ..embedded import sample_pictures as samples

    return samples()
