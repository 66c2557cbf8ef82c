"""``python -m tvm_zerocopy.bench``, the same as ``tvm-zerocopy bench``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError("tvm_zerocopy.bench is a command, not a module: python -m tvm_zerocopy.bench")

from tvm_zerocopy.cli import main

raise SystemExit(main(["bench", *sys.argv[1:]]))
