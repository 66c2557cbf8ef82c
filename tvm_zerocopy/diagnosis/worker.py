"""The child process that runs checks: ``python -m tvm_zerocopy.diagnosis.worker FD``.

Reads one check a line from standard input, ``[function, arguments]`` as JSON; answers each with one JSON line on file
descriptor FD: the result, or ``{"raised": traceback}``. Dies with whatever kills it.
"""

import dataclasses
import faulthandler
import importlib
import json
import os
import sys
import traceback

from . import cpus


def main() -> None:
    faulthandler.enable()  # a crash leaves its Python stack on standard error
    cpus.use_all()
    with os.fdopen(int(sys.argv[1]), "w") as out:
        for line in sys.stdin:
            reference, arguments = json.loads(line)
            module, function = reference.split(":")
            try:
                answer = dataclasses.asdict(getattr(importlib.import_module(module), function)(*arguments))
            except Exception:  # a check reports whatever goes wrong in it
                answer = {"raised": traceback.format_exc()}
            out.write(json.dumps(answer) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
