"""What the stages that compute priors share: the MLflow run in which a prior can be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipelines import params
from pipelines.runtime import tracking
from pipelines.runtime.lineage import Stage
from pipelines.training import product

EXPERIMENT = "vsr/priors"
"""Apart from the methods' runs, which are compared with each other."""


@contextmanager
def tracked(stage: Stage, entry: params.Masks | params.Flows, provenance: Mapping[str, Any]) -> Iterator[tracking.Run]:
    """The MLflow run of a prior, found by its run key or made, for the time of the work on it.

    Args:
        stage: which computes it.
        entry: of params.yaml.
        provenance: see `weights.provenance`; logged as the run's params.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    tracking.preflight()
    kind = "masks" if isinstance(entry, params.Masks) else "flows"
    tags = {"prior": kind, "backend": entry.model.backend, "corpus": entry.corpus, "degradation": entry.degradation}
    run = tracking.Run.find_or_create(
        name=stage.name,
        run_key=stage.run_key,
        params={"frames": entry.frames, **product.flat(provenance)},
        tags={f"vsr.{key}": value for key, value in tags.items() if value},
        inputs=[(path, digest, "prior") for path, digest in stage.inputs.items()],
        experiment=EXPERIMENT,
    )
    try:
        yield run
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish("FINISHED")
