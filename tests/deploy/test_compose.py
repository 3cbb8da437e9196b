"""`compose.yaml` without a container engine: it is valid and fits the workers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Settings, load_settings
from gateway.settings.secret_settings import PREFIX
from tests.eventually import DEADLINE
from tests.programs import require

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"
WORKERS = ("worker-1", "worker-2")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    return found


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    """Return a service's settings without their prefix, with a placeholder for the secret."""
    return {
        name.removeprefix(PREFIX).lower(): re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        for name, value in service["environment"].items()
    }


def test_docker_compose_accepts_the_file() -> None:
    require("docker-compose", in_ci=False)
    command = ["docker-compose", "-f", str(FILE), "config", "--quiet"]
    subprocess.run(command, check=True, timeout=DEADLINE, stdin=subprocess.DEVNULL)


def test_workers_accept_the_settings_of_compose(services: dict[str, dict[str, Any]]) -> None:
    for name in (*WORKERS, "activity"):
        given = settings_of(services[name])
        assert given.keys() <= Settings.model_fields.keys()
        load_settings(None, **given).require_key()


def test_mounted_files_exist(services: dict[str, dict[str, Any]]) -> None:
    mounted = [volume for service in services.values() for volume in service.get("volumes", [])]
    assert mounted
    for volume in mounted:
        path, _, mode = volume.split(":")
        assert (ROOT / path).exists()
        assert mode == "ro"


def test_compose_builds_the_image_of_the_repository(services: dict[str, dict[str, Any]]) -> None:
    for name in WORKERS:
        assert (ROOT / services[name]["build"]["dockerfile"]).exists()
    assert services["activity"]["image"] == services["worker-1"]["image"]


def test_the_topics_of_compose_are_the_defaults_of_workers(
    services: dict[str, dict[str, Any]],
) -> None:
    (script,) = services["topics"]["command"]
    settings = load_settings(None, **settings_of(services["worker-1"]))
    made = dict(re.findall(r"^create --topic (\S+) (.*)$", script, re.MULTILINE))
    assert set(made) == {
        settings.topic,
        settings.broadcast_topic,
        settings.revocations_topic,
        settings.workers_topic,
    }
    for topic in (settings.revocations_topic, settings.workers_topic):
        assert "cleanup.policy=compact" in made[topic]


def test_nginx_and_prometheus_know_the_workers(services: dict[str, dict[str, Any]]) -> None:
    settings = load_settings(None, **settings_of(services["worker-1"]))
    addresses = [f"{name}:{settings.listen.port}" for name in WORKERS]
    conf = (ROOT / "deploy/nginx/workers.conf").read_text()
    assert re.findall(r"^server (\S+)", conf, re.MULTILINE) == addresses

    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == "gateway"]
    assert settings.ops_token is not None
    assert job["authorization"]["credentials"] == settings.ops_token.get_secret_value()
    targets = [target for entry in job["static_configs"] for target in entry["targets"]]
    assert targets == [f"{name}:{settings.ops_listen.port}" for name in WORKERS]


def test_nginx_accepts_the_site_of_compose(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    require("nginx", in_ci=False)
    for volume in services["balancer"]["volumes"]:
        path = ROOT / volume.split(":")[0]
        text = path.read_text()
        for number, name in enumerate(WORKERS, 1):
            text = text.replace(f"server {name}:", f"server 127.0.0.{number}:")
        (tmp_path / path.name).write_text(text)
    options = f"pid {tmp_path / 'pid'};"
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
    subprocess.run(
        [*command, "-g", options], check=True, timeout=DEADLINE, stdin=subprocess.DEVNULL
    )
