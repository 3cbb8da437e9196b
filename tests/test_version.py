"""The version is the package's own; whatever has to repeat it says the same."""

from __future__ import annotations

import re

import pytest

from gateway import __version__
from tests.docs.markdown import ROOT

REPEATED = {
    "CHANGELOG.md": r"^## ([\d.]+)",
    "deploy/docker/Dockerfile": r"^ARG VERSION=(.+)$",
    "deploy/helm/Chart.yaml": r"^appVersion: (.+)$",
    "docs/deployment.md": r"kafka-sse-gateway:([\d.]+)",
}


@pytest.mark.parametrize(("path", "pattern"), REPEATED.items())
def test_a_file_that_repeats_the_version_says_the_same(path: str, pattern: str) -> None:
    found = re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert found[0] == __version__
    assert path == "CHANGELOG.md" or set(found) == {__version__}
