"""Degrade: the HR clips of a corpus become its LR clips under a degradation."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params
from pipelines.clips.store import Store
from pipelines.degradations import recipes
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect
from pipelines.runtime.lineage import verify
from stages.common import begin, data, end, main


def degrade(arguments: Namespace) -> None:
    """Make `data/lr/<corpus>/<degradation>`."""
    corpus, degradation = arguments.corpus, arguments.degradation
    stage, loaded = begin(f"degrade@{corpus}-{degradation}")
    recipe = params.entry("recipe", loaded.recipes, degradation)
    recipes.check(recipe)
    hr = Store(data("hr", corpus))
    jobs = {clip: recipes.ClipJob(hr.path, clip) for clip in hr.clips}
    out = data("lr", corpus, degradation)
    with connect():
        factory = partial(recipes.Degrade, recipe, degradation)
        label = f"degrade {corpus} {degradation}"
        storing.build(jobs, factory, {"lr": (out, None)}, stage.work, label=label, verify=partial(verify, stage))
    end(stage)


if __name__ == "__main__":
    main(degrade, "corpus", "degradation", about="Make the LR clips of a corpus under a degradation.")
