"""The passes for TVM builds that have Relay: Relay module to Relay module, for the owner's own ``relay.build``."""

from tvm_zerocopy.ir_build import require

require("relay", "tvm_zerocopy.passes.relay")

from .bind_external_buffers import BoundExecutor, bind_external_buffers  # noqa: E402
from .fold_normalization import FoldNormalization  # noqa: E402
from .fuse_detection_head import FuseDetectionHead  # noqa: E402
from .fuse_preprocess import FusePreprocess  # noqa: E402
from .separate_results import BindExternalBuffers  # noqa: E402
from .vectorize_math import VectorizeMath  # noqa: E402

__all__ = [
    "BindExternalBuffers",
    "BoundExecutor",
    "FoldNormalization",
    "FuseDetectionHead",
    "FusePreprocess",
    "VectorizeMath",
    "bind_external_buffers",
]
