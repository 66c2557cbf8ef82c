"""``python -m tvm_zerocopy.tune``, the same as ``tvm-zerocopy tune``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError("tvm_zerocopy.tune is a command, not a module: python -m tvm_zerocopy.tune")

from tvm_zerocopy.cli import main

raise SystemExit(main(["tune", *sys.argv[1:]]))
