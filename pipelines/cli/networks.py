"""A network as options choose it, `vsr card`, which counts what it costs, and `vsr export-network`, which writes it as ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.errors import VSRError

Scale = Annotated[float | None, typer.Option(min=1, help="For networks that restore at any scale, e.g. 2.5; 4 by default.")]


def card(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A network, e.g. basicvsr.")],
    lr: Annotated[str, typer.Option(metavar="HxW", help="Size of the LR frame.")] = "180x320",
    frames: Annotated[int, typer.Option(min=1, help="Length of the clip that the cost is spread over.")] = 100,
    scale: Scale = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A network's parameters and multiply-accumulates per frame, as published."""
    from pipelines import networks
    from pipelines.restoring.cost import cost

    height, width = pixels("--lr", lr)
    network = networks.restorer(networks.create(method))
    size = sized(network, scale, None)((height, width))
    found = cost(network, height, width, frames, size)
    if as_json:
        print(json.dumps({"method": method, **found}))
        return
    enlarged = f" to {size[0]}x{size[1]}" if size else ""
    print(f"{method} at {height}x{width}{enlarged}, per frame of a clip of {frames}")
    print(f"  parameters                          {found['parameters']:,}")
    print(f"  GMAC                                {found['gmacs']:.1f}")
    print(f"  GMAC without deformable convolution {found['gmacs_without_deform']:.1f}")


def export_network(
    method: Annotated[
        str,
        typer.Argument(metavar="NAME|FILE", help="A checkpoint, published weights, or a network that needs none, e.g. bicubic."),
    ],
    destination: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="What to write; must not exist yet.")],
    lr: Annotated[str, typer.Option(metavar="HxW", help="Size of the frames that it takes, and of no others.")] = "180x320",
    frames: Annotated[int, typer.Option(min=1, help="Frames of the clips that it takes, where it takes clips.")] = 7,
    scale: Scale = None,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Instead of --scale: what frames are restored to.")] = None,
) -> None:
    """Write a network as ONNX, and hold what onnxruntime makes of it against PyTorch: see docs/export.md."""
    from pipelines.exporting.export import export

    if destination.suffix.lower() != ".onnx":
        raise VSRError(f"OUT is {str(destination)!r}: give a name that ends in .onnx.")
    if destination.exists():
        raise VSRError(f"{destination} already exists: remove it or choose another name.")
    network = _named(method)
    taken = pixels("--lr", lr)
    found = export(network, destination, taken, frames, sized(network, scale, size)(taken))
    print(f"{network.name} in {destination}, held against PyTorch:")
    for one in found:
        print(
            f"  {one.frames + ':':17} differs by at most {one.difference:.1e}, PSNR {one.psnr:.1f} dB; "
            f"a call takes PyTorch {one.torch_ms:.0f} ms and onnxruntime {one.onnx_ms:.0f} ms"
        )


def _named(text: str) -> Any:
    """The network of a file, of published weights, or by its own name."""
    import models
    from pipelines import weights

    if Path(text).is_file() or Path(text).suffix:
        return chosen(None, Path(text))
    if text in models.names():
        return chosen(text, None)
    return chosen(None, weights.checkpoint(text))


def chosen(method: str | None, weights: Path | None) -> Any:
    """The network that the options name, with its parameters."""
    from pipelines import networks

    if weights is not None:
        return networks.restorer(networks.load(weights, expect=method))
    if method is None:
        raise VSRError("it is not said what to restore by: give --weights FILE, or a --method that needs none, such as bicubic.")
    network = networks.restorer(networks.create(method))
    if network.needs_weights:
        raise VSRError(f"{method} has to be trained: give its parameters with --weights FILE.")
    return network


def sized(network: Any, scale: float | None, size: str | None) -> Callable[[tuple[int, int]], tuple[int, int] | None]:
    """What frames of a size are restored to, by the options; None where the network says it."""
    import math

    if scale is None and size is None:
        return lambda lr: None
    if scale is not None and size is not None:
        raise VSRError("--scale and --size do not go together: choose one.")
    if not network.any_scale:
        raise VSRError(
            f"{network.name} enlarges {network.scale:g} times and no other: leave {'--scale' if size is None else '--size'} out, "
            "or choose a network that restores at any scale, e.g. bicubic."
        )
    if size is not None:
        fixed = pixels("--size", size)
        return lambda lr: fixed
    if not math.isfinite(factor := scale or 1):
        raise VSRError(f"--scale is {scale}: give a number of at least 1.")
    return lambda lr: (round(factor * lr[0]), round(factor * lr[1]))


def pixels(option: str, text: str) -> tuple[int, int]:
    """(height, width) as an option gives it."""
    height, _, width = text.partition("x")
    if not (text.isascii() and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise VSRError(f"{option} is {text!r}: give height x width in pixels, e.g. 180x320.")
    return int(height), int(width)


def guiding(network: Any, weights: Path | None, name: str | None, device: str) -> Callable[[Any], tuple[Any, Any]]:
    """Makes of a clip what the network sees: its frames, and their priors by keyword.

    Args:
        network: see `chosen`.
        weights: its parameters; the record of a training beside them says which prior it learnt with.
        name: a prior of params.yaml, None for that of the record.
        device: where the prior is computed.

    Raises:
        VSRError: the network sees none, or another, or one that cannot be computed.
    """
    from pipelines import params
    from pipelines.priors import computed

    if not network.priors:
        if name is not None:
            raise VSRError(f"{network.name} sees no prior of the frames: leave --prior out.")
        return lambda clip: (clip.frames(), {})
    known = params.load().priors_of(network.priors)
    learnt = _learnt_with(weights)
    seen = " and ".join(network.priors)
    if not known or (learnt and learnt["kind"] == "rendered"):
        raise VSRError(
            f"{network.name} sees {seen}, which footage brings and nothing computes: evaluate it on a rendered corpus."
        )
    if name is None and learnt:
        name = str(learnt["name"])
    if name is None:
        raise VSRError(f"{network.name} is guided by {seen}: name what makes them with --prior, one of {', '.join(known)}.")
    model = params.entry("prior", known, name)
    _check_learnt(learnt, name, model)
    worker = computed.worker(model, device)
    return lambda clip: computed.of_footage(worker, network.priors, clip.frames(), clip.size)


DEFAULT = {"steps": 5, "rate": 1e-4, "optimiser": "adam", "kernel": "estimated"}
"""How a network learns from footage where no record says how: as `ada_vsr` is published here."""


def adapting(network: Any, weights: Path | None, steps: int | None, device: str) -> Callable[[Any, int], Any]:
    """Makes of a clip, and the most frames that are learnt from, the network that restores it.

    Args:
        network: see `chosen`.
        weights: its parameters; the record of a training beside them says how it learns.
        steps: instead of the record's; 0 for none.
        device: where.
    """
    from pipelines import params
    from pipelines.training import product

    record = _record(weights)
    found = product.adaptation(record) if record else None
    if steps is not None and steps > 0:
        found = params.Adaptation.model_validate({**(found.model_dump() if found else DEFAULT), "steps": steps})
    if found is None or steps == 0:
        return lambda clip, most: network
    if found.kernel == "oracle":  # what made footage is not known
        found = found.model_copy(update={"kernel": "estimated"})

    def learnt(clip: Any, most: int) -> Any:
        from itertools import islice

        from pipelines.restoring.adapting import adapted, middle

        seen = middle(clip.count, most)
        return adapted(network, list(islice(clip.frames(), seen.start, seen.stop)), found, device)

    return learnt


def _record(weights: Path | None) -> dict[str, Any] | None:
    """The record of a training that stands beside its parameters; None where there is none."""
    from pipelines.training import product

    if weights is None or weights.name != product.WEIGHTS or not (weights.parent / product.RECORD).is_file():
        return None
    return product.read(weights.parent)


def _learnt_with(weights: Path | None) -> dict[str, Any] | None:
    """The prior that a network was trained with, by the record that stands beside its parameters; None where there is none."""
    record = _record(weights)
    return record.get("prior") if record else None


def _check_learnt(learnt: dict[str, Any] | None, name: str, model: Any) -> None:
    """The prior is that which the network learnt with, whatever the two are called."""
    from pipelines import weights

    found = weights.provenance(model)
    if learnt is None or learnt["model"] == found:
        return
    wanted, given = (", ".join(f"{key} {value}" for key, value in model.items()) for model in (learnt["model"], found))
    raise VSRError(
        f"the network was trained with {learnt['name']} ({wanted}), and {name} is another prior ({given}): give that one."
    )
