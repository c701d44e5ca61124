"""What is random in a recipe, drawn before any pixel is touched.

Drawing turns the steps of a recipe into *entries*: mappings of plain numbers and text, as JSON has them, that say all
that happens to a clip. What changes from frame to frame lies under an entry's key `frames`, as lists. Entries stand in the
manifest of the LR clips, and from them alone a clip, or one of its frames, can be made again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines import params
from pipelines.degradations import filtering
from pipelines.degradations.resize import lr_size, reduced_size
from pipelines.errors import VSRError

Entry = dict[str, Any]
Size = tuple[int, int]
CODECS = ("x264", "mpeg4")
"""Steps that look at a clip as a whole."""


def rng(degradation: str, clip: str) -> np.random.Generator:
    """The random numbers of a clip under a degradation: the same whoever draws them, wherever and in whatever order."""
    digest = hashlib.sha256(f"{degradation}/{clip}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16])))


def scale_of(recipe: params.Recipe) -> tuple[float, float]:
    """The size of HR over that of LR, (height, width).

    Raises:
        VSRError: it depends on what is drawn.
    """
    scale = (1.0, 1.0)
    for step in recipe:
        match step:
            case params.Bicubic():
                y, x = _both(step)
                scale = scale[0] * y, scale[1] * x
            case params.Gaussian() | params.Anisotropic():
                scale = scale[0] * step.scale, scale[1] * step.scale
            case params.Fit():
                scale = step.scale, step.scale
            case params.Choice():
                # `fit` is relative to HR and the others to what they are given, so options are looked at from here.
                found = {_onwards(scale, option.steps) for option in step.of if option.share}
                if len(found) > 1:
                    raise VSRError("the options of a choice reduce frames by different scales: give them all the same.")
                scale = found.pop()
    return scale


def time_scale_of(recipe: params.Recipe) -> int:
    """How many HR frames it is from one LR frame to the next.

    Raises:
        VSRError: it depends on what is drawn.
    """
    factor = 1
    for step in recipe:
        if isinstance(step, params.Temporal):
            factor *= step.factor
        if isinstance(step, params.Choice):
            found = {time_scale_of(option.steps) for option in step.of if option.share}
            if len(found) > 1:
                raise VSRError("the options of a choice leave out different frames: give their temporal steps the same factor.")
            factor *= found.pop()
    return factor


def frames_for(recipe: params.Recipe, count: int) -> int:
    """How many HR frames become at least `count` LR frames, whatever is drawn."""
    for step in reversed(recipe):
        if isinstance(step, params.Temporal):
            count = step.factor * (count - 1) + step.window
        if isinstance(step, params.Choice):
            count = max(frames_for(option.steps, count) for option in step.of if option.share)
    return count


def _both(step: params.Bicubic) -> tuple[float, float]:
    """The scales of (height, width)."""
    if isinstance(step.scale, params.Range):
        raise VSRError("a range of scales is drawn by a training alone: give the bicubic step one scale.")
    return step.scale if isinstance(step.scale, tuple) else (step.scale, step.scale)


def _onwards(scale: tuple[float, float], steps: Sequence[params.Step]) -> tuple[float, float]:
    own = scale_of(list(steps))
    return own if any(isinstance(step, params.Fit) for step in steps) else (scale[0] * own[0], scale[1] * own[1])


def crop_size(size: Size, scale: tuple[float, float]) -> Size:
    """The (height, width) of HR that is used, from the first row and column on: `round(LR * scale)`.

    Raises:
        VSRError: see `lr_size`.
    """
    height, width = (
        min(side, round(part * factor)) for side, part, factor in zip(size, lr_size(size, scale), scale, strict=True)
    )
    return height, width


@dataclass
class _State:
    """A clip on its way through a recipe: the size of every frame, and which frames of HR they are."""

    sizes: list[Size]
    fps: float
    hr: Size
    first: int = 0
    factor: int = 1


def draw(recipe: params.Recipe, generator: np.random.Generator, frames: int, size: Size, fps: float) -> dict[str, Any]:
    """All that a recipe does to one clip.

    Args:
        recipe: the steps.
        generator: where random numbers come from, see `rng`.
        frames: the number of HR frames.
        size: (height, width) of HR.
        fps: frames per second of HR.

    Returns:
        `scale` ([height, width]), `crop` (the part of HR that is used), `size` (of LR), `fps`, `count` (of LR frames), `time`
        (LR frame i lies on HR frame `first` + `factor` * i), and `steps`, the entries.

    Raises:
        VSRError: the recipe cannot take frames of this size, or so few of them.
    """
    scale = scale_of(recipe)
    target = lr_size(size, scale)
    crop = crop_size(size, scale)
    state = _State([crop] * frames, fps, crop)
    entries = _steps(recipe, generator, state)
    found = set(state.sizes)
    if found != {target}:
        height, width = sorted(found)[0]
        raise VSRError(
            f"the recipe leaves frames of {width}x{height}, not of {target[1]}x{target[0]} as its scale says: end it with a `fit` step."
        )
    return {
        "scale": list(scale),
        "crop": list(crop),
        "size": list(target),
        "fps": state.fps,
        "count": len(state.sizes),
        "time": {"first": state.first, "factor": state.factor},
        "steps": entries,
    }


def at(entry: Mapping[str, Any], frame: int) -> Entry:
    """An entry as it stands for one frame, whose number is then its `frame`."""
    varying = {key: values[frame] for key, values in entry.get("frames", {}).items()}
    return {**{key: value for key, value in entry.items() if key != "frames"}, **varying, "frame": frame}


def _steps(steps: Sequence[params.Step], generator: np.random.Generator, state: _State) -> list[Entry]:
    return [entry for step in steps for entry in _step(step, generator, state)]


def _step(step: params.Step, generator: np.random.Generator, state: _State) -> list[Entry]:
    count = len(state.sizes)
    match step:
        case params.Bicubic():
            scale = _both(step)
            state.sizes = [reduced_size(size, scale) for size in state.sizes]
            return [{"op": step.op, "scale": list(scale)}]
        case params.Gaussian():
            state.sizes = [lr_size(size, (step.scale, step.scale)) for size in state.sizes]
            return [step.model_dump()]
        case params.Anisotropic():
            state.sizes = [lr_size(size, (step.scale, step.scale)) for size in state.sizes]
            values = {name: _walk(getattr(step, name), generator, count) for name in ("sigma_x", "sigma_y", "theta")}
            shapes = [
                filtering.block_kernel(step.size, sigma_x, sigma_y, theta, step.scale).tolist()
                for sigma_x, sigma_y, theta in zip(*values.values(), strict=True)
            ]
            return [_entry(step.op, {"size": step.size, "scale": step.scale}, {**values, "kernel": shapes})]
        case params.Temporal():
            return [_temporal(step, state)]
        case params.X264() | params.Mpeg4():
            return _codec(step, generator, state)
        case params.Sharpen():
            return [step.model_dump()]
        case params.Blur():
            return [_blur(step, generator, count)]
        case params.Resize():
            return [_resize(step, generator, state)]
        case params.Fit():
            height, width = reduced_size(state.hr, (step.scale, step.scale))
            state.sizes = [(height, width)] * count
            return [{"op": "resize", "mode": _pick(step.modes, generator), "height": height, "width": width}]
        case params.GaussianNoise():
            return [_noise(step.op, {"sigma": _walk(step.sigma, generator, count)}, step.grey, generator)]
        case params.PoissonNoise():
            return [_noise(step.op, {"scale": _walk(step.scale, generator, count)}, step.grey, generator)]
        case params.Jpeg():
            return [_entry(step.op, {}, {"quality": [round(value) for value in _walk(step.quality, generator, count)]})]
        case params.Choice():
            option = generator.choice(len(step.of), p=[option.share for option in step.of])
            return _steps(step.of[option].steps, generator, state)


def _temporal(step: params.Temporal, state: _State) -> Entry:
    first = step.window // 2
    kept = range(first, len(state.sizes) - step.window // 2, step.factor)
    if not kept:
        raise VSRError(f"a clip of {len(state.sizes)} frames has no window of {step.window}: use longer clips.")
    if len(set(state.sizes)) > 1:
        raise VSRError("a temporal step cannot average frames of different sizes: put a `fit` step before it.")
    state.sizes = [state.sizes[index] for index in kept]
    state.first += state.factor * first
    state.factor *= step.factor
    state.fps /= step.factor
    return step.model_dump()


def _codec(step: params.X264 | params.Mpeg4, generator: np.random.Generator, state: _State) -> list[Entry]:
    entries: list[Entry] = []
    if len(set(state.sizes)) > 1:  # a stream has one size, that of its first frame
        height, width = state.sizes[0]
        entries.append({"op": "resize", "mode": "bilinear", "height": height, "width": width})
        state.sizes = [(height, width)] * len(state.sizes)
    bit_rate = None if step.bit_rate is None else round(_one(step.bit_rate, generator))
    entry = {**step.model_dump(), "bit_rate": bit_rate, "fps": step.fps or state.fps}
    if isinstance(step, params.X264):
        entry["pixel_format"] = step.pixel_format or "yuv420p"
    return [*entries, entry]


def _blur(step: params.Blur, generator: np.random.Generator, count: int) -> Entry:
    kind = _pick(list(step.shares), generator, list(step.shares.values()))
    size = step.smallest + 2 * int(generator.integers((step.largest - step.smallest) // 2 + 1))
    values: dict[str, list[float]] = {}
    if kind == "sinc":
        rule = params.Range(low=math.pi / (3 if size < 13 else 5), high=math.pi)
        values["cutoff"] = _walk(step.cutoff if step.cutoff is not None else rule, generator, count)
    else:
        assert step.sigma is not None and step.theta is not None
        values["sigma_x"] = _walk(step.sigma, generator, count)
        turned = kind.endswith("aniso")
        values["sigma_y"] = _walk(step.sigma, generator, count) if turned else values["sigma_x"]
        values["theta"] = _walk(step.theta, generator, count) if turned else [0.0] * count
        beta = (
            step.beta_generalized if kind.startswith("generalized") else step.beta_plateau if kind.startswith("plateau") else None
        )
        if beta is not None:
            values["beta"] = _shapes(beta, generator, count)
    return _entry(step.op, {"kind": kind, "size": size}, values)


def _resize(step: params.Resize, generator: np.random.Generator, state: _State) -> Entry:
    way = _pick(list(step.shares), generator, list(step.shares.values()))
    low, high = {"up": (1.0, step.factor.high), "down": (step.factor.low, 1.0), "keep": (1.0, 1.0)}[way]
    start = float(generator.uniform(low, high))
    factors = _go_on(start, step.factor, generator, len(state.sizes))
    origin = [(state.hr[0] / step.of, state.hr[1] / step.of)] * len(factors) if step.of else state.sizes
    sizes = []
    for factor, (height, width) in zip(factors, origin, strict=True):
        sides = [max(1, math.floor(side * factor + 1e-9)) for side in (height, width)]
        sizes.append(tuple(side + side % 2 if step.even else side for side in sides))
    state.sizes = [(height, width) for height, width in sizes]
    values = {"height": [height for height, _ in sizes], "width": [width for _, width in sizes]}
    return _entry("resize", {"mode": _pick(step.modes, generator)}, values)


def _noise(op: str, values: Mapping[str, list[float]], grey: float, generator: np.random.Generator) -> Entry:
    is_grey = bool(generator.random() < grey)
    return _entry(op, {"grey": is_grey, "seed": int(generator.integers(2**63))}, values)


def _entry(op: str, constant: Mapping[str, Any], values: Mapping[str, Sequence[Any]]) -> Entry:
    """Values that are the same in all frames are written once."""
    varying = {key: list(each) for key, each in values.items() if any(value != each[0] for value in each)}
    still = {key: each[0] for key, each in values.items() if key not in varying}
    return {"op": op, **constant, **still, **({"frames": varying} if varying else {})}


def _one(value: params.Drawn, generator: np.random.Generator) -> float:
    return float(generator.uniform(value.low, value.high)) if isinstance(value, params.Range) else float(value)


def _walk(value: params.Drawn, generator: np.random.Generator, count: int) -> list[float]:
    """A value for each frame."""
    start = _one(value, generator)
    return _go_on(start, value, generator, count) if isinstance(value, params.Range) else [start] * count


def _go_on(start: float, within: params.Range, generator: np.random.Generator, count: int) -> list[float]:
    if not within.walk:
        return [start] * count
    found = [start]
    for step in generator.uniform(-within.walk, within.walk, count - 1):
        found.append(float(np.clip(found[-1] + step, within.low, within.high)))
    return found


def _shapes(beta: params.Drawn, generator: np.random.Generator, count: int) -> list[float]:
    """Of a range around 1, half begin evenly below 1 and half evenly above, as in Real-ESRGAN."""
    if not isinstance(beta, params.Range) or not beta.low < 1 < beta.high:
        return _walk(beta, generator, count)
    low, high = (beta.low, 1.0) if generator.random() < 0.5 else (1.0, beta.high)
    return _go_on(float(generator.uniform(low, high)), beta, generator, count)


def _pick(options: Sequence[Any], generator: np.random.Generator, shares: Sequence[float] | None = None) -> Any:
    return options[int(generator.choice(len(options), p=shares))]
