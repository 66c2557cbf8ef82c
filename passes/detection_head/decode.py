"""Box arithmetic shared by the filter kernels, as scalar TIR expressions in model-input pixels."""

from .script import T

FLOAT32_MAX = 3.4028234663852886e38
MAX_CLASS = 1 << 24  # up to here every integer is a float32


def xywh_to_xyxy(cx, cy, w, h):
    """Centre and size to corners; halving is exact, so a fused multiply-add changes nothing."""
    half = T.float32(0.5)
    return cx - w * half, cy - h * half, cx + w * half, cy + h * half


def four(buffer, before, after=()):
    """The values ``buffer[*before, k, *after]`` for k from 0 to 3."""
    return [buffer[(*before, k, *after)] for k in range(4)]


def store(buffer, row, values):
    """Statements ``buffer[*row, k] = values[k]``."""
    for k, value in enumerate(values):
        T.buffer_store(buffer, value, [*row, k])


def all_finite(values):
    """No NaN and no infinity among the values (every comparison with NaN is false)."""
    limit = T.float32(FLOAT32_MAX)
    result = T.abs(values[0]) <= limit
    for value in values[1:]:
        result = T.And(result, T.abs(value) <= limit)
    return result


def is_class_index(value):
    """A float32 that can be a class."""
    return T.And(value >= T.float32(0), value <= T.float32(MAX_CLASS))


def sort_key(score, row):
    """A uint64 of a positive float32 score, whose bits order as it does (high half), and the row (low half)."""
    bits = T.Cast("uint64", T.reinterpret("uint32", score))
    return T.bitwise_or(T.shift_left(bits, T.uint64(32)), T.Cast("uint64", row))


def corners(raw, row, levels=None):
    """The four values ``raw`` of a prediction as x1, y1, x2, y2; ``levels`` given: YOLOX's raw grid values."""
    return xywh_to_xyxy(*raw) if levels is None else yolox_box(raw, row, levels)


def yolox_box(raw, row, levels):
    """YOLOX's grid decode of the four values ``raw``: ``(xy + cell) * stride`` and ``exp(wh) * stride``.

    Source: ``YOLOXHead.decode_outputs`` (Megvii YOLOX). ``levels`` are ``Level``s in the order of their rows.
    """
    x, y, stride = None, None, None
    for level in reversed(levels):
        cell = row - level.start
        here = (
            T.Cast("float32", T.floormod(cell, level.width)),
            T.Cast("float32", T.floordiv(cell, level.width)),
            T.float32(level.stride),
        )
        if x is None:
            x, y, stride = here
        else:
            inside = row < level.start + level.height * level.width
            x, y, stride = (T.Select(inside, a, b) for a, b in zip(here, (x, y, stride)))
    return xywh_to_xyxy((raw[0] + x) * stride, (raw[1] + y) * stride, T.exp(raw[2]) * stride, T.exp(raw[3]) * stride)
