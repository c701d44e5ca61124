"""The MLflow server of infra/: its file is sound, and the command in it serves runs from PostgreSQL and artifacts from S3."""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from moto.server import ThreadedMotoServer
from servers import free_port, wait_for_mlflow

from pipelines.params import ROOT
from pipelines.runtime import tracking

FOLDER = ROOT / "infra" / "mlflow"
NAME = "tracker.example.org"


def substituted(text: str, environment: Mapping[str, str]) -> str:
    """What Compose makes of `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found[1], found[2], found[3]
        if environment.get(name):
            return environment[name]
        assert kind != ":?", f"{name}: {rest}"
        return rest or ""

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def compose(**environment: str) -> dict[str, Any]:
    return yaml.safe_load(substituted((FOLDER / "compose.yaml").read_text(), environment))["services"]


def flags(command: list[str]) -> dict[str, str]:
    assert command[:2] == ["mlflow", "server"]
    return dict(flag.split("=", 1) for flag in command[2:])  # type: ignore[misc]


FILLED = {"POSTGRES_PASSWORD": "p", "MLFLOW_BUCKET": "b"}


def test_the_server_is_reached_from_this_machine_only_unless_told_otherwise() -> None:
    assert compose(**FILLED)["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert compose(**FILLED, MLFLOW_BIND="0.0.0.0", MLFLOW_PORT="80")["mlflow"]["ports"] == ["0.0.0.0:80:5000"]
    assert "ports" not in compose(**FILLED)["postgres"]


def test_every_service_says_whether_it_is_well_and_runs_are_kept() -> None:
    services = compose(**FILLED)
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in services.values())
    assert services["mlflow"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    (volume,) = services["postgres"]["volumes"]
    assert volume.split(":")[0] in yaml.safe_load((FOLDER / "compose.yaml").read_text())["volumes"]


def test_no_secret_is_in_a_file() -> None:
    for missing in FILLED:
        with pytest.raises(AssertionError, match=missing):
            compose(**{name: value for name, value in FILLED.items() if name != missing})
    marked = compose(**{**FILLED, "POSTGRES_PASSWORD": "notToBeShown"})
    assert "notToBeShown" not in str(marked["mlflow"]["command"])  # which `ps` shows
    example = (FOLDER / ".env.example").read_text()
    for name in ("POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert re.search(rf"^{name}=$", example, re.MULTILINE)
    assert ".env" in (FOLDER / ".gitignore").read_text().split()
    named = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text()))
    assert named <= set(re.findall(r"^#? ?(\w+)=", example, re.MULTILINE))


def test_images_have_the_versions_that_are_tested() -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+", compose(**FILLED)["postgres"]["image"])
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (installed,) = re.findall(r"pip install .*--constraint /tmp/constraints.txt (.*)", dockerfile)
    locked = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert set(installed.split()) <= locked
    assert f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim" in dockerfile


def _postgres() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not (found[-1].parent / "pg_ctl").is_file():
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    return found[-1].parent


@pytest.fixture
def postgres() -> Iterator[tuple[str, str]]:
    """A PostgreSQL server for a while: its address and the password of its user mlflow."""
    binaries, password, port = _postgres(), secrets.token_hex(8), free_port()
    folder = Path(tempfile.mkdtemp(prefix="vsr-postgres-"))
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("needs the user postgres, for PostgreSQL does not run as root")
        os.chown(folder, user.pw_uid, user.pw_gid)
        account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(*command: str) -> None:
        done = subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PGPASSWORD": password, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            **account,
        )
        assert done.returncode == 0, done.stdout

    (folder / "password").write_text(password)
    if account:
        os.chown(folder / "password", account["user"], account["group"])
    data = folder / "data"
    try:
        run("initdb", f"--pgdata={data}", "--username=mlflow", "--auth=scram-sha-256", "--pwfile=password")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", f"--pgdata={data}", "--wait", f"--log={folder / 'log'}", f"--options={options}", "start")
        try:
            run("createdb", "--host=127.0.0.1", f"--port={port}", "--username=mlflow", "mlflow")
            yield f"127.0.0.1:{port}", password
        finally:
            run("pg_ctl", f"--pgdata={data}", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """An S3 server with a bucket `runs`: its address, and a client of it."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    client.create_bucket(Bucket="runs")
    yield address, client
    server.stop()


@pytest.fixture
def server(postgres: tuple[str, str], bucket: tuple[str, Any], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The server with the flags and the environment of compose.yaml, only its addresses changed; gives its own and its flags."""
    pytest.importorskip("psycopg2", reason="needs psycopg2: pip install 'vsr[server]'")
    database, password = postgres
    given = {
        "POSTGRES_PASSWORD": password,
        "MLFLOW_BUCKET": "runs",
        "MLFLOW_NAME": NAME,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": bucket[0],
    }
    service = compose(**given)["mlflow"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for variable in service["environment"]:
        name, _, value = variable.partition("=")
        environment[name] = value or given[name]
    port = free_port()
    chosen = flags(service["command"])
    changed = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": chosen["--backend-store-uri"].replace("postgres:5432", database),
    }
    assert set(changed) <= set(chosen) and database in changed["--backend-store-uri"]
    command = [sys.executable, "-m", "mlflow", "server", *(f"{flag}={value}" for flag, value in {**chosen, **changed}.items())]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_mlflow(process, address, tmp_path / "log")
            yield address, chosen["--artifacts-destination"]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.timeout(400)
def test_the_server_of_the_compose_file(
    server: tuple[str, str], bucket: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, destination = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)  # a client has no keys
    tracking.preflight()
    run = tracking.Run.find_or_create(name="a run", run_key="key", params={"rate": 1}, tags={}, inputs=[])
    run.metrics(1, {"psnr": 31.0})
    (tmp_path / "clips.csv").write_text("clip,psnr\ncity,31.0\n")
    run.artifact(tmp_path / "clips.csv")
    run.model("a", "data/trained/a/model.safetensors", "0" * 64, registered="vsr")
    assert tracking.alias("vsr", "best-suite", "a")
    assert list(tracking.runs("vsr/methods", "tags.`vsr.run_key` = 'key'")) == [run]

    scheme, _, place = destination.partition("://")
    assert scheme == "s3" and place == "runs/artifacts"
    (stored,) = (
        item["Key"] for item in bucket[1].list_objects_v2(Bucket="runs")["Contents"] if item["Key"].endswith("clips.csv")
    )
    assert stored.startswith("artifacts/")
    assert bucket[1].get_object(Bucket="runs", Key=stored)["Body"].read() == b"clip,psnr\ncity,31.0\n"

    def asked(host: str, origin: str | None = None) -> int:
        headers = {"Host": host} | ({"Origin": origin} if origin else {})
        found = requests.post(
            f"{address}/api/2.0/mlflow/experiments/search", json={"max_results": 5}, headers=headers, timeout=30
        )
        if found.status_code == 200:
            assert [each["name"] for each in json.loads(found.text)["experiments"]][0] == "vsr/methods"
        return found.status_code

    for host in ("mlflow:5000", "localhost", "localhost:5000", "127.0.0.1:5000", NAME, f"{NAME}:5000"):
        assert asked(host) == 200, host
    for host in ("elsewhere.example.org", "mlflow.example.org:5000", f"{NAME}.example.org"):
        assert asked(host) == 403, host
    # What a browser sends from the server's own pages, and from another's.
    assert asked(f"{NAME}:5000", f"http://{NAME}:5000") == 200
    assert asked(NAME, f"https://{NAME}") == 200
    assert asked(f"{NAME}:5000", "http://elsewhere.example.org") == 403
