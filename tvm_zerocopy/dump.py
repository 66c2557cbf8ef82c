"""The module before and after each pass, as TVMScript files that a person can read and compare."""

import re
from pathlib import Path

import tvm

from .errors import UnsupportedError
from .ir_build import intermediate_representation


class ModuleWriter:
    """Writes ``00_import.py``, then ``NN_PassName.py`` after each pass: its "before" is the file in front of its own.

    Parameters
    ----------
    folder : path
        Made where it is missing. Files of an earlier dump there are removed.
    module : tvm.IRModule
        Before the first pass.

    Raises
    ------
    UnsupportedError
        If the folder cannot be written.
    """

    def __init__(self, folder, module: tvm.IRModule):
        self._folder, self._before, self._count = Path(folder), None, 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob("[0-9][0-9]_*.py"):
                old.unlink()
            self._write("import", module)
        except OSError as error:
            raise UnsupportedError(
                f"--dump {folder}: {error.strerror or error}; give a folder that can be written"
            ) from None

    def after(self, name: str, module: tvm.IRModule) -> None:
        """The module after the pass ``name``."""
        self._count += 1
        self._write(name, module)

    def _write(self, name: str, module: tvm.IRModule) -> None:
        path = self._folder / f"{self._count:02d}_{re.sub('[^A-Za-z0-9]+', '_', name)}.py"
        title = f"# After {name}." + (f" Before it: {self._before}" if self._before else "")
        relay = intermediate_representation() == "relay"  # which has no TVMScript
        text = module.astext(show_meta_data=False) if relay else module.script()
        path.write_text(f"{title}\n{text}\n", encoding="utf-8")
        self._before = path.name
