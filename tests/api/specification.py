"""AsyncAPI's own schema, from its npm package: fetched once into `build/`, which git ignores."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.docs.markdown import ROOT
from tests.eventually import DEADLINE
from tests.programs import require

ASYNCAPI = "3.0.0"
"""The version that the documents state."""

PACKAGE = "@asyncapi/specs"
VERSION = "6.11.1"

FETCH_SECONDS = 4 * DEADLINE

_KEPT = ROOT / "build" / f"asyncapi-{ASYNCAPI}-{VERSION}.json"


def schema() -> Any:
    """Return the schema. The first time it takes 3 s; without npm the test is skipped."""
    if not _KEPT.exists():
        _fetch(_KEPT)
    return json.loads(_KEPT.read_text(encoding="utf-8"))


def _fetch(kept: Path) -> None:
    require("npm", in_ci=False)
    kept.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=kept.parent) as folder:
        options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(
            ["npm", "install", "--prefix", folder, *options, f"{PACKAGE}@{VERSION}"],
            check=True,
            capture_output=True,
            timeout=FETCH_SECONDS,
        )
        found = kept.parent / folder / "node_modules" / PACKAGE / "schemas" / f"{ASYNCAPI}.json"
        found.replace(kept)  # atomic: two processes may do this concurrently
