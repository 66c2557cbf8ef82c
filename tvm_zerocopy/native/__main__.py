"""``python -m tvm_zerocopy.native FOLDER``: the runner and TVM's runtime libraries, ready to copy to a board."""

import argparse
import shutil
from pathlib import Path

from ..cli import common
from ..errors import ZeroCopyError
from .runner import build_runner, runtime_folders


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_zerocopy.native",
        description=__doc__,
        epilog="example: python -m tvm_zerocopy.native board/ --site aarch64-wheels/ --compiler aarch64-linux-gnu-g++",
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--site", metavar="DIR", help="unpacked wheels of the board's architecture (default: here)")
    parser.add_argument("--compiler", metavar="CXX", help="default: g++")
    args = parser.parse_args()
    folder = Path(args.folder)
    try:
        libraries, _ = runtime_folders(args.site)
        folder.mkdir(parents=True, exist_ok=True)
        build_runner(folder / "run_artifact", site=args.site, compiler=args.compiler)
        for library in libraries:
            shutil.copy2(library, folder)
    except (ZeroCopyError, OSError) as error:
        common.print_error(error)
        return 1
    print(f"{folder}: run_artifact, {', '.join(library.name for library in libraries)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
