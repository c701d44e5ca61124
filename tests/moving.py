"""Clips in closed form: a texture that moves evenly, and stores of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.params import Schedule, Training

HEIGHT, WIDTH, FRAMES = 64, 96, 6
MOTION = np.array([1.75, -1.25])
"""Pixels per frame to the right and down that the picture below moves by."""

ADAM = {"kind": "adam", "betas": [0.9, 0.99], "decay": 0}

SPLITS = {"a": "train", "b": "train", "v": "validation"}


def picture(t: int, seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A smooth texture moving by `MOTION`, (H, W, 3) uint8, defined everywhere."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(float)
    x, y = columns - MOTION[0] * t, rows - MOTION[1] * t
    image = np.zeros((height, width, 3))
    for _ in range(6):
        fx, fy = rng.uniform(-0.25, 0.25, 2)
        image += np.sin(fx * x + fy * y + rng.uniform(0, 6))[..., None] * rng.uniform(0.2, 1, 3)
    return np.rint(127.5 + image * 20).clip(0, 255).astype(np.uint8)


def store(
    path: Path,
    clips: dict[str, tuple[str, list[dict[str, np.ndarray]]]],
    scales: dict[str, float] | None = None,
    fps: float = 25.0,
) -> Store:
    """A store of clips by name: their split and frames, whose last but one and last axes but channels are height and width."""
    parts = path.with_name(path.name + "-parts")
    for name, (split, frames) in clips.items():
        with ClipWriter(parts, name, scales) as writer:
            for frame in frames:
                writer.append(frame)
            column, array = next(iter(frames[0].items()))
            height, width = array.shape[-2:] if column == "masks" else array.shape[:2]
            writer.finish(ClipAttributes(split, fps, height, width))
    assemble(parts, list(clips), path)
    return Store(path)


def black_store(path: Path, height: int, width: int, frames: int = 2) -> Store:
    """A store of one clip of black frames, to test on."""
    return store(path, {"clip": ("test", [{"rgb": np.zeros((height, width, 3), np.uint8)}] * frames)})


def hr_store(path: Path) -> Store:
    """Two clips to train on and one to validate."""
    frames = {name: [{"rgb": picture(t, seed)} for t in range(FRAMES + seed)] for seed, name in enumerate(SPLITS)}
    return store(path, {name: (SPLITS[name], frames[name]) for name in SPLITS})


def lr_store(hr: Store, path: Path) -> Store:
    """Every fourth pixel of HR."""
    clips = {name: (SPLITS[name], [{"rgb": frame[::4, ::4].copy()} for frame in hr.frames(name)]) for name in SPLITS}
    return store(path, clips)


def truth_store(hr: Store, path: Path) -> Store:
    """Their exact flow; the left third of every frame is marked as hidden."""
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[:, : WIDTH // 3] = True
    constant = np.broadcast_to(MOTION.astype(np.float32), (HEIGHT, WIDTH, 2))
    frame = {"flow_forward": constant, "flow_backward": -constant, "occlusion_forward": hidden, "occlusion_backward": hidden}
    clips = {name: (SPLITS[name], [frame] * hr.clips[name].frames) for name in SPLITS}
    return store(path, clips, {"flow_forward": 1 / 256, "flow_backward": 1 / 256})


def levels(frame: np.ndarray, masks: int = 3) -> np.ndarray:
    """Masks of a frame that can be read off it: mask k is where its red value has bit k + 4, (masks, H, W) bool."""
    return np.stack([frame[..., 0] >> (k + 4) & 1 for k in range(masks)]).astype(bool)


def masks_store(lr: Store, path: Path) -> Store:
    """`levels` of all LR frames; there is one mask less in odd ones."""
    clips = {
        name: (clip.attributes.split, [{"masks": levels(frame, 3 - t % 2)} for t, frame in enumerate(lr.frames(name))])
        for name, clip in lr.clips.items()
    }
    return store(path, clips)


def schedule(**changes: object) -> Schedule:
    values: dict[str, object] = {"iterations": 4, "batch": 4, "crop": 8, "clip_length": 3, "rate": 1e-3, "final_rate": 1e-5}
    values |= {"optimiser": ADAM, "precision": "float32", "clip_gradients": None, "ema": None, "validate_every": 2, "seed": 0}
    return Schedule(**{**values, **changes})  # type: ignore[arg-type]


def training(**changes: object) -> Training:
    """A recipe with a flow network that stands still for two steps and then learns at half the rate."""
    values = {**schedule().model_dump(), "initial": "default", "groups": flow(2, 0.5), "losses": losses()}
    values |= {"mirror": False, "recompute": False, "ema": 0.9}
    return Training(**{**values, **changes})  # type: ignore[arg-type]


def losses(reduction: str = "mean") -> list[dict[str, object]]:
    """`losses` of a recipe, a Charbonnier loss alone."""
    return [{"kind": "charbonnier", "weight": 1, "reduction": reduction}]


def flow(frozen: int, rate: float) -> list[dict[str, object]]:
    """`groups` of a recipe for the flow network alone."""
    return [{"prefix": "spynet.", "rate": rate, "frozen": frozen}]
