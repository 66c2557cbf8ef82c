"""What stands on a pavement and has a label: people, traffic lights, stop signs, cones, balls."""

import numpy as np

from .canvas import Capsule, Sphere
from .shapes import Thing, box, corners, disc, lathe, plate

_SKIN = np.array([(150, 185, 235), (120, 160, 215), (85, 120, 175), (55, 80, 125), (40, 55, 90)], float)
_HAIR = np.array([(20, 22, 25), (30, 45, 75), (60, 110, 150), (90, 160, 205), (150, 150, 155)], float)


def _cloth(rng) -> np.ndarray:
    """Clothes of any hue, mostly not garish."""
    base = rng.uniform(20, 235)
    return np.clip(base + rng.normal(0, rng.choice([8, 60]), 3), 12, 245)


def person(rng, phase=None) -> Thing:
    """Someone standing or walking; ``phase`` (radians) is where in the stride, None: random."""
    tall = rng.uniform(1.5, 1.92)
    skin, hair = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.9, 1.08), _HAIR[rng.integers(len(_HAIR))]
    top, legs, shoes = _cloth(rng), _cloth(rng) * 0.75, _cloth(rng) * 0.5
    stride = rng.uniform(0.0, 0.55)
    phase = rng.uniform(0, 2 * np.pi) if phase is None else phase
    swing = stride * np.sin(phase)
    broad = rng.uniform(0.17, 0.23)
    hip, shoulder, head = 0.5 * tall, 0.81 * tall, 0.93 * tall
    parts = []
    long_sleeves, short_legs, skirt = rng.random() < 0.6, rng.random() < 0.2, rng.random() < 0.15
    for side in (-1, 1):
        reach = swing * side
        knee_bend = 0.16 * max(0.0, -np.sin(phase + (0 if side > 0 else np.pi))) * stride * 2
        knee = (0.25 * tall * np.sin(reach) + 0.03, hip - 0.25 * tall * np.cos(reach), side * 0.09)
        foot = (knee[0] + 0.24 * tall * np.sin(reach - knee_bend * 3), 0.045 + knee_bend * 0.5, side * 0.095)
        thigh = (0, hip, side * 0.085)
        parts.append(Capsule(thigh, knee, (0.088, 0.065), legs, 0))
        parts.append(Capsule(knee, foot, (0.062, 0.045), skin if short_legs or skirt else legs, 0))
        lift = foot[1] * 0.3
        heel, toe = (foot[0] - 0.03, 0.045 + lift, foot[2]), (foot[0] + 0.13, 0.04 + lift, foot[2])
        parts.append(Capsule(heel, toe, (0.05, 0.042), shoes, 0))
        arm = -swing * side * 0.9 + rng.normal(0, 0.08)
        joint = (0.17 * tall * np.sin(arm), shoulder - 0.03 - 0.17 * tall * np.cos(arm), side * (broad + 0.075))
        hand_angle = arm + rng.uniform(0.1, 0.6)
        hand = (joint[0] + 0.15 * tall * np.sin(hand_angle), joint[1] - 0.15 * tall * np.cos(hand_angle), joint[2])
        layer = 0
        parts.append(Capsule((0, shoulder - 0.03, side * broad), joint, (0.06, 0.048), top * 0.92, layer))
        parts.append(Capsule(joint, hand, (0.045, 0.036), top * 0.92 if long_sleeves else skin, layer))
        parts.append(Capsule(hand, hand, (0.042, 0.042), skin, layer))
    for side in (-1, 0, 1):  # torso: three limbs side by side
        z = side * (broad - 0.05)
        parts.append(Capsule((0, hip + 0.02, z * 0.75), (0, shoulder - 0.06, z), (0.115, 0.12), top, 0))
    if skirt:
        parts.append(Capsule((0, hip, 0), (0, hip - 0.2 * tall, 0), (0.18, 0.25), legs, 0))
    parts.append(Capsule((0, shoulder - 0.02, 0), (0.01, head - 0.05, 0), (0.06, 0.055), skin * 0.92, 0))
    parts.append(Capsule((0.02, head - 0.03, 0), (0.02, head + 0.035, 0), (0.085, 0.098), skin, 0))
    crown = head + 0.055
    if rng.random() < 0.25:  # a cap or a helmet
        cap = _cloth(rng)
        parts.append(Capsule((0.0, crown + 0.01, 0), (0.0, crown + 0.03, 0), (0.112, 0.1), cap, 1))
        parts.append(Capsule((0.05, crown, 0), (0.15, crown - 0.01, 0), (0.05, 0.03), cap * 0.8, 1))
    else:
        parts.append(Capsule((-0.035, crown - 0.02, 0), (-0.005, crown + 0.035, 0), (0.1, 0.094), hair, 0))
        if rng.random() < 0.3:
            parts.append(Capsule((-0.06, crown - 0.03, 0), (-0.08, shoulder, 0), (0.09, 0.07), hair, 0))
    if rng.random() < 0.25:
        bag = _cloth(rng)
        parts.append(Capsule((-0.2, hip + 0.12, 0), (-0.2, shoulder - 0.12, 0), (0.13, 0.12), bag, 0))
    hull = np.array([(x, y, z) for x in (-0.2, 0.2) for y in (0, 0.7 * tall) for z in (-0.2, 0.2)] + [(0, tall, 0)])
    return Thing(parts, [], hull, 0.4, tall)


def traffic_light(rng) -> Thing:
    """Three lamps in a housing on a pole; the label is the housing alone."""
    shell = np.array([(32, 32, 30), (45, 62, 38), (40, 170, 215)][rng.choice(3, p=[0.6, 0.2, 0.2])], float)
    foot = rng.uniform(2.1, 3.6)
    width, tall, deep = 0.38, 1.08, 0.24
    on = int(rng.integers(3))
    parts = box((0, foot, 0), (deep, tall, width), shell)
    if rng.random() < 0.4:  # back plate with a pale rim
        for grow, color in ((0.16, (215, 215, 215)), (0.12, (25, 25, 25))):
            y0, y1, z = foot - grow, foot + tall + grow, width / 2 + grow
            x = -deep / 2 - 0.02 + (0.16 - grow) * 0.1
            parts.append(plate([(x, y0, -z), (x, y0, z), (x, y1, z), (x, y1, -z)], color, -2 + (grow < 0.15)))
    x, inside = deep / 2 + 0.005, (0, foot + tall / 2, 0)
    for i, lamp in enumerate(((40, 40, 240), (30, 190, 250), (110, 235, 60))):
        y = foot + tall - 0.2 - i * 0.34
        parts.append(disc((x, y, 0), 0.15, "x", (15, 15, 15), 2, inside))
        color = lamp if i == on else tuple(c * 0.22 + 12 for c in lamp)
        parts.append(disc((x + 0.005, y, 0), 0.125, "x", color, 3, inside, glow=1.0 if i == on else 0.0))
        if i == on:
            parts.append(
                disc((x + 0.01, y, 0), 0.07, "x", tuple(min(c * 0.5 + 140, 255) for c in lamp), 4, inside, glow=1.0)
            )
        visor = [(x, y + 0.15, 0.0), (x, y + 0.1, 0.13), (x + 0.16, y + 0.1, 0.13), (x + 0.18, y + 0.16, 0.0),
                 (x + 0.16, y + 0.1, -0.13), (x, y + 0.1, -0.13)]  # fmt: skip
        parts.append(plate(visor, shell * 0.7, 5))
    gray = np.full(3, rng.uniform(50, 150))
    props = [Capsule((-0.17, 0, 0), (-0.17, foot + tall * 0.9, 0), (0.07, 0.055), gray)]
    if rng.random() < 0.3:  # hung from an arm that reaches over the road
        reach = rng.choice([-1, 1]) * rng.uniform(1.5, 3)
        props = [
            Capsule((-0.17, 0, reach), (-0.17, foot + tall * 0.8, reach), (0.1, 0.07), gray),
            Capsule((-0.17, foot + tall * 0.8, reach), (-0.17, foot + tall * 0.8, 0), (0.06, 0.05), gray),
        ]
    return Thing(parts, props, corners(parts), 0.35, tall)


# Letter strokes on a 2 x 3 grid.
_LETTERS = {
    "S": [(2, 2.7), (1.6, 3), (0.4, 3), (0, 2.6), (0, 1.9), (0.4, 1.55), (1.6, 1.45), (2, 1.1), (2, 0.4), (1.6, 0),
          (0.4, 0), (0, 0.3)],
    "T": [(0, 3), (2, 3), (1, 3), (1, 0)],
    "O": [(0.5, 0), (0, 0.5), (0, 2.5), (0.5, 3), (1.5, 3), (2, 2.5), (2, 0.5), (1.5, 0), (0.5, 0)],
    "P": [(0, 0), (0, 3), (1.5, 3), (2, 2.6), (2, 1.8), (1.5, 1.45), (0, 1.45)],
}  # fmt: skip


def stop_sign(rng) -> Thing:
    """A red octagon with STOP in white; the label is the plate alone."""
    radius, foot = rng.uniform(0.36, 0.46), rng.uniform(1.7, 2.4)
    y = foot + radius
    red = np.array((38, 28, 185), float) * rng.uniform(0.85, 1.15)

    def octagon(r, x, color, layer, inside=None):
        angle = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 8
        ring = np.column_stack([np.full(8, x), y + r * np.sin(angle), r * np.cos(angle)])
        return plate(ring, color, layer, inside)

    inside = (-1.0, y, 0.0)
    parts = [octagon(radius, -0.01, (120, 120, 125), 0, (1.0, y, 0)), octagon(radius, 0.0, (232, 232, 236), 1, inside),
             octagon(radius * 0.93, 0.004, red, 2, inside)]  # fmt: skip
    unit = radius * 0.155
    for i, letter in enumerate("STOP"):
        strokes = np.array(_LETTERS[letter], float)
        z = -radius * 0.72 + i * unit * 2.5 + strokes[:, 0] * unit * 0.88
        heights = y + (strokes[:, 1] - 1.5) * unit * 1.35
        for j in range(len(strokes) - 1):
            ends = np.array([(0.008, heights[k], z[k]) for k in (j, j + 1)])
            along = ends[1] - ends[0]
            across = np.array([0, -along[2], along[1]]) / max(np.linalg.norm(along), 1e-9) * unit * 0.28
            reach = along / max(np.linalg.norm(along), 1e-9) * unit * 0.25
            ring = [
                ends[0] - across - reach,
                ends[0] + across - reach,
                ends[1] + across + reach,
                ends[1] - across + reach,
            ]
            parts.append(plate(ring, (238, 238, 240), 3, inside))
    gray = np.full(3, rng.uniform(90, 170))
    props = [Capsule((-0.05, 0, 0), (-0.05, y + radius * 0.5, 0), (0.035, 0.035), gray)]
    return Thing(parts, props, corners(parts[:2]), 0.45, 2 * radius)


def traffic_cone(rng) -> Thing:
    """An orange cone with one or two white bands on a square foot."""
    tall = rng.uniform(0.5, 1.0)
    orange = np.array((25, 95, 240), float) * rng.uniform(0.85, 1.08)
    white = (228, 228, 230)
    base, tip = 0.2 * tall / 0.7, 0.035
    cuts = [0, 0.3, 0.5, 1] if rng.random() < 0.4 else [0, 0.25, 0.42, 0.6, 0.77, 1]
    rings = [(base + (tip - base) * c, 0.05 + c * (tall - 0.05)) for c in cuts]
    bands = [orange if i % 2 == 0 else white for i in range(len(cuts) - 1)]
    slab = (40, 40, 42) if rng.random() < 0.4 else orange * 0.85
    parts = box((0, 0, 0), (base * 2.7, 0.05, base * 2.7), slab) + lathe(rings, bands, 1)
    return Thing(parts, [], corners(parts), base * 1.5, tall)


def ball(rng) -> Thing:
    """A football, beach ball, basketball or plain play ball."""
    radius = rng.uniform(0.16, 0.42)
    a, b = np.clip(rng.uniform(20, 250, (2, 3)), 0, 255)
    kind = rng.choice(["football", "beach", "basketball", "plain"], p=[0.35, 0.3, 0.2, 0.15])
    spin = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    seeds = _icosahedron() @ spin

    def paint(normals):
        n = normals @ spin
        color = np.empty(normals.shape)
        if kind == "football":  # black patches around the corners of an icosahedron
            near = (normals @ seeds.T).max(-1)
            color[:] = np.where((near > 0.93)[..., None], (28.0, 28.0, 30.0), (236.0, 238.0, 240.0))
        elif kind == "beach":  # six sectors
            sector = np.floor((np.arctan2(n[..., 2], n[..., 0]) / np.pi + 1) * 3).astype(int) % 6
            palette = np.array([a, (240, 240, 240), b, (240, 240, 240), (40, 200, 250), (240, 240, 240)])
            color[:] = palette[sector]
        elif kind == "basketball":
            seam = np.minimum(np.abs(n).min(-1), np.abs(np.abs(n[..., 0]) - 0.62))
            color[:] = np.where((seam < 0.035)[..., None], (20.0, 25.0, 35.0), (35.0, 100.0, 205.0))
        else:
            color[:] = np.where((np.abs(n[..., 1]) < 0.16)[..., None], b, a)
        return color

    parts = [Sphere((0, radius, 0), radius, paint)]
    ring = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    hull = np.column_stack([radius * np.cos(ring), radius + radius * np.sin(ring), np.zeros(12)])
    return Thing(parts, [], hull, radius, 2 * radius)


def _icosahedron() -> np.ndarray:
    golden = (1 + 5**0.5) / 2
    points = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    points = [p[i:] + p[:i] for p in points for i in range(3)]
    return np.array(points) / np.sqrt(1 + golden**2)
