"""Convolution in bfloat16 on AMX, x86's matrix unit: 16x16 accumulators, 32 products of bfloat16 a step in float32.

A tile row of the left operand is 64 bytes read from memory at any stride, which makes convolution a matrix product
without im2col: rows are output pixels, their 32 values are the channels of one input pixel, or, of a first layer's few
channels, of several pixels side by side. Tiles 0 to 3 accumulate, 4 and 5 hold pixels, 6 and 7 weights.

Source of the instructions and of the tile configuration's layout: Intel 64 and IA-32 Architectures Software Developer's
Manual, volume 1 chapter 18 and volume 2 (LDTILECFG, TILELOADD, TDPBF16PS).
"""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T
from tvm.tirx import call_llvm_intrin

from .arithmetic import ATTRIBUTE as FLOPS
from .bfloat16 import to_bits

ROWS = 16  # of a tile
DEPTH = 32  # bfloat16 values in a tile row
OUT_CHANNELS = 32  # in a block of the output: two tiles wide

ANNOTATION = "tz.amx_tile_rows"  # on the convolution's block, for ConfigureAmxTiles


def tile_rows(width: int) -> int:
    """Output pixels in a tile, for an output this wide: even shares; a divisor of it if that fills half a tile."""
    even = max(d for d in range(1, ROWS + 1) if width % d == 0)
    return even if even >= ROWS // 2 else -(-width // -(-width // ROWS))


def pack_filter(kernel: np.ndarray, lanes: int) -> np.ndarray:
    """A float32 filter (O, I, KH, KW) as tiles of bfloat16 bits: uint16 (OB, IB, KH, G, 2, 16, 32).

    OB counts 32 output channels, IB ``lanes`` input channels, G groups of 32 / lanes filter columns; the two tiles of a
    group are 16 output channels each. Tile row k holds input values 2k and 2k + 1 for each output channel.
    """
    out_channels, in_channels, height, width = kernel.shape
    columns = DEPTH // lanes
    out_blocks, in_blocks, groups = -(-out_channels // OUT_CHANNELS), -(-in_channels // lanes), -(-width // columns)
    padded = np.zeros((out_blocks * OUT_CHANNELS, in_blocks * lanes, height, groups * columns), "float32")
    padded[:out_channels, :in_channels, :, :width] = kernel
    split = padded.reshape(out_blocks, 2, 16, in_blocks, lanes, height, groups, columns)
    rows = split.transpose(0, 3, 5, 6, 1, 7, 4, 2).reshape(out_blocks, in_blocks, height, groups, 2, 16, 2, 16)
    tiles = rows.transpose(0, 1, 2, 3, 4, 5, 7, 6).reshape(out_blocks, in_blocks, height, groups, 2, 16, 32)
    return to_bits(np.ascontiguousarray(tiles))


def conv2d_amx(data_shape, filter_shape, out_size, strides, padding, flops=0):
    """The kernel for one shape.

    Parameters
    ----------
    data_shape : (N, IB, H, W, lanes)
        Of bfloat16 bits; lanes is 32, or a divisor of it for a first layer.
    filter_shape : (OB, IB, KH, G, 2, 16, 32)
        See ``pack_filter``.
    out_size : (OH, OW)
    strides : (vertical, horizontal)
    padding : (top, left, ...)
        What is read past the other two sides is zero.
    flops : int
        Floating-point operations of the convolution that it stands for, for whoever reports them.

    Returns
    -------
    tvm.tirx.PrimFunc
        (data, filter, out float32 (N, OB, OH, OW, 32)). Blocks: ``pad_data``, the identity where nothing is padded;
        ``amx_conv2d``, one group of tiles; ``amx_crop``, elementwise, so that an epilogue can take its place.
    """
    n_, icb_, h_, w_, lanes = (int(extent) for extent in data_shape)
    ocb_, _, kh_, groups_ = (int(extent) for extent in filter_shape[:4])
    (oh_, ow_), (stride_h, stride_w), (top, left) = out_size, strides, padding[:2]
    rows, columns = tile_rows(ow_), DEPTH // lanes
    down, across = -(-oh_ // 2), -(-ow_ // rows)  # pairs of rows, tiles in a row; the last may run over the end
    reach_h, reach_w = stride_h + kh_, (rows - 1) * stride_w + groups_ * columns  # what a pair of tiles reads
    padded_h, padded_w = (down - 1) * 2 * stride_h + reach_h, (across - 1) * rows * stride_w + reach_w
    whole = top == left == 0 and padded_h <= h_ and padded_w <= w_
    if whole:  # pad_data is the identity
        padded_h, padded_w = h_, w_
    end_h, end_w = top + h_, left + w_
    n_, icb_, ocb_, h_, w_, c_, oh_, ow_, kh_, groups_, down, across, padded_h, padded_w, two, sixteen, depth = (
        T.int64(extent)
        for extent in (
            n_, icb_, ocb_, h_, w_, lanes, oh_, ow_, kh_, groups_, down, across, padded_h, padded_w, 2, 16, DEPTH
        )
    )  # fmt: skip

    def read(data, n, ic, h, w, c):
        value = data[n, ic, h - top, w - left, c]
        if whole:
            return value
        return T.if_then_else(T.And(T.And(h >= top, h < end_h), T.And(w >= left, w < end_w)), value, T.uint16(0))

    def amx(name, *arguments):
        return call_llvm_intrin("int32", "llvm.x86." + name, *arguments)

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        data: T.Buffer((n_, icb_, h_, w_, c_), "uint16"),
        weight: T.Buffer((ocb_, icb_, kh_, groups_, two, sixteen, depth), "uint16"),
        out: T.Buffer((n_, ocb_, oh_, ow_, depth), "float32"),
    ):
        T.func_attr({"op_pattern": 4, "tirx.noalias": True})
        padded = T.sblock_alloc_buffer((n_, icb_, padded_h, padded_w, c_), "uint16")
        product = T.sblock_alloc_buffer((n_, ocb_, down, two, across * rows, depth), "float32")
        for n, ic, h, w, c in T.grid(n_, icb_, padded_h, padded_w, c_):
            with T.sblock("pad_data"):
                vn, vic, vh, vw, vc = T.axis.remap("SSSSS", [n, ic, h, w, c])
                padded[vn, vic, vh, vw, vc] = read(data, vn, vic, vh, vw, vc)
        for n, oc, h, w, v in T.grid(n_, ocb_, down, across, T.int64(1)):
            with T.sblock("amx_conv2d"):
                vn, voc, vh, vw, vv = T.axis.remap("SSSSS", [n, oc, h, w, v])
                T.sblock_attr({ANNOTATION: rows, FLOPS: flops})
                T.reads(
                    padded[
                        vn,
                        0:icb_,
                        vh * (2 * stride_h) : vh * (2 * stride_h) + reach_h,
                        vw * (rows * stride_w) : vw * (rows * stride_w) + reach_w,
                        0:c_,
                    ],
                    weight[voc, 0:icb_, 0:kh_, 0:groups_, 0:2, 0:16, 0:32],
                )
                T.writes(
                    product[vn, voc, vh, vv * 2 : vv * 2 + 2, vw * rows : vw * rows + rows, vv * 32 : vv * 32 + 32]
                )
                for tile in T.unroll(4):
                    T.evaluate(amx("tilezero", T.uint8(tile)))
                for ic in T.serial(icb_):
                    for kh in T.unroll(kh_):
                        for g in T.unroll(groups_):
                            for j in T.unroll(2):
                                T.evaluate(
                                    amx(
                                        "tileloadd64",
                                        T.uint8(6 + j),
                                        T.address_of(weight[voc, ic, kh, g, j, 0, 0]),
                                        T.int64(DEPTH * 2),
                                    )
                                )
                            for i in T.unroll(2):
                                T.evaluate(
                                    amx(
                                        "tileloadd64",
                                        T.uint8(4 + i),
                                        T.address_of(
                                            padded[
                                                vn,
                                                ic,
                                                (vh * 2 + i) * stride_h + kh,
                                                vw * (rows * stride_w) + g * columns,
                                                0,
                                            ]
                                        ),
                                        T.int64(stride_w * lanes * 2),
                                    )
                                )
                                for j in T.unroll(2):
                                    T.evaluate(amx("tdpbf16ps", T.uint8(2 * i + j), T.uint8(4 + i), T.uint8(6 + j)))
                for i in T.unroll(2):
                    for j in T.unroll(2):
                        T.evaluate(
                            amx(
                                "tilestored64",
                                T.uint8(2 * i + j),
                                T.address_of(product[vn, voc, vh, vv * 2 + i, vw * rows, vv * 32 + j * 16]),
                                T.int64(DEPTH * 4),
                            )
                        )
        for n, oc, h, w, c in T.grid(n_, ocb_, oh_, ow_, depth):
            with T.sblock("amx_crop"):
                vn, voc, vh, vw, vc = T.axis.remap("SSSSS", [n, oc, h, w, c])
                out[vn, voc, vh, vw, vc] = product[vn, voc, vh // 2, vh % 2, vw, vc]

    return kernel
