"""Paints shaded primitives over one another, far ones first, and remembers which object every pixel shows."""

from typing import List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from .camera import Camera

Color = Tuple[float, float, float]  # BGR, 0..255
_SHIFT = 4  # fractional bits of polygon corners


class Face(NamedTuple):
    """A flat polygon of an object, in the object's own axes."""

    points: np.ndarray  # (n, 3)
    color: Color
    layer: int = 0  # higher layers are painted later, whatever their depth
    inside: Tuple[float, float, float] = None  # a point behind the face; None: the face is seen from both sides
    glow: float = 0.0  # 1: not shaded at all


class Capsule(NamedTuple):
    """A round limb from one end to the other, in the object's own axes."""

    start: Tuple[float, float, float]
    end: Tuple[float, float, float]
    radii: Tuple[float, float]
    color: Color
    layer: int = 0


class Sphere(NamedTuple):
    """A ball with a pattern: ``paint(normals (h, w, 3)) -> BGR (h, w, 3)``."""

    center: Tuple[float, float, float]
    radius: float
    paint: object
    layer: int = 0


class Light(NamedTuple):
    sun: np.ndarray  # unit vector towards the sun
    ambient: float
    haze: Color
    haze_depth: float  # metres at which 63 % of the color is haze


class Canvas:
    """A picture (rows, columns, 3) BGR and, of the same size, the number of the object seen in each pixel (0: none)."""

    def __init__(self, picture: np.ndarray, camera: Camera, light: Light):
        self.picture, self.camera, self.light = picture, camera, light
        self.owner = np.zeros(picture.shape[:2], np.uint8)

    # -- objects -----------------------------------------------------------------------------------------------

    def draw(self, primitives: Sequence, position: np.ndarray, yaw: float, owner: int = 0) -> None:
        """Paint one object's primitives; ``yaw`` turns it about its vertical axis."""
        turn = _turn(yaw)
        queue = []
        for p in primitives:
            if isinstance(p, Face):
                points = p.points @ turn.T + position
                behind = None if p.inside is None else turn @ np.asarray(p.inside) + position
                self._queue_face(queue, p, points, behind)
            elif isinstance(p, Capsule):
                points = np.array([p.start, p.end]) @ turn.T + position
                self._queue_capsule(queue, p, points)
            else:
                center = turn @ np.asarray(p.center) + position
                pixel, depth = self.camera.project(center[None])
                if depth[0] > Camera.NEAR:
                    queue.append((p.layer, -depth[0], "sphere", (pixel[0], depth[0], p, turn), None))
        queue.sort(key=lambda item: item[:2])
        for _, _, kind, shape, color in queue:
            if kind == "polygon":
                self._polygon(shape, color, owner)
            else:
                self._sphere(*shape, owner)

    def shadow(self, mask: np.ndarray, points: np.ndarray, position: np.ndarray, yaw: float) -> None:
        """Mark in ``mask`` where the sun's shadow of these points (an object's hull) falls on the ground."""
        world = points @ _turn(yaw).T + position
        sun = self.light.sun
        world = world - sun * (world[:, 1:2] / max(sun[1], 0.25))
        pixels, depth = self.camera.project(world)
        if (depth > Camera.NEAR).all():
            hull = cv2.convexHull(pixels.astype(np.float32))
            cv2.fillConvexPoly(mask, _fixed(hull), 255, cv2.LINE_8, _SHIFT)

    def boxes(self, owners: Sequence[int]) -> List[Tuple[int, Tuple[int, int, int, int], int]]:
        """(owner, (x1, y1, x2, y2), visible pixels) of each object that shows anywhere, exact to the pixel."""
        found = []
        for owner in owners:
            mask = (self.owner == owner).view(np.uint8)
            x, y, w, h = cv2.boundingRect(mask)
            if w:
                found.append((owner, (x, y, x + w, y + h), int(cv2.countNonZero(mask[y : y + h, x : x + w]))))
        return found

    # -- primitives --------------------------------------------------------------------------------------------

    def _queue_face(self, queue, face: Face, points: np.ndarray, behind) -> None:
        a, b = points[1] - points[0], points[2] - points[1]
        normal = np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
        length = np.sqrt(normal @ normal)
        if length < 1e-12:
            return
        normal /= length
        to_camera = self.camera.position - points[0]
        if behind is None:
            if normal @ to_camera < 0:
                normal = -normal
        else:
            if normal @ (points[0] - behind) < 0:
                normal = -normal
            if normal @ to_camera <= 0:
                return
        pixels, depth = self.camera.project(points)
        if depth.min() > Camera.NEAR:
            color = self._shade(face.color, normal, depth.mean(), face.glow)
            queue.append((face.layer, -depth.mean(), "polygon", pixels, color))

    def _queue_capsule(self, queue, capsule: Capsule, ends: np.ndarray) -> None:
        pixels, depth = self.camera.project(ends)
        if depth.min() <= Camera.NEAR:
            return
        radii = np.asarray(capsule.radii) * self.camera.focal / depth
        side = self.light.sun[:2] * (1, -1) * 0.35
        # dark rim, color, highlight towards the sun: three nested capsules look round
        for step, (scale, shift, bright) in enumerate(((1.0, 0.0, 0.72), (0.8, 0.5, 0.95), (0.42, 1.0, 1.15))):
            centers = pixels + side * (radii * shift)[:, None]
            normal = np.array([0.0, 0.3, -0.95])
            color = self._shade(np.asarray(capsule.color) * bright, normal, depth.mean(), 0.0)
            layer = capsule.layer + step * 0.01
            queue.append((layer, -depth.mean(), "polygon", _capsule_outline(centers, radii * scale), color))

    def _shade(self, color, normal, depth, glow) -> np.ndarray:
        light = self.light
        diffuse = max(0.0, float(normal @ light.sun))
        lit = light.ambient + (1 - light.ambient) * diffuse + 0.12 * max(0.0, normal[1])
        shaded = np.asarray(color, np.float64) * (glow + (1 - glow) * lit)
        fog = 1 - np.exp(-depth / light.haze_depth)
        return np.clip(shaded * (1 - fog) + np.asarray(light.haze) * fog, 0, 255)

    def _polygon(self, pixels: np.ndarray, color, owner: int) -> None:
        if np.abs(pixels).max() > 30000:
            return
        corners = [_fixed(pixels)]
        cv2.fillPoly(self.picture, corners, tuple(float(c) for c in color), cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self.owner, corners, owner, cv2.LINE_8, _SHIFT)

    def _sphere(self, pixel, depth, sphere: Sphere, turn: np.ndarray, owner: int) -> None:
        radius = sphere.radius * self.camera.focal / depth
        rows, columns = self.owner.shape
        x1, y1 = max(int(pixel[0] - radius), 0), max(int(pixel[1] - radius), 0)
        x2, y2 = min(int(pixel[0] + radius) + 2, columns), min(int(pixel[1] + radius) + 2, rows)
        if x1 >= x2 or y1 >= y2:
            return
        x = ((np.arange(x1, x2) + 0.5 - pixel[0]) / radius)[None, :]
        y = ((np.arange(y1, y2) + 0.5 - pixel[1]) / radius)[:, None]
        square = x * x + y * y
        inside = square <= 1
        z = -np.sqrt(np.maximum(1 - square, 0))
        normals = np.stack(np.broadcast_arrays(x, -y, z), -1)
        light = self.light
        lit = light.ambient + (1 - light.ambient) * np.maximum(normals @ light.sun, 0)
        highlight = 90 * np.maximum(normals @ _half_way(light.sun), 0) ** 40
        color = sphere.paint(normals @ turn) * lit[..., None] + highlight[..., None]
        fog = 1 - np.exp(-depth / light.haze_depth)
        color = np.clip(color * (1 - fog) + np.asarray(light.haze) * fog, 0, 255).astype(np.uint8)
        self.picture[y1:y2, x1:x2][inside] = color[inside]
        self.owner[y1:y2, x1:x2][inside] = owner


def _turn(yaw: float) -> np.ndarray:
    sin, cos = np.sin(yaw), np.cos(yaw)
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def _fixed(pixels: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(pixels).reshape(-1, 1, 2) * (1 << _SHIFT)).astype(np.int32)


def _half_way(sun: np.ndarray) -> np.ndarray:
    half = sun + np.array([0.0, 0.0, -1.0])
    return half / np.linalg.norm(half)


_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 14)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 14)[:-1])], 1)


def _capsule_outline(centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    points = np.concatenate([center + _CIRCLE * radius for center, radius in zip(centers, radii)])
    return cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
