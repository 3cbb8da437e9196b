"""The Helm chart, rendered with several values, against the schemas of its kinds."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.settings.secret_settings import SECRETS, env
from tests.deploy.chart import (
    CHART,
    CRDS,
    EVERYTHING,
    KUBERNETES,
    VARIANTS,
    Manifest,
    helm,
    rendered,
)
from tests.docs.markdown import ROOT
from tests.programs import find, require


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
        *(
            ({"settings": {env(name): "x"}}, f"settings.{env(name)} is a secret: put it into")
            for name in SECRETS
        ),
        ({"settings": {"GATEWAY_LISTEN": "0.0.0.0:80"}}, "settings.GATEWAY_LISTEN: the chart sets"),
        ({"settings": {"GATEWAY_TOPIX": "x"}}, "'GATEWAY_TOPIX' not allowed"),
        ({"settings": {"GATEWAY_DRAIN_SECONDS": 45.5}}, "GATEWAY_DRAIN_SECONDS"),
        ({"settings": {"GATEWAY_DRAIN_SECONDS": "45.5"}}, "for the last responses need 61"),
        ({"preStopSeconds": 26}, "for the last responses need 61"),
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
