"""What random weights score, to set a threshold by: low, and differently for each model."""

from __future__ import annotations

import numpy as np

from tvm_zerocopy.reference import nms


def best_first(raw: np.ndarray, head: str, input_size=None) -> np.ndarray:
    """The scores that decide which boxes pass ``Nms.conf``, in descending order.

    Parameters
    ----------
    raw, head, input_size
        As for ``reference.nms.decode``.
    """
    _, scores, objectness = nms.decode(raw, head, input_size)
    best = scores.max(axis=1)
    if head != "end2end":  # where this is the class
        best = np.minimum(best, objectness)
    return np.sort(best)[::-1]
