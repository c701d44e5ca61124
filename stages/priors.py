"""Where priors lie, which one a network was trained with, and the MLflow run in which a prior can be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import params
from pipelines.clips.store import MANIFEST, Store
from pipelines.errors import VSRError
from pipelines.priors import kinds
from pipelines.priors.computed import kind_of
from pipelines.runtime import tracking
from pipelines.runtime.lineage import Stage
from pipelines.training.product import Record
from stages.common import prior_store
from stages.training import flat

EXPERIMENT = "vsr/priors"
"""Apart from the methods' runs, which are compared with each other."""


def learnt_with(kind: str, name: str, store: Path) -> dict[str, Any]:
    """What a network's record says of the prior that it was trained with: `kind` (see `prior_store`), `name`, and the `model`
    that made it, as a network is tested with priors by the same one."""
    return {"kind": kind, "name": name, "model": kinds.provenance(Store(store))}


def for_test(record: Record, corpus: str, degradation: str) -> Path | None:
    """The store of the prior of a pair's LR frames by the model that a network was trained with; None if it was with none.

    Raises:
        VSRError: there is no such store.
    """
    prior = record.get("prior")
    if prior is None:
        return None
    frames = f"lr/{corpus}/{degradation}"
    above = prior_store(prior["kind"], frames, prior["name"]).parent
    for path in sorted(manifest.parent for manifest in above.glob(f"*/{MANIFEST}")):
        if kinds.provenance(Store(path)) == prior["model"]:
            return path
    model = ", ".join(f"{key} {value}" for key, value in (prior["model"] or {}).items())
    raise VSRError(
        f"{above} has no {prior['kind']} by the model that {record['name']} was trained with ({model}): "
        f"name it for {frames} in params.yaml, and run its stage."
    )


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
    tags = {
        "prior": kind_of(entry),
        "backend": entry.model.backend,
        "corpus": entry.corpus,
        "degradation": entry.degradation,
    }
    run = tracking.Run.find_or_create(
        name=stage.name,
        run_key=stage.run_key,
        params={"frames": entry.frames, **flat(provenance)},
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
