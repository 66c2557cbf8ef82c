"""``python -m tvm_zerocopy.audit``, the same as ``tvm-zerocopy audit``. Not for import."""

import sys

if __name__ != "__main__":
    raise ImportError("tvm_zerocopy.audit is a command, not a module: python -m tvm_zerocopy.audit")

from tvm_zerocopy.cli import main

raise SystemExit(main(["audit", *sys.argv[1:]]))
