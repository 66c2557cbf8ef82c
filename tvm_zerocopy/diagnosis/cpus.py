"""CPUs and threads as they were when the process began: TVM narrows a thread's affinity once its pool starts."""

import os
from typing import Optional

from ..threads import AVAILABLE as ALLOWED
from ..threads import VARIABLE
from ..threads import use_available_cpus as use_all

__all__ = ["ALLOWED", "CHOSEN", "VARIABLE", "use_all"]

CHOSEN: Optional[str] = os.environ.get(VARIABLE)  # by the user
