"""Which prior a network was trained with, and the MLflow run in which a prior can be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import params
from pipelines.clips.store import Store
from pipelines.params import RENDERED, Params
from pipelines.priors import computed, kinds
from pipelines.runtime import tracking
from pipelines.runtime.lineage import Stage
from pipelines.training import product

EXPERIMENT = "vsr/priors"
"""Apart from the methods' runs, which are compared with each other."""


def learnt_with(name: str, store: Path, params: Params) -> dict[str, Any]:
    """What a network's record says of the prior that it was trained with: its `name` and `kind`, and the `model` that made it."""
    kind = RENDERED if name == RENDERED else computed.kind_of(params.priors[name])
    return {"kind": kind, "name": name, "model": kinds.provenance(Store(store))}


@contextmanager
def tracked(stage: Stage, kind: str, entry: params.OfFrames, provenance: Mapping[str, Any]) -> Iterator[tracking.Run]:
    """The MLflow run of a prior, found by its run key or made, for the time of the work on it.

    Args:
        stage: which computes it.
        kind: `masks` or `flow`.
        entry: of params.yaml.
        provenance: see `weights.provenance`; logged as the run's params.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    tracking.preflight()
    tags = {"prior": kind, "backend": provenance["backend"], "corpus": entry.corpus, "degradation": entry.degradation}
    run = tracking.Run.find_or_create(
        name=stage.name,
        run_key=stage.run_key,
        params={"frames": entry.frames, **product.flat(provenance)},
        tags={f"vsr.{key}": value for key, value in tags.items() if value},
        inputs=[(path, digest, "prior") for path, digest in stage.inputs.items()],
        experiment=EXPERIMENT,
    )
    with run.working():
        yield run
