"""A pinhole camera above a ground plane. World axes in metres: x right, y up, z away; the ground is y = 0."""

import numpy as np


class Camera:
    """Camera at (0, height, 0), looking along z and down by ``pitch``.

    Parameters
    ----------
    rows, columns : int
        Canvas size in pixels.
    focal : float
        Focal length as a multiple of the canvas' width.
    height : float
        Metres above the ground.
    pitch : float
        Radians below the horizon.
    """

    NEAR = 0.4  # metres; nothing closer is drawn

    def __init__(self, rows: int, columns: int, focal: float, height: float, pitch: float):
        self.rows, self.columns = rows, columns
        self.focal, self.height, self.pitch = focal * columns, height, pitch
        self._sin, self._cos = np.sin(pitch), np.cos(pitch)

    @property
    def position(self) -> np.ndarray:
        return np.array([0.0, self.height, 0.0])

    def project(self, points: np.ndarray):
        """World points (n, 3) -> pixels (n, 2) and depth (n,) along the optical axis."""
        y = points[:, 1] - self.height
        depth = points[:, 2] * self._cos - y * self._sin
        up = y * self._cos + points[:, 2] * self._sin
        safe = np.maximum(depth, 1e-3)
        u = self.columns / 2 + self.focal * points[:, 0] / safe
        v = self.rows / 2 - self.focal * up / safe
        return np.array([u, v]).T, depth

    def ground(self, rows: int, columns: int):
        """World x and z of the ground seen in each pixel of a (rows, columns) picture; z is inf above the horizon."""
        scale = self.columns / columns
        u = ((np.arange(columns, dtype=np.float32) + 0.5) * scale - self.columns / 2) / self.focal
        v = ((np.arange(rows, dtype=np.float32) + 0.5) * scale - self.rows / 2) / self.focal
        # the ray (u, -v, 1) in camera axes falls by (v cos + sin) a unit of depth
        fall = v * self._cos + self._sin
        with np.errstate(divide="ignore"):
            depth = np.where(fall > 1e-4, self.height / np.maximum(fall, 1e-4), np.inf).astype(np.float32)
        z = depth * (self._cos - v * self._sin)
        return u[None, :] * depth[:, None], np.broadcast_to(z[:, None], (rows, columns))

    def horizon(self) -> float:
        """Canvas row of the horizon."""
        return self.rows / 2 - self.focal * np.tan(self.pitch)
