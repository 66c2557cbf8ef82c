"""``python -m tvm_zerocopy.compile``, the same as ``tvm-zerocopy compile``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError(
        "tvm_zerocopy.compile is a function, not a module: import tvm_zerocopy; tvm_zerocopy.compile(...)"
    )

from tvm_zerocopy.cli import main

raise SystemExit(main(["compile", *sys.argv[1:]]))
