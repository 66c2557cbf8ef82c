"""Street scenes drawn from a seed: what stands where, seen from where, in which light; and their boxes."""

from typing import List, NamedTuple, Optional, Tuple

import cv2
import numpy as np

from . import clutter, street, vehicles
from .backdrop import Backdrop, finish
from .camera import Camera
from .canvas import Canvas, Light
from .shapes import Thing

CLASSES = ("person", "car", "bus", "traffic light", "stop sign", "traffic cone", "ball")
_MAKERS = (
    street.person,
    vehicles.car,
    vehicles.bus,
    street.traffic_light,
    street.stop_sign,
    street.traffic_cone,
    street.ball,
)
_CLASS_ODDS = (0.24, 0.2, 0.09, 0.13, 0.1, 0.12, 0.12)
_CLUTTER = (clutter.tree, clutter.bush, clutter.lamp_post, clutter.litter_bin, clutter.bollard, clutter.crate,
            clutter.bench, clutter.other_sign, clutter.fence, clutter.parasol, clutter.road_disc)  # fmt: skip
_CLUTTER_ODDS = (0.17, 0.1, 0.08, 0.08, 0.1, 0.1, 0.07, 0.15, 0.06, 0.04, 0.05)
SUPERSAMPLE = 2  # the canvas has so many rows and columns to each of the picture's
MIN_SIDE = 0.016  # of the picture's width: an object that shows less, in its longer side, has no box
MIN_VISIBLE = 0.25  # of its pixels: an object hidden more than this has no box


class Placed(NamedTuple):
    thing: Thing
    position: np.ndarray
    yaw: float
    label: Optional[int]  # index into CLASSES; None: clutter


class Scene:
    """Everything that a picture shows, drawn from ``rng``; ``render`` paints it.

    Parameters
    ----------
    rng : numpy Generator
    objects : int or None
        How many labelled ones to try to place. None: random.
    """

    def __init__(self, rng, objects: Optional[int] = None):
        self.rng = rng
        self.height = float(np.exp(rng.uniform(np.log(1.2), np.log(6.0))))
        self.pitch = rng.uniform(-0.02, 0.1) + 0.035 * (self.height - 1.2)
        self.focal = rng.uniform(0.7, 1.4)
        azimuth, rise = rng.uniform(-2.2, 2.2) - np.pi / 2, rng.uniform(0.45, 1.2)
        sun = np.array([np.cos(azimuth) * np.cos(rise), np.sin(rise), np.sin(azimuth) * np.cos(rise)])
        haze = np.array([225, 215, 205], float) * rng.uniform(0.75, 1.05)
        self.light = Light(sun, rng.uniform(0.42, 0.7), tuple(haze), rng.uniform(90, 400))
        self.backdrop = Backdrop(rng, self.light)
        self.placed: List[Placed] = []
        self._buildings()
        for _ in range(int(rng.integers(3, 12))):
            self._place(int(rng.choice(len(_CLUTTER), p=_CLUTTER_ODDS)), None)
        for _ in range(int(rng.integers(3, 13)) if objects is None else objects):
            label = int(rng.choice(len(CLASSES), p=_CLASS_ODDS))
            self._place(label, label)

    # -- what stands where -------------------------------------------------------------------------------------

    def _buildings(self) -> None:
        rng = self.rng
        for side in (-1, 1):
            z = rng.uniform(14, 40)
            while z < 110 and rng.random() < 0.75:
                thing = clutter.building(rng)
                x = side * (self.backdrop.half_road + rng.uniform(4, 9) + thing.radius)
                position = np.array([x + self.backdrop.road_x, 0, z + thing.radius])
                self.placed.append(Placed(thing, position, rng.choice([0.0, np.pi / 2]), None))
                z += 2 * thing.radius + rng.uniform(0, 6)

    def _place(self, kind: int, label: Optional[int]) -> None:
        """Put one thing where its size on screen is log-uniform, so that near and far ones are equally common."""
        rng = self.rng
        thing = _CLUTTER[kind](rng) if label is None else _MAKERS[label](rng)
        on_screen = np.exp(rng.uniform(np.log(0.02), np.log(0.55)))  # of the picture's width
        z = float(np.clip(self.focal * thing.size / on_screen, max(1.6, thing.radius + 1.2), 75))
        for _ in range(8):
            x = rng.uniform(-0.52, 0.52) * z / self.focal
            if label in (1, 2) and rng.random() < 0.5 and self.backdrop.half_road > 1:
                x = self.backdrop.road_x + rng.choice([-0.5, 0.5]) * self.backdrop.half_road + rng.normal(0, 0.3)
            position = np.array([x, 0.0, z])
            if all(
                np.hypot(*(p.position - position)[[0, 2]]) > 0.8 * (p.thing.radius + thing.radius) for p in self.placed
            ):
                break
            z = min(z * rng.uniform(1.0, 1.35), 80)
        else:
            return
        if label is None and thing.size > 2.4 and z < 4:
            return  # nothing but a trunk in front of the lens
        if label in (3, 4):
            yaw = -np.pi / 2 + rng.normal(0, 0.4)
        elif label in (1, 2):
            yaw = rng.choice([-np.pi / 2, np.pi / 2, 0, np.pi]) + rng.normal(0, 0.25)
            if rng.random() < 0.35:
                yaw = rng.uniform(-np.pi, np.pi)
        elif label is None and thing.size == 2.5:
            yaw = -np.pi / 2 + rng.normal(0, 0.5)
        else:
            yaw = rng.uniform(-np.pi, np.pi)
        self.placed.append(Placed(thing, position, float(yaw), label))

    # -- the picture -------------------------------------------------------------------------------------------

    def render(
        self, rows: int, columns: int, sensor: bool = True, forward: float = 0.0
    ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The picture and its boxes.

        Parameters
        ----------
        rows, columns : int
            Pixels.
        sensor : bool
            Whether the sensor adds noise, blur and JPEG artifacts, newly drawn at each call.
        forward : float
            Metres that the camera has moved ahead; the ground moves along, ``placed`` does not.

        Returns
        -------
        picture : uint8 (rows, columns, 3), BGR
        boxes : float32 (n, 4), xyxy in pixels, the visible extent of each labelled object
        labels : int64 (n,), indices into CLASSES
        """
        camera = Camera(rows * SUPERSAMPLE, columns * SUPERSAMPLE, self.focal, self.height, self.pitch)
        order = sorted(self.placed, key=lambda p: -np.hypot(p.position[0], p.position[2]))
        ground, shade = (
            self.backdrop.paint(camera, rows, columns, forward),
            np.zeros((camera.rows, camera.columns), np.uint8),
        )
        canvas = Canvas(ground, camera, self.light)
        for p in order:
            canvas.shadow(shade, p.thing.hull, p.position, p.yaw)
        self.backdrop.darken(canvas.picture, shade)
        areas = {}
        for number, p in enumerate(order, 1):
            canvas.draw(p.thing.props, p.position, p.yaw)
            if p.label is not None:
                canvas.draw(p.thing.parts, p.position, p.yaw, number)
                areas[number] = max(np.count_nonzero(canvas.owner == number), 1)
        boxes, labels = [], []
        shortest = MIN_SIDE * camera.columns
        for number, (x1, y1, x2, y2), visible in canvas.boxes(list(areas)):
            if max(x2 - x1, y2 - y1) >= shortest and visible >= MIN_VISIBLE * areas[number]:
                boxes.append((x1, y1, x2, y2))
                labels.append(order[number - 1].label)
        picture = cv2.resize(canvas.picture, (columns, rows), interpolation=cv2.INTER_AREA)
        picture = finish(picture, self.rng if sensor else None, self.backdrop.grade)
        return picture, np.array(boxes, np.float32).reshape(-1, 4) / SUPERSAMPLE, np.array(labels, np.int64)
