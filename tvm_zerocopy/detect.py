"""``python -m tvm_zerocopy.detect``, the same as ``tvm-zerocopy detect``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError("tvm_zerocopy.detect is a command, not a module: python -m tvm_zerocopy.detect")

from tvm_zerocopy.cli import main

raise SystemExit(main(["detect", *sys.argv[1:]]))
