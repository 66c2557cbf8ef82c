"""The preprocess kernel: camera samples to the model's input, in one pass over the output.

A small table says from which samples, with which weights, each output row and column comes. For each tile of an output
row, gather the samples that it interpolates between, and from them compute RGB, interpolate, normalize and store. The
tile's samples are all that lies between frame and output.
"""

from typing import Optional, Tuple

from tvm.script.ir_builder import IRBuilder

from tvm_zerocopy.specs import Frame, Preprocess

from . import samples
from .color import to_rgb
from .interpolate import bilinear
from .ops import tir
from .script import T
from .taps import TapTable, allocate
from .tensors import check_size, declare_parameters, frame_tensors

KERNEL_ATTR = "tz.kernel"
STRIDED_ATTR = "tz.strided_params"
MAX_TILE = 32  # pixels; two AVX-512 registers of int32


def preprocess_kernel(
    frame: Frame,
    preprocess: Preprocess,
    input_height: int,
    input_width: int,
    dtype: str = "float32",
    taps_given: bool = False,
    lanes: Optional[int] = None,
) -> tir.PrimFunc:
    """The PrimFunc ``(frame tensors: uint8..., image: dtype)``, not scheduled yet.

    ``taps_given``: it is ``(frame tensors: uint8..., taps: int32, image: dtype)``, and ``taps`` what ``taps_kernel``
    writes. Else it makes that table by itself, first.

    ``image`` is ``(batch, 1, input_height, input_width, lanes)`` if ``lanes`` is given, a pixel's three values and
    zeros; else ``(batch, 3, input_height, input_width)`` or, for NHWC, ``(batch, input_height, input_width, 3)``. The
    frame's tensors may have any row pitch (unless ``Frame.pitch`` fixes the first one's) and any distance from frame to
    frame, and need no alignment. They are the parameters that the attribute ``tz.strided_params`` lists. The attribute
    ``tz.kernel`` is ``"preprocess"``, for schedules.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        _Kernel(frame, preprocess, (input_height, input_width), dtype, taps_given, lanes).emit()
    return builder.get()


def specs_of(kernel: tir.PrimFunc) -> Tuple[Frame, Preprocess]:
    """What a kernel of ``preprocess_kernel`` was made for."""
    frame, preprocess = (str(kernel.attrs[name]) for name in ("tz.frame", "tz.preprocess"))
    return Frame.from_json(frame), Preprocess.from_json(preprocess)


class _Kernel:
    def __init__(self, frame, preprocess, input_size, dtype, taps_given, lanes):
        self.frame, self.preprocess, self.dtype, self.taps_given = frame, preprocess, dtype, taps_given
        self.lanes = lanes
        self.input_height, self.input_width = input_size
        self.tensors = frame_tensors(frame)
        self.taps = TapTable(frame, preprocess, self.tensors, *input_size)
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
        if self.taps_given:
            self.taps.declare()
        shape = (batch, 1, height, width, self.lanes) if self.lanes else self._in_order(batch, 3, height, width)
        self.image = T.arg("image", T.buffer(shape, self.dtype))
        check_size(self.frame, self.tensors)
        if not self.taps_given:
            self.taps.allocate()
            self.taps.fill(sizes_in_memory=True)
        sides = range(self.taps.sides)
        self.corners = [(i, j) for i in sides for j in sides]
        shape = (len(self.samples), len(sides), len(sides), batch, height, width)
        self.gathered = allocate("gathered", shape, "uint8")
        tile = max(t for t in range(1, MAX_TILE + 1) if width % t == 0)
        with T.grid(batch, height, width // tile) as (n, y, x_outer):
            for name, emit in (("gather", self._gather), ("pixel", self._pixel)):
                with T.serial(0, tile) as x_inner, T.sblock(name):
                    axes = ((batch, n), (height, y), (width, x_outer * tile + x_inner))
                    emit(*(T.axis.spatial(extent, index) for extent, index in axes))

    def _gather(self, n, y, x):
        """Copy the samples around one output pixel to where vector instructions can load them."""
        batch = (n,) if self.frame.batch > 1 else ()
        with T.If(self.taps.row(0, y) >= 0), T.Then():
            for i, j in self.corners:
                row = tir.Cast("int64", self.taps.row(i, y))
                column = tir.Cast("int64", tir.max(self.taps.column(j, x), 0))
                places = samples.indices(self.frame, self.tensors.height, self.tensors.width, row, column)
                for s, (tensor, index) in enumerate(places):
                    T.buffer_store(self.gathered, self.sources[tensor][(*batch, *index)], [s, i, j, n, y, x])

    def _pixel(self, n, y, x):
        """One output pixel: RGB of the samples around it, interpolated, normalized."""
        pad = tir.const(self.preprocess.pad_value, "int32")
        with T.If(self.taps.row(0, y) >= 0):
            with T.Then():
                inside = self.taps.column(0, x) >= 0
                self._store([tir.Select(inside, level, pad) for level in self._levels(n, y, x)], n, y, x)
            with T.Else():
                self._store([pad] * 3, n, y, x)

    def _levels(self, n, y, x):
        """R, G, B (int32 0..255) of one pixel of the picture."""
        rgb = {
            (i, j): to_rgb(self.frame, [tir.Cast("int32", self.gathered[s, i, j, n, y, x]) for s in self.samples])
            for i, j in self.corners
        }
        if len(rgb) == 1:
            return rgb[0, 0]
        row_weights, column_weights = (
            [of(k, at) for k in (2, 3)] for of, at in ((self.taps.row, y), (self.taps.column, x))
        )
        return [
            bilinear([[rgb[i, j][level] for j in (0, 1)] for i in (0, 1)], row_weights, column_weights)
            for level in range(3)
        ]

    def _store(self, rgb, n, y, x):
        p = self.preprocess
        for c, level in enumerate(rgb if p.channel_order == "rgb" else rgb[::-1]):
            value = tir.Cast("float32", level)
            if p.scale != p.std[c]:
                value = value * tir.const(p.scale / p.std[c], "float32")
            if p.mean[c] != 0:
                value = value - tir.const(p.mean[c] / p.std[c], "float32")
            place = (n, 0, y, x, c) if self.lanes else self._in_order(n, c, y, x)
            T.buffer_store(self.image, value.astype(self.dtype), place)
        for c in range(3, self.lanes or 3):
            T.buffer_store(self.image, tir.const(0, self.dtype), (n, 0, y, x, c))

    def _in_order(self, n, c, y, x):
        return (n, c, y, x) if self.preprocess.layout == "NCHW" else (n, y, x, c)
