"""Sky, ground and road behind the objects; and what lens and sensor do to the finished picture."""

import cv2
import numpy as np

from .camera import Camera
from .canvas import Light


def _noise(rng, size: int, octaves) -> np.ndarray:
    """Tileable noise (size, size) float32, mean 0 and standard deviation 1: octaves of random grids, blurred up."""
    total = np.zeros((size, size), np.float32)
    for cells, strength in octaves:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")
        scale = size // cells
        large = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += strength * large[2 * scale : 2 * scale + size, 2 * scale : 2 * scale + size]
    return (total - total.mean()) / total.std()


_TEXTURES = np.random.default_rng(20)
GRAVEL = _noise(_TEXTURES, 512, ((512, 1.0), (256, 0.8), (64, 0.4), (8, 0.5)))
CLOUD = _noise(_TEXTURES, 512, ((4, 1.0), (8, 0.6), (16, 0.35), (32, 0.2), (64, 0.1)))

_GROUNDS = {  # BGR and how rough
    "grass": ((52, 118, 84), 0.13),
    "paving": ((150, 160, 165), 0.05),
    "dirt": ((95, 130, 165), 0.1),
    "concrete": ((160, 162, 162), 0.05),
    "asphalt": ((92, 90, 88), 0.07),
    "floor": ((120, 150, 185), 0.03),
}


class Grade:
    """How one camera renders one light: exposure, color cast, gamma, vignette."""

    def __init__(self, rng):
        self.gain = rng.uniform(0.9, 1.35) * np.exp(rng.normal(0, 0.05, 3))
        self.gamma = rng.uniform(0.8, 1.25)
        if rng.random() < 0.1:  # dusk
            self.gain, self.gamma = self.gain * (0.6, 0.5, 0.45), 1.2
        self.vignette = rng.uniform(0, 0.35)


class Backdrop:
    """Sky and ground of one scene."""

    def __init__(self, rng, light: Light):
        self.light = light
        self.grade = Grade(rng)
        self.kind = rng.choice(list(_GROUNDS), p=[0.28, 0.24, 0.1, 0.14, 0.14, 0.1])
        self.color = np.array(_GROUNDS[self.kind][0], np.float32) * rng.uniform(0.75, 1.15)
        self.color = np.float32(self.color + rng.normal(0, 6, 3))
        self.rough = _GROUNDS[self.kind][1]
        self.tile = rng.uniform(0.6, 2.5) if self.kind in ("paving", "floor", "concrete") else 0.0
        has_road = rng.random() < 0.72
        self.half_road = rng.uniform(2.8, 6.5) if has_road else 0.0
        self.road_x = rng.uniform(-5, 5) if has_road else 0.0
        self.road = np.float32(rng.uniform(62, 112) + rng.normal(0, 3, 3))
        self.lines = (235, 238, 240) if rng.random() < 0.75 else (60, 190, 235)
        self.crossing = rng.uniform(6, 22) if rng.random() < 0.4 else None
        self.side_road = rng.uniform(14, 40) if rng.random() < 0.3 else None
        top = np.array([(210, 150, 85), (205, 180, 160), (190, 190, 190), (160, 110, 70)][rng.integers(4)], np.float32)
        self.sky = top * rng.uniform(0.8, 1.1), np.array(light.haze, np.float32)
        self.clouds, self.shift = rng.uniform(0, 1), rng.integers(0, 512, 2)
        self.wall = rng.uniform(60, 225, 3) if rng.random() < 0.13 else None  # a hall instead of the open air
        self.darkness = rng.uniform(0.35, 0.7)
        self.softness = rng.uniform(0.002, 0.012)

    def paint(self, camera: Camera, rows: int, columns: int, forward: float = 0.0) -> np.ndarray:
        """The empty scene at the canvas' size, BGR uint8; ``forward``: metres that the camera has moved ahead."""
        x, z = camera.ground(rows, columns)
        above = int(np.count_nonzero(z[:, 0] > 400))  # rows of sky: the horizon is level
        x, z = np.clip(x[above:], -1e4, 1e4).astype(np.float32), z[above:].astype(np.float32)
        fog = (1 - np.exp(-z / np.float32(self.light.haze_depth)))[..., None]
        picture = np.empty((rows, columns, 3), np.float32)
        if above < rows:
            picture[above:] = (
                self._ground(x, z + np.float32(forward), z) * (1 - fog) + np.asarray(self.light.haze, np.float32) * fog
            )
        if above:
            picture[:above] = self._sky(above, columns, rows)
        picture = np.clip(picture, 0, 255).astype(np.uint8)
        return cv2.resize(picture, (camera.columns, camera.rows), interpolation=cv2.INTER_LINEAR)

    def _ground(self, x, z, distance) -> np.ndarray:
        near = np.exp(-distance / 35)  # detail finer than a pixel is grey
        coarse = cv2.remap(GRAVEL, x * 5 % 511, z * 5 % 511, cv2.INTER_LINEAR)
        fine = cv2.remap(GRAVEL, x * 55 % 511, z * 55 % 511, cv2.INTER_LINEAR)
        grain = (0.6 * coarse * np.exp(-distance / 60) + 0.7 * fine * np.exp(-distance / 8))[..., None]
        base = self.color * (1 + self.rough * grain)
        if self.tile:
            seam = ((x % self.tile < 0.035) | (z % self.tile < 0.05)) * near
            base = base * (1 - np.float32(0.3) * seam)[..., None]
        if self.half_road:
            offset = np.abs(x - self.road_x)
            on_road = offset < self.half_road
            side = np.abs(z - self.side_road) < 3.5 if self.side_road else np.zeros_like(on_road)
            asphalt = self.road * (1 + 0.06 * grain)
            curb = (offset < self.half_road + 1.8) & ~on_road & ~side
            base = np.where(curb[..., None], np.float32((165, 168, 170)) * (1 + 0.04 * grain), base)
            base = np.where((on_road | side)[..., None], asphalt, base)
            dash = (offset < 0.07) & (z % 6 < 3)
            edge = np.abs(offset - self.half_road + 0.25) < 0.06
            mark = (dash | edge) & ~side
            if self.crossing:
                zebra = on_road & (np.abs(z - self.crossing) < 1.6)
                mark = np.where(zebra, (x % 1.0) < 0.5, mark)
            paint = (mark * np.exp(-distance / 45) * 0.85)[..., None]
            base = base * (1 - paint) + np.float32(self.lines) * paint * (1 + 0.05 * grain)
        return base

    def _sky(self, above: int, columns: int, rows: int) -> np.ndarray:
        if self.wall is not None:
            shade = np.linspace(1.05, 0.85, columns, dtype=np.float32)[None, :, None]
            wall = np.broadcast_to(np.float32(self.wall) * shade, (above, columns, 3)).copy()
            wall[:, :: max(columns // 9, 8)] *= 0.85
            wall[-max(above // 25, 1) :] *= 0.6
            return wall
        height = np.linspace(1, 0, above, dtype=np.float32)[:, None, None] ** 0.8
        sky = self.sky[0] * height + self.sky[1] * (1 - height)
        u = (np.arange(columns, dtype=np.float32) / columns * 300 + self.shift[0])[None, :] % 511
        v = (np.arange(above, dtype=np.float32) / rows * 500 + self.shift[1])[:, None] % 511
        u, v = np.broadcast_arrays(u, v)
        cloud = cv2.remap(CLOUD, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        cover = np.clip(cloud * 0.5 - 0.6 + self.clouds, 0, 0.85)[..., None]
        return sky * (1 - cover) + np.float32((240, 238, 236)) * cover

    def darken(self, picture: np.ndarray, shade: np.ndarray) -> None:
        """Lay soft shadows over the picture, in place."""
        quarter = cv2.resize(shade, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        size = max(int(self.softness * quarter.shape[1]) * 2 + 1, 3)
        quarter = cv2.blur(quarter, (size, size))
        soft = cv2.resize(quarter, shade.shape[::-1], interpolation=cv2.INTER_LINEAR)
        factor = cv2.merge([255 - (soft * self.darkness).astype(np.uint8)] * 3)
        cv2.multiply(picture, factor, picture, 1 / 255)


def finish(picture: np.ndarray, rng, grade: Grade) -> np.ndarray:
    """Exposure and vignette, then blur, noise and JPEG artifacts unless ``rng`` is None; uint8 in, uint8 out."""
    rows, columns = picture.shape[:2]
    table = (np.arange(256) / 255.0) ** grade.gamma * 255
    lut = np.clip(table[:, None] * grade.gain, 0, 255).astype(np.uint8)[None]
    picture = cv2.LUT(picture, lut)
    if grade.vignette > 0.05:
        x = np.linspace(-1, 1, columns, dtype=np.float32)
        y = np.linspace(-1, 1, rows, dtype=np.float32)
        fall = 255 * (1 - grade.vignette * (x[None, :] ** 2 + y[:, None] ** 2) / 2)
        picture = cv2.multiply(picture, cv2.merge([fall.astype(np.uint8)] * 3), scale=1 / 255)
    if rng is None:
        return picture
    if rng.random() < 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.1) * columns / 640)
    if rng.random() < 0.08:
        length = int(rng.integers(3, 7))
        picture = cv2.blur(picture, (length, 1) if rng.random() < 0.7 else (1, length))
    strength = rng.uniform(0, 9)
    start = int(rng.integers(0, _SENSOR.size - picture.size)) if picture.size < _SENSOR.size else 0
    grain = np.resize(_SENSOR[start : start + picture.size], picture.shape)
    picture = cv2.addWeighted(picture, 1.0, grain, strength / 32, -128 * strength / 32)
    if rng.random() < 0.5:
        quality = int(rng.integers(35, 95))
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return picture


# Noise of standard deviation 32 around 128, drawn once and read from anywhere.
_SENSOR = np.clip(np.random.default_rng(21).normal(128, 32, 4_000_000), 0, 255).astype(np.uint8)
