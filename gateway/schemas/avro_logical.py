"""Logical types of Avro: how a number or bytes are shown as text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from gateway.schemas.errors import InvalidSchema, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    Show = Callable[[Any], object]

MAX_DECIMAL_BYTES = 256
"""Bytes of a decimal's unscaled value, some 600 digits; conversion to text is quadratic."""

MAX_SCALE = 1000
"""Digits of a decimal after the point: every value has as many, also one of a single byte."""

USUAL_SIZE = 16
"""Bytes of JSON that are counted for a value, besides those of its underlying type."""

_UNITS = {"millis": (1000, 3), "micros": (1_000_000, 6), "nanos": (1_000_000_000, 9)}
"""Units of a second, and their digits."""

_DAY = 86_400

_FIRST_DAY = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_FIRST_SECOND = (1 - _FIRST_DAY) * _DAY
_LAST_SECOND = (_LAST_DAY + 1 - _FIRST_DAY) * _DAY - 1


def logical_type(type_: str, schema: dict[str, Any]) -> tuple[Show, int] | None:
    """Return how the values of a type with a logical type are shown, and their size as JSON.

    None without a logical type that is valid for the type. Raises `InvalidSchema`.
    """
    name = schema.get("logicalType")
    show: Show | None = None
    size = USUAL_SIZE
    match type_, name:
        case (("bytes" | "fixed"), "decimal"):
            precision, scale = schema.get("precision"), schema.get("scale", 0)
            if isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision:
                if scale > MAX_SCALE:
                    raise InvalidSchema(f"a decimal has a scale of more than {MAX_SCALE}")
                show, size = _decimal(scale), USUAL_SIZE + scale
        case "fixed", "uuid" if schema.get("size") == 16:
            show = _uuid
        case "int", "date":
            show = _date
        case "int", "time-millis":
            show = _time(*_UNITS["millis"])
        case "long", "time-micros":
            show = _time(*_UNITS["micros"])
        case "long", str(name):
            kind, _, unit = name.rpartition("-")
            if kind in {"timestamp", "local-timestamp"} and unit in _UNITS:
                show = _timestamp(*_UNITS[unit], "Z" if kind == "timestamp" else "")
    return None if show is None else (show, size)


def _decimal(scale: int) -> Callable[[bytes], str]:
    def show(data: bytes) -> str:
        if len(data) > MAX_DECIMAL_BYTES:
            raise Malformed("a decimal has too many digits")
        unscaled = int.from_bytes(data, "big", signed=True)
        sign = "-" if unscaled < 0 else ""
        if not scale:
            return str(unscaled)
        digits = str(abs(unscaled)).zfill(scale + 1)
        return f"{sign}{digits[:-scale]}.{digits[-scale:]}"

    return show


def _uuid(data: bytes) -> str:
    return str(UUID(bytes=data))


def _date(days: int) -> str | int:
    ordinal = days + _FIRST_DAY
    return date.fromordinal(ordinal).isoformat() if 1 <= ordinal <= _LAST_DAY else days


def _time(unit: int, digits: int) -> Callable[[int], str | int]:
    def show(value: int) -> str | int:
        seconds, part = divmod(value, unit)
        if not 0 <= seconds < _DAY:
            return value
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return clock + _fraction(part, digits)

    return show


def _timestamp(unit: int, digits: int, zone: str) -> Callable[[int], str | int]:
    def show(value: int) -> str | int:
        seconds, part = divmod(value, unit)
        if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
            return value
        moment = (_EPOCH + timedelta(seconds=seconds)).isoformat()
        return moment + _fraction(part, digits) + zone

    return show


def _fraction(part: int, digits: int) -> str:
    """Return a fraction of a second in 0, 3, 6 or 9 digits, as many as it needs."""
    if not part:
        return ""
    text = f"{part:0{digits}}"
    while text.endswith("000"):
        text = text[:-3]
    return f".{text}"
