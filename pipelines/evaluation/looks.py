"""What is kept of a clip for people to look at, taken while it is scored: its middle frame, a temporal profile, a film."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pipelines.clips import video

SAMPLES = ("lr", "bicubic", "restored", "truth", "profile", "profile_truth")
"""The pictures: the middle frame four times, and the same row of every frame, restored and true, one below the other."""

INVENTED = "invented"
"""The picture of how far the middle frame, degraded again, is from LR, see `pipelines.evaluation.again.invented`; of clips that are
scored so."""

FILM_FRAMES = 24
FILM_HEIGHT, FILM_WIDTH = 240, 320
"""Of each of the three panes of a film, pixels: the middle of larger frames."""


class Look:
    """Takes frames as they come and keeps few of them.

    Args:
        frames: how many the clip has.
        row: which row of the frames the temporal profile shows.
    """

    def __init__(self, frames: int, row: int) -> None:
        self._middle = frames // 2
        first = max(0, self._middle - FILM_FRAMES // 2)
        self._filmed = range(first, min(frames, first + FILM_FRAMES))
        self._row = row
        self._film: list[np.ndarray] = []
        self._rows: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        self.pictures: dict[str, np.ndarray] = {}

    def take(self, index: int, lr: np.ndarray, restored: np.ndarray, truth: np.ndarray) -> None:
        """The frames of that number, (h, w, 3) and (H, W, 3) uint8."""
        row = min(self._row, len(restored) - 1)
        for rows, frame in zip(self._rows, (restored, truth), strict=True):
            rows.append(frame[row].copy())
        if index not in self._filmed:  # the middle one is
            return
        bicubic = _enlarged(lr, restored.shape[:2])
        if index == self._middle:
            self.pictures = {"lr": lr, "bicubic": bicubic, "restored": restored, "truth": truth}
        self._film.append(np.hstack([_pane(frame) for frame in (bicubic, restored, truth)]))

    def finish(self) -> dict[str, np.ndarray]:
        """The pictures of `SAMPLES`, once all frames have come."""
        profile, truth = map(np.stack, self._rows)
        return {**self.pictures, "profile": profile, "profile_truth": truth}

    def film(self, fps: float) -> bytes:
        """Bicubic, restored and true frames side by side, as an MP4 file: the same bytes for the same frames.

        Raises:
            VSRError: there is no libx264, or frames are smaller than 2x2.
        """
        with tempfile.TemporaryDirectory(prefix="vsr-film-") as folder:
            path = Path(folder) / "clip.mp4"
            video.encode(self._film, path, fps, preset="veryfast")
            return path.read_bytes()


def _enlarged(lr: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An LR frame by bicubic interpolation, (H, W, 3) uint8."""
    # Torch takes seconds to import, and only the workers take pictures.
    from models.parts.resize import imresize_to
    from pipelines.clips.levels import to_frame, to_tensor

    height, width = size
    return to_frame(imresize_to(to_tensor(lr), (height, width)))


def _pane(frame: np.ndarray) -> np.ndarray:
    """The middle of a frame, with even sides."""
    height, width = (min(side, most) // 2 * 2 for side, most in zip(frame.shape[:2], (FILM_HEIGHT, FILM_WIDTH), strict=True))
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]
