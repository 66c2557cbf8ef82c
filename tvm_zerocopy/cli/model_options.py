"""Options that say which model is compiled and how; shared by the commands that compile one."""

from typing import Optional

from ..class_names import names_from_file
from ..specs import COLOR_FORMATS, HEADS, Frame, Nms
from . import UsageError, common


def add_frame(parser, format_option: str) -> None:
    """``--format`` (or ``--frame-format``), ``--size``, ``--pitch``, ``--matrix``, ``--range``."""
    group = parser.add_argument_group("frame")
    group.add_argument(
        format_option, dest="format", choices=COLOR_FORMATS, metavar="FORMAT", help=", ".join(COLOR_FORMATS)
    )
    group.add_argument("--size", type=common.size, metavar="WxH", help="pixels, for example 1920x1080")
    group.add_argument("--pitch", type=common.whole_number, metavar="BYTES", help="from one row to the next")
    group.add_argument("--matrix", choices=("bt601", "bt709"), default="bt601", help="of YUV frames (default bt601)")
    group.add_argument(
        "--range", choices=("limited", "full"), default="limited", help="of YUV samples (default limited)"
    )


def add_model(parser) -> None:
    """Options of ``tvm_zerocopy.compile``."""
    group = parser.add_argument_group("model")
    group.add_argument("--input-shape", type=common.shape, metavar="N,3,H,W", help="fixes a model's dynamic axes")
    group.add_argument("--head", choices=HEADS, help="where it cannot be recognized from the model")
    group.add_argument("--conf", type=common.fraction, help="least score of a box (default 0.25)")
    group.add_argument("--iou", type=common.fraction, help="overlap at which the worse box is dropped (default 0.45)")
    group.add_argument("--max-det", type=common.whole_number, metavar="N", help="boxes a frame at most (default 300)")
    group.add_argument("--names", metavar="FILE", help="class names: one a line, or JSON")
    group.add_argument("--target", help="TVM target (default llvm: this machine's CPU)")
    group.add_argument("--precision", help="float32 (default) or another that the target can do")
    group.add_argument("--tuning-log", metavar="DIR", help="instead of the published one, if any")


# options of ``add_model`` that are compiled into an artifact and cannot be changed afterwards
COMPILED_IN = ("input_shape", "head", "conf", "iou", "max_det", "target", "precision", "tuning_log")


def frame(args, default_format: str) -> Frame:
    """The Frame that the options of ``add_frame`` describe."""
    width, height = args.size or (None, None)
    if args.pitch and not args.size:
        raise UsageError("--pitch needs --size WIDTHxHEIGHT")
    return Frame(args.format or default_format, height, width, args.pitch, matrix=args.matrix, range=args.range)


def compile_options(args) -> dict:
    """Keyword arguments of ``tvm_zerocopy.compile`` from the options of ``add_model``; what was not given is absent."""
    given = {
        "shapes": args.input_shape,
        "target": args.target,
        "precision": args.precision,
        "tuning_log": args.tuning_log,
        "names": names_from_file(args.names) if args.names else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def nms(args) -> Nms:
    """The Nms that the options describe."""
    given = {"conf": args.conf, "iou": args.iou, "max_det": args.max_det, "head": args.head}
    return Nms(**{key: value for key, value in given.items() if value is not None})


def first_compiled_in(args) -> Optional[str]:
    """The first option given that only makes sense when compiling, as the user wrote it."""
    given = [name for name in COMPILED_IN if getattr(args, name) is not None]
    return "--" + given[0].replace("_", "-") if given else None


def is_artifact(path: str) -> bool:
    """A compiled artifact by its first bytes (a shared library's), else by its ending."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF" or path.endswith(".so")
    except OSError:
        return path.endswith(".so")
