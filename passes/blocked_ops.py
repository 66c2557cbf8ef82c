"""Tensor expressions of operators on channel-blocked activations.

A blocked activation (layout ``NCHW{c}c``) of an (N, C, H, W) tensor is (N, ceil(C / c), H, W, c): the c channels of a
block are contiguous, which is one vector register. Lanes past C hold finite values that nobody reads.
"""

from __future__ import annotations

import numpy as np
from tvm import te, tirx


def pad_axis(array: np.ndarray, axis: int, multiple: int, fill=0.0) -> np.ndarray:
    """The array with one axis padded at its end to a multiple; the array itself if it is one."""
    missing = -array.shape[axis] % multiple
    if not missing:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, missing)
    return np.pad(array, widths, constant_values=fill)


def pack_outputs(weight: np.ndarray, block: int) -> np.ndarray:
    """(O, ...) to (OCB, ..., co): a filter over plain channels, or a depthwise one without its axis of one."""
    blocks = pad_axis(weight, 0, block).reshape(-1, block, *weight.shape[1:])
    return np.ascontiguousarray(np.moveaxis(blocks, 1, -1))


def pack_filter(weight: np.ndarray, block: int) -> np.ndarray:
    """(O, I, KH, KW) to (OCB, ICB, KH, KW, ci, co), the channels padded with zeros."""
    padded = pad_axis(pad_axis(weight, 0, block), 1, block)
    blocks = padded.reshape(-1, block, padded.shape[1] // block, block, *padded.shape[2:])
    return np.ascontiguousarray(blocks.transpose(0, 2, 4, 5, 3, 1))


def pack_pixel_filter(weight: np.ndarray, block: int, lanes: int) -> np.ndarray:
    """(O, I, KH, KW) with I <= lanes to (OCB, 1, KH, KX, ci, co): ci is the values of ``block / lanes`` neighbouring
    pixels of ``lanes`` values each, and KX how many of those a row of the window takes; padded with zeros."""
    padded = pad_axis(pad_axis(pad_axis(weight, 0, block), 1, lanes), 3, block // lanes)
    blocks = padded.reshape(-1, block, lanes, padded.shape[2], padded.shape[3] * lanes // block, block // lanes)
    return np.ascontiguousarray(blocks.transpose(0, 3, 4, 5, 2, 1)).reshape(-1, 1, *blocks.shape[3:5], block, block)


def pad_spatial(data, padding, value=0.0, name="pad_data"):
    """Pads axes 2 and 3 by ``padding`` = (top, left, bottom, right); returns data itself if there is nothing to pad."""
    top, left, bottom, right = padding
    if not any(padding):
        return data
    height, width = data.shape[2], data.shape[3]
    shape = [*data.shape]
    shape[2], shape[3] = height + top + bottom, width + left + right

    def padded(n, c, h, w, *lane):
        inside = []
        if top or bottom:
            inside += [h >= top, h < top + height]
        if left or right:
            inside += [w >= left, w < left + width]
        fill = tirx.const(value, data.dtype)
        return tirx.if_then_else(tirx.all(*inside), data(n, c, h - top, w - left, *lane), fill)

    return te.compute(shape, padded, name=name)


def conv2d_nchwc(data, weight, strides, padding, dilation, groups=1, sum_dtype=None):
    """Convolution with blocked output.

    data (N, ICB, H, W, ci) with weight (OCB, ICB / groups, KH, KW, ci, co); or, for the few channels of a first layer,
    data (N, IC, H, W) with weight (OCB, IC, KH, KW, co). Returns (N, OCB, OH, OW, co).
    ``sum_dtype``: what the operands are converted to before they are multiplied; None: their own.
    """
    blocked = len(data.shape) == 5
    out_blocks, in_blocks, kernel_h, kernel_w = (int(x) for x in weight.shape[:4])
    data = pad_spatial(data, padding)
    out_h = (int(data.shape[2]) - (kernel_h - 1) * dilation[0] - 1) // strides[0] + 1
    out_w = (int(data.shape[3]) - (kernel_w - 1) * dilation[1] - 1) // strides[1] + 1
    blocks_per_group = out_blocks // groups
    ic = te.reduce_axis((0, in_blocks), "ic")
    kh = te.reduce_axis((0, kernel_h), "kh")
    kw = te.reduce_axis((0, kernel_w), "kw")
    axes = [ic, kh, kw]
    if blocked:
        ci = te.reduce_axis((0, int(weight.shape[4])), "ci")
        axes.append(ci)

    def product(n, oc, h, w, co):
        channel = ic if groups == 1 else oc // blocks_per_group * in_blocks + ic
        y, x = h * strides[0] + kh * dilation[0], w * strides[1] + kw * dilation[1]
        if blocked:
            factors = data[n, channel, y, x, ci], weight[oc, ic, kh, kw, ci, co]
        else:
            factors = data[n, channel, y, x], weight[oc, ic, kh, kw, co]
        a, b = factors if sum_dtype is None else (tirx.Cast(sum_dtype, factor) for factor in factors)
        return te.sum(a * b, axis=axes)

    shape = (data.shape[0], out_blocks, out_h, out_w, weight.shape[-1])
    return te.compute(shape, product, name="conv2d_nchwc")


def conv2d_pixels(data, weight, kernel_w, strides, padding, sum_dtype):
    """A first layer's convolution with blocked output, over pixels whose values lie together.

    data (N, 1, H, W, lanes) with weight (OCB, 1, KH, KX, ci, co) of ``pack_pixel_filter``, whose filter was
    ``kernel_w`` wide. Returns (N, OCB, OH, OW, co) in ``sum_dtype``, which both are converted to before they are
    multiplied.
    """
    width, lanes = int(data.shape[3]), int(data.shape[4])
    out_blocks, _, kernel_h, kernel_x, block, out_lanes = (int(x) for x in weight.shape)
    top, left, bottom, right = padding
    out_w = (left + width + right - kernel_w) // strides[1] + 1
    last_read = (out_w - 1) * strides[1] + kernel_x * (block // lanes)
    data = pad_spatial(data, (top, left, bottom, max(right, last_read - left - width)))
    out_h = (int(data.shape[2]) - kernel_h) // strides[0] + 1
    ic, kh, kx, ci = (
        te.reduce_axis((0, extent), name)
        for name, extent in (("ic", 1), ("kh", kernel_h), ("kx", kernel_x), ("ci", block))
    )

    def product(n, oc, h, w, co):
        x = w * strides[1] + kx * (block // lanes) + ci // lanes
        value, factor = data[n, ic, h * strides[0] + kh, x, ci % lanes], weight[oc, ic, kh, kx, ci, co]
        return te.sum(tirx.Cast(sum_dtype, value) * tirx.Cast(sum_dtype, factor), axis=[ic, kh, kx, ci])

    return te.compute((data.shape[0], out_blocks, out_h, out_w, out_lanes), product, name="conv2d_nchwc")


def depthwise_conv2d_nchwc(data, weight, strides, padding, dilation):
    """Depthwise convolution: data (N, CB, H, W, c), weight (CB, KH, KW, c) -> (N, CB, OH, OW, c)."""
    kernel_h, kernel_w = int(weight.shape[1]), int(weight.shape[2])
    data = pad_spatial(data, padding)
    out_h = (int(data.shape[2]) - (kernel_h - 1) * dilation[0] - 1) // strides[0] + 1
    out_w = (int(data.shape[3]) - (kernel_w - 1) * dilation[1] - 1) // strides[1] + 1
    kh = te.reduce_axis((0, kernel_h), "kh")
    kw = te.reduce_axis((0, kernel_w), "kw")
    return te.compute(
        (data.shape[0], data.shape[1], out_h, out_w, data.shape[4]),
        lambda n, b, h, w, c: te.sum(
            data[n, b, h * strides[0] + kh * dilation[0], w * strides[1] + kw * dilation[1], c] * weight[b, kh, kw, c],
            axis=[kh, kw],
        ),
        name="depthwise_conv2d_nchwc",
    )


def pool2d_nchwc(data, kind, kernel, strides, padding, dilation, out_size, count_include_pad):
    """Max or average pooling of a blocked activation; ``out_size`` (OH, OW) settles ceil mode."""
    out_h, out_w = out_size
    top, left = padding[:2]
    height, width = int(data.shape[2]), int(data.shape[3])
    # ceil mode reads past the padding that was asked for
    bottom = max((out_h - 1) * strides[0] + (kernel[0] - 1) * dilation[0] + 1 - height - top, 0)
    right = max((out_w - 1) * strides[1] + (kernel[1] - 1) * dilation[1] + 1 - width - left, 0)
    lowest = float(tirx.min_value(data.dtype).value)
    padded = pad_spatial(data, (top, left, bottom, right), lowest if kind == "max" else 0.0)
    kh = te.reduce_axis((0, kernel[0]), "kh")
    kw = te.reduce_axis((0, kernel[1]), "kw")
    shape = (data.shape[0], data.shape[1], out_h, out_w, data.shape[4])
    reducer = te.max if kind == "max" else te.sum

    def window(n, b, h, w, c):
        value = padded[n, b, h * strides[0] + kh * dilation[0], w * strides[1] + kw * dilation[1], c]
        return reducer(value, axis=[kh, kw])

    pooled = te.compute(shape, window, name="pool2d_nchwc")
    if kind == "max":
        return pooled

    def covered(position, pad_before, pad_after, extent, window_size, dilate, stride):
        start = position * stride - pad_before
        if count_include_pad:  # the asked-for padding counts, what ceil mode adds does not
            end = tirx.min(start + (window_size - 1) * dilate + 1, extent + pad_after)
            return tirx.floordiv(end - start + dilate - 1, dilate)
        first = tirx.if_then_else(start < 0, tirx.floordiv(-start + dilate - 1, dilate), 0)
        last = tirx.min(window_size, tirx.floordiv(extent - start + dilate - 1, dilate))
        return last - first

    def mean(n, b, h, w, c):
        rows = covered(h, top, padding[2], height, kernel[0], dilation[0], strides[0])
        columns = covered(w, left, padding[3], width, kernel[1], dilation[1], strides[1])
        return pooled[n, b, h, w, c] / tirx.max(rows * columns, 1).astype(data.dtype)

    return te.compute(shape, mean, name="pool2d_average")


def global_mean_nchwc(data):
    """Mean over height and width, kept as axes of extent 1."""
    height, width = int(data.shape[2]), int(data.shape[3])
    kh, kw = te.reduce_axis((0, height), "kh"), te.reduce_axis((0, width), "kw")
    shape = (data.shape[0], data.shape[1], 1, 1, data.shape[4])
    total = te.compute(
        shape, lambda n, b, h, w, c: te.sum(data[n, b, h + kh, w + kw, c], axis=[kh, kw]), name="pool2d_nchwc"
    )
    return te.compute(
        shape, lambda *i: total(*i) * tirx.const(1.0 / (height * width), data.dtype), name="pool2d_average"
    )


def upsample_nearest_nchwc(data, factor_h, factor_w):
    """Each pixel repeated factor_h x factor_w times."""
    n, blocks, height, width, lanes = data.shape
    return te.compute(
        (n, blocks, height * factor_h, width * factor_w, lanes),
        lambda n, b, h, w, c: data[n, b, h // factor_h, w // factor_w, c],
        name="upsample_nearest_nchwc",
    )


def concat_channels(parts, widths):
    """Concatenation along channels of blocked activations whose channels (``widths``) do not fill their blocks."""
    n, _, height, width, block = parts[0].shape
    block, total = int(block), sum(widths)
    starts = [sum(widths[:index]) for index in range(len(widths))]

    def element(n, b, h, w, c):
        channel, value = b * block + c, tirx.const(0, parts[0].dtype)
        for part, start, count in reversed(list(zip(parts, starts, widths))):
            inner = channel - start
            taken = part[n, inner // block, h, w, inner % block]
            value = tirx.if_then_else(channel < start + count, taken, value)
        return value

    return te.compute((n, -(-total // block), height, width, block), element, name="concat_channels")


def slice_channels(data, start, count):
    """Channels start to start + count of a blocked activation; lanes past them hold what follows them, or zero."""
    n, blocks, height, width, block = data.shape
    block, end = int(block), int(blocks) * int(block)

    def element(n, b, h, w, c):
        channel = b * block + c + start
        inside = data[n, channel // block, h, w, channel % block]
        if start + -(-count // block) * block <= end:
            return inside
        return tirx.if_then_else(channel < end, inside, tirx.const(0, data.dtype))

    return te.compute((n, -(-count // block), height, width, block), element, name="slice_channels")


def to_blocked(data, block):
    """(N, C, H, W) -> (N, ceil(C / block), H, W, block); lanes past C are zero."""
    n, channels, height, width = data.shape
    channels = int(channels)

    def element(n, b, h, w, c):
        if channels % block == 0:
            return data[n, b * block + c, h, w]
        zero = tirx.const(0, data.dtype)
        return tirx.if_then_else(b * block + c < channels, data[n, b * block + c, h, w], zero)

    return te.compute((n, -(-channels // block), height, width, block), element, name="to_blocked")


def from_blocked_flat(data, channels):
    """(N, CB, H, W, c) -> (N, channels, H * W)."""
    n, _, height, width, block = (int(extent) for extent in data.shape)
    return te.compute(
        (n, channels, height * width),
        lambda n, c, p: data[n, c // block, p // width, p % width, c % block],
        name="from_blocked_flat",
    )


def from_blocked(data, channels):
    """(N, CB, H, W, c) -> (N, channels, H, W)."""
    n, _, height, width, block = data.shape
    block = int(block)
    return te.compute(
        (n, channels, height, width),
        lambda n, c, h, w: data[n, c // block, h, w, c % block],
        name="from_blocked",
    )
