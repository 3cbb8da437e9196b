"""The CI workflows: they are valid and cover every supported version."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
import yaml

from tests.docs.markdown import ROOT
from tests.programs import find, require

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_actionlint_accepts_all_workflows() -> None:
    require("actionlint", in_ci=False)
    command = [find("actionlint") or "actionlint", *map(str, WORKFLOWS)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_every_supported_python_is_tested() -> None:
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    versions = tests["jobs"]["tests"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    first, last = (int(version.split(".")[1]) for version in (oldest, versions[-1]))
    assert versions == [f"3.{minor}" for minor in range(first, last + 1)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_only_the_permissions_of_its_jobs(path: object) -> None:
    text = (ROOT / str(path)).read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    for checkout in re.findall(r"actions/checkout@.*\n(.*\n.*)", text):
        assert "persist-credentials: false" in checkout


def test_every_make_target_of_a_workflow_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {
        word
        for path in WORKFLOWS
        for line in re.findall(r"run: make (.+)", path.read_text())
        for word in line.split()
    }
    assert used
    assert used <= targets


MANIFESTS = {"package.json": "npm", "go.mod": "gomod", "pom.xml": "maven", "Dockerfile": "docker"}


def test_dependabot_watches_every_manifest() -> None:
    config = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
    watched = {
        (update["package-ecosystem"], folder)
        for update in config["updates"]
        for folder in update.get("directories", [update.get("directory")])
    }
    for _, folder in watched:
        assert (ROOT / folder.strip("/")).is_dir(), folder
    found = {
        (MANIFESTS[path.name], f"/{path.parent.relative_to(ROOT)}")
        for part in ("clients", "deploy", "tests")
        for path in (ROOT / part).rglob("*")
        if path.name in MANIFESTS and "node_modules" not in path.parts
    }
    assert found <= watched


def test_hooks_of_pre_commit_are_programs_of_the_project() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    for hook in config["repos"][0]["hooks"]:
        program = ROOT / hook["entry"].split()[0]
        assert program.exists(), hook["entry"]
