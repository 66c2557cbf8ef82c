"""The compile pipeline: one list of passes, in the order in which they run."""

from typing import List, Optional

import tvm
from tvm import relax

from .errors import UnsupportedError
from .passes.apply_schedules import ApplySchedules
from .passes.block_layout import BlockLayout
from .passes.float_math import LEGALIZATIONS
from .passes.fold_normalization import FoldNormalization
from .passes.fuse_detection_head import FuseDetectionHead
from .passes.fuse_preprocess import FusePreprocess
from .passes.hoist_elementwise import HoistElementwise
from .passes.lower_main import LowerMainToPrimFunc
from .passes.view_rules import VIEW_LEGALIZE_MAP
from .schedules import cpu
from .specs import Frame, Nms, Preprocess


def pipeline(
    frame: Frame, preprocess: Preprocess, postprocess: Optional[Nms], target: tvm.target.Target, measured=None
) -> List[tvm.transform.Pass]:
    """The passes from an imported network to one host function.

    Run them one after another under ``with target:`` (``compiler.run_passes`` does).

    Parameters
    ----------
    frame, preprocess : Frame, Preprocess
    postprocess : Nms or None
        None: ``main`` gives the network's raw outputs.
    target : tvm.target.Target
    measured : object or None
        Tuned schedules for ``ApplySchedules``.

    Raises
    ------
    UnsupportedError
        If there are no schedules for that kind of target.
    """
    if target.kind.name != "llvm":
        raise UnsupportedError(f"target {target.kind.name} has no schedules here; use llvm")
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
        # Operators become loop nests over channel-blocked tensors; views stay views.
        BlockLayout(cpu.machine_of(target).lanes),
        relax.transform.FoldConstant(),
        relax.transform.LegalizeOps({**LEGALIZATIONS, **VIEW_LEGALIZE_MAP}),
        # Elementwise neighbours move into the kernels that feed them.
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(["main"]),
        # Loop nests become fast loop nests, and main one function on memory planned ahead.
        ApplySchedules(cpu.rules(), target, measured),
        LowerMainToPrimFunc(),
    ]
