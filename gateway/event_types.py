"""The event registry that the settings name: the built-in one, or a deployment's own file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.registry import Registry
from gateway.errors import SettingsError
from gateway.files import read_file
from gateway.sources import fixed_categories

if TYPE_CHECKING:
    from gateway.config import Settings


def load_registry(settings: Settings) -> Registry:
    """Return the event registry that the settings name, and the categories of the sources.

    Raises `SettingsError`.
    """
    return _read_registry(settings).with_categories(fixed_categories(settings.event_sources))


def _read_registry(settings: Settings) -> Registry:
    if settings.registry is None:
        return Registry.built_in()
    try:
        text = read_file(settings.registry).decode()
    except OSError as error:
        fault = error.strerror
    except UnicodeDecodeError:
        fault = "it is not UTF-8"
    else:
        try:
            return Registry.from_toml(text)
        except SettingsError as error:
            raise SettingsError(f"GATEWAY_REGISTRY: {settings.registry}: {error}") from None
    raise SettingsError(f"GATEWAY_REGISTRY: {settings.registry} cannot be read: {fault}")
