"""3x3 stride-2 convolution on channel-blocked activations with a quarter of its multiplications saved along the width.

Along the width, outputs of a filter (w0, w1, w2) see (w0, w2) on the even inputs and w1 on the odd ones. Four outputs
of the 2-tap part take 5 multiplications by Winograd's minimal filtering F(4, 2), those of the 1-tap part 4: 9 where
direct convolution takes 12. The filter's rows and the input channels are summed before the output transform, so that
the matrix products stay long and the transforms cheap. A tile in two dimensions would save 7 multiplications of 16,
but read transformed filters nine times the size of plain ones and store products five times the size of the output.

The matrices follow by Cook and Toom's construction from the points +-a, +-b, infinity with a = 1/2, b = 3/2, for which
all constants but the filter's are exact; the largest float32 error over 128 channels of normal data is 5e-6 of the
output's standard deviation (measured).
"""

from __future__ import annotations

import functools

import numpy as np
from tvm.script import tirx as T

TILE, PRODUCTS = 4, 9  # outputs, and multiplications for each filter row and channel: 5 even, 4 odd
A, B = 0.5, 1.5
A2, B2, A3, B3 = A**2, B**2, A**3, B**3
SUM, PRODUCT = A2 + B2, A2 * B2


def filter_matrix() -> np.ndarray:
    """G, 9x3: (w0, w2) at each point over the product of that point's distances to the others, then w1 four times."""
    points = [A, -A, B, -B]
    rows = []
    for point in points:
        distance = np.prod([point - other for other in points if other != point])
        rows.append([1 / distance, 0.0, point / distance])
    return np.array([*rows, [0.0, 0.0, 1.0], *([[0.0, 1.0, 0.0]] * TILE)])


def transform_filter(packed: np.ndarray) -> np.ndarray:
    """Packed weight (OCB, ICB, 3, 3, ci, co) to the transformed domain: (9, OCB, ICB, 3, ci, co)."""
    transformed = np.einsum("xw,oihwcd->xoihcd", filter_matrix(), packed.astype(np.float64))
    return np.ascontiguousarray(transformed.astype(np.float32))


@functools.lru_cache(maxsize=None)  # TVMScript takes 0.1 s to read, and networks repeat their shapes
def conv2d_winograd_strided(data_shape, out_blocks, padding):
    """The kernel for one shape.

    Parameters
    ----------
    data_shape : (N, ICB, H, W, c)
    out_blocks : int
    padding : (top, left, bottom, right)

    Returns
    -------
    tvm.tirx.PrimFunc
        (data, transformed weight (9, OCB, ICB, 3, c, c), out (N, OCB, OH, OW, c)). Blocks: ``strided_input``,
        ``strided_gemm``, ``strided_output`` and ``strided_crop``, the last elementwise, so that an epilogue can take
        its place.
    """
    n_, icb_, h_, w_, c_ = (int(extent) for extent in data_shape)
    top, left, bottom, right = padding
    oh_, ow_ = (h_ + top + bottom - 3) // 2 + 1, (w_ + left + right - 3) // 2 + 1
    tw_ = -(-ow_ // TILE)
    n_, icb_, ocb_, h_, w_, c_, oh_, ow_, tw_, rows_ = (
        T.int64(extent) for extent in (n_, icb_, out_blocks, h_, w_, c_, oh_, ow_, tw_, 2 * oh_ + 1)
    )
    one, three, four, five, nine = (T.int64(extent) for extent in (1, 3, 4, 5, 9))
    # what is read is only data's inside: the rest of a tile is zero
    inside_h, inside_w = h_ + top, w_ + left

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        data: T.Buffer((n_, icb_, h_, w_, c_), "float32"),
        weight: T.Buffer((nine, ocb_, icb_, three, c_, c_), "float32"),
        out: T.Buffer((n_, ocb_, oh_, ow_, c_), "float32"),
    ):
        T.func_attr({"op_pattern": 4, "tirx.noalias": True})
        transformed = T.sblock_alloc_buffer((n_, nine, icb_, rows_, tw_, c_), "float32")
        product = T.sblock_alloc_buffer((n_, nine, ocb_, oh_, tw_, c_), "float32")
        tiles = T.sblock_alloc_buffer((n_, ocb_, oh_, tw_ * 4, c_), "float32")
        for n, x, ic, row, t, v in T.grid(n_, one, icb_, rows_, tw_, one):
            with T.sblock("strided_input"):
                vn, vx, vic, vrow, vt, vv = T.axis.remap("SSSSSS", [n, x, ic, row, t, v])
                T.reads(data[vn, vic, 0:h_, 0:w_, vv * c_ : vv * c_ + c_])
                T.writes(transformed[vn, vx * nine : vx * nine + nine, vic, vrow, vt, vv * c_ : vv * c_ + c_])
                d = T.alloc_buffer((nine, c_), "float32", scope="local")
                if vrow >= top and vrow < inside_h and vt * 8 >= left and vt * 8 + 8 < inside_w:
                    for j in T.unroll(nine):
                        for c in T.vectorized(c_):
                            d[j, c] = data[vn, vic, vrow - top, vt * 8 + j - left, vv * c_ + c]
                else:
                    for j in T.unroll(nine):
                        for c in T.vectorized(c_):
                            d[j, c] = T.if_then_else(
                                vrow >= top and vrow < inside_h and vt * 8 + j >= left and vt * 8 + j < inside_w,
                                data[vn, vic, vrow - top, vt * 8 + j - left, vv * c_ + c],
                                T.float32(0),
                            )
                for c in T.vectorized(c_):
                    transformed[vn, vx * nine + 0, vic, vrow, vt, vv * c_ + c] = (
                        d[6, c] - T.float32(B2) * d[2, c]
                    ) + T.float32(A) * (d[4, c] - T.float32(B2) * d[0, c])
                    transformed[vn, vx * nine + 1, vic, vrow, vt, vv * c_ + c] = (
                        d[6, c] - T.float32(B2) * d[2, c]
                    ) - T.float32(A) * (d[4, c] - T.float32(B2) * d[0, c])
                    transformed[vn, vx * nine + 2, vic, vrow, vt, vv * c_ + c] = (
                        d[6, c] - T.float32(A2) * d[2, c]
                    ) + T.float32(B) * (d[4, c] - T.float32(A2) * d[0, c])
                    transformed[vn, vx * nine + 3, vic, vrow, vt, vv * c_ + c] = (
                        d[6, c] - T.float32(A2) * d[2, c]
                    ) - T.float32(B) * (d[4, c] - T.float32(A2) * d[0, c])
                    transformed[vn, vx * nine + 4, vic, vrow, vt, vv * c_ + c] = (
                        T.float32(PRODUCT) * d[0, c] - T.float32(SUM) * d[4, c] + d[8, c]
                    )
                for j in T.unroll(four):
                    for c in T.vectorized(c_):
                        transformed[vn, vx * nine + five + j, vic, vrow, vt, vv * c_ + c] = d[j * 2 + 1, c]
        for n, xi, oc, h, t, co, ic, kh, ci in T.grid(n_, nine, ocb_, oh_, tw_, c_, icb_, three, c_):
            with T.sblock("strided_gemm"):
                vn, vxi, voc, vh, vt, vco, vic, vkh, vci = T.axis.remap("SSSSSSRRR", [n, xi, oc, h, t, co, ic, kh, ci])
                with T.init():
                    product[vn, vxi, voc, vh, vt, vco] = T.float32(0)
                product[vn, vxi, voc, vh, vt, vco] += (
                    transformed[vn, vxi, vic, vh * 2 + vkh, vt, vci] * weight[vxi, voc, vic, vkh, vci, vco]
                )
        for n, oc, h, t, v in T.grid(n_, ocb_, oh_, tw_, one):
            with T.sblock("strided_output"):
                vn, voc, vh, vt, vv = T.axis.remap("SSSSS", [n, oc, h, t, v])
                T.reads(product[vn, 0:nine, voc, vh, vt, vv * c_ : vv * c_ + c_])
                T.writes(tiles[vn, voc, vh, vt * 4 : vt * 4 + 4, vv * c_ : vv * c_ + c_])
                m = T.alloc_buffer((nine, c_), "float32", scope="local")
                for j in T.unroll(nine):
                    for c in T.vectorized(c_):
                        m[j, c] = product[vn, j, voc, vh, vt, vv * c_ + c]
                for c in T.vectorized(c_):
                    tiles[vn, voc, vh, vt * 4 + 0, vv * c_ + c] = (m[0, c] + m[1, c]) + (m[2, c] + m[3, c]) + m[5, c]
                    tiles[vn, voc, vh, vt * 4 + 1, vv * c_ + c] = (
                        T.float32(A) * (m[0, c] - m[1, c]) + T.float32(B) * (m[2, c] - m[3, c]) + m[6, c]
                    )
                    tiles[vn, voc, vh, vt * 4 + 2, vv * c_ + c] = (
                        T.float32(A2) * (m[0, c] + m[1, c]) + T.float32(B2) * (m[2, c] + m[3, c]) + m[7, c]
                    )
                    tiles[vn, voc, vh, vt * 4 + 3, vv * c_ + c] = (
                        T.float32(A3) * (m[0, c] - m[1, c]) + T.float32(B3) * (m[2, c] - m[3, c]) + m[4, c] + m[8, c]
                    )
        for n, oc, h, w, c in T.grid(n_, ocb_, oh_, ow_, c_):
            with T.sblock("strided_crop"):
                vn, voc, vh, vw, vc = T.axis.remap("SSSSS", [n, oc, h, w, c])
                out[vn, voc, vh, vw, vc] = tiles[vn, voc, vh, vw, vc]

    return kernel
