"""`docs/settings.md` matches the settings, and documents name only existing settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.settings.secret_settings import PREFIX
from tests.docs.markdown import DOCUMENTS, ROOT, name_of
from tests.docs.settings_table import render

REMEDY = "make it again with: python -m tests.docs.settings_table > docs/settings.md"


def test_the_document_matches_the_settings() -> None:
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == render(), REMEDY


def test_every_setting_has_a_row() -> None:
    rows = re.findall(rf"^\| `{PREFIX}(\w+)`", render(), re.MULTILINE)
    assert [row.lower() for row in rows] == list(Settings.model_fields)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_document_names_only_existing_settings(document: Path) -> None:
    named = re.findall(rf"\b{PREFIX}([A-Z_]*[A-Z])\b", document.read_text(encoding="utf-8"))
    assert {name.lower() for name in named} <= set(Settings.model_fields)
