"""Solids put together from flat faces, in an object's own axes: x forward, y up, z to the side; metres."""

from typing import List, NamedTuple, Sequence

import numpy as np

from .canvas import Color, Face


class Thing(NamedTuple):
    """One object ready to be painted."""

    parts: list  # primitives that belong to the labelled object
    props: list  # primitives that do not: poles and the like, painted first
    hull: np.ndarray  # (n, 3) points whose shadow is the object's shadow
    radius: float  # of the footprint
    size: float  # height in metres, what the object's size on screen is reckoned by


def box(center, size, color: Color, layer: int = 0) -> List[Face]:
    """An upright box; ``center`` is the middle of its bottom, ``size`` along x, y, z."""
    x, y, z = center
    a, h, b = size[0] / 2, size[1], size[2] / 2
    low = [(x - a, y, z - b), (x + a, y, z - b), (x + a, y, z + b), (x - a, y, z + b)]
    high = [(p, q + h, r) for p, q, r in low]
    middle = (x, y + h / 2, z)
    rings = [low, high] + [[low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]] for i in range(4)]
    return [Face(np.array(ring, float), color, layer, middle) for ring in rings]


def prism(profile: Sequence, half_bottom: float, half_top: float, colors, layer: int = 0) -> List[Face]:
    """A side profile (x, y) stretched to both sides; narrower at its top where ``half_top`` is the smaller.

    ``colors``: one for the two sides, then one for each edge of the profile.
    """
    points = np.asarray(profile, float)
    low, high = points[:, 1].min(), points[:, 1].max()
    half = half_bottom + (half_top - half_bottom) * (points[:, 1] - low) / max(high - low, 1e-6)
    near = np.column_stack([points, -half])
    far = np.column_stack([points, half])
    middle = np.array([points[:, 0].mean(), (low + high) / 2, 0.0])
    faces = [Face(near, colors[0], layer, middle), Face(far, colors[0], layer, middle)]
    for i, color in enumerate(colors[1:]):
        j = (i + 1) % len(points)
        faces.append(Face(np.array([near[i], near[j], far[j], far[i]]), color, layer, middle))
    return faces


def disc(center, radius: float, axis: str, color: Color, layer: int, inside, sides: int = 18, glow=0.0) -> Face:
    """A round plate across the given axis ("x", "y" or "z"), seen from the side away from ``inside``."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    u, v, o = radius * np.cos(angle), radius * np.sin(angle), np.zeros(sides)
    plate = {"x": (o, u, v), "y": (u, o, v), "z": (u, v, o)}[axis]
    return Face(np.column_stack(plate) + np.asarray(center), color, layer, inside, glow)


def plate(corners: Sequence, color: Color, layer: int, inside=None, glow=0.0) -> Face:
    """A flat polygon through the given (x, y, z) corners."""
    return Face(np.array(corners, float), color, layer, inside, glow)


def lathe(rings: Sequence, colors: Sequence, layer: int = 0, sides: int = 14) -> List[Face]:
    """A solid of revolution about y: ``rings`` of (radius, height) from below, one color for each band between two."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    middle = (0.0, (rings[0][1] + rings[-1][1]) / 2, 0.0)
    faces = []
    for (r0, y0), (r1, y1), color in zip(rings, rings[1:], colors):
        for a, b in zip(angle, angle[1:]):
            ring = [
                (r * np.cos(t), y, r * np.sin(t)) for r, y, t in ((r0, y0, a), (r0, y0, b), (r1, y1, b), (r1, y1, a))
            ]
            faces.append(Face(np.array(ring), color, layer, middle))
    top_radius, top = rings[-1]
    if top_radius > 0:
        faces.append(disc((0, top, 0), top_radius, "y", colors[-1], layer, middle, sides))
    return faces


def corners(faces) -> np.ndarray:
    """All corner points of these faces."""
    return np.concatenate([f.points for f in faces if isinstance(f, Face)])
