"""The switches for traces and metrics by OTLP: without them OpenTelemetry is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.metrics import Metrics
    from gateway.ops.otlp_metrics import OtlpMetrics
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
        raise _missing("GATEWAY_TRACING", error) from None
    return exporting(worker, names)


def start_metrics(settings: Settings, worker: str, metrics: Metrics) -> OtlpMetrics | None:
    """Return the sender of metrics, or None where it is off.

    Raises `SettingsError` where it is on and the extra is not installed.
    """
    if not settings.otlp_metrics:
        return None
    try:
        from gateway.ops.otlp_metrics import OtlpMetrics
    except ModuleNotFoundError as error:
        raise _missing("GATEWAY_OTLP_METRICS", error) from None
    return OtlpMetrics(worker, metrics.collect)


def _missing(setting: str, error: ModuleNotFoundError) -> SettingsError:
    return SettingsError(
        f"{setting} is on, but {error.name} is not installed; install it with:"
        " pip install '.[tracing]' in a clone of the gateway"
    )
