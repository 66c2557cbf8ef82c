"""Shape, strides and dtype of a buffer, and the rules a layout must keep to be handed to a kernel."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np

from ..errors import BufferError


def native_dtype(dtype) -> np.dtype:
    """The numpy dtype, if kernels can read it in place: a native-endian bool, integer or float.

    Raises
    ------
    BufferError
        If it is no dtype, holds Python objects or fields, or is byte-swapped.
    """
    try:
        dtype = np.dtype(dtype)
    except TypeError as error:
        raise BufferError(f"{dtype!r} is no dtype; give a numpy one such as uint8 or float32") from error
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise BufferError(
            f"dtype {dtype} cannot be read by a kernel; it must be a bool, integer or float of 1 to 8 bytes"
        )
    if not dtype.isnative:
        raise BufferError(f"dtype {dtype.str} is byte-swapped; only the machine's own byte order can be read in place")
    return dtype


def _integers(name: str, values) -> tuple[int, ...]:
    """A tuple of ints, of numpy's too; nothing is rounded."""
    try:
        return tuple(operator.index(value) for value in (values if np.iterable(values) else (values,)))
    except TypeError as error:
        raise BufferError(f"{name} {values!r} must be whole numbers") from error


def row_major(shape, itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a dense C-order array."""
    strides, step = [], itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


@dataclass(frozen=True)
class Layout:
    """Where element ``[i, j, ...]`` lies from the buffer's first byte: ``i * strides[0] + j * strides[1] + ...``.

    ``strides`` are in bytes. Made by `Layout.make`, which checks it.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def make(cls, shape, dtype="uint8", strides=None, pitch: int | None = None) -> Layout:
        """A checked layout; ``pitch`` is the short form for padded rows: ``strides[0]`` in bytes, the rest dense.

        Raises
        ------
        BufferError
            If an axis is empty or no integer, a stride is negative, zero or no multiple of the element size, elements
            overlap, or the pitch is narrower than a row.
        """
        dtype = native_dtype(dtype)
        shape = _integers("shape", shape)
        if any(size < 1 for size in shape):
            raise BufferError(f"shape {shape} has no elements; every axis must be at least 1")
        dense = row_major(shape, dtype.itemsize)
        if pitch is not None:
            if strides is not None:
                raise BufferError("give either strides or pitch, not both")
            (pitch,) = _integers("pitch", pitch)
            if not shape or pitch < (dense[0] if shape else 0):
                raise BufferError(f"pitch {pitch} is less than the {dense[0] if shape else 0} bytes of a row")
            strides = (pitch, *dense[1:])
        layout = cls(shape, dense if strides is None else _integers("strides", strides), dtype)
        layout._check()
        return layout

    def _check(self) -> None:
        if len(self.strides) != len(self.shape):
            raise BufferError(f"strides {self.strides} do not fit shape {self.shape}: one stride an axis")
        extent = self.dtype.itemsize
        # From the innermost axis outwards, each step must clear everything the inner axes cover.
        for stride, size in sorted(zip(self.strides, self.shape)):
            if size == 1:
                continue
            if stride < 0:
                raise BufferError(
                    f"strides {self.strides} are negative: flipped views cannot be read in place; copy them"
                )
            if stride % self.dtype.itemsize:
                raise BufferError(
                    f"strides {self.strides} are no multiples of the {self.dtype.itemsize}-byte elements ({self.dtype})"
                )
            if stride < extent:
                raise BufferError(
                    f"elements overlap: strides {self.strides} with shape {self.shape} (a broadcast or sliding view)"
                )
            extent = stride * (size - 1) + extent
        if any(stride < 0 for stride in self.strides):
            raise BufferError(f"strides {self.strides} are negative: flipped views cannot be read in place; copy them")

    @property
    def nbytes(self) -> int:
        """Bytes from the first to one past the last element, padding between rows included."""
        last = sum(stride * (size - 1) for stride, size in zip(self.strides, self.shape))
        return last + self.dtype.itemsize

    @property
    def is_dense(self) -> bool:
        """True if C-order without padding (axes of size 1 may have any stride)."""
        dense = row_major(self.shape, self.dtype.itemsize)
        return all(size == 1 or a == b for size, a, b in zip(self.shape, self.strides, dense))

    def __str__(self) -> str:
        padded = "" if self.is_dense else f" strides {self.strides}"
        return f"{self.dtype} {self.shape}{padded}"
