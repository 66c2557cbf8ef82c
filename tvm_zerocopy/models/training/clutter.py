"""Unlabelled things that make a scene busy and that a careless detector would mistake for labelled ones."""

import numpy as np

from .canvas import Capsule, Sphere
from .shapes import Thing, box, corners, disc, lathe, plate


def _gray(rng, low=50, high=180):
    return np.full(3, rng.uniform(low, high)) + rng.normal(0, 6, 3)


def tree(rng) -> Thing:
    """A trunk with a crown of leafy balls, or a conifer."""
    tall = rng.uniform(3, 9)
    bark = np.array((45, 65, 90), float) * rng.uniform(0.6, 1.2)
    green = np.array((45, 120, 65), float) * rng.uniform(0.6, 1.2) + rng.normal(0, 10, 3)
    if rng.random() < 0.25:  # autumn
        green = np.array((40, 110, 185), float) * rng.uniform(0.8, 1.1)
    if rng.random() < 0.3:
        rings = [(tall * 0.2, tall * 0.15), (tall * 0.1, tall * 0.5), (tall * 0.14, tall * 0.5), (0.02, tall)]
        parts = [Capsule((0, 0, 0), (0, tall * 0.3, 0), (0.14, 0.12), bark)] + lathe(rings, [green * 0.8] * 3, 1)
        return Thing([], parts, corners(parts), 0.8, tall)
    parts = [Capsule((0, 0, 0), (0, tall * 0.6, 0), (0.18, 0.1), bark)]
    hull = []
    for _ in range(int(rng.integers(6, 12))):
        center = np.array([rng.normal(0, 0.16), rng.uniform(0.5, 0.9), rng.normal(0, 0.16)]) * tall
        shade = green * rng.uniform(0.75, 1.2)
        speckle = rng.integers(1 << 30)

        def paint(normals, shade=shade, speckle=speckle):
            rough = np.random.default_rng(speckle).normal(1, 0.16, normals.shape[:2])
            return shade * rough[..., None]

        radius = rng.uniform(0.12, 0.2) * tall
        parts.append(Sphere(tuple(center), radius, paint, 1))
        hull += [center + (radius, 0, 0), center - (radius, 0, 0), center + (0, radius, 0)]
    return Thing([], parts, np.array(hull), 0.5, tall)


def bush(rng) -> Thing:
    green = np.array((40, 105, 60), float) * rng.uniform(0.6, 1.3)
    parts, hull = [], []
    for _ in range(int(rng.integers(3, 7))):
        radius = rng.uniform(0.25, 0.5)
        center = (rng.normal(0, 0.4), radius * 0.8, rng.normal(0, 0.4))
        shade, speckle = green * rng.uniform(0.8, 1.2), rng.integers(1 << 30)

        def paint(normals, shade=shade, speckle=speckle):
            return shade * np.random.default_rng(speckle).normal(1, 0.18, normals.shape[:2])[..., None]

        parts.append(Sphere(center, radius, paint))
        hull += [(center[0] + s * radius, radius, center[2]) for s in (-1, 1)]
    return Thing([], parts, np.array(hull), 0.8, 0.8)


def lamp_post(rng) -> Thing:
    tall, gray = rng.uniform(4, 8), _gray(rng)
    reach = rng.choice([-1, 1]) * rng.uniform(0.6, 1.6)
    parts = [
        Capsule((0, 0, 0), (0, tall, 0), (0.1, 0.06), gray),
        Capsule((0, tall, 0), (reach, tall + 0.1, 0), (0.05, 0.05), gray),
        Capsule((reach * 0.8, tall + 0.08, 0), (reach * 1.2, tall + 0.08, 0), (0.1, 0.12), gray * 1.2),
    ]
    return Thing([], parts, np.array([(-0.1, 0, 0), (0.1, 0, 0), (0, tall, 0), (reach, tall, 0)]), 0.3, tall)


def litter_bin(rng) -> Thing:
    color = rng.uniform(20, 200, 3)
    parts = lathe([(0.22, 0), (0.27, 0.8), (0.29, 0.8), (0.29, 0.9)], [color, color * 0.7, color * 0.7])
    return Thing([], parts, corners(parts), 0.4, 0.9)


def bollard(rng) -> Thing:
    """A post of any color, banded at times: no cone."""
    color = np.array((25, 95, 230), float) if rng.random() < 0.35 else rng.uniform(20, 230, 3)
    tall, radius = rng.uniform(0.6, 1.1), rng.uniform(0.05, 0.12)
    bands = [color, (225, 225, 225) if rng.random() < 0.5 else color, color]
    parts = lathe([(radius, 0), (radius, tall * 0.6), (radius, tall * 0.8), (radius, tall)], bands)
    return Thing([], parts, corners(parts), 0.25, tall)


def crate(rng) -> Thing:
    size = rng.uniform(0.3, 1.3, 3)
    color = np.array((90, 140, 190), float) * rng.uniform(0.6, 1.2) if rng.random() < 0.5 else rng.uniform(20, 230, 3)
    parts = box((0, 0, 0), size, color)
    x, y, z = size / 2 + (0.004, 0, 0.004)
    parts.append(
        plate([(-x, y * 1.8, z), (x, y * 1.8, z), (x, y * 1.6, z), (-x, y * 1.6, z)], color * 0.7, 1, (0, y, 0))
    )
    parts.append(
        plate([(x, y * 0.6, -z), (x, y * 0.6, z), (x, y * 1.3, z), (x, y * 1.3, -z)], color * 0.8, 1, (0, y, 0))
    )
    return Thing([], parts, corners(parts), float(np.hypot(x, z)), float(size[1]))


def bench(rng) -> Thing:
    wood = np.array((60, 100, 150), float) * rng.uniform(0.6, 1.2)
    parts = box((0, 0.42, 0), (0.45, 0.06, 1.6), wood, 1) + box((-0.22, 0.6, 0), (0.05, 0.3, 1.6), wood, 2)
    for z in (-0.65, 0.65):
        parts += box((0, 0, z), (0.4, 0.42, 0.07), (60, 60, 60))
    return Thing([], parts, corners(parts), 0.9, 0.9)


def other_sign(rng) -> Thing:
    """A road sign that is no stop sign: round, triangular, square or octagonal in another color."""
    radius, foot = rng.uniform(0.3, 0.45), rng.uniform(1.6, 2.4)
    y, behind = foot + radius, (-1.0, foot + radius, 0.0)
    sides = int(rng.choice([3, 4, 20, 8], p=[0.3, 0.25, 0.35, 0.1]))
    rim, field = [((35, 30, 190), (235, 235, 235)), ((200, 120, 30), (200, 120, 30)), ((35, 190, 240), (35, 190, 240)),
                  ((235, 235, 235), (60, 130, 40)), ((35, 30, 190), (40, 200, 245))][rng.integers(5)]  # fmt: skip
    start = {3: np.pi / 2, 4: 0.0 if rng.random() < 0.5 else np.pi / 4, 20: 0.0, 8: np.pi / 8}[sides]
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + start

    def ring(r, x):
        return np.column_stack([np.full(sides, x), y + r * np.sin(angle), r * np.cos(angle)])

    parts = [plate(ring(radius, 0), rim, 0), plate(ring(radius * 0.78, 0.004), field, 1, behind)]
    ink = (30, 30, 30) if np.mean(field) > 120 else (235, 235, 235)
    for _ in range(int(rng.integers(1, 3))):
        z, h, w = rng.uniform(-0.3, 0.3) * radius, radius * rng.uniform(0.2, 0.4), radius * rng.uniform(0.08, 0.35)
        bar = [(0.008, y - h, z - w), (0.008, y - h, z + w), (0.008, y + h, z + w), (0.008, y + h, z - w)]
        parts.append(plate(bar, ink, 2, behind))
    parts.append(Capsule((-0.06, 0, 0), (-0.06, y, 0), (0.035, 0.035), _gray(rng, 90, 160), -1))
    return Thing([], parts, corners(parts), 0.4, 2.5)


def fence(rng) -> Thing:
    color, wide = rng.uniform(30, 220, 3), rng.uniform(2, 5)
    parts = [Capsule((0, 0, z), (0, 1.0, z), (0.03, 0.03), color) for z in np.arange(-wide / 2, wide / 2, 0.28)]
    parts += [Capsule((0, y, -wide / 2), (0, y, wide / 2), (0.03, 0.03), color, 1) for y in (0.25, 0.95)]
    hull = np.array([(0, y, z) for y in (0, 1) for z in (-wide / 2, wide / 2)] + [(0.05, 0, 0)])
    return Thing([], parts, hull, wide * 0.4, 1.0)


def parasol(rng) -> Thing:
    color = rng.uniform(30, 240, 3)
    rings = [(1.5, 2.1), (0.8, 2.5), (0.02, 2.7)]
    parts = [Capsule((0, 0, 0), (0, 2.4, 0), (0.03, 0.03), _gray(rng))] + lathe(rings, [color, color * 0.9], 1)
    return Thing([], parts, corners(parts), 0.9, 2.7)


def road_disc(rng) -> Thing:
    """A manhole cover."""
    parts = [disc((0, 0.005, 0), rng.uniform(0.3, 0.5), "y", _gray(rng, 40, 80), 0, (0, -1, 0))]
    return Thing([], parts, np.array([(0, 0, 0), (0.1, 0, 0), (0, 0, 0.1)]), 0.4, 1.0)


def building(rng) -> Thing:
    """A block with rows of windows and a ground floor."""
    deep, tall, wide = rng.uniform(8, 16), rng.uniform(5, 22), rng.uniform(8, 18)
    wall = np.array(
        [(130, 150, 175), (90, 105, 150), (175, 180, 185), (120, 120, 122), (150, 185, 205)][rng.integers(5)], float
    )
    wall = wall * rng.uniform(0.6, 1.15)
    parts = box((0, 0, 0), (deep, tall, wide), wall)
    glass = np.array((95, 80, 65), float) * rng.uniform(0.6, 1.5)
    high, gap, inside = rng.uniform(1.2, 1.9), rng.uniform(2.0, 3.2), (0.0, tall / 2, 0.0)
    for face in (-1, 1):
        for level in np.arange(3.6, tall - 1.5, 3.0):
            for z in np.arange(-wide / 2 + 1.2, wide / 2 - 1.2, gap):
                x = face * (deep / 2 + 0.02)
                ring = [
                    (x, level, z),
                    (x, level, z + gap * 0.5),
                    (x, level + high, z + gap * 0.5),
                    (x, level + high, z),
                ]
                parts.append(plate(ring, glass * rng.uniform(0.8, 1.25), 1, inside))
            for x in np.arange(-deep / 2 + 1.2, deep / 2 - 1.2, gap):
                z = face * (wide / 2 + 0.02)
                ring = [
                    (x, level, z),
                    (x + gap * 0.5, level, z),
                    (x + gap * 0.5, level + high, z),
                    (x, level + high, z),
                ]
                parts.append(plate(ring, glass * rng.uniform(0.8, 1.25), 1, inside))
        x = face * (deep / 2 + 0.03)
        ring = [(x, 0.4, -wide * 0.42), (x, 0.4, wide * 0.42), (x, 2.6, wide * 0.42), (x, 2.6, -wide * 0.42)]
        parts.append(plate(ring, glass * 0.8, 1, inside))
    return Thing([], parts, corners(parts[:6]), float(np.hypot(deep, wide)) / 2, tall)
