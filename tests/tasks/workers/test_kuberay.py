"""The cluster of deploy/ for KubeRay, as far as it can be looked at without Kubernetes."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
# The fields of ray.io/v1 that the file uses, from the reference of KubeRay 1.6, and those of a pod's containers.
CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template"}
GROUP = {*HEAD, "groupName", "replicas", "minReplicas", "maxReplicas"}


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy" / "kuberay.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def cluster(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (one for one in documents if one["kind"] == "RayCluster")
    assert found["apiVersion"] == "ray.io/v1"
    return dict(found["spec"])


@pytest.fixture(scope="module")
def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_it_has_the_fields_of_kuberay_and_the_ray_of_the_lock(cluster: dict[str, Any]) -> None:
    assert set(cluster) == CLUSTER
    assert set(cluster["headGroupSpec"]) == HEAD
    assert all(set(group) == GROUP for group in cluster["workerGroupSpecs"])
    locked = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert cluster["rayVersion"] == locked[1]
    page = (ROOT / "docs" / "how-to" / "cluster.md").read_text()
    assert f"ray[default]=={locked[1]}" in page


def test_nobody_gets_in_without_the_token_and_no_secret_stands_in_it(
    cluster: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    for variable in chain.from_iterable(container["env"] for pod in pods for container in pod["containers"]):
        assert not re.search("KEY|PASSWORD|TOKEN|SECRET", variable["name"])


def test_every_pod_sees_the_project_is_of_one_kind_and_has_no_rights(
    documents: list[dict[str, Any]], pods: list[dict[str, Any]]
) -> None:
    (claim,) = (one for one in documents if one["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (kept,) = {container["image"] for pod in pods for container in pod["containers"]}
    assert kept.endswith(":0.1.0")
    assert len({str(pod["nodeSelector"]) for pod in pods}) == 1
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        names = {one["name"]: one.get("persistentVolumeClaim", {}).get("claimName") for one in pod["volumes"]}
        for container in pod["containers"]:
            mounted = {one["mountPath"]: names[one["name"]] for one in container["volumeMounts"]}
            assert mounted["/project"] == claim["metadata"]["name"]
            assert container["workingDir"] == "/project"
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_the_head_only_leads_and_workers_offer_what_they_ask_for(
    cluster: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group, pod in zip(cluster["workerGroupSpecs"], pods[1:], strict=True):
        (container,) = pod["containers"]
        assert group["rayStartParams"]["num-cpus"] == container["resources"]["requests"]["cpu"]
