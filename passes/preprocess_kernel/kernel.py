"""The preprocess kernel: camera samples to the model's input, in one pass over the output.

Two small tables first: source indices and weights of each output row and column. Then, for each tile of an output row,
gather the samples that it interpolates between, and from them compute RGB, interpolate, normalize and store. The tile's
samples are all that lies between frame and output.
"""

from tvm.script.ir_builder import IRBuilder

from tvm_zerocopy.specs import Frame, Preprocess

from . import samples
from .color import to_rgb
from .geometry import Axis, picture_axes
from .interpolate import bilinear, falls_on_pixels, linear_taps, nearest_tap
from .ops import tir
from .script import T
from .tensors import check_size, declare_parameters, frame_tensors

KERNEL_ATTR = "tz.kernel"
STRIDED_ATTR = "tz.strided_params"
MAX_TILE = 32  # pixels; two AVX-512 registers of int32


def preprocess_kernel(
    frame: Frame, preprocess: Preprocess, input_height: int, input_width: int, dtype: str = "float32"
) -> tir.PrimFunc:
    """The PrimFunc ``(frame tensors: uint8..., image: dtype)``, not scheduled yet.

    ``image`` is ``(batch, 3, input_height, input_width)`` or, for NHWC, ``(batch, input_height, input_width, 3)``. The
    frame's tensors may have any row pitch (unless ``Frame.pitch`` fixes the first one's) and any distance from frame to
    frame, and need no alignment. They are the parameters that the attribute ``tz.strided_params`` lists. The attribute
    ``tz.kernel`` is ``"preprocess"``, for schedules.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        _Kernel(frame, preprocess, (input_height, input_width), dtype).emit()
    return builder.get()


class _Kernel:
    def __init__(self, frame, preprocess, input_size, dtype):
        self.frame, self.preprocess, self.dtype = frame, preprocess, dtype
        self.input_height, self.input_width = input_size
        self.tensors = frame_tensors(frame)
        self.linear = preprocess.interpolation == "linear"
        self.samples = range(samples.count(frame))

    def emit(self):
        T.func_name("preprocess")
        T.func_attr(
            {
                "tirx.noalias": True,
                "op_pattern": 8,  # opaque: FuseOps leaves it alone
                KERNEL_ATTR: "preprocess",
                STRIDED_ATTR: list(range(len(self.tensors.shapes))),
                "tz.frame": self.frame.to_json(),
                "tz.preprocess": self.preprocess.to_json(),
            }
        )
        batch, height, width = self.frame.batch, self.input_height, self.input_width
        self.sources = declare_parameters(self.frame, self.tensors)
        image_shape = (batch, 3, height, width) if self.preprocess.layout == "NCHW" else (batch, height, width, 3)
        self.image = T.arg("image", T.buffer(image_shape, self.dtype))
        check_size(self.frame, self.tensors)
        row_axis, column_axis = axes = self._axes()
        # where every input pixel is one of the frame's, there is nothing to interpolate
        self.interpolates = self.linear and (self.frame.dynamic or not all(map(falls_on_pixels, axes)))
        self.taps = range(2 if self.interpolates else 1)
        self.rows = self._table("rows", row_axis, height, weight_at_edge=True)
        self.columns = self._table("columns", column_axis, width, weight_at_edge=False)
        shape = (len(self.samples), len(self.taps), len(self.taps), batch, height, width)
        self.gathered = _buffer("gathered", shape, "uint8")
        tile = max(t for t in range(1, MAX_TILE + 1) if width % t == 0)
        with T.grid(batch, height, width // tile) as (n, y, x_outer):
            for name, emit in (("gather", self._gather), ("pixel", self._pixel)):
                with T.serial(0, tile) as x_inner, T.sblock(name):
                    axes = ((batch, n), (height, y), (width, x_outer * tile + x_inner))
                    emit(*(T.axis.spatial(extent, index) for extent, index in axes))

    def _axes(self):
        """The picture's rows and columns; what depends on a size known at run time only is computed once a call."""
        t = self.tensors
        axes = picture_axes(t.height, t.width, self.input_height, self.input_width, self.preprocess)
        if not self.frame.dynamic:
            return axes
        places, steps = _buffer("places", (2, 2), "int32"), _buffer("steps", (2,), "float64")
        with T.sblock("geometry"):
            for k, axis in enumerate(axes):
                T.buffer_store(places, axis.start, [k, 0])
                T.buffer_store(places, axis.new, [k, 1])
                T.buffer_store(steps, axis.step, [k])
        return [Axis(axis.size, places[k, 0], places[k, 1], steps[k]) for k, axis in enumerate(axes)]

    def _table(self, name, axis, size, weight_at_edge):
        """Source indices, then weights, of every output position along one axis; int32."""
        table = _buffer(name, (4 if self.interpolates else 1, size), "int32")
        with T.serial(0, size) as position, T.sblock(name):
            v = T.axis.spatial(size, position)
            at = tir.Cast("int32", v)
            values = linear_taps(axis, at, weight_at_edge, _bind) if self.linear else nearest_tap(axis, at)
            for k, value in enumerate(values if self.interpolates else values[:1]):
                T.buffer_store(table, value, [k, v])
        return table

    def _gather(self, n, y, x):
        """Copy the samples around one output pixel to where vector instructions can load them."""
        batch = (n,) if self.frame.batch > 1 else ()
        with T.If(self.rows[0, y] >= 0), T.Then():
            for i in self.taps:
                for j in self.taps:
                    row = tir.Cast("int64", self.rows[i, y])
                    column = tir.Cast("int64", tir.max(self.columns[j, x], 0))
                    places = samples.indices(self.frame, self.tensors.height, self.tensors.width, row, column)
                    for s, (tensor, index) in enumerate(places):
                        T.buffer_store(self.gathered, self.sources[tensor][(*batch, *index)], [s, i, j, n, y, x])

    def _pixel(self, n, y, x):
        """One output pixel: RGB of the samples around it, interpolated, normalized."""
        pad = tir.const(self.preprocess.pad_value, "int32")
        with T.If(self.rows[0, y] >= 0):
            with T.Then():
                inside = self.columns[0, x] >= 0
                self._store([tir.Select(inside, level, pad) for level in self._levels(n, y, x)], n, y, x)
            with T.Else():
                self._store([pad] * 3, n, y, x)

    def _levels(self, n, y, x):
        """R, G, B (int32 0..255) of one pixel of the picture."""

        def rgb(i, j):
            return to_rgb(self.frame, [tir.Cast("int32", self.gathered[s, i, j, n, y, x]) for s in self.samples])

        if not self.interpolates:
            return rgb(0, 0)
        corners = [[rgb(i, j) for j in self.taps] for i in self.taps]
        row_weights, column_weights = (
            [table[k, at] for k in (2, 3)] for table, at in ((self.rows, y), (self.columns, x))
        )
        return [
            bilinear([[c[level] for c in row] for row in corners], row_weights, column_weights) for level in range(3)
        ]

    def _store(self, rgb, n, y, x):
        p = self.preprocess
        for c, level in enumerate(rgb if p.channel_order == "rgb" else rgb[::-1]):
            value = tir.Cast("float32", level)
            if p.scale != p.std[c]:
                value = value * tir.const(p.scale / p.std[c], "float32")
            if p.mean[c] != 0:
                value = value - tir.const(p.mean[c] / p.std[c], "float32")
            index = [n, c, y, x] if p.layout == "NCHW" else [n, y, x, c]
            T.buffer_store(self.image, value.astype(self.dtype), index)


def _buffer(name, shape, dtype):
    buffer = T.sblock_alloc_buffer(shape, dtype)
    IRBuilder.name(name, buffer)
    return buffer


def _bind(name, value):
    variable = T.bind(value)
    IRBuilder.name(name, variable)
    return variable
