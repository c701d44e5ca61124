"""The exact G-buffer of a frame: geometry at pixel centres, in closed form and float64."""

from __future__ import annotations

import numpy as np

from pipelines.clips.parallax.scene import Scene, View

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def gbuffer(scene: Scene, before: View | None, now: View, after: View | None) -> dict[str, np.ndarray]:
    """What is seen at the pixel centres of `now` and where it is in the neighbouring frames.

    Returns:
        depth: (H, W) float32, z in camera axes, metres.
        normals: (H, W, 3) float32, unit, in camera axes (x right, y down, z forward), towards the camera.
        ids: (H, W) uint8, the object; 0 is the far background.
        flow_forward, flow_backward: (H, W, 2) float32, (dx, dy) in pixels with
            rgb_t(p) ~ rgb_{t±1}(p + flow(p)); zero where there is no such frame.
        occlusion_forward, occlusion_backward: (H, W) bool, True where the point is hidden in the other
            frame or falls outside its pixel centres, and everywhere if there is no such frame.
    """
    x, y = np.arange(scene.width, dtype=np.float64), np.arange(scene.height, dtype=np.float64)
    seen, inverse = now.visible(x, y)
    index = seen.astype(np.intp)
    points = _points(now, index, inverse, x, y)
    forward, hidden_forward = _motion(scene, index, points, after)
    backward, hidden_backward = _motion(scene, index, points, before)
    return {
        "flow_forward": forward,
        "flow_backward": backward,
        "occlusion_forward": hidden_forward,
        "occlusion_backward": hidden_backward,
        "depth": (1 / inverse).astype(np.float32),
        "normals": now.normals.astype(np.float32)[index],
        "ids": np.array([surface.id for surface in scene.surfaces], np.uint8)[index],
    }


def _points(view: View, index: np.ndarray, inverse: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The points seen, in their surfaces' planes: (2, H, W)."""
    m = view.unproject[:, :2]
    rows = [m[:, row, 0][index] * x + m[:, row, 1][index] * y[:, None] + m[:, row, 2][index] for row in range(2)]
    return np.stack(rows) / inverse


def _motion(scene: Scene, index: np.ndarray, points: np.ndarray, other: View | None) -> tuple[np.ndarray, np.ndarray]:
    """Flow (H, W, 2) to another frame and what is not seen there, (H, W) bool."""
    height, width = index.shape
    if other is None:
        return np.zeros((height, width, 2), np.float32), np.ones((height, width), bool)
    s, t = points
    p = other.project
    x, y, depth = (p[:, row, 0][index] * s + p[:, row, 1][index] * t + p[:, row, 2][index] for row in range(3))
    x, y = x / depth, y / depth
    lost = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    kept = np.flatnonzero(~lost)
    lost.reshape(-1)[kept] = other.hides(
        x.reshape(-1)[kept], y.reshape(-1)[kept], index.reshape(-1)[kept], 1 / depth.reshape(-1)[kept]
    )
    flow = np.stack([x - np.arange(width), y - np.arange(height)[:, None]], 2)
    return flow.astype(np.float32), lost
