"""Detections drawn onto a picture."""

import colorsys
from typing import Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = Tuple[int, int, int]


def class_color(number: int) -> Color:
    """A strong colour for a class; neighbouring numbers differ clearly (hues step by the golden ratio)."""
    hue = (0.02 + number * 0.61803398875) % 1.0
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.85 - 0.25 * (number // 7 % 2), 0.95))


def label(number: int, score: float, names: Optional[Sequence[str]]) -> str:
    """For example ``dog 0.87``; the class number where it has no name."""
    name = names[number] if names and 0 <= number < len(names) else f"class {number}"
    return f"{name} {score:.2f}"


def draw(
    pixels: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    names: Optional[Sequence[str]] = None,
) -> np.ndarray:
    """A copy of the picture with boxes and labels; line and letter sizes follow the picture's size.

    Parameters
    ----------
    pixels : uint8 (height, width, 3)
        RGB; not changed.
    boxes : float (n, 4)
        x1, y1, x2, y2 in pixels.
    scores : float (n,)
    classes : int (n,)
    names : sequence of str or None

    Returns
    -------
    uint8 (height, width, 3), RGB.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    pen = ImageDraw.Draw(image)
    side = (image.width + image.height) / 2
    line = max(2, round(side * 0.004))
    font = ImageFont.load_default(max(11, side * 0.019))
    for i in reversed(range(len(boxes))):  # the best score last, on top
        number = int(classes[i])
        color = class_color(number)
        x1, y1, x2, y2 = (float(v) for v in boxes[i])
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color, width=line)
        _draw_label(pen, image.size, (x1, y1), label(number, float(scores[i]), names), font, color, line)
    return np.asarray(image)


def _draw_label(pen, size, corner, text: str, font, color: Color, line: int) -> None:
    """A filled tag above the box's corner, or inside it where the picture ends; never outside the picture."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, line)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else max(0, min(corner[1], size[1] - height))
    pen.rectangle((x, y, x + width, y + height), fill=color)
    # Rec. 601 luma decides whether black or white letters are readable.
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    pen.text((x + pad - left, y + pad - top), text, font=font, fill=(0, 0, 0) if luma > 140 else (255, 255, 255))
