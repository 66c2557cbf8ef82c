"""``python -m tvm_zerocopy.doctor``, the same as ``tvm-zerocopy doctor``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError("tvm_zerocopy.doctor is a command, not a module: python -m tvm_zerocopy.doctor")

from tvm_zerocopy.cli import main

raise SystemExit(main(["doctor", *sys.argv[1:]]))
