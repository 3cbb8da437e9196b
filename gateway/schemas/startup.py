"""The schemas that the sources of a deployment need, opened at the start."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from gateway.core.source import ValueFormat
from gateway.errors import SettingsError
from gateway.schemas.cache import Schemas
from gateway.schemas.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.supervise import Containment, Part


def open_schemas(settings: Settings, contain: Callable[[Part], Containment]) -> Schemas | None:
    """Return the schemas that the sources need; None if no source has a format.

    Raises `SettingsError` without a registry, or without the extra for Protobuf.
    """
    sources = settings.event_sources
    formats = {each.topic: each.format for each in sources if each.format is not None}
    if not formats:
        return None
    if settings.schema_registry_url is None and set(formats.values()) != {ValueFormat.JSON_SCHEMA}:
        raise SettingsError(
            "GATEWAY_SCHEMA_REGISTRY_URL is not set: sources with the format avro or protobuf need"
            " a schema registry; write for example http://schema-registry:8081"
        )
    if ValueFormat.PROTOBUF in formats.values():
        for package in ("google.protobuf", "grpc_tools", "google.type"):
            if not _is_installed(package):
                raise SettingsError(
                    f"a source has the format protobuf, but {package} is not installed; install it"
                    " with: pip install '.[schemas]' in a clone of the gateway"
                )
    return Schemas(formats, RegistryClient(settings), settings.schema_wait_seconds, contain)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it
        return False
