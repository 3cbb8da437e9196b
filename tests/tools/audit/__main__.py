"""`make audit`: ask pip-audit for known vulnerabilities in `constraints.txt`.

Exit codes: 0 no known vulnerability; 1 at least one; 3 the package index is unavailable, which is
reported in one line and is not a failure of the project.
"""

from __future__ import annotations

import json
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from tests.tools.audit.packages import CONSTRAINTS, pinned, runtime


class Verdict(IntEnum):
    """The result of an audit, as an exit code."""

    CLEAN = 0
    VULNERABLE = 1
    UNKNOWN = 3


def main(
    sbom: Annotated[
        Path | None, typer.Option(help="write the packages of a worker to this CycloneDX file")
    ] = None,
) -> None:
    """Audit the pinned packages."""
    if sbom is not None:
        sbom.parent.mkdir(parents=True, exist_ok=True)
        sbom.write_text(bill_of_materials())
        print(f"{len(runtime() & pinned().keys())} packages of a worker: {sbom}")
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps"]
    command += ["--disable-pip", "--progress-spinner=off", "--format=json"]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    verdict, text = judge(ran.stdout)
    print(text)
    raise typer.Exit(verdict)


def judge(report: str) -> tuple[Verdict, str]:
    """Return the verdict on a JSON report of pip-audit, and its text: one line for each advisory.

    An empty report means that pip-audit failed. A mirror of the index may serve packages without
    their advisories; pip-audit reports these packages as skipped, and so the verdict is `UNKNOWN`.
    """
    if not report:
        return Verdict.UNKNOWN, "not audited: the package index does not answer"
    packages = json.loads(report)["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}, "
        f"fixed in {' and '.join(advisory['fix_versions']) or 'no version'}"
        for package in packages
        for advisory in package.get("vulns", ())
    ]
    if found:
        return Verdict.VULNERABLE, "\n".join(found)
    if skipped := [package["name"] for package in packages if "skip_reason" in package]:
        return (
            Verdict.UNKNOWN,
            f"not audited: the package index lacks advisories for {len(skipped)} of "
            f"{len(packages)} packages, such as {skipped[0]}",
        )
    return Verdict.CLEAN, f"no known vulnerability in {len(packages)} packages"


def bill_of_materials() -> str:
    """Return the pinned packages of a worker as CycloneDX 1.6 in JSON."""
    needed = runtime()
    parts = [
        Component(name=name, version=version, purl=PackageURL("pypi", name=name, version=version))
        for name, version in pinned().items()
        if name in needed
    ]
    outputter = make_outputter(Bom(components=parts), OutputFormat.JSON, SchemaVersion.V1_6)
    return outputter.output_as_string(indent=2)


if __name__ == "__main__":
    typer.run(main)
