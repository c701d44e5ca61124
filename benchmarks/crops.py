"""Random 256x256 crops: the store against PNG files and against copies within memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.timing import best, table
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble

HEIGHT, WIDTH, FRAMES, SIDE, CROPS = 576, 720, 64, 256, 200


def main() -> None:
    """Print the table; frames are of 720x576, smooth enough that PNG compresses them as footage."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (FRAMES, HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    frames = [cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for frame in coarse]
    frames = [cv2.add(frame, random.integers(0, 8, frame.shape, np.uint8)) for frame in frames]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with ClipWriter(root / "parts", "clip") as writer:
            for index, frame in enumerate(frames):
                writer.append({"rgb": frame})
                cv2.imwrite(str(root / f"{index}.png"), frame)
            writer.finish(ClipAttributes("train", 25, HEIGHT, WIDTH))
        assemble(root / "parts", ["clip"], root / "store")
        store = Store(root / "store")
        memory = np.stack(frames)
        drawn = [
            (int(random.integers(FRAMES)), int(random.integers(HEIGHT - SIDE)), int(random.integers(WIDTH - SIDE)))
            for _ in range(CROPS)
        ]

        def from_store() -> None:
            for index, top, left in drawn:
                store.frame("clip", index)[top : top + SIDE, left : left + SIDE].copy()

        def from_memory() -> None:
            for index, top, left in drawn:
                memory[index, top : top + SIDE, left : left + SIDE].copy()

        def from_png() -> None:
            for index, top, left in drawn[: CROPS // 10]:
                image = cv2.imread(str(root / f"{index}.png"))
                assert image is not None
                image[top : top + SIDE, left : left + SIDE].copy()

        seconds = best({"memory": from_memory, "store": from_store, "PNG": from_png})
        seconds["PNG"] *= 10
        table(seconds, "store", CROPS, "crop")
