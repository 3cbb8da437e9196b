"""The reference pages have every command, endpoint and reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.api.documents import operations_documents, public_documents
from gateway.config import Settings
from gateway.core.admission import Refusal
from gateway.core.gap import CloseReason, GapReason
from gateway.core.registry import Registry
from gateway.errors import HttpError
from tests.docs import command_line
from tests.docs.markdown import ROOT, first_column, rows

HTTP_API = ROOT / "docs/http-api.md"
REASONS = ROOT / "docs/reasons.md"

METHODS = {"get", "post", "put", "patch", "delete"}


def test_command_line_page_matches_the_help_texts() -> None:
    text = command_line.PAGE.read_text(encoding="utf-8")
    assert text == command_line.page(), "run: python -m tests.docs.command_line"


@pytest.mark.parametrize("documents", [public_documents, operations_documents])
def test_every_endpoint_is_listed(documents: Any) -> None:
    described = documents(Settings.model_construct(), Registry.built_in())["/openapi.json"]
    endpoints = {
        f"{method.upper()} {path}"
        for path, operations in described["paths"].items()
        for method in METHODS & operations.keys()
    }
    assert endpoints <= set(first_column(HTTP_API, "endpoint"))


def test_every_reason_is_listed() -> None:
    listed = {
        word for row in rows(REASONS, "reason") for word in re.findall(r"`(\w+)`", row[0])
    } - {"client"}
    assert listed == {*GapReason, *CloseReason}


def test_every_refusal_is_listed_with_its_status() -> None:
    listed = {row[0].strip("`"): int(row[1]) for row in rows(REASONS, "refusal")}
    errors = {error.reason: error.status for error in _subclasses(HttpError) if error.reason}
    assert errors.items() <= listed.items()
    assert listed.keys() == errors.keys() | {*Refusal}


def test_the_errors_of_the_api_are_the_refusals() -> None:
    listed = {
        (reason, int(row[0]))
        for row in rows(HTTP_API, "status")
        for reason in re.findall(r"`(\w+)`", row[1])
    }
    assert listed == {(row[0].strip("`"), int(row[1])) for row in rows(REASONS, "refusal")}


def _subclasses(kind: type[HttpError]) -> list[type[HttpError]]:
    return [each for child in kind.__subclasses__() for each in (child, *_subclasses(child))]
