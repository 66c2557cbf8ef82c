"""The programs that these tests share with other roads' tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "both_roads"))
