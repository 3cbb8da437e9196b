"""Which descriptions there are: `/openapi.json` and `/asyncapi.json`, of each listener its own.

They are built once, at the start. The public ones need no token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.asyncapi import all_events, public_events
from gateway.api.operations import operations_document
from gateway.api.public import public_document

if TYPE_CHECKING:
    from gateway.api.parts import Json
    from gateway.config import Settings
    from gateway.core.registry import Registry


def public_documents(settings: Settings, registry: Registry) -> dict[str, Json]:
    """Return the documents of the public listener, by path."""
    return {
        "/openapi.json": public_document(settings, registry),
        "/asyncapi.json": public_events(settings, registry),
    }


def operations_documents(settings: Settings, registry: Registry) -> dict[str, Json]:
    """Return the documents of the operations listener, by path."""
    return {
        "/openapi.json": operations_document(settings),
        "/asyncapi.json": all_events(settings, registry),
    }
