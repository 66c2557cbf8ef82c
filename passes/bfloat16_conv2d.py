"""Convolution that multiplies bfloat16 and adds float32, on whatever unit a CPU has for that.

The product is computed in pairs of output rows, each a tile of neighbouring pixels by two vectors of output channels.
What a unit multiplies are rows of 2 x lanes bfloat16 values read from memory at any stride, which makes convolution a
matrix product without im2col: rows are output pixels, their values are the channels of one input pixel, or, of a first
layer's few channels, of several pixels side by side.

- ``AMX``, x86's matrix unit: 16x16 accumulators, 32 products a step. Tiles 0 to 3 accumulate, 4 and 5 hold pixels, 6
  and 7 weights.
- ``AVX512_BF16`` (VDPBF16PS: AMD Zen 4 and later, Intel Cooper Lake) and ``NEON_BF16`` (BFDOT: Armv8.6, Neoverse V1 and
  N2, Apple M2): a vector register of float32 sums, each adding the products of a pair.

Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1 chapter 18 and volume 2 (LDTILECFG,
TILELOADD, TDPBF16PS, VDPBF16PS); Arm Architecture Reference Manual for A-profile, BFDOT.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T
from tvm.tirx import call_llvm_intrin

from .arithmetic import ATTRIBUTE as FLOPS
from .bfloat16 import to_bits

ANNOTATION = "tz.amx_tile_rows"  # on the convolution's block, for ConfigureAmxTiles
DOT = "tz_bfloat16_dot"


@dataclass(frozen=True)
class Unit:
    """What multiplies.

    Attributes
    ----------
    name : str
    lanes : int
        float32 sums in a row of an accumulator: output channels.
    most_pixels : int
        In an accumulator tile.
    dot : str
        LLVM's intrinsic of one step, for units of vector registers; its operands are vectors of LLVM's bfloat type.
    """

    name: str
    lanes: int
    most_pixels: int
    dot: str = ""

    @property
    def depth(self) -> int:
        """bfloat16 values in a row of an operand."""
        return 2 * self.lanes

    @property
    def channels(self) -> int:
        """Of a block of the blocked layout: two accumulators side by side."""
        return 2 * self.lanes

    def pixels(self, width: int) -> int:
        """In a tile, for an output this wide: even shares; a divisor of it if that fills half a tile."""
        most = self.most_pixels
        even = max(d for d in range(1, most + 1) if width % d == 0)
        return even if even >= most // 2 else -(-width // -(-width // most))

    def definition(self) -> str:
        """The step as a function in LLVM's language. TVM legalizes its own bfloat16 away, and with it the operands'
        type in a call of the intrinsic; this function takes them as integers."""
        sums, bits, values = f"<{self.lanes} x float>", f"<{self.lanes} x i32>", f"<{self.depth} x bfloat>"
        return f"""
            declare {sums} @{self.dot}({sums}, {values}, {values})
            define {sums} @{DOT}({sums} %sum, {bits} %a, {bits} %b) {{
              %x = bitcast {bits} %a to {values}
              %y = bitcast {bits} %b to {values}
              %result = call {sums} @{self.dot}({sums} %sum, {values} %x, {values} %y)
              ret {sums} %result
            }}
        """


AMX = Unit("amx", 16, 16)
# two rows of 7 pixels by two vectors of channels are 28 accumulators of the 32 registers
AVX512_BF16 = Unit("avx512_bf16", 16, 7, "llvm.x86.avx512bf16.dpbf16ps.512")
NEON_BF16 = Unit("neon_bf16", 4, 7, "llvm.aarch64.neon.bfdot.v4f32.v8bf16")
UNITS = {unit.name: unit for unit in (AMX, AVX512_BF16, NEON_BF16)}


def pack_filter(kernel: np.ndarray, channels: int, unit: Unit) -> np.ndarray:
    """A float32 filter (O, I, KH, KW) as tiles of bfloat16 bits: uint16 (OB, IB, KH, G, halves, lanes, depth).

    OB counts blocks of output channels, IB blocks of ``channels`` input channels, G groups of depth / channels filter
    columns; the two tiles of a group are the two halves of the output channels, of which there is one where it holds
    them all. Tile row k holds input values 2k and 2k + 1 for each output channel.
    """
    out_channels, in_channels, height, width = kernel.shape
    lanes, depth, block = unit.lanes, unit.depth, unit.channels
    columns = depth // channels
    out_blocks, in_blocks, groups = -(-out_channels // block), -(-in_channels // channels), -(-width // columns)
    padded = np.zeros((out_blocks * block, in_blocks * channels, height, groups * columns), "float32")
    padded[:out_channels, :in_channels, :, :width] = kernel
    split = padded.reshape(out_blocks, 2, lanes, in_blocks, channels, height, groups, columns)
    rows = split.transpose(0, 3, 5, 6, 1, 7, 4, 2).reshape(out_blocks, in_blocks, height, groups, 2, lanes, 2, lanes)
    tiles = rows.transpose(0, 1, 2, 3, 4, 5, 7, 6).reshape(out_blocks, in_blocks, height, groups, 2, lanes, depth)
    return to_bits(np.ascontiguousarray(tiles[:, :, :, :, : 1 if out_channels <= lanes else 2]))


@functools.lru_cache(maxsize=None)  # TVMScript takes 0.1 s to read, and networks repeat their shapes
def conv2d_bfloat16(unit: Unit, data_shape, filter_shape, out_size, strides, padding, flops=0):
    """The kernel for one shape.

    Parameters
    ----------
    unit : Unit
    data_shape : (N, IB, H, W, channels)
        Of bfloat16 bits; channels is ``unit.channels``, or a divisor of it for a first layer.
    filter_shape : (OB, IB, KH, G, halves, lanes, depth)
        See ``pack_filter``. Of one half, the other half of the output is zero.
    out_size : (OH, OW)
    strides : (vertical, horizontal)
    padding : (top, left, ...)
        What is read past the other two sides is zero.
    flops : int
        Floating-point operations of the convolution that it stands for, for whoever reports them.

    Returns
    -------
    tvm.tirx.PrimFunc
        (data, filter, out float32 (N, OB, OH, OW, unit.channels)). Blocks: ``pad_data``, the identity where nothing is
        padded; ``bfloat16_conv2d``, one group of tiles; ``bfloat16_crop``, elementwise, so that an epilogue can take
        its place.
    """
    n_, icb_, h_, w_, channels = (int(extent) for extent in data_shape)
    ocb_, _, kh_, groups_, halves = (int(extent) for extent in filter_shape[:5])
    (oh_, ow_), (stride_h, stride_w), (top, left) = out_size, strides, padding[:2]
    lanes, depth, computed = unit.lanes, unit.depth, halves * unit.lanes  # of a block's channels, these are computed
    pixels, columns = unit.pixels(ow_), depth // channels
    down, across = -(-oh_ // 2), -(-ow_ // pixels)  # pairs of rows, tiles in a row; the last may run over the end
    reach_h, reach_w = stride_h + kh_, (pixels - 1) * stride_w + groups_ * columns  # what a pair of tiles reads
    padded_h, padded_w = (down - 1) * 2 * stride_h + reach_h, (across - 1) * pixels * stride_w + reach_w
    whole = top == left == 0 and padded_h <= h_ and padded_w <= w_
    if whole:  # pad_data is the identity
        padded_h, padded_w = h_, w_
    end_h, end_w = top + h_, left + w_
    n_, icb_, ocb_, h_, w_, c_, oh_, ow_, kh_, groups_, down, across, padded_h, padded_w, two = (
        T.int64(extent)
        for extent in (
            n_, icb_, ocb_, h_, w_, channels, oh_, ow_, kh_, groups_, down, across, padded_h, padded_w, 2
        )
    )  # fmt: skip
    halves_, lanes_, depth_, computed_ = (T.int64(extent) for extent in (halves, lanes, depth, computed))
    sums, bits = f"float32x{lanes}", f"int32x{lanes}"

    def read(data, n, ic, h, w, c):
        value = data[n, ic, h - top, w - left, c]
        if whole:
            return value
        return T.if_then_else(T.And(T.And(h >= top, h < end_h), T.And(w >= left, w < end_w)), value, T.uint16(0))

    def or_zero(value, channel):
        return value if halves == 2 else T.if_then_else(channel // lanes < 1, value, T.float32(0))

    def amx(name, *arguments):
        return call_llvm_intrin("int32", "llvm.x86." + name, *arguments)

    @T.inline
    def amx_product(padded, weight, product, at):
        n, oc, h, w, v = at
        for i in T.unroll(2):
            for j in T.unroll(halves):
                T.evaluate(amx("tilezero", T.uint8(2 * i + j)))
        for ic in T.serial(icb_):
            for kh in T.unroll(kh_):
                for g in T.unroll(groups_):
                    for j in T.unroll(halves):
                        T.evaluate(
                            amx(
                                "tileloadd64",
                                T.uint8(6 + j),
                                T.address_of(weight[oc, ic, kh, g, j, 0, 0]),
                                T.int64(depth * 2),
                            )
                        )
                    for i in T.unroll(2):
                        T.evaluate(
                            amx(
                                "tileloadd64",
                                T.uint8(4 + i),
                                T.address_of(
                                    padded[n, ic, (h * 2 + i) * stride_h + kh, w * (pixels * stride_w) + g * columns, 0]
                                ),
                                T.int64(stride_w * channels * 2),
                            )
                        )
                        for j in T.unroll(halves):
                            T.evaluate(amx("tdpbf16ps", T.uint8(2 * i + j), T.uint8(4 + i), T.uint8(6 + j)))
        for i in T.unroll(2):
            for j in T.unroll(halves):
                T.evaluate(
                    amx(
                        "tilestored64",
                        T.uint8(2 * i + j),
                        T.address_of(product[n, oc, h, v * 2 + i, w * pixels, v * computed + j * lanes]),
                        T.int64(computed * 4),
                    )
                )

    def place(at, i, p, j):
        """Where the sums of one of the two rows, a pixel and half of the output channels are."""
        n, oc, h, w, v = at
        return n, oc, h, v * 2 + i, w * pixels + p, T.Ramp(v * computed + j * lanes, T.int64(1), lanes)

    def step(padded, weight, product, at, ic, kh, g, k, i, p, j):
        """These sums, and to each the products of values 2k and 2k + 1."""
        n, oc, h, w, _ = at
        row, column = (h * 2 + i) * stride_h + kh, (w * pixels + p) * stride_w + g * columns
        pair = padded[n, ic, row, column + 2 * k // channels, T.Ramp(2 * k % channels, T.int64(1), 2)]
        weights = weight[oc, ic, kh, g, j, k, T.Ramp(T.int64(0), T.int64(1), depth)]
        in_every_lane = T.Broadcast(T.reinterpret("int32", pair), lanes)
        return T.call_pure_extern(sums, DOT, product[place(at, i, p, j)], in_every_lane, T.reinterpret(bits, weights))

    @T.inline
    def dot_product(padded, weight, product, at):
        for i in T.unroll(2):
            for p in T.unroll(pixels):
                for j in T.unroll(halves):
                    T.buffer_store(product, T.Broadcast(T.float32(0), lanes), place(at, i, p, j))
        with T.attr(T.int32(0), "pragma_import_llvm", unit.definition()):
            for ic in T.serial(icb_):
                for kh in T.serial(kh_):
                    for g in T.serial(groups_):
                        for k in T.unroll(lanes):
                            for i in T.unroll(2):
                                for p in T.unroll(pixels):
                                    for j in T.unroll(halves):
                                        T.buffer_store(
                                            product,
                                            step(padded, weight, product, at, ic, kh, g, k, i, p, j),
                                            place(at, i, p, j),
                                        )

    multiply, amx_rows = (dot_product, 0) if unit.dot else (amx_product, pixels)

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        data: T.Buffer((n_, icb_, h_, w_, c_), "uint16"),
        weight: T.Buffer((ocb_, icb_, kh_, groups_, halves_, lanes_, depth_), "uint16"),
        out: T.Buffer((n_, ocb_, oh_, ow_, depth_), "float32"),
    ):
        T.func_attr({"op_pattern": 4, "tirx.noalias": True})
        padded = T.sblock_alloc_buffer((n_, icb_, padded_h, padded_w, c_), "uint16")
        product = T.sblock_alloc_buffer((n_, ocb_, down, two, across * pixels, computed_), "float32")
        for n, ic, h, w, c in T.grid(n_, icb_, padded_h, padded_w, c_):
            with T.sblock("pad_data"):
                vn, vic, vh, vw, vc = T.axis.remap("SSSSS", [n, ic, h, w, c])
                padded[vn, vic, vh, vw, vc] = read(data, vn, vic, vh, vw, vc)
        for n, oc, h, w, v in T.grid(n_, ocb_, down, across, T.int64(1)):
            with T.sblock("bfloat16_conv2d"):
                vn, voc, vh, vw, vv = T.axis.remap("SSSSS", [n, oc, h, w, v])
                T.sblock_attr({ANNOTATION: amx_rows, FLOPS: flops})
                T.reads(
                    padded[
                        vn,
                        0:icb_,
                        vh * (2 * stride_h) : vh * (2 * stride_h) + reach_h,
                        vw * (pixels * stride_w) : vw * (pixels * stride_w) + reach_w,
                        0:c_,
                    ],
                    weight[voc, 0:icb_, 0:kh_, 0:groups_, 0:halves_, 0:lanes, 0:depth],
                )
                T.writes(
                    product[
                        vn,
                        voc,
                        vh,
                        vv * 2 : vv * 2 + 2,
                        vw * pixels : vw * pixels + pixels,
                        vv * computed : vv * computed + computed,
                    ]
                )
                multiply(padded, weight, product, (vn, voc, vh, vw, vv))
        for n, oc, h, w, c in T.grid(n_, ocb_, oh_, ow_, depth_):
            with T.sblock("bfloat16_crop"):
                vn, voc, vh, vw, vc = T.axis.remap("SSSSS", [n, oc, h, w, c])
                out[vn, voc, vh, vw, vc] = or_zero(product[vn, voc, vh // 2, vh % 2, vw, vc], vc)

    return kernel
