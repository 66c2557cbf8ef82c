"""Where the samples of a pixel lie in each frame format.

Indices are logical ones of the frame's tensors; row pitch is the business of the buffers' strides.
"""

from tvm_zerocopy.specs import PACKED_CHANNELS, Frame

# position of R, G, B in a pixel
_RGB_AT = {"bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "rgb8": (0, 1, 2), "rgba8": (0, 1, 2)}
# position of luma, U (of a pixel pair), V (of a pixel pair): (which pixel of the pair, which byte)
_YUV422_AT = {"yuyv": (0, (0, 1), (1, 1)), "uyvy": (1, (0, 0), (1, 0))}


def count(frame: Frame) -> int:
    """Samples a pixel: 3 (RGB or YUV), or 1 for gray."""
    return 1 if frame.format == "gray8" else 3


def indices(frame: Frame, height, width, row, column):
    """``(tensor, index)`` of each sample of the pixel at (row, column): R, G, B or Y, U, V or gray.

    ``height``, ``width`` are the frame's, in pixels; all are int64 expressions. Chroma is the nearest sample's, as in
    OpenCV: each is shared by the pair (4:2:2) or the 2x2 block (4:2:0) it was taken from.
    """
    if frame.format == "gray8":
        return [(0, (row, column))]
    if frame.format in PACKED_CHANNELS:
        return [(0, (row, column, c)) for c in _RGB_AT[frame.format]]
    if frame.format in _YUV422_AT:
        luma, *chroma = _YUV422_AT[frame.format]
        pair = column // 2 * 2
        return [(0, (row, column, luma)), *((0, (row, pair + pixel, byte)) for pixel, byte in chroma)]
    if frame.format == "i420":
        return [(0, (row, column)), *_i420_chroma(frame, height, width, row // 2, column // 2)]
    first = 0 if frame.format == "nv12" else 1
    if frame.planes:
        return [(0, (row, column)), *((1, (row // 2, column // 2, byte)) for byte in (first, 1 - first))]
    return [(0, (row, column)), *((0, (height + row // 2, column // 2 * 2 + byte)) for byte in (first, 1 - first))]


def _i420_chroma(frame, height, width, row, column):
    if frame.planes:
        return [(1, (row, column)), (2, (row, column))]
    # Two chroma rows fill one row of the tensor; V follows U at once, in the middle of a row if U has an odd number.
    found = []
    for plane in (0, 1):
        line = row + plane * (height // 2)
        found.append((0, (height + line // 2, line % 2 * (width // 2) + column)))
    return found
