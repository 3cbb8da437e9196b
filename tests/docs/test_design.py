"""The file map of docs/design.md names the modules of the gateway."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT, blocks

PACKAGE = ROOT / "gateway"

SUMMARISED = ("api", "client", "commands", "conformance", "demo", "publisher")
"""Folders that the map names without their modules."""


def test_the_file_map_names_each_module_and_no_other() -> None:
    (file_map,) = (
        block.text
        for block in blocks("text", documents=[ROOT / "docs/design.md"])
        if block.text.startswith("gateway/\n")
    )
    listed = sorted(re.findall(r"\w+\.py", file_map))
    modules = sorted(
        path.name
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and path.relative_to(PACKAGE).parts[0] not in SUMMARISED
    )
    assert listed == modules, "update the file map of docs/design.md"
