"""One affine map a channel between an image and a convolution, and the convolution's weights that take it in."""

from dataclasses import dataclass, replace
from typing import Any, Optional, Sequence

import numpy as np

from tvm_zerocopy.specs import Preprocess


@dataclass(frozen=True)
class Channels:
    """Channel k of a tensor is ``scale[k] * source + shift[k]``, of the source's channel ``origins[k][1]``.

    ``origins[k][0]`` is the way there in space, a tuple of hashable steps that `replay` can repeat.
    """

    source: Any
    count: int  # channels of the source
    origins: tuple
    scale: np.ndarray
    shift: np.ndarray
    padded: bool = False  # zeros of the tensor were added on the way
    visited: frozenset = frozenset()  # every variable on the way, the source excluded

    @property
    def plain(self) -> bool:
        """True if these are the source's channels as they are, once for each way through space."""
        in_order = self.origins == tuple((path, c) for path in paths(self) for c in range(self.count))
        return in_order and bool(np.all(self.scale == 1) and np.all(self.shift == 0))

    def computed(self, kind: str, constant: np.ndarray, rank: int, axis: int, first: bool) -> Optional["Channels"]:
        """The tensor after arithmetic with a constant; None if that is not one finite affine map a channel.

        Parameters
        ----------
        kind : str
            add, subtract, multiply or divide.
        constant : array
            As it is broadcast to the tensor, which has ``rank`` axes and its channels on ``axis``.
        first : bool
            The tensor is the operator's first operand, the constant its second.
        """
        value = per_channel(constant, rank, axis, len(self.origins))
        if value is None or not np.all(np.isfinite(value)):
            return None
        if kind == "add":
            return replace(self, shift=self.shift + value)
        if kind == "subtract":
            sign = 1 if first else -1
            return replace(self, scale=sign * self.scale, shift=sign * (self.shift - value))
        if np.any(value == 0) or (kind == "divide" and not first):
            return None
        if kind == "multiply":
            return replace(self, scale=self.scale * value, shift=self.shift * value)
        return replace(self, scale=self.scale / value, shift=self.shift / value)

    def chosen(self, order: Sequence[int]) -> "Channels":
        """The channels of these numbers, in this order."""
        origins = tuple(self.origins[k] for k in order)
        return replace(self, origins=origins, scale=self.scale[order], shift=self.shift[order])

    def moved(self, step: tuple, padded: bool = False) -> "Channels":
        """The tensor after a step in space; ``padded``: one that adds zeros."""
        origins = tuple(((*path, step), channel) for path, channel in self.origins)
        return replace(self, origins=origins, padded=self.padded or padded)

    def through(self, *values) -> "Channels":
        """The same, by way of these values."""
        return replace(self, visited=self.visited.union(values))


@dataclass(frozen=True)
class Fold:
    """One convolution: its new weights, what to add to its result and to its image, and how to get that image."""

    source: Any
    ways: list
    axis: int
    weight: np.ndarray
    bias: np.ndarray
    offset: np.ndarray  # to add to each channel of the new image


def normalized(source, spec: Preprocess, bare: Preprocess) -> Channels:
    """The image of the preprocess kernel ``spec``, as made of ``source``, what the kernel ``bare`` would give."""
    order = range(3) if spec.channel_order == bare.channel_order else range(2, -1, -1)
    std, mean = np.array(spec.std), np.array(spec.mean)
    return Channels(source, 3, tuple(((), c) for c in order), spec.scale / std, -mean / std)


def unchanged(source, count: int) -> Channels:
    """An image of ``count`` channels as it is."""
    return Channels(source, count, tuple(((), c) for c in range(count)), np.ones(count), np.zeros(count))


def concatenated(parts: Sequence[Optional[Channels]]) -> Optional[Channels]:
    """Tensors of one source, one after another on the channel axis; None if one is of another source or of none."""
    if any(part is None or not part.source.same_as(parts[0].source) for part in parts):
        return None
    return Channels(
        parts[0].source,
        parts[0].count,
        sum((part.origins for part in parts), ()),
        np.concatenate([part.scale for part in parts]),
        np.concatenate([part.shift for part in parts]),
        any(part.padded for part in parts),
        frozenset().union(*(part.visited for part in parts)),
    )


def fold_into_weights(weight: np.ndarray, layout: str, axis: int, channels: Channels) -> Optional[Fold]:
    """What becomes of a convolution of an image that is ``channels`` of its source, if it reads the source itself.

    ``layout`` is the weight's, ``axis`` where the image has its channels. None if nothing would change or it cannot be
    exact.
    """
    ways = paths(channels)
    count = len(ways) * channels.count
    if channels.plain or count > max(len(channels.origins), channels.count):
        return None
    position = [ways.index(path) * channels.count + channel for path, channel in channels.origins]
    weight = np.moveaxis(weight.astype(np.float64), (layout.find("O"), layout.find("I")), (0, 1))
    offset, bias = np.zeros(count), np.zeros(weight.shape[0])
    if channels.padded:
        wanted = channels.shift / channels.scale
        offset[position] = wanted
        if np.any(offset[position] != wanted):  # one channel of the image is asked for with two offsets
            return None
    else:
        bias = weight.sum(axis=(2, 3)) @ channels.shift
    folded = np.zeros((weight.shape[0], count, *weight.shape[2:]))
    for k, at in enumerate(position):
        folded[:, at] += weight[:, k] * channels.scale[k]
    folded = np.moveaxis(folded, (0, 1), (layout.find("O"), layout.find("I")))
    return Fold(channels.source, ways, axis, folded.astype(np.float32), bias, offset)


def paths(channels: Channels) -> list:
    """The distinct ways in space, in the order of their first channel."""
    return list(dict.fromkeys(path for path, _ in channels.origins))


def per_channel(array: np.ndarray, rank: int, axis: int, channels: int) -> Optional[np.ndarray]:
    """A broadcast constant as one float64 a channel; None if it varies along another axis."""
    array = array.astype(np.float64)
    if array.ndim > rank:
        return None
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if array.size != array.shape[axis] or array.size not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))
