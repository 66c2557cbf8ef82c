"""Draw the sample pictures and the sample video: ``python -m tvm_zerocopy.models.training.samples FOLDER``."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np

from . import clutter, street, vehicles
from .scene import CLASSES, Placed, Scene

PICTURE_SEEDS = (5019, 5020, 5028, 5014)  # no training or held-out scene has a seed of one number
PICTURE_OBJECTS = 14  # tried to place in each
ROWS, COLUMNS = 720, 1280

VIDEO_ROWS, VIDEO_COLUMNS, FPS, SECONDS = 540, 960, 25, 4
_AWAY, _TOWARDS, _RIGHT, _LEFT = np.pi / 2, -np.pi / 2, 0.0, np.pi


def draw_pictures(folder: Path) -> None:
    """One JPEG a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(PICTURE_SEEDS, 1):
        picture, _, _ = Scene(np.random.default_rng(seed), objects=PICTURE_OBJECTS).render(ROWS, COLUMNS, sensor=False)
        cv2.imwrite(str(folder / f"street{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])


class _Actor:
    """Something in the video: made anew from its seed for each frame, at start + velocity * time."""

    def __init__(self, maker, seed, start, velocity=(0.0, 0.0), yaw=0.0, label=None, stride=0.0):
        self.maker, self.seed, self.start, self.velocity = maker, seed, np.array(start), np.array(velocity)
        self.yaw, self.label, self.stride = yaw, label, stride

    def at(self, time: float) -> Placed:
        rng = np.random.default_rng(self.seed)
        thing = self.maker(rng, self.stride * time) if self.stride else self.maker(rng)
        x, z = self.start + self.velocity * time
        return Placed(thing, np.array([x, 0.0, z]), self.yaw, self.label)


def _cast():
    person, car, bus, light, sign, cone, ball = range(len(CLASSES))
    return [
        _Actor(vehicles.car, 31, (-1.9, 31), (0, -3.6), _TOWARDS, car),
        _Actor(vehicles.car, 38, (1.9, 9), (0, 4.0), _AWAY, car),
        _Actor(vehicles.bus, 33, (-26, 30), (8.0, 0), _RIGHT, bus),
        _Actor(vehicles.car, 35, (6.6, 17), yaw=_AWAY + 0.05, label=car),
        _Actor(street.person, 41, (-5.2, 10), (1.3, 0.1), _RIGHT, person, 7.0),
        _Actor(street.person, 42, (5.0, 12), (-0.05, 1.0), _AWAY, person, 6.5),
        _Actor(street.person, 47, (-5.0, 20), (0.05, -1.2), _TOWARDS, person, 6.8),
        _Actor(street.traffic_light, 53, (4.3, 11), yaw=_TOWARDS + 0.1, label=light),
        _Actor(street.stop_sign, 54, (-4.4, 12), yaw=_TOWARDS - 0.15, label=sign),
        _Actor(street.traffic_cone, 55, (2.3, 6.6), label=cone),
        _Actor(street.traffic_cone, 56, (3.2, 7.6), label=cone),
        _Actor(street.ball, 63, (-3.2, 5.6), (1.5, 0.25), label=ball),
        _Actor(clutter.tree, 71, (-8.0, 20)),
        _Actor(clutter.tree, 72, (8.8, 24)),
        _Actor(clutter.lamp_post, 73, (-6.0, 15)),
        _Actor(clutter.bench, 74, (6.4, 9.5), yaw=_LEFT),
        _Actor(clutter.bush, 75, (-7.0, 11)),
    ]


def frames() -> Iterator[np.ndarray]:
    """The video's frames, BGR uint8, seen from a car that rolls slowly ahead."""
    scene = Scene(np.random.default_rng(7), objects=0)
    buildings = [p for p in scene.placed if p.thing.size > 4.9 and p.thing.radius > 5]
    scene.height, scene.pitch, scene.focal = 1.7, 0.06, 0.85
    cast = _cast()
    for i in range(FPS * SECONDS):
        time = i / FPS
        forward = 0.5 * time
        placed = [*buildings, *(actor.at(time) for actor in cast)]
        scene.placed = [p._replace(position=p.position - np.array([0, 0, forward])) for p in placed]
        yield scene.render(VIDEO_ROWS, VIDEO_COLUMNS, sensor=False, forward=forward)[0]


def write_video(path: Path) -> None:
    """Encode ``frames()`` as H.264 in MP4."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = VIDEO_COLUMNS, VIDEO_ROWS, "yuv420p"
        stream.options = {"crf": "25", "preset": "slow"}
        for picture in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="gets pictures/street1.jpg ... and street.mp4")
    folder = parser.parse_args(argv).folder
    draw_pictures(folder / "pictures")
    write_video(folder / "street.mp4")


if __name__ == "__main__":
    main()
