"""Weights for a network under construction: from a checkpoint's state dict, or random, seeded and sane."""

import zlib
from typing import Dict, Optional, Tuple

import numpy as np

from ..errors import ModelError

# Entries of published checkpoints that are no weights of a convolution or linear layer.
_BOOKKEEPING = (
    "num_batches_tracked",
    "anchors",
    "anchor_grid",
    "dfl.conv.weight",
    "total_ops",
    "total_params",
    "stride",
)


class Weights:
    """Hands out layer weights by their state-dict name, BatchNorm already folded in.

    Parameters
    ----------
    state : dict of str to array, or None
        Arrays keyed as in the official checkpoint (``model.0.conv.weight``, ``model.0.bn.running_mean``, ...), any
        floating dtype; a convolution without a ``bn`` entry beside it is taken as fused already. None: random.
    seed : int
        For random weights. Each array depends on the seed and its own name only, so that networks of one family share
        the arrays that they have in common.
    """

    def __init__(self, state: Optional[Dict[str, np.ndarray]] = None, seed: int = 0):
        self.seed = seed
        self._state = None if state is None else {k: np.asarray(v) for k, v in state.items()}
        self._used = set()

    def conv_bn(self, conv: str, bn: str, shape: Tuple[int, ...], eps: float, gain: float):
        """Weight OIHW and bias of convolution ``conv`` with BatchNorm ``bn`` folded in, float32.

        w' = w * gamma / sqrt(var + eps); b' = beta - mean * gamma / sqrt(var + eps). ``gain`` scales random weights.
        """
        if self._state is None:
            return self._random(conv + ".weight", shape, gain), np.zeros(shape[0], np.float32)
        weight = self._take(conv + ".weight", shape).astype(np.float64)
        if bn + ".weight" not in self._state and conv + ".bias" in self._state:
            return weight.astype(np.float32), self._take(conv + ".bias", shape[:1]).astype(np.float32)
        gamma, beta, mean, var = (
            self._take(f"{bn}.{part}", shape[:1]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(var + eps)
        folded = weight * scale.reshape((-1,) + (1,) * (len(shape) - 1))
        return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)

    def affine(self, name: str, shape: Tuple[int, ...], gain: float, bias: np.ndarray):
        """Weight and bias of a convolution or linear layer without BatchNorm; ``bias`` stands in for random ones."""
        if self._state is None:
            return self._random(name + ".weight", shape, gain), np.asarray(bias, np.float32)
        weight, loaded = self._take(name + ".weight", shape), self._take(name + ".bias", shape[:1])
        return weight.astype(np.float32), loaded.astype(np.float32)

    def optional(self, name: str, shape: Tuple[int, ...], default: np.ndarray) -> np.ndarray:
        """An entry that checkpoints may lack (YOLOv5's anchors), float32."""
        if self._state is None or name not in self._state:
            return np.asarray(default, np.float32)
        return self._take(name, shape).astype(np.float32)

    def has(self, name: str) -> bool:
        """True if a checkpoint was given and holds the entry."""
        return self._state is not None and name in self._state

    def leave(self, prefix: str) -> None:
        """Entries of this prefix are known, and not needed: what only training uses."""
        self._used.update(name for name in self._state or () if name.startswith(prefix))

    def check_all_used(self, model: str) -> None:
        """Raise ModelError if the state dict holds weights that this network has no place for."""
        left = [k for k in self._state or () if k not in self._used and not k.endswith(_BOOKKEEPING)]
        if left:
            raise ModelError(
                f"the weights hold {len(left)} entries that {model} has no place for, the first is {left[0]!r}; they "
                "belong to another architecture or width"
            )

    def _take(self, name: str, shape: Tuple[int, ...]) -> np.ndarray:
        if name not in self._state:
            raise ModelError(f"the weights have no entry {name!r}; they belong to another architecture")
        array = self._state[name]
        if tuple(array.shape) != tuple(shape):
            raise ModelError(
                f"the weights' entry {name!r} has shape {tuple(array.shape)}, the network needs {tuple(shape)}; they "
                "belong to another width, depth or number of classes"
            )
        if array.dtype.kind != "f":
            raise ModelError(f"the weights' entry {name!r} has dtype {array.dtype}; it must be floating point")
        self._used.add(name)
        return array

    def _random(self, name: str, shape: Tuple[int, ...], gain: float) -> np.ndarray:
        """Scaled weight standardization (Brock et al., 2021): each filter has mean 0 and standard deviation
        gain / sqrt(fan in), so activations keep their scale without BatchNorm."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        weight = rng.standard_normal((shape[0], int(np.prod(shape[1:]))), dtype=np.float32)
        weight -= weight.mean(axis=1, keepdims=True)
        weight *= gain / np.sqrt(np.sum(np.square(weight), axis=1, keepdims=True))
        return weight.reshape(shape)
