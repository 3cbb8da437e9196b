from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, metadata

import pytest
from packaging.specifiers import SpecifierSet

from tests.tools.audit.__main__ import Verdict, bill_of_materials, judge
from tests.tools.audit.packages import PROJECT, licences, pinned, runtime

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"),
    *("Apache 2", "Apache 2.0", "ISC License", "MIT License"),
}
"""Licences that a dependency of a worker may have: they ask for a notice and nothing more."""

CLEAN = {"name": "yarl", "version": "1.25.1", "vulns": []}
SKIPPED = {"name": "idna", "skip_reason": "Dependency not found on PyPI: idna (3.20)"}
VULNERABLE = {
    "name": "aiohttp",
    "version": "3.14.0",
    "vulns": [
        {"id": "PYSEC-0000-1", "fix_versions": ["3.14.1"], "aliases": [], "description": "made up"},
        {"id": "PYSEC-0000-2", "fix_versions": [], "aliases": [], "description": "made up"},
    ],
}


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_vulnerability_is_named_with_the_version_that_fixes_it() -> None:
    assert judge(report(CLEAN, SKIPPED, VULNERABLE)) == (
        Verdict.VULNERABLE,
        "aiohttp 3.14.0: PYSEC-0000-1, fixed in 3.14.1\n"
        "aiohttp 3.14.0: PYSEC-0000-2, fixed in no version",
    )


@pytest.mark.parametrize("text", ["", report(CLEAN, SKIPPED)])
def test_an_index_without_advisories_is_reported_but_does_not_fail(text: str) -> None:
    verdict, told = judge(text)
    assert verdict is Verdict.UNKNOWN
    assert told.startswith("not audited: the package index")
    assert "\n" not in told


def test_packages_without_advisories_are_clean() -> None:
    assert judge(report(CLEAN)) == (Verdict.CLEAN, "no known vulnerability in 1 packages")


def test_the_bill_of_materials_lists_every_package_of_a_worker() -> None:
    listed = json.loads(bill_of_materials())
    assert listed["bomFormat"] == "CycloneDX"
    assert {part["name"] for part in listed["components"]} == runtime()
    assert all(part["purl"].startswith("pkg:pypi/") for part in listed["components"])


def test_every_package_of_a_worker_is_pinned() -> None:
    assert runtime() <= pinned().keys()


@pytest.mark.parametrize("name", sorted(runtime()))
def test_every_package_of_a_worker_has_a_permissive_licence(name: str) -> None:
    assert licences(name)
    assert licences(name) <= PERMISSIVE


def test_each_pinned_package_supports_the_oldest_python() -> None:
    """A newer package index hides such a package from an older interpreter, and `make` fails."""
    oldest = metadata(PROJECT)["Requires-Python"].removeprefix(">=") + ".0"
    too_new = {}
    for name in pinned():
        try:
            wanted = metadata(name)["Requires-Python"]
        except PackageNotFoundError:
            continue  # of an extra that is not installed
        if wanted and oldest not in SpecifierSet(wanted):
            too_new[name] = wanted
    assert not too_new, f"Python {oldest} is supported, so pin an earlier version of these"
