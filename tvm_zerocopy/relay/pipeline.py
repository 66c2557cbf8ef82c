"""The compile pipeline on Relay: one list of passes, in the order in which they run before ``relay.build``."""

from typing import List, Optional

import tvm

from ..passes.relay import BindExternalBuffers, FoldNormalization, FuseDetectionHead, FusePreprocess, VectorizeMath
from ..specs import Frame, Nms, Preprocess


def pipeline(
    frame: Frame, preprocess: Preprocess, postprocess: Optional[Nms], target: tvm.target.Target
) -> List[tvm.transform.Pass]:
    """The passes from an imported network to what ``relay.build`` compiles.

    Run them under ``with target:``.

    Parameters
    ----------
    frame, preprocess : Frame, Preprocess
    postprocess : Nms or None
        None: ``main`` gives the network's raw outputs.
    target : tvm.target.Target

    Frames come by their address: see ``passes.relay.frame_descriptor``.
    """
    return [
        # What the user declared becomes part of the network: camera's frame in, boxes out.
        FusePreprocess(frame, preprocess, by_address=True),
        FoldNormalization(),
        *([FuseDetectionHead(postprocess)] if postprocess is not None else []),
        # What relay.build would make scalar calls of libm on the CPU.
        *([VectorizeMath()] if target.kind.name == "llvm" else []),
        # Raw outputs that share memory with an input or another output get their own.
        BindExternalBuffers(),
    ]
