"""The installed TVM's road: its passes, and what a test needs to make, run and look into modules of its IR."""

from tvm_zerocopy.ir_build import intermediate_representation

if intermediate_representation() == "relax":
    from relax_road import *  # noqa: F403
else:
    from relay_road import *  # noqa: F403
