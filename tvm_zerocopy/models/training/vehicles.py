"""Cars and buses."""

import numpy as np

from .shapes import Thing, box, corners, disc, plate, prism

GLASS = (74, 58, 46)
RUBBER = (28, 26, 26)
PAINTS = np.array(
    [
        (36, 30, 190), (150, 60, 20), (235, 235, 235), (40, 40, 42), (165, 165, 168), (60, 120, 30), (30, 150, 225),
        (120, 30, 60), (190, 150, 60), (30, 90, 210), (100, 100, 95), (150, 190, 205), (130, 80, 15), (60, 60, 130),
    ],
    float,
)  # fmt: skip

# Side profiles: lower body and cabin, x forward from the middle of the car, y up.
_BODIES = {
    "sedan": (
        [(-2.2, 0.3), (-2.25, 0.8), (-2.1, 0.98), (-1.2, 1.0), (0.9, 0.98), (2.0, 0.84), (2.22, 0.65), (2.2, 0.3)],
        [(-1.75, 0.97), (-1.05, 1.44), (0.1, 1.46), (1.0, 0.97)],
    ),
    "hatchback": (
        [(-1.85, 0.3), (-1.95, 0.8), (-1.85, 1.0), (0.9, 0.98), (1.75, 0.86), (1.98, 0.66), (1.95, 0.3)],
        [(-1.85, 0.98), (-1.45, 1.48), (0.1, 1.52), (1.05, 0.97)],
    ),
    "suv": (
        [(-2.2, 0.38), (-2.25, 1.0), (-2.2, 1.12), (1.0, 1.1), (2.05, 1.0), (2.25, 0.8), (2.22, 0.38)],
        [(-2.15, 1.1), (-1.95, 1.72), (0.2, 1.74), (0.95, 1.09)],
    ),
    "pickup": (
        [(-2.5, 0.4), (-2.52, 1.05), (0.9, 1.06), (2.2, 1.0), (2.45, 0.8), (2.42, 0.4)],
        [(-0.7, 1.05), (-0.55, 1.7), (0.5, 1.72), (1.1, 1.05)],
    ),
}


def _paint(rng) -> np.ndarray:
    return np.clip(PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.85, 1.1) + rng.normal(0, 8, 3), 8, 245)


def _wheels(axles, radius, half, layer):
    faces = []
    for x in axles:
        for side in (-1, 1):
            z = side * half
            behind = (x, radius, 0.0)
            faces.append(disc((x, radius, z), radius * 1.16, "z", (22, 20, 20), layer, behind))
            faces.append(disc((x, radius, z + side * 0.01), radius, "z", RUBBER, layer + 1, behind))
            faces.append(disc((x, radius, z + side * 0.02), radius * 0.6, "z", (165, 165, 165), layer + 2, behind, 12))
            faces.append(disc((x, radius, z + side * 0.03), radius * 0.2, "z", (60, 60, 60), layer + 3, behind, 8))
    return faces


def car(rng) -> Thing:
    """A sedan, hatchback, off-roader or pickup of a random colour."""
    lower, cabin = _BODIES[rng.choice(list(_BODIES), p=[0.35, 0.3, 0.25, 0.1])]
    paint = _paint(rng)
    half = rng.uniform(0.84, 0.94)
    length = rng.uniform(0.94, 1.06)
    lower = [(x * length, y) for x, y in lower]
    cabin = [(x * length, y) for x, y in cabin]
    faces = prism(lower, half, half * 0.98, [paint] * (len(lower) + 1), 0)
    faces += prism(cabin, half * 0.94, half * 0.74, [paint * 0.9, GLASS, paint, GLASS, paint], 1)

    # side windows: the cabin's profile, a little smaller, cut by a pillar
    (rear_x, base), (back_x, top), (front_x, _), (hood_x, _) = cabin
    inset, low, high = 0.12, base + 0.05, top - 0.07
    pillar = rear_x + (hood_x - rear_x) * rng.uniform(0.42, 0.52)
    slope = (top - base) or 1.0

    def edge(x_low, x_high, y):
        return x_low + (x_high - x_low) * (y - base) / slope

    for side in (-1, 1):

        def at(x, y, side=side):
            return (x, y, side * (half * 0.94 + (half * 0.74 - half * 0.94) * (y - base) / slope + 0.005))

        for left, right in (
            (lambda y: edge(rear_x, back_x, y) + inset, lambda y: pillar - 0.04),
            (lambda y: pillar + 0.04, lambda y: edge(hood_x, front_x, y) - inset),
        ):
            ring = [at(left(low), low), at(left(high), high), at(right(high), high), at(right(low), low)]
            faces.append(plate(ring, GLASS, 2, (0, base, 0)))
        # door seams and handles, a sill along the bottom
        z = side * (half + 0.004)
        y_top = base - 0.03
        for x in (pillar, pillar + 0.95 * length, pillar - 0.9 * length):
            ring = [(x, 0.42, z), (x, y_top, z), (x + 0.025, y_top, z), (x + 0.025, 0.42, z)]
            faces.append(plate(ring, paint * 0.55, 2, (0, 0.6, 0)))
        ends = lower[0][0] + 0.05, lower[-1][0] - 0.05
        y = lower[0][1]
        ring = [(ends[0], y, z), (ends[1], y, z), (ends[1], y + 0.1, z), (ends[0], y + 0.1, z)]
        faces.append(plate(ring, (45, 43, 43), 2, (0, 0.6, 0)))

    front, rear = max(x for x, _ in lower) + 0.01, min(x for x, _ in lower) - 0.01
    lamps_on = rng.random() < 0.3
    for side in (-1, 1):
        z0, z1 = side * half * 0.95, side * half * 0.55
        head = (215, 250, 255) if lamps_on else (205, 205, 195)
        ring = [(front, 0.62, z0), (front, 0.62, z1), (front, 0.76, z1), (front, 0.78, z0)]
        faces.append(plate(ring, head, 3, (0, 0.7, 0), 0.9 if lamps_on else 0.2))
        ring = [(rear, 0.72, z0), (rear, 0.72, z1 * 1.15), (rear, 0.9, z1 * 1.15), (rear, 0.9, z0)]
        faces.append(plate(ring, (25, 20, 215 if lamps_on else 150), 3, (0, 0.7, 0), 0.7 if lamps_on else 0.15))
    for x, low, high, wide in ((front, 0.5, 0.68, 0.5), (rear, 0.36, 0.44, 0.8)):  # grille, rear apron
        ring = [(x, low, -half * wide), (x, low, half * wide), (x, high, half * wide), (x, high, -half * wide)]
        faces.append(plate(ring, (35, 33, 33), 3, (0, 0.6, 0)))
    for x in (front + 0.005, rear - 0.005):
        y = 0.38 if x > 0 else 0.55
        ring = [(x, y, -0.26), (x, y, 0.26), (x, y + 0.12, 0.26), (x, y + 0.12, -0.26)]
        faces.append(plate(ring, (225, 232, 235), 4, (0, 0.6, 0)))
    axle = lower[-1][0] * 0.64
    faces += _wheels((-axle, axle), rng.uniform(0.31, 0.37), half + 0.006, 5)
    return Thing(faces, [], corners(faces[: len(lower) + len(cabin) + 4]), 2.3, 1.5)


def bus(rng) -> Thing:
    """A city bus: long box, rows of windows, doors, destination sign."""
    paint, stripe = _paint(rng), _paint(rng)
    length, half, floor, roof = rng.uniform(8.5, 12), 1.27, 0.35, rng.uniform(2.95, 3.3)
    a = length / 2
    faces = box((0, floor, 0), (length, roof - floor, 2 * half), paint)
    faces += box((-a * 0.2, roof, 0), (length * 0.4, 0.22, half * 1.3), paint * 0.8, 1)
    hull = corners(faces)
    low, high = 1.35, roof - 0.45
    count = int(rng.integers(5, 8))
    two_tone = rng.random() < 0.6
    for side in (-1, 1):
        z = side * (half + 0.01)
        middle = (0, 1.5, 0)
        if two_tone:
            ring = [(-a, floor, z), (a, floor, z), (a, 0.95, z), (-a, 0.95, z)]
            faces.append(plate(ring, stripe, 2, middle))
        ring = [(-a + 0.25, low, z), (a - 0.15, low, z), (a - 0.15, high, z), (-a + 0.25, high, z)]
        faces.append(plate(ring, (38, 36, 36), 2, middle))
        step = (length - 0.5) / count
        for i in range(count):
            x0, x1 = -a + 0.3 + i * step, -a + 0.3 + (i + 1) * step - 0.1
            is_door = side == 1 and i in (count - 1, count // 2)
            y0 = floor + 0.15 if is_door else low + 0.06
            ring = [
                (x0, y0, z * 1.005),
                (x1, y0, z * 1.005),
                (x1, high - 0.06, z * 1.005),
                (x0, high - 0.06, z * 1.005),
            ]
            shade = rng.uniform(0.85, 1.35)
            faces.append(plate(ring, tuple(c * shade for c in (92, 78, 62)), 3, middle))
            if is_door:
                x = (x0 + x1) / 2
                ring = [
                    (x - 0.03, y0, z * 1.01),
                    (x + 0.03, y0, z * 1.01),
                    (x + 0.03, high, z * 1.01),
                    (x - 0.03, high, z * 1.01),
                ]
                faces.append(plate(ring, (30, 30, 30), 4, middle))
    for x, sign in ((a + 0.01, 1), (-a - 0.01, -1)):
        middle = (0, 1.5, 0)
        bottom = 1.15 if sign > 0 else 1.5
        ring = [
            (x, bottom, -half * 0.92),
            (x, bottom, half * 0.92),
            (x, roof - 0.5, half * 0.9),
            (x, roof - 0.5, -half * 0.9),
        ]
        faces.append(plate(ring, (84, 68, 54), 3, middle))
        ring = [
            (x, roof - 0.42, -half * 0.75),
            (x, roof - 0.42, half * 0.75),
            (x, roof - 0.1, half * 0.75),
            (x, roof - 0.1, -half * 0.75),
        ]
        faces.append(plate(ring, (20, 22, 24), 3, middle))
        ring = [(x + sign * 0.01, roof - 0.34, -half * 0.6), (x + sign * 0.01, roof - 0.34, half * 0.45),
                (x + sign * 0.01, roof - 0.19, half * 0.45), (x + sign * 0.01, roof - 0.19, -half * 0.6)]  # fmt: skip
        faces.append(plate(ring, (40, 170, 250), 4, middle, 0.8))
        for side in (-1, 1):
            z0, z1 = side * half * 0.95, side * half * 0.66
            ring = [(x, 0.6, z0), (x, 0.6, z1), (x, 0.86, z1), (x, 0.86, z0)]
            faces.append(plate(ring, (215, 240, 245) if sign > 0 else (25, 20, 190), 4, middle, 0.4))
        ring = [(x, floor, -half), (x, floor, half), (x, floor + 0.2, half), (x, floor + 0.2, -half)]
        faces.append(plate(ring, (40, 40, 42), 4, middle))
    faces += _wheels((-a * 0.55, a * 0.62), 0.5, half + 0.012, 5)
    return Thing(faces, [], hull, length * 0.42, roof)
