"""The compile pipelines: for each kind of target one list of passes, in the order in which they run."""

from typing import List, Optional, Tuple

import tvm
from tvm import relax

from .errors import UnsupportedError
from .passes import bfloat16_conv2d, cuda_math
from .passes.apply_schedules import ApplySchedules
from .passes.block_layout import BlockLayout
from .passes.block_layout_bfloat16 import BlockLayoutBfloat16
from .passes.block_layout_float16 import BlockLayoutFloat16
from .passes.configure_amx_tiles import ConfigureAmxTiles
from .passes.decode_box_distribution import DecodeBoxDistribution
from .passes.float_math import LEGALIZATIONS
from .passes.fold_normalization import FoldNormalization
from .passes.fuse_detection_head import FuseDetectionHead
from .passes.fuse_preprocess import FusePreprocess
from .passes.hoist_elementwise import HoistElementwise
from .passes.lower_main import LowerMainToPrimFunc
from .passes.sort_ops import SORT_LEGALIZATIONS
from .passes.view_rules import VIEW_LEGALIZE_MAP
from .schedules import cpu, cuda
from .specs import Frame, Nms, Preprocess

NEEDS = {
    "bfloat16": "; bfloat16 needs a CPU with AMX, AVX512_BF16 or Arm's bf16, such as -mcpu=znver4 or neoverse-v1",
    "float16": "; float16 needs a CUDA GPU with tensor cores (sm_70 and later)",
}


def pipeline(
    frame: Frame,
    preprocess: Preprocess,
    postprocess: Optional[Nms],
    target: tvm.target.Target,
    measured=None,
    precision: str = "float32",
) -> List[tvm.transform.Pass]:
    """The passes from an imported network to one host function.

    Run them one after another under ``with target:`` (``compiler.compile`` does).

    Parameters
    ----------
    frame, preprocess : Frame, Preprocess
    postprocess : Nms or None
        None: ``main`` gives the network's raw outputs.
    target : tvm.target.Target
    measured : object or None
        Tuned schedules for ``ApplySchedules``.
    precision : str
        One of ``precisions(target)``.

    Raises
    ------
    UnsupportedError
        If there are no schedules for that kind of target, or none in that precision.
    """
    check_precision(precision, target)
    if target.kind.name == "llvm":
        return _cpu(frame, preprocess, postprocess, target, measured, precision == "bfloat16")
    return _cuda(frame, preprocess, postprocess, target, measured, precision == "float16")


def _cpu(frame, preprocess, postprocess, target, measured, bfloat16):
    machine = cpu.machine_of(target)
    return [
        # The network as inference needs it.
        relax.transform.DecomposeOpsForInference(),
        relax.transform.FoldBatchnormToConv2D(),
        relax.transform.FoldConstant(),
        # What the user declared becomes part of it: camera's frame in, boxes out.
        FusePreprocess(frame, preprocess),
        FoldNormalization(),
        *([FuseDetectionHead(postprocess)] if postprocess is not None else []),
        relax.transform.EliminateCommonSubexpr(),
        relax.transform.DeadCodeElimination(["main"]),
        # Activations stand next to the convolutions that they follow.
        HoistElementwise(),
        # What a head exports as a convolution of one channel is a sum.
        DecodeBoxDistribution(),
        # Operators become loop nests over channel-blocked tensors; views stay views.
        BlockLayoutBfloat16(bfloat16_conv2d.UNITS[machine.bfloat16]) if bfloat16 else BlockLayout(machine.lanes),
        relax.transform.FoldConstant(),
        relax.transform.LegalizeOps({**LEGALIZATIONS, **SORT_LEGALIZATIONS, **VIEW_LEGALIZE_MAP}),
        # Elementwise neighbours move into the kernels that feed them.
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(["main"]),
        # Loop nests become fast loop nests, and main one function on memory planned ahead.
        ApplySchedules(cpu.rules(), target, measured),
        *([ConfigureAmxTiles()] if bfloat16 else []),
        LowerMainToPrimFunc(),
    ]


def _cuda(frame, preprocess, postprocess, target, measured, float16):
    return [
        # The network as inference needs it.
        relax.transform.DecomposeOpsForInference(),
        relax.transform.FoldBatchnormToConv2D(),
        relax.transform.FoldConstant(),
        # What the user declared becomes part of it: camera's frame in, boxes out.
        FusePreprocess(frame, preprocess),
        FoldNormalization(),
        *([FuseDetectionHead(postprocess)] if postprocess is not None else []),
        relax.transform.EliminateCommonSubexpr(),
        relax.transform.DeadCodeElimination(["main"]),
        # What a head exports as a convolution of one channel is a sum.
        DecodeBoxDistribution(),
        # Channels in blocks of 16, a tensor core's tile: concatenations stay views, and a run of pixels is one stretch
        # of memory for every width (TensorRT calls this layout kCHW16). NHWC would copy each concatenation.
        BlockLayoutFloat16() if float16 else BlockLayout(cuda.CHANNEL_BLOCK, winograd=False),
        relax.transform.FoldConstant(),
        relax.transform.LegalizeOps({**cuda_math.LEGALIZATIONS, **SORT_LEGALIZATIONS, **VIEW_LEGALIZE_MAP}),
        # Elementwise neighbours move into the kernels that feed them.
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(["main"]),
        # Loop nests become grids of threads, and main one host function that launches them on memory planned ahead.
        ApplySchedules(cuda.rules(), target, measured),
        LowerMainToPrimFunc(),
    ]


def precisions(target: tvm.target.Target) -> Tuple[str, ...]:
    """What ``precision`` may be for a target.

    Raises
    ------
    UnsupportedError
        If there are no schedules for that kind of target.
    """
    if target.kind.name == "llvm":
        return ("float32", "bfloat16") if cpu.machine_of(target).bfloat16 else ("float32",)
    if target.kind.name == "cuda":
        return ("float32", "float16") if cuda.machine_of(target).tensor_cores else ("float32",)
    raise UnsupportedError(f"target {target.kind.name} has no schedules here; use llvm or cuda")


def check_precision(precision: str, target: tvm.target.Target) -> None:
    """Raises UnsupportedError, which says what the target has, unless ``precision`` is one of its precisions."""
    has = precisions(target)
    if precision not in has:
        needs = NEEDS.get(precision, "")
        raise UnsupportedError(
            f"precision {precision!r} is not supported; target {target.kind.name} has {', '.join(has)}{needs}"
        )
