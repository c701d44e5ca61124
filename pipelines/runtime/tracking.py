"""MLflow: one run per piece of work, found again by its key whatever happened to the process that began it.

What a run already has is not logged a second time, so work may be repeated or resumed. Without
`MLFLOW_TRACKING_URI` runs are kept in `mlflow.db` beside params.yaml and their artifacts in `mlruns`. Nothing here makes a result depend on MLflow: it is told, never asked.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import math
import os
import re
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines import params
from pipelines.errors import VSRError

if TYPE_CHECKING:  # importing mlflow takes seconds
    from mlflow import MlflowClient

# MLflow asks a server that does not answer for many minutes by default, and reports its use to its makers.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

RUN_KEY = "vsr.run_key"
MODEL_NAME = "vsr.model.name"
LOSSLESS = 100.0
"""What an infinite PSNR is logged as, in dB: MLflow would keep it as 1.8e308."""

Status = Literal["FINISHED", "FAILED", "KILLED"]

_PREFLIGHT_SECONDS = "5"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's pages open on runs and charts, not on those for language models."""
_VIEW = "mlflow.sharedViewState."
"""Before the name of a saved view, which MLflow's page keeps as a tag of its experiment (as of 3.17)."""
_VERSIONS = ("vsr", "torch", "torchvision", "ray", "dvc", "mlflow")


def uri() -> str:
    """Where runs are kept: `MLFLOW_TRACKING_URI`, else the SQLite file beside params.yaml.

    The same from any working directory, so that it can be sent to workers; DVC's temporary copies of a workspace have its runs.

    Raises:
        VSRError: the workspace's path has what an address cannot hold.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        path = _database(given)
        return f"sqlite:///{path}" if path else given
    path = (_workspace() / "mlflow.db").resolve()
    if odd := re.search(r"\?|%[0-9A-Fa-f]{2}", str(path)):
        raise VSRError(
            f"MLflow cannot keep runs in {path}, for {odd[0]!r} means something else in an address: rename that folder, or set "
            "MLFLOW_TRACKING_URI to another place, e.g. sqlite:////home/me/mlflow.db."
        )
    return f"sqlite:///{path}"


def _workspace() -> Path:
    """Where params.yaml is, or of what it is a temporary copy: `dvc exp run --temp` works in one, and removes it."""
    root = params.find().parent
    return next((folder for folder in root.parents if root.is_relative_to(folder / ".dvc" / "tmp" / "exps")), root)


def preflight() -> None:
    """Make sure that runs can be kept, before any work starts; creates the SQLite file where it is to be.

    Raises:
        VSRError: the server of `MLFLOW_TRACKING_URI` does not answer within seconds or refuses, or the
            database cannot be used.
    """
    where = uri()
    patient = {name: os.environ[name] for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")}
    os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=_PREFLIGHT_SECONDS)
    try:
        with translate_errors(where), _alone(where):
            _client(where, create=True).search_experiments(max_results=1)
    finally:
        os.environ.update(patient)


@dataclass(frozen=True)
class Run:
    """An MLflow run. Small and picklable: send it to the worker that has something to log."""

    uri: str = field(repr=False)  # may carry a password
    id: str

    @classmethod
    def find_or_create(
        cls,
        *,
        name: str,
        run_key: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        inputs: Sequence[tuple[str, str, str]],
        experiment: str = "vsr/methods",
    ) -> Run:
        """The run of that key, running again if there is one, else a new one.

        Args:
            name: what the run is called in MLflow.
            run_key: its identity, see `lineage`; no two runs of an experiment have the same.
            params: flat; logged once, so a run that goes on keeps those it began with.
            tags: more tags beside those of the commit, the versions and the DVC stage.
            inputs: the data as (name, DVC digest, context such as `training`).
            experiment: the MLflow experiment.

        Raises:
            VSRError: MLflow does not answer or refuses.
            ValueError: a digest is longer than MLflow's 36 characters.
        """
        where = uri()
        all_tags = {clean(key): _public(value) for key, value in {**_origin(), **tags, RUN_KEY: run_key}.items()}
        with translate_errors(where), _alone(where):
            client = _client(where, create=True)
            of = _experiment(client, where, experiment)
            found = client.search_runs([of], f"tags.`{RUN_KEY}` = '{run_key}'", max_results=1, order_by=["attributes.start_time"])
            if found:
                run = found[0]
                client.update_run(run.info.run_id, status="RUNNING", name=name)
            else:
                run = client.create_run(of, tags=all_tags, run_name=name)
            known = set(run.data.params)
            new = {clean(key): _public(str(value)) for key, value in params.items() if clean(key) not in known}
            _log_texts(client, run.info.run_id, new, all_tags)
            if inputs:
                client.log_inputs(run.info.run_id, datasets=_datasets(inputs))
        return cls(where, run.info.run_id)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log a point of each curve that does not reach that step yet.

        An infinite PSNR is logged as `LOSSLESS` dB, NaN as NaN, and any other infinity as NaN too, so that a
        chart can still be drawn.

        Raises:
            VSRError: MLflow does not answer or refuses.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._client() as client:
            reached = {point.key: point.step for point in client.get_run(self.id).data.to_proto().metrics}
            points = [
                Metric(clean(key), _finite(key, value), now, step)
                for key, value in values.items()
                if reached.get(clean(key), -1) < step
            ]
            for first in range(0, len(points), 1000):
                client.log_batch(self.id, metrics=points[first : first + 1000])

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Log pictures, (H, W, 3) uint8 RGB, by name, leaving out those that the run has at that step.

        MLflow shows the steps of a name together.

        Raises:
            VSRError: MLflow does not answer or refuses.
        """
        with self._client() as client:
            paths = [file.path for file in client.list_artifacts(self.id, "images")]
            for key, image in images.items():
                name = _image(key)
                # How MLflow names the file of a picture, before its time.
                if any(path.startswith(f"images/{name.replace('/', '~')}+step+{step}+") for path in paths):
                    continue
                client.log_image(self.id, np.ascontiguousarray(image), key=name, step=step, synchronous=True)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file, or of a folder under its name, in place of an earlier one.

        Raises:
            VSRError: MLflow does not answer or refuses.
        """
        with self._client() as client:
            if path.is_dir():
                client.log_artifacts(self.id, str(path), artifact_path=path.name)
            else:
                client.log_artifact(self.id, str(path))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, in place of those that the run has by these names.

        Raises:
            VSRError: MLflow does not answer or refuses.
        """
        with self._client() as client:
            _log_texts(client, self.id, {}, {clean(key): _public(value) for key, value in tags.items()})

    def model(self, name: str, path: str, sha256: str, *, registered: str | None = None) -> None:
        """Log the parameters that the run made, by reference: where they are and their sha256. The
        file itself is kept by DVC, not a second time.

        Args:
            name: the model's name in MLflow.
            path: relative to the repository, or an address.
            sha256: of the file.
            registered: the registered model that it becomes a version of, with `name` as its tag `MODEL_NAME`.

        Raises:
            VSRError: MLflow does not answer or refuses.
        """
        from mlflow.entities import LoggedModelStatus

        tags = {"vsr.model.path": _public(path), "vsr.model.sha256": sha256, "mlflow.model.isExternal": "true"}
        with self._client() as client, _alone(self.uri):
            run = client.get_run(self.id)
            if run.data.tags.get("vsr.model.sha256") == sha256:
                return
            model = client.create_logged_model(run.info.experiment_id, name, self.id, tags=tags)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            if registered:
                _registered(client, registered)
                source = f"models:/{model.model_id}"
                client.create_model_version(registered, source, self.id, tags={**tags, MODEL_NAME: name}, model_id=model.model_id)
            # Last, for it says that all this is done.
            _log_texts(client, self.id, {}, {**tags, "vsr.model.id": model.model_id})

    def finish(self, status: Status) -> None:
        """The run is over.

        Raises:
            VSRError: MLflow does not answer or refuses.
        """
        with self._client() as client:
            client.set_terminated(self.id, status)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The run is finished after the block, or failed with what the block raises, whether or not MLflow can be told.

        Raises:
            VSRError: MLflow does not answer or refuses, and the block raised nothing.
        """
        try:
            yield
        except BaseException:
            try:
                self.finish("FAILED")
            except VSRError as untold:
                print(f"MLflow still shows this run as running: {untold}", file=sys.stderr)
            raise
        self.finish("FINISHED")

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        with translate_errors(self.uri):
            yield _client(self.uri)


def runs(experiment: str, where: str = "") -> dict[Run, dict[str, str]]:
    """The runs of an experiment that are not deleted with their tags, the newest first; none if there is no such experiment.

    Args:
        experiment: its name.
        where: only those, as MLflow's search says it, e.g. "tags.`vsr.method` = 'basicvsr'".

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    place = uri()
    found: dict[Run, dict[str, str]] = {}
    with translate_errors(place):
        client = _client(place)
        known = client.get_experiment_by_name(experiment)
        token: str | None = None
        while known and token != "":
            page = client.search_runs([known.experiment_id], where, max_results=1000, page_token=token)
            found |= {Run(place, run.info.run_id): dict(run.data.tags) for run in page}
            token = page.token or ""
    return found


def alias(registered: str, name: str, of: str) -> bool:
    """Point an alias of a registered model at its newest version that `Run.model` was given under the name `of`.

    Returns:
        Whether there is one; without, nothing changes.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    where = uri()
    with translate_errors(where):
        client = _client(where)
        found = client.search_model_versions(f"name = '{registered}' and tags.`{MODEL_NAME}` = '{of}'")
        newest = max((int(version.version) for version in found), default=None)
        if newest is not None:
            client.set_registered_model_alias(registered, name, str(newest))
    return newest is not None


def view(
    experiment: str,
    name: str,
    *,
    title: str,
    where: str,
    params: Sequence[str],
    metrics: Sequence[str],
    against: str,
    images: Sequence[str],
) -> None:
    """Save a view of an experiment's runs under the menu `Views` of MLflow's page, in place of one of that name.

    Its table has a column for each of the params and metrics, sorted by the last of the params. Its charts begin with
    bars of each metric, the first metric against another, and pictures.

    Args:
        experiment: its name.
        name: of the view, and its `viewStateShareKey` in the page's address.
        title: of its charts.
        where: which runs, see `runs`.
        params: their names.
        metrics: their names.
        against: the metric along the horizontal axis.
        images: names of pictures, as `Run.images` was given them.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    charts: list[dict[str, Any]] = [
        {"type": "BAR", "uuid": f"{name}-{metric}", "metricKey": metric, "displayName": metric} for metric in metrics
    ]
    axes = {"xaxis": {"type": "METRIC", "key": against}, "yaxis": {"type": "METRIC", "key": metrics[0]}}
    charts.append({"type": "SCATTER", "uuid": f"{name}-{against}", **axes})
    charts += [
        {"type": "IMAGE", "uuid": f"{name}-{key}", "imageKeys": [key], "step": 0, "showRunParams": False}
        for key in map(_image, images)
    ]
    state = {
        "searchFilter": where,
        "orderByKey": f"params.`{params[-1]}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*(f"params.`{key}`" for key in params), *(f"metrics.`{key}`" for key in [*metrics, against])],
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "compareRunSections": [{"uuid": name, "name": title, "display": True, "isReordered": False}],
        "compareRunCharts": [{**chart, "metricSectionId": name, "runsCountToCompare": 20, "deleted": False} for chart in charts],
    }
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    key = f"{_VIEW}{name}"
    place = uri()
    with translate_errors(place), _alone(place):
        client = _client(place)
        of = _experiment(client, place, experiment)
        known = client.get_experiment(of).tags.get(key)
        if known is None or json.loads(known)["state"] != packed:
            now = int(time.time() * 1000)
            client.set_experiment_tag(of, key, json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": packed}))


def views() -> dict[str, str]:
    """The saved views of all experiments by name: their addresses on MLflow's page, from `#` on.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    where = uri()
    with translate_errors(where):
        return {
            key.removeprefix(_VIEW): f"#/experiments/{experiment.experiment_id}/runs?viewStateShareKey={key.removeprefix(_VIEW)}"
            for experiment in _client(where).search_experiments()
            for key in experiment.tags
            if key.startswith(_VIEW)
        }


def clean(name: str) -> str:
    """The name with what MLflow does not take in keys of metrics, params, tags and images replaced by `_`."""
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", name)


def _image(key: str) -> str:
    """The name with what MLflow does not take in names of images replaced."""
    return clean(key).replace(":", "_")


def _finite(key: str, value: float) -> float:
    value = float(value)
    if not math.isinf(value):
        return value
    return LOSSLESS if value > 0 and "psnr" in key.lower() else math.nan


def _public(text: str) -> str:
    """The text without the passwords and signatures of addresses in it."""
    text = re.sub(r"(\w://)[^/@\s]+@", r"\1", str(text))
    return re.sub(r"([?&](?:X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature|sig|token|access_token)=)[^&\s]+", r"\1…", text)


def _database(where: str) -> Path | None:
    """The file of a SQLite address."""
    return Path(where.removeprefix("sqlite:///")).resolve() if where.startswith("sqlite:///") else None


def _client(where: str, *, create: bool = False) -> MlflowClient:
    path = _database(where)
    if path and not create and not path.exists():
        raise VSRError(
            f"the MLflow database {path} is not on this machine: work on several machines needs a server, "
            "start one (`mlflow server`) and set MLFLOW_TRACKING_URI to it."
        )
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if path and create:
        _prepare(path)
    return MlflowClient(tracking_uri=where, registry_uri=where)


def _prepare(path: Path) -> None:
    """Make the database where there is none, beside its place: one that is half-made is refused for ever. Where the workspace was
    moved, artifacts are looked for beside the database again."""
    from mlflow import MlflowClient

    if not path.exists():
        partial = path.with_name(f".{path.name}.partial")
        for file in path.parent.glob(f"{partial.name}*"):  # and its journal
            file.unlink()
        MlflowClient(f"sqlite:///{partial}", f"sqlite:///{partial}").search_experiments(max_results=1)
        os.replace(partial, path)
        return
    with closing(sqlite3.connect(path, timeout=20)) as database, suppress(sqlite3.Error), database:  # MLflow says what is wrong
        for name, location in database.execute("SELECT name, artifact_location FROM experiments").fetchall():
            here, end = _artifacts(path, name), _artifacts(Path("/mlflow.db"), name).removeprefix("file://")
            if location == here or not (location.startswith("file:") and location.endswith(end)):
                continue  # where they are, or where someone else put them
            for table, column in (
                ("experiments", "artifact_location"),
                ("runs", "artifact_uri"),
                ("logged_models", "artifact_location"),
            ):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (here, len(location) + 1, len(location), location),
                )


def _artifacts(path: Path, experiment: str) -> str:
    """The address of an experiment's artifacts: beside the database, whatever the working directory."""
    return (path.parent / "mlruns" / experiment).as_uri()


@contextmanager
def _alone(where: str) -> Iterator[None]:
    """One process at a time creates the SQLite tables, experiments and runs: MLflow itself races there."""
    path = _database(where)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """MLflow's many errors as one sentence."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        reason = _public(" ".join(str(error).split()))
        unreachable = "Max retries exceeded" in reason or isinstance(error, RequestException)
        if unreachable and _database(where) is None:
            raise VSRError(
                f"no MLflow server answers at MLFLOW_TRACKING_URI={_public(where)}: start it, or unset MLFLOW_TRACKING_URI to keep "
                "the runs in a local file; what was done is kept, run again to go on."
            ) from error
        raise VSRError(f"MLflow at {_public(where)} refuses: {reason[:300]}") from error


def _experiment(client: MlflowClient, where: str, name: str) -> str:
    """The id of the experiment, created if need be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        path = _database(where)
        location = _artifacts(path, name) if path else None  # a server knows where they go
        try:
            return client.create_experiment(name, artifact_location=location, tags=_KIND)
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise VSRError(
            f"the MLflow experiment {name!r} is deleted: bring it back with `mlflow experiments restore -x {found.experiment_id}`, "
            "or remove it for good with `mlflow gc`."
        )
    return str(found.experiment_id)


def _registered(client: MlflowClient, name: str) -> None:
    """The registered model is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_texts(client: MlflowClient, run: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Params and tags in batches as large as MLflow takes."""
    from mlflow.entities import Param, RunTag

    all_params = [Param(key, value) for key, value in params.items()]
    all_tags = [RunTag(key, value) for key, value in tags.items()]
    for first in range(0, max(len(all_params), len(all_tags)), 100):
        client.log_batch(run, params=all_params[first : first + 100], tags=all_tags[first : first + 100])


def _datasets(inputs: Sequence[tuple[str, str, str]]) -> list[Any]:
    """MLflow's dataset inputs: one for each name and digest, which it takes once a run, with all its contexts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    contexts: dict[tuple[str, str], list[str]] = {}
    for name, digest, context in inputs:
        if len(digest) > 36:
            raise ValueError(
                f"the digest of the dataset {name!r} has {len(digest)} characters: MLflow takes 36, the length of DVC's."
            )
        contexts.setdefault((name, digest), []).append(context)
    return [
        DatasetInput(
            Dataset(name, digest, source_type="dvc", source=json.dumps({"path": name})),
            [InputTag("mlflow.data.context", ", ".join(dict.fromkeys(all_contexts)))],
        )
        for (name, digest), all_contexts in contexts.items()
    ]


def _origin() -> dict[str, str]:
    """Tags of where a run comes from: commit, whether it was changed, versions, DVC stage."""
    tags = {f"version.{name}": version for name in _VERSIONS if (version := _version(name))}
    if stage := os.environ.get("DVC_STAGE"):
        tags |= {"dvc.stage": stage, "mlflow.source.name": stage}
    root = params.find().parent
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        tags |= {
            "mlflow.source.git.commit": commit,
            "git.dirty": str(bool(_git(root, "status", "--porcelain", "--untracked-files=no"))).lower(),
        }
    return tags


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or None where there is no git, repository or commit."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
