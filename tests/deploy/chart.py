"""The Helm chart, rendered by helm with several values."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import yaml

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
        if manifest["kind"] == kind and (not label or label in labels_of(manifest).values())
    ]
    return found


def labels_of(manifest: Manifest) -> dict[str, str]:
    labels: dict[str, str] = manifest["metadata"].get("labels", {})
    return labels


def pod(variant: str = "everything") -> Manifest:
    spec: Manifest = one("Deployment", variant)["spec"]["template"]["spec"]
    return spec


def container(variant: str = "everything") -> Manifest:
    (only_one,) = pod(variant)["containers"]
    found: Manifest = only_one
    return found
