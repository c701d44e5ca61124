"""The clusters of infra/: valid for Ray and KubeRay, closed to the world, in the versions that are tested."""

from __future__ import annotations

import json
import re
import string
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from pipelines.params import ROOT
from pipelines.runtime.submit import CARRIED

INFRA = ROOT / "infra"
LOCKED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
FILLED = {
    "AWS_DEFAULT_REGION": "us-west-2",
    "VSR_IMAGE": "registry/vsr:1",
    "VSR_AMI": "ami-1",
    "VSR_SUBNET": "subnet-1",
    "VSR_SECURITY_GROUP": "sg-1",
    "VSR_EFS": "fs-1",
}


def leaves(tree: Any) -> list[str]:
    """All keys and values of a tree, as text."""
    if isinstance(tree, dict):
        return [text for key, value in tree.items() for text in (str(key), *leaves(value))]
    return [text for value in tree for text in leaves(value)] if isinstance(tree, list) else [str(tree)]


# ---------------------------------------------------------------- ray up


@pytest.fixture(scope="module")
def aws() -> dict[str, Any]:
    text = (INFRA / "aws" / "cluster.yaml").read_text()
    found = yaml.safe_load(string.Template(text).safe_substitute(FILLED))
    assert not any("${" in leaf for leaf in leaves(found))
    return found


def test_ray_takes_the_cluster_of_aws(aws: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(aws, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**aws, "available_node_types": {"head": {}}}, schema)
    assert aws["head_node_type"] in aws["available_node_types"]
    readme = (INFRA / "aws" / "README.md").read_text()
    (filled,) = re.findall(r"envsubst '([^']+)' < infra/aws/cluster.yaml", readme)
    assert {name.removeprefix("$") for name in filled.split()} == set(FILLED)


def test_the_head_is_on_demand_and_workers_with_gpus_are_spot(aws: dict[str, Any]) -> None:
    head, gpu = (aws["available_node_types"][name] for name in ("head", "gpu"))
    assert "InstanceMarketOptions" not in head["node_config"] and "GPU" not in head["resources"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} and gpu["resources"]["GPU"] == 1
    assert gpu["max_workers"] == aws["max_workers"] and gpu["min_workers"] > 0


def test_no_port_of_aws_is_open_to_the_world(aws: dict[str, Any]) -> None:
    """Without a security group of its own, `ray up` opens SSH to everyone."""
    assert "0.0.0.0" not in str(aws) and aws["provider"]["use_internal_ips"] is True and "security_group" not in aws["provider"]
    for node in aws["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"] == ["sg-1"]
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    assert aws["auth"]["ssh_proxy_use_node_id"] and "ssm start-session" in aws["auth"]["ssh_proxy_command"]
    assert "--dashboard-host=127.0.0.1" in str(aws["head_start_ray_commands"])
    opened = re.findall(r"authorize-security-group-ingress(.*)", (INFRA / "aws" / "README.md").read_text())
    assert opened and all("--source-group $VSR_SECURITY_GROUP" in rule and "cidr" not in rule for rule in opened)


def test_nodes_of_aws_ask_for_the_token(aws: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in aws["docker"]["run_options"]
    assert aws["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "--volume /shared:/shared" in aws["docker"]["run_options"]


# ---------------------------------------------------------------- KubeRay

REQUIRED = {  # what the CRDs of ray.io/v1 require, and what they know, by KubeRay's API reference
    "cluster": (
        {"headGroupSpec"},
        {
            "rayVersion",
            "authOptions",
            "enableInTreeAutoscaling",
            "autoscalerOptions",
            "workerGroupSpecs",
            "headServiceAnnotations",
        },
    ),
    "head": ({"rayStartParams", "template"}, {"serviceType", "headService", "enableIngress"}),
    "worker": (
        {"groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"},
        {"replicas", "numOfHosts", "scaleStrategy"},
    ),
    "job": (
        {"entrypoint"},
        {
            *(
                "clusterSelector",
                "rayClusterSpec",
                "submissionMode",
                "runtimeEnvYAML",
                "backoffLimit",
                "shutdownAfterJobFinishes",
            ),
            *("ttlSecondsAfterFinished", "activeDeadlineSeconds", "metadata", "submitterPodTemplate", "entrypointNumCpus"),
        },
    ),
}


def check(kind: str, spec: dict[str, Any]) -> None:
    required, optional = REQUIRED[kind]
    assert required <= set(spec) <= required | optional


def documents(name: str) -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all((INFRA / "kuberay" / name).read_text())}


def test_kuberay_takes_the_cluster() -> None:
    found = documents("cluster.yaml")
    cluster = found["RayCluster"]
    assert cluster["apiVersion"] == "ray.io/v1" and cluster["metadata"]["name"] == "vsr"
    spec = cluster["spec"]
    check("cluster", spec)
    check("head", spec["headGroupSpec"])
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in spec["workerGroupSpecs"]:
        check("worker", group)
        assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {"name", "image", "resources"} <= set(container)
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert pod["securityContext"]["runAsNonRoot"] is True
    assert spec["rayVersion"] == LOCKED["ray"]
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]  # no worker mounts it
    workers = [volume for group in spec["workerGroupSpecs"] for volume in group["template"]["spec"]["volumes"]]
    assert not [volume for volume in workers if "persistentVolumeClaim" in volume]


def test_the_cluster_of_kubernetes_is_closed() -> None:
    found = documents("cluster.yaml")
    spec = found["RayCluster"]["spec"]
    assert spec["authOptions"] == {"mode": "token"} and spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not {"Ingress", "Service"} & set(found) and "enableIngress" not in spec["headGroupSpec"]
    policy = found["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress"] and policy["podSelector"]["matchLabels"] == {"ray.io/cluster": "vsr"}
    for rule in policy["ingress"]:
        assert all(source["podSelector"]["matchLabels"] for source in rule["from"])
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            assert "env" not in container and container["envFrom"] == [{"secretRef": {"name": "vsr-keys"}}]


def test_kuberay_takes_the_job() -> None:
    (job,) = documents("job.yaml").values()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check("job", job["spec"])
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": "vsr"} and "rayClusterSpec" not in job["spec"]
    assert job["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]


# ---------------------------------------------------------------- all of them


def test_the_image_has_the_versions_that_are_tested() -> None:
    text = (INFRA / "image" / "Dockerfile").read_text()
    assert f"FROM python:{sys.version_info[0]}.{sys.version_info[1]}-slim" in text
    assert "--constraint /tmp/constraints.txt --requirement /tmp/requirements.txt" in text and "RAY_AUTH_MODE=token" in text
    copied = re.search(r"^COPY (.+) /tmp/$", text, re.MULTILINE)
    ignored = (INFRA / "image" / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied and {f"!{name}" for name in copied[1].split()} | {"*"} == {line for line in ignored if not line.startswith("#")}
    assert "\nUSER ray\n" in text


def test_every_folder_says_what_it_takes_and_costs() -> None:
    for folder in ("image", "aws", "kuberay", "dvc"):
        text = (INFRA / folder / "README.md").read_text()
        assert "```sh" in text and "cost" in text, folder
        assert f"{folder}/README.md" in (INFRA / "README.md").read_text()
    assert all(f"`{name}`" in (INFRA / "README.md").read_text() for name in CARRIED)


def test_no_secret_is_in_a_file_of_infra() -> None:
    for path in INFRA.rglob("*"):
        if path.is_file():
            assert not re.search(r"(AKIA[0-9A-Z]{16}|SECRET_ACCESS_KEY=[A-Za-z0-9/+]{8,}|PRIVATE KEY)", path.read_text()), path
