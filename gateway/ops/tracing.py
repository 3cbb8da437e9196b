"""The switch for tracing: without it nothing of OpenTelemetry is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.ops.pseudonyms import Pseudonyms
    from gateway.ops.spans import Spans


def start_tracing(settings: Settings, worker: str, names: Pseudonyms) -> Spans | None:
    """Return the reporter of spans, or None where tracing is off.

    Raises `SettingsError` where it is on and the extra is not installed.
    """
    if not settings.tracing:
        return None
    try:
        from gateway.ops.spans import exporting
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"GATEWAY_TRACING is on, but {error.name} is not installed; install it with:"
            " pip install '.[tracing]' in a clone of the gateway"
        ) from None
    return exporting(worker, names)
