"""``python -m tvm_zerocopy.export``, the same as ``tvm-zerocopy export``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError("tvm_zerocopy.export is a command, not a module: python -m tvm_zerocopy.export")

from tvm_zerocopy.cli import main

raise SystemExit(main(["export", *sys.argv[1:]]))
