"""The Helm chart, rendered by helm with several values: valid, consistent, fit for a worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.config import load_settings
from gateway.http.transport.connection import FLUSH_SECONDS
from gateway.settings.secret_settings import SECRETS, env
from tests.deploy.dockerfile import environment, only, stages
from tests.docs.markdown import ROOT
from tests.programs import find, require

CHART = ROOT / "deploy/helm"

KUBERNETES = ("1.31", kubernetes_validate.latest_version())

Manifest = dict[str, Any]

GATEWAY: Manifest = {
    "gatewayRoute": {"enabled": True, "gateway": {"create": True}, "envoyPolicies": True},
}

EVERYTHING: Manifest = {
    **GATEWAY,
    "autoscaling": {"enabled": True},
    "extraEnv": [{"name": "GATEWAY_KAFKA_SSL_CAFILE", "value": "/run/kafka/ca.pem"}],
    "extraEnvFrom": [{"secretRef": {"name": "kafka-credentials"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/run/kafka", "readOnly": True}],
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "kafka-ca"}}],
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "ingress": {"enabled": True, "annotations": {"example.com/team": "push"}},
    "metrics": {
        "job": "events-eu",
        "dashboard": {"enabled": True},
        "rules": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbookUrl": "https://wiki.example.org/gateway/",
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "priorityClassName": "high",
    "rack": {"fromZone": True},
    "tolerations": [{"key": "push", "operator": "Exists"}],
}

MANAGED_KAFKA: Manifest = {
    "networkPolicy": {
        "kafka": {"ports": [9096, 9098], "namespaces": [], "cidrs": ["10.20.0.0/16"]},
        "jwks": {"ports": []},
        "otlp": {"ports": [4318], "namespaces": ["observability"]},
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
    },
    "rack": {"value": "euw1-az2"},
}

VARIANTS: dict[str, Manifest] = {
    "defaults": {},
    "gateway API": GATEWAY,
    "existing Gateway": {"gatewayRoute": {"enabled": True, "parentRefs": [{"name": "shared"}]}},
    "ingress-nginx": {"ingress": {"enabled": True}, "hosts": ["a.example.com", "b.example.com"]},
    "everything": EVERYTHING,
    "managed Kafka": MANAGED_KAFKA,
    "bare": {"networkPolicy": {"enabled": False}, "disruptionBudget": {"enabled": False}},
}

CRDS = {
    "gateway.networking.k8s.io/v1": "sigs.k8s.io/gateway-api@v1.3.0",
    "gateway.envoyproxy.io/v1alpha1": "github.com/envoyproxy/gateway@v1.7.0",
    "monitoring.coreos.com/v1": "github.com/prometheus-operator/prometheus-operator@v0.85.0",
}
"""The Go module with the schemas of a group of custom resources."""

_, IMAGE = stages()


def helm(*arguments: str, values: Manifest | None = None) -> subprocess.CompletedProcess[str]:
    require("helm", in_ci=False)
    command = [find("helm") or "helm", *arguments, "--kube-version", f"{KUBERNETES[0]}.0"]
    given = json.dumps(values or {})
    command += ["--values", "-"]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def render(values: Manifest) -> list[Manifest]:
    """Return the manifests of the chart for some values."""
    ran = helm("template", "events", str(CHART), "--namespace", "push", values=values)
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


@cache
def rendered(name: str) -> list[Manifest]:
    return render(VARIANTS[name])


def one(kind: str, variant: str = "everything", label: str = "") -> Manifest:
    """Return the manifest of this kind, with this component label if given."""
    (found,) = [
        manifest
        for manifest in rendered(variant)
        if manifest["kind"] == kind and (not label or label in _labels(manifest).values())
    ]
    return found


def _labels(manifest: Manifest) -> dict[str, str]:
    labels: dict[str, str] = manifest["metadata"].get("labels", {})
    return labels


def pod(variant: str = "everything") -> Manifest:
    spec: Manifest = one("Deployment", variant)["spec"]["template"]["spec"]
    return spec


def container(variant: str = "everything") -> Manifest:
    (only_one,) = pod(variant)["containers"]
    found: Manifest = only_one
    return found


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings of the default ConfigMap as variables, with a Secret's token."""
    data: dict[str, str] = one("ConfigMap", "defaults")["data"]
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAY_OPS_TOKEN", "from the Secret")
    monkeypatch.setenv("GATEWAY_JWT_JWKS_URL", "https://id.example.com/keys")
    return data


def test_helm_lint_accepts_the_chart() -> None:
    ran = helm("lint", "--strict", str(CHART), values=EVERYTHING)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_package_has_the_alerts_and_the_dashboard(tmp_path: Path) -> None:
    require("helm", in_ci=False)
    command = [find("helm") or "helm", "package", str(CHART), "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    (archive,) = tmp_path.iterdir()
    shutil.unpack_archive(archive, tmp_path / "unpacked", "gztar")
    files = tmp_path / "unpacked/kafka-sse-gateway/files"
    for name, source in (
        ("alerts.yml", ROOT / "deploy/prometheus/alerts.yml"),
        ("dashboard.json", ROOT / "deploy/grafana/dashboards/gateway.json"),
    ):
        assert (files / name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_manifests_match_the_schemas_of_kubernetes(variant: str, version: str) -> None:
    for manifest in rendered(variant):
        if manifest["apiVersion"] not in CRDS:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_custom_resources_match_the_schemas_of_their_projects(variant: str) -> None:
    custom = [manifest for manifest in rendered(variant) if manifest["apiVersion"] in CRDS]
    for manifest in custom:
        schema = crd(manifest["apiVersion"], manifest["kind"])
        problems = [error.message for error in Draft202012Validator(schema).iter_errors(manifest)]
        assert problems == [], manifest["kind"]


@cache
def crd(api_version: str, kind: str) -> Manifest:
    """Return the schema of a custom resource, which rejects unknown fields."""
    require("go", in_ci=False)
    group, _, version = api_version.partition("/")
    command = ["go", "mod", "download", "-json", CRDS[api_version]]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    folder = json.loads(ran.stdout or "{}").get("Dir")
    if folder is None:
        pytest.skip(f"{CRDS[api_version]} cannot be downloaded")
    for path in sorted(Path(folder).rglob("*.yaml")):
        if "crd" not in str(path.relative_to(folder)).lower():
            continue
        text = path.read_text(encoding="utf-8")
        if f"kind: {kind}\n" not in text or f"group: {group}" not in text or "{{" in text[:200]:
            continue
        for document in yaml.load_all(text, yaml.CSafeLoader):
            if not document or document["kind"] != "CustomResourceDefinition":
                continue
            if (document["spec"]["group"], document["spec"]["names"]["kind"]) != (group, kind):
                continue
            (found,) = [v for v in document["spec"]["versions"] if v["name"] == version]
            made: Manifest = strict(found["schema"]["openAPIV3Schema"])
            return made
    raise AssertionError(f"{folder} has no {kind}")


def strict(schema: Any, top: bool = True) -> Any:
    """Return a schema in which objects have the fields that are listed, and no others."""
    if isinstance(schema, list):
        return [strict(each, False) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value, False) for name, value in schema.items() if name != "format"}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    closed = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        if top:
            made["properties"]["metadata"] = {"type": "object"}
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"GATEWAY_JWT_SECRET": "x"}}, "GATEWAY_JWT_SECRET"),
        ({"settings": {"GATEWAY_LISTEN": "0.0.0.0:80"}}, "GATEWAY_LISTEN"),
        ({"settings": {"KAFKA": "kafka:9092"}}, "KAFKA"),
        ({"gatewayRoute": {"enabled": True}}, "parentRefs"),
        ({"replica": 3}, "replica"),
        ({"networkPolicy": {"kafka": {"cidrs": ["kafka.example.com"]}}}, "cidrs"),
        ({"existingSecret": ""}, "existingSecret"),
    ],
)
def test_wrong_values_are_rejected_and_named(values: Manifest, message: str) -> None:
    ran = helm("template", "events", str(CHART), values=values)
    assert ran.returncode != 0
    assert message in ran.stderr


def test_a_worker_starts_with_the_settings(settings: dict[str, str]) -> None:
    read = load_settings().require_key()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"events": read.listen.port, "operations": read.ops_listen.port}
    assert not read.ops_listen.is_loopback  # the kubelet is outside the pod


def test_the_rack_comes_from_the_zone_or_from_a_value() -> None:
    (rack, _) = container()["env"]
    assert rack["name"] == "GATEWAY_KAFKA_CLIENT_RACK"
    path = "metadata.labels['topology.kubernetes.io/zone']"
    assert rack["valueFrom"] == {"fieldRef": {"fieldPath": path}}
    assert container("managed Kafka")["env"] == [{"name": rack["name"], "value": "euw1-az2"}]
    assert "env" not in container("defaults")


def test_no_secret_is_accepted_among_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    properties = schema["properties"]["settings"]["properties"]
    assert {env(name) for name in SECRETS} <= {n for n, value in properties.items() if not value}


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("sse", "sse-kafka-sse-gateway"),
        ("kafka-sse-gateway", "kafka-sse-gateway"),
        ("kafka-sse-gateway-eu", "kafka-sse-gateway-eu"),
    ],
)
def test_objects_of_two_releases_have_different_names(release: str, name: str) -> None:
    ran = helm("template", release, str(CHART), values=VARIANTS["defaults"])
    kinds = {each["kind"]: each for each in yaml.safe_load_all(ran.stdout) if each}
    assert kinds["Deployment"]["metadata"]["name"] == name


def test_secrets_come_from_existing_secrets() -> None:
    assert {"secretRef": {"name": "gateway-secrets"}} in container()["envFrom"]
    assert {"secretRef": {"name": "kafka-credentials"}} in container()["envFrom"]
    for variant in VARIANTS:
        assert "Secret" not in {manifest["kind"] for manifest in rendered(variant)}


def test_service_links_add_no_settings() -> None:
    # Kubernetes would add GATEWAY_PORT for a Service of that name.
    assert pod()["enableServiceLinks"] is False


def test_a_worker_has_time_to_drain(settings: dict[str, str]) -> None:
    before = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + load_settings().drain_seconds + FLUSH_SECONDS
    assert pod()["terminationGracePeriodSeconds"] >= needed + 10


def test_a_worker_runs_without_privileges() -> None:
    user, group = only(IMAGE, "USER").split(":")
    assert pod("defaults")["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container("defaults")["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod("defaults")["automountServiceAccountToken"] is False
    assert "volumes" not in pod("defaults")


def test_probes_ask_paths_that_need_no_token() -> None:
    probes = [
        container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")
    ]
    assert {probe["port"] for probe in probes} == {"operations"}
    # Not /readyz after the start: with Kafka away every worker would leave the Service.
    assert [probe["path"] for probe in probes] == ["/readyz", "/healthz", "/healthz"]


def test_all_selectors_select_the_pods() -> None:
    template = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    selector = {
        "app.kubernetes.io/name": "kafka-sse-gateway",
        "app.kubernetes.io/instance": "events",
    }
    assert selector.items() <= template.items()
    for component in ("streams", "operations"):
        assert one("Service", label=component)["spec"]["selector"] == selector
    for kind, field in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        assert one(kind)["spec"][field] == {"matchLabels": selector}
    target = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == one("Deployment")["metadata"]["name"]
    assert "replicas" not in one("Deployment")["spec"]
    assert one("Deployment", "defaults")["spec"]["replicas"] == 3


def test_workers_are_added_before_one_is_full(settings: dict[str, str]) -> None:
    spec = one("HorizontalPodAutoscaler")["spec"]
    (metric,) = [entry["pods"] for entry in spec["metrics"]]
    assert metric["metric"]["name"] == "gateway_streams_open"
    average, least = int(metric["target"]["averageValue"]), spec["minReplicas"]
    # The others accept the streams of one that dies.
    assert average * least / (least - 1) <= load_settings().max_streams


def test_only_prometheus_reaches_the_operations_port() -> None:
    ports = one("Service", label="streams")["spec"]["ports"]
    assert [port["targetPort"] for port in ports] == ["events"]
    rules = one("NetworkPolicy")["spec"]["ingress"]
    (rule,) = [rule for rule in rules if {"port": "operations"} in rule["ports"]]
    (source,) = rule["from"]
    assert source["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }


def test_egress_opens_to_managed_kafka_and_a_collector() -> None:
    egress = one("NetworkPolicy", "managed Kafka")["spec"]["egress"]
    _, kafka, otlp, extra = egress
    assert [port["port"] for port in kafka["ports"]] == [9096, 9098]
    assert kafka["to"] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]
    assert [port["port"] for port in otlp["ports"]] == [4318]
    (peer,) = otlp["to"]
    assert "observability" in str(peer)
    assert extra == {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}
    open_to_all = [rule for rule in egress if "to" not in rule]
    assert open_to_all == []
    ports = [
        port["port"]
        for rule in one("NetworkPolicy", "defaults")["spec"]["egress"]
        for port in rule["ports"]
    ]
    assert ports == [53, 53, 9092, 443]


def test_every_route_hashes_the_shard_and_outlasts_a_silent_stream(
    settings: dict[str, str],
) -> None:
    longest = 2 * load_settings().heartbeat_seconds
    annotations = {
        name.rpartition("/")[2]: value
        for name, value in one("Ingress")["metadata"]["annotations"].items()
    }
    assert annotations["upstream-hash-by"] == "$arg_shard"
    assert annotations["proxy-buffering"] == "off"
    assert int(annotations["proxy-read-timeout"]) >= longest
    balancing = one("BackendTrafficPolicy")["spec"]["loadBalancer"]["consistentHash"]
    assert (balancing["type"], balancing["queryParams"]) == ("QueryParams", [{"name": "shard"}])
    (rule,) = one("HTTPRoute")["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s"}
    idle = one("ClientTrafficPolicy")["spec"]["timeout"]["http"]["streamIdleTimeout"]
    assert int(idle.removesuffix("s")) >= longest


def test_every_route_passes_the_streams_and_the_browser_client() -> None:
    (rule,) = one("HTTPRoute")["spec"]["rules"]
    (match,) = rule["matches"]
    assert match["path"] == {"type": "PathPrefix", "value": "/api/v1"}
    for host in one("Ingress", "ingress-nginx")["spec"]["rules"]:
        (path,) = host["http"]["paths"]
        assert (path["pathType"], path["path"]) == ("Prefix", "/api/v1")
    assert one("HTTPRoute", "existing Gateway")["spec"]["parentRefs"] == [{"name": "shared"}]
    assert len(one("Ingress", "ingress-nginx")["spec"]["rules"]) == 2


def test_prometheus_scrapes_with_the_token_of_the_secret() -> None:
    (endpoint,) = one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {
        "name": "gateway-secrets",
        "key": "GATEWAY_OPS_TOKEN",
    }
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "events-eu"}]
    selector = one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= _labels(one("Service", label="operations")).items()
    assert not selector.items() <= _labels(one("Service", label="streams")).items()


def test_the_rules_are_the_shipped_alerts_of_this_job() -> None:
    shipped = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    spec = one("PrometheusRule")["spec"]
    names = [[rule["alert"] for rule in group["rules"]] for group in spec["groups"]]
    assert names == [[rule["alert"] for rule in group["rules"]] for group in shipped["groups"]]
    text = json.dumps(spec)
    assert 'job=\\"gateway\\"' not in text
    assert 'job=\\"events-eu\\"' in text
    for group in spec["groups"]:
        for rule in group["rules"]:
            url = rule["annotations"]["runbook_url"]
            assert url.startswith("https://wiki.example.org/gateway/runbook.md#")


def test_the_dashboard_is_the_shipped_one() -> None:
    found = one("ConfigMap", label="1")["data"]["gateway.json"]
    assert found == (ROOT / "deploy/grafana/dashboards/gateway.json").read_text()


def test_the_image_has_the_version_of_the_chart() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert container("defaults")["image"] == f"kafka-sse-gateway:{chart['appVersion']}"
    assert container()["image"] == f"kafka-sse-gateway@sha256:{'0' * 64}"
    assert f"VERSION={chart['appVersion']}" in [rest for word, rest in IMAGE if word == "ARG"]
    assert environment(IMAGE)["GATEWAY_LISTEN"] == "0.0.0.0:8080"
