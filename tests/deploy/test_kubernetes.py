"""The manifests: what Kubernetes' own schemas say of them, and what they say of a worker."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.config import load_settings
from gateway.http.transport.connection import FLUSH_SECONDS
from tests.deploy.dockerfile import environment, only, stages
from tests.docs.markdown import ROOT
from tests.programs import require

KUBERNETES = ROOT / "deploy/kubernetes"

OVERLAYS = ("workers", "envoy-gateway", "ingress-nginx")

Manifest = dict[str, Any]

_, IMAGE = stages()


def manifests() -> dict[str, Manifest]:
    """Return what is to be applied, by kind; there is one of each."""
    files = [path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"]
    found = [
        document for path in sorted(files) for document in yaml.safe_load_all(path.read_text())
    ]
    by_kind = {document["kind"]: document for document in found}
    assert len(by_kind) == len(found)
    return by_kind


MANIFESTS = manifests()
BUILT_IN = sorted(
    kind for kind, found in MANIFESTS.items() if "gateway." not in found["apiVersion"]
)

POD = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what the ConfigMap sets, in the environment together with a Secret's token."""
    lines = (KUBERNETES / "workers/settings.env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAY_OPS_TOKEN", "from the Secret")
    return found


@pytest.mark.parametrize("kind", BUILT_IN)
@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_a_manifest_is_one_of_its_kind(kind: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[kind], version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_file_is_part_of_what_is_applied(name: str) -> None:
    kustomization = yaml.safe_load((KUBERNETES / name / "kustomization.yaml").read_text())
    files = {path.name for path in (KUBERNETES / name).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) - {"../workers"} == files


@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_renders_it(name: str) -> None:
    require("kubectl", in_ci=False)
    command = ["kubectl", "kustomize", str(KUBERNETES / name)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rendered = {document["kind"]: document for document in yaml.safe_load_all(ran.stdout)}
    assert {"Deployment", "ConfigMap"} <= rendered.keys()
    generated = rendered["ConfigMap"]["metadata"]["name"]
    (container,) = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"][0]["configMapRef"]["name"] == generated


def test_a_worker_starts_with_the_settings(settings: dict[str, str]) -> None:
    read = load_settings().require_key()
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"events": read.listen.port, "operations": read.ops_listen.port}
    assert not read.ops_listen.is_loopback  # the kubelet is no neighbour


def test_no_secret_is_among_the_settings(settings: dict[str, str]) -> None:
    assert not [name for name in settings if "SECRET" in name or "PASSWORD" in name]
    assert "GATEWAY_OPS_TOKEN" not in settings
    assert {"secretRef": {"name": "gateway-secrets"}} in CONTAINER["envFrom"]


def test_a_service_sets_no_setting_of_its_own() -> None:
    # Kubernetes would make GATEWAY_PORT and others of the Service's name.
    assert POD["enableServiceLinks"] is False


def test_a_worker_has_the_time_to_drain(settings: dict[str, str]) -> None:
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + load_settings().drain_seconds + FLUSH_SECONDS
    assert POD["terminationGracePeriodSeconds"] >= needed + 10


def test_a_worker_may_do_nothing_but_serve() -> None:
    user, group = only(IMAGE, "USER").split(":")
    assert POD["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert "volumes" not in POD


def test_a_worker_is_looked_at_where_no_token_is_asked_for() -> None:
    probes = [CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {"operations"}
    # Not `/readyz` for good: with Kafka away no worker would be left, and newcomers get a 503.
    assert [probe["path"] for probe in probes] == ["/readyz", "/healthz", "/healthz"]


def test_all_manifests_mean_the_same_pods() -> None:
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    for kind, field in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        assert MANIFESTS[kind]["spec"][field] == {"matchLabels": labels}
    target = MANIFESTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == MANIFESTS["Deployment"]["metadata"]["name"]


def test_there_are_more_workers_before_one_is_full(settings: dict[str, str]) -> None:
    spec = MANIFESTS["HorizontalPodAutoscaler"]["spec"]
    (metric,) = [entry["pods"] for entry in spec["metrics"]]
    assert metric["metric"]["name"] == "gateway_streams_open"
    average, least = int(metric["target"]["averageValue"]), spec["minReplicas"]
    # One of the fewest dies, and the others take its streams.
    assert average * least / (least - 1) <= load_settings().max_streams


def test_the_port_of_operations_is_nobodys_but_prometheus() -> None:
    assert [port["targetPort"] for port in MANIFESTS["Service"]["spec"]["ports"]] == ["events"]
    rules = MANIFESTS["NetworkPolicy"]["spec"]["ingress"]
    (rule,) = [rule for rule in rules if {"port": "operations"} in rule["ports"]]
    (source,) = rule["from"]
    assert source["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }


def test_every_way_in_hashes_the_shard_and_outlasts_a_silent_stream(
    settings: dict[str, str],
) -> None:
    longest = 2 * load_settings().heartbeat_seconds
    annotations = {
        name.rpartition("/")[2]: value
        for name, value in MANIFESTS["Ingress"]["metadata"]["annotations"].items()
    }
    assert annotations["upstream-hash-by"] == "$arg_shard"
    assert annotations["proxy-buffering"] == "off"
    assert int(annotations["proxy-read-timeout"]) >= longest
    balancing = MANIFESTS["BackendTrafficPolicy"]["spec"]["loadBalancer"]["consistentHash"]
    assert (balancing["type"], balancing["queryParams"]) == ("QueryParams", [{"name": "shard"}])
    (rule,) = MANIFESTS["HTTPRoute"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s"}
    idle = MANIFESTS["ClientTrafficPolicy"]["spec"]["timeout"]["http"]["streamIdleTimeout"]
    assert int(idle.removesuffix("s")) >= longest
    for route in (MANIFESTS["Ingress"]["spec"], rule):
        assert "/api/v1/events" in str(route)


def test_the_image_can_be_what_the_manifests_name() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "workers/kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert image["name"] == CONTAINER["image"]
    assert f"VERSION={image['newTag']}" in [rest for word, rest in IMAGE if word == "ARG"]
    assert environment(IMAGE)["GATEWAY_LISTEN"] == "0.0.0.0:8080"
