"""The table of taps: from which samples, with which weights, each output row and column is interpolated."""

from tvm.script.ir_builder import IRBuilder

from tvm_zerocopy.specs import Frame, Preprocess

from .geometry import Axis, picture_axes
from .interpolate import falls_on_pixels, linear_taps, nearest_tap
from .ops import tir
from .script import T
from .tensors import FrameTensors, frame_tensors


def taps_kernel(frame: Frame, preprocess: Preprocess, input_height: int, input_width: int) -> tir.PrimFunc:
    """The PrimFunc ``(sizes: int64..., taps: int32)`` that fills the table; not scheduled yet.

    Sizes are those that the frame leaves open, in the order of ``open_sizes``. With none the table is a constant, which
    ``relax.transform.FoldConstant`` makes of it.
    """
    tensors = frame_tensors(frame)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("preprocess_taps")
        T.func_attr({"tirx.noalias": True, "op_pattern": 8, "tz.kernel": "preprocess_taps"})
        for size in open_sizes(tensors):
            T.arg(size.name, size)
        table = TapTable(frame, preprocess, tensors, input_height, input_width)
        table.declare()
        table.fill()
    return builder.get()


def open_sizes(tensors: FrameTensors):
    """The variables in the shape of a frame's first tensor."""
    return [side for side in tensors.shapes[0] if isinstance(side, tir.Var)]


class TapTable:
    """``(4, input_height + input_width)`` int32: for each output row, then for each column, the two source indices and
    their weights times 2048.

    Where nothing is interpolated only the first index is there. It is -1 outside the picture.
    """

    def __init__(
        self, frame: Frame, preprocess: Preprocess, tensors: FrameTensors, input_height: int, input_width: int
    ):
        self._input = input_height, input_width
        self._frame, self._linear = frame, preprocess.interpolation == "linear"
        self._axes = picture_axes(tensors.height, tensors.width, input_height, input_width, preprocess)
        # where every input pixel is one of the frame's, there is nothing to interpolate
        interpolates = self._linear and (frame.dynamic or not all(map(falls_on_pixels, self._axes)))
        self.sides = 2 if interpolates else 1
        self.shape = (4 if interpolates else 1, input_height + input_width)

    def declare(self):
        """The table is the next parameter of the PrimFunc being built."""
        self._table = T.arg("taps", T.buffer(self.shape, "int32"))

    def allocate(self):
        """The table is memory of the PrimFunc being built."""
        self._table = allocate("taps", self.shape, "int32")

    def row(self, k: int, y):
        """Entry ``k`` of the output's row ``y``."""
        return self._table[k, y]

    def column(self, k: int, x):
        """Entry ``k`` of the output's column ``x``."""
        return self._table[k, self._input[0] + x]

    def fill(self, sizes_in_memory: bool = False):
        """Emit the loop that writes the table.

        ``sizes_in_memory``: the frame's open sizes are no plain parameters, so that on a GPU the host cannot read them;
        what follows from them is computed by a block of its own, ``geometry``.
        """
        rows, columns = self._axes
        if self._frame.dynamic:
            rows, columns = self._stored_axes() if sizes_in_memory else self._bound_axes()
        height, width = self._input
        with T.serial(0, height + width) as position, T.sblock("taps"):
            v = T.axis.spatial(height + width, position)
            is_row = v < height
            axis = Axis(*(tir.Select(is_row, row, column) for row, column in zip(rows, columns)))
            at = tir.Cast("int32", tir.Select(is_row, v, v - height))
            values = linear_taps(axis, at, is_row, _bind) if self._linear else nearest_tap(axis, at)
            for k, value in enumerate(values[: self.shape[0]]):
                T.buffer_store(self._table, value, [k, v])

    def _bound_axes(self):
        """The picture's rows and columns as variables, computed once a call."""
        named = zip(("rows", "columns"), self._axes)
        return [
            Axis(*(_bind(f"{name}_{field}", value) for field, value in axis._asdict().items())) for name, axis in named
        ]

    def _stored_axes(self):
        """The same in memory."""
        places, steps = allocate("places", (2, 2), "int32"), allocate("steps", (2,), "float64")
        with T.sblock("geometry"):
            for k, axis in enumerate(self._axes):
                T.buffer_store(places, axis.start, [k, 0])
                T.buffer_store(places, axis.new, [k, 1])
                T.buffer_store(steps, axis.step, [k])
        return [Axis(axis.size, places[k, 0], places[k, 1], steps[k]) for k, axis in enumerate(self._axes)]


def allocate(name, shape, dtype):
    """A buffer of the PrimFunc being built."""
    buffer = T.sblock_alloc_buffer(shape, dtype)
    IRBuilder.name(name, buffer)
    return buffer


def _bind(name, value):
    variable = T.bind(value)
    IRBuilder.name(name, variable)
    return variable
