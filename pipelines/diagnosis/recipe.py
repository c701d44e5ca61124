"""From diagnoses to a recipe, and the recipe into params.yaml and the files beside it, of which everything else stays as it is."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines import params
from pipelines.atomic import beside
from pipelines.degradations.draw import scale_of, time_scale_of
from pipelines.diagnosis.diagnose import Diagnosis
from pipelines.diagnosis.words import ENLARGED
from pipelines.errors import VSRError

VISIBLE = 1.0
"""Levels of noise from which a recipe has a step for it, if the interval of a clip begins above a quarter of that."""

SMOOTH = 22
"""The rate factor of x264 from which most noise is coded away (docs/diagnose.md)."""


def steps(found: Sequence[Diagnosis], scale: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The steps that make such footage of clean HR, and what could not be put into them, one sentence each.

    Blur was estimated on the grid of the clip, and a recipe blurs HR before it is reduced: its deviations are those of the clip times
    the scale. Of one clip a number is its estimate, of several a range from the least to the largest.
    """
    made: list[dict[str, Any]] = []
    left: list[str] = []
    blurs = [(one.estimate("blur", "sigma_x"), one.estimate("blur", "sigma_y"), one.estimate("blur", "theta")) for one in found]
    wide = [(x, y, theta) for x, y, theta in blurs if x and y]
    if wide:
        across, along = [scale * x.value for x, _, _ in wide], [scale * y.value for _, y, _ in wide]
        turns = [theta.value for _, _, theta in wide if theta]
        side = 2 * math.ceil(3.5 * max(across)) + 1
        step = {"op": "anisotropic", "sigma_x": _range(across), "sigma_y": _range(along), "theta": _range(turns or [0.0])}
        made.append({**step, "size": side, "scale": scale})
    else:
        made.append({"op": "bicubic", "scale": scale})
        left.append("blur cannot be told, so that HR is reduced by bicubic")
    made += _noise(found)
    qualities = [value.value for one in found if (value := one.estimate("jpeg"))]
    if qualities:
        made.append({"op": "jpeg", "quality": _range(qualities)})
    factors = sorted({round(value.value) for one in found if (value := one.estimate("crf"))})
    coded = [{"op": "x264", "crf": min(max(factor, 0), 51), "preset": "medium"} for factor in factors]
    if len(coded) == 1:
        made += coded
    elif coded:
        shares = [round(1 / len(coded), 6)] * len(coded)
        made.append(
            {"op": "choice", "of": [{"share": share, "steps": [step]} for share, step in zip(shares, coded, strict=True)]}
        )
    smooth = [one.name for one in found if (value := one.estimate("crf")) and value.value >= SMOOTH]
    if smooth:
        left.append(f"noise that the coding of {', '.join(smooth)} took away is not seen: the recipe may have too little of it")
    untold = [one.name for one in found if one.facts["codec"] and one.estimate("crf") is None]
    if untold:
        left.append(f"the coding of {', '.join(untold)} is not x264's and is left out")
    large = [one.name for one in found if (value := one.estimate("upscaled")) and value.value >= ENLARGED]
    if large:
        left.append(
            f"{', '.join(large)} {'was' if len(large) == 1 else 'were'} enlarged, which no recipe does: reduce before restoring"
        )
    return made, left


def _noise(found: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """Noise of the kind that most clips have."""
    told = [(one, value.value) for one in found if (value := one.estimate("noise", "sigma"))]
    sure = any(value.low > VISIBLE / 4 for one in found if (value := one.estimate("noise", "sigma")))
    if not told or max(sigma for _, sigma in told) < VISIBLE or not sure:
        return []
    grey = sum(bool(one.found["noise"]["grey"]) for one, _ in told) / len(told)
    if 2 * sum(one.found["noise"]["kind"] == "shot" for one, _ in told) > len(told):
        # Shot noise of a recipe has the variance level * scale^2, in levels.
        scales = [sigma / math.sqrt(max(_mean(one), 1.0)) for one, sigma in told]
        return [{"op": "poisson_noise", "scale": _range(scales), "grey": round(grey, 3)}]
    return [{"op": "gaussian_noise", "sigma": _range([sigma for _, sigma in told]), "grey": round(grey, 3)}]


def _mean(one: Diagnosis) -> float:
    """The mean level of luma."""
    counts = one.seen.levels
    return float(sum(level * count for level, count in enumerate(counts)) / counts.sum())


def _range(values: Sequence[float]) -> float | dict[str, float]:
    low, high = round(min(values), 3), round(max(values), 3)
    return low if low == high else {"low": low, "high": high}


# ---------------------------------------------------------------- the files


def add(path: Path, name: str, found: Sequence[Diagnosis], scale: int) -> str:
    """Add the recipe to the file of recipes, put it in use, test all methods on it and give it a suite; comments and order stay.

    Args:
        path: of params.yaml.
        name: of the recipe, and of the suite.
        found: what was diagnosed.
        scale: HR over LR.

    Returns:
        What was done and what to run, for the user.

    Raises:
        VSRError: the name is taken or not valid, no method of a suite is of this scale, or params.yaml was not valid before; nothing is changed.
    """
    known = params.load(path)
    if name in known.recipes or name in known.suites:
        raise VSRError(f"{name!r} is already a recipe or suite of {path}: choose another name.")
    made, left = steps(found, scale)
    methods = _methods(known, scale)
    if not methods:
        raise VSRError(f"no suite of {path} has a degradation of scale {scale}: give a --scale of those, e.g. 4.")
    corpora = list(known.tests.corpora)
    recipes = path.parent / params.FILES["recipes"]
    text = recipes.read_text(encoding="utf-8").rstrip("\n")
    sources = ", ".join(one.name for one in found)
    text += f"\n{name}:  # by diagnosis of {sources}\n" + "".join(f"  - {_flow(step)}\n" for step in made)
    changed = {recipes: text, path: _with_suite(path, name, methods, corpora, sources)}
    _check(path, changed)
    building = {file: beside(file, ".new") for file in changed}
    try:
        for file, new in changed.items():
            building[file].write_text(new, encoding="utf-8")
        for file, temporary in building.items():  # recipes first: one that is not in use changes nothing
            os.replace(temporary, file)
    finally:
        for temporary in building.values():
            temporary.unlink(missing_ok=True)
    notes = "".join(f"\n{note[0].upper()}{note[1:]}." for note in left)
    return (
        f"{name} is a recipe of {len(made)} step{'s' if len(made) > 1 else ''} in {recipes}, in use and the suite {name!r} of {path}.{notes}\n"
        f"Try it: vsr degrade CLIP DST --recipe {name}. Compare {len(methods)} methods on it: vsr repro, or vsr repro METHOD …"
    )


def reduces(known: params.Params, degradation: str, scale: int) -> bool:
    """Whether a degradation is a recipe that reduces frames by just this scale and leaves none out."""
    recipe = known.recipes.get(degradation)
    return recipe is not None and scale_of(recipe) == (scale, scale) and time_scale_of(recipe) == 1


def _methods(known: params.Params, scale: int) -> list[str]:
    """The methods of suites that have a degradation of this scale which leaves out no frames, in the order of params.yaml."""
    there = set()
    for suite in known.suites.values():
        for degradation in suite.degradations:
            if reduces(known, degradation, scale):
                there |= set(suite.methods)
    return [method for method in known.tested if method in there]


def _with_suite(path: Path, name: str, methods: list[str], corpora: list[str], sources: str) -> str:
    """params.yaml with the degradation in use, tested, and a suite of it: text is put in, and none of the rest changes."""
    text = path.read_text(encoding="utf-8")
    tree = yaml.compose(text, yaml.SafeLoader)
    suites = _at(tree, "suites")
    indent = " " * suites.start_mark.column
    lines = [f"{name}:", f"  title: {json.dumps(f'Footage as degraded as {sources}', ensure_ascii=False)}"]
    rows = {"methods": methods, "corpora": corpora, "degradations": [name], "metrics": ["psnr", "ssim"]}
    lines += [f"  {key}: {_flow(values)}" for key, values in rows.items()]
    last = _end(suites)
    last = text.find("\n", last) if "\n" in text[last:] else len(text)  # after the comment of that line
    put = [(last, "".join(f"\n{indent}{line}" for line in lines))]
    for place in (("degradations",), ("tests", "degradations")):
        names = _at(tree, *place)
        if names.flow_style:
            put.append((_end(names) - 1, f", {name}" if names.value else name))
        else:
            put.append((_end(names), f"\n{' ' * names.start_mark.column}- {name}"))
    for index, more in sorted(put, reverse=True):
        text = text[:index] + more + text[index:]
    return text


def _at(tree: Any, *keys: str) -> Any:
    """The node of a value in a tree of nodes."""
    for key in keys:
        tree = next(value for name, value in tree.value if name.value == key)
    return tree


def _end(node: Any) -> int:
    """Where the text of a node ends; that of block mappings and sequences PyYAML lets end where the next one begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _flow(value: Any) -> str:
    """Plain values as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


def _check(path: Path, changed: dict[Path, str]) -> None:
    """Make sure that params.yaml and the files beside it are valid as they will be."""
    with tempfile.TemporaryDirectory(prefix="vsr-params-") as folder:
        for file in (path, *(path.parent / name for name in params.FILES.values())):
            copy = Path(folder) / file.relative_to(path.parent)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(changed.get(file) or file.read_text(encoding="utf-8"), encoding="utf-8")
        params.load(Path(folder) / path.name)
