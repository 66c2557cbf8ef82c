"""IRModule to IRModule, one pass a file, each usable alone in somebody's own TVM build."""

import tvm

from tvm_zerocopy import errors

# TVM runs passes from C++; only registered errors come out of it as what they were raised as.
for _error in (errors.ModelError, errors.SpecError, errors.UnsupportedError):
    tvm.error.register_error(_error.__name__, _error)
