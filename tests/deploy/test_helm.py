"""The Helm chart, rendered with several values: consistent, and fit for a worker."""

from __future__ import annotations

import json

import pytest
import yaml

from gateway.config import Settings, load_settings
from gateway.http.transport.connection import FLUSH_SECONDS
from gateway.settings.secret_settings import env
from tests.deploy.chart import CHART, VARIANTS, container, helm, labels_of, one, pod, rendered
from tests.deploy.dockerfile import environment, only, stages
from tests.docs.markdown import ROOT
from tests.no_settings import remove_settings

_, IMAGE = stages()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings of the default ConfigMap as variables, with a Secret's token."""
    data: dict[str, str] = one("ConfigMap", "defaults")["data"]
    remove_settings(monkeypatch)
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAY_OPS_TOKEN", "from the Secret")
    monkeypatch.setenv("GATEWAY_JWT_JWKS_URL", "https://id.example.com/keys")
    return data


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


def test_the_schema_names_every_setting() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    properties = schema["properties"]["settings"]["properties"]
    assert list(properties) == [env(name) for name in Settings.model_fields]


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
    assert selector.items() <= labels_of(one("Service", label="operations")).items()
    assert not selector.items() <= labels_of(one("Service", label="streams")).items()


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
